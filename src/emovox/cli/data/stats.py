"""``emovox data stats`` and ``audit``: the figures of a corpus, and what the parts of a split share."""

from __future__ import annotations

from collections import Counter
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
    read_options,
    show,
    table,
)
from emovox.cli.models import Form
from emovox.cli.outputs import check_new
from emovox.cli.terminal import Progress, say
from emovox.reports.text import speakers

if TYPE_CHECKING:
    from emovox.datasets.statistics import CorpusStats, Distribution

__all__ = ["audit", "stats"]

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A manifest, a table, a corpus's folder, or NAME with --root.")
]


def stats(
    data: Data,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with plots.")
    ] = None,
    hear: Annotated[
        bool, typer.Option("--hear/--no-hear", help="Read the sound: length, level, copies.")
    ] = True,
    root: Root = None,
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Let --html replace a file that exists.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Count a corpus by emotion, speaker, sex and language, measure its sound, and find duplicate recordings.

    Exit code: 0 when all clips could be read, 1 when some could not.
    """
    check_new(html, force=force, option="--html")
    from emovox.datasets.loading import read_source
    from emovox.datasets.statistics import corpus_stats, measure_clips

    options = read_options(root=root, corpus=corpus, labels=labels, speaker=speaker)
    manifest, _ = read_source(data, options)
    measured = failed = None
    if hear:
        progress = Progress(len(manifest))
        measured, failed = measure_clips(manifest, workers=workers, progress=progress.at)
        progress.hide()
        for key, why in failed.items():
            say(f"{key}: {why}")
    found = corpus_stats(manifest, measured, failed)
    n_known = len({u.known_speaker for u in manifest} - {None})
    show(_describe(found, n_known), found.to_dict(), format)
    if html is not None:
        from emovox.reports.corpus import corpus_html

        html.write_text(corpus_html(found.to_dict()), encoding="utf-8")
    return 1 if failed else 0


def _describe(found: CorpusStats, n_known_speakers: int) -> Iterator[str]:
    who = speakers(n_known_speakers) if n_known_speakers else "speakers unknown"
    texts = f", {found.n_texts} sentences" if found.n_texts else ""
    yield f"{found.n_clips} clips, {who}{texts}: {found.root}"
    for name in ("emotion", "sex", "language", "corpus", "intensity"):
        counts = found.counts[name]
        if counts and set(counts) != {"unknown"}:
            yield f"  {name:<10} " + "  ".join(f"{value} {n}" for value, n in counts.items())
    if found.ages:
        yield f"  {'age':<10} {_range(found.ages, 'years', digits=0)}"
    if found.duration_s:
        total_s = found.duration_s.total
        total = f"{total_s / 3600:.2f} h" if total_s >= 3600 else f"{total_s / 60:.1f} min"
        yield f"  {'length':<10} {total}; a clip {_range(found.duration_s, 's')}"
    if found.level_dbfs:
        yield f"  {'level':<10} {_range(found.level_dbfs, 'dBFS')}; {found.n_clipped} clips clipped"
    if found.silent:
        yield f"  {'silent':<10} {', '.join(found.silent[:5])}{' ...' if len(found.silent) > 5 else ''}"
    if found.copies is not None:
        pairs = (
            "1 pair of clips holds" if len(found.copies) == 1 else f"{len(found.copies)} pairs of clips hold"
        )
        yield f"  {'copies':<10} {pairs} the same recording"
        yield from (f"    {c.one} = {c.other} ({c.likeness:.2f})" for c in found.copies[:10])
        if len(found.copies) > 10:
            yield f"    ... and {len(found.copies) - 10} more"
    emotions = list(found.counts["emotion"])
    rows = [
        (name, sum(n.values()), *(n.get(e, 0) for e in emotions)) for name, n in found.per_speaker.items()
    ]
    yield ""
    yield from table(("speaker", "clips", *emotions), rows[:40])
    if len(rows) > 40:
        yield f"... and {len(rows) - 40} more speakers; --format json has all"


def _range(values: Distribution, unit: str, *, digits: int = 1) -> str:
    low, high, median = (f"{v:.{digits}f}" for v in (values.low, values.high, values.median))
    return f"{low} to {high} {unit}, median {median}"


def audit(
    data: Data,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", metavar="P", help="emobox, loso, speaker-kfold, random, given, FILE.csv, ..."
        ),
    ],
    hear: Annotated[
        bool, typer.Option("--hear/--no-hear", help="Compare the sound; else use the manifest alone.")
    ] = True,
    root: Root = None,
    corpus: Corpus = None,
    format: FormOption = Form.table,
) -> int:
    """Report what the test of each split shares with its training: speakers, sentences, recordings.

    Exit code: 0 when no recording is on both sides, 1 when one is.
    """
    from emovox.datasets.loading import read_source
    from emovox.datasets.overlap import audit_split, fingerprint_clips
    from emovox.datasets.protocols import make_splits

    manifest, _ = read_source(data, read_options(root=root, corpus=corpus))
    splits = make_splits(manifest, protocol)
    prints, failed = fingerprint_clips(manifest) if hear else ({}, {})
    for key, why in failed.items():
        say(f"{key}: {why}")
    audits = [audit_split(manifest, split, prints=prints, compare_sound=hear) for split in splits]
    stamps = Counter(one.stamp for one in audits)
    summary = ", ".join(f"{n} {stamp}" for stamp, n in stamps.items())
    by_name = "" if hear else " by the manifest alone"
    lines = [line for one in audits for line in one.lines()]
    show([*lines, f"{len(audits)} splits: {summary}{by_name}"], [one.to_dict() for one in audits], format)
    return 1 if stamps["contaminated"] else 0
