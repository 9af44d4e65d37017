"""What a backend refuses and needs, without a cluster."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dvl_core.errors import InvalidOptionError, MissingDependencyError
from dvl_ray import RayBackend, session


def add(shared: int, task: int) -> int:
    return shared + task


@pytest.mark.parametrize(
    "options",
    [{"n_jobs": 0}, {"num_cpus": -1}, {"num_gpus": 1.5}, {"max_retries": -1}, {"memory": 0.5e400}],
    ids=str,
)
def test_options_without_a_meaning(options) -> None:
    with pytest.raises(InvalidOptionError):
        RayBackend(**options)


def test_nobody_at_the_address(monkeypatch) -> None:
    monkeypatch.setattr(session, "_connection", lambda: None)
    with pytest.raises(InvalidOptionError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        list(RayBackend("127.0.0.1:9").map(add, 1, [1]))


def test_without_the_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match="pip install ray"):
        list(RayBackend().map(add, 1, [1]))


def test_ray_is_imported_at_use() -> None:
    program = (
        "import sys, joblib, dvl_ray; dvl_ray.RayBackend(n_jobs=2)\n"
        "joblib.parallel_config('ray', n_jobs=2).unregister()\n"
        "print(sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert b"'ray'" not in loaded
    assert b"'dvl_ray'" in loaded
