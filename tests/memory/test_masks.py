"""A mask that is told of changes one by one is the mask that would be made anew."""

import numpy as np

from bowstring.memory.masks import Mask, Shard


def test_changes_leave_what_a_new_mask_would_hold():
    """Versions 1 to 40 lie in two shards with room to spare, 30 to 40 in none."""
    rng = np.random.default_rng(0)
    order = rng.permutation(np.arange(1, 30))
    shards = [Shard(20, order[:17]), Shard(15, order[17:])]
    place = np.zeros((60, 2), int)
    for number, shard in enumerate(shards, 1):
        place[shard.seqs] = [(number, row) for row in range(len(shard.seqs))]
    meant = rng.random(41) < 0.5
    meant[0] = False
    mask = Mask(meant.copy(), shards)
    for _ in range(50):
        seqs = rng.choice(np.arange(1, 60), 5, replace=False)
        value = rng.random(5) < 0.5
        meant = np.concatenate([meant, np.zeros(max(0, seqs.max() + 1 - len(meant)), bool)])
        meant[seqs] = value
        mask.change(seqs, value, place[seqs])
        anew = Mask(meant, shards)
        assert np.array_equal(mask.by_seq[: len(meant)], meant) and not mask.by_seq[len(meant) :].any()
        assert all(map(np.array_equal, mask.rows, anew.rows))


def test_rows_that_a_segment_gains_are_meant_as_their_versions_are():
    mask = Mask(np.array([False, True, False, True]), [Shard(6, np.array([1, 2]))])
    mask.gain(0, 2, np.array([3, 9]))  # of version 9 nobody has told it
    assert mask.rows[0].tolist() == [True, False, True, False, False, False]
    mask.add_shard(3)
    assert mask.rows[1].tolist() == [False] * 3
