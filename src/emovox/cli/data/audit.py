"""``emovox data audit``: what the test has in common with the training."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from emovox.cli.data.common import Corpus, FormOption, Root, manifest_at, reading, show
from emovox.cli.models import Form
from emovox.cli.terminal import say

__all__ = ["audit"]


def audit(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A manifest, a table, a corpus's folder, or NAME with --root."),
    ],
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", metavar="P", help="emobox, loso, speaker-kfold, random, given, FILE.csv, ..."
        ),
    ],
    hear: Annotated[
        bool, typer.Option("--hear/--no-hear", help="Listen for copies; else go by the manifest.")
    ] = True,
    root: Root = None,
    corpus: Corpus = None,
    format: FormOption = Form.table,
) -> int:
    """Say of each split what its test shares with its training: speakers, sentences, recordings.

    Exit code: 0 when no recording is on both sides, 1 when one is.
    """
    from emovox.datasets import overlap as auditing
    from emovox.datasets.protocols import make_splits

    manifest, _ = manifest_at(data, reading(root=root, corpus=corpus))
    plans = make_splits(manifest, protocol)
    prints, failed = auditing.listen(manifest) if hear else ({}, {})
    for key, why in failed.items():
        say(f"{key}: {why}")
    found = [auditing.audit(manifest, plan, prints=prints, hear=hear) for plan in plans]
    stamps = Counter(one.stamp for one in found)
    summary = ", ".join(f"{n} {stamp}" for stamp, n in stamps.items())
    lines = [line for one in found for line in one.lines()]
    show([*lines, f"{len(found)} splits: {summary}"], [one.to_dict() for one in found], format)
    return 1 if stamps["contaminated"] else 0
