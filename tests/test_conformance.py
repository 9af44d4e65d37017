"""Every component of the core passes the conformance kit; a new one joins by its entry point."""

from __future__ import annotations

import pytest

from dvl_core.component import ComponentRef
from dvl_core.registry import list_plugins
from dvl_core.testing import Check, checks, run_check

CORE = [ref for ref in list_plugins() if ref.distribution == "dvl-core"]
CASES = [
    pytest.param(ref, check, id=f"{ref.kind}-{ref.name}-{check.name}")
    for ref in CORE
    for check in checks(ref.kind)
]


def test_the_core_has_components_of_these_kinds() -> None:
    assert {ref.kind for ref in CORE} == {"sampler", "utility", "scorer", "backend", "store"}


@pytest.mark.parametrize(("ref", "check"), CASES)
def test_component_conforms(ref: ComponentRef, check: Check) -> None:
    outcome = run_check(check, ref.load())
    if outcome.status == "not applicable":
        pytest.skip(outcome.message)
    assert outcome.ok, outcome.message
