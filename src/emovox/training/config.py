"""Settings of a training: typed sections, read from YAML and ``key=value`` texts, and written back.

::

    config = read_config("configs/seed-svm.yaml", ["model.params.C=3", "seed=1"])

Every setting is a field with a type and a default, so a misspelt key is an error that names the nearest one,
and the config that is saved with a run holds every value that was used.

YAML is read as `emovox._settings` says.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from emovox._settings import build_section, dump_yaml, join_key, load_yaml, parse_yaml, section_of
from emovox.errors import ConfigError

__all__ = [
    "MODELS",
    "AugmentConfig",
    "ClassicalModel",
    "ComparisonConfig",
    "Config",
    "FeatureConfig",
    "NetModel",
    "SelectionConfig",
    "TrainingConfig",
    "TuneConfig",
    "WindowConfig",
    "find_setting",
    "read_comparison",
    "read_config",
    "to_dict",
    "to_plain",
    "to_yaml",
]

if TYPE_CHECKING:
    from emovox.augment.clips import ClipAugmentation

_Section = TypeVar("_Section")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """The features of a clip: see ``emovox features --list``."""

    set: str = "emovox-core"
    overrides: dict[str, Any] = field(default_factory=dict)
    """Parameters of the set, such as ``mfcc.n_mfcc: 13``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Augmented clips, made of the training clips alone; none without steps."""

    copies: int = 1
    """Augmented clips per training clip."""
    steps: tuple[dict[str, Any], ...] = ()
    """Rows of ``kind``, ``share`` and the settings of the kind: see `emovox.augment.Pipeline.from_list`."""

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 100:
            raise ConfigError(f"augment.copies is {self.copies}; expected 0 to 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionConfig:
    """Selection of columns: exactly one of count, ratio and threshold is given."""

    method: str
    count: int | None = None
    ratio: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalModel:
    """An estimator of `emovox.training.classical`, and how its columns and clips are prepared."""

    kind: str = "classical"
    name: str = "logistic-regression"
    params: dict[str, Any] = field(default_factory=dict)
    """Of the estimator, where they differ from its defaults."""
    scaler: str | None = None
    """``standard``, ``robust``, ``quantile`` or ``none``; ``None``: what suits the estimator."""
    clip: float | None = 8.0
    """Scaled values are clipped at this many standard deviations."""
    select: SelectionConfig | None = None
    class_weight: str | None = None
    """``balanced``: each class counts the same in sum."""
    resample: str | None = None
    """``over`` repeats clips of rarer classes, ``under`` leaves out clips of commoner ones."""
    calibration_folds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NetModel:
    """A net of `emovox.nets.registry`; the section ``train`` says how it is trained."""

    kind: str = "net"
    name: str = "gru"
    params: dict[str, Any] = field(default_factory=dict)
    """Of the net, where they differ from its defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a net is trained.

    Raises:
        ConfigError: a value is out of its range.
    """

    epochs: int = 60
    """At most."""
    patience: int = 15
    """Epochs without a better UAR on validation speakers after which training ends."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    """The highest."""
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warm_up: float = 0.1
    """Share of all steps in which the learning rate rises; 0 with ``cosine``."""
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""
    balance: Literal["draws", "weights", "none"] = "draws"
    """Balance the labels by how often their clips are drawn, by their weights, or not at all."""
    label_smoothing: float = 0.1
    mixup: float = 0.0
    """Parameter of the Beta distribution of shares; 0 for no mixup."""
    mask_time: float = 0.0
    """SpecAugment: longest masked stretch as a share of a clip; 0 for none."""
    mask_columns: float = 0.0
    """SpecAugment: widest masked band as a share of the columns; 0 for none."""
    crop: int = 0
    """Frames (samples of a net on waveforms) of a random stretch of longer clips; 0 for all."""
    clean: float = 0.25
    """Share of draws from unaugmented clips, where there are augmented ones."""
    ema: float = 0.0
    """Decay of the moving average of the weights that is validated and kept; 0 for none."""
    precision: Literal["float32", "bf16"] = "float32"
    device: Literal["auto", "cpu", "gpu"] = "cpu"
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name, (low, high) in _TRAINING.items():
            if not low <= getattr(self, name) <= high:  # nan is in no range
                raise ConfigError(f"train.{name} is {getattr(self, name)}; expected {low:g} to {high:g}")


_TRAINING: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 1e6),
    "patience": (1, 1e6),
    "batch_size": (2, 1e6),
    "learning_rate": (1e-9, 10),
    "warm_up": (0, 0.99),
    "weight_decay": (0, 10),
    "gradient_norm": (1e-9, 1e9),
    "label_smoothing": (0, 1),
    "mixup": (0, 100),
    "mask_time": (0, 1),
    "mask_columns": (0, 1),
    "crop": (0, 1e9),
    "clean": (0, 1),
    "ema": (0, 0.999999),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConfig:
    """Windows of the finished model, in seconds."""

    window_s: float = 3.0
    hop_s: float = 1.0
    min_s: float = 0.3
    clip_s: float = 12.0
    """Sound up to this length is one window, as in training; longer sound is cut into windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig:
    """How settings are searched."""

    method: Literal["random", "halving", "optuna"] = "random"
    draws: int = 20
    inner_folds: int = 3
    """Speaker-disjoint folds inside the training part; of a net, where no clips validate."""
    space: dict[str, Any] = field(default_factory=dict)
    """Setting -> a list of values, or ``{low, high, log}``; unless given, the model's own space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One model to train, or to search settings for."""

    name: str = "model"
    """Name of the bundle."""
    data: tuple[str, ...] = ()
    """Manifests, tables, trees or folders of corpora."""
    labels: str = "all"
    """``all``, ``common`` (to all corpora), a label map (9, 7, 6, 4), or emotions with commas between;
    ``none`` with ``targets`` for a model of values alone."""
    targets: tuple[str, ...] = ()
    """Columns of the data whose values are predicted, such as ``arousal``."""
    target_words: dict[str, Any] = field(default_factory=dict)
    """Words in these columns that stand for numbers, such as ``{normal: 0, strong: 1}``."""
    drop_unknown: bool = False
    """Leave out rows of the data without a label, and others that cannot be used; else they stop the run."""
    protocol: str | None = None
    """Names one split; ``None``: see `emovox.datasets.splits.default_protocol`."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ClassicalModel | NetModel = field(default_factory=ClassicalModel)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    """For nets alone."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    coverage: float = 0.9
    """Share of the validation clips that get a label, the least confident being ``uncertain``; 1: all."""
    tune: TuneConfig = field(default_factory=TuneConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1:
            raise ConfigError(f"coverage is {self.coverage}; expected a share over 0, at most 1")
        _check_seed(self.seed)
        self._check_targets()

    def _check_targets(self) -> None:
        if len({*self.targets}) != len(self.targets):
            raise ConfigError(f"targets is {', '.join(self.targets)}; expected each once")
        if self.labels == "none" and not self.targets:
            raise ConfigError("labels is none; expected targets then, such as targets=[arousal]")
        for word, value in self.target_words.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"target_words.{word} is {value!r}; expected a number")

    def augmentation(self) -> ClipAugmentation | None:
        """Return how training clips are augmented, or ``None``.

        Raises:
            ConfigError: a step of ``augment`` is wrong.
        """
        from emovox.augment.clips import make_augmentation

        return make_augmentation(self.augment.steps, n_versions=self.augment.copies, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """Many systems on the same folds."""

    data: tuple[str, ...] = ()
    labels: str = "all"
    drop_unknown: bool = False
    protocols: tuple[str, ...] = ("emobox",)
    features: tuple[str, ...] = ("emovox-core",)
    models: tuple[str, ...] = ("all",)
    params: dict[str, Any] = field(default_factory=dict)
    """Estimator -> its parameters, where they differ from its defaults."""
    scaler: str | None = None
    clip: float | None = 8.0
    class_weight: str | None = None
    """``balanced``: every emotion counts the same, in estimators that can weigh clips."""
    selection: str = "anova"
    """Method that selects the columns of estimators that are slow on many, in each training part."""
    search: tuple[str, ...] = ()
    """Estimators whose settings are searched inside each training part."""
    tune: TuneConfig = field(default_factory=TuneConfig)
    refit: bool = True
    """Once a system is chosen, fit all again on training and validation part together."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check_seed(self.seed)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:  # the seeds that NumPy and scikit-learn accept
        raise ConfigError(f"seed is {seed}; expected 0 to {2**32 - 1}")


_OPTIONAL = ("targets", "target_words")
"""Settings that are written only where they are given, so that other configs are as older versions wrote."""

MODELS: Mapping[str, type] = {"classical": ClassicalModel, "net": NetModel}
"""``model.kind`` -> the section that describes such a model."""


# ---------------------------------------------------------------------------------------- reading and writing

Source = str | Path | Mapping[str, Any] | None
Changes = Sequence[str | tuple[str, Any]] | Mapping[str, Any]


def read_config(source: Source | Config = None, changes: Changes = ()) -> Config:
    """Read the settings of one model.

    Args:
        source: a YAML file, the settings as nested mappings, a config, or ``None`` for all defaults.
        changes: settings that override it, in this order: texts ``key=value`` with dotted keys and YAML
            values, or pairs of a dotted key and a value, or a mapping of dotted keys to values.

    Raises:
        ConfigError: no such file, an unknown key or an impossible value; the message names the nearest key.
        MissingExtraError: PyYAML is not installed.
    """
    return _read(Config, source, changes)


def read_comparison(source: Source | ComparisonConfig = None, changes: Changes = ()) -> ComparisonConfig:
    """Read the settings of a comparison, as `read_config` does those of one model."""
    return _read(ComparisonConfig, source, changes)


def to_yaml(config: Config | ComparisonConfig) -> str:
    """Write a config as text that `read_config` or `read_comparison` reads back to the same."""
    return dump_yaml(to_plain(to_dict(config)))


def to_dict(config: Config | ComparisonConfig) -> dict[str, Any]:
    """Return the settings as nested mappings; targets, which are newer, only where they are given."""
    return {name: value for name, value in asdict(config).items() if name not in _OPTIONAL or value}


def to_plain(value: Any) -> Any:
    """Convert tuples to lists and NumPy numbers to Python's, inside of lists and mappings too."""
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _read(cls: type[_Section], source: Any, changes: Changes) -> _Section:
    if isinstance(source, cls):
        values = asdict(source)  # type: ignore[call-overload]
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        values = {} if source is None else load_yaml(Path(source))
    for change in changes.items() if isinstance(changes, Mapping) else changes:
        if isinstance(change, tuple):
            _set(cls, values, *change)
            continue
        key, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"{change!r} is not a setting; expected key=value, such as seed=1")
        _set(cls, values, key.strip(), parse_yaml(text, change))
    return build_section(cls, values, "")


def _set(cls: Any, values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested mappings. Below a field of free keys, such as ``params``, the rest is one
    key."""
    at, hints, path = values, get_type_hints(cls), key.split(".")
    for n, name in enumerate(path):
        inner = hints.get(name)
        if inner is None:
            raise ConfigError(f"unknown setting {key!r}; {_suggest(key, list(_dotted_keys(cls)))}")
        if n == len(path) - 1:
            at[name] = value
            return
        inside = at.get(name)
        at[name] = inside = dict(inside) if isinstance(inside, Mapping) else {}
        inner = section_of(inner, inside, "model")
        if get_origin(inner) is dict:
            inside[".".join(path[n + 1 :])] = value
            return
        if not is_dataclass(inner):
            raise ConfigError(f"unknown setting {key!r}: {'.'.join(path[: n + 1])} has nothing inside")
        at, hints = inside, get_type_hints(inner)


def find_setting(name: str) -> str | None:
    """Return the dotted key of the setting called ``name``, such as ``train.epochs`` for ``epochs``."""
    return next((key for key in _dotted_keys(Config) if key.rpartition(".")[2] == name), None)


def _dotted_keys(cls: Any, where: str = "") -> Iterator[str]:
    for name, hint in get_type_hints(cls).items():
        yield join_key(where, name)
        for inner in get_args(hint) or (hint,):
            if is_dataclass(inner):
                yield from _dotted_keys(inner, join_key(where, name))


def _suggest(key: str, known: Sequence[str]) -> str:
    """Name the setting that was probably meant: one spelt alike, or the same word in a section."""
    same = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    best = [*close, *same, *difflib.get_close_matches(key, known, n=1)]
    if best:
        return f"did you mean {best[0]!r}?"
    return f"there are {', '.join(known)}; a parameter of the estimator is typed model.params.{key}"
