"""Classical models: a table of classifiers, and one pipeline from rows of features to probabilities.

Extra ``classical`` (scikit-learn; no torch). `emovox.training.search` searches their settings,
`emovox.training.classical.onnx_export` writes them as graphs.
"""

from __future__ import annotations

from emovox.training.classical.config import ClassicalConfig
from emovox.training.classical.estimators import ESTIMATORS, Estimator, find_estimator
from emovox.training.classical.fitting import FittedClassifier, fit, make_speaker_folds

__all__ = [
    "ESTIMATORS",
    "ClassicalConfig",
    "Estimator",
    "FittedClassifier",
    "find_estimator",
    "fit",
    "make_speaker_folds",
]
