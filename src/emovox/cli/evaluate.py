"""``emovox evaluate``: scores of a model on labelled clips, and what the test shares with its training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import emovox
from emovox.cli.data.common import DropUnknown
from emovox.cli.models import Form
from emovox.cli.options import ModelName, OnOff, Vad
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import clean, progress_bar, say
from emovox.errors import ConfigError

__all__ = ["evaluate", "print_scores"]


def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="PATH",
            help="A manifest, any table or tree of docs/corpora.md, or a corpus's folder; repeatable.",
        ),
    ],
    model: ModelName = "default",
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", metavar="NAME", help="Which corpus the data is, or to take of it."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="P",
            help="Whose clips are tested: all, emobox, loso, given, FILE.csv, ... (see docs/protocols.md).",
        ),
    ] = "all",
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B", help="Keep clips of these emotions, and predict only these."),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map", metavar="N", help="First fold the emotions to 9, 7, 6 or 4 (calm is neutral...)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write JSON, Markdown, HTML and the predictions there."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace an evaluation.")] = False,
    format: Annotated[Form, typer.Option("--format", "-f", help="How the scores are printed.")] = Form.table,
    drop_unknown: DropUnknown = False,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    vad: Vad = OnOff.on,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Also under noise, codecs, reverberation, ... (15 times the work)."
        ),
    ] = False,
    robustness_clips: Annotated[
        int | None,
        typer.Option(
            "--robustness-clips",
            min=1,
            metavar="N",
            help="The same on N clips, drawn evenly over speakers and emotions.",
        ),
    ] = None,
) -> int:
    """Score a model on labelled clips, and report what the test shares with its training.

    The stamp says what is shared: strict (nothing), unverified, text-shared, speaker-dependent, contaminated.

    Exit code: 0 when all worked, 1 when some clips could not be read, 2 when the request cannot be met.
    """
    _check_output(output, force=force)
    with progress_bar() as progress:
        evaluation = emovox.evaluate(
            model,
            data,
            protocol,
            corpus=corpus,
            labels=labels,
            mapping=mapping,
            vad=vad.value,
            robustness=robustness if robustness_clips is None else robustness_clips,
            drop_unknown=drop_unknown,
            workers=workers,
            notify=say,
            progress=progress,
        )
    print_scores(evaluation.document, form=format)
    if output is not None:
        evaluation.write(output)
        say(
            f"written: {output / 'evaluation.html'} and evaluation.json, evaluation.md, answers.csv beside it"
        )
    return 1 if evaluation.predictions.errors else 0


def print_scores(document: dict[str, Any], *, form: Form) -> None:
    """Write the scores of an evaluation to stdout."""
    from emovox.reports.evaluation import evaluation_lines

    if form is Form.json:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        for line in evaluation_lines(document):
            typer.echo(clean(line) if not line.startswith(" ") else line)


def _check_output(output: Path | None, *, force: bool) -> None:
    """Refuse, before the work, what -o would overwrite or cannot make."""
    if output is None:
        return
    from emovox.evaluation.evaluate import FILES

    if output.exists() and not output.is_dir():
        raise ConfigError(f"-o {str(output)!r} is a file; expected a folder, new or existing")
    check_writable(output)
    existing = [name for name in FILES if (output / name).exists()]
    if existing and not force:
        raise ConfigError(
            f"-o {str(output)!r} holds {existing[0]}; name another folder, or add --force to replace it"
        )
