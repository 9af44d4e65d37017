"""The three designs: chains (permutations), marginals (pairs) and coalitions (one for all).

A design turns a block of random numbers into coalitions, and the vector of their utilities into
statistics per player. Samplers choose a design and its law; everything else follows.
"""

from __future__ import annotations

from dvl_core.designs.chains import ChainDesign, Truncation
from dvl_core.designs.coalitions import AllSubsetsDesign, BernoulliDesign
from dvl_core.designs.marginals import MarginalDesign, MarginalDraw, marginal_design
from dvl_core.designs.weights import importance_weights, warn_if_ruinous

__all__ = [
    "AllSubsetsDesign",
    "BernoulliDesign",
    "ChainDesign",
    "MarginalDesign",
    "MarginalDraw",
    "Truncation",
    "importance_weights",
    "marginal_design",
    "warn_if_ruinous",
]
