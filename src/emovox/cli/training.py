"""What the commands of the workshop share: how a config is typed, tables of features, folders of runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.terminal import Progress, say
from emovox.errors import ConfigError, ManifestError, MissingExtraError, did_you_mean

if TYPE_CHECKING:
    from emovox.datasets import Manifest
    from emovox.datasets.loading import Dataset
    from emovox.datasets.splits import Split
    from emovox.features import FeatureSet
    from emovox.features.extraction import Clip, FeatureTable
    from emovox.training.config import Config
    from emovox.training.experiment_nets import ClipTable
    from emovox.training.run_folder import Run

__all__ = [
    "Changes",
    "Data",
    "FeatureName",
    "Force",
    "Labels",
    "Mlflow",
    "ModelName",
    "Output",
    "Protocol",
    "Seed",
    "Store",
    "Workers",
    "changed",
    "check_config",
    "check_tracking",
    "config_of",
    "frames_of",
    "need_classical",
    "opened",
    "rows_of",
    "split_words",
    "tables_of",
    "tracked",
]

Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...", help="A YAML file of configs/, and settings that differ from it."
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="PATH", help="A manifest, table, tree or corpus of docs/corpora.md; repeatable."
    ),
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", metavar="L", help="all, common (to all corpora), 9, 7, 6, 4, or A,B,..."),
]
FeatureName = Annotated[
    str | None, typer.Option("--features", metavar="SET", help="A set of `emovox features --list`.")
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="An estimator or a net: svc, mlp, lstm, crnn, ..."),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="P",
        help="One split, such as emobox/ravdess/1 or given; else the data's own, or a fifth of the speakers.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of the run.")]
Force = Annotated[bool, typer.Option("--force", help="Let -o replace a run.")]
Mlflow = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="PLACE",
        help="Folder or server for MLflow, or off; where it is installed: mlruns beside DIR.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, metavar="N", help="Of all that is random.")]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")]
Store = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where features are kept; the user's cache unless given."),
]


def need_classical() -> None:
    """Raise MissingExtraError, once and early, where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("training a classical model", "classical")


def split_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The config among the arguments, and the changes to it.

    Raises:
        ConfigError: an argument is neither.
    """
    configs = [word for word in words if "=" not in word]
    if len(configs) > 1 or (configs and words[0] != configs[0]):
        raise ConfigError(
            f"{configs[-1]!r} is neither a config, which stands first and alone, nor a setting such as seed=1"
        )
    return (Path(configs[0]) if configs else None), [word for word in words if "=" in word]


def changed(options: Mapping[str, Any]) -> Iterator[str]:
    """Options that were given, as changes of a config; they win over what stands in it."""
    for key, value in options.items():
        if value is not None and value != []:
            yield f"{key}={json.dumps(value)}"


def config_of(
    words: Sequence[str] | None,
    features: str | None,
    model: str | None,
    data: Sequence[str] | None,
    labels: str | None,
    protocol: str | None,
    seed: int | None,
    more: Iterable[str] = (),
) -> Config:
    """The config of one model: a file, settings as typed, and options, which win.

    Where ``model`` is another one than the file's, what the file says of its own model is let go.
    """
    from emovox.training.config import read_config

    path, changes = split_words(words or [])
    if model is not None and read_config(path).model.name != model:
        changes = [f"model={json.dumps({'kind': _kind_of(model), 'name': model})}", *changes]
    options = {
        "features.set": features,
        "model.name": model,
        "data": data,
        "labels": labels,
        "protocol": protocol,
        "seed": seed,
    }
    return read_config(path, [*changes, *changed(options), *more])


def _kind_of(model: str) -> str:
    """What stands in ``model.kind`` for a name; of a name that both tables have, the estimator.

    Raises:
        ConfigError: there is no such model; the message names the nearest.
    """
    from emovox.training.classical.estimators import ESTIMATORS

    if model in ESTIMATORS:
        return "classical"
    nets: tuple[str, ...] = ()
    without = ""
    try:
        from emovox.nets.registry import NETS

        nets = tuple(NETS)
    except ImportError:
        without = "; nets need PyTorch:  pip install 'emovox[train]'"
    if model in nets:
        return "net"
    known = (*ESTIMATORS, *nets)
    raise ConfigError(f"no model {model!r}; {did_you_mean(model, known)}{without}")


def check_config(config: Config) -> None:
    """See a typo before the work.

    Raises:
        ConfigError: the bundle's name, the features, the model or the augmentation are impossible.
        MissingExtraError: what is asked for needs an extra that is not installed.
    """
    from emovox.features import find_feature_set
    from emovox.training.config import NetModel
    from emovox.training.experiment import check_bundle, classical_config

    check_bundle(config)
    find_feature_set(config.features.set, config.features.overrides)
    config.augmentation()
    if isinstance(config.model, NetModel):
        from emovox.training.experiment_nets import check_net

        check_net(config)
    else:
        classical_config(config.model, config.seed)


def check_tracking(place: str | None) -> None:
    """Refuse, before the work, MLflow that is asked for and not installed.

    Raises:
        MissingExtraError: the extra ``track`` is not there.
    """
    from emovox.training.tracking import check_installed

    if place not in (None, "off"):
        check_installed()


def tracked(run: Run, place: str | None) -> None:
    """Hand the run to MLflow, where it is installed or asked for; a failure there costs no run."""
    from emovox.training.tracking import is_installed, track

    if place == "off" or (place is None and not is_installed()):
        return
    try:
        track(run, place or run.folder.absolute().parent / "mlruns")
    except MissingExtraError:
        raise
    except Exception as error:  # a server that is down, a full disk: whatever it is, the run is complete
        say(f"MLflow did not take the run: {error}")


def opened(data: Sequence[str], labels: str) -> Dataset:
    """The clips, and a word on what became of their labels."""
    from emovox.datasets.loading import Dataset

    problem = Dataset.load(data, labels=labels)
    for line in problem.notes:
        say(line)
    return problem


def frames_of(
    manifest: Manifest, split: Split, config: Config, *, workers: int, store: Path | None
) -> ClipTable:
    """What a net hears of every clip, and of the training's copies; clips that fail are told.

    Raises:
        ManifestError: no clip could be read.
    """
    from emovox.features.cache import FeatureCache, default_folder
    from emovox.training.experiment_nets import clip_table

    n_copies = config.augment.copies * len(split.train) if config.augment.steps else 0
    progress = Progress(len(manifest) + n_copies)
    try:
        table = clip_table(
            manifest,
            config,
            training=split.train,
            workers=workers,
            store=FeatureCache(default_folder() if store is None else store),
            progress=lambda n, _: progress.at(n),
        )
    finally:
        progress.hide()
    _tell_errors(config.features.set, table.errors, table.ids)
    return table


def rows_of(
    manifest: Manifest, split: Split, config: Config, *, workers: int, store: Path | None
) -> tuple[FeatureTable, FeatureTable | None]:
    """What an estimator is given: a row of every clip, and of the training's copies where there are some.

    Raises:
        ManifestError: no clip could be read, or no copy be made.
    """
    from emovox.features import find_feature_set

    numbers = find_feature_set(config.features.set, config.features.overrides)
    table = tables_of(manifest, [numbers], workers=workers, store=store)[numbers.name]
    augmentation = config.augmentation()
    copies = [] if augmentation is None else augmentation.clips(manifest.select(split.train))
    changed = tables_of(copies, [numbers], workers=workers, store=store)[numbers.name] if copies else None
    return table, changed


def tables_of(
    clips: Manifest | Sequence[Clip], sets: Sequence[FeatureSet], *, workers: int, store: Path | None
) -> dict[str, FeatureTable]:
    """Rows of every set for every clip, taken from the store where they are there; clips that fail are told.

    Raises:
        ManifestError: no clip could be read.
    """
    from emovox.features.cache import FeatureCache, default_folder

    kept = FeatureCache(default_folder() if store is None else store)
    return {one.name: _table(clips, one, workers, kept) for one in sets}


def _table(clips: Manifest | Sequence[Clip], features: FeatureSet, workers: int, store: Any) -> FeatureTable:
    from emovox.features.extraction import extract

    progress = Progress(len(clips))
    try:
        rows = extract(clips, features, workers=workers, cache=store, progress=lambda n, _: progress.at(n))
    finally:
        progress.hide()
    _tell(features.name, rows)
    return rows


def _tell(name: str, rows: FeatureTable) -> None:
    _tell_errors(name, rows.errors, rows.ids)
    say(f"{name}: {len(rows.ids)} clips, {len(rows.columns)} columns")


def _tell_errors(name: str, errors: Mapping[str, str], ids: Sequence[str]) -> None:
    for key, why in errors.items():
        say(f"{key}: {why}")
    if errors.keys() >= set(ids):
        raise ManifestError(f"{name}: none of the {len(ids)} clips could be read")
    if errors:
        say(f"{len(errors)} of {len(ids)} clips could not be read: not trained on, wrong in a test")
