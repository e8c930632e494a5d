"""The minimiser of the fits: when it stops, that it never goes up, and what its memory is worth."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from mg_fusion.minimise import _direction, minimise

Point = np.ndarray


def bowl(height: float) -> Callable[[Point], tuple[float, Point]]:
    return lambda point: (height + float(point @ point) / 2, point)


def test_it_stops_where_the_slope_is_small_against_a_value_above_one() -> None:
    for height, slope, moves in (
        (1e6, 0.05, False),
        (1e6, 0.2, True),
        (1.5, 0.018, True),
        (0.1, 0.012, True),
    ):
        tolerance = 1e-7 if height > 2 else 1e-2
        found = minimise(bowl(height), np.array([slope]), tolerance=tolerance)
        assert (found[0] != slope) == moves
    assert minimise(bowl(0.1), np.array([0.008]), tolerance=1e-2)[0] == 0.008
    assert minimise(bowl(1.0), np.zeros(0)).shape == (0,)


def test_the_value_never_rises_from_step_to_step() -> None:
    def rosenbrock(point: Point) -> tuple[float, Point]:
        x, y = point
        slope = np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2, slope

    start = np.array([-1.2, 1.0])
    values = [rosenbrock(minimise(rosenbrock, start, steps=steps))[0] for steps in range(40)]
    assert all(after <= before for before, after in pairwise(values))
    assert values[-1] < 1e-8


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_memory_holds_for_its_last_step_and_points_downhill(count: int) -> None:
    generator = np.random.default_rng(count)
    root = generator.normal(size=(6, 6))
    curve = root @ root.T + np.eye(6)
    moves = generator.normal(size=(count, 6))
    pairs = [(moved, curve @ moved, float(moved @ curve @ moved)) for moved in moves]
    # The secant equation: a slope that is what the last step turned is undone by that step.
    np.testing.assert_allclose(_direction(curve @ moves[-1], pairs), -moves[-1], atol=1e-9)
    for slope in generator.normal(size=(20, 6)):
        assert _direction(slope, pairs) @ slope < 0
    slope = generator.normal(size=6)
    np.testing.assert_array_equal(_direction(slope, []), -slope)


def test_a_memory_of_conjugate_steps_knows_the_whole_curve() -> None:
    curve = np.diag([1.0, 4.0, 9.0])
    pairs = [(axis, curve @ axis, float(axis @ curve @ axis)) for axis in np.eye(3)]
    np.testing.assert_allclose(_direction(np.array([1.0, 4.0, 9.0]), pairs), [-1.0, -1.0, -1.0])
