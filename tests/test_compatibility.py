from __future__ import annotations

from importlib.metadata import PathDistribution, distributions

import pytest

from dvl_core.compatibility import (
    compatibility_problem,
    find_installed,
    requirement_problems,
)
from dvl_core.discovery import Metadata, read_metadata

INSTALLED = {
    "torch": Metadata(version="2.13.0+cpu"),
    "ray": Metadata(version="3.0.0rc1"),
    "odd": Metadata(version="not a version"),
    "dask": Metadata(
        version="2025.1", requires=("cloudpickle>=1", "distributed>=2025; extra == 'distributed'")
    ),
    "a": Metadata(version="1", requires=("b[y]; extra == 'x'",)),
    "b": Metadata(version="1", requires=("a[x]; extra == 'y'",)),
}


def problems(*requires: str) -> list[tuple[str, str]]:
    return [tuple(problem) for problem in requirement_problems(requires, INSTALLED.get)]


@pytest.mark.parametrize(
    "requirement",
    [
        "torch",
        "torch>=2.2",
        "torch==2.13.0",
        "ray>=2.9",
        "ray<4",
        "odd",
        "dask>=2024",
        "torch @ https://example.org/torch.whl",
        "missing; python_version < '3'",
        "missing; extra == 'all'",
        "missing>=3; extra == 'a' and python_version >= '3'",
        "a[x]",
    ],
)
def test_met_requirements_are_no_problem(requirement):
    assert problems(requirement) == []


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("missing>=3", ("missing-dependency", "needs missing>=3 (not installed)")),
        ("missing; python_version >= '3'", ("missing-dependency", "needs missing (not installed)")),
        ("torch<2", ("incompatible", "needs torch<2 (2.13.0+cpu is installed)")),
        ("odd>=1", ("incompatible", "needs odd>=1 (not a version is installed)")),
        ("dask[distributed]", ("missing-dependency", "needs distributed>=2025 (not installed)")),
        ("!!", ("broken", "its requirement '!!' cannot be read")),
    ],
)
def test_unmet_requirements_say_what_is_wrong(requirement, expected):
    assert problems("torch", requirement) == [expected]


def test_find_installed_knows_the_running_core_and_nothing_else():
    import dvl_core

    assert find_installed("dvl_core").version == dvl_core.__version__
    assert find_installed("surely-not-installed") is None


def test_missing_packages_come_before_wrong_versions_and_all_are_named():
    problem = compatibility_problem(Metadata(requires=("torch<2", "missing")), INSTALLED.get)
    assert problem.status == "missing-dependency"
    assert "torch<2" in problem.reason
    assert "needs missing (not installed)" in problem.reason


def test_python_version_is_a_requirement_too():
    problem = compatibility_problem(Metadata(requires_python=">=9.1"))
    assert problem.status == "incompatible"
    assert "needs Python >=9.1" in problem.reason
    assert compatibility_problem(Metadata(requires_python=">=3.11")) is None
    assert compatibility_problem(Metadata(requires_python="new")).status == "broken"


def test_metadata_is_read_up_to_the_description(tmp_path):
    text = (
        "Metadata-Version: 2.1\nName: x\nVersion: 1\nRequires-Dist: a>=1\nRequires-Dist: b\n"
        "Requires-Python: >=3.11\n\nVersion: 2\nRequires-Dist: c\n"
    )
    (tmp_path / "METADATA").write_text(text)
    dist = PathDistribution(tmp_path)
    assert read_metadata(dist) == Metadata("x", "1", ("a>=1", "b"), ">=3.11")


def test_metadata_agrees_with_what_python_reads_of_all_that_is_installed():
    for dist in distributions():
        metadata = read_metadata(dist)
        assert metadata.name == dist.metadata["Name"]
        assert metadata.version == dist.version
        assert list(metadata.requires) == list(dist.requires or [])


def test_metadata_that_is_not_there_is_empty(tmp_path):
    assert read_metadata(PathDistribution(tmp_path)) == Metadata()
    (tmp_path / "METADATA").write_bytes(b"Name: \xff")
    assert read_metadata(PathDistribution(tmp_path)) == Metadata()


def test_requirements_of_an_egg_info_are_read(tmp_path):
    (tmp_path / "PKG-INFO").write_text("Name: x\nVersion: 1\n\n")
    (tmp_path / "requires.txt").write_text("a>=1\n")
    assert read_metadata(PathDistribution(tmp_path)) == Metadata("x", "1", ("a>=1",))
