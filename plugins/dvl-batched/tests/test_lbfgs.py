"""The stacked solver takes the steps of SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from dvl_batched.lbfgs import minimise


class Bowls:
    """Functions of three parameters: flat and steep valleys, curved ones, and cliffs."""

    def __init__(self, scales, bends):
        self.scales, self.bends = scales, bends

    def one(self, x, i):
        values, gradients = self(x[None], np.array([i]))
        return values[0], gradients[0]

    def __call__(self, x, which):
        scales, bends = self.scales[which], self.bends[which]
        u = x - 1.0
        v = x[:, 1] - x[:, 0] ** 2
        values = np.log(np.cosh(scales * u)).sum(axis=1) + bends * v**2 + 0.01 * (u**4).sum(axis=1)
        gradients = scales * np.tanh(scales * u) + 0.04 * u**3
        gradients[:, 1] += 2 * bends * v
        gradients[:, 0] -= 4 * bends * v * x[:, 0]
        return values, gradients


@pytest.mark.parametrize("seed", range(2))
def test_it_stops_where_and_when_scipy_does(seed):
    rng = np.random.default_rng(seed)
    bowls = Bowls(10 ** rng.uniform(-1, 1, size=(12, 3)), 10 ** rng.uniform(-1, 1.5, size=12))
    start = rng.normal(size=(12, 3)) * 3
    found, taken = minimise(bowls, start, tolerance=1e-5, most_steps=200)
    options = {"gtol": 1e-5, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    # Some line searches end by running out of room: those are left to the original.
    assert (taken >= 0).mean() > 0.7
    for i in np.flatnonzero(taken >= 0):
        theirs = minimize(
            bowls.one, start[i], args=(i,), jac=True, method="L-BFGS-B", options=options
        )
        assert theirs.nit == taken[i]
        np.testing.assert_allclose(found[i], theirs.x, rtol=1e-6, atol=1e-6)


def test_a_start_at_the_minimum_takes_no_step():
    bowls = Bowls(np.ones((2, 3)), np.zeros(2))
    _, taken = minimise(bowls, np.ones((2, 3)), tolerance=1e-5, most_steps=10)
    np.testing.assert_array_equal(taken, 0)


def test_too_few_steps_are_told():
    bowls = Bowls(np.ones((1, 3)), np.full(1, 30.0))
    _, taken = minimise(bowls, np.full((1, 3), 3.0), tolerance=1e-8, most_steps=3)
    assert taken[0] == -1
