"""Fit one classical model: prepare, select, classify, as one scikit-learn pipeline.

::

    fitted = fit(x, emotions, speakers, ClassicalConfig(model="logistic-regression"))
    fitted.probabilities(other)                                       # (n, len(fitted.classes))

Nothing is learnt from anything but these rows: who holds back a test speaker's has held them back from the
scaler, the choice of columns, the calibration and the classifier alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight

from emovox._arrays import Doubles, Floats
from emovox.errors import ConfigError, EmovoxError
from emovox.labels import EMOTIONS, EXTRAS
from emovox.training.classical.config import ClassicalConfig
from emovox.training.classical.preparing import Clip, Fill, Ranks, Scale
from emovox.training.classical.selection import Select

__all__ = ["Fitted", "Fold", "fit", "speaker_folds", "speaker_numbers"]

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model, with the names of what goes in and what comes out."""

    config: ClassicalConfig
    classes: tuple[str, ...]
    """In canonical order, others after them by the alphabet."""
    columns: tuple[str, ...]
    """Of the rows it takes."""
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    """What scikit-learn warned of while fitting, such as no convergence."""

    @property
    def selected_columns(self) -> tuple[str, ...]:
        """The columns that reach the classifier, in their order."""
        return tuple(self.columns[j] for j in self.selected)

    @property
    def selected(self) -> NDArray[np.int64]:
        """Where they are among all columns."""
        kept = np.flatnonzero(self.pipeline.named_steps["fill"].support_)
        chooser = self.pipeline.named_steps.get("select")
        return np.asarray(kept if chooser is None else kept[chooser.support_])

    def probabilities(self, x: ArrayLike) -> Doubles:
        """``(n, len(classes))`` of rows ``(n, len(columns))``, nan where a value is missing.

        Raises:
            ConfigError: the rows have another number of columns, or it was fitted without probabilities.
        """
        rows = self._rows(x)
        if not hasattr(self.pipeline, "predict_proba"):
            raise ConfigError(
                f"{self.config.model} was fitted with calibrate: false; it has no probabilities"
            )
        return np.asarray(self.pipeline.predict_proba(rows), np.float64)

    def predict(self, x: ArrayLike) -> NDArray[np.str_]:
        """The likeliest class of each row, ``(n,)``."""
        answers = np.asarray(self.pipeline.predict(self._rows(x))).reshape(-1).astype(int)
        named: NDArray[np.str_] = np.array(self.classes)[answers]
        return named

    def _rows(self, x: ArrayLike) -> Floats:
        rows = np.asarray(x, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ConfigError(f"rows have the shape {rows.shape}; expected (n, {len(self.columns)})")
        return rows


def fit(
    x: ArrayLike,
    y: Sequence[str],
    speakers: Sequence[str | None],
    config: ClassicalConfig,
    columns: Sequence[str] | None = None,
) -> Fitted:
    """Fit on rows ``x`` ``(n, d)`` with labels ``y`` and the speakers who said them, all of them training.

    Args:
        x: nan where missing; everything is computed of its float32.
        speakers: who must not be on both sides when scores are calibrated; ``None``: nobody knows who.
        columns: names ``(d,)``; ``0``, ``1`` ... without.

    Raises:
        ConfigError: the lengths differ, there are fewer than two classes, or too few speakers to calibrate.
    """
    rows = np.asarray(x, np.float32)
    names = tuple(columns) if columns is not None else tuple(str(j) for j in range(rows.shape[-1]))
    if rows.ndim != 2 or not len(rows) == len(y) == len(speakers) or rows.shape[1] != len(names):
        raise ConfigError(
            f"got rows {rows.shape}, {len(y)} labels, {len(speakers)} speakers and {len(names)} columns; "
            "expected (n, d), n, n and d"
        )
    classes = _ordered(y)
    truth = np.array([classes.index(one) for one in y])
    groups = speaker_numbers(speakers)
    kept = _resampled(truth, config)
    rows, truth, groups = rows[kept], truth[kept], groups[kept]
    pipeline = _pipeline(config, truth, groups)
    weights = compute_sample_weight("balanced", truth) if config.class_weight else None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            pipeline.fit(rows, truth, **({} if weights is None else {"classify__sample_weight": weights}))
        except EmovoxError:
            raise
        except Exception as error:  # what the libraries of the table raise has no common kin
            raise ConfigError(f"{config.model} cannot be fitted: {error}") from error
    return Fitted(config, classes, names, pipeline, tuple(dict.fromkeys(_notes(told))))


def speaker_folds(
    truth: NDArray[np.int64], groups: NDArray[np.int64], n_folds: int, seed: int = 0
) -> list[Fold]:
    """``(training, held out)``: no speaker is on both sides, and every training has every class.

    Fewer than ``n_folds`` where there are too few speakers or clips of a class.

    Raises:
        ConfigError: two such parts cannot be made.
    """
    n_possible = min(n_folds, len(np.unique(groups)), *np.bincount(truth)[np.unique(truth)])
    for n in range(n_possible, 1, -1):
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        folds = list(splitter.split(truth, truth, groups))
        if all(set(truth[training]) == set(truth) for training, _ in folds):
            return folds
    raise ConfigError(
        f"{len(truth)} clips of {len(np.unique(groups))} speakers cannot be parted in two with every class "
        "on both sides and no speaker on both: record more speakers, or take a model that needs no parts, "
        "such as logistic-regression"
    )


def _ordered(y: Sequence[str]) -> tuple[str, ...]:
    found = {str(one) for one in y}
    if len(found) < 2:
        raise ConfigError(f"the training has the classes {sorted(found)}; expected at least two")
    known = [name for name in (*EMOTIONS, *EXTRAS) if name in found]
    return (*known, *sorted(found - set(known)))


def speaker_numbers(speakers: Sequence[str | None]) -> NDArray[np.int64]:
    """A number for every speaker, and one of its own for a clip whose speaker nobody knows."""
    names = [f"speaker {who}" if who else f"clip {n}" for n, who in enumerate(speakers)]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


def _resampled(truth: NDArray[np.int64], config: ClassicalConfig) -> NDArray[np.int64]:
    """Indices of the clips to train on, in order."""
    if not config.resample:
        return np.arange(len(truth))
    rng = np.random.default_rng(config.seed)
    sizes = np.bincount(truth)
    n = sizes.max() if config.resample == "over" else sizes[sizes > 0].min()
    return np.sort(np.concatenate([_drawn(np.flatnonzero(truth == k), n, rng) for k in np.unique(truth)]))


def _drawn(clips: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``n`` of ``clips``: all of them as often as they fit, and the rest by chance."""
    rest = rng.choice(clips, n % len(clips), replace=False)
    return np.concatenate([np.repeat(clips, n // len(clips)), rest])


def _pipeline(config: ClassicalConfig, truth: NDArray[np.int64], groups: NDArray[np.int64]) -> Pipeline:
    steps: list[tuple[str, Any]] = [("fill", Fill())]
    if config.scaling == "quantile":
        steps.append(("scale", Ranks()))
    elif config.scaling != "none":
        steps.append(("scale", Scale(robust=config.scaling == "robust")))
        steps += [("clip", Clip(config.clip))] if config.clip is not None else []
    if config.select:
        steps.append(("select", Select(config.select, config.seed)))
    return Pipeline([*steps, ("classify", _classifier(config, truth, groups))])


def _classifier(config: ClassicalConfig, truth: NDArray[np.int64], groups: NDArray[np.int64]) -> Any:
    made = config.estimator.make(config.seed, config.n_jobs, **config.params)
    if isinstance(made, StackingClassifier):
        return made.set_params(cv=speaker_folds(truth, groups, config.calibration_folds, config.seed))
    if not (config.estimator.calibrated and config.calibrate):
        return made
    folds = speaker_folds(truth, groups, config.calibration_folds, config.seed)
    return CalibratedClassifierCV(made, cv=folds, ensemble=False, n_jobs=config.n_jobs)


def _notes(told: Sequence[warnings.WarningMessage]) -> Iterator[str]:
    for one in told:
        if issubclass(one.category, ConvergenceWarning):
            yield " ".join(str(one.message).split())
