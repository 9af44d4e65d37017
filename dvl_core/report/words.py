"""The summary of the report in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dvl_core.run_state import INTERRUPTED

if TYPE_CHECKING:
    from dvl_core.report.page import ReportData

__all__ = ["summary_sentences"]


def summary_sentences(data: ReportData) -> list[str]:
    """Return what a reader in a hurry should know, a sentence each."""
    sentences = [_what(data), _harm(data), _removal(data), _certainty(data)]
    if data.known_bad:
        bad = data.known_bad
        sentences.append(
            f"Of {bad['planted']} errors planted on purpose, {bad['found']} are among the "
            f"{bad['examined']} lowest values."
        )
    if data.result.n_failures:
        count = data.result.n_failures
        sentences.append(
            f"{count:,} training{' was' if count == 1 else 's were'} impossible (no rows, one "
            "class, too few rows) and scored what a model that learned nothing scores."
        )
    return [sentence for sentence in sentences if sentence]


def _what(data: ReportData) -> str:
    """Say what was valued, how."""
    result, judge = data.result, data.run.get("judge", {})
    text = f"{len(result):,} {data.unit} were valued by {result.algorithm}"
    score = data.run.get("score_of_all")
    if score is not None:
        text += f"; a model trained on all of them has a test {judge['scorer']} of {score:.4g}"
    return text + "."


def _harm(data: ReportData) -> str:
    """Say how many players are worth less than nothing."""
    result = data.result
    negative = int((result.values < 0).sum())
    clearly = int((result.confidence_interval()[:, 1] < 0).sum())
    known = int(np.isfinite(result.values).sum())
    if not known:
        return ""
    if negative == known and known > 1:
        # Such as mean squared errors with their sign turned: zero is the best there is.
        return f"All values are below zero; the lowest are the {data.unit} to look at first."
    have = f"{negative:,} {data.unit} have" if negative > 1 else f"1 {data.unit[:-1]} has"
    if not negative:
        return f"No value is below zero; the lowest are the {data.unit} to look at first."
    if not (result.stderr > 0).any():
        return f"{have} a value below zero: the score is better without."
    return (
        f"{have} a value below zero; for {clearly:,} of them the whole 95 % interval is below zero."
    )


def _removal(data: ReportData) -> str:
    """Say what the best cut of the removal curve would bring."""
    curve = data.removal
    if curve is None:
        return ""
    best = int(np.argmax(curve.lowest))
    if best == 0 or curve.lowest[best] <= curve.lowest[0]:
        return f"Removing the {data.unit} with the lowest values does not improve the test score."
    return (
        f"At best, removing the lowest {curve.fractions[best]:.0%} takes the test score from "
        f"{curve.lowest[0]:.4g} to {curve.lowest[best]:.4g}; removing as many at random gives "
        f"{curve.random_mean[best]:.4g} on average."
    )


def _certainty(data: ReportData) -> str:
    """Say how sure the numbers are."""
    result = data.result
    unknown = int(np.isnan(result.values).sum())
    missing = f" {unknown:,} {data.unit} have no value: nothing informs them." if unknown else ""
    if result.stop_reason == INTERRUPTED:
        return "The run was interrupted: these are partial results." + missing
    if not result.counts.any():
        return "No evaluation informs these values." + missing
    if not (result.stderr > 0).any():
        if result.extras.get("guarantee", "exact") == "exact":
            return "The values are exact for this method and data." + missing
        if "error_bound" in result.extras:
            bound = result.extras["error_bound"]
            return f"The values are exact but for an error of at most {bound:.2g} each." + missing
        return "All observations of a value agreed, so that no error can be told." + missing
    finite = result.stderr[np.isfinite(result.stderr)]
    spread = float(np.nanstd(result.values))
    if not len(finite):
        return "The standard errors are not known yet: the budget was too small." + missing
    if spread <= 1e-9 * float(np.nanmax(np.abs(result.values))):
        return "All values are equal." + missing
    typical = float(np.median(finite))
    share = typical / spread if spread > 0 else np.inf
    verdict = (
        "rankings are reliable"
        if share < 0.2
        else "rankings are rough: neighbours may swap places"
        if share < 0.6
        else "rankings are mostly noise: give it a larger budget"
    )
    return (
        f"The typical standard error is {typical:.2g}, {share:.0%} of the spread of the values: "
        f"{verdict}." + missing
    )
