"""Fit and export regressors of continuous targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox._arrays import Doubles
from emovox.bundles import Features, Input
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.datasets.targets import check_targets, read_targets
from emovox.errors import ConfigError
from emovox.evaluation import metrics
from emovox.features import find_feature_set
from emovox.training.bundle_spec import check_spec, make_spec, make_targets
from emovox.training.calibration import Calibration
from emovox.training.config import ClassicalModel, Config, to_yaml
from emovox.training.inputs import SplitInputs, find_vector_set, load_inputs
from emovox.training.trainer import ExportedModel, FittedModel

if TYPE_CHECKING:
    from emovox.training.classical.regression import FittedRegressor
    from emovox.training.search import SearchResult, Trial

__all__ = ["RegressorTrainer", "read_part", "score_values"]

_N_CHECKED = 64
"""Rows of the training, and as many of the validation, on which estimator and graph are compared."""


def read_part(config: Config, manifest: Manifest, ids: Sequence[str]) -> Doubles:
    """Read the values ``(n, n_targets)`` of the clips ``ids``; nan is missing.

    Raises:
        ManifestError: a column is missing, or a cell is no number.
    """
    rows = {key: n for n, key in enumerate(manifest.ids)}
    every = read_targets(manifest, config.targets, config.target_words)
    return np.asarray(every[[rows[key] for key in ids]])


def score_values(config: Config, true: Doubles, predicted: Doubles) -> dict[str, float | None]:
    """Return target -> CCC; ``None`` where it is not defined, as for fewer than two clips."""
    scores: dict[str, float | None] = {}
    for k, name in enumerate(config.targets):
        known = ~np.isnan(true[:, k]) & ~np.isnan(predicted[:, k])
        ccc = metrics.ccc(true[known, k], predicted[known, k]) if known.sum() > 1 else math.nan
        scores[name] = None if math.isnan(ccc) else ccc
    return scores


@dataclass(frozen=True)
class RegressorTrainer:
    """Trains regressors on rows of features: implements `Trainer`."""

    config: Config

    @property
    def _model(self) -> ClassicalModel:
        assert isinstance(self.config.model, ClassicalModel)
        return self.config.model

    def check(self) -> None:
        from emovox.training.classical.regression import find_regressor

        config, model = self.config, self._model
        regressor = find_regressor(model.name)
        if config.labels != "none":
            raise ConfigError(
                f"labels is {config.labels!r}: with targets the model {model.name!r} predicts values alone; "
                "expected labels=none, or a net, which predicts both"
            )
        for name in ("select", "class_weight", "resample"):
            if getattr(model, name) is not None:
                raise ConfigError(f"model.{name} is for labels; leave it out with targets")
        if config.tune.space:
            raise ConfigError("tune.space is for models of labels; leave it out with targets")
        regressor.make(**model.params)
        check_spec(config)
        config.augmentation()
        find_vector_set(config)

    def identify(self) -> list[str]:
        features = find_feature_set(self.config.features.set, self.config.features.overrides)
        return [
            to_yaml(replace(self.config, protocol=None)),
            features.digest,
            *(f"{name} {version(name)}" for name in ("emovox", "numpy", "scikit-learn")),
        ]

    def load(self, manifest: Manifest, split: Split, **options: Any) -> SplitInputs:
        return load_inputs(manifest, split, self.config, **options)

    def fit_rows(self, inputs: SplitInputs) -> FittedRegressor:
        """Fit on the rows of the training part and its augmented clips.

        Raises:
            ConfigError: no clip could be read, or has a value.
            ManifestError: a target is constant, or no number.
        """
        from emovox.training.classical.regression import find_regressor, fit_values

        rows = inputs.rows(inputs.split.train)
        if not rows.ids:
            raise ConfigError(
                f"{inputs.split.name}: none of the {len(inputs.split.train)} training clips could be read"
            )
        x, values = rows.x, read_part(self.config, inputs.manifest, rows.ids)
        check_targets(values, self.config.targets, "training")
        if inputs.augmented:
            added, of = inputs.augmented_rows(rows.ids)
            x, values = np.concatenate([x, added]), np.concatenate([values, values[of]])
        model = self._model
        return fit_values(
            x,
            values,
            find_regressor(model.name),
            targets=self.config.targets,
            columns=inputs.columns,
            params=model.params,
            scaling=model.scaler,
            clip=model.clip,
            seed=self.config.seed,
        )

    def fit(
        self,
        inputs: SplitInputs,
        *,
        folder: Path | None = None,
        notify: Callable[[str], None] = lambda line: None,
    ) -> FittedModel:
        fitted = self.fit_rows(inputs)
        held = inputs.rows(inputs.split.validation)
        values: Mapping[str, tuple[float, ...]] = {}
        scores: Mapping[str, float | None] = {}
        if held.ids:
            predicted = fitted.predict(held.x)
            values = {key: tuple(row) for key, row in zip(held.ids, predicted.tolist(), strict=True)}
            scores = score_values(self.config, read_part(self.config, inputs.manifest, held.ids), predicted)
        return FittedModel(fitted, (), Calibration(), None, {}, fitted.notes, values, scores)

    def export(self, fitted: FittedModel, inputs: SplitInputs) -> ExportedModel:
        from emovox.training.classical.graph_regressors import to_onnx_regressor
        from emovox.training.classical.onnx_export import count_parameters

        regressor, split = fitted.model, inputs.split
        checked = [inputs.rows(part).x[:_N_CHECKED] for part in (split.train, split.validation)]
        model = to_onnx_regressor(regressor, np.concatenate(checked), name=self.config.name)
        used = regressor.selected_columns  # without columns that are constant
        columns = None if used == tuple(inputs.columns) else used
        spec = make_spec(
            self.config,
            inputs.manifest,
            split,
            labels=(),
            targets=make_targets(self.config, read_part(self.config, inputs.manifest, split.train)),
            input=Input(kind="vector", features=Features(**(inputs.reference or {}), columns=columns)),
            calibration=fitted.calibration,
            unread=inputs.errors,
        )
        return ExportedModel(
            model, spec, None, None, count_parameters(model), fitted.notes, fitted.validation_ccc
        )

    def search(
        self,
        inputs: SplitInputs,
        *,
        study: Path | None = None,
        tell: Callable[[Trial], None] = lambda trial: None,
    ) -> SearchResult[Config]:
        """Raise ConfigError: settings are searched by the UAR of labels."""
        raise ConfigError(
            "settings of models with targets are not searched; expected a config without targets"
        )
