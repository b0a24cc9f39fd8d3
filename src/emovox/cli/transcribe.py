"""``emovox transcribe``: text and expressed emotion of each sentence."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from emovox.audio import ReadReport, Source
from emovox.cli.label_files import check_label_output, format_speakers
from emovox.cli.options import Labels, ModelName, OnOff, OutputFile, ProfileFile, ReplaceOutput, Vad
from emovox.cli.outputs import check_new
from emovox.cli.predict import (
    OutputFormat,
    format_by_suffix,
    load_profile,
    make_writer,
    open_output,
    read_stdin,
)
from emovox.cli.sources import STDIN, find_recordings
from emovox.cli.speech import (
    Asr,
    Diarize,
    Language,
    SpeakerModel,
    find_turns,
    parse_number,
    reading_progress,
)
from emovox.cli.terminal import say, uninterrupted
from emovox.cli.writers import keep_top
from emovox.errors import EmovoxError
from emovox.inference.options import PredictOptions

__all__ = ["transcribe"]


def transcribe(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A recording; - for standard input.")],
    asr: Asr = None,
    language: Language = None,
    diarize: Diarize = None,
    speaker_model: SpeakerModel = None,
    format: Annotated[
        OutputFormat | None,
        typer.Option("--format", "-f", help="Default: by the suffix of -o, else table."),
    ] = None,
    output: OutputFile = None,
    force: ReplaceOutput = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="N", help="Name the N likeliest labels (table: 1; else all)."),
    ] = None,
    labels: Labels = None,
    channels: Annotated[
        str, typer.Option("--channels", metavar="mix|N", help="Which channels; N counts from 0.")
    ] = "mix",
    model: ModelName = "default",
    vad: Vad = OnOff.on,
    profile: ProfileFile = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Adapt the model to each speaker; the recording is read twice.")
    ] = False,
) -> int:
    """Write down what is said, sentence by sentence, with the emotion that each expresses.

    Whisper recognises the words. Needs the extra asr, and with --diarize the extra diarize.

    Exit code: 0 when all worked, 1 when the recording failed, 2 when the request cannot be met.
    """
    output_format = format or format_by_suffix(output)
    parse_number(diarize)
    recordings = find_recordings([path])
    if len(recordings) != 1 or Path(path).is_dir():
        raise typer.BadParameter(f"{path!r} names {len(recordings)} recordings; expected one")
    recording = recordings[0]
    if recording.problem is not None:
        raise EmovoxError(f"{recording.name}: {recording.problem}")
    if output_format is not OutputFormat.audformat:
        check_new(output, force=force, read=[recording.name] if recording.is_file else [])
    if output_format.is_label_format:
        check_label_output(output_format.value, output, recordings, is_over_time=True, force=force)
    options = PredictOptions(
        labels=labels, channels=channels, vad=vad.value, profile=load_profile(profile), adapt=adapt
    )
    if options.channels == "each":
        raise typer.BadParameter(
            "--channels each: expected mix or the number of one; run it once per channel"
        )
    from emovox.inference.recognizer import load
    from emovox.speech.recognition import open_recognizer, predict_transcript
    from emovox.transcripts.speakers import SpeakerTotals

    recognizer = load(model)
    options = recognizer.check(options)
    speech_recognizer = open_recognizer(asr)
    source: Source = read_stdin() if recording.name == STDIN else recording.name
    turns = None if diarize is None else find_turns(source, options, diarize, speaker_model)
    names = sorted({one.speaker or "" for one in turns or ()})
    totals, report = SpeakerTotals(), ReadReport()
    is_folder = output_format is OutputFormat.audformat
    with ExitStack() as stack:
        stream = stack.enter_context(open_output(None if is_folder else output, output_format, force=force))
        writer = make_writer(
            stream,
            output_format,
            output,
            recordings,
            tuple(options.labels or ()),
            recognizer.targets,
            top=top or 1,
            channels=options.channels != "mix",
            spans=True,
            speakers=names,
        )
        stack.callback(writer.end)
        progress, bar = stack.enter_context(reading_progress(source))
        rows = predict_transcript(
            recognizer,
            source,
            speech_recognizer,
            options=options,
            language=language,
            turns=turns,
            report=report,
            progress=progress,
        )
        try:
            for result in rows:
                row = {**result.to_dict(), "file": recording.name}
                totals.add(row)
                if stream.isatty():
                    bar.hide()
                with uninterrupted():
                    writer.row(keep_top(row, None if output_format is OutputFormat.table else top))
        except KeyboardInterrupt:
            say("interrupted; the rows so far are complete")
            return 130
        except EmovoxError as error:
            say(str(error))
            return 1
        if diarize is not None and output_format is OutputFormat.table:
            stream.writelines(f"{line}\n" for line in ["", *format_speakers(totals.summaries())])
    if report.warnings:
        say(f"{recording.name}: {', '.join(sorted(report.warnings))} (see docs/recordings.md)")
    if not totals.summaries():
        say(f"{recording.name}: no words were recognised")
    return 0
