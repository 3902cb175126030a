"""Minimum-norm weights against closed forms and an exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pliant.training import min_norm


def gram(*rows: tuple[float, ...]) -> min_norm.Vector:
    matrix = np.array(rows, np.float64)
    return np.asarray(matrix @ matrix.T)


def test_orthogonal_gradients_share() -> None:
    inner = gram((1, 0), (0, 1))
    found = min_norm.weights(inner)
    assert found == pytest.approx([0.5, 0.5])
    assert found @ inner @ found == pytest.approx(0.5)


def test_the_shorter_of_parallel_gradients_wins() -> None:
    assert min_norm.weights(gram((1, 0), (3, 0))) == pytest.approx([0.999, 0.001])
    assert min_norm.weights(gram((3, 0), (1, 0))) == pytest.approx([0.001, 0.999])


def test_one_gradient_has_all_the_weight() -> None:
    assert min_norm.weights(gram((2, 5))).tolist() == [1]


def test_opposite_gradients_cancel() -> None:
    inner = gram((2, 0), (-1, 0))
    found = min_norm.weights(inner)
    assert found == pytest.approx([1 / 3, 2 / 3])
    assert found @ inner @ found == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_three_gradients_against_a_grid(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(3, 4))
    inner = rows @ rows.T
    found = min_norm.weights(inner)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    grid = np.linspace(0, 1, 101)
    best = min(
        float(w @ inner @ w)
        for a, b in itertools.product(grid, grid)
        if a + b <= 1 and (w := np.array([a, b, 1 - a - b])) is not None
    )
    assert found @ inner @ found <= best * 1.02 + 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_no_objective_gets_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(8, 200)) * np.geomspace(1, 30, 8)[:, None] + rng.normal(size=200)
    norms = np.linalg.norm(rows, axis=1)
    scale = min_norm.scales("l2", np.ones(8), norms)
    inner = rows @ rows.T / np.outer(scale, scale)
    found = min_norm.weights(inner)
    assert (inner @ found > -1e-3).all()


def test_normalisations() -> None:
    losses, norms = np.array([2.0, 4.0]), np.array([3.0, 5.0])
    expected = {"none": [1, 1], "l2": [3, 5], "loss": [2, 4], "loss+": [6, 20]}
    assert set(expected) == set(min_norm.NORMALISATIONS)
    for kind, scale in expected.items():
        assert min_norm.scales(kind, losses, norms).tolist() == scale
