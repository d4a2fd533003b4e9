import numpy as np
import pytest

from bowstring.eval.judges.scenes import Detector, Found, judged_scene
from bowstring.train.data.pictures import Concept, Icons, Scene, Thing, scene_picture

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
SHAPES = {
    "ball": '<circle cx="8" cy="8" r="7" fill="#555"/><circle cx="6" cy="6" r="2" fill="#ddd"/>',
    "bar": '<rect x="1" y="6" width="14" height="4" fill="#853"/>',
    "cross": '<path d="M7 1h2v6h6v2h-6v6h-2v-6h-6v-2h6z" fill="#357"/>',
    "hill": '<path d="M8 2L15 14H1z" fill="#282"/>',
}
CONCEPTS = [Concept(name, name, (), 3) for name in SHAPES]
BALL, BAR, CROSS, _ = CONCEPTS


@pytest.fixture(scope="module")
def icons():
    pytest.importorskip("resvg_py")
    return Icons({"noto": {name: f"{HEAD}{body}</svg>" for name, body in SHAPES.items()}})


@pytest.fixture(scope="module")
def detector(icons):
    return Detector(icons, CONCEPTS, "noto")


SCENES = [
    Scene((Thing(BALL, "", "", 0.3, 0.5),), "noto"),
    Scene((Thing(BALL, "red", "big", 0.31, 0.4), Thing(CROSS, "", "small", 0.8, 0.52)), "noto", "sky"),
    Scene(
        (
            Thing(BAR, "purple", "", 0.21, 0.22),
            Thing(BALL, "green", "small", 0.77, 0.2),
            Thing(CROSS, "yellow", "", 0.7, 0.7),
        ),
        "noto",
        "sand",
    ),
]


@pytest.mark.parametrize("scene", SCENES, ids=Scene.caption)
def test_a_scene_is_taken_apart_exactly(scene, detector, icons):
    noise = np.random.default_rng(0).normal(0, 0.05, (256, 256, 3))
    found = detector.find(scene_picture(scene, icons, 256) / 255 + noise, len(scene.things))
    assert judged_scene(scene, found) == {"objects": True, "colours": True, "relations": True}
    by_name = {one.name: one for one in found}
    for thing in scene.things:
        one = by_name[thing.concept.name]
        assert (one.colour, one.size) == (thing.colour, thing.size)
        assert (one.x, one.y) == pytest.approx((thing.x, thing.y), abs=0.02)


def test_an_empty_ground_holds_nothing(detector):
    assert detector.find(np.ones((256, 256, 3)), 2) == []


def test_each_fault_is_named():
    scene = SCENES[1]
    right = [Found("ball", "red", "big", 0.3, 0.4), Found("cross", "", "small", 0.8, 0.5)]
    assert all(judged_scene(scene, right[::-1]).values())
    other = [right[0], Found("bar", "", "small", 0.8, 0.5)]
    assert judged_scene(scene, other) == {"objects": False, "colours": True, "relations": True}
    blue = [Found("ball", "blue", "big", 0.3, 0.4), right[1]]
    assert judged_scene(scene, blue) == {"objects": True, "colours": False, "relations": True}
    moved = [right[0], Found("cross", "", "small", 0.3, 0.9)]
    assert judged_scene(scene, moved) == {"objects": True, "colours": True, "relations": False}
    assert not any(judged_scene(scene, right[:1]).values())
