"""``emovox predict``: the expressed emotion of recordings, whole or along their time."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from emovox.audio import SAMPLE_RATE
from emovox.cli.outputs import check_new
from emovox.cli.rows import rows
from emovox.cli.sources import Source, expand
from emovox.cli.terminal import Progress, say, uninterrupted
from emovox.cli.writers import CsvWriter, JsonLinesWriter, JsonWriter, TableWriter, Writer, keep_top
from emovox.errors import EmovoxError
from emovox.inference.options import Channels, Request
from emovox.labels import canonical_all

if TYPE_CHECKING:
    from emovox.inference.adaptation import Profile
    from emovox.inference.recognizer import Recognizer

__all__ = ["Format", "Switch", "predict"]


class Format(StrEnum):
    """How the answer looks."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Switch(StrEnum):
    """On or off."""

    on = "on"
    off = "off"


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Recordings, folders, patterns; - for standard input."),
    ],
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the name given to -o, else table.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here, not to stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")] = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="One row a stretch of speech, not one a recording.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="N", help="Name the N likeliest labels (table: 3; else all)."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B", help="Decide among these labels only.")
    ] = None,
    channels: Annotated[
        str, typer.Option("--channels", metavar="mix|each|N", help="What is judged; N counts from 0.")
    ] = "mix",
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
    ] = "default",
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look in folders below folders too.")
    ] = False,
    vad: Annotated[Switch, typer.Option("--vad", help="Voice activity detection.")] = Switch.on,
    window_s: Annotated[
        float | None,
        typer.Option("--window-s", min=0.1, metavar="S", help="With --timeline: seconds judged at once."),
    ] = None,
    hop_s: Annotated[
        float | None, typer.Option("--hop-s", min=0.1, metavar="S", help="With --timeline: seconds between.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Whose voice it is: what `emovox enroll` wrote."),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="With --timeline: learn the voice as it goes, one a channel.")
    ] = False,
) -> int:
    """Say which emotion each recording expresses.

    Exit code: 0 when all worked, 1 when some recordings failed, 2 when the request cannot be met.
    """
    if not timeline and (window_s is not None or hop_s is not None):
        raise typer.BadParameter("--window-s and --hop-s shape a timeline; add --timeline")
    if adapt and not timeline:
        raise typer.BadParameter("--adapt learns along a timeline; add --timeline")
    form = format or _format_of(output)
    voice = _profile(profile)
    request = Request(_channels(channels), None, timeline, window_s, hop_s, voice, adapt)
    sources = expand(paths, recursive=recursive)
    check_new(output, force=force, read=[source.name for source in sources if source.is_file])
    recognizer = _load(model, vad)
    if labels is not None:
        request = replace(request, labels=canonical_all(labels, recognizer.labels))
    # A window that cannot be, or a profile of another model, is the request's fault, not each recording's.
    if timeline or voice is not None:
        recognizer.stream(sample_rate=SAMPLE_RATE, window_s=window_s, hop_s=hop_s, profile=voice, adapt=adapt)
    with ExitStack() as stack:
        stream = stack.enter_context(_destination(output, form, force=force))
        writer = _writer(form, stream, sources, request.labels or recognizer.labels, request, top)
        stack.callback(writer.end)
        cut = None if form is Format.table else top
        on_screen = stream.isatty()
        return _show(recognizer, sources, request, writer, workers=workers, top=cut, on_screen=on_screen)


def _show(
    model: Recognizer,
    sources: Sequence[Source],
    request: Request,
    writer: Writer,
    *,
    workers: int,
    top: int | None,
    on_screen: bool,
) -> int:
    """Judge, write, count; the exit code."""
    failed: dict[str, None] = {}
    progress = Progress(len(sources), enabled=len(sources) > 1 or request.timeline)
    answers = rows(model, sources, request, progress, workers=workers)
    try:
        for row in answers:
            if on_screen:
                progress.hide()
            with uninterrupted():
                writer.row(keep_top(row, top))
            if "error" in row:
                failed[row["file"]] = None
                progress.hide()
                say(f"{row['file']}: {row['error']}")
    except KeyboardInterrupt:
        progress.hide()
        say("interrupted; the rows so far are complete")
        return 130
    finally:
        answers.close()  # ends worker processes at once
        progress.hide()
    if len(sources) > 1 and failed:
        say(f"{len(failed)} of {len(sources)} recordings failed; the others' rows are complete")
    return 1 if failed else 0


def _channels(text: str) -> Channels:
    if text == "mix":
        return "mix"
    if text == "each":
        return "each"
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(f"--channels {text!r}: expected mix, each, or a channel's number from 0")


def _profile(file: Path | None) -> Profile | None:
    if file is None:
        return None
    from emovox.inference.adaptation import Profile

    return Profile.load(file)


def _load(name: str, vad: Switch) -> Recognizer:
    from emovox.bundles import registry

    return registry.load(name, vad=vad.value)


def _format_of(output: Path | None) -> Format:
    """What the name of the file asks for; a table is for people, and has not all of the scores."""
    suffix = "txt" if output is None else output.suffix.lower().removeprefix(".")
    if suffix in ("json", "jsonl", "csv"):
        return Format(suffix)
    if suffix == "txt":
        return Format.table
    raise typer.BadParameter(
        f"-o {str(output)!r}: expected a name that ends with .csv, .json, .jsonl or, for a table, .txt; or "
        "say which with --format"
    )


@contextmanager
def _destination(output: Path | None, form: Format, *, force: bool) -> Iterator[TextIO]:
    """The stream for the rows: a file, or stdout, in an encoding that can hold every file name."""
    if output is not None:
        mode: Literal["w", "x"] = "w" if force else "x"
        with output.open(mode, encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        return
    if sys.stdout is None:
        raise EmovoxError("standard output is closed; name a file with -o")
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = None if form is Format.table else "utf-8"
        sys.stdout.reconfigure(encoding=utf8, errors="backslashreplace")
    yield sys.stdout


def _writer(
    form: Format,
    stream: TextIO,
    sources: Sequence[Source],
    labels: Sequence[str],
    request: Request,
    top: int | None,
) -> Writer:
    if form is Format.json:
        return JsonWriter(stream)
    if form is Format.jsonl:
        return JsonLinesWriter(stream)
    if form is Format.csv:
        return CsvWriter(stream, labels)
    return TableWriter(
        stream,
        files=[source.name for source in sources],
        labels=labels,
        top=top or 3,
        channels=request.channels != "mix",
        spans=request.timeline,
    )
