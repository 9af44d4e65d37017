"""Running moments equal the moments of everything seen, however it was cut into batches."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dvl_core.statistics import RunningMoments, standard_errors


@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 30), max_size=5),
    offset=st.sampled_from([0.0, 1e8]),
)
def test_batches_of_rows_equal_one_pass(seed: int, cuts: list[int], offset: float) -> None:
    rows = offset + np.random.default_rng(seed).normal(size=(30, 3))
    moments = RunningMoments(3)
    for part in np.split(rows, sorted(cuts)):
        moments.add_rows(part)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(moments.variances(), rows.var(axis=0, ddof=1), rtol=1e-6)
    assert (moments.count == 30).all()


@given(seed=st.integers(0, 10**6), cut=st.integers(0, 50))
def test_scattered_observations_equal_one_pass(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    positions, observations = rng.integers(0, 4, size=50), rng.normal(size=50)
    moments = RunningMoments(4)
    moments.add_observations(positions[:cut], observations[:cut])
    moments.add_observations(positions[cut:], observations[cut:])
    for i in range(4):
        mine = observations[positions == i]
        assert moments.count[i] == len(mine)
        if len(mine) > 1:
            np.testing.assert_allclose(moments.mean[i], mine.mean(), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(moments.variances()[i], mine.var(ddof=1), rtol=1e-10)


def test_what_was_never_seen_has_no_value() -> None:
    moments = RunningMoments(2)
    moments.add_observations(np.array([0]), np.array([3.0]))
    estimate = moments.estimate()
    assert estimate.values[0] == 3.0
    assert np.isnan(estimate.values[1])
    assert np.isinf(estimate.stderr).all()


def test_state_restores_to_the_bit() -> None:
    moments = RunningMoments(3)
    moments.add_rows(np.random.default_rng(0).normal(size=(7, 3)))
    copy = RunningMoments(3)
    copy.restore(moments.state())
    rows = np.random.default_rng(1).normal(size=(5, 3))
    moments.add_rows(rows)
    copy.add_rows(rows)
    assert moments.mean.tobytes() == copy.mean.tobytes()
    assert moments.m2.tobytes() == copy.m2.tobytes()


def test_one_observation_is_no_certainty() -> None:
    stderr = standard_errors(np.array([0.0, 0.0]), np.array([1, 2]))
    assert stderr.tolist() == [np.inf, 0.0]
