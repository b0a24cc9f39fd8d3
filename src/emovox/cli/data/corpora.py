"""``emovox data list`` and ``emovox data check``: which corpora there are, and whether one is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.data.common import (
    Corpus,
    FormOption,
    Labels,
    SpeakerPattern,
    reading,
    show,
    source_name,
    table,
)
from emovox.cli.models import Form

__all__ = ["check", "list_corpora"]

_FACTS = (
    *("name", "title", "licence", "commercial", "citation", "url", "access", "language", "n_clips"),
    *("n_speakers", "emotions", "known_defects", "people", "complete"),
)
"""What ``--format json`` says of a corpus."""


def list_corpora(format: FormOption = Form.table) -> None:
    """List the corpora that emovox reads: size, language, licence, and how to get them."""
    from emovox.datasets import CORPORA
    from emovox.datasets.download import SOURCES

    facts = [
        {**{fact: getattr(corpus, fact) for fact in _FACTS}, "download": name in SOURCES}
        for name, corpus in CORPORA.items()
    ]
    rows = [
        (
            *(f[k] for k in ("name", "n_clips", "n_speakers", "language")),
            len(f["emotions"]),
            "yes" if f["download"] else "by hand",
            "yes" if f["commercial"] else "no",
            f["licence"],
        )
        for f in facts
    ]
    heads = ("name", "clips", "speakers", "language", "emotions", "download", "commercial", "licence")
    foot = ["", "`emovox data download NAME` fetches a corpus, or says how to get it."]
    show([*table(heads, rows), *foot], facts, format)


def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A corpus from `data list`, or folder, suffix, csv.")
    ],
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Where it lies: its folder, or the table.")
    ],
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    all: Annotated[bool, typer.Option("--all", help="Name every file, not the first few of a kind.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Say what of a corpus is missing, extra, misnamed or there twice, and which defects it is known for.

    Exit code: 0 when it is whole, 1 when something is not as it should be.
    """
    from emovox.datasets import CORPORA, scan
    from emovox.datasets.formats import read

    if source_name(name) in CORPORA:
        _, report = scan(name, root)
        show(report.lines(**({"most": 1 << 30} if all else {})), report.to_dict(), format)
        return 0 if report.ok else 1
    options = reading(labels=labels, speaker=speaker, corpus=corpus)
    _, found = read(root, format=name, options=options)
    show(found.lines(**({"most": 1 << 30} if all else {})), found.to_dict(), format)
    return 0 if found.ok else 1
