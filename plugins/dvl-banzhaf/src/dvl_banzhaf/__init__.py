"""Data Banzhaf: the valuation and the sampler that lets every evaluation inform every player."""

from __future__ import annotations

from dvl_banzhaf.sampler import MSRSampler
from dvl_banzhaf.valuation import DataBanzhafValuation

__all__ = ["DataBanzhafValuation", "MSRSampler"]
