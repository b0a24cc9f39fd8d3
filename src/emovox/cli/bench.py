"""``emovox bench``: configs under strict and leaky protocols, side by side."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from emovox._files import write_text
from emovox.cli.compare import check_folder
from emovox.cli.data.common import DropUnknown
from emovox.cli.models import Form
from emovox.cli.terminal import say
from emovox.cli.training import (
    Data,
    ProgressBars,
    Seed,
    Store,
    Workers,
    require_classical,
    split_protocols,
)
from emovox.errors import ConfigError

__all__ = ["bench"]

_SHORT = 10
"""A short run trains a net for this many times fewer epochs."""


def bench(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS...|CONFIG... [KEY=VALUE]...",
            help="Names of corpora below --root, or manifests; or configs, YAML files, and changes to them.",
        ),
    ],
    data: Data = None,
    drop_unknown: DropUnknown = False,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="The folder of the corpora, one folder each.")
    ] = Path(),
    trainer: Annotated[
        str | None,
        typer.Option(
            "--trainer", metavar="MODULE:NAME", help="For corpora: your own Trainer (docs/comparing.md)."
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="P,P",
            help="What to compare (docs/protocols.md); also augmented/P: augment first, then split by P.",
        ),
    ] = "emobox,random",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="WHAT", help="contaminated: train it, stamped; missing: lacking clips."
        ),
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Train a tenth of the epochs: to try it, not to report.")
    ] = False,
    listen: Annotated[
        bool, typer.Option("--listen/--no-listen", help="Compare the clips of each split by sound.")
    ] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the results, resumed if begun.")
    ] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train folds again that are kept.")] = False,
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="table (Markdown), or json: the document.")
    ] = Form.table,
) -> int:
    """Train configs fold by fold, as bundles; print strict and leaky scores and the gap between them.

    A corpus without a config is trained with the default config. The same command resumes a benchmark that
    was stopped.

    Exit code: 0 on success, 1 when a system or a clip failed, 2 when the request is not possible; nothing is
    trained then.
    """
    require_classical()
    check_folder(output)
    from emovox.reports import overview_markdown
    from emovox.training.config import to_yaml
    from emovox.training.cross_validation import cross_validate
    from emovox.training.trainers import make_config

    files = [word for word in words if "=" not in word]
    settings = [word for word in words if "=" in word]
    configs: dict[str, Any] = {}
    if settings or any(_is_config(word) for word in files):
        _check_files(files)
        configs = {
            Path(file).stem: make_config(
                file, settings, data=data, seed=seed, drop_unknown=drop_unknown or None
            )
            for file in files
        }
    elif data:
        raise ConfigError(
            "--data is for configs; a corpus is named as it is:  emovox bench CORPUS --root DIR"
        )
    else:
        make = make_config if trainer is None else _find_trainer(trainer)
        for name in dict.fromkeys(files):
            place = name if Path(name).is_file() else str(_find_corpus(name, root))
            configs[Path(name).stem] = make(data=[place], seed=seed)
    if short:
        configs = {
            name: replace(one, train=replace(one.train, epochs=max(1, one.train.epochs // _SHORT)))
            for name, one in configs.items()
        }
    with ProgressBars() as progress:
        found = cross_validate(
            configs,
            protocols=split_protocols(protocol),
            output=output,
            allow=tuple(allow or ()),
            listen_for_copies=listen,
            seed=seed,
            workers=workers,
            store=store,
            fresh=fresh,
            notify=say,
            progress=progress,
        )
    texts = [to_yaml(getattr(one, "config", one)) for one in configs.values()]
    found.write("---\n".join(texts))
    table = overview_markdown(found.document, found.times)
    write_text(output / "bench.md", table)
    if format is Form.json:
        typer.echo(json.dumps(found.document, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(table, nl=False)
    return found.exit_code


def _is_config(word: str) -> bool:
    return Path(word).suffix.lower() in (".yaml", ".yml")


def _check_files(files: Sequence[str]) -> None:
    if strange := [file for file in files if not _is_config(file)]:
        raise ConfigError(
            f"{strange[0]!r} is among configs, which name their own data; for other data:  --data PATH"
        )
    if not files:
        raise ConfigError("only settings were given; expected a config before them, such as configs/x.yaml")
    names = [Path(file).stem for file in files]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two configs are called {twice[0]!r}; their folds would be in one folder")


def _find_corpus(name: str, root: Path) -> Path:
    """The folder of a corpus below ``root``.

    Raises:
        ManifestError: there is no such corpus, or no folder of it.
    """
    from emovox.datasets import scan

    place = root / name
    if not place.is_dir():
        scan(name, root)  # raises for unknown names and missing folders
    return place if place.is_dir() else root


def _find_trainer(name: str) -> Any:
    """Import ``module:name``, which makes a trainer when called with ``data`` and ``seed``."""
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(f"no trainer {name!r}; your own is named module:name")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"the trainer {name!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"the module {module!r} has no {attribute!r}") from error
