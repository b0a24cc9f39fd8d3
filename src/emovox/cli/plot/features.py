"""``emovox plot importance | projection``: figures of features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.plot.common import Force, Output, check_output, read_table, write
from emovox.cli.terminal import say
from emovox.cli.training import Labels, ProgressBars, Store, Workers, load_tables, require_classical
from emovox.errors import ConfigError, did_you_mean
from emovox.reports.text import speakers

__all__ = ["importance", "projection"]

_BY = ("emotion", "speaker", "sex", "corpus", "language")

_UNITS: Mapping[str, str] = {
    "anova": "F of an analysis of variance between the emotions",
    "permutation": "loss of log-likelihood when shuffled, nats per clip",
    "catboost": "change of the predictions of boosted trees, % of all columns",
}
"""Method -> unit of its scores."""


def importance(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="What `emovox train` wrote; or a table: column, importance.")
    ],
    output: Output,
    method: Annotated[
        str, typer.Option("--method", metavar="M", help="anova, permutation, catboost.")
    ] = "anova",
    n: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="How many columns.")] = 20,
    workers: Workers = 1,
    store: Store = None,
    force: Force = False,
) -> int:
    """Draw the most important features, scored on the training clips of a run alone."""
    from emovox.reports.figures import draw_importance

    check_output(output, force=force)
    if source.is_file():
        rows = read_table(source, [], "a table of importance")
        try:
            scores = {
                str(row["column"]): float("nan" if row["importance"] is None else row["importance"])
                for row in rows
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{source} has no columns named 'column' and 'importance' ({error!r})"
            ) from error
        unit, title, caption = "importance, as in the table", f"Importance of features: {source.name}", ""
    else:
        scores, title, caption = _score_columns(source, method, workers, store)
        unit = _UNITS[method]
    return write(draw_importance(scores, n=n, unit=unit, title=title, caption=caption), output, title)


def _score_columns(
    folder: Path, method: str, workers: int, store: Path | None
) -> tuple[dict[str, float], str, str]:
    """Return the scores of a run's columns, with title and caption."""
    if method not in _UNITS:
        raise ConfigError(f"no method {method!r} that scores columns; {did_you_mean(method, _UNITS)}")
    require_classical()
    from emovox.datasets.loading import Dataset
    from emovox.datasets.split_plan import make_split
    from emovox.training.classical.selection import score_columns
    from emovox.training.config import read_config
    from emovox.training.run_folder import CONFIG_FILE, read_run
    from emovox.training.trainers import make_trainer

    run = read_run(folder)
    if run.kind != "train":
        raise ConfigError(f"{str(folder)!r} holds {run.kind or 'nothing'}; expected a trained model")
    config = read_config(run.folder / CONFIG_FILE)
    manifest = Dataset.load(config.data, labels=config.labels, drop_unknown=config.drop_unknown).manifest
    split = make_split(manifest, config.protocol).splits[0]
    if run.record["split"]["digest"] != split.digest:
        raise ConfigError(
            f"the data have changed since the run: its split was {run.record['split']['digest']}, "
            f"now it is {split.digest}"
        )
    with ProgressBars() as progress:
        inputs = make_trainer(config).load(
            manifest, split, ids=split.train, workers=workers, store=store, notify=say, progress=progress
        )
    rows = inputs.rows(split.train)
    scores = score_columns(rows.x, rows.y, method, seed=config.seed)
    caption = (
        f"{method} on the {len(rows.ids)} training clips of {', '.join(manifest.corpora)}, {split.name}; the "
        "test clips were not used. Columns are scored as they are, not as this model weighs them."
    )
    title = f"Importance of features: {config.features.set}, {run.name}"
    return dict(zip(inputs.columns, map(float, scores), strict=True)), title, caption


def projection(
    output: Output,
    data: Annotated[
        list[str], typer.Option("--data", metavar="PATH", help="A manifest, tree or corpus; repeatable.")
    ],
    features: Annotated[
        str, typer.Option("--set", metavar="SET", help="A set of `emovox features --list`.")
    ] = "emovox-core",
    method: Annotated[str, typer.Option("--method", metavar="M", help="pca, or umap (extra).")] = "pca",
    by: Annotated[
        str, typer.Option("--by", metavar="WHAT", help="Colour by emotion, speaker, sex, corpus, language.")
    ] = "emotion",
    scale: Annotated[
        str, typer.Option("--scale", metavar="S", help="Of the columns: standard, robust, rank, none.")
    ] = "standard",
    labels: Labels = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of UMAP.")] = 0,
    workers: Workers = 1,
    store: Store = None,
    force: Force = False,
) -> int:
    """Draw clips in the plane of their features: a point per clip."""
    from emovox.datasets.loading import Dataset
    from emovox.features import find_feature_set
    from emovox.reports.figures import draw_projection, project
    from emovox.reports.figures.features import check_method, check_scale

    check_output(output, force=force)
    if by not in _BY:
        raise typer.BadParameter(f"--by {by!r}; {did_you_mean(by, _BY)}")
    check_method(method)
    check_scale(scale)
    numbers = find_feature_set(features)
    dataset = Dataset.load(data, labels=labels or "all", drop_unknown=True)
    for note in dataset.notes:
        say(note)
    manifest = dataset.manifest
    table = load_tables(manifest, [numbers], workers=workers, store=store)[numbers.name]
    found = project(table.values[table.ok], method, scale=scale, seed=seed)
    kept = [u for u, ok in zip(manifest, table.ok, strict=True) if ok]
    title = f"{numbers.name} of {', '.join(manifest.corpora)}, by {by}"
    caption = f"{speakers(manifest.n_known_speakers)}; no model, nothing was trained."
    groups = [getattr(u, by) or None for u in kept]
    return write(draw_projection(found, groups, by=by, title=title, caption=caption), output, title)
