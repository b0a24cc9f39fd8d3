"""The metrics that a test may name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emovox.evaluation.behaviour.correctness import CORRECTNESS
from emovox.evaluation.behaviour.fairness import FAIRNESS
from emovox.evaluation.behaviour.robustness import ROBUSTNESS
from emovox.evaluation.behaviour.samples import Metric

__all__ = ["METRICS"]

METRICS: Mapping[str, Metric] = MappingProxyType({**CORRECTNESS, **FAIRNESS, **ROBUSTNESS})
"""Name in a test -> metric."""
