"""Where tasks run: in this process, or wherever joblib takes them."""

from __future__ import annotations

from dvl_core.backends.joblib import JoblibBackend, default_backend
from dvl_core.backends.serial import SerialBackend

__all__ = ["JoblibBackend", "SerialBackend", "default_backend"]
