"""Fields as pictures: colours that are fair to both signs, and files that give back what was written."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bowstring.fields.picture import ANCHORS, diverging_colours, field_grid, write_fields


def test_colours_are_those_of_the_anchors_and_stop_at_the_limit():
    found = diverging_colours(torch.tensor([[-9.0, -2.0, -1.0, 0.0, 1.0, 2.0, 9.0]]), limit=2.0)[0]
    assert found.tolist() == ANCHORS[[0, 0, 1, 2, 3, 4, 4]].astype(int).tolist()


def test_a_field_of_nothing_is_paper():
    assert (diverging_colours(torch.zeros(3, 3)) == ANCHORS[2]).all()


def test_fields_stand_row_by_row_in_the_same_colours():
    """Three fields of 2 x 2 sites, two columns, three pixels a site: the second is the first, turned over."""
    x = torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    grid = np.asarray(field_grid(torch.stack([x, -x, x]), columns=2, scale=3, gap=4))
    assert grid.shape == (6 + 4 + 6, 6 + 4 + 6, 3)
    first, second, third = grid[:6, :6], grid[:6, 10:], grid[10:, :6]
    assert np.array_equal(first[::3, ::3], diverging_colours(x, 1.0)) and np.array_equal(first, third)
    assert np.array_equal(second[::3, ::3], diverging_colours(-x, 1.0))
    assert (grid[6:10] == 255).all() and (grid[10:, 10:] == 255).all()


def test_files_give_back_numbers_and_settings(tmp_path):
    x = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    write_fields(tmp_path / "x.npy", x, {})
    assert np.array_equal(np.load(tmp_path / "x.npy"), x.numpy())
    write_fields(tmp_path / "x.png", x, {"family": "phi4", "beta": 0.45})
    assert json.loads(Image.open(tmp_path / "x.png").text["bowstring"]) == {"family": "phi4", "beta": 0.45}
    with pytest.raises(ValueError, match="npy"):
        write_fields(tmp_path / "x.jpg", x, {})
