"""Predictions of clips under many changes, kept in a file so that a run resumes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emovox import _parallel
from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import AudioError, EmovoxError
from emovox.evaluation.babble import BabblePool
from emovox.evaluation.behaviour.changes import Change
from emovox.evaluation.behaviour.models import TestedModel
from emovox.evaluation.predictions import Predictions, tabulate
from emovox.results import Prediction

__all__ = ["PLAIN", "PredictionStore", "predict_changes"]

PLAIN = Change((), (), "plain")
"""The clips as they are."""

_SCHEMA = 1  # of the store: raise it when a transform or the seeds change


class PredictionStore:
    """Predictions by a key of model, samples and change; a file of JSON lines that is only appended to.

    Args:
        path: the file, or ``None`` to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the last line of a run that was killed
                if isinstance(row, dict) and row.keys() == {"key", "label", "reason", "scores"}:
                    self.rows[str(row.pop("key"))] = row

    @contextmanager
    def appending(self) -> Iterator[Callable[[Mapping[str, dict[str, Any]]], None]]:
        """Yield a function that adds rows; they are in the file when it returns."""
        if self._path is None:
            yield self.rows.update
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            if stream.tell() and not self._ends_with_newline():
                stream.write("\n")

            def add(rows: Mapping[str, dict[str, Any]]) -> None:
                self.rows.update(rows)
                stream.writelines(json.dumps({"key": key, **row}) + "\n" for key, row in rows.items())
                stream.flush()

            yield add

    def _ends_with_newline(self) -> bool:
        assert self._path is not None
        with self._path.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"


@dataclass(frozen=True)
class _Task:
    clip: Utterance
    changes: tuple[Change, ...]


def predict_changes(
    model: TestedModel,
    names: tuple[str, ...],
    manifest: Manifest,
    changes: Mapping[str, Sequence[Change]],
    *,
    identity: Sequence[str],
    seed: int = 0,
    workers: int = 1,
    store: PredictionStore,
    advance: Callable[[int], None],
) -> dict[str, Predictions]:
    """Predict clips under changes; those in the store are not predicted again.

    Args:
        names: labels to predict.
        changes: id of a clip -> its changes.
        identity: texts that identify the model and its options.
        advance: called with the number of predictions that are new or found.

    Returns:
        Key of a change -> predictions of the clips that have it, in the order of the manifest. A clip that
        cannot be read or changed has no scores, and its error in ``errors``.
    """
    work = partial(_make_worker, model, names, manifest, (*identity, *names), seed, store.rows)
    found: dict[str, dict[str, Prediction]] = {}
    tasks = [_Task(u, tuple(changes[u.id])) for u in manifest if changes.get(u.id)]
    with store.appending() as add:
        for outcome in _parallel.map_items(work, tasks, workers=workers):
            task = outcome.item
            answers = outcome.value or {
                change.key: ("", {"error": str(outcome.error)}, False) for change in task.changes
            }
            add({key: row for key, row, is_new in answers.values() if is_new})
            for change, (_, row, _) in answers.items():
                found.setdefault(change, {})[task.clip.id] = _read_row(row, manifest, task.clip)
            advance(len(answers))
    return {
        change: tabulate(manifest.select(list(rows)), names, list(rows.values()))
        for change, rows in found.items()
    }


def _read_row(row: Mapping[str, Any], manifest: Manifest, u: Utterance) -> Prediction:
    if "error" in row:
        return Prediction(None, file=str(manifest.file(u)), error=row["error"])
    return Prediction(row["label"], scores=row["scores"], reason=row["reason"])


_Rows = dict[str, tuple[str, dict[str, Any], bool]]
"""Key of a change -> key in the store, row, whether the row is new."""


def _make_worker(
    model: TestedModel,
    names: tuple[str, ...],
    manifest: Manifest,
    identity: tuple[str, ...],
    seed: int,
    known: Mapping[str, dict[str, Any]],
) -> Callable[[_Task], _Rows]:
    """Make the function that predicts one clip under its changes; called once in each process."""
    return _Worker(model, names, manifest, identity, seed, known, BabblePool(manifest)).predict


@dataclass(frozen=True)
class _Worker:
    model: TestedModel
    names: tuple[str, ...]
    manifest: Manifest
    identity: tuple[str, ...]
    seed: int
    known: Mapping[str, dict[str, Any]]
    pool: BabblePool

    def predict(self, task: _Task) -> _Rows:
        try:
            x = self.manifest.read(task.clip)
        except AudioError as error:
            return {change.key: ("", {"error": str(error)}, False) for change in task.changes}
        digest = hashlib.sha256(x.tobytes()).hexdigest()
        rows: _Rows = {}
        for change in task.changes:
            # Who speaks decides whose clips are mixed into babble.
            facts = [_SCHEMA, self.identity, digest, self.seed if change.kinds else 0, change.key]
            if "babble" in change.kinds:
                facts.append(task.clip.speaker)
            key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
            row = self.known.get(key)
            # Errors are not kept: what was missing may be there the next time.
            rows[change.key] = (
                (key, row, False) if row else self._predict_change(change, task, x, digest, key)
            )
        return rows

    def _predict_change(
        self, change: Change, task: _Task, x: Floats, digest: str, key: str
    ) -> tuple[str, dict[str, Any], bool]:
        try:
            y = change.apply(x, task.clip, digest=digest, seed=self.seed, pool=self.pool)
            one = self.model.predict(y, sample_rate=SAMPLE_RATE, labels=self.names)
        except EmovoxError as error:
            return key, {"error": str(error)}, False
        # Rounded here, so that an interrupted run and one without a pause have the same scores.
        scores = {name: round(float(value), 6) for name, value in one.scores.items()}
        return key, {"label": one.label, "reason": one.reason, "scores": scores}, True
