"""Utilities: what a coalition of training points is worth."""

from dvl_core.utilities.model import ModelUtility

__all__ = ["ModelUtility"]
