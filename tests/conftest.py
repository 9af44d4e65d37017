"""Fixtures that all tests of the core share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from dvl_core.registry import refresh

FakeDistribution = Callable[..., Path]


def write_distribution(
    folder: Path,
    name: str,
    *,
    version: str = "1.0",
    requires: Sequence[str] = (),
    entry_points: Mapping[str, Mapping[str, str]] | str = "",
    modules: Mapping[str, str] | None = None,
    headers: Sequence[str] = (),
) -> Path:
    """Write into `folder` what installing a distribution would: modules and a dist-info."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *headers]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n\n")
    if not isinstance(entry_points, str):
        entry_points = "\n".join(
            f"[{group}]\n" + "\n".join(f"{key} = {value}" for key, value in entries.items())
            for group, entries in entry_points.items()
        )
    (info / "entry_points.txt").write_text(entry_points + "\n")
    for module, source in (modules or {}).items():
        path = folder / f"{module.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
    return folder


@pytest.fixture
def fake_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeDistribution]:
    """Return a function that puts a made-up distribution on the path; see `write_distribution`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def make(name: str, *, folder: str = "", **options: object) -> Path:
        where = site
        if folder:
            where = tmp_path / folder
            monkeypatch.syspath_prepend(str(where))
        write_distribution(where, name, **options)  # type: ignore[arg-type]
        refresh()
        return where

    yield make
    for module in set(sys.modules) - before:
        origin = getattr(sys.modules[module], "__file__", None)
        if origin and str(tmp_path) in origin:
            del sys.modules[module]
    refresh()
