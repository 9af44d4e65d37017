"""Thousands of small fits that neither warn nor print."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

from dvl_core.errors import DvlWarning

__all__ = ["quiet_fits"]


@contextlib.contextmanager
def quiet_fits() -> Iterator[None]:
    """Silence warnings of fits, here and in worker processes; what they print goes to stderr."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        # What a model prints is no data of ours.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DvlWarning)
            yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before
