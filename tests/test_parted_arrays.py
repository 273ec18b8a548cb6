"""Derivatives to fourth order over Arrays whose places take different branches: none lets NaN out of a dead one."""

import numpy as np
import pytest

PARTED = {
    "where": lambda fp, y: fp.where(y > 1.0, fp.arccosh(y), y**3),
    "where, 1/0": lambda fp, y: fp.where(y != 0.0, 1.0 / y, y**3),
    "relu": lambda fp, y: fp.relu(y) ** 3,
    "maximum": lambda fp, y: fp.maximum(y, y * y) ** 3,
    "clip": lambda fp, y: fp.clip(y, 0.2, 1.5) ** 3,
    "leaky_relu": lambda fp, y: fp.leaky_relu(y) ** 3,
    "absolute": lambda fp, y: abs(y) ** 3,
    "log": lambda fp, y: fp.log(y * y + 1.0),
}


@pytest.mark.parametrize("name", PARTED)
def test_an_array_whose_places_take_different_branches_has_the_derivatives_of_its_units(engine, name):
    points = np.array([2.0, 0.5, -1.3, 0.0])
    if name in ("leaky_relu", "absolute"):
        points = points[:3]

    def each(y):
        return PARTED[name](engine, y)

    def derivative(f):
        return lambda y: engine.grad(lambda z: engine.sum(f(z)))(y)

    by_array, by_unit = each, each
    for _ in range(4):
        by_array, by_unit = derivative(by_array), engine.grad(by_unit)
        assert by_array(points) == pytest.approx([by_unit(point) for point in points], rel=1e-9, abs=1e-9)
