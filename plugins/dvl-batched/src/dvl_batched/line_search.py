"""The line search of Moré & Thuente (1994) on many problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["search"]

DECREASE = 1e-3
FLATTER = 0.9
NARROW = 0.1
SHRINK = 0.66
LEAST_GROWTH, MOST_GROWTH = 1.1, 4.0
MOST_TRIALS = 20
LONGEST = 1e10


def search(
    objective: Any,
    paths: Any,
    direction: FloatArray,
    slope: FloatArray,
    first: FloatArray,
    going: BoolArray,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Move `paths` along `direction` to points with less and flatter functions.

    Parameters
    ----------
    objective : Objective
        The functions.
    paths : object
        With the points ``x`` [a, p], values ``f`` [a], gradients ``g`` [a, p] and the numbers
        ``which`` [a] of the functions; the first three are replaced.
    direction : float array [a, p]
        Directions of descent.
    slope : float array [a]
        Derivatives along them.
    first : float array [a]
        First trial lengths.
    going : bool array [a]
        Which of them to search for.

    Returns
    -------
    length : float array [a]
        Of the steps taken.
    slope : float array [a]
        Derivatives along the directions at the new points.
    fine : bool array [a]
        Where it ended as it should.
    """
    x, f, length = paths.x, paths.f, first.copy()
    paths.x = x + length[:, None] * direction
    paths.f, paths.g = objective(paths.x, paths.which)
    slope_there = np.einsum("ap,ap->a", paths.g, direction)
    fine = _good(paths.f, slope_there, f, slope, length) & going
    left = np.flatnonzero(going & ~fine & (slope < 0))
    interval = _Interval(f[left], slope[left], length[left])
    for _ in range(MOST_TRIALS):
        if len(left) == 0:
            break
        length[left] = interval.next(length[left], paths.f[left], slope_there[left])
        paths.x[left] = x[left] + length[left, None] * direction[left]
        paths.f[left], paths.g[left] = objective(paths.x[left], paths.which[left])
        slope_there[left] = np.einsum("ap,ap->a", paths.g[left], direction[left])
        good = _good(paths.f[left], slope_there[left], f[left], slope[left], length[left])
        fine[left[good]] = True
        usual = ~good & ~interval.stuck(length[left])
        left, interval = left[usual], interval.kept(usual)
    return length, slope_there, fine


def _good(
    f_new: FloatArray, slope_new: FloatArray, f: FloatArray, slope: FloatArray, length: FloatArray
) -> BoolArray:
    """Whether the strong Wolfe conditions hold."""
    less = f_new <= f + DECREASE * length * slope
    return np.asarray(less & (np.abs(slope_new) <= FLATTER * -slope))


class _Interval:
    """Where the step is looked for: the best end, the other end, and limits of the next trial.

    Parameters
    ----------
    f, slope : float array [a]
        Values and derivatives at length zero.
    length : float array [a]
        First trials.
    """

    def __init__(self, f: FloatArray, slope: FloatArray, length: FloatArray) -> None:
        self.f0, self.slope0 = f, slope
        zero = np.zeros_like(f)
        self.best, self.f_best, self.slope_best = zero, f, slope
        self.other, self.f_other, self.slope_other = zero, f, slope
        self.bracketed = np.zeros(len(f), dtype=bool)
        self.first_stage = np.ones(len(f), dtype=bool)
        self.low, self.high = zero, length * (1.0 + MOST_GROWTH)
        self.width = np.full_like(f, LONGEST)
        self.width_before = 2.0 * self.width

    def kept(self, chosen: BoolArray) -> _Interval:
        """Return the intervals of some problems."""
        part = object.__new__(_Interval)
        part.__dict__ = {name: array[chosen] for name, array in self.__dict__.items()}
        return part

    def stuck(self, length: FloatArray) -> BoolArray:
        """Return where the solver would take what it has, for lack of room."""
        outside = (length <= self.low) | (length >= self.high)
        narrow = self.high - self.low <= NARROW * self.high
        return self.bracketed & (outside | narrow)

    def next(self, length: FloatArray, f: FloatArray, slope: FloatArray) -> FloatArray:
        """Return the next trials, after values and slopes at the last ones."""
        target = DECREASE * self.slope0
        enough = f <= self.f0 + length * target
        self.first_stage &= ~(enough & (slope >= 0))
        # Until the function is low enough, its excess over the target line is searched.
        tilt = np.where(self.first_stage & (f <= self.f_best) & ~enough, target, 0.0)
        trial = (length, f - length * tilt, slope - tilt)
        best = (self.best, self.f_best - self.best * tilt, self.slope_best - tilt)
        other = (self.other, self.f_other - self.other * tilt, self.slope_other - tilt)
        new = self._trial(best, other, trial)
        self._shrink(best, other, trial, tilt)
        return self._limited(new)

    def _trial(self, best: Any, other: Any, trial: Any) -> FloatArray:
        """Return the minimum of an interpolation, as the values and slopes suggest."""
        (a, fa, da), (t, ft, dt) = best, trial
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            cubic = _cubic(a, fa, da, t, ft, dt)
            chord = a + 0.5 * da / ((fa - ft) / (t - a) + da) * (t - a)
            secant = t + dt / (dt - da) * (a - t)
            far = _cubic(other[0], other[1], other[2], t, ft, dt)
        # Higher: between the two. Slopes of different signs: the minimum has been passed.
        higher = np.where(np.abs(cubic - a) <= np.abs(chord - a), cubic, (cubic + chord) / 2)
        passed = np.where(np.abs(cubic - t) > np.abs(secant - t), cubic, secant)
        # Flatter: ahead, by a careful extrapolation. Steeper: as far as allowed.
        edge = np.where(t > a, self.high, self.low)
        ahead = np.where((cubic - t) * (t - a) > 0, cubic, edge)
        near = np.where(np.abs(ahead - t) < np.abs(secant - t), ahead, secant)
        wide = np.where(np.abs(ahead - t) > np.abs(secant - t), ahead, secant)
        limit = t + SHRINK * (other[0] - t)
        near = np.where(t > a, np.minimum(limit, near), np.maximum(limit, near))
        flatter = np.where(self.bracketed, near, np.clip(wide, self.low, self.high))
        steeper = np.where(self.bracketed, far, edge)
        cases = [ft > fa, da * dt < 0, np.abs(dt) < np.abs(da)]
        return np.select(cases, [higher, passed, flatter], steeper)

    def _shrink(self, best: Any, other: Any, trial: Any, tilt: FloatArray) -> None:
        """Put the trial in the place of one of the ends."""
        higher = trial[1] > best[1]
        opposite = best[2] * trial[2] < 0
        others = [
            np.where(higher, t, np.where(opposite, b, o))
            for t, b, o in zip(trial, best, other, strict=True)
        ]
        bests = [np.where(higher, b, t) for t, b in zip(trial, best, strict=True)]
        self.bracketed = self.bracketed | higher | opposite
        self.best, self.other = bests[0], others[0]
        self.f_best, self.f_other = bests[1] + bests[0] * tilt, others[1] + others[0] * tilt
        self.slope_best, self.slope_other = bests[2] + tilt, others[2] + tilt

    def _limited(self, new: FloatArray) -> FloatArray:
        """Return trials that make the interval shrink, or grow within limits."""
        size = np.abs(self.other - self.best)
        slow = self.bracketed & (size >= SHRINK * self.width_before)
        new = np.where(slow, (self.best + self.other) / 2, new)
        self.width_before = np.where(self.bracketed, self.width, self.width_before)
        self.width = np.where(self.bracketed, size, self.width)
        ends = np.minimum(self.best, self.other), np.maximum(self.best, self.other)
        reach = new - self.best
        self.low = np.where(self.bracketed, ends[0], new + LEAST_GROWTH * reach)
        self.high = np.where(self.bracketed, ends[1], new + MOST_GROWTH * reach)
        new = np.clip(new, 0.0, LONGEST)
        return np.where(self.stuck(new), self.best, new)


def _cubic(
    a: FloatArray, fa: FloatArray, da: FloatArray, t: FloatArray, ft: FloatArray, dt: FloatArray
) -> FloatArray:
    """Return where the cubic with these values and slopes at `a` and `t` has its minimum."""
    theta = 3.0 * (fa - ft) / (t - a) + da + dt
    size = np.maximum(np.maximum(np.abs(theta), np.abs(da)), np.abs(dt))
    root = size * np.sqrt(np.maximum((theta / size) ** 2 - (da / size) * (dt / size), 0.0))
    root = np.where(t > a, -root, root)
    share = (root - dt + theta) / (2.0 * root - dt + da)
    return np.asarray(t + share * (a - t))
