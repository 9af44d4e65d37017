"""Events of a run that any installed package may react to, through pluggy.

A hook plugin is a module (or an object) of functions marked with `hookimpl`, named in the
entry-point group ``dvl.hooks``. It is imported before the first run, never for a listing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pluggy

from dvl_core.discovery import HOOK_GROUP, Offer, environment_key, offers, split_target
from dvl_core.errors import DvlWarning, UtilityError
from dvl_core.protocols import Utility

__all__ = [
    "ReportSection",
    "Run",
    "hook_manager",
    "hookimpl",
    "hookspec",
    "notify_end",
    "notify_progress",
    "notify_start",
    "report_sections",
    "run_section",
    "wrap_utility",
]

hookspec = pluggy.HookspecMarker("dvl")
hookimpl = pluggy.HookimplMarker("dvl")


class Run(Protocol):
    """What hooks are told about a run."""

    @property
    def algorithm(self) -> str:
        """Name of the method."""

    @property
    def n_players(self) -> int:
        """Number of players."""

    @property
    def seed(self) -> int | None:
        """Seed of the run."""


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A section that a hook adds to the report.

    Parameters
    ----------
    title : str
        Heading, plain text.
    html : str
        Body, put into the report as it is: escape what comes from data.
    """

    title: str
    html: str


class _Specifications:
    """The hooks; an implementation may leave out arguments that it does not need."""

    @hookspec
    def dvl_run_start(self, run: Run) -> None:
        """Before the first utility of a run is evaluated."""

    @hookspec
    def dvl_run_progress(self, run: Run, progress: Any) -> None:
        """After blocks were folded in."""

    @hookspec
    def dvl_run_end(self, run: Run, result: Any) -> None:
        """With the result of a run; also of an interrupted one."""

    @hookspec
    def dvl_wrap_utility(self, utility: Utility) -> Utility | None:
        """Return a utility to use in place of `utility`, or None; applied one after the other."""

    @hookspec
    def dvl_run_section(
        self, section: str, table: Mapping[str, Any], path: Path
    ) -> Sequence[str] | None:
        """Do what a table of the file of ``dvl run`` asks for, and return lines to print.

        None if the table belongs to somebody else. `path` is the file.
        """

    @hookspec
    def dvl_report_sections(self, result: Any) -> Sequence[ReportSection] | None:
        """Return sections to add to the report of `result`."""


class _Cache:
    """The manager of this process and what it was built from."""

    key: tuple[object, ...] | None = None
    manager = pluggy.PluginManager("dvl")
    discovered: frozenset[str] = frozenset()
    reported: set[tuple[str, str]] = set()  # noqa: RUF012 - one per process, like the class


def hook_manager() -> pluggy.PluginManager:
    """Return the plugin manager, with all usable hook plugins of this environment.

    A plugin that cannot be imported, or that declares a hook wrongly, is reported once with a
    `DvlWarning` and left out. To react to runs from a script or notebook, register a module or an
    object: ``hook_manager().register(plugin)``.
    """
    key = environment_key()
    if key != _Cache.key:
        manager, discovered, problems = _build(_Cache.manager, _Cache.discovered)
        # Stored before warning: where warnings are errors, they must not make a second start.
        _Cache.key, _Cache.manager, _Cache.discovered = key, manager, discovered
        for problem in problems:
            warnings.warn(problem, DvlWarning, stacklevel=3)
    return _Cache.manager


def notify_start(run: Run) -> None:
    """Tell hooks that a run starts."""
    _Cache.reported.clear()
    _notify("dvl_run_start", run=run)


def notify_progress(run: Run, progress: Any) -> None:
    """Tell hooks how far a run is."""
    _notify("dvl_run_progress", run=run, progress=progress)


def notify_end(run: Run, result: Any) -> None:
    """Tell hooks that a run ended, and give them its result."""
    _notify("dvl_run_end", run=run, result=result)


def run_section(section: str, table: Mapping[str, Any], path: Path) -> Sequence[str] | None:
    """Have the hook to which a table of a file belongs do it; None if it belongs to none."""
    for implementation in _implementations("dvl_run_section"):
        found = _call(implementation, {"section": section, "table": table, "path": path})
        if found is not None:
            return list(found)
    return None


def wrap_utility(utility: Utility) -> Utility:
    """Return the utility as the hooks want it: each wraps what the one before it returned.

    Raises
    ------
    UtilityError
        If a hook fails or returns something else than a utility. The run cannot go on without it,
        since its values would differ.
    """
    for implementation in _implementations("dvl_wrap_utility"):
        where = f"hook plugin {implementation.plugin_name}: dvl_wrap_utility"
        try:
            wrapped = _call(implementation, {"utility": utility})
        except Exception as error:
            raise UtilityError(f"{where} failed: {type(error).__name__}: {error}") from error
        if wrapped is None:
            continue
        if not isinstance(wrapped, Utility):
            raise UtilityError(f"{where} returned a {type(wrapped).__name__}, which is no utility")
        utility = wrapped
    return utility


def report_sections(result: Any) -> list[ReportSection]:
    """Return the sections that hooks add to the report of `result`."""
    found: list[ReportSection] = []
    for implementation in _implementations("dvl_report_sections"):
        try:
            sections = _call(implementation, {"result": result}) or ()
            found += [ReportSection(str(each.title), str(each.html)) for each in sections]
        except Exception as error:
            _report(implementation, "dvl_report_sections", error)
    return found


def _notify(hook: str, **arguments: Any) -> None:
    for implementation in _implementations(hook):
        try:
            _call(implementation, arguments)
        except Exception as error:
            _report(implementation, hook, error)


def _implementations(hook: str) -> Iterator[pluggy.HookImpl]:
    """Yield in pluggy's order of calls: tryfirst, then the last registered first, then trylast."""
    caller: pluggy.HookCaller = getattr(hook_manager().hook, hook)
    yield from reversed(caller.get_hookimpls())


def _call(implementation: pluggy.HookImpl, arguments: dict[str, Any]) -> Any:
    # Called one by one, not through pluggy: it would stop all at the first that fails.
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def _report(implementation: pluggy.HookImpl, hook: str, error: Exception) -> None:
    """Warn once a run that a hook fails; the run goes on without it."""
    if (implementation.plugin_name, hook) not in _Cache.reported:
        _Cache.reported.add((implementation.plugin_name, hook))
        message = f"{hook} failed and was skipped: {type(error).__name__}: {error}"
        warnings.warn(
            f"hook plugin {implementation.plugin_name}: {message}", DvlWarning, stacklevel=5
        )


def _build(
    old: pluggy.PluginManager, discovered: frozenset[str]
) -> tuple[pluggy.PluginManager, frozenset[str], list[str]]:
    """Return a manager, the names of the plugins found by discovery, and what went wrong."""
    manager = pluggy.PluginManager("dvl")
    manager.add_hookspecs(_Specifications)
    names, problems = set(), []
    # pluggy calls the last one first: registered backwards, they are called by name.
    for offer in reversed([offer for offer in offers() if offer.group == HOOK_GROUP]):
        if offer.status == "disabled":
            continue
        name = f"{offer.name!r} of {offer.distribution}"
        problem = offer.reason if offer.status != "ok" else _register(manager, offer, name)
        if problem:
            problems.append(f"hook plugin {name} is left out: {problem}")
        else:
            names.add(name)
    for name, plugin in old.list_name_plugin():
        if plugin is not None and name not in discovered:
            manager.register(plugin, name)
    return manager, frozenset(names), problems


def _register(manager: pluggy.PluginManager, offer: Offer, name: str) -> str:
    """Import and register one plugin; return what is wrong with it, or nothing."""
    try:
        module, attribute = split_target(offer.target)
        plugin: Any = import_module(module)
        for part in attribute.split(".") if attribute else ():
            plugin = getattr(plugin, part)
    except (Exception, SystemExit) as error:
        return f"{offer.target} cannot be loaded: {type(error).__name__}: {error}"
    try:
        manager.register(plugin, name)
        manager.check_pending()
        _refuse_wrappers(manager, plugin)
    except (pluggy.PluginValidationError, ValueError) as error:
        if manager.has_plugin(name):
            manager.unregister(name=name)
        return " ".join(str(error).split())
    return ""


def _refuse_wrappers(manager: pluggy.PluginManager, plugin: object) -> None:
    for caller in manager.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            own = implementation.plugin is plugin
            if own and (implementation.wrapper or implementation.hookwrapper):
                raise ValueError(f"{caller.name} is a hook wrapper, which dvl does not call")
