"""Classical models: one table of classifiers, and one pipeline from rows of features to probabilities.

Extra ``classical`` (scikit-learn; no torch). `emovox.training.search` searches them,
`emovox.training.classical.export` makes
graphs of them.
"""

from __future__ import annotations

from emovox.training.classical.config import ClassicalConfig
from emovox.training.classical.estimators import ESTIMATORS, Estimator, find_estimator
from emovox.training.classical.fitting import Fitted, fit, speaker_folds

__all__ = ["ESTIMATORS", "ClassicalConfig", "Estimator", "Fitted", "find_estimator", "fit", "speaker_folds"]
