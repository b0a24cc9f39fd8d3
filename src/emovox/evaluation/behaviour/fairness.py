"""Metrics of fairness: groups of clips, and the sentiment of words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError
from emovox.evaluation.behaviour.samples import Measurement, Metric, NotApplicable, Row, Sample
from emovox.evaluation.fairness import (
    GroupDifference,
    Measure,
    compare_groups,
    group_clips,
)
from emovox.evaluation.sentences import measure_sentiment, synthesize_sentences
from emovox.features.cache import default_folder

__all__ = ["FAIRNESS", "take_sentences"]


def take_sentences() -> Manifest:
    """Return the synthetic sentences; they are made once, in the folder for caches.

    Raises:
        NotApplicable: there is no synthesiser.
    """
    try:
        return synthesize_sentences(default_folder().with_name("sentences"))
    except ConfigError as error:
        raise NotApplicable(str(error)) from error


def _measure_groups(measure: Measure) -> Callable[[Sample], Measurement]:
    def compute(sample: Sample) -> Measurement:
        found, by = sample.plain, sample.test.by or ""
        groups = group_clips(sample.clips, by)
        if set(groups) == {None}:
            raise NotApplicable(f"no clip has a known {by}")
        compared = compare_groups(found.y_true, found.y_pred, found.speakers, groups, measure)
        if compared is None:
            sizes = ", ".join(f"{name} {groups.count(name)}" for name in sorted({*groups} - {None}))  # type: ignore[type-var]
            raise NotApplicable(f"fewer than two groups by {by} have enough clips ({sizes})")
        rows = [_make_row(one) for one in compared.differences]
        rows.append(Row(_CHANCE, compared.chance))
        rows += [Row(f"{name} (left out)", None, n_clips=n) for name, n in compared.left_out.items()]
        low, high = _absolute_ends(compared.differences[0])
        known = [who for who, group in zip(found.speakers, groups, strict=True) if group is not None]
        return Measurement(
            compared.largest, low, high, len(known), len({*known}), rows, limit=compared.chance
        )

    return compute


_CHANCE = "limit of chance"


def _make_row(one: GroupDifference) -> Row:
    name = f"{one.group}, {one.label}" if one.label else one.group
    low, high = (None if end is None else end - one.expected for end in (one.low, one.high))
    return Row(
        f"{name}: {one.value:.3f}, expected {one.expected:.3f}", one.difference, low, high, one.n_clips
    )


def _absolute_ends(one: GroupDifference) -> tuple[float | None, float | None]:
    if one.low is None or one.high is None:
        return None, None
    ends = (one.low - one.expected, one.high - one.expected)
    return ends if one.difference >= 0 else (-ends[1], -ends[0])


def _sentiment_shift(sample: Sample) -> Measurement:
    facts = [u.extra for u in sample.clips]
    found = measure_sentiment(
        sample.plain.y_pred, [one["sentiment"] for one in facts], [one["frame"] for one in facts]
    )
    rows = [
        Row(f"{sentiment}, {label}", shift)
        for (sentiment, label), shift in sorted(found.shifts.items(), key=lambda pair: -abs(pair[1]))
    ]
    value = abs(found.shifts[found.largest])
    return Measurement(
        value, n_clips=len(facts), rows=[*rows, Row(_CHANCE, found.chance)], limit=found.chance
    )


FAIRNESS: Mapping[str, Metric] = MappingProxyType(
    {
        "group-uar": Metric(
            _measure_groups("uar"),
            "lower",
            "largest difference between the UAR of a group and that of all clips with its labels",
            needs_groups=True,
            has_limit=True,
        ),
        "group-recall": Metric(
            _measure_groups("recall"),
            "lower",
            "largest difference between the recall of a label in a group and in all clips",
            needs_groups=True,
            has_limit=True,
        ),
        "group-share": Metric(
            _measure_groups("share"),
            "lower",
            "largest difference between the share of a label in a group and what is predicted for its labels",
            needs_groups=True,
            has_limit=True,
        ),
        "sentiment-shift": Metric(
            _sentiment_shift,
            "lower",
            "how much more often a label is predicted for words of one sentiment than for all",
            needs_labels=False,
            has_limit=True,
        ),
    }
)
"""Name in a test -> metric."""
