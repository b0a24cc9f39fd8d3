"""Run behavioural tests: predict the clips under all changes, measure, compare with the limits.

Keys of the document (plain JSON types; shares are fractions, ``None`` where there is no number):

- ``model``, ``data``, ``settings``, ``stamp``: what was tested on what, and what it shares with the training.
- ``summary``: numbers of tests passed, failed and not applicable, in all and by category.
- ``tests``: each with its definition, ``status``, ``reason``, ``value`` with its interval over speakers
  (``low``, ``high``; ``None`` under ten speakers), ``limit``, ``decided`` (whether the interval is on one
  side of the limit), ``rows`` (what the value is made of) and ``changed`` (clips whose label changed).
- ``errors``: clips that could not be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emovox
from emovox._files import write_text
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError
from emovox.evaluation.behaviour.changes import Change, prepare_change
from emovox.evaluation.behaviour.clips import MAX_CLIPS, SOURCES, Setup, list_unlabelled
from emovox.evaluation.behaviour.definitions import CATEGORIES, BehaviourTest, read_tests
from emovox.evaluation.behaviour.models import TestedModel, describe_model, identify_model
from emovox.evaluation.behaviour.predictions import PLAIN, PredictionStore, predict_changes
from emovox.evaluation.behaviour.registry import METRICS
from emovox.evaluation.behaviour.samples import Measurement, NotApplicable, Sample
from emovox.evaluation.evaluate import Selection, select_clips
from emovox.evaluation.leakage import find_stamp
from emovox.evaluation.predictions import Predictions
from emovox.evaluation.robustness import sample_clips
from emovox.evaluation.scorecard import to_plain
from emovox.inference.recognizer import Recognizer
from emovox.inference.recognizer import load as load_model
from emovox.reports.behaviour import behaviour_html, behaviour_markdown

__all__ = ["FILES", "SCHEMA", "STORE", "Behaviour", "check_behaviour"]

SCHEMA = 1
"""Version of the document."""

FILES = ("behaviour.json", "behaviour.md", "behaviour.html")
"""Files that `Behaviour.write` makes."""

STORE = "predictions.jsonl"
"""File of a report's folder that holds the predictions: with it the same call resumes."""

Notify = Callable[[str], None]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Behaviour:
    """The results of behavioural tests of one model."""

    document: dict[str, Any]
    """All results as plain JSON types."""

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the tests that failed."""
        return tuple(row["name"] for row in self.document["tests"] if row["status"] == "failed")

    def _repr_markdown_(self) -> str:
        return behaviour_markdown(self.document)

    def write(self, folder: str | Path) -> None:
        """Write the document as JSON, Markdown and HTML into a folder (see `FILES`).

        Each file is written whole or not at all, and replaces one that is there.
        """
        texts = (
            json.dumps(self.document, ensure_ascii=False, indent=1, allow_nan=False) + "\n",
            behaviour_markdown(self.document),
            behaviour_html(self.document),
        )
        for name, text in zip(FILES, texts, strict=True):
            write_text(Path(folder) / name, text)


def check_behaviour(
    model: str | Path | TestedModel,
    data: str | Path | Sequence[str | Path] | Dataset | None = None,
    *,
    recordings: Sequence[str | Path] = (),
    tests: Sequence[BehaviourTest] | None = None,
    protocol: str = "all",
    corpus: str | None = None,
    labels: str | Sequence[str] | None = None,
    mapping: str | None = None,
    drop_unknown: bool = False,
    sounds: Mapping[str, str | Path] | None = None,
    max_clips: int = MAX_CLIPS,
    seed: int = 0,
    output: str | Path | None = None,
    workers: int = 1,
    notify: Notify | None = None,
    progress: Advance | None = None,
) -> Behaviour:
    """Run behavioural tests of a model.

    Args:
        model: a name or path as for `emovox.load`, a `Recognizer`, or an `OtherModel`.
        data: labelled clips as for `emovox.evaluate`, with ``protocol``, ``corpus``, ``labels``, ``mapping``
            and ``drop_unknown`` as there.
        recordings: files and folders without labels, instead of ``data``: tests that need labels are not
            applicable.
        tests: those to run; the embedded ones by default (`read_tests`).
        sounds: name -> folder of recordings (or pattern), for noises that tests name.
        max_clips: clips that are changed, drawn evenly over speakers and emotions; the tests without a change
            take all.
        seed: of noise, echoes and babble.
        output: folder in which the predictions are kept: the same call resumes. ``None``: nothing is kept.
        workers: processes; the result is the same for any number of them.
        notify: called with lines for people.
        progress: called with (predictions done, predictions in all).

    Raises:
        ConfigError: neither data nor recordings are given, or both; or a setting is wrong.
        ManifestError: no clip is left, or the data have emotions that the model cannot predict.
    """
    notify = notify or (lambda _: None)
    tested = load_model(model) if isinstance(model, str | Path) else model
    if not tested.labels:
        raise ConfigError(f"the model {tested.name!r} predicts values alone; expected a model with labels")
    if (data is None) == (not recordings):
        raise ConfigError("expected labelled data or recordings, one of both")
    if max_clips < 1:
        raise ConfigError(f"max_clips is {max_clips}; expected 1 or more")
    selection = None
    if data is not None:
        dataset = (
            data
            if isinstance(data, Dataset)
            else Dataset.load(data, corpus=corpus, drop_unknown=drop_unknown)
        )
        selection = select_clips(
            tested, dataset, protocol=protocol, labels=labels, mapping=mapping, notify=notify
        )
    clips = list_unlabelled(recordings) if selection is None else selection.tested.manifest
    setup = Setup(
        tested,
        tuple(tested.labels) if selection is None or selection.names is None else selection.names,
        clips,
        is_labelled=selection is not None,
        sounds={name: str(folder) for name, folder in (sounds or {}).items()},
        max_clips=max_clips,
        seed=seed,
        workers=workers,
    )
    chosen = read_tests() if tests is None else tuple(tests)
    store = PredictionStore(None if output is None else Path(output) / STORE)
    results, errors = _run_tests(setup, chosen, store, progress or (lambda done, total: None))
    for key, error in errors.items():
        notify(f"{key}: {error}")
    settings = {
        "protocol": protocol if selection is None else selection.protocol,
        "map": mapping,
        "labels": list(setup.names),
        "max_clips": max_clips,
        "seed": seed,
        "noise": dict(setup.sounds),
    }
    return Behaviour(_make_document(setup, selection, settings, results, errors))


# --- running ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """A test with its clips and its change, or the reason why it is not applicable."""

    test: BehaviourTest
    change: Change = PLAIN
    reason: str | None = None


def _run_tests(
    setup: Setup, tests: Sequence[BehaviourTest], store: PredictionStore, progress: Advance
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return a row for each test, and the errors of clips that could not be read, by id."""
    sources: dict[str, Manifest | NotApplicable] = {}
    for test in tests:
        if test.clips not in sources:
            sources[test.clips] = _find_clips(test.clips, setup)
    plans = [_plan_test(test, setup, sources) for test in tests]
    samples = {
        name: set(sample_clips(clips, setup.max_clips).ids)
        for name, clips in sources.items()
        if isinstance(clips, Manifest)
    }
    changes: dict[str, dict[str, list[Change]]] = {}
    for plan in plans:
        if plan.reason is None:
            name, clips = plan.test.clips, sources[plan.test.clips]
            assert isinstance(clips, Manifest)
            of_clip = changes.setdefault(name, {key: [] for key in clips.ids})
            # Changed clips alone are needed as they are, too, but for metrics without a change all are.
            for key in samples[name] if plan.change.kinds else clips.ids:
                of_clip[key] += [c for c in dict.fromkeys((PLAIN, plan.change)) if c not in of_clip[key]]
    total = sum(len(one) for of_clip in changes.values() for one in of_clip.values())
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        progress(done, total)

    found: dict[str, dict[str, Predictions]] = {}
    for name, of_clip in changes.items():
        clips = sources[name]
        assert isinstance(clips, Manifest)
        found[name] = predict_changes(
            setup.model,
            setup.names,
            clips,
            of_clip,
            identity=(identify_model(setup.model),),
            seed=setup.seed,
            workers=setup.workers,
            store=store,
            advance=advance,
        )
    results = [_measure(plan, sources, found) for plan in plans]
    errors = {key: error for of_source in found.values() for key, error in of_source[PLAIN.key].errors}
    return results, errors


def _find_clips(name: str, setup: Setup) -> Manifest | NotApplicable:
    if name not in SOURCES:
        raise ConfigError(f"clips is {name!r}; expected one of {', '.join(SOURCES)}")
    try:
        return SOURCES[name](setup)
    except NotApplicable as reason:
        return reason


def _plan_test(test: BehaviourTest, setup: Setup, sources: Mapping[str, Manifest | NotApplicable]) -> _Plan:
    clips = sources[test.clips]
    if isinstance(clips, NotApplicable):
        return _Plan(test, reason=str(clips))
    if METRICS[test.metric].needs_labels and test.clips == "data" and not setup.is_labelled:
        return _Plan(test, reason="the clips have no labels: give labelled data with --data")
    try:
        return _Plan(test, prepare_change(test.change, setup.sounds, clips) if test.change else PLAIN)
    except NotApplicable as reason:
        return _Plan(test, reason=str(reason))


def _measure(
    plan: _Plan, sources: Mapping[str, Manifest | NotApplicable], found: Mapping[str, dict[str, Predictions]]
) -> dict[str, Any]:
    """Return the row of a test in the document."""
    test, clips = plan.test, sources[plan.test.clips]
    row = {
        **test.to_dict(),
        "limit": test.limit,
        "better": METRICS[test.metric].better,
        "measures": METRICS[test.metric].description,
    }
    if plan.reason is not None or not isinstance(clips, Manifest):
        return {**row, **_not_applicable(str(plan.reason))}
    plain, changed = found[test.clips][PLAIN.key], found[test.clips][plan.change.key]
    kept = set(changed.ids)
    plain = plain.where(lambda i: plain.ids[i] in kept)
    if len(changed.errors) == len(changed):
        return {**row, **_not_applicable(f"no clip could be predicted: {changed.errors[0][1]}")}
    try:
        one = METRICS[test.metric].function(Sample(test, clips.select(changed.ids), plain, changed))
    except NotApplicable as reason:
        return {**row, **_not_applicable(str(reason))}
    if not math.isfinite(one.value):
        return {**row, **_not_applicable("the metric is not defined for these clips")}
    return {**row, **_compare(test, one), "changed": _list_changed(plain, changed)}


def _not_applicable(reason: str) -> dict[str, Any]:
    empty = {"value": None, "low": None, "high": None, "decided": None, "n_clips": 0, "n_speakers": None}
    return {"status": "not applicable", "reason": reason, **empty, "rows": [], "changed": []}


def _compare(test: BehaviourTest, one: Measurement) -> dict[str, Any]:
    """Compare a measurement with its limit, which it meets when it is equal."""
    limit = one.limit if test.limit is None else test.limit
    if limit is not None and one.limit is not None:
        limit = max(limit, one.limit)
    if limit is None:
        return _not_applicable("no limit could be computed for these clips")
    sign = 1 if METRICS[test.metric].better == "higher" else -1
    margins = [None if x is None else sign * (x - limit) for x in (one.value, one.low, one.high)]
    value, ends = margins[0], [x for x in margins[1:] if x is not None]
    passed = value is not None and value >= -1e-9
    return {
        "status": "passed" if passed else "failed",
        "reason": None,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "limit": limit,
        "decided": all((x >= -1e-9) == passed for x in ends) if ends else None,
        "n_clips": one.n_clips,
        "n_speakers": one.n_speakers,
        "rows": [row.to_dict() for row in one.rows],
    }


def _list_changed(plain: Predictions, changed: Predictions) -> list[dict[str, Any]]:
    """Return the clips whose most likely label changed."""
    errors = dict(changed.errors)
    pairs = zip(plain.ids, plain.y_true, plain.y_pred, changed.y_pred, strict=True)
    return [
        {"id": key, "true": true, "plain": a, "changed": b, "error": errors.get(key)}
        for key, true, a, b in pairs
        if a != b
    ]


# --- the document -------------------------------------------------------------------------------------


def _make_document(
    setup: Setup,
    selection: Selection | None,
    settings: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    errors: Mapping[str, str],
) -> dict[str, Any]:
    stamp = None
    if selection is not None and isinstance(setup.model, Recognizer):
        stamp = find_stamp(
            setup.model.spec,
            selection.whole,
            setup.clips.ids,
            known=selection.splits,
            relabelled=selection.relabelled,
        ).to_dict()
    count = [
        {
            "category": name,
            **{
                status: sum(r["status"] == status and name in ("all", r["category"]) for r in results)
                for status in ("passed", "failed", "not applicable")
            },
        }
        for name in ("all", *CATEGORIES)
    ]
    document = {
        "schema": SCHEMA,
        "kind": "behaviour",
        "emovox": emovox.__version__,
        "model": describe_model(setup.model),
        "data": {
            "corpora": list(setup.clips.corpora),
            "n_clips": len(setup.clips),
            "n_speakers": setup.clips.n_known_speakers,
            "emotions": setup.clips.counts("emotion") if setup.is_labelled else None,
            "left_out": {} if selection is None else dict(selection.tested.dropped),
            "merged": {}
            if selection is None
            else {new: list(old) for new, old in selection.tested.merged.items()},
        },
        "settings": dict(settings),
        "stamp": stamp,
        "summary": count,
        "tests": list(results),
        "errors": [{"id": key, "error": error} for key, error in errors.items()],
    }
    plain: dict[str, Any] = to_plain(document)
    return plain
