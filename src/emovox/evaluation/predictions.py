"""Predictions on labelled clips, made by the same ``Recognizer`` that users run.

Conventions: the label that counts is the most likely one, whether or not the recogniser would abstain. A clip
without a label (silence, an error) counts as wrong. What abstaining would change is reported separately.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emovox._arrays import Bools, Doubles
from emovox.audio import SAMPLE_RATE
from emovox.datasets.manifest import Manifest
from emovox.datasets.targets import has_values
from emovox.errors import AudioError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.values import ValueTable, tabulate_values
from emovox.inference.recognizer import Recognizer
from emovox.labels import canonical_all
from emovox.results import Prediction

__all__ = ["NO_LABEL", "Predictions", "check_labels", "predict_manifest", "tabulate"]

NO_LABEL = "(none)"
"""Value of ``y_pred`` for a clip without scores."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of one recogniser on clips whose expressed emotion is known; one entry per clip."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    """Labels that could be predicted, in the order of ``probabilities``."""
    y_true: tuple[str, ...]
    y_pred: tuple[str, ...]
    speakers: tuple[str, ...]
    corpora: tuple[str, ...]
    probabilities: Doubles
    """``(n_clips, n_labels)``; a row is nan as a whole where there are no scores."""
    abstained: Bools
    """``(n_clips,)``: whether the recogniser gave no label, for any reason."""
    values: ValueTable | None = None
    """Of a model with targets, where the data have some of them."""
    errors: tuple[tuple[str, str], ...] = ()
    """Pairs (id, error) of the clips that could not be read; they count as wrong."""

    def __len__(self) -> int:
        return len(self.ids)

    def uar(self, **options: Any) -> metrics.Interval:
        """Return the unweighted average recall with its interval over speakers."""
        return metrics.speaker_interval(self.y_true, self.y_pred, self.speakers, "uar", **options)

    def wa(self, **options: Any) -> metrics.Interval:
        """Return the accuracy with its interval over speakers."""
        return metrics.speaker_interval(self.y_true, self.y_pred, self.speakers, "wa", **options)

    def select_scored(self) -> tuple[list[str], Doubles]:
        """Return the true labels and the probabilities of the clips that have scores."""
        has_scores = np.isfinite(self.probabilities).all(axis=1)
        return [self.y_true[i] for i in np.flatnonzero(has_scores)], self.probabilities[has_scores]

    def ece(self) -> float:
        """Return the expected calibration error over the clips that have scores.

        Raises:
            ValueError: no clip has scores.
        """
        return metrics.ece(*self.select_scored(), labels=list(self.labels))

    def coverage(self) -> float:
        """Return the share of clips that the recogniser labelled."""
        return float(1 - self.abstained.mean())

    def answered_uar(self) -> float | None:
        """Return the UAR over the clips that the recogniser labelled; ``None`` where it labelled none."""
        rows = np.flatnonzero(~self.abstained)
        return (
            metrics.uar([self.y_true[i] for i in rows], [self.y_pred[i] for i in rows]) if len(rows) else None
        )

    def largest_share(self) -> tuple[str, float]:
        """Return the label predicted most often, and its share of all clips."""
        names, counts = np.unique(self.y_pred, return_counts=True)
        most = int(counts.argmax())
        return str(names[most]), float(counts[most] / len(self))

    def to_csv(self) -> str:
        """Return a table with one row per clip: id, speaker, truth, prediction, abstention, probabilities."""
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator="\n")
        said = ["true", "answer", "abstained", *(f"{n}_prob" for n in self.labels)] if self.labels else []
        targets = () if self.values is None else self.values.targets
        pairs = [f"{name}_{part}" for name in targets for part in ("true", "value")]
        table.writerow(["id", "speaker", "corpus", *said, *pairs])
        for i, key in enumerate(self.ids):
            row = [key, self.speakers[i], self.corpora[i]]
            if self.labels:
                row += [self.y_true[i], self.y_pred[i], str(bool(self.abstained[i])).lower()]
                row += ["" if np.isnan(p) else f"{p:.6f}" for p in self.probabilities[i]]
            if self.values is not None:
                both = np.stack([self.values.true[i], self.values.predicted[i]], axis=1).ravel()
                row += ["" if np.isnan(value) else f"{value:.6g}" for value in both]
            table.writerow(row)
        return stream.getvalue()

    def where(self, keep: Callable[[int], bool]) -> Predictions:
        """Return the clips whose index ``keep`` accepts."""
        rows = [i for i in range(len(self)) if keep(i)]
        ids = tuple(self.ids[i] for i in rows)
        return Predictions(
            ids=ids,
            labels=self.labels,
            y_true=tuple(self.y_true[i] for i in rows),
            y_pred=tuple(self.y_pred[i] for i in rows),
            speakers=tuple(self.speakers[i] for i in rows),
            corpora=tuple(self.corpora[i] for i in rows),
            probabilities=self.probabilities[rows],
            abstained=self.abstained[rows],
            values=None if self.values is None else self.values.select(rows),
            errors=tuple(pair for pair in self.errors if pair[0] in set(ids)),
        )

    @staticmethod
    def concatenate(parts: Sequence[Predictions]) -> Predictions:
        """Return the predictions of several folds as one.

        Raises:
            ManifestError: the label sets differ.
        """
        first = parts[0]
        if any(part.labels != first.labels for part in parts):
            raise ManifestError("predictions with different label sets cannot be concatenated")
        return Predictions(
            ids=tuple(x for p in parts for x in p.ids),
            labels=first.labels,
            y_true=tuple(x for p in parts for x in p.y_true),
            y_pred=tuple(x for p in parts for x in p.y_pred),
            speakers=tuple(x for p in parts for x in p.speakers),
            corpora=tuple(x for p in parts for x in p.corpora),
            probabilities=np.concatenate([p.probabilities for p in parts]),
            abstained=np.concatenate([p.abstained for p in parts]),
            values=ValueTable.concatenate([p.values for p in parts if p.values is not None])
            if all(p.values is not None for p in parts)
            else None,
            errors=tuple(x for p in parts for x in p.errors),
        )


def predict_manifest(
    recognizer: Recognizer,
    manifest: Manifest,
    *,
    labels: Sequence[str] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predict every clip of a manifest as a user of the recogniser would.

    Args:
        labels: predict only these (scores are renormalised); all labels of the recogniser by default.
        workers: processes; the predictions are the same for any number of them.
        progress: called with (clips done, clips in all).

    Raises:
        ManifestError: the manifest is empty, or has an emotion that cannot be predicted.
    """
    names = check_labels(recognizer, manifest, labels)
    # A model with labels too is evaluated on data without values, one of values alone is not.
    scored = any(has_values(manifest, target.name) for target in recognizer.spec.targets) or not names
    if scored:  # what is wrong with the data is reported before the work
        tabulate_values(recognizer.spec.targets, manifest, [Prediction(None)] * len(manifest))
    found: list[Prediction] = []
    for prediction in _predict_clips(recognizer, manifest, names, workers):
        found.append(prediction)
        if progress is not None:
            progress(len(found), len(manifest))
    targets = recognizer.spec.targets
    return tabulate(manifest, names, found, tabulate_values(targets, manifest, found) if scored else None)


def check_labels(recognizer: Recognizer, manifest: Manifest, labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the labels to predict: ``labels``, or all that the recogniser has.

    Raises:
        ManifestError: the manifest is empty, or has an emotion that is not among them.
    """
    if not len(manifest):
        raise ManifestError("nothing to evaluate: the manifest is empty")
    if not recognizer.labels:
        return ()
    names = canonical_all(labels, recognizer.labels) if labels is not None else recognizer.labels
    if unknown := [name for name in manifest.emotions if name not in names]:
        raise ManifestError(
            f"the manifest has {unknown[0]!r}, which is not among the labels to predict: {', '.join(names)}; "
            "map or leave out those clips, and report it beside the score"
        )
    return tuple(names)


def _predict_clips(
    recognizer: Recognizer, manifest: Manifest, names: tuple[str, ...], workers: int
) -> Iterator[Prediction]:
    if all(u.start is None and u.end is None for u in manifest):
        yield from recognizer.predict_many(map(manifest.file, manifest), labels=names, workers=workers)
        return
    for u in manifest:  # predict_many takes whole files; a segment of one is passed as an array
        try:
            yield recognizer.predict(manifest.read(u), sample_rate=SAMPLE_RATE, labels=names)
        except AudioError as error:
            yield Prediction(None, file=str(manifest.file(u)), error=str(error))


def tabulate(
    manifest: Manifest,
    names: tuple[str, ...],
    predictions: Sequence[Prediction],
    values: ValueTable | None = None,
) -> Predictions:
    """Return predictions on the clips of ``manifest``, one for each in their order, as a table."""
    probabilities = np.full((len(predictions), len(names)), np.nan)
    for row, prediction in zip(probabilities, predictions, strict=True):
        if prediction.scores:
            row[:] = [prediction.scores[name] for name in names]
    return Predictions(
        ids=manifest.ids,
        labels=names,
        y_true=tuple(u.emotion for u in manifest),
        y_pred=tuple(p.top[0][0] if p.scores else NO_LABEL for p in predictions),
        speakers=tuple(u.speaker for u in manifest),
        corpora=tuple(u.corpus for u in manifest),
        probabilities=probabilities,
        abstained=np.array([p.label is None for p in predictions]),
        values=values,
        errors=tuple(
            (u.id, p.error) for u, p in zip(manifest, predictions, strict=True) if p.error is not None
        ),
    )
