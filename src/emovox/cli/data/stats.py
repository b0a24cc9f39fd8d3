"""``emovox data stats``: how much of what, by whom, how long, how loud, and what is there twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.data.common import (
    Corpus,
    FormOption,
    Labels,
    Root,
    SpeakerPattern,
    Workers,
    manifest_at,
    reading,
    show,
    table,
)
from emovox.cli.models import Form
from emovox.cli.outputs import check_new
from emovox.cli.terminal import Progress, say

if TYPE_CHECKING:
    from emovox.datasets.statistics import Spread, Stats

__all__ = ["stats"]


def stats(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A manifest, a table, a corpus's folder, or NAME with --root."),
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with plots.")
    ] = None,
    hear: Annotated[
        bool, typer.Option("--hear/--no-hear", help="Open the sound: length, level, copies.")
    ] = True,
    root: Root = None,
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Let --html replace a file that exists.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Count a corpus by emotion, speaker, sex and language, measure its sound, and find what it holds twice.

    Exit code: 0 when all clips could be heard, 1 when some could not.
    """
    check_new(html, force=force, option="--html")
    from emovox.datasets import statistics as figures

    options = reading(root=root, corpus=corpus, labels=labels, speaker=speaker)
    manifest, _ = manifest_at(data, options)
    heard = failed = None
    if hear:
        progress = Progress(len(manifest))
        heard, failed = figures.hear(manifest, workers=workers, progress=progress.at)
        progress.hide()
        for key, why in failed.items():
            say(f"{key}: {why}")
    found = figures.stats(manifest, heard, failed)
    show(_page(found), found.to_dict(), format)
    if html is not None:
        from emovox.reports.corpus import corpus_html

        html.write_text(corpus_html(found.to_dict()), encoding="utf-8")
    return 1 if failed else 0


def _page(found: Stats) -> Iterator[str]:
    texts = f", {found.n_texts} sentences" if found.n_texts else ""
    yield f"{found.n_clips} clips, {found.n_speakers} speakers{texts}: {found.root}"
    for name in ("emotion", "sex", "language", "corpus", "intensity"):
        counts = found.counts[name]
        if counts and set(counts) != {"unknown"}:
            yield f"  {name:<10} " + "  ".join(f"{value} {n}" for value, n in counts.items())
    if found.ages:
        yield f"  {'age':<10} {_spread(found.ages, 'years', digits=0)}"
    if found.duration_s:
        yield f"  {'length':<10} {_hours(found.duration_s.total)}; a clip {_spread(found.duration_s, 's')}"
    if found.level_dbfs:
        yield f"  {'level':<10} {_spread(found.level_dbfs, 'dBFS')}; {found.n_clipped} clips clipped"
    if found.silent:
        yield f"  {'silent':<10} {', '.join(found.silent[:5])}{' ...' if len(found.silent) > 5 else ''}"
    if found.copies is not None:
        yield f"  {'copies':<10} {len(found.copies)} pairs of clips hold the same recording"
        yield from (f"    {c.one} = {c.other} ({c.likeness:.2f})" for c in found.copies[:10])
        if len(found.copies) > 10:
            yield f"    ... and {len(found.copies) - 10} more"
    emotions = list(found.counts["emotion"])
    rows = [(who, sum(n.values()), *(n.get(e, 0) for e in emotions)) for who, n in found.per_speaker.items()]
    yield ""
    yield from table(("speaker", "clips", *emotions), rows[:40])
    if len(rows) > 40:
        yield f"... and {len(rows) - 40} more speakers; --format json has all"


def _hours(total_s: float) -> str:
    return f"{total_s / 3600:.2f} h" if total_s >= 3600 else f"{total_s / 60:.1f} min"


def _spread(values: Spread, unit: str, *, digits: int = 1) -> str:
    low, high, median = (f"{v:.{digits}f}" for v in (values.low, values.high, values.median))
    return f"{low} to {high} {unit}, median {median}"
