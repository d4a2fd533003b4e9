import numpy as np
import pytest

from bowstring.train.data.gallery import CURATED, Picture, curated, plan, render_picture, views, ways
from bowstring.train.data.pictures import STYLE_PACKAGES, Concept, Icons, pair_held_out


def concepts():
    return [
        Concept(f"thing-{i}", f"thing {i}", ("word", "other"), group)
        for i, group in enumerate([*[3, 4, 5, 7] * 10, 1, 8])
    ]


def test_a_plan_holds_every_curated_pair_once_and_says_which_are_held_out():
    pictures = plan(concepts(), 20, 5)
    icons = [p for p in pictures if p.scene is None]
    assert len(icons) == 40 * len(STYLE_PACKAGES)
    assert all(p.held_out == pair_held_out(p.concept, p.style) for p in icons)
    scenes = [p for p in pictures if p.scene is not None]
    assert sum(not p.held_out for p in scenes) == 20
    used = {(t.concept.name, p.style) for p in scenes if not p.held_out for t in p.scene.things}
    assert not any(pair_held_out(*pair) for pair in used)
    assert {c.group for c in curated(concepts())} <= CURATED


def test_the_label_is_the_first_way_to_ask():
    found = ways(concepts()[0])
    assert found[0] == "thing 0"
    assert "a thing 0" in found and len(set(found)) == len(found) <= 8


def test_painting_follows_the_plan():
    pytest.importorskip("resvg_py")
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    svg = head + '<rect width="16" height="16" fill="#f00"/></svg>'
    icons = Icons({style: {"thing-0": svg} for style in STYLE_PACKAGES})
    picture = Picture(("thing 0",), "noto", "thing-0", False)
    made = render_picture(picture, icons, {"thing-0": concepts()[0]}, 64)
    assert made.shape == (64, 64, 3) and made.dtype == np.uint8
    assert made[32, 32].tolist() == [255, 0, 0] and made[0, 0].tolist() == [255, 255, 255]


def test_views_are_of_icons_that_may_be_learned_from_and_differ():
    pytest.importorskip("resvg_py")
    pictures = plan(concepts(), 4, 2)
    found = views(pictures, 2)
    learned = [p for p in pictures if p.scene is None and not p.held_out]
    assert len(found) == 2 * len(learned) and not any(p.held_out or p.scene for p in found)
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    svg = head + '<rect width="8" height="16" fill="#f00"/></svg>'
    icons = Icons({style: {found[0].concept: svg} for style in STYLE_PACKAGES})
    by_name = {c.name: c for c in concepts()}
    first, second = (render_picture(one, icons, by_name, 64).astype(int) for one in found[:2])
    assert first.shape == (64, 64, 3) and np.abs(first - second).mean() > 10
    assert (render_picture(found[0], icons, by_name, 64) == first).all()
    red = lambda image: (image[..., 1] < 128).nonzero()[1].mean()
    assert red(first) > red(second)  # odd views are seen in a mirror
