"""The answers: every clip goes through the same ``Recognizer`` that users run.

Conventions: the answer that counts is the most likely label, whether or not the recogniser would abstain; a
clip with no answer (silence, an error) counts as wrong. What abstaining would have changed stands beside it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emovox import audio
from emovox._arrays import Bools, Doubles, Floats
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import AudioError, ManifestError
from emovox.evaluation import metrics
from emovox.inference.recognizer import Recognizer
from emovox.labels import canonical_all
from emovox.results import Prediction

__all__ = ["NO_ANSWER", "Evaluation", "asked", "collected", "evaluate", "sound_of"]

NO_ANSWER = "(none)"


@dataclass(frozen=True)
class Evaluation:
    """Answers of one recogniser to clips whose expressed emotion is known."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    """What could be answered, in the order of ``probabilities``."""
    y_true: tuple[str, ...]
    y_pred: tuple[str, ...]
    speakers: tuple[str, ...]
    corpora: tuple[str, ...]
    probabilities: Doubles
    """``(n, n_labels)``; nan where there was no answer."""
    abstained: Bools
    """``(n,)``: no label was given, for whatever reason."""
    errors: tuple[tuple[str, str], ...] = ()
    """Ids of clips that could not be read, and why; they count as wrong."""

    def __len__(self) -> int:
        return len(self.ids)

    def uar(self, **options: Any) -> metrics.Interval:
        """Unweighted average recall with its interval over speakers."""
        return metrics.speaker_interval(self.y_true, self.y_pred, self.speakers, "uar", **options)

    def wa(self, **options: Any) -> metrics.Interval:
        """Accuracy with its interval over speakers."""
        return metrics.speaker_interval(self.y_true, self.y_pred, self.speakers, "wa", **options)

    def ece(self) -> float:
        """Expected calibration error of the clips that got an answer.

        Raises:
            ValueError: none did.
        """
        known = np.isfinite(self.probabilities[:, 0])  # a row is nan as a whole or not at all
        true = [y for y, k in zip(self.y_true, known, strict=True) if k]
        return metrics.ece(true, self.probabilities[known], labels=list(self.labels))

    def coverage(self) -> float:
        """Share of clips on which the recogniser gave a label."""
        return float(1 - self.abstained.mean())

    def answered_uar(self) -> float | None:
        """UAR over the clips on which it gave a label; ``None`` when it gave none."""
        true = [y for y, a in zip(self.y_true, self.abstained, strict=True) if not a]
        pred = [y for y, a in zip(self.y_pred, self.abstained, strict=True) if not a]
        return metrics.uar(true, pred) if true else None

    def largest_share(self) -> tuple[str, float]:
        """The label answered most often, and its share of all answers."""
        names, counts = np.unique(self.y_pred, return_counts=True)
        most = int(counts.argmax())
        return str(names[most]), float(counts[most] / len(self))

    def to_csv(self) -> str:
        """One line a clip: id, speaker, truth, answer, whether it abstained, and the probabilities."""
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(
            ["id", "speaker", "corpus", "true", "answer", "abstained", *(f"{n}_prob" for n in self.labels)]
        )
        for i, key in enumerate(self.ids):
            probs = ["" if np.isnan(p) else f"{p:.6f}" for p in self.probabilities[i]]
            who = (key, self.speakers[i], self.corpora[i])
            table.writerow(
                [*who, self.y_true[i], self.y_pred[i], str(bool(self.abstained[i])).lower(), *probs]
            )
        return stream.getvalue()

    def where(self, keep: Callable[[int], bool]) -> Evaluation:
        """The clips whose index ``keep`` accepts."""
        rows = [i for i in range(len(self)) if keep(i)]
        return Evaluation(
            ids=tuple(self.ids[i] for i in rows),
            labels=self.labels,
            y_true=tuple(self.y_true[i] for i in rows),
            y_pred=tuple(self.y_pred[i] for i in rows),
            speakers=tuple(self.speakers[i] for i in rows),
            corpora=tuple(self.corpora[i] for i in rows),
            probabilities=self.probabilities[rows],
            abstained=self.abstained[rows],
            errors=tuple(pair for pair in self.errors if pair[0] in {self.ids[i] for i in rows}),
        )

    @staticmethod
    def joined(parts: Sequence[Evaluation]) -> Evaluation:
        """Evaluations of several folds as one, all with the same labels."""
        first = parts[0]
        if any(part.labels != first.labels for part in parts):
            raise ManifestError("evaluations with different label sets cannot be joined")
        return Evaluation(
            ids=tuple(x for p in parts for x in p.ids),
            labels=first.labels,
            y_true=tuple(x for p in parts for x in p.y_true),
            y_pred=tuple(x for p in parts for x in p.y_pred),
            speakers=tuple(x for p in parts for x in p.speakers),
            corpora=tuple(x for p in parts for x in p.corpora),
            probabilities=np.concatenate([p.probabilities for p in parts]),
            abstained=np.concatenate([p.abstained for p in parts]),
            errors=tuple(x for p in parts for x in p.errors),
        )


def evaluate(
    recognizer: Recognizer,
    manifest: Manifest,
    *,
    labels: Sequence[str] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge every clip of ``manifest`` as a user would.

    Args:
        labels: answer only these (renormalised); else all the recogniser knows.
        progress: called with (done, all).

    Raises:
        ManifestError: the manifest is empty, or has an emotion that cannot be answered.
    """
    names = asked(recognizer, manifest, labels)
    answers: list[Prediction] = []
    for answer in _answers(recognizer, manifest, names, workers):
        answers.append(answer)
        if progress is not None:
            progress(len(answers), len(manifest))
    return collected(manifest, names, answers)


def asked(recognizer: Recognizer, manifest: Manifest, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The labels to decide among: ``labels``, or all that the recogniser knows.

    Raises:
        ManifestError: the manifest is empty, or has an emotion that is not among them.
    """
    names = canonical_all(labels, recognizer.labels) if labels is not None else recognizer.labels
    if not len(manifest):
        raise ManifestError("nothing to evaluate: the manifest is empty")
    if strange := [e for e in manifest.emotions if e not in names]:
        raise ManifestError(
            f"the manifest has {strange[0]!r}, which cannot be answered among {', '.join(names)}; "
            "map or leave out those clips and say so beside the score"
        )
    return tuple(names)


def sound_of(manifest: Manifest, u: Utterance) -> Floats:
    """A clip ``(n,)`` at 16 kHz, cut out of its file where it is a stretch of one.

    Raises:
        AudioError: it cannot be read.
    """
    x = audio.read(manifest.file(u))
    start = round((u.start or 0.0) * audio.SAMPLE_RATE)
    return x[start : len(x) if u.end is None else round(u.end * audio.SAMPLE_RATE)]


def _answers(
    recognizer: Recognizer, manifest: Manifest, names: tuple[str, ...], workers: int
) -> Iterator[Prediction]:
    if all(u.start is None and u.end is None for u in manifest):
        yield from recognizer.predict_many(map(manifest.file, manifest), labels=names, workers=workers)
        return
    for u in manifest:  # a stretch of a longer file goes in as an array
        try:
            x = sound_of(manifest, u)
            yield recognizer.predict(x, sample_rate=audio.SAMPLE_RATE, labels=names)
        except AudioError as error:
            yield Prediction(None, file=str(manifest.file(u)), error=str(error))


def collected(manifest: Manifest, names: tuple[str, ...], answers: Sequence[Prediction]) -> Evaluation:
    """The answers to the clips of ``manifest``, one for each in their order, among ``names``."""
    probabilities = np.full((len(answers), len(names)), np.nan)
    for row, answer in zip(probabilities, answers, strict=True):
        if answer.scores:
            row[:] = [answer.scores[name] for name in names]
    return Evaluation(
        ids=manifest.ids,
        labels=names,
        y_true=tuple(u.emotion for u in manifest),
        y_pred=tuple(answer.top[0][0] if answer.scores else NO_ANSWER for answer in answers),
        speakers=tuple(u.speaker for u in manifest),
        corpora=tuple(u.corpus for u in manifest),
        probabilities=probabilities,
        abstained=np.array([answer.label is None for answer in answers]),
        errors=tuple(
            (u.id, answer.error)
            for u, answer in zip(manifest, answers, strict=True)
            if answer.error is not None
        ),
    )
