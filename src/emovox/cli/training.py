"""Options and progress bars that the commands for training share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.terminal import Progress, say
from emovox.errors import ConfigError, ManifestError, MissingExtraError

if TYPE_CHECKING:
    from emovox.datasets import Manifest
    from emovox.features import FeatureSet
    from emovox.features.extraction import Clip, FeatureTable

__all__ = [
    "ConfigWords",
    "Data",
    "FeatureName",
    "Force",
    "Labels",
    "Mlflow",
    "ModelName",
    "Output",
    "ProgressBars",
    "Protocol",
    "Seed",
    "Store",
    "Workers",
    "load_tables",
    "require_classical",
    "split_protocols",
    "split_words",
]

ConfigWords = Annotated[
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
        help="One split, such as emobox/ravdess/1 or given; else the data's own parts, a fifth of the "
        "speakers, or a quarter of the clips where no speakers are known.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of the run.")]
Force = Annotated[bool, typer.Option("--force", help="Let -o replace a run.")]
Mlflow = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="PLACE",
        help="Folder or server of MLflow, or off; where it is installed: mlruns beside DIR.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, metavar="N", help="Of all that is random.")]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")]
Store = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where features are kept; the user's cache unless given."),
]


def require_classical() -> None:
    """Raise MissingExtraError, before the work, where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("training a classical model", "classical")


def split_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split the arguments into the config and the settings that differ from it.

    Raises:
        ConfigError: an argument is neither.
    """
    configs = [word for word in words if "=" not in word]
    if len(configs) > 1 or (configs and words[0] != configs[0]):
        raise ConfigError(
            f"{configs[-1]!r} is neither a config, of which there is one and which comes first, nor a "
            "setting such as seed=1"
        )
    return (Path(configs[0]) if configs else None), [word for word in words if "=" in word]


def split_protocols(protocols: str) -> list[str]:
    """Split protocols at commas; names of speakers after a comma belong to the protocol before.

    >>> split_protocols("emobox,speakers/a,b,random")
    ['emobox', 'speakers/a,b', 'random']
    """
    from emovox.datasets.protocols import KINDS

    found: list[str] = []
    for part in protocols.split(","):
        if found and found[-1].startswith("speakers/") and part.split("/")[0] not in KINDS:
            found[-1] += f",{part}"
        elif part.strip():
            found.append(part.strip())
    return list(dict.fromkeys(found))


class ProgressBars:
    """Shows a bar for each pass over the clips; called with (clips done, clips in all)."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressBars:
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None or self._bar.total != total:
            self.__exit__()
            self._bar = Progress(total)
        self._bar.at(done)
        if done >= total:
            self.__exit__()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.hide()
            self._bar = None


def load_tables(
    clips: Manifest | Sequence[Clip], sets: Sequence[FeatureSet], *, workers: int, store: Path | None
) -> dict[str, FeatureTable]:
    """Load the rows of every set for every clip, from the store where they are there.

    Raises:
        ManifestError: no clip could be read.
    """
    from emovox.features.cache import FeatureCache, default_folder
    from emovox.features.extraction import extract

    cache = FeatureCache(default_folder() if store is None else store)
    tables = {}
    for features in sets:
        with ProgressBars() as progress:
            rows = extract(clips, features, workers=workers, cache=cache, progress=progress)
        report_errors(features.name, rows.errors, rows.ids)
        say(f"{features.name}: {len(rows.ids)} clips, {len(rows.columns)} columns")
        tables[features.name] = rows
    return tables


def report_errors(name: str, errors: Mapping[str, str], ids: Sequence[str]) -> None:
    """Print the clips that could not be read.

    Raises:
        ManifestError: none could.
    """
    for key, why in errors.items():
        say(f"{key}: {why}")
    if errors.keys() >= set(ids):
        raise ManifestError(f"{name}: none of the {len(ids)} clips could be read")
    if errors:
        say(f"{len(errors)} of {len(ids)} clips could not be read: not trained on, wrong in a test")
