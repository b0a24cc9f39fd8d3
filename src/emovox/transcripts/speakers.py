"""What each speaker of a recording expressed, out of the predictions of their segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emovox.results import SegmentPrediction

__all__ = ["SpeakerSummary", "SpeakerTotals", "summarize_speakers"]


@dataclass(frozen=True, slots=True)
class SpeakerSummary:
    """What one speaker expressed. Segments count by their length."""

    speaker: str | None
    """``None``: the segments without a speaker."""
    n_segments: int
    n_failed: int
    """Segments that could not be predicted; they count nowhere else."""
    duration_s: float
    """Of the segments together; what overlaps counts twice."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Label -> share of the duration, largest first; with ``unlabelled`` they sum to 1."""
    unlabelled: Mapping[str, float] = field(default_factory=dict)
    """Reason (``uncertain``, ``silence``, ...) -> share of the duration without a label."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Mean probabilities over the segments that have them; empty when none has."""
    uncertain: tuple[tuple[float, float], ...] = ()
    """Start and end, in seconds, of the segments that are too uncertain for a label."""
    values: Mapping[str, float] | None = None
    """Target -> mean over the segments that have it; ``None``: none has."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "speaker": self.speaker,
            "n_segments": self.n_segments,
            "n_failed": self.n_failed,
            "duration_s": round(self.duration_s, 3),
            "shares": {name: round(share, 6) for name, share in self.shares.items()},
            "unlabelled": {name: round(share, 6) for name, share in self.unlabelled.items()},
            "scores": {name: round(p, 6) for name, p in self.scores.items()},
            "uncertain": [[round(start_s, 3), round(end_s, 3)] for start_s, end_s in self.uncertain],
            **(
                {}
                if self.values is None
                else {"values": {name: round(value, 6) for name, value in self.values.items()}}
            ),
        }


def summarize_speakers(results: Iterable[SegmentPrediction | Mapping[str, Any]]) -> list[SpeakerSummary]:
    """Summarize the segments of each speaker, in the order in which they first speak.

    Args:
        results: of one recording, as `Recognizer.predict_segments` yields them; or their rows.
    """
    totals = SpeakerTotals()
    for result in results:
        totals.add(result.to_dict() if isinstance(result, SegmentPrediction) else result)
    return totals.summaries()


class SpeakerTotals:
    """The sums behind `summarize_speakers`, for rows that come one at a time."""

    def __init__(self) -> None:
        self._speakers: dict[str | None, _Totals] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of ``SegmentPrediction.to_dict()``."""
        self._speakers.setdefault(row.get("speaker"), _Totals()).add(row)

    def summaries(self) -> list[SpeakerSummary]:
        """Return what is known so far."""
        return [totals.summarize(speaker) for speaker, totals in self._speakers.items()]


class _Totals:
    """Of one speaker."""

    def __init__(self) -> None:
        self._n_segments = self._n_failed = 0
        self._labelled_s: Counter[str] = Counter()
        self._unlabelled_s: Counter[str] = Counter()
        self._scores: Counter[str] = Counter()
        self._uncertain: list[tuple[float, float]] = []
        self._values: dict[str, float] = {}
        self._valued_s = self._unnamed_s = 0.0
        """Seconds with values, and without a label or a reason for having none."""

    def add(self, row: Mapping[str, Any]) -> None:
        self._n_segments += 1
        if "error" in row:
            self._n_failed += 1
            return
        length_s = row["end_s"] - row["start_s"]
        if row["label"] is not None:
            self._labelled_s[row["label"]] += length_s
        elif row["reason"] is None:  # of a model of values alone
            self._unnamed_s += length_s
        else:
            self._unlabelled_s[str(row["reason"])] += length_s
            if row["reason"] == "uncertain":
                self._uncertain.append((row["start_s"], row["end_s"]))
        for name, p in row["scores"].items():
            self._scores[name] += p * length_s
        if row.get("values"):
            self._valued_s += length_s
            for name, value in row["values"].items():
                self._values[name] = self._values.get(name, 0.0) + value * length_s

    def summarize(self, speaker: str | None) -> SpeakerSummary:
        duration_s = float(self._labelled_s.total() + self._unlabelled_s.total() + self._unnamed_s)
        weight = self._scores.total()  # the probabilities of a segment sum to 1
        return SpeakerSummary(
            speaker=speaker,
            n_segments=self._n_segments,
            n_failed=self._n_failed,
            duration_s=duration_s,
            shares={name: s / (duration_s or 1) for name, s in self._labelled_s.most_common()},
            unlabelled={name: s / (duration_s or 1) for name, s in self._unlabelled_s.most_common()},
            scores={name: p / (weight or 1) for name, p in self._scores.items()},
            uncertain=tuple(self._uncertain),
            values={name: total / self._valued_s for name, total in self._values.items()}
            if self._valued_s
            else None,
        )
