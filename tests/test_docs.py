"""The documentation is true: its code runs, and a plugin written from it alone works."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine

from dvl_core.component import ComponentRef
from dvl_core.profiles import profile_of
from dvl_core.registry import list_plugins

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "quickstart.md",
    ROOT / "docs" / "conformance.md",
    ROOT / "docs" / "influence.md",
    ROOT / "docs" / "scaling.md",
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted(ROOT.glob("contrib/*/README.md")),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DVL = str(Path(sys.executable).parent / "dvl")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_python_on_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = blocks(page, "python")
    assert code
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__page__"}
    for block in code:
        exec(compile(block, str(page), "exec"), namespace)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["methods", "scaling"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate" / f"{name}.py"))
    assert generator["PAGE"].read_text() == generator["page"](), "run `make docs`"


def test_the_job_on_the_page_of_scaling_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (job,) = blocks(ROOT / "docs" / "scaling.md", "toml")
    (tmp_path / "job.toml").write_text(job)
    load_wine(as_frame=True).frame.rename(columns={"target": "class"}).to_csv(
        tmp_path / "wine.csv", index=False
    )
    done = dvl(dict(os.environ), "run", str(tmp_path / "job.toml"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ledger.dvl").exists()
    assert len((tmp_path / "values" / "values.csv").read_text().splitlines()) > 100


@pytest.mark.parametrize(
    "ref", [ref for ref in list_plugins("valuation") if ref.status == "ok"], ids=lambda r: r.name
)
def test_every_method_has_a_profile(ref: ComponentRef) -> None:
    assert all(profile_of(ref.load()).values())
    assert len(profile_of(ref.load())) == 4


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build and install the plugin of docs/plugins.md, file by file, outside the repository."""
    folder = tmp_path_factory.mktemp("stranger")
    text = (ROOT / "docs" / "plugins.md").read_text()
    files = re.findall(r"^`(dvl-[^`]+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [Path(name).name for name, _ in files] == ["dvl_cold_start.py", "pyproject.toml"]
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    install += ["--no-build-isolation", "--target", str(site), str(folder / "dvl-cold-start")]
    subprocess.run(install, check=True, timeout=120)
    return {**os.environ, "PYTHONPATH": str(site)}


def dvl(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DVL, *arguments], env=environment, capture_output=True, text=True, timeout=240
    )


def test_the_strangers_plugin_is_listed_and_described(stranger: dict[str, str]) -> None:
    listed = json.loads(dvl(stranger, "list-plugins", "--json").stdout)
    mine = {
        (row["kind"], row["name"]): row for row in listed if row["distribution"] == "dvl-cold-start"
    }
    assert mine.keys() == {("valuation", "cold-start"), ("sampler", "small-coalitions")}
    assert {row["status"] for row in mine.values()} == {"ok"}
    described = dvl(stranger, "describe", "valuation", "cold-start").stdout
    assert "share" in described
    assert "0.1" in described


@pytest.mark.parametrize(
    "component", [("sampler", "small-coalitions"), ("valuation", "cold-start")], ids=lambda c: c[1]
)
def test_the_strangers_plugin_passes_the_conformance_kit(
    stranger: dict[str, str], component: tuple[str, str]
) -> None:
    checked = dvl(stranger, "check", *component)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_strangers_plugin_values_a_file(stranger: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    rows = np.column_stack([x, (x[:, 0] > 0).astype(int)])
    np.savetxt(tmp_path / "d.csv", rows, delimiter=",", header="a,b,label", comments="")
    arguments = ["value", str(tmp_path / "d.csv"), "--target", "label", "--method", "cold-start"]
    arguments += ["--option", "share=0.2", "--budget", "400", "--out", str(tmp_path / "out")]
    done = dvl(stranger, *arguments)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "values.csv").read_text().splitlines()
    assert lines[0] == "index,name,value,stderr,count"
    assert len(lines) == 49
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "cold-start" in json.dumps(run)
