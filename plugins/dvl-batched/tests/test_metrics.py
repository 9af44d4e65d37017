"""Scores of stacks of predictions against those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as theirs

from dvl_batched import metrics as ours

SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 30))


@st.composite
def labelled(draw, n_classes):
    b, t = draw(SHAPES)
    labels = hnp.arrays(np.int64, t, elements=st.integers(0, n_classes - 1))
    y = draw(labels)
    y[: min(t, n_classes)] = np.arange(min(t, n_classes))
    return draw(hnp.arrays(np.int64, (b, t), elements=st.integers(0, n_classes - 1))), y


@st.composite
def probable(draw, n_classes):
    _, y = draw(labelled(n_classes))
    b, t = draw(st.integers(1, 4)), max(len(y), n_classes)
    y = np.resize(y, t)
    y[:n_classes] = np.arange(n_classes)
    weights = draw(hnp.arrays(float, (b, n_classes, t), elements=st.floats(0, 1)))
    weights[:, 0] += weights.sum(axis=1) == 0
    return weights / weights.sum(axis=1, keepdims=True), y


@settings(max_examples=25, deadline=None)
@given(labelled(4))
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_label_scores(case):
    labels, y = case
    accuracy = [theirs.accuracy_score(y, row) for row in labels]
    balanced = [theirs.balanced_accuracy_score(y, row) for row in labels]
    np.testing.assert_allclose(ours.accuracy(labels, y), accuracy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.balanced_accuracy(labels, y), balanced, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([2, 3]).flatmap(probable))
def test_probability_scores(case):
    probabilities, y = case
    log_loss = [-theirs.log_loss(y, p.T) for p in probabilities]
    brier = [-np.mean(((np.eye(len(p))[y] - p.T) ** 2).sum(axis=1)) for p in probabilities]
    if probabilities.shape[1] == 2:
        brier = [-theirs.brier_score_loss(y, p[1]) for p in probabilities]
    np.testing.assert_allclose(ours.neg_log_loss(probabilities, y), log_loss, rtol=1e-12)
    np.testing.assert_allclose(ours.neg_brier_score(probabilities, y), brier, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(labelled(2), st.booleans(), st.integers(0, 10**6))
def test_area_under_the_curve_with_ties(case, tied, seed):
    labels, y = case
    scores = labels * 1.0 if tied else np.random.default_rng(seed).normal(size=labels.shape)
    expected = [theirs.roc_auc_score(y, row) for row in scores]
    np.testing.assert_allclose(ours.roc_auc(scores, y), expected, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 10**6))
def test_scores_of_numbers(shape, seed):
    rng = np.random.default_rng(seed)
    values, y = rng.normal(size=shape), rng.normal(size=shape[1])
    for own, other in (
        (ours.mean_squared_error, theirs.mean_squared_error),
        (ours.mean_absolute_error, theirs.mean_absolute_error),
        (ours.r2, theirs.r2_score),
    ):
        np.testing.assert_allclose(own(values, y), [other(y, row) for row in values], rtol=1e-12)
