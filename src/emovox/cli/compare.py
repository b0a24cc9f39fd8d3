"""``emovox compare``: many systems under the same folds, one of them named before the tests are opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox._files import write_text
from emovox.cli.bench import divided
from emovox.cli.models import Form
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import say
from emovox.cli.training import (
    Changes,
    Data,
    Labels,
    Seed,
    Store,
    Workers,
    changed,
    need_classical,
    opened,
    split_words,
    tables_of,
)
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from emovox.training.config import ComparisonConfig

__all__ = ["compare"]


def compare(
    words: Changes = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B", help="Estimators; all: every one that is installed."),
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", metavar="A,B", help="Sets of `emovox features --list`.")
    ] = None,
    data: Data = None,
    labels: Labels = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="P,P", help="See docs/evaluation.md.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option("--search", metavar="A,B", help="Search settings of these, in each training part."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=1, metavar="N", help="Settings tried a search.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where all is kept, and gone on from.")
    ] = Path("runs/compare"),
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="table (Markdown), or json: the document.")
    ] = Form.table,
) -> int:
    """Fit many systems fold by fold; name the best on validation speakers, then open the test.

    Needs the extra `classical`. An interrupted comparison, started again, goes on where it stopped.

    Exit code: 0 when all worked, 1 when a system or a clip failed, 2 when the request cannot be met.
    """
    need_classical()
    _check_folder(output)
    from emovox.features import find_feature_set
    from emovox.training.bench import plan as audited
    from emovox.training.comparison import (
        Comparison,
        comparison_document,
        comparison_times,
        compute,
        models_of,
    )
    from emovox.training.config import read_comparison
    from emovox.training.experiment import compared
    from emovox.training.run_folder import finish

    path, changes = split_words(words or [])
    options = {
        "data": data,
        "labels": labels,
        "protocols": None if protocol is None else divided(protocol),
        "features": _listed(features),
        "models": _listed(models),
        "search": _listed(search),
        "tune.draws": draws,
        "seed": seed,
    }
    config = read_comparison(path, [*changes, *changed(options)])
    _check_kept(output, config)
    sets = [find_feature_set(name) for name in dict.fromkeys(config.features)]
    models_of([*config.models, *config.search])  # a typo shows before the work
    manifest = opened(config.data, config.labels).manifest
    name = "+".join(manifest.corpora)
    plans = tuple(
        compared(audited(manifest, one, corpus=name, allow=("missing",))) for one in config.protocols
    )
    for plan in plans:
        say(f"{plan.protocol}: {len(plan.splits)} splits; {plan.stamp}")
    tables = tables_of(manifest, sets, workers=workers, store=store)
    made = Comparison(config, plans, tables)
    try:
        results = compute(made, output, workers=workers, tell=say)
    except KeyboardInterrupt:
        say(f"stopped; what was done is kept in {output}: the same command goes on with it")
        raise
    document, times = comparison_document(made, results), comparison_times(results)
    _write(output, config, document, times)
    finish(output, _record(document, config.seed))
    _show(document, times, format)
    failed = any(row["error"] for one in document["protocols"] for row in one["systems"])
    return 1 if failed or document["data"]["unread"] else 0


def _check_folder(output: Path) -> None:
    """Refuse, before the work, a folder that holds something else than a comparison."""
    if output.exists() and not output.is_dir():
        raise ConfigError(f"-o {str(output)!r} is a file; expected a folder, new or of a comparison")
    check_writable(output)
    there = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if there and not _OWN & {*there}:
        raise ConfigError(
            f"-o {str(output)!r} holds {there[0]}, not a comparison; name another folder, new or begun"
        )


def _check_kept(output: Path, config: ComparisonConfig) -> None:
    """Refuse to write a report over one with other rows; what was computed stays in any case."""
    from emovox.training.config import read_comparison

    if not (output / "compare.json").is_file() or not (output / "config.yaml").is_file():
        return
    kept = read_comparison(output / "config.yaml", [])
    for name in ("data", "protocols", "features", "models", "search"):
        lost = [one for one in getattr(kept, name) if one not in getattr(config, name)]
        if lost:
            raise ConfigError(
                f"-o {str(output)!r} holds a comparison of other {name} ({', '.join(map(str, lost))}), whose "
                "rows would be lost; ask for these too, or name another folder"
            )


_OWN = {"cells", "cache", "chosen.json"}
"""Of these one at least lies in the folder of a comparison that was begun."""


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _write(
    output: Path, config: ComparisonConfig, document: dict[str, Any], times: list[dict[str, Any]]
) -> None:
    from emovox.reports import comparison_html, comparison_markdown
    from emovox.training.config import to_yaml

    texts = {
        "config.yaml": to_yaml(config),
        "times.json": json.dumps(times, indent=1) + "\n",
        "compare.md": comparison_markdown(document, times),
        "compare.html": comparison_html(document, times),
        "compare.json": json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        write_text(output / name, text)
    say(f"written: {output / 'compare.html'} and beside it compare.md, compare.json, times.json, chosen.json")


def _record(document: dict[str, Any], seed: int) -> dict[str, Any]:
    """What `emovox runs` lists: the first protocol's headline."""
    one = document["protocols"][0]
    chosen, headline = one["chosen"], one["headline"] or {}
    return {
        "kind": "compare",
        "seed": seed,
        "model": chosen["model"],
        "features": {"set": chosen["features"]},
        "split": {"name": one["protocol"]},
        "stamp": {"stamp": one["stamp"], "reasons": one["reasons"]},
        "scores": {"uar": {"value": headline.get("uar"), **{k: headline.get(k) for k in ("low", "high")}}},
        "n_systems": len(one["systems"]),
    }


def _show(document: dict[str, Any], times: list[dict[str, Any]], form: Form) -> None:
    from emovox.reports import comparison_markdown

    if form is Form.json:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        typer.echo(comparison_markdown(document, times), nl=False)
