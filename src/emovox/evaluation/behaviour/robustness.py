"""Metrics of robustness: predictions of changed clips beside those of the clips as they are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emovox.evaluation import metrics
from emovox.evaluation.behaviour.samples import Measurement, Metric, NotApplicable, Row, Sample
from emovox.evaluation.predictions import Predictions

__all__ = ["ROBUSTNESS"]


def _unchanged(sample: Sample) -> Measurement:
    """Measure the share of clips whose most likely label stays; no label counts as a label of its own."""
    plain, changed = _select_readable(sample)
    one = metrics.speaker_interval(plain.y_pred, changed.y_pred, plain.speakers, "wa")
    return Measurement(one.value, one.low, one.high, one.n_clips, one.n_speakers)


def _uar_loss(sample: Sample) -> Measurement:
    plain, changed = _select_readable(sample)
    one = metrics.paired_difference(plain.y_true, plain.y_pred, changed.y_pred, plain.speakers, "uar")
    rows = []
    for name, found in (("as it is", plain), ("changed", changed)):
        uar = found.uar()
        rows.append(Row(name, uar.value, uar.low, uar.high, uar.n_clips))
    return Measurement(one.value, one.low, one.high, one.n_clips, one.n_speakers, rows)


def _select_readable(sample: Sample) -> tuple[Predictions, Predictions]:
    """Return the predictions of the clips that could be read: others cannot change."""
    failed = {key for key, _ in sample.plain.errors}
    ids = sample.plain.ids
    plain, changed = (found.where(lambda i: ids[i] not in failed) for found in (sample.plain, sample.changed))
    if not len(plain):
        raise NotApplicable("no clip could be read")
    return plain, changed


ROBUSTNESS: Mapping[str, Metric] = MappingProxyType(
    {
        "unchanged": Metric(
            _unchanged, "higher", "share of clips whose label stays", needs_labels=False, needs_change=True
        ),
        "uar-loss": Metric(_uar_loss, "lower", "UAR lost by the change", needs_change=True),
    }
)
"""Name in a test -> metric."""
