"""The conformance kit: what every component of a kind must do, for first-party code and strangers.

With pytest, one line in a test module::

    test_msr_conforms = conformance_test("sampler", MSRSampler)

Without it, `check_component` returns the outcomes and `assert_conforms` raises; on the command
line ``dvl check KIND NAME`` does the same for an installed component.
"""

from __future__ import annotations

from dvl_core.testing.kit import (
    Check,
    Outcome,
    assert_conforms,
    check_component,
    checks,
    conformance_test,
    run_check,
)
from dvl_core.testing.maker import Maker
from dvl_core.testing.requirements import NotApplicable, require

__all__ = [
    "Check",
    "Maker",
    "NotApplicable",
    "Outcome",
    "assert_conforms",
    "check_component",
    "checks",
    "conformance_test",
    "require",
    "run_check",
]
