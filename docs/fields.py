"""Draws docs/fields.png: one field of each family, and one from coarse to fine. Run: python docs/fields.py"""

import math

import numpy as np
from PIL import Image

from bowstring.fields.picture import diverging_colours
from bowstring.fields.sampling import MultiScaleGenerator, fields
from bowstring.fields.weights import load_fields

SIDE, GAP = 256, 6
model = load_fields()
shown = [
    fields(model, "phi4", 0.45, seed=1)[0],
    fields(model, "phi4", 0.62, seed=2)[0],
    fields(model, "ising", 0.44, seed=3)[0],
    fields(model, "cahn-hilliard", math.log10(30), seed=4, second=0.0)[0],
    fields(model, "cahn-hilliard", math.log10(250), seed=5, second=-0.3)[0],
    fields(model, "heat", math.log10(30), seed=6)[0] - 1,
]
scales = [x[0] for x in MultiScaleGenerator(model).sample(0.62, seed=7)]
rows = [shown[:3], shown[3:], scales]
canvas = np.full((3 * (SIDE + GAP) - GAP, 3 * (SIDE + GAP) - GAP, 3), 255, np.uint8)
for r, row in enumerate(rows):
    for c, x in enumerate(row):
        zoom = SIDE // x.shape[0]
        cell = diverging_colours(x).repeat(zoom, 0).repeat(zoom, 1)
        canvas[r * (SIDE + GAP) :, c * (SIDE + GAP) :][:SIDE, :SIDE] = cell
Image.fromarray(canvas).save("docs/fields.png")
