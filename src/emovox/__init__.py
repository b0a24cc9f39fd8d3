"""emovox recognises the emotion expressed in speech.

>>> import emovox
>>> model = emovox.load()                  # doctest: +SKIP
>>> model.predict("clip.wav").label        # doctest: +SKIP
'happy'

Importing this package loads nothing heavy: each name is fetched on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emovox.bundles.registry import models
    from emovox.datasets.loading import Dataset
    from emovox.errors import EmovoxError
    from emovox.evaluation.evaluate import Evaluation, evaluate
    from emovox.features.extraction import extract
    from emovox.inference.adaptation import Profile
    from emovox.inference.recognizer import Recognizer, load
    from emovox.inference.stream import Stream
    from emovox.labels import EMOTIONS
    from emovox.reports.figures.overview import plot
    from emovox.results import (
        Explanation,
        Prediction,
        Quality,
        Segment,
        SegmentPrediction,
        TranscriptSegment,
        Window,
    )
    from emovox.training.cross_validation import CrossValidation, cross_validate
    from emovox.training.finetune import finetune
    from emovox.training.run import TrainingRun, train

__version__ = "0.1.0"

__all__ = [
    "EMOTIONS",
    "CrossValidation",
    "Dataset",
    "EmovoxError",
    "Evaluation",
    "Explanation",
    "Prediction",
    "Profile",
    "Quality",
    "Recognizer",
    "Segment",
    "SegmentPrediction",
    "Stream",
    "TrainingRun",
    "TranscriptSegment",
    "Window",
    "__version__",
    "cross_validate",
    "evaluate",
    "extract",
    "finetune",
    "load",
    "models",
    "plot",
    "train",
]

_HOME = {
    "EMOTIONS": "labels",
    "CrossValidation": "training.cross_validation",
    "Dataset": "datasets.loading",
    "EmovoxError": "errors",
    "Evaluation": "evaluation.evaluate",
    "Explanation": "results",
    "Prediction": "results",
    "Profile": "inference.adaptation",
    "Quality": "results",
    "Recognizer": "inference.recognizer",
    "Segment": "results",
    "SegmentPrediction": "results",
    "Stream": "inference.stream",
    "TrainingRun": "training.run",
    "TranscriptSegment": "results",
    "Window": "results",
    "cross_validate": "training.cross_validation",
    "evaluate": "evaluation.evaluate",
    "extract": "features.extraction",
    "finetune": "training.finetune",
    "load": "inference.recognizer",
    "models": "bundles.registry",
    "plot": "reports.figures.overview",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"emovox.{_HOME[name]}"), name)
    raise AttributeError(f"module 'emovox' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
