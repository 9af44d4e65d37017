from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

import dvl_core
from dvl_core import errors
from dvl_core.cli import cli, main
from dvl_core.cli.main import COMMANDS
from dvl_core.registry import Registry, list_plugins

SAMPLER = """
class Mine:
    '''Draws coalitions.

    Parameters
    ----------
    size : int
        How many players.

    References
    ----------
    .. [1] A. Author. On drawing. 2022.
    '''

    def __init__(self, *, size: int = 3, law: object = print, utility=None):
        self.size = size

    def design(self, n_players, semivalue):
        return None


class Half:
    pass
"""
COLUMNS = ["kind", "name", "status", "distribution", "version", "target", "reason"]
FORBIDDEN = ["torch", "ray", "dask", "zarr", "matplotlib", "pandas", "numpy", "rich", "sklearn"]


@pytest.fixture
def run(fake_distribution):
    """Return a function that runs the command line in this process, with a plugin installed."""
    fake_distribution(
        "fake-mine",
        version="2.5",
        entry_points={"dvl.samplers": {"mine": "fake_mine:Mine"}},
        modules={"fake_mine": SAMPLER},
    )
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def failing_command(error: BaseException, monkeypatch) -> None:
    """Let ``dvl describe`` raise `error`."""

    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr("dvl_core.cli.describe.describe", fail)


def subprocess_of(*arguments: str, path: str = "", **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_list_plugins_prints_full_lines(run):
    result = run("list-plugins", "--kind", "sampler")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "STATUS", "DISTRIBUTION", "VERSION", "TARGET"]
    mine = next(line.split() for line in lines if " mine " in line)
    assert mine == ["sampler", "mine", "ok", "fake-mine", "2.5", "fake_mine:Mine"]
    assert all(line.startswith("sampler") for line in lines[1:])


def test_list_plugins_json(run):
    result = run("list-plugins", "--json", "--kind", "sampler")
    rows = json.loads(result.stdout)
    assert all(list(row) == COLUMNS for row in rows)
    values = ["sampler", "mine", "ok", "fake-mine", "2.5", "fake_mine:Mine", ""]
    assert dict(zip(COLUMNS, values, strict=True)) in rows


def test_list_plugins_shows_status_and_reason(run, fake_distribution, monkeypatch):
    fake_distribution(
        "fake-old", requires=["dvl-core<0.0.1"], entry_points={"dvl.stores": {"old": "fake_old:S"}}
    )
    result = run("list-plugins", "--status", "incompatible")
    assert result.exit_code == 0
    header, line = result.stdout.splitlines()
    assert header.split()[-1] == "REASON"
    assert f"needs dvl-core<0.0.1 ({dvl_core.__version__} is installed)" in line
    monkeypatch.setenv("DVL_DISABLE_PLUGINS", "fake-mine")
    assert "fake-mine" in run("list-plugins", "--status", "disabled").stdout
    assert json.loads(run("list-plugins", "--json", "--status", "ambiguous").stdout) == []


def test_list_plugins_check_imports_and_exits_1(run, fake_distribution, monkeypatch):
    # Whatever else is installed where the tests run has no say.
    monkeypatch.setattr(
        "dvl_core.cli.list_plugins.registry",
        lambda: Registry(
            ref for ref in list_plugins() if ref.distribution in {"fake-mine", "fake-bad"}
        ),
    )
    assert run("list-plugins", "--check", "--kind", "sampler").exit_code == 0
    fake_distribution(
        "fake-bad",
        entry_points={
            "dvl.samplers": {"half": "fake_mine:Half", "none": "fake_mine:No", "bad": "fake_bad:S"}
        },
        modules={"fake_bad": "import surely_not_installed"},
    )
    assert run("list-plugins", "--kind", "sampler").exit_code == 0
    result = run("list-plugins", "--check", "--kind", "sampler", "--json")
    assert result.exit_code == 1
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {name for name, row in rows.items() if row["status"] == "broken"} == {
        "half",
        "none",
        "bad",
    }
    assert "lacks design" in rows["half"]["reason"]
    assert "has no 'No'" in rows["none"]["reason"]
    assert "surely_not_installed" in rows["bad"]["reason"]
    assert rows["mine"]["status"] == "ok"


def test_list_plugins_on_a_terminal_is_a_table(run, monkeypatch):
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("dvl_core.cli.list_plugins.sys", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("DVL_DISABLE_PLUGINS", "fake-mine")
    result = run("list-plugins", "--kind", "sampler")
    assert result.exit_code == 0
    assert " all-permutations " in result.stdout
    assert "sampler 'mine' of fake-mine: disabled: DVL_DISABLE_PLUGINS names it" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_listing_and_help_import_no_plugin_and_nothing_heavy(run, tmp_path):
    for arguments in (["list-plugins"], ["list-plugins", "--json"], ["--help"], ["--version"]):
        code = f"""
import sys
from dvl_core.cli import cli
cli.main({arguments!r}, standalone_mode=False)
found = set({[*FORBIDDEN, "fake_mine"]!r}) & set(sys.modules)
assert not found, found
"""
        finished = subprocess_of("-c", code, path=str(tmp_path / "site"))
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout


def test_a_closed_pipe_is_no_error(run, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    code = "from dvl_core.cli import main; main()"
    with os.fdopen(writer, "w") as closed:
        finished = subprocess.run(
            [sys.executable, "-c", code, "list-plugins"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert finished.stderr == ""
    assert finished.returncode == 1


def test_describe_shows_options_and_citation(run):
    result = run("describe", "sampler", "mine")
    assert result.exit_code == 0
    for text in (
        "Draws coalitions.",
        "How many players. [int, default 3]",
        "A. Author. On drawing. 2022.",
        "fake-mine 2.5",
    ):
        assert text in result.stdout


def test_describe_shows_the_profile_of_a_method(run):
    result = run("describe", "valuation", "loo")
    assert re.search(r"cost +n \+ 1 fits\n", result.stdout)
    described = json.loads(run("describe", "valuation", "loo", "--json").stdout)
    assert described["profile"]["guarantee"] == "exact"


def test_describe_json(run):
    described = json.loads(run("describe", "sampler", "fake-mine:mine", "--json").stdout)
    assert described["summary"] == "Draws coalitions."
    assert described["citation"] == "A. Author. On drawing. 2022."
    assert described["options"][0] == {
        "name": "size",
        "type": "int",
        "default": 3,
        "required": False,
        "part": False,
        "kind": "keyword",
        "doc": "How many players.",
    }
    assert described["options"][1]["default"] == repr(print)
    assert described["options"][2]["part"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["describe", "sampler", "mien"], 2, "did you mean 'mine'?"),
        (["describe", "backend", "imaginary"], 3, "pip install dvl-imaginary"),
        (["describe", "smapler", "mine"], 2, "smapler"),
        (["describe"], 2, "Missing argument"),
        (["list-plugin"], 2, "Did you mean 'list-plugins'?"),
        (["list-plugins", "--colour"], 2, "--colour"),
        (["list-plugins", "--kind", "x"], 2, "'x' is not one of"),
        (["describe", "store", "old"], 3, "needs surely-not-installed"),
    ],
)
def test_exit_codes_of_usage_and_of_plugins(
    run, fake_distribution, monkeypatch, arguments, code, message
):
    known = {("backend", "imaginary"): "dvl-imaginary"}
    monkeypatch.setattr("dvl_core.known_plugins.KNOWN_PLUGINS", known)
    fake_distribution(
        "fake-old",
        requires=["surely-not-installed"],
        entry_points={"dvl.stores": {"old": "fake_old:S"}},
    )
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (errors.DataError("no rows"), 1, "error: no rows\n"),
        (errors.InvalidOptionError("bad option"), 2, "error: bad option\n"),
        (errors.UnknownComponentError("unknown x"), 2, "error: unknown x\n"),
        (errors.UnknownComponentError("no x", "pip install x"), 3, "error: no x\n"),
        (errors.MissingDependencyError("no torch"), 3, "error: no torch\n"),
        (errors.IncompatibleComponentError("old torch"), 3, "error: old torch\n"),
        (errors.PluginLoadError("broken"), 3, "error: broken\n"),
        (errors.AmbiguousComponentError("two"), 1, "error: two\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (errors.RunInterrupted(None), 130, "error: interrupted\n"),
        (OSError(28, "No space left on device", "out.csv"), 1, "error: out.csv: No space left"),
        (ZeroDivisionError("oops"), 1, "error: ZeroDivisionError: oops (--debug shows"),
    ],
)
def test_errors_become_one_sentence(run, monkeypatch, error, code, message):
    failing_command(error, monkeypatch)
    result = run("describe")
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [("--debug", "describe"), ("describe", "--debug")])
def test_debug_shows_the_traceback(run, monkeypatch, arguments):
    failing_command(ZeroDivisionError("oops"), monkeypatch)
    result = run(*arguments)
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("error: ZeroDivisionError: oops\n")


def test_warnings_are_plain_lines(run, monkeypatch):
    import warnings

    @click.command()
    def warn() -> None:
        for _ in range(2):
            warnings.warn("few rows", errors.DvlWarning, stacklevel=1)
        click.echo("done")

    monkeypatch.setattr("dvl_core.cli.describe.describe", warn)
    result = run("describe")
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert result.stderr == "warning: few rows\n"


def test_help_and_version():
    result = CliRunner().invoke(cli, ["-h"])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in COMMANDS)
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"dvl {dvl_core.__version__}\n"


def test_the_console_script_ends_with_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dvl", "list-plugins", "--kind", "store"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "memory" in capsys.readouterr().out


COMMAND = """
import click

@click.command()
def greet():
    click.echo("hello")

NOT_A_COMMAND = 3
"""


def install_commands(fake_distribution) -> None:
    fake_distribution(
        "fake-greet",
        entry_points={
            "dvl.commands": {
                "greet": "fake_greet:greet",
                "value": "fake_greet:greet",
                "number": "fake_greet:NOT_A_COMMAND",
                "gone": "no_such_module:command",
                "raises": "fake_raises:command",
                "twice": "fake_greet:greet",
            }
        },
        modules={"fake_greet": COMMAND, "fake_raises": "1 / 0"},
    )
    fake_distribution(
        "fake-rival",
        requires=["surely-not-installed"],
        entry_points={"dvl.commands": {"unmet": "fake_greet:greet"}},
    )
    fake_distribution("fake-twin", entry_points={"dvl.commands": {"twice": "fake_greet:greet"}})


def test_commands_of_strangers_are_run(run, fake_distribution):
    install_commands(fake_distribution)
    assert run("greet").stdout == "hello\n"


def test_help_lists_commands_of_strangers_without_importing_them(run, fake_distribution):
    install_commands(fake_distribution)
    result = run("--help")
    assert result.exit_code == 0
    assert "From fake-greet 1.0." in result.stdout
    assert not {"fake_greet", "fake_raises"} & set(sys.modules)
    warned = result.stderr.splitlines()
    assert len(warned) == 5
    assert all(line.startswith("warning: command ") for line in warned)
    for text in (
        "'value' of fake-greet is left out: a built-in command has that name",
        "'gone' of fake-greet is left out: module 'no_such_module' cannot be found",
        "'unmet' of fake-rival is left out: needs surely-not-installed",
        "'twice' of fake-twin is left out: command 'twice' is provided by fake-greet and fake-twin",
    ):
        assert text in result.stderr


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("raises", 3, "cannot be loaded: ZeroDivisionError"),
        ("number", 3, "is a int, not a click command"),
        ("gone", 3, "'no_such_module' cannot be found"),
        ("unmet", 3, "needs surely-not-installed"),
        ("twice", 1, "provided by fake-greet and fake-twin"),
        ("gret", 2, "Did you mean 'greet'?"),
    ],
)
def test_a_bad_command_fails_alone(run, fake_distribution, name, code, message):
    install_commands(fake_distribution)
    result = run(name)
    assert result.exit_code == code
    assert message in result.stderr
    assert run("list-plugins").exit_code == 0


def test_disabled_commands_are_left_out_quietly(run, fake_distribution, monkeypatch):
    install_commands(fake_distribution)
    monkeypatch.setenv("DVL_PLUGINS", "")
    result = run("--help")
    assert "greet" not in result.stdout
    assert result.stderr == ""
    assert run("greet").exit_code == 3
