"""The workspace is consistent: versions, entry points, pins, and who may import whom."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dvl_core.known_plugins import KNOWN_PLUGINS
from dvl_core.registry import KINDS, list_plugins

ROOT = Path(__file__).parents[1]
PLUGIN_FOLDERS = sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))
CONTRIB_FOLDERS = sorted(p.parent for p in ROOT.glob("contrib/*/pyproject.toml"))
GROUPS = {
    "dvl.samplers",
    "dvl.utilities",
    "dvl.scorers",
    "dvl.valuations",
    "dvl.inverse_hessians",
    "dvl.backends",
    "dvl.stores",
    "dvl.commands",
    "dvl.hooks",
}
FORBIDDEN_IN_CORE = {"torch", "ray", "dask", "distributed", "zarr", "pymemcache", "redis"}


def declaration(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def imported_modules(folder: Path) -> set[str]:
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.split(".")[0])
    return names


def by_name(folder: Path) -> str:
    return folder.name


def test_there_are_plugins() -> None:
    assert {"dvl-shapley", "dvl-banzhaf", "dvl-loo", "dvl-knn", "dvl-oob"} <= {
        folder.name for folder in PLUGIN_FOLDERS
    }


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS, ids=by_name)
def test_a_plugin_folder_is_complete(folder: Path) -> None:
    project = declaration(folder)
    package = folder.name.replace("-", "_")
    assert project["name"] == folder.name
    assert len((folder / "README.md").read_text()) > 200
    assert (folder / "src" / package / "py.typed").exists()
    assert list((folder / "tests").glob("test_*.py"))


@pytest.mark.parametrize("folder", [*PLUGIN_FOLDERS, *CONTRIB_FOLDERS], ids=by_name)
def test_a_plugin_runs_the_conformance_kit_on_each_of_its_components(folder: Path) -> None:
    text = (folder / "tests" / "test_conformance.py").read_text()
    for group, entries in declaration(folder).get("entry-points", {}).items():
        if group in ("dvl.commands", "dvl.hooks"):
            continue
        kind = group.removeprefix("dvl.").replace("_", "-")
        kind = {"utilities": "utility"}.get(kind, kind.removesuffix("s"))
        for target in entries.values():
            name = target.split(":")[1]
            assert re.search(rf'conformance_test\(\s*"{kind}",[^"]*\b{name}\b', text), name


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS, ids=by_name)
def test_versions_are_in_step(folder: Path) -> None:
    core = declaration(ROOT)["version"]
    project = declaration(folder)
    assert project["version"] == core
    on_core = [r for r in map(Requirement, project["dependencies"]) if r.name == "dvl-core"]
    assert len(on_core) == 1
    assert on_core[0].specifier.contains(core)
    assert not on_core[0].specifier.contains("0.2.0")


def test_the_package_knows_its_version() -> None:
    import dvl_core

    assert dvl_core.__version__ == declaration(ROOT)["version"]


@pytest.mark.parametrize("folder", [ROOT, *PLUGIN_FOLDERS, *CONTRIB_FOLDERS], ids=by_name)
def test_entry_points_name_known_groups_and_load(folder: Path) -> None:
    project = declaration(folder)
    groups = project.get("entry-points", {})
    assert groups.keys() <= GROUPS
    assert groups
    installed = importlib.metadata.distribution(project["name"])
    found = {(e.group, e.name): e for e in installed.entry_points if e.group in GROUPS}
    declared = {(g, n): target for g, items in groups.items() for n, target in items.items()}
    assert {key: entry.value for key, entry in found.items()} == declared
    for entry in found.values():
        # Hooks are modules, all else is called.
        assert callable(entry.load()) or entry.group == "dvl.hooks"


def test_every_component_of_the_workspace_is_ok() -> None:
    ours = {"dvl-core", *(folder.name for folder in (*PLUGIN_FOLDERS, *CONTRIB_FOLDERS))}
    bad = [r for r in list_plugins() if r.distribution in ours and r.status != "ok"]
    assert not bad


def test_install_hints_agree_with_what_ships() -> None:
    assert list(KNOWN_PLUGINS) == sorted(KNOWN_PLUGINS)
    assert {kind for kind, _ in KNOWN_PLUGINS} <= set(KINDS)
    shipped = {folder.name for folder in PLUGIN_FOLDERS}
    for reference in list_plugins():
        if reference.distribution in shipped:
            assert KNOWN_PLUGINS[reference.kind, reference.name] == reference.distribution


def test_every_installed_distribution_is_pinned() -> None:
    pinned = pins()
    assert pinned["torch"] == "2.13.0"
    ours = {declaration(f)["name"] for f in (ROOT, *PLUGIN_FOLDERS, *CONTRIB_FOLDERS)}
    tools_of_venv = {"pip", "setuptools"}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name in ours | tools_of_venv:
            continue
        assert pinned.get(name) == distribution.version.split("+")[0], name


def test_core_imports_no_plugin_and_nothing_heavy() -> None:
    packages = {folder.name.replace("-", "_") for folder in (*PLUGIN_FOLDERS, *CONTRIB_FOLDERS)}
    assert not imported_modules(ROOT / "dvl_core") & (packages | FORBIDDEN_IN_CORE)


@pytest.mark.parametrize("folder", [*PLUGIN_FOLDERS, *CONTRIB_FOLDERS], ids=by_name)
def test_plugins_import_only_what_they_declare(folder: Path) -> None:
    ours = {p.name.replace("-", "_") for p in (*PLUGIN_FOLDERS, *CONTRIB_FOLDERS)}
    ours -= {folder.name.replace("-", "_")}
    project = declaration(folder)
    # What an extra brings is imported at use only.
    extras = [r for group in project.get("optional-dependencies", {}).values() for r in group]
    requirements = [*project["dependencies"], *extras]
    declared = {Requirement(r).name.replace("-", "_") for r in requirements}
    assert not imported_modules(folder / "src") & (ours - declared)


def test_modules_stay_readable() -> None:
    for path in [*ROOT.glob("dvl_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        assert len(path.read_text().splitlines()) <= 350, path


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md"])
def test_the_papers_are_there(name: str) -> None:
    assert len((ROOT / name).read_text()) > 300
