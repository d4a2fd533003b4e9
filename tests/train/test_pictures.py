"""Scenes say what they show: places, colours and relations are those of the caption, pairs are never
shared.
"""

import io
import json
import random
import tarfile

import numpy as np
import pytest

from bowstring.train.data.pictures import (
    GROUNDS,
    JUDGE_PACKAGES,
    NAMES_PACKAGE,
    STYLE_PACKAGES,
    TINTS,
    Concept,
    Icons,
    Scene,
    Thing,
    archive_of,
    compose,
    icon_caption,
    icon_picture,
    load_icons,
    member,
    pair_held_out,
    pair_unseen,
    relation,
    scene_picture,
    scenes,
)

CONCEPTS = [Concept(name, name, ("thing",)) for name in ("disc", "box", "egg", "apple", "owl", "tree")]
DISC = '<circle cx="5" cy="5" r="5" fill="#333333"/>'
ICONS = Icons({s: {c.name: f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">{DISC}</svg>' for c in CONCEPTS} for s in STYLE_PACKAGES})  # fmt: skip  # noqa: E501
resvg = pytest.importorskip("resvg_py")


def packed(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            raw = data if isinstance(data, bytes) else json.dumps(data).encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))


def test_a_thing_is_drawn_where_it_is_said_to_be_and_in_its_colour():
    red, blue = Thing(CONCEPTS[0], "red", "", 0.25, 0.5), Thing(CONCEPTS[1], "blue", "", 0.75, 0.5)
    picture = scene_picture(Scene((red, blue), "noto", "sand"), ICONS, 100)
    assert picture.shape == (100, 100, 3) and tuple(picture[2, 2]) == GROUNDS["sand"]
    for thing in (red, blue):
        seen = picture[round(100 * thing.y), round(100 * thing.x)].astype(float)
        tone = np.array(TINTS[thing.colour], float)
        assert np.dot(seen, tone) / np.linalg.norm(seen) / np.linalg.norm(tone) > 0.97


def test_captions_name_what_there_is_and_where():
    a, b = Thing(CONCEPTS[2], "", "big", 0.3, 0.3), Thing(CONCEPTS[1], "green", "", 0.35, 0.8)
    c = Thing(CONCEPTS[4], "", "small", 0.9, 0.75)
    assert Scene((a,), "noto").caption() == "a big egg"
    assert Scene((a, b), "noto", "sky").caption() == "a big egg above a green box on sky"
    assert Scene((a, b, c), "noto").caption().endswith(", and a small owl right of it")
    assert Thing(CONCEPTS[3], "", "", 0, 0).words() == "an apple"
    assert relation(b, a) == "below" and relation(c, b) == "right of"


def test_scenes_fit_the_picture_are_clear_and_repeat_themselves():
    made = [compose(random.Random(i), CONCEPTS, "flat") for i in range(100)]
    for scene in made:
        for i, thing in enumerate(scene.things):
            assert thing.side / 2 <= min(thing.x, thing.y) and max(thing.x, thing.y) <= 1 - thing.side / 2
            for other in scene.things[:i]:
                assert relation(thing, other) != relation(other, thing)
    assert made[7] == compose(random.Random(7), CONCEPTS, "flat")
    assert {len(scene.things) for scene in made} == {1, 2, 3}


def test_no_pair_of_concept_and_style_is_in_both_halves():
    many = [Concept(f"c{i}", f"c{i}", ()) for i in range(200)]
    halves = [
        {
            (thing.concept.name, scene.style)
            for scene in scenes(many, 300, held_out=h)
            for thing in scene.things
        }
        for h in (False, True)
    ]
    assert halves[0] and halves[1] and not halves[0] & halves[1]
    share = np.mean([pair_held_out(f"c{i}", style) for i in range(2000) for style in STYLE_PACKAGES])
    assert abs(share - 0.15) < 4 * (0.15 * 0.85 / 8000) ** 0.5


def test_twins_of_one_concept_are_held_out_together():
    """A model that has seen the fluent fox has seen the flat one."""
    names = [f"c{i}" for i in range(500)]
    assert any(pair_held_out(name, "flat") for name in names)
    assert all(pair_held_out(name, "flat") == pair_held_out(name, "fluent") for name in names)
    assert any(pair_held_out(name, "flat") != pair_held_out(name, "noto") for name in names)


def test_what_a_model_of_the_first_rule_has_not_seen_was_held_out_with_its_twins():
    names = [f"c{i}" for i in range(2000)]
    both = [name for name in names if pair_unseen(name, "flat", rule=1)]
    assert both == [name for name in names if pair_unseen(name, "fluent", rule=1)]
    assert len(both) / 2000 == pytest.approx(0.15**2, abs=0.015)
    assert sum(pair_unseen(name, "noto", rule=1) for name in names) / 2000 == pytest.approx(0.15, abs=0.03)


def test_no_judge_learns_an_edition_of_a_painted_style():
    painted = ("noto", "fluent", "twemoji")
    assert not any(word in package for package, *_ in JUDGE_PACKAGES.values() for word in painted)


def test_packages_give_icons_and_concepts_that_all_styles_draw(tmp_path):
    for style, (package, version, _) in STYLE_PACKAGES.items():
        names = {"fox": {"body": DISC}, "red-apple": {"body": DISC}, style: {"body": DISC}}
        packed(archive_of(tmp_path, package, version), {"icons.json": {"width": 10, "icons": names}})
    rows = [
        {"label": "fox", "tags": ["animal"]},
        {"label": "Red Apple"},
        {"label": "noto"},
        {"label": "rocket"},
    ]
    packed(archive_of(tmp_path, *NAMES_PACKAGE[:2]), {"en/compact.json": rows})
    icons, concepts = load_icons(tmp_path)
    assert [(c.name, c.label, c.tags) for c in concepts] == [
        ("fox", "fox", ("animal",)),
        ("red-apple", "red apple", ()),
    ]
    picture = icon_picture(concepts[0], icons, "fluent", 64)
    assert tuple(picture[0, 0]) == (255, 255, 255) and picture[32, 32].max() < 80
    assert {icon_caption(concepts[0], random.Random(i)) for i in range(40)} == {
        "fox", "a fox", "a picture of fox", "fox, animal"}  # fmt: skip


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="data pictures --download"):
        load_icons(tmp_path)
    packed(tmp_path / "x-1.tgz", {"other.json": {}})
    with pytest.raises(ValueError, match=r"no file icons.json"):
        member(tmp_path / "x-1.tgz", "icons.json")
