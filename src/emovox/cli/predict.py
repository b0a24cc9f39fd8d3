"""``emovox predict``: the expressed emotion of recordings, whole or over time."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO, TypeAlias

import typer

from emovox._files import write_json
from emovox.audio import ReadReport, can_reread, probe
from emovox.cli.label_files import check_label_output, format_speakers, read_segments
from emovox.cli.options import Labels, ModelName, OnOff, OutputFile, ProfileFile, ReplaceOutput, Vad
from emovox.cli.outputs import check_new
from emovox.cli.sources import STDIN, AudioPath, find_recordings
from emovox.cli.speech import Diarize, SpeakerModel, diarize_recording, parse_number
from emovox.cli.terminal import Progress, say, uninterrupted
from emovox.cli.writers import (
    AudformatWriter,
    CsvWriter,
    JsonLinesWriter,
    JsonWriter,
    LabelWriter,
    ResultRow,
    ResultTableWriter,
    Writer,
    keep_top,
)
from emovox.errors import EmovoxError, ProfileError
from emovox.inference.options import PredictOptions
from emovox.results import Prediction
from emovox.transcripts import LABEL_FORMATS
from emovox.transcripts.speakers import SpeakerTotals

if TYPE_CHECKING:
    from emovox.inference.adaptation import Profile
    from emovox.inference.recognizer import Recognizer

__all__ = [
    "OutputFormat",
    "format_by_suffix",
    "load_profile",
    "make_writer",
    "open_output",
    "predict",
    "read_stdin",
]

_MANY_CLIPS = 20
"""From so many clips of one folder on, adaptation is worth a hint."""


class OutputFormat(StrEnum):
    """The format of the rows."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    srt = "srt"
    vtt = "vtt"
    textgrid = "textgrid"
    eaf = "eaf"
    audacity = "audacity"
    rttm = "rttm"
    audformat = "audformat"

    @property
    def is_label_format(self) -> bool:
        """Whether it holds segments only."""
        return self.value not in ("table", "json", "jsonl", "csv")


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Recordings, folders, patterns; - for standard input."),
    ],
    format: Annotated[
        OutputFormat | None,
        typer.Option("--format", "-f", help="Default: by the suffix of -o, else table."),
    ] = None,
    output: OutputFile = None,
    force: ReplaceOutput = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="One row per stretch of speech, not per recording.")
    ] = False,
    segments: Annotated[
        Path | None,
        typer.Option(
            "--segments",
            metavar="FILE",
            help="One row per segment of this file: SRT, WebVTT, TextGrid, ELAN, RTTM, CTM, Audacity, JSON "
            "of Whisper or WhisperX, CSV.",
        ),
    ] = None,
    tier: Annotated[
        str | None, typer.Option("--tier", metavar="NAME", help="Of a TextGrid or ELAN file: read this tier.")
    ] = None,
    speakers: Annotated[
        Path | None,
        typer.Option("--speakers", metavar="FILE", help="With --segments: write a summary of each speaker."),
    ] = None,
    diarize: Diarize = None,
    speaker_model: SpeakerModel = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="N", help="Name the N likeliest labels (table: 3; else all)."),
    ] = None,
    labels: Labels = None,
    channels: Annotated[
        str,
        typer.Option("--channels", metavar="mix|each|N", help="Which channels; N counts from 0."),
    ] = "mix",
    model: ModelName = "default",
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes to use.")] = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also read the folders below folders.")
    ] = False,
    vad: Vad = OnOff.on,
    window_s: Annotated[
        float | None,
        typer.Option("--window-s", min=0.1, metavar="S", help="With --timeline: seconds of a window."),
    ] = None,
    hop_s: Annotated[
        float | None,
        typer.Option("--hop-s", min=0.1, metavar="S", help="With --timeline: seconds between windows."),
    ] = None,
    profile: ProfileFile = None,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Adapt the model to the recordings, which are read twice; with --timeline, to each channel "
            "as it goes; with --segments, to each speaker. Helps where emotions vary; harms where one "
            "prevails.",
        ),
    ] = False,
) -> int:
    """Predict which emotion each recording expresses.

    Exit code: 0 when all worked, 1 when some recordings failed, 2 when the request cannot be met.
    """
    if not timeline and (window_s is not None or hop_s is not None):
        raise typer.BadParameter("--window-s and --hop-s are options of a timeline; add --timeline")
    if segments is None and (tier is not None or (speakers is not None and diarize is None)):
        raise typer.BadParameter("--tier and --speakers are options of --segments; add --segments FILE")
    if diarize is not None and (segments is not None or timeline):
        raise typer.BadParameter("--diarize finds the segments itself; leave --segments and --timeline out")
    if speaker_model is not None and diarize is None:
        raise typer.BadParameter("--speaker-model is an option of --diarize; add --diarize N")
    parse_number(diarize)
    output_format = format or format_by_suffix(output)
    options = PredictOptions(
        labels=labels,
        channels=channels,
        vad=vad.value,
        profile=load_profile(profile),
        timeline=timeline,
        window_s=window_s,
        hop_s=hop_s,
        adapt=adapt,
    )
    recordings = find_recordings(paths, recursive=recursive)
    read = [one.name for one in recordings if one.is_file] + ([] if segments is None else [str(segments)])
    if output_format is not OutputFormat.audformat:
        check_new(output, force=force, read=read)
    if output_format.is_label_format:
        over_time = timeline or segments is not None or diarize is not None
        check_label_output(output_format.value, output, recordings, is_over_time=over_time, force=force)
    check_new(speakers, force=force, option="--speakers", read=read)
    transcript = None if segments is None else read_segments(segments, recordings, tier)
    if transcript is not None:
        options = replace(options, segments=transcript.segments)
    from emovox.inference.recognizer import load

    recognizer = load(model)
    # A wrong label, window or profile is an error of the request, not of each recording.
    options = recognizer.check(options)
    if diarize is not None:
        transcript = diarize_recording(recordings, options, diarize, speaker_model)
        options = replace(options, segments=transcript.segments)
    if adapt and not timeline and transcript is None:
        options = replace(
            options, adapt=False, profile=_learn_profile(recognizer, recordings, options, workers)
        )
    elif not adapt and profile is None and recognizer.can_adapt and _is_large_folder(recordings):
        say(
            f"{len(recordings)} recordings of one source: --adapt lets the model adapt to it, without "
            "labels; that helps where their emotions vary"
        )
    totals = None if transcript is None else SpeakerTotals()
    with ExitStack() as stack:
        is_folder = output_format is OutputFormat.audformat
        stream = stack.enter_context(open_output(None if is_folder else output, output_format, force=force))
        writer = make_writer(
            stream,
            output_format,
            output,
            recordings,
            tuple(options.labels or ()),
            recognizer.targets,
            top=top or 3,
            channels=options.channels != "mix",
            spans=timeline or transcript is not None,
            speakers=None if transcript is None else [one.speaker or "" for one in transcript.segments],
        )
        stack.callback(writer.end)
        code = _write_rows(
            recognizer,
            recordings,
            options,
            writer,
            workers=workers,
            top=None if output_format is OutputFormat.table else top,
            on_screen=stream.isatty(),
            totals=totals,
        )
        if totals is not None and output_format is OutputFormat.table:
            stream.writelines(f"{line}\n" for line in ["", *format_speakers(totals.summaries())])
    if totals is not None and speakers is not None:
        write_json(speakers, [one.to_dict() for one in totals.summaries()])
    return 1 if not code and transcript is not None and transcript.problems else code


def make_writer(
    stream: TextIO,
    form: OutputFormat,
    output: Path | None,
    recordings: Sequence[AudioPath],
    labels: Sequence[str],
    targets: Sequence[str] = (),
    *,
    top: int,
    channels: bool,
    spans: bool,
    speakers: Sequence[str] | None,
) -> Writer:
    """Return the writer of a format; ``speakers`` is ``None`` where rows have neither speaker nor text."""
    if form is OutputFormat.json:
        return JsonWriter(stream)
    if form is OutputFormat.jsonl:
        return JsonLinesWriter(stream)
    if form is OutputFormat.csv:
        return CsvWriter(stream, labels, targets, transcript=speakers is not None)
    if form is OutputFormat.audformat and output is not None:
        return AudformatWriter(output, labels)
    if form.is_label_format:
        return LabelWriter(stream, form.value, _probe_duration(recordings))
    return ResultTableWriter(
        stream,
        files=[one.name for one in recordings],
        labels=labels,
        targets=targets,
        top=top,
        channels=channels,
        spans=spans,
        speakers=speakers,
    )


def _probe_duration(recordings: Sequence[AudioPath]) -> float | None:
    """The duration of the one recording by its header, if there is one that says."""
    if len(recordings) != 1 or not recordings[0].is_file or not can_reread(recordings[0].name):
        return None
    with suppress(EmovoxError):  # the row has the error
        return probe(recordings[0].name).duration_s
    return None


def load_profile(file: Path | None) -> Profile | None:
    """Read the file of ``--profile``; ``None``: there is none."""
    if file is None:
        return None
    from emovox.inference.adaptation import Profile

    profile = Profile.load(file)
    if profile.emotion is not None:
        say(f"{file}: a profile of {profile.emotion} clips alone makes answers worse on some sources")
    return profile


def format_by_suffix(output: Path | None) -> OutputFormat:
    """The format of a file; a table is for people, and does not have all scores."""
    suffix = "txt" if output is None else output.suffix.lower().removeprefix(".")
    if suffix in ("json", "jsonl", "csv", *LABEL_FORMATS):
        return OutputFormat(suffix)
    if suffix == "txt":
        return OutputFormat.table
    raise typer.BadParameter(
        f"-o {str(output)!r}: expected a name that ends with .csv, .json, .jsonl, .srt, .vtt, .TextGrid, "
        ".eaf, .rttm or, for a table, .txt; or name the format with --format"
    )


@contextmanager
def open_output(output: Path | None, form: OutputFormat, *, force: bool) -> Iterator[TextIO]:
    """The stream for the rows: a file, or stdout, in an encoding that can hold every file name."""
    if output is not None:
        mode: Literal["w", "x"] = "w" if force else "x"
        with output.open(mode, encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        return
    if sys.stdout is None:
        raise EmovoxError("standard output is closed; name a file with -o")
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = None if form is OutputFormat.table else "utf-8"
        sys.stdout.reconfigure(encoding=utf8, errors="backslashreplace")
    yield sys.stdout


def _write_rows(
    model: Recognizer,
    recordings: Sequence[AudioPath],
    options: PredictOptions,
    writer: Writer,
    *,
    workers: int,
    top: int | None,
    on_screen: bool,
    totals: SpeakerTotals | None = None,
) -> int:
    """Predict and write all rows; return the exit code."""
    failed: dict[str, None] = {}
    progress = Progress(len(recordings), enabled=len(recordings) > 1 or options.timeline)
    rows = _all_rows(model, recordings, options, progress, workers=workers)
    try:
        for row in rows:
            if on_screen:
                progress.hide()
            with uninterrupted():
                writer.row(keep_top(row, top))
            if totals is not None and "speaker" in row:  # not the error of the whole recording
                totals.add(row)
            if "error" in row:
                failed[row["file"]] = None
                progress.hide()
                begin = f", {row['start_s']:g} s" if "start_s" in row else ""
                say(f"{row['file']}{begin}: {row['error']}")
    except KeyboardInterrupt:
        progress.hide()
        say("interrupted; the rows so far are complete")
        return 130
    finally:
        rows.close()  # ends worker processes at once
        progress.hide()
    if len(recordings) > 1 and failed:
        say(f"{len(failed)} of {len(recordings)} recordings failed; the others' rows are complete")
    return 1 if failed else 0


# --- rows -----------------------------------------------------------------------------------------

_Rows: TypeAlias = Iterable[tuple[ResultRow, float]]
"""Rows of one recording, each with the share of it that is done then."""


def _all_rows(
    model: Recognizer,
    recordings: Sequence[AudioPath],
    options: PredictOptions,
    progress: Progress,
    *,
    workers: int = 1,
) -> Generator[ResultRow, None, None]:
    """The rows of all recordings in order; a recording that fails is a row with its error.

    One worker gives each row as soon as it is known; several give them recording by recording.
    """
    parallel = workers > 1 and len(recordings) > 1
    done = 0
    for is_file, group in groupby(recordings, key=lambda one: one.is_file):
        members = list(group)
        several: Iterator[_Rows] = (
            _parallel_rows(model, members, options, workers)
            if parallel and is_file
            else (_recording_rows(model, one, options) for one in members)
        )
        for rows in several:
            for row, share in rows:
                yield row
                progress.at(done + share)
            done += 1
            progress.at(done)


def _parallel_rows(
    model: Recognizer, recordings: Iterable[AudioPath], options: PredictOptions, workers: int
) -> Iterator[_Rows]:
    from emovox import _parallel

    for outcome in _parallel.map_items(partial(_make_worker, model, options), recordings, workers=workers):
        if outcome.value is None:
            yield [(_error_row(outcome.item, str(outcome.error)), 1.0)]
        else:
            yield outcome.value


def _make_worker(model: Recognizer, options: PredictOptions) -> Callable[[AudioPath], _Rows]:
    """The work of one process; unpickling ``model`` opens it anew there."""
    return lambda recording: list(_recording_rows(model, recording, options))


def _recording_rows(
    model: Recognizer, recording: AudioPath, options: PredictOptions
) -> Iterator[tuple[ResultRow, float]]:
    """The rows of one recording, each with the share of it that is done; an error becomes the last row."""
    if recording.problem:
        yield _error_row(recording, recording.problem), 1.0
        return
    try:
        source = read_stdin() if recording.name == STDIN else recording.name
        report = ReadReport()
        for result, share in model.results(source, options, report=report):
            yield result.with_file(recording.name).to_dict(), share
        if report.warnings:  # segments have no quality that could hold them
            say(f"{recording.name}: {', '.join(sorted(report.warnings))} (see docs/recordings.md)")
    except (EmovoxError, OSError) as error:
        yield _error_row(recording, str(error)), 1.0
    except Exception as error:  # a fault of ours must not cost the other recordings
        yield _error_row(recording, f"internal error, please report it: {type(error).__name__}: {error}"), 1.0


def _error_row(recording: AudioPath, problem: str) -> ResultRow:
    """The row names its file already, so that the sentence need not begin with it."""
    problem = problem.removeprefix(f"{recording.name}: ")
    return Prediction(label=None, file=recording.name, error=problem).to_dict()


def read_stdin() -> bytes:
    if sys.stdin is None:
        raise EmovoxError("standard input is closed; pipe a recording in:  emovox predict - < clip.wav")
    if sys.stdin.isatty():
        raise EmovoxError("standard input is the keyboard; pipe a recording in:  emovox predict - < clip.wav")
    return sys.stdin.buffer.read()


# --- adaptation -----------------------------------------------------------------------------------


def _is_large_folder(recordings: Sequence[AudioPath]) -> bool:
    folders = {Path(one.name).parent for one in recordings if one.is_file}
    return len(folders) == 1 and len(recordings) >= _MANY_CLIPS


def _learn_profile(
    model: Recognizer, recordings: Sequence[AudioPath], options: PredictOptions, workers: int
) -> Profile | None:
    """The profile of all usable recordings together, on top of that of the options; the first pass.

    Recordings that cannot be read are reported by the second pass.
    """
    from emovox import _parallel

    if any(one.name == STDIN for one in recordings):
        raise typer.BadParameter("--adapt reads recordings twice, and standard input can be read once")
    profile = options.profile
    files = [one.name for one in recordings if one.is_file]
    progress = Progress(len(files), enabled=len(files) > 1)
    try:
        work = partial(_make_learner, model, options)
        for done, outcome in enumerate(_parallel.map_items(work, files, workers=workers), 1):
            if outcome.value is not None:
                profile = outcome.value if profile is None else profile.merge(outcome.value)
            progress.at(done)
    finally:
        progress.hide()
    return profile


def _make_learner(model: Recognizer, options: PredictOptions) -> Callable[[str], Profile | None]:
    def learn(file: str) -> Profile | None:
        try:
            return model.enroll([file], vad=options.vad)
        except (EmovoxError, OSError, ProfileError):
            return None

    return learn
