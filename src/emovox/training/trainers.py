"""Fit and export models of either kind: estimators of scikit-learn, and nets.

::

    trainer = make_trainer(config)                       # the one place that asks: estimator or net?
    inputs = trainer.load(manifest, split)
    fitted = trainer.fit(inputs)
    exported = trainer.export(fitted, inputs)
    write_bundle(folder, exported.model, exported.spec)

The models are those of `emovox.training.trainer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.bundles import Features, Input, Target
from emovox.datasets.cells import KEY
from emovox.datasets.manifest import Manifest
from emovox.datasets.soft_labels import read_shares
from emovox.datasets.splits import Split
from emovox.datasets.targets import check_targets
from emovox.errors import ConfigError, MissingExtraError, did_you_mean, install_command
from emovox.evaluation import metrics
from emovox.features import find_feature_set
from emovox.labels import sort_labels
from emovox.training.bundle_spec import check_spec, make_spec, make_targets
from emovox.training.calibration import Calibration, calibrated
from emovox.training.config import Changes, Config, NetModel, Source, read_config, to_plain, to_yaml
from emovox.training.inputs import SplitInputs, find_vector_set, load_inputs
from emovox.training.regressor_trainer import RegressorTrainer, read_part, score_values
from emovox.training.trainer import ExportedModel, FittedModel, Trainer

if TYPE_CHECKING:
    from torch import nn

    from emovox.training.classical import ClassicalConfig, FittedClassifier
    from emovox.training.export import ValueScale
    from emovox.training.neural.clips import ClipSet
    from emovox.training.search import SearchResult, Trial

__all__ = [
    "EstimatorTrainer",
    "ExportedModel",
    "FittedModel",
    "NetTrainer",
    "RegressorTrainer",
    "Trainer",
    "make_config",
    "make_trainer",
]

_N_CHECKED = 64
"""Rows of the training, and as many of the validation, on which estimator and graph are compared."""

_MIN_PROBABILITY = 1e-12
"""Smaller probabilities are raised to this one, so that every logit is finite."""

_MAX_WEIGHTS = 500_000_000
"""Of a net: 4 bytes each, and an ONNX file holds 2 GB."""

_N_TRACED = 6
"""Clips on which net and graph are compared."""


def _ignore(line: str) -> None:
    """Drop a line that is not wanted."""


def make_trainer(config: Config) -> Trainer:
    """Make the trainer of the model that ``config`` names."""
    if isinstance(config.model, NetModel):
        return NetTrainer(config)
    return RegressorTrainer(config) if config.targets else EstimatorTrainer(config)


def make_config(source: Source | Config = None, changes: Changes = (), **options: Any) -> Config:
    """Read a config, with changes, and with options that override both.

    If ``model`` names another model than the file, the file's settings of its own model are dropped.

    Args:
        source: a YAML file, nested mappings, a config, or ``None`` for all defaults.
        changes: ``key=value`` texts, or a mapping of dotted keys.
        options: ``model``, ``features``, ``data``, ``labels``, ``protocol``, ``seed``, or other settings of
            `Config`; those that are ``None`` are not given.
    """
    model = options.pop("model", None)
    pairs = list(changes.items()) if isinstance(changes, Mapping) else list(changes)
    if model is not None:
        if read_config(source).model.name != model:
            pairs.insert(0, ("model", {"kind": _find_kind(model), "name": model}))
        options["model.name"] = model
    for key, value in options.items():
        if value is not None and value != []:
            pairs.append(("features.set" if key == "features" else key, value))
    return read_config(source, pairs)


def _find_kind(model: str) -> str:
    """Find ``model.kind`` of a name; a name that both tables have is the estimator."""
    from emovox.training.classical.estimators import ESTIMATORS
    from emovox.training.classical.regression import REGRESSORS

    if model in ESTIMATORS or model in REGRESSORS:
        return "classical"
    nets: tuple[str, ...] = ()
    missing = ""
    try:
        from emovox.nets.registry import NETS

        nets = tuple(NETS)
    except ImportError:
        missing = f"; nets need PyTorch:  {install_command('train')}"
    if model in nets:
        return "net"
    raise ConfigError(f"no model {model!r}; {did_you_mean(model, (*ESTIMATORS, *nets))}{missing}")


@dataclass(frozen=True)
class EstimatorTrainer:
    """Trains an estimator on rows of features: implements `Trainer`."""

    config: Config

    @property
    def classical_config(self) -> ClassicalConfig:
        """The settings of `emovox.training.classical.fit`.

        Raises:
            ConfigError: an estimator, a parameter or a value is unknown; the message names the nearest.
        """
        from emovox.training.classical import ClassicalConfig

        values = asdict(self.config.model)
        del values["kind"]
        name = values.pop("name")
        if values.get("select") is not None:
            values["select"] = {key: value for key, value in values["select"].items() if value is not None}
        return ClassicalConfig.from_dict({"model": name, "seed": self.config.seed, **values})

    def check(self) -> None:
        from emovox.training.classical.estimators import ESTIMATORS
        from emovox.training.classical.regression import REGRESSORS
        from emovox.training.classical.spaces import endpoints, read_space

        check_spec(self.config)
        self.config.augmentation()
        name = self.config.model.name
        if name in REGRESSORS and name not in ESTIMATORS:
            raise ConfigError(
                f"the model {name!r} predicts values; expected the columns that hold them, such as "
                "targets=[arousal]"
            )
        _ = self.classical_config
        find_vector_set(self.config)
        for name, values in read_space(self.config.tune.space).items():
            for value in endpoints(values):
                params = {**self.config.model.params, name: value}
                model = replace(self.config.model, params=params)
                _ = replace(self, config=replace(self.config, model=model)).classical_config

    def identify(self) -> list[str]:
        config = self.classical_config
        made = config.estimator.make(config.seed, config.n_jobs, **config.params)
        packages = ["numpy", "scikit-learn"]
        if config.estimator.extra is not None:
            packages.append(config.estimator.extra)  # the extras of estimators are named like their packages
        if config.select is not None and config.select.method == "catboost":
            packages.append("catboost")
        features = find_feature_set(self.config.features.set, self.config.features.overrides)
        return [
            to_yaml(replace(self.config, protocol=None)),
            features.digest,
            *(f"{name}={value!r}" for name, value in made.get_params().items()),
            *(f"{name} {version(name)}" for name in ("emovox", *packages)),
        ]

    def load(self, manifest: Manifest, split: Split, **options: Any) -> SplitInputs:
        return load_inputs(manifest, split, self.config, **options)

    def fit_rows(self, inputs: SplitInputs) -> FittedClassifier:
        """Fit on the rows of the training part and its augmented clips, without calibration."""
        from emovox.training.classical import fit

        rows = inputs.rows(inputs.split.train)
        if not rows.ids:
            raise ConfigError(
                f"{inputs.split.name}: none of the {len(inputs.split.train)} training clips could be read"
            )
        x, labels, speakers = rows.x, rows.y, rows.speakers
        if inputs.augmented:
            added, of = inputs.augmented_rows(rows.ids)
            x, labels = np.concatenate([x, added]), (*labels, *(rows.y[n] for n in of))
            # A clip of an unknown speaker stays in one group with its augmented clips.
            groups = [who or f"clip {key}" for who, key in zip(rows.speakers, rows.ids, strict=True)]
            speakers = (*groups, *(groups[n] for n in of))
        names = sort_labels(rows.y)
        shares = _find_shares(inputs.manifest, rows.ids, names)
        if shares is None:
            return fit(x, labels, speakers, self.classical_config, inputs.columns)
        # A clip of several labels is a row for each, weighted by its share.
        if inputs.augmented:
            shares = np.concatenate([shares, shares[of]])
        else:
            speakers = tuple(who or f"clip {key}" for who, key in zip(speakers, rows.ids, strict=True))
        at, column = np.nonzero(shares)
        return fit(
            x[at],
            [names[k] for k in column],
            [speakers[n] for n in at],
            self.classical_config,
            inputs.columns,
            shares[at, column],
        )

    def fit(
        self, inputs: SplitInputs, *, folder: Path | None = None, notify: Callable[[str], None] = _ignore
    ) -> FittedModel:
        fitted = self.fit_rows(inputs)
        manifest, ids = inputs.manifest, inputs.split.validation
        held = inputs.rows(key for key in ids if manifest[key].emotion in fitted.classes)
        logits, uar, predicted = np.zeros((0, len(fitted.classes))), None, list[str]()
        if held.ids:
            logits = np.log(np.maximum(fitted.predict_proba(held.x), _MIN_PROBABILITY))
            predicted = [fitted.classes[n] for n in logits.argmax(1)]
            uar = metrics.uar(held.y, predicted, labels=list(fitted.classes))
        truth = np.array([fitted.classes.index(name) for name in held.y], np.int64)
        shares = _find_shares(manifest, held.ids, fitted.classes)
        calibration = calibrated(logits, truth, self.config.coverage, shares)
        validation = dict(zip(held.ids, predicted, strict=True))
        notes = (*fitted.notes, *calibration.notes)
        return FittedModel(fitted, fitted.classes, calibration, uar, validation, notes)

    def export(self, fitted: FittedModel, inputs: SplitInputs) -> ExportedModel:
        from emovox.training.classical.onnx_export import count_parameters, to_onnx_classical

        estimator, split = fitted.model, inputs.split
        checked = [inputs.rows(part).x[:_N_CHECKED] for part in (split.train, split.validation)]
        model = to_onnx_classical(estimator, np.concatenate(checked))
        used = estimator.selected_columns  # without columns that are constant or were not selected
        columns = None if used == tuple(inputs.columns) else used
        spec = make_spec(
            self.config,
            inputs.manifest,
            split,
            labels=fitted.labels,
            input=Input(kind="vector", features=Features(**(inputs.reference or {}), columns=columns)),
            calibration=fitted.calibration,
            unread=inputs.errors,
        )
        selected = used if self.classical_config.select is not None else None
        return ExportedModel(
            model, spec, fitted.validation_uar, selected, count_parameters(model), fitted.notes
        )

    def search(
        self,
        inputs: SplitInputs,
        *,
        study: Path | None = None,
        tell: Callable[[Trial], None] = lambda trial: None,
    ) -> SearchResult[Config]:
        from emovox.training.classical.spaces import read_space
        from emovox.training.search import AugmentedRows, SearchResult, search_classifier

        tune, rows = self.config.tune, inputs.rows(inputs.split.train)
        found = search_classifier(
            rows.x,
            rows.y,
            rows.speakers,
            self.classical_config,
            augmented=AugmentedRows(*inputs.augmented_rows(rows.ids)) if inputs.augmented else None,
            method=tune.method,
            draws=tune.draws,
            inner_folds=tune.inner_folds,
            space=read_space(tune.space) or None,
            study=study if tune.method == "optuna" else None,
            seed=self.config.seed,
            on_trial=tell,
        )
        model = replace(self.config.model, params=to_plain(found.best.params))
        best = replace(self.config, model=model)
        return SearchResult(best, found.params, found.trials, found.interrupted)


@dataclass(frozen=True)
class NetTrainer:
    """Trains a net on frames, rows or waveforms: implements `Trainer`. Needs the extra ``train``."""

    config: Config

    def identify(self) -> list[str]:
        features = find_feature_set(self.config.features.set, self.config.features.overrides)
        return [
            to_yaml(replace(self.config, protocol=None)),
            features.digest,
            *(f"{name} {version(name)}" for name in ("emovox", "numpy", "torch")),
        ]

    @property
    def takes_waveform(self) -> bool:
        """Whether the net takes the sound itself, and no features."""
        from emovox.nets.registry import find_net

        return find_net(self.config.model.name).input == "waveform"

    def make_net(self, n_in: int, n_labels: int) -> nn.Module:
        """Make a net with fresh weights, the same for one seed."""
        try:
            import torch

            from emovox.nets.registry import make_net
        except ImportError as error:
            raise MissingExtraError("training a net", "train") from error
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return make_net(self.config.model.name, self.config.model.params, n_in=n_in, n_labels=n_labels)

    def check(self) -> None:
        config = self.config
        check_spec(config)
        config.augmentation()
        find_feature_set(config.features.set, config.features.overrides)
        net = self.make_net(n_in=1, n_labels=2)
        if config.tune.space:
            from emovox.training.classical.spaces import read_space
            from emovox.training.search.nets import check_space

            check_space(config, read_space(config.tune.space))
        if not self.takes_waveform:
            return
        if config.train.mask_time or config.train.mask_columns:
            raise ConfigError(
                f"the net {config.model.name!r} takes the waveform, which has no frames to mask: expected "
                "train.mask_time and train.mask_columns 0"
            )
        if (n_weights := sum(weight.numel() for weight in net.parameters())) > _MAX_WEIGHTS:
            raise ConfigError(
                f"the net has {n_weights} weights; expected at most {_MAX_WEIGHTS}, as an ONNX file can hold"
            )
        longest = getattr(getattr(net, "encoder", None), "max_samples", None)
        if longest is not None and config.windows.clip_s * SAMPLE_RATE > longest:
            raise ConfigError(
                f"windows.clip_s is {config.windows.clip_s:g}; this encoder takes at most "
                f"{longest / SAMPLE_RATE:g} s"
            )

    def load(self, manifest: Manifest, split: Split, **options: Any) -> SplitInputs:
        return load_inputs(manifest, split, self.config, waveform=self.takes_waveform, **options)

    def fit(
        self, inputs: SplitInputs, *, folder: Path | None = None, notify: Callable[[str], None] = _ignore
    ) -> FittedModel:
        from emovox.training.neural.trainer import fit_net, predict_logits

        config = self.config
        labels, training, validation = make_clip_sets(inputs, config)
        n_outputs = len(labels) + len(config.targets)
        fitted = fit_net(
            self.make_net(n_in=len(inputs.columns), n_labels=n_outputs),
            training,
            validation,
            self.config.train,
            seed=self.config.seed,
            folder=folder,
            on_epoch=lambda epoch: notify(epoch.line()),
        )
        outputs, truth, read = np.zeros((0, n_outputs)), np.zeros(0, np.int64), list[str]()
        predicted: dict[str, str] = {}
        values: dict[str, tuple[float, ...]] = {}
        scores: dict[str, float | None] = {}
        if validation is not None:
            batch_size = config.train.batch_size
            outputs = predict_logits(fitted.net, validation, batch_size=batch_size).astype(np.float64)
            truth = validation.labels
            read = _list_used(inputs, inputs.split.validation, labels)
            if labels:
                best = outputs[:, : len(labels)].argmax(1)
                predicted = {key: labels[n] for key, n in zip(read, best, strict=True)}
            if config.targets:
                scale = _find_scale(inputs, config, labels)
                found = outputs[:, len(labels) :] * scale.deviation + scale.mean
                values = {key: tuple(row) for key, row in zip(read, found.tolist(), strict=True)}
                scores = score_values(config, read_part(config, inputs.manifest, read), found)
        calibration = Calibration()
        if labels:
            shares = _find_shares(inputs.manifest, read, labels)
            calibration = calibrated(outputs[:, : len(labels)], truth, config.coverage, shares)
        n_weights = sum(weight.numel() for weight in fitted.net.parameters())
        epoch = f"epoch {fitted.best} of {len(fitted.epochs)}"
        note = f"{self.config.model.name}: {n_weights} parameters, {epoch} is kept"
        return FittedModel(fitted.net, labels, calibration, fitted.uar, predicted, (note,), values, scores)

    def export(self, fitted: FittedModel, inputs: SplitInputs) -> ExportedModel:
        from emovox.nets.base import SingleFrameNet
        from emovox.training.export import to_onnx

        net = fitted.model
        clips = [inputs.values[key] for key in inputs.split.train if key in inputs.values]
        some = clips[:: max(1, len(clips) // _N_TRACED)][:_N_TRACED]
        scale, targets = None, tuple[Target, ...]()
        if self.config.targets:
            scale = _find_scale(inputs, self.config, fitted.labels)
            trained = read_part(self.config, inputs.manifest, inputs.split.train)
            targets = make_targets(self.config, trained)
        if inputs.kind == "vector":
            model = to_onnx(
                SingleFrameNet(net),
                some if len(some) > 1 else some * 2,
                name=self.config.name,
                kind=inputs.kind,
                scale=scale,
            )
        else:
            longest = max(some, key=len)
            double, third = np.concatenate([longest, longest]), longest[: max(1, len(longest) // 3)]
            traced = [double, longest, *some, third]
            model = to_onnx(net, traced, name=self.config.name, kind=inputs.kind, scale=scale)
        checkpoint = self.config.model.params.get("checkpoint")
        if checkpoint is not None and Path(checkpoint).is_dir():
            checkpoint = Path(checkpoint).name
        spec = make_spec(
            self.config,
            inputs.manifest,
            inputs.split,
            labels=fitted.labels,
            targets=targets,
            input=Input(
                kind=inputs.kind, features=Features(**inputs.reference) if inputs.reference else None
            ),
            calibration=fitted.calibration,
            pretrained=checkpoint,
            unread=inputs.errors,
        )
        n_weights = sum(weight.numel() for weight in net.parameters())
        return ExportedModel(
            model, spec, fitted.validation_uar, None, n_weights, fitted.notes, fitted.validation_ccc
        )

    def search(
        self,
        inputs: SplitInputs,
        *,
        study: Path | None = None,
        tell: Callable[[Trial], None] = lambda trial: None,
    ) -> SearchResult[Config]:
        from emovox.training.classical.spaces import read_space
        from emovox.training.search import SearchPlan
        from emovox.training.search.nets import find_net_space, make_inner_parts, search_net

        tune = self.config.tune
        _, training, validation = make_clip_sets(inputs)
        if validation is None:  # without validation clips: folds of the training part, parted by speakers
            read = [key for key in inputs.split.train if key in inputs.values]
            speakers = [inputs.manifest[key].known_speaker for key in read]
            parts = make_inner_parts(training, speakers, tune.inner_folds, self.config.seed)
        else:
            parts = [(training, validation)]
        plan = SearchPlan(
            space=read_space(tune.space) or find_net_space(self.config.model.name),
            method=tune.method,
            draws=tune.draws,
            study=study if tune.method == "optuna" else None,
            seed=self.config.seed,
        )
        return search_net(self.config, parts, plan, on_trial=tell)


def make_clip_sets(
    inputs: SplitInputs, config: Config | None = None
) -> tuple[tuple[str, ...], ClipSet, ClipSet | None]:
    """Make the labels, the training clips and the validation clips of a net, if there are any.

    An augmented clip that failed is replaced by its clip.

    Args:
        config: says which targets the clips have, if any, and whether they have labels.

    Raises:
        ConfigError: no training clip could be read, or all have the same label.
        ManifestError: a target is constant, or no number.
    """
    from emovox.training.neural.clips import ClipSet, label_mask, trim_constant_end

    manifest, split = inputs.manifest, inputs.split
    has_labels = config is None or config.labels != "none"
    labels = sort_labels({u.emotion for u in manifest.select(split.train)}) if has_labels else ()
    if has_labels and len(labels) < 2:
        raise ConfigError(
            f"{split.name}: the training shows {', '.join(labels) or 'nothing'}; expected two emotions"
        )

    def make(ids: Sequence[str], augmented: Sequence[Mapping[str, Floats]]) -> ClipSet | None:
        kept = _list_used(inputs, ids, labels)
        if not kept:
            return None
        truth = np.zeros(len(kept), np.int64)
        if labels:
            truth[:] = [labels.index(manifest[key].emotion) for key in kept]
        corpora = np.array([manifest.corpora.index(manifest[key].corpus) for key in kept], np.int64)
        variants = [
            [clips.get(key, inputs.values[key]) for key in kept] for clips in (inputs.values, *augmented)
        ]
        if inputs.kind == "vector":
            variants = [[row[None] for row in variant] for variant in variants]
        elif inputs.kind == "frames":
            variants = [[trim_constant_end(frames) for frames in variant] for variant in variants]
        values = None
        if config is not None and config.targets:
            scale = _find_scale(inputs, config, labels)
            known = read_part(config, manifest, kept)
            values = ((known - scale.mean) / scale.deviation).astype(np.float32)
        mask = label_mask(truth, corpora, max(1, len(labels)))
        shares = None
        if labels and (found := _find_shares(manifest, kept, labels)) is not None:
            shares = found.astype(np.float32)
            for corpus in np.unique(corpora):  # a label that is never the likeliest is trained on, too
                mask[corpus] |= (shares[corpora == corpus] > 0).any(0)
        return ClipSet(variants, truth, corpora, mask, values, has_labels, shares)

    training = make(split.train, inputs.augmented)
    if training is None:
        raise ConfigError(f"{split.name}: none of the {len(split.train)} training clips could be read")
    return labels, training, make(split.validation, ())


def _list_used(inputs: SplitInputs, ids: Sequence[str], labels: Sequence[str]) -> list[str]:
    """List the clips that were read and, where labels are predicted, have one of them."""
    manifest = inputs.manifest
    return [key for key in ids if key in inputs.values and (not labels or manifest[key].emotion in labels)]


def _find_shares(manifest: Manifest, ids: Sequence[str], labels: Sequence[str]) -> Doubles | None:
    """Return the shares of labels ``(n, n_labels)`` of clips; ``None`` where each has one label."""
    clips = [manifest[key] for key in ids]
    return read_shares(clips, labels) if any(KEY in u.extra for u in clips) else None


def _find_scale(inputs: SplitInputs, config: Config, labels: Sequence[str]) -> ValueScale:
    """Return mean and deviation of the targets over the training clips that were read."""
    from emovox.training.export import ValueScale

    known = read_part(config, inputs.manifest, _list_used(inputs, inputs.split.train, labels))
    check_targets(known, config.targets, "training")
    return ValueScale(len(labels), np.nanmean(known, axis=0), np.nanstd(known, axis=0))
