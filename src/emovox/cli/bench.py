"""``emovox bench``: what a recipe reaches under strict and under leaky protocols, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.models import Form
from emovox.cli.terminal import say
from emovox.errors import ManifestError

if TYPE_CHECKING:
    from emovox.bench import Plan
    from emovox.corpora import Manifest

__all__ = ["bench", "divided"]


def bench(
    corpora: Annotated[
        list[str], typer.Argument(metavar="CORPUS", help="Names of corpora below --root, or manifests.")
    ],
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Where the corpora lie, one folder each.")
    ] = Path(),
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="R", help="vox, or your own as module:function.")
    ] = "vox",
    protocol: Annotated[
        str,
        typer.Option("--protocol", metavar="P,P", help="What to compare (see docs/evaluation.md)."),
    ] = "emobox,random",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="WHAT", help="contaminated: train it, stamped; missing: lacking clips."
        ),
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Train a tenth: to see that all works, not to report.")
    ] = False,
    listen: Annotated[
        bool, typer.Option("--listen/--no-listen", help="Search for copies across each split by ear.")
    ] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where folds are kept, and gone on from.")
    ] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train folds again that are there.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the training.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="table (Markdown), or json: one row a line.")
    ] = Form.table,
) -> int:
    """Train a recipe fold by fold; print strict and leaky scores and the gap between them.

    Needs the extra `train`. An interrupted benchmark, started again, goes on where it stopped.

    Exit code: 0 when all worked, 2 when the request cannot be met; nothing is trained then.
    """
    from emovox.bench import Settings, find_recipe, run
    from emovox.report import bench_markdown

    trainer = find_recipe(recipe)
    settings = Settings(recipe=recipe, short=short, seed=seed)
    plans = [
        plan for name in dict.fromkeys(corpora) for plan in _plans(name, root, protocol, allow or (), listen)
    ]
    rows: list[dict[str, Any]] = []
    for plan in plans:
        say(f"{plan.corpus}, {plan.protocol}: {len(plan.splits)} to train; {plan.stamp}")
        row = run(plan, settings, out=output, recipe=trainer, workers=workers, fresh=fresh, tell=say)
        rows.append(row)
        if format is Form.json:
            typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))
    text = bench_markdown(rows)
    (output / "bench.md").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    (output / "bench.jsonl").write_text(lines, encoding="utf-8")
    if format is Form.table:
        typer.echo(text, nl=False)
    return 0


def divided(protocols: str) -> list[str]:
    """The protocols between the commas; names of speakers after a comma belong to what stands before.

    >>> divided("emobox,speakers/a,b,random")
    ['emobox', 'speakers/a,b', 'random']
    """
    from emovox.corpora.plans import KINDS

    found: list[str] = []
    for part in protocols.split(","):
        if found and found[-1].startswith("speakers/") and part.split("/")[0] not in KINDS:
            found[-1] += f",{part}"
        elif part.strip():
            found.append(part.strip())
    return list(dict.fromkeys(found))


def _plans(name: str, root: Path, protocols: str, allow: Sequence[str], listen: bool) -> list[Plan]:
    from emovox.bench import plan
    from emovox.corpora.audit import listen as hear

    corpus, manifest = _opened(name, root)
    plans = [plan(manifest, protocol, corpus=corpus, allow=allow) for protocol in divided(protocols)]
    if not listen:
        return plans
    say(f"{corpus}: listening to {len(manifest)} clips for copies")
    prints, failed = hear(manifest)
    for key, why in failed.items():
        say(f"{key}: {why}")
    if failed:
        raise ManifestError(f"{corpus}: {len(failed)} clips cannot be read; mend or leave them out")
    return [
        plan(manifest, protocol, corpus=corpus, allow=allow, prints=prints) for protocol in divided(protocols)
    ]


def _opened(name: str, root: Path) -> tuple[str, Manifest]:
    from emovox.corpora import CORPORA
    from emovox.evaluate import open_data

    if name not in CORPORA and Path(name).is_file():
        corpus, found = Path(name).stem, open_data(name)
    else:
        place = root / name
        corpus, found = name, open_data(place if place.is_dir() else root, corpus=name)
    for line in found.notes:
        say(line)
    return corpus, found.manifest
