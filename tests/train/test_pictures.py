"""Scenes say what they show: places, colours and relations are those of the caption, pairs are never
shared.
"""

import io
import json
import random
import tarfile

import numpy as np
import pytest
from PIL import Image

from bowstring.train.data.pictures import (
    COLOURS,
    GROUNDS,
    LARGEST_IMAGE,
    NAMES,
    SOLIDS,
    STYLES,
    Concept,
    Icons,
    Scene,
    Thing,
    alone,
    archive_of,
    captions,
    compose,
    drawn,
    is_held_out,
    load,
    member,
    relation,
    scenes,
    solids,
)

CONCEPTS = [Concept(name, name, ("thing",)) for name in ("disc", "box", "egg", "apple", "owl", "tree")]
DISC = '<circle cx="5" cy="5" r="5" fill="#333333"/>'
ICONS = Icons({s: {c.name: f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">{DISC}</svg>' for c in CONCEPTS} for s in STYLES})  # fmt: skip  # noqa: E501
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
    picture = drawn(Scene((red, blue), "noto", "sand"), ICONS, 100)
    assert picture.shape == (100, 100, 3) and tuple(picture[2, 2]) == GROUNDS["sand"]
    for thing in (red, blue):
        seen = picture[round(100 * thing.y), round(100 * thing.x)].astype(float)
        tone = np.array(COLOURS[thing.colour], float)
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
    share = np.mean([is_held_out(f"c{i}", style) for i in range(2000) for style in STYLES])
    assert abs(share - 0.15) < 4 * (0.15 * 0.85 / 8000) ** 0.5


def test_packages_give_icons_and_concepts_that_all_styles_draw(tmp_path):
    for style, (package, version, _) in STYLES.items():
        names = {"fox": {"body": DISC}, "red-apple": {"body": DISC}, style: {"body": DISC}}
        packed(archive_of(tmp_path, package, version), {"icons.json": {"width": 10, "icons": names}})
    rows = [
        {"label": "fox", "tags": ["animal"], "hexcode": "1F98A"},
        {"label": "Red Apple"},
        {"label": "noto"},
        {"label": "rocket"},
    ]
    packed(archive_of(tmp_path, *NAMES[:2]), {"en/compact.json": rows})
    icons, concepts = load(tmp_path)
    assert [(c.name, c.label, c.tags) for c in concepts] == [
        ("fox", "fox", ("animal",)),
        ("red-apple", "red apple", ()),
    ]
    assert concepts[0].code == "1f98a"
    picture = alone(concepts[0], icons, "fluent", 64)
    assert tuple(picture[0, 0]) == (255, 255, 255) and picture[32, 32].max() < 80
    assert {captions(concepts[0], random.Random(i)) for i in range(40)} == {
        "fox", "a fox", "a picture of fox", "fox, animal"}  # fmt: skip


def test_images_for_the_judge_are_found_by_their_code_points(tmp_path):
    file = io.BytesIO()
    Image.new("RGBA", (40, 40), (200, 30, 30, 255)).save(file, "WEBP", lossless=True)
    names = {"assets/1f98a.webp": file.getvalue(), "assets/2618-fe0f.webp": file.getvalue()}
    packed(archive_of(tmp_path, *SOLIDS[:2]), names)
    codes = {"fox": "1f98a", "shamrock": "2618", "owl": "1f989"}
    concepts = [Concept(name, name, (), 3, code) for name, code in codes.items()]
    images = solids(tmp_path, concepts, 16)
    assert [*images] == ["fox", "shamrock"]
    assert images["fox"].size == (16, 16) and images["fox"].getpixel((8, 8)) == (200, 30, 30, 255)
    packed(archive_of(tmp_path, *SOLIDS[:2]), {"assets/1f98a.webp": b"0" * (LARGEST_IMAGE + 1)})
    with pytest.raises(ValueError, match=r"1f98a.webp has 2097153 bytes"):
        solids(tmp_path, concepts)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="data pictures --download"):
        solids(tmp_path, CONCEPTS)
    with pytest.raises(FileNotFoundError, match="data pictures --download"):
        load(tmp_path)
    packed(tmp_path / "x-1.tgz", {"other.json": {}})
    with pytest.raises(ValueError, match=r"no file icons.json"):
        member(tmp_path / "x-1.tgz", "icons.json")
