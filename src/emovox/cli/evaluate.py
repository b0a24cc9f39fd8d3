"""``emovox evaluate``: how good a model is on clips of known expression, and what that score is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox._files import write_text
from emovox.cli.models import Form
from emovox.cli.outputs import check_writable
from emovox.cli.predict import Switch
from emovox.cli.terminal import Progress, clean, say
from emovox.errors import ConfigError, ManifestError
from emovox.labels import canonical_all, label_map

if TYPE_CHECKING:
    from emovox.bundles import Spec
    from emovox.datasets import Manifest
    from emovox.datasets.loading import Dataset
    from emovox.datasets.splits import Split
    from emovox.evaluation import Evaluation, Robustness
    from emovox.inference.recognizer import Recognizer

__all__ = ["FILES", "evaluate", "judged", "show_scores", "write_pages"]

FILES = ("evaluation.json", "evaluation.md", "evaluation.html", "answers.csv")
"""What lies in the folder of an evaluation."""

_ALL = "all"


def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            metavar="PATH",
            help="A manifest, any table or tree of docs/corpora.md, or a corpus's folder; repeatable.",
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
    ] = "default",
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", metavar="NAME", help="Which corpus the data is, or to take of it."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="P",
            help="Whose clips are tested: all, emobox, loso, given, FILE.csv, ... (see docs/evaluation.md).",
        ),
    ] = _ALL,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B", help="Judge clips of these emotions, deciding among them."),
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
            "--output", "-o", metavar="DIR", help="Write JSON, Markdown, HTML and the answers there."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace an evaluation.")] = False,
    format: Annotated[Form, typer.Option("--format", "-f", help="How the answer looks.")] = Form.table,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    vad: Annotated[Switch, typer.Option("--vad", help="Voice activity detection.")] = Switch.on,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Judge again under noise, codecs, rooms, ... (15 times the work)."),
    ] = False,
    robustness_clips: Annotated[
        int | None,
        typer.Option(
            "--robustness-clips",
            min=1,
            metavar="N",
            help="On N clips, dealt evenly over speakers and emotions.",
        ),
    ] = None,
) -> int:
    """Judge known clips as a user would, and say what the score is worth.

    The stamp tells what the test shares with the model's training: strict, text-shared, speaker-dependent
    or contaminated.

    Exit code: 0 when all worked, 1 when some clips could not be read, 2 when the request cannot be met.
    """
    _check_output(output, force=force)
    from emovox.bundles import registry
    from emovox.datasets.loading import Dataset
    from emovox.evaluation import scorecard, stamp

    recognizer = registry.load(model, vad=vad.value)
    dataset = Dataset.load(data, corpus=corpus)
    for line in dataset.notes:
        say(line)
    whole = dataset.manifest
    names, fold = _answers_wanted(labels, mapping, recognizer.labels)
    asked = dataset.relabel(mapping=fold, labels=names).manifest
    splits = () if protocol == _ALL else _splits(protocol, asked, whole, recognizer.spec)
    tested = {key for split in splits for key in split.test} if splits else set(whole.ids)
    question = dataset.select(tested).relabel(mapping=fold, labels=names)
    _check_labels(question.manifest, names or recognizer.labels)
    _tell_left_out(question)
    answers = judged(recognizer, question.manifest, names, workers)
    worse = None
    if robustness or robustness_clips is not None:
        worse = _worse(recognizer, question.manifest, names, workers, robustness_clips)
    document = scorecard(
        answers,
        question.manifest,
        spec=recognizer.spec,
        stamp=stamp(recognizer.spec, whole, answers.ids, known=splits, asked=asked),
        protocol=protocol if not splits or len(splits) > 1 else splits[0].name,
        splits=splits,
        settings={
            "map": mapping,
            "merged": {new: list(old) for new, old in question.merged.items()},
            "left_out": dict(question.dropped),
            "not_read": dataset.n_unread,
            "vad": vad.value,
        },
        robustness=worse,
    )
    show_scores(document, form=format)
    if output is not None:
        write_pages(output, document, answers)
    return 1 if answers.errors else 0


def _splits(protocol: str, asked: Manifest, whole: Manifest, spec: Spec) -> tuple[Split, ...]:
    """The splits of the clips that are asked about; or of all, if the model was trained by one of those."""
    from emovox.datasets.protocols import make_splits

    digest = spec.protocol.partition("#")[2]
    made = make_splits(asked, protocol, allow_missing=True)
    if not digest or asked.ids == whole.ids or digest in {split.digest for split in made}:
        return made
    every = make_splits(whole, protocol, allow_missing=True)
    return every if digest in {split.digest for split in every} else made


def _answers_wanted(
    labels: str | None, mapping: str | None, known: Sequence[str]
) -> tuple[tuple[str, ...] | None, Any]:
    """The labels to decide among, and the map that emotions go through before."""
    fold = label_map(mapping) if mapping else None
    if labels is not None:
        return canonical_all(labels, known), fold
    return (tuple(name for name in fold.labels if name in known) if fold else None), fold


def _check_labels(manifest: Manifest, known: Sequence[str]) -> None:
    strange = [name for name in manifest.emotions if name not in known]
    if strange:
        shared = [name for name in known if name in manifest.emotions]
        raise ManifestError(
            f"the data has {', '.join(strange)}, which this model cannot answer; to leave those clips out "
            f"and say so beside the score:  --labels {','.join(shared) or 'A,B'}"
        )


def _tell_left_out(question: Dataset) -> None:
    for new, old in question.merged.items():
        say(f"counted as {new}: {', '.join(old)}")
    if question.dropped:
        told = ", ".join(f"{name} {n}" for name, n in question.dropped.items())
        say(f"left out, for they are not among the labels: {told} clips")


def judged(
    recognizer: Recognizer, manifest: Manifest, names: Sequence[str] | None, workers: int
) -> Evaluation:
    """The answers, with a bar while they come, and a word on clips that cannot be read."""
    from emovox.evaluation import evaluate as judge

    progress = Progress(len(manifest))
    try:
        answers = judge(
            recognizer, manifest, labels=names, workers=workers, progress=lambda done, _: progress.at(done)
        )
    finally:
        progress.hide()
    for key, why in answers.errors:
        say(f"{key}: {why}")
    if answers.errors:
        say(f"{len(answers.errors)} of {len(answers)} clips could not be read; they count as wrong")
    return answers


def _worse(
    recognizer: Recognizer, manifest: Manifest, names: Sequence[str] | None, workers: int, n: int | None
) -> Robustness:
    """The answers when the sound is worse, with a bar of its own."""
    from emovox.evaluation import robustness, sample

    some = manifest if n is None else sample(manifest, n)
    progress = Progress(len(some))
    try:
        return robustness(
            recognizer, some, labels=names, workers=workers, progress=lambda done, _: progress.at(done)
        )
    finally:
        progress.hide()


def show_scores(document: dict[str, Any], *, form: Form) -> None:
    """Write a scorecard to stdout."""
    from emovox.reports.evaluation import evaluation_lines

    if form is Form.json:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        for line in evaluation_lines(document):
            typer.echo(clean(line) if not line.startswith(" ") else line)


def _check_output(output: Path | None, *, force: bool) -> None:
    """Refuse, before the work, what -o would destroy or cannot make."""
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise ConfigError(f"-o {str(output)!r} is a file; expected a folder, new or there")
    check_writable(output)
    there = [name for name in FILES if (output / name).exists()]
    if there and not force:
        raise ConfigError(
            f"-o {str(output)!r} holds {there[0]}; name another folder, or add --force to replace it"
        )


def write_pages(output: Path, document: dict[str, Any], answers: Evaluation) -> None:
    """Write the files of an evaluation into a folder, each whole or not at all."""
    from emovox.reports import evaluation_html, evaluation_markdown

    output.mkdir(parents=True, exist_ok=True)
    texts = (
        json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n",
        evaluation_markdown(document),
        evaluation_html(document),
        answers.to_csv(),
    )
    for name, text in zip(FILES, texts, strict=True):
        write_text(output / name, text)
    say(f"written: {output / 'evaluation.html'} and beside it {', '.join(FILES[:2])}, {FILES[3]}")
