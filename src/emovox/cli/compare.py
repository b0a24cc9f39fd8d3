"""``emovox compare``: many systems on the same folds, one of them chosen before the tests are opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.data.common import DropUnknown
from emovox.cli.models import Form
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import say
from emovox.cli.training import (
    ConfigWords,
    Data,
    Labels,
    ProgressBars,
    Seed,
    Store,
    Workers,
    require_classical,
    split_protocols,
    split_words,
)
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from emovox.training.config import ComparisonConfig

__all__ = ["compare"]


def compare(
    words: ConfigWords = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B", help="Estimators; all: every one that is installed."),
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", metavar="A,B", help="Sets of `emovox features --list`.")
    ] = None,
    data: Data = None,
    labels: Labels = None,
    drop_unknown: DropUnknown = False,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="P,P", help="See docs/protocols.md.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option("--search", metavar="A,B", help="Search settings of these, in each training part."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=1, metavar="N", help="Settings tried in a search.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the results, resumed if begun.")
    ] = Path("runs/compare"),
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="table (Markdown), or json: the document.")
    ] = Form.table,
) -> int:
    """Fit many systems fold by fold; choose the best on validation speakers, then open the test.

    Requires the extra `classical`. The same command resumes a comparison that was stopped.

    Exit code: 0 on success, 1 when a system or a clip failed, 2 when the request is not possible.
    """
    require_classical()
    check_folder(output)
    from emovox.reports import cross_validation_markdown
    from emovox.training.config import read_comparison, to_yaml
    from emovox.training.cross_validation import cross_validate

    path, settings = split_words(words or [])
    options = {
        "data": data,
        "labels": labels,
        "drop_unknown": drop_unknown or None,
        "protocols": None if protocol is None else split_protocols(protocol),
        "features": _split(features),
        "models": _split(models),
        "search": _split(search),
        "tune.draws": draws,
        "seed": seed,
    }
    given = [(key, value) for key, value in options.items() if value is not None and value != []]
    config = read_comparison(path, [*settings, *given])
    _check_kept(output, config)
    try:
        with ProgressBars() as progress:
            found = cross_validate(
                config, output=output, workers=workers, store=store, notify=say, progress=progress
            )
    except KeyboardInterrupt:
        say(f"stopped; what was done is kept in {output}: the same command resumes it")
        raise
    found.write(to_yaml(config))
    say(f"written: {output / 'compare.html'} and beside it compare.md, compare.json, times.json, chosen.json")
    if format is Form.json:
        typer.echo(json.dumps(found.document, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        typer.echo(cross_validation_markdown(found.document, found.times), nl=False)
    return found.exit_code


def check_folder(output: Path) -> None:
    """Refuse, before the work, a folder that holds something else than a cross-validation."""
    if output.exists() and not output.is_dir():
        raise ConfigError(f"-o {str(output)!r} is a file; expected a folder, new or of a comparison")
    check_writable(output)
    there = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if there and not {"cells", "copies", "chosen.json"} & {*there}:
        raise ConfigError(
            f"-o {str(output)!r} holds {there[0]}, not a comparison; name another folder, new or begun"
        )


def _check_kept(output: Path, config: ComparisonConfig) -> None:
    """Refuse to write a report over one with other rows; what was computed stays in any case."""
    from emovox.training.config import read_comparison

    if not (output / "compare.json").is_file() or not (output / "config.yaml").is_file():
        return
    kept = read_comparison(output / "config.yaml")
    for name in ("data", "protocols", "features", "models", "search"):
        lost = [one for one in getattr(kept, name) if one not in getattr(config, name)]
        if lost:
            raise ConfigError(
                f"-o {str(output)!r} holds a comparison of other {name} ({', '.join(map(str, lost))}), whose "
                "rows would be lost; ask for these too, or name another folder"
            )


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
