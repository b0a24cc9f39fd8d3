"""Fit a classical model: preprocessing, selection and classifier as one scikit-learn pipeline.

::

    fitted = fit(x, emotions, speakers, ClassicalConfig(model="logistic-regression"))
    fitted.predict_proba(other)                                       # (n, len(fitted.classes))

Scaler, selected columns, calibration and classifier are all fitted on the given rows alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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
from emovox.training.classical.preprocessing import Clipper, Imputer, RankScaler, Scaler
from emovox.training.classical.selection import Selector

__all__ = ["FittedClassifier", "Fold", "fit", "make_preprocessing", "make_speaker_folds", "number_speakers"]

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of the training part, and rows held out."""

_MIN_BETA = 1e-3
"""Smaller inverse temperatures, down to e^-10, mean scores that are of no use for held-out speakers."""


@dataclass(frozen=True, slots=True)
class FittedClassifier:
    """A fitted pipeline with the names of its columns and classes."""

    config: ClassicalConfig
    classes: tuple[str, ...]
    """In canonical order; unknown labels follow in alphabetical order."""
    columns: tuple[str, ...]
    """Of the input rows."""
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    """Convergence warnings of scikit-learn."""

    @property
    def selected(self) -> NDArray[np.int64]:
        """Indices of the columns that reach the classifier."""
        kept = np.flatnonzero(self.pipeline.named_steps["impute"].support_)
        selector = self.pipeline.named_steps.get("select")
        return np.asarray(kept if selector is None else kept[selector.support_])

    @property
    def selected_columns(self) -> tuple[str, ...]:
        """Names of the columns that reach the classifier."""
        return tuple(self.columns[j] for j in self.selected)

    def predict_proba(self, x: ArrayLike) -> Doubles:
        """Return probabilities ``(n, len(classes))`` of rows ``(n, len(columns))``; nan is missing.

        Raises:
            ConfigError: the rows have another number of columns, or it was fitted without probabilities.
        """
        rows = self._check_rows(x)
        if not hasattr(self.pipeline, "predict_proba"):
            raise ConfigError(
                f"{self.config.model} was fitted with calibrate: false; it has no probabilities"
            )
        return np.asarray(self.pipeline.predict_proba(rows), np.float64)

    def predict(self, x: ArrayLike) -> NDArray[np.str_]:
        """Return the most likely class of each row, ``(n,)``."""
        index = np.asarray(self.pipeline.predict(self._check_rows(x))).reshape(-1).astype(int)
        names: NDArray[np.str_] = np.array(self.classes)[index]
        return names

    def _check_rows(self, x: ArrayLike) -> Floats:
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
    weights: ArrayLike | None = None,
) -> FittedClassifier:
    """Fit a model on training rows.

    Args:
        x: ``(n, d)``, nan where missing; used as float32.
        y: labels ``(n,)``.
        speakers: ``(n,)``; calibration and stacking part the clips by them. ``None``: unknown.
        config: the model and its preprocessing.
        columns: names ``(d,)``; by default ``0``, ``1`` ...
        weights: ``(n,)``, over 0, how much each row counts, as rows of soft labels do; evenly when ``None``.

    Raises:
        ConfigError: the lengths differ, the model does not support weights, there are fewer than two classes
            or too few speakers to calibrate, or the library refuses a parameter.
    """
    rows = np.asarray(x, np.float32)
    names = tuple(columns) if columns is not None else tuple(str(j) for j in range(rows.shape[-1]))
    if rows.ndim != 2 or not len(rows) == len(y) == len(speakers) or rows.shape[1] != len(names):
        raise ConfigError(
            f"got rows {rows.shape}, {len(y)} labels, {len(speakers)} speakers and {len(names)} columns; "
            "expected (n, d), n, n and d"
        )
    present = {str(label) for label in y}
    if len(present) < 2:
        raise ConfigError(f"the training has the classes {sorted(present)}; expected at least two")
    canonical = [name for name in (*EMOTIONS, *EXTRAS) if name in present]
    classes = (*canonical, *sorted(present - set(canonical)))
    truth = np.array([classes.index(label) for label in y])
    groups = number_speakers(speakers)
    if weights is not None and (config.resample or not config.estimator.supports_weights):
        what = "resample" if config.resample else f"the model {config.model!r}"
        raise ConfigError(
            f"soft labels are trained on as weights of clips, which {what} does not allow; expected another "
            "model or setting, such as logistic-regression"
        )
    kept = _resample(truth, config)
    rows, truth, groups = rows[kept], truth[kept], groups[kept]
    pipeline = _make_pipeline(config, truth, groups)
    options = {}
    if weights is not None:
        counts = np.asarray(weights, np.float64)
        if config.class_weight:
            totals = np.bincount(truth, counts, len(classes))
            counts = counts * counts.sum() / (len(classes) * totals[truth])
        options["classify__sample_weight"] = counts
    elif config.class_weight:
        options["classify__sample_weight"] = compute_sample_weight("balanced", truth)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pipeline.fit(rows, truth, **options)
        except EmovoxError:
            raise
        except Exception as error:  # the exceptions of the libraries share no base class
            raise ConfigError(f"{config.model} cannot be fitted: {error}") from error
    convergence = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    notes = dict.fromkeys(" ".join(str(w.message).split()) for w in convergence)
    classifier = pipeline.steps[-1][1]
    if isinstance(classifier, CalibratedClassifierCV):
        (temperature,) = classifier.calibrated_classifiers_[0].calibrators
        if temperature.beta_ < _MIN_BETA:
            notes[
                "clips of held-out speakers are predicted no better than by chance, so the probabilities of "
                f"{config.model} are nearly equal; train on more speakers, or use a model that needs no "
                "calibration, such as logistic-regression"
            ] = None
    return FittedClassifier(config, classes, names, pipeline, tuple(notes))


def number_speakers(speakers: Sequence[str | None]) -> NDArray[np.int64]:
    """Number the speakers; each clip of an unknown speaker gets a number of its own."""
    names = [f"speaker {name}" if name else f"clip {n}" for n, name in enumerate(speakers)]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


def make_speaker_folds(
    truth: NDArray[np.int64], groups: NDArray[np.int64], n_folds: int, seed: int = 0
) -> list[Fold]:
    """Part clips into folds with no speaker on both sides and every class in every training part.

    There are fewer than ``n_folds`` if there are too few speakers or clips of a class.

    Raises:
        ConfigError: two such folds cannot be made.
    """
    n_possible = min(n_folds, len(np.unique(groups)), *np.bincount(truth)[np.unique(truth)])
    for n in range(n_possible, 1, -1):
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        folds = list(splitter.split(truth, truth, groups))
        if all(set(truth[training]) == set(truth) for training, _ in folds):
            return folds
    raise ConfigError(
        f"{len(truth)} clips of {len(np.unique(groups))} speakers cannot be parted in two with every class "
        "on both sides and no speaker on both: record more speakers, or use a model that needs no folds, "
        "such as logistic-regression"
    )


def _resample(truth: NDArray[np.int64], config: ClassicalConfig) -> NDArray[np.int64]:
    """Return the rows to train on: every class as often as the largest or the smallest one."""
    if not config.resample:
        return np.arange(len(truth))
    rng = np.random.default_rng(config.seed)
    sizes = np.bincount(truth)
    n = sizes.max() if config.resample == "over" else sizes[sizes > 0].min()
    chosen: list[NDArray[np.int64]] = []
    for label in np.unique(truth):
        rows = np.flatnonzero(truth == label)
        chosen += [np.repeat(rows, n // len(rows)), rng.choice(rows, n % len(rows), replace=False)]
    return np.sort(np.concatenate(chosen))


def make_preprocessing(scaling: str, clip: float | None) -> list[tuple[str, Any]]:
    """Return the steps before selection and estimator: impute, scale and clip columns."""
    steps: list[tuple[str, Any]] = [("impute", Imputer())]
    if scaling == "quantile":
        steps.append(("scale", RankScaler()))
    elif scaling != "none":
        steps.append(("scale", Scaler(robust=scaling == "robust")))
        steps += [("clip", Clipper(clip))] if clip is not None else []
    return steps


def _make_pipeline(config: ClassicalConfig, truth: NDArray[np.int64], groups: NDArray[np.int64]) -> Pipeline:
    steps = make_preprocessing(config.scaling, config.clip)
    if config.select:
        steps.append(("select", Selector(config.select, config.seed)))
    classifier = config.estimator.make(config.seed, config.n_jobs, **config.params)
    if isinstance(classifier, StackingClassifier):
        folds = make_speaker_folds(truth, groups, config.calibration_folds, config.seed)
        classifier.set_params(cv=folds)
    elif config.estimator.needs_calibration and config.calibrate:
        folds = make_speaker_folds(truth, groups, config.calibration_folds, config.seed)
        # One temperature for all labels keeps their order: Platt scaling of each label alone may reverse the
        # scores of one on few speakers, and then never gives it.
        classifier = CalibratedClassifierCV(
            classifier, method="temperature", cv=folds, ensemble=False, n_jobs=config.n_jobs
        )
    return Pipeline([*steps, ("classify", classifier)])
