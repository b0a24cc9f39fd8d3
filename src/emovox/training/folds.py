"""Fit one system on one split, and keep the result under a key of all that it depends on.

A result holds predictions, never the true labels. An interrupted cross-validation resumes from the results
that are there, and a changed one computes only what is new.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from emovox import _parallel
from emovox._files import write_json
from emovox.bundles import load_bundle, write_bundle
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import COPY_OF, Split
from emovox.errors import EmovoxError
from emovox.evaluation.predictions import Predictions, predict_manifest
from emovox.features.cache import FeatureCache
from emovox.inference.recognizer import Recognizer
from emovox.training.config import AugmentConfig, read_config, to_dict
from emovox.training.inputs import SplitInputs
from emovox.training.trainers import EstimatorTrainer, Trainer, make_trainer

__all__ = ["Fold", "FoldResult", "System", "run_folds"]

Part = Literal["validation", "test"]

_N_TIMED = 50
"""Clips of the test on which the time of a prediction is measured."""


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """A trainer under a name, as it is compared with others."""

    name: str
    trainer: Trainer
    search: bool = False
    """Search its settings inside each training part first, as ``trainer.config.tune`` says."""
    export: bool = False
    """Export each fold as a bundle, and predict the test through the recogniser that users run.

    Otherwise the test is predicted from the rows of features, without calibration: quicker.
    """

    @property
    def about(self) -> dict[str, str]:
        """Name, features and model, as they are written into documents."""
        config = self.trainer.config
        return {"name": self.name, "features": config.features.set, "model": config.model.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One fit, and the part of the split that it predicts."""

    system: System
    manifest: Manifest
    clips: str
    """Digest of the manifest and of the content of its files."""
    protocol: str
    split: Split
    part: Part
    file: Path
    """Where the result is kept; a bundle is beside it."""
    config: Mapping[str, Any] | None = None
    """The settings as a search found them, for the part ``test``."""

    @property
    def key(self) -> str:
        """Hash of all that the predictions depend on."""
        identity = {
            "system": self.system.trainer.identify(),
            "search": self.system.search and self.part == "validation",
            "export": self.system.export,
            "config": self.config,
            "clips": self.clips,
            "split": self.split.digest,
            "part": self.part,
        }
        text = json.dumps(identity, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).hexdigest()[:16]

    @property
    def bundle(self) -> Path:
        """The folder of the exported bundle."""
        return self.file.with_name(self.file.name.partition(".")[0])


@dataclass(frozen=True, slots=True)
class FoldResult:
    """The predictions of one fold."""

    ids: tuple[str, ...] = ()
    predicted: tuple[str, ...] = ()
    """Labels; empty of models of values alone."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """As fitted, with what a search found."""
    n_columns: int | None = None
    n_parameters: int | None = None
    """Known for exported models alone."""
    fit_s: float = 0.0
    """Of processor time, the search included, the features not."""
    predict_ms: float = 0.0
    """Of processor time per clip: of exported models from the file to the label, else from its row."""
    notes: tuple[str, ...] = ()
    error: str | None = None
    values: tuple[tuple[float | None, ...], ...] = ()
    """Of each clip, in the order of ``ids`` and of the targets; empty of models of labels."""


def run_folds(
    folds: Sequence[Fold],
    *,
    store: FeatureCache,
    workers: int = 1,
    fresh: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> list[FoldResult]:
    """Fit the folds whose results are not kept yet; return all results in their order.

    Args:
        store: cache of features.
        workers: processes. Each fits one fold in one thread, so that the numbers do not depend on how many
            there are. Systems that are exported are fitted one by one, and use the processes for the clips.
        fresh: fit all folds again.
        notify: called with a line after each fold.

    Raises:
        EmovoxError: a process died.
    """
    results = {} if fresh else {n: kept for n, fold in enumerate(folds) if (kept := _read(fold)) is not None}
    if results:
        notify(f"{len(results)} of {len(folds)} fits are kept from before")
    missing = [n for n in range(len(folds)) if n not in results]
    for count, (n, result) in enumerate(_fit_all(folds, missing, store, workers), 1):
        results[n] = result
        fold = folds[n]
        outcome = f"failed: {result.error}" if result.error else f"{result.fit_s:.1f} s"
        notify(f"{count}/{len(missing)} {fold.split.name}, {fold.part}, {fold.system.name}: {outcome}")
    return [results[n] for n in range(len(folds))]


def _fit_all(
    folds: Sequence[Fold], missing: Sequence[int], store: FeatureCache, workers: int
) -> Iterator[tuple[int, FoldResult]]:
    exported = [n for n in missing if folds[n].system.export]
    for n in exported:
        yield n, _FoldFitter(store, workers)(folds[n])
    rest = [n for n in missing if not folds[n].system.export]
    if not rest:
        return
    map_folds = _parallel.map_items if workers == 1 or len(rest) < 2 else _parallel.map_unordered
    numbers = {id(folds[n]): n for n in rest}
    for outcome in map_folds(
        partial(_FoldFitter, store), [folds[n] for n in rest], workers=min(workers, len(rest))
    ):
        if outcome.value is None:
            raise EmovoxError(
                f"{outcome.item.system.name}, {outcome.item.split.name}: {outcome.error}; what was done is "
                "kept: start again, with --workers 1 if memory was short"
            )
        yield numbers[id(outcome.item)], outcome.value


class _FoldFitter:
    """Fits folds in one process; keeps the inputs of the last set of features in memory."""

    def __init__(self, store: FeatureCache, workers: int = 1) -> None:
        self._store, self._workers = store, workers
        self._loaded: tuple[object, SplitInputs] | None = None

    def __call__(self, fold: Fold) -> FoldResult:
        try:
            if fold.system.export:
                result = self._export(fold) if fold.part == "validation" else self._evaluate(fold)
            else:
                from threadpoolctl import threadpool_limits

                with threadpool_limits(limits=1):
                    result = self._fit_rows(fold)
        except EmovoxError as error:  # reported as a row of the table, and tried again the next time
            return FoldResult(config=to_dict(fold.system.trainer.config), error=str(error))
        kept = {name: value for name, value in asdict(result).items() if name != "values" or value}
        write_json(fold.file, {"key": fold.key, **kept})
        return result

    def _load(self, fold: Fold, trainer: Trainer) -> SplitInputs:
        """Load the inputs of a split. Without augmentation all splits share those of all clips."""
        config, augments = trainer.config, trainer.config.augmentation() is not None
        if augments and any(COPY_OF in u.extra for u in fold.manifest):  # the augmented clips are in there
            trainer, augments = make_trainer(replace(config, augment=AugmentConfig())), False
        if augments:
            near = [*fold.split.train, *fold.split.validation]
            return trainer.load(fold.manifest, fold.split, ids=near, workers=self._workers, store=self._store)
        key = (fold.clips, config.features.set, str(config.features.overrides), config.model.name)
        if self._loaded is None or self._loaded[0] != key:
            inputs = trainer.load(fold.manifest, fold.split, workers=self._workers, store=self._store)
            self._loaded = key, inputs
        return replace(self._loaded[1], split=fold.split)

    def _fit_rows(self, fold: Fold) -> FoldResult:
        config = fold.system.trainer.config if fold.config is None else read_config(fold.config)
        trainer = EstimatorTrainer(config)
        inputs = self._load(fold, trainer)
        started = time.process_time()
        if fold.system.search and fold.part == "validation":
            trainer = EstimatorTrainer(trainer.search(inputs).best)
        fitted = trainer.fit_rows(inputs)
        fit_s = time.process_time() - started
        asked = inputs.rows(getattr(fold.split, fold.part))
        started = time.process_time()
        predicted = fitted.predict(asked.x) if asked.ids else ()
        predict_s = time.process_time() - started
        return FoldResult(
            asked.ids,
            tuple(str(one) for one in predicted),
            to_dict(trainer.config),
            len(fitted.selected),
            None,
            round(fit_s, 3),
            round(1000 * predict_s / max(1, len(asked.ids)), 4),
            fitted.notes,
        )

    def _export(self, fold: Fold) -> FoldResult:
        trainer = fold.system.trainer
        inputs = self._load(fold, trainer)
        # Named after what is trained, so that only a training of the same is resumed.
        checkpoints = fold.bundle.with_name(f"{fold.bundle.name}-training-{fold.key}")
        started = time.process_time()
        fitted = trainer.fit(inputs, folder=checkpoints)
        exported = trainer.export(fitted, inputs)
        fit_s = time.process_time() - started
        write_bundle(fold.bundle, exported.model, exported.spec, replace=True)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return FoldResult(
            tuple(fitted.validation or fitted.values),
            tuple(fitted.validation.values()),
            to_dict(trainer.config),
            len(exported.selected or inputs.columns),
            exported.n_parameters,
            round(fit_s, 3),
            notes=fitted.notes,
            values=tuple(fitted.values.values()),
        )

    def _evaluate(self, fold: Fold) -> FoldResult:
        recognizer = Recognizer(load_bundle(fold.bundle))
        tested = fold.manifest.select(fold.split.test)
        predictions = predict_manifest(recognizer, tested, workers=self._workers)
        some = tested.select(tested.ids[:: max(1, len(tested) // _N_TIMED)][:_N_TIMED])
        started = time.process_time()
        predict_manifest(recognizer, some)
        predict_ms = 1000 * (time.process_time() - started) / len(some)
        targets = fold.system.trainer.config.targets
        return FoldResult(
            predictions.ids,
            predictions.y_pred if predictions.labels else (),
            to_dict(fold.system.trainer.config),
            predict_ms=round(predict_ms, 4),
            notes=tuple(f"{key}: {why}" for key, why in predictions.errors),
            values=_list_values(predictions, targets) if targets else (),
        )


def _list_values(predictions: Predictions, targets: Sequence[str]) -> tuple[tuple[float | None, ...], ...]:
    """Return the predicted values of each clip; ``None`` where there is none."""
    table = predictions.values
    assert table is not None  # else the clips have no values, and were refused
    columns = [
        table.predicted[:, table.targets.index(name)].tolist()
        if name in table.targets
        else [math.nan] * len(predictions)
        for name in targets
    ]
    return tuple(
        tuple(None if math.isnan(value) else value for value in row) for row in zip(*columns, strict=True)
    )


def _read(fold: Fold) -> FoldResult | None:
    """The kept result, if it was made of the same."""
    try:
        kept = json.loads(fold.file.read_text(encoding="utf-8"))
        if kept.pop("key") != fold.key or (fold.system.export and not (fold.bundle / "spec.json").is_file()):
            return None
        for name in ("ids", "predicted", "notes"):
            kept[name] = tuple(kept[name])
        kept["values"] = tuple(map(tuple, kept.get("values", ())))
        return FoldResult(**kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
