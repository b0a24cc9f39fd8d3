"""Models that can be tested: a `Recognizer`, and any function that scores a sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from emovox._arrays import Floats
from emovox.evaluation.scorecard import describe_spec
from emovox.inference.recognizer import Recognizer
from emovox.labels import canonical_all
from emovox.results import Prediction

__all__ = ["OtherModel", "TestedModel", "describe_model", "identify_model"]


class TestedModel(Protocol):
    """What a behavioural test needs of a model; a `Recognizer` has it."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it can predict."""

    def predict(
        self, source: Floats, *, sample_rate: int, labels: Iterable[str] | str | None = None
    ) -> Prediction:
        """Predict one sound."""


@dataclass(frozen=True)
class OtherModel:
    """A model that is no bundle, such as one of another library.

    ``OtherModel("emotion2vec+", ("angry", "happy", "neutral", "sad"), scores)``, where
    ``scores(signal (n,) float32, 16000)`` returns label -> probability. Labels that it does not return count
    as 0; nothing at all is an abstention.
    """

    name: str
    labels: tuple[str, ...]
    scores: Callable[[Floats, int], Mapping[str, float] | None]
    """Must be picklable for more than one worker."""
    version: str = ""
    corpora: tuple[str, ...] = ()
    """What it was trained on, as far as known."""

    def predict(
        self, source: Floats, *, sample_rate: int, labels: Iterable[str] | str | None = None
    ) -> Prediction:
        """Predict one sound, restricted to ``labels``."""
        names = self.labels if labels is None else canonical_all(labels, self.labels)
        found = self.scores(source, sample_rate) or {}
        kept = {name: float(found.get(name, 0.0)) for name in names}
        total = sum(kept.values())
        if not total > 0:
            return Prediction(None, reason="uncertain")
        shares = {name: value / total for name, value in kept.items()}
        label = max(shares, key=lambda name: shares[name])
        return Prediction(label, scores=shares, confidence=shares[label])


def describe_model(model: TestedModel) -> dict[str, Any]:
    """Return what a report says about a model."""
    if isinstance(model, Recognizer):
        return {**describe_spec(model.spec), "vad": model.vad}
    version, corpora = getattr(model, "version", ""), getattr(model, "corpora", ())
    # Names alone: of another library's model neither weights nor code are known.
    digest = hashlib.sha256(repr((model.name, version, model.labels)).encode()).hexdigest()
    return {
        "name": model.name,
        "version": version,
        "sha256": digest,
        "labels": list(model.labels),
        "corpora": list(corpora),
        "protocol": "unknown",
        "weights": "unknown",
        "vad": None,
    }


_NOT_PREDICTING = ("description", "corpora", "protocol", "taught", "scores", "licence", "created")
"""What a spec says about a model without any effect on its predictions."""


def identify_model(model: TestedModel) -> str:
    """Return a digest of all that decides predictions: graph, windows, temperature, thresholds, detector."""
    facts: Any = describe_model(model)
    if isinstance(model, Recognizer):
        spec = {key: value for key, value in model.spec.to_dict().items() if key not in _NOT_PREDICTING}
        facts = [spec, model.vad]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
