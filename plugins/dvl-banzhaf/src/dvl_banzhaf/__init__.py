"""Data Banzhaf: the valuation and the samplers that let every evaluation inform every player."""

from __future__ import annotations

from dvl_banzhaf.kernel import KernelBanzhafSampler
from dvl_banzhaf.sampler import MSRSampler
from dvl_banzhaf.valuation import DataBanzhafValuation

__all__ = ["DataBanzhafValuation", "KernelBanzhafSampler", "MSRSampler"]
