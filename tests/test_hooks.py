from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace

import pytest

from dvl_core import hookimpl, hooks
from dvl_core.errors import DvlWarning, UtilityError
from dvl_core.hooks import (
    ReportSection,
    hook_manager,
    notify_end,
    notify_progress,
    notify_start,
    report_sections,
    wrap_utility,
)

RUN = SimpleNamespace(algorithm="shapley", n_players=3, seed=0)
LOGGER = """
from dvl_core import hookimpl
events = []

@hookimpl
def dvl_run_start(run):
    events.append(("start", run.algorithm))

@hookimpl
def dvl_run_end(result):
    events.append(("end", result))
"""


class Game:
    def __init__(self, name="game"):
        self.name = name
        self.n_players = 3

    def with_data(self, train):
        return self

    def __call__(self, coalitions):
        return coalitions.sum(axis=1)


class Wrapping:
    def __init__(self, name, returns=True):
        self.name, self.returns = name, returns

    @hookimpl
    def dvl_wrap_utility(self, utility):
        return Game(f"{self.name}({utility.name})") if self.returns else None


class Failing:
    @hookimpl
    def dvl_run_start(self):
        raise RuntimeError("no room")

    @hookimpl
    def dvl_run_progress(self, progress):
        raise RuntimeError("too slow")

    @hookimpl
    def dvl_wrap_utility(self):
        raise RuntimeError("no wrap")

    @hookimpl
    def dvl_report_sections(self):
        raise RuntimeError("no section")


@pytest.fixture
def plugged():
    """Return a function that registers a plugin for the length of the test."""
    plugins = []

    def plug(plugin, name):
        hook_manager().register(plugin, name)
        plugins.append(plugin)
        return plugin

    yield plug
    for plugin in plugins:
        hook_manager().unregister(plugin)


def test_without_plugins_nothing_happens():
    utility = Game()
    notify_start(RUN)
    notify_progress(RUN, None)
    notify_end(RUN, None)
    assert wrap_utility(utility) is utility
    assert report_sections(None) == []


def test_a_module_named_by_an_entry_point_is_told_of_the_run(fake_distribution):
    fake_distribution(
        "fake-logger",
        entry_points={"dvl.hooks": {"logger": "fake_logger"}},
        modules={"fake_logger": LOGGER},
    )
    assert "fake_logger" not in sys.modules
    notify_start(RUN)
    notify_progress(RUN, None)
    notify_end(RUN, "done")
    assert sys.modules["fake_logger"].events == [("start", "shapley"), ("end", "done")]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"modules": {"fake_bad": "import surely_not_installed"}}, "surely_not_installed"),
        ({"modules": {"fake_bad": "raise SystemExit(1)"}}, "SystemExit"),
        ({}, "module 'fake_bad' cannot be found"),
        ({"requires": ["surely-not-installed"]}, "needs surely-not-installed"),
        (
            {
                "modules": {
                    "fake_bad": """
                    from dvl_core import hookimpl
                    @hookimpl
                    def dvl_run_start(run, colour): ...
                    """
                }
            },
            "colour",
        ),
        (
            {
                "modules": {
                    "fake_bad": """
                    from dvl_core import hookimpl
                    @hookimpl
                    def dvl_run_begin(run): ...
                    """
                }
            },
            "dvl_run_begin",
        ),
        (
            {
                "modules": {
                    "fake_bad": """
                    from dvl_core import hookimpl
                    @hookimpl(wrapper=True)
                    def dvl_run_start(run):
                        yield
                    """
                }
            },
            "hook wrapper",
        ),
    ],
)
def test_a_bad_plugin_is_reported_once_and_hurts_nobody(fake_distribution, options, reason):
    fake_distribution(
        "fake-logger",
        entry_points={"dvl.hooks": {"logger": "fake_logger"}},
        modules={"fake_logger": LOGGER},
    )
    fake_distribution("fake-bad", entry_points={"dvl.hooks": {"bad": "fake_bad"}}, **options)
    with pytest.warns(DvlWarning, match="hook plugin 'bad' of fake-bad is left out") as caught:
        notify_start(RUN)
    assert len(caught) == 1
    assert reason in str(caught[0].message)
    notify_end(RUN, "done")
    assert sys.modules["fake_logger"].events == [("start", "shapley"), ("end", "done")]


@pytest.mark.parametrize(
    ("variable", "value"), [("DVL_PLUGINS", ""), ("DVL_DISABLE_PLUGINS", "fake-logger")]
)
def test_disabled_plugins_are_not_imported(fake_distribution, monkeypatch, variable, value):
    fake_distribution(
        "fake-logger",
        entry_points={"dvl.hooks": {"logger": "fake_logger"}},
        modules={"fake_logger": LOGGER},
    )
    monkeypatch.setenv(variable, value)
    notify_start(RUN)
    assert "fake_logger" not in sys.modules
    monkeypatch.delenv(variable)
    notify_start(RUN)
    assert sys.modules["fake_logger"].events == [("start", "shapley")]


def test_plugins_registered_by_hand_survive_a_new_environment(plugged, monkeypatch, tmp_path):
    plugged(Wrapping("a"), "a")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert wrap_utility(Game()).name == "a(game)"


def test_a_failing_hook_is_skipped_with_one_warning_a_run(plugged):
    plugged(Failing(), "failing")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notify_start(RUN)
        for _ in range(3):
            notify_progress(RUN, None)
    messages = [str(warning.message) for warning in caught]
    assert messages == [
        "hook plugin failing: dvl_run_start failed and was skipped: RuntimeError: no room",
        "hook plugin failing: dvl_run_progress failed and was skipped: RuntimeError: too slow",
    ]


def test_utilities_are_wrapped_in_order(plugged):
    plugged(Wrapping("outer"), "first registered")
    plugged(Wrapping("none", returns=False), "second registered")
    plugged(Wrapping("inner"), "last registered")
    assert wrap_utility(Game()).name == "outer(inner(game))"


def test_installed_plugins_wrap_in_the_order_of_their_names(fake_distribution):
    source = """
    from dvl_core import hookimpl

    class Game:
        n_players = 3
        def __init__(self, inner): self.name = __name__ + "(" + inner.name + ")"
        def with_data(self, train): return self
        def __call__(self, coalitions): return None

    @hookimpl
    def dvl_wrap_utility(utility):
        return Game(utility)
    """
    for name in ("b", "a"):
        fake_distribution(
            f"fake-{name}",
            entry_points={"dvl.hooks": {name: f"wrap_{name}"}},
            modules={f"wrap_{name}": source},
        )
    assert wrap_utility(Game()).name == "wrap_b(wrap_a(game))"


def test_a_failing_wrap_stops_the_run(plugged):
    plugged(Failing(), "failing")
    with pytest.raises(UtilityError, match=r"failing: dvl_wrap_utility failed.*no wrap"):
        wrap_utility(Game())


def test_a_wrap_that_is_no_utility_stops_the_run(plugged):
    class Silly:
        @hookimpl
        def dvl_wrap_utility(self, utility):
            return 3

    plugged(Silly(), "silly")
    with pytest.raises(UtilityError, match="silly: dvl_wrap_utility returned a int"):
        wrap_utility(Game())


def test_report_sections_come_from_all_that_work(plugged):
    class Section:
        @hookimpl
        def dvl_report_sections(self, result):
            return [ReportSection(f"About {result}", "<p>text</p>")]

    plugged(Section(), "section")
    plugged(Failing(), "failing")
    with pytest.warns(DvlWarning, match="failing: dvl_report_sections failed"):
        sections = report_sections("r")
    assert sections == [ReportSection("About r", "<p>text</p>")]


def test_progress_costs_no_discovery(monkeypatch):
    notify_start(RUN)

    def never() -> None:
        raise AssertionError("looked at metadata again")

    monkeypatch.setattr(hooks, "offers", never)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            notify_progress(RUN, None)
