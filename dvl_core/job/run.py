"""The job itself: prepare, value, write; or go on, or return what is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dvl_core import registry
from dvl_core.errors import InvalidOptionError, RunInterrupted
from dvl_core.job import parts
from dvl_core.job.data import JobData, prepare
from dvl_core.job.outputs import OutputFolder, versions, worst_rows
from dvl_core.job.quiet import quiet_fits
from dvl_core.job.request import ValueJob
from dvl_core.job.tables import read_table, selected
from dvl_core.options import options_of, parse_option, select_parts
from dvl_core.report import removal_curve, write_report
from dvl_core.result import ValuationResult
from dvl_core.scorers import SupervisedScorer
from dvl_core.utilities import ModelUtility
from dvl_core.utilities.fingerprint import fingerprint_model
from dvl_core.valuation import UtilityValuation, default_budget

__all__ = ["Outcome", "run_job"]


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Parameters
    ----------
    result : ValuationResult
        In the order of the players.
    folder : path
        Where the files are.
    run : dict
        The content of run.json.
    was_done : bool
        Whether nothing had to be computed.
    """

    result: ValuationResult
    folder: Path
    run: dict[str, Any]
    was_done: bool


def run_job(job: ValueJob, tell: Callable[[str], None] = lambda note: None) -> Outcome:
    """Do `job`, go on with it where it was cut off, or return what is there of it.

    Parameters
    ----------
    job : ValueJob
        What to do.
    tell : callable
        Takes notes for the user, a sentence each.

    Raises
    ------
    DataError
        If the data or the folder cannot be used.
    InvalidOptionError
        If an option makes no sense.
    RunInterrupted
        On Ctrl-C, after the partial result was written.
    """
    # Files are looked at before anything is written.
    frame = selected(read_table(job.data), job.where, job.drop, job.data)
    test_frame = None
    if job.test is not None:
        # Columns that only the test file has, or that are left out, do no harm there.
        test_frame = selected(read_table(job.test), job.where, (), job.test)
    model = None if job.model is None else parts.model_from(job.model, job.model_options)
    if model is None and job.model_options:
        raise InvalidOptionError("--model-options needs --model")
    folder = OutputFolder(job.out)
    # A model of the user's own that was edited since makes another run.
    identity = job.identity() | {"model_code": None if model is None else fingerprint_model(model)}
    previous = folder.open(identity, job.overwrite)
    if previous and previous.get("status") == "done":
        result = folder.finished()
        if result is not None:
            return Outcome(result, job.out, previous, was_done=True)
        tell(f"a file of this run is missing or damaged in {job.out}: writing all again")
    scorer = None if job.scorer is None else parts.known_scorer(job.scorer)
    data = prepare(
        frame,
        test_frame,
        target=job.target,
        group_by=job.group_by,
        test_size=job.test_size,
        seed=job.seed,
        classification=partial(parts.is_classification, model=model, scorer=scorer),
    )
    for note in data.notes:
        tell(note)
    return _Execution(job, folder, identity, data, model, scorer, tell).value()


@dataclass
class _Execution:
    """A job whose data is ready."""

    job: ValueJob
    folder: OutputFolder
    identity: dict[str, Any]
    data: JobData
    model: Any
    scorer: str | None
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.reference = registry.registry().find("valuation", self.job.chosen_method)
        self.cls = registry.get("valuation", self.job.chosen_method)
        self.judge = self._judge()

    def _judge(self) -> ModelUtility:
        """Return the utility that the report, and methods that take one, judge rows by."""
        classifies = self.data.classification
        self.scoring = self.scorer or ("accuracy" if classifies else "r2")
        model = self.model if self.model is not None else parts.default_model(classifies)
        scorer = SupervisedScorer(self.scoring, self.data.test)
        try:
            _ = scorer.default
        except InvalidOptionError as error:
            reason = error.__cause__ or "a model that learned nothing scores NaN"
            raise InvalidOptionError(
                f"--scorer {self.scoring} does not fit the test rows: {reason}"
            ) from error
        return ModelUtility(model, scorer, time_limit=self.job.time_limit)

    def value(self) -> Outcome:
        """Fit the method and write everything."""
        valuation = self._valuation()
        run = self._description(valuation)
        self.folder.write_json("run.json", {**run, "status": "running"})
        try:
            with quiet_fits():
                valuation.fit(self.data.train)
        except RunInterrupted:
            self._write(valuation.result, {**run, "status": "interrupted"})
            raise
        try:
            return self._write(valuation.result, {**run, "status": "done"})
        except KeyboardInterrupt as interruption:
            # The removal curve trains models too: Ctrl-C costs the curve, not the values.
            self._write(valuation.result, {**run, "status": "interrupted"})
            raise RunInterrupted(valuation.result) from interruption

    def _valuation(self) -> Any:
        """Assemble the method by the names of its constructor's parameters."""
        job, label = self.job, f"method {self.job.chosen_method!r}"
        taken = {option.name for option in options_of(self.cls)}
        for option, name in (("sampler", job.sampler), ("store", job.store)):
            if name and option not in taken:
                raise InvalidOptionError(f"--{option}: {label} takes no {option}")
        if (job.stop or job.budget) and "stopping" not in taken:
            raise InvalidOptionError(
                f"--{'budget' if job.budget else 'stop'}: {label} stops by itself, it takes no "
                "stopping rule"
            )
        available = {
            "utility": self.judge,
            "model": self._model() if "model" in taken and "utility" not in taken else None,
            "test": self.data.test,
            "sampler": None if job.sampler is None else registry.create("sampler", job.sampler),
            "stopping": self._stopping() if "stopping" in taken else None,
            "seed": job.seed,
            "backend": parts.backend_from(job.backend, job.n_jobs),
            "store": parts.store_from(job.store),
            "progress": True,
            "checkpoint": self.folder.path / "checkpoint.npz",
        }
        chosen = select_parts(self.cls, available, label=label)
        for name, text in parts.option_pairs(job.options):
            if name in _SET_BY_THE_COMMAND:
                raise InvalidOptionError(
                    f"--option: {name!r} is set by the command, not here; see dvl value --help"
                )
            chosen[name.replace("-", "_")] = parse_option(self.cls, name, text, label=label)
        return registry.create("valuation", {"name": job.chosen_method}, **chosen)

    def _model(self) -> Any:
        """Return the model for a method that takes one: the user's, its own default, or ours."""
        if self.model is not None:
            return self.model
        own_default = getattr(self.cls, "default_model", None)
        if own_default is not None:
            return own_default(self.data.classification)
        return parts.default_model(self.data.classification)

    def _stopping(self) -> Any:
        """Return the stopping rule; without one a stated budget, unless the sampler ends."""
        rule = parts.stopping_from(self.job.stop, self.job.budget)
        if rule is not None or self._ends_by_itself():
            return rule
        budget = default_budget(len(self.data.train))
        self.tell(f"no --budget was given: stopping after {budget:,} model evaluations")
        return parts.stopping_from((), budget)

    def _ends_by_itself(self) -> bool:
        """Whether the method has a finite design, such as leave-one-out."""
        available = {"utility": self.judge, "sampler": self.job.sampler}
        chosen = select_parts(self.cls, available)
        probe = registry.create("valuation", {"name": self.job.chosen_method}, **chosen)
        if not isinstance(probe, UtilityValuation):
            return False
        _, design = probe.plan(self.judge.with_data(self.data.train))
        return design.n_blocks is not None

    def _description(self, valuation: Any) -> dict[str, Any]:
        """Return what run.json says before the values are known."""
        data = self.data
        return {
            "command": self.job.command(),
            "identity": self.identity,
            "method": self.job.chosen_method,
            "valuation": repr(valuation),
            "task": "classification" if data.classification else "regression",
            "model": repr(getattr(valuation, "model", self.judge.model)),
            "judge": {"model": repr(self.judge.model), "scorer": self.scoring},
            "seed": self.job.seed,
            "data": {
                "file": str(self.job.data),
                "target": self.job.target,
                "group_by": self.job.group_by,
                "rows_valued": data.train.n_rows,
                "rows_tested_on": data.test.n_rows,
                "players": len(data.train),
                "features": data.train.x.shape[1],
            },
            "encoding": data.encoder.describe(),
            "notes": data.notes,
            "versions": versions(self.reference.distribution),
        }

    def _write(self, result: ValuationResult, run: dict[str, Any]) -> Outcome:
        """Write all files; run.json last, so that "done" means that all are there."""
        folder, data = self.folder, self.data
        fitted = time.perf_counter()
        grouped = data.train.groups is not None
        numbers = data.train.indices if grouped else data.table.index.to_numpy()
        folder.write_values(result, numbers)
        result.save(folder.path / "result.npz")
        removal = None
        if run["status"] == "done":
            with quiet_fits():
                bound = self.judge.with_data(data.train).with_seed(self.job.seed)
                removal = removal_curve(bound, result, seed=self.job.seed)
        run |= {
            "evaluations": result.n_evaluations,
            "computed": result.n_computed,
            "failures": result.n_failures,
            "stop_reason": result.stop_reason,
            "score_of_all": None if removal is None else float(removal.lowest[0]),
            "timings": {
                "valuation_seconds": fitted - self.started,
                "removal_curve_seconds": time.perf_counter() - fitted,
            },
        }
        trace = {k: np.asarray(result.extras[f"trace_{k}"]).tolist() for k in _TRACE}
        worst = worst_rows(result, data.train, data.table, self.job.group_by, self.job.target)
        content = {
            "worst_rows": worst,
            "removal": None if removal is None else removal.to_dict(),
            "trace": trace,
            "known_bad": None,
            "command": run["command"],
        }
        folder.write_json("report.json", content)
        write_report(folder.path, run=run)
        folder.write_json("run.json", run)
        return Outcome(result, folder.path, run, was_done=False)


_SET_BY_THE_COMMAND = ("seed", "progress", "checkpoint")
_TRACE = ("n_evaluations", "max_stderr", "mean_stderr")
