"""``emovox report``: the page of a call, one file with player, speakers and transcript."""

from __future__ import annotations

import datetime
import os
import urllib.parse
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox._files import write_text
from emovox.audio import ReadReport
from emovox.cli.label_files import read_segments
from emovox.cli.options import Labels, ModelName, OnOff, ProfileFile, ReplaceOutput, Vad
from emovox.cli.outputs import check_new
from emovox.cli.predict import load_profile
from emovox.cli.sources import find_recordings
from emovox.cli.speech import (
    Asr,
    Diarize,
    Language,
    SpeakerModel,
    find_turns,
    parse_number,
    reading_progress,
)
from emovox.cli.terminal import clock, say
from emovox.errors import EmovoxError
from emovox.inference.options import PredictOptions

if TYPE_CHECKING:
    from emovox.inference.recognizer import Recognizer

__all__ = ["AudioMode", "report"]


class AudioMode(StrEnum):
    """How a page gets its sound."""

    embed = "embed"
    link = "link"
    none = "none"


def report(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A recording.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page, .html.")],
    segments: Annotated[
        Path | None,
        typer.Option(
            "--segments", metavar="FILE", help="Segments, text and speakers, as for `emovox predict`."
        ),
    ] = None,
    tier: Annotated[
        str | None, typer.Option("--tier", metavar="NAME", help="Of a TextGrid or ELAN file: read this tier.")
    ] = None,
    transcribe: Annotated[
        bool, typer.Option("--transcribe", help="Recognise the words, as `emovox transcribe` does.")
    ] = False,
    asr: Asr = None,
    language: Language = None,
    diarize: Diarize = None,
    speaker_model: SpeakerModel = None,
    audio: Annotated[
        AudioMode,
        typer.Option("--audio", help="The sound: in the page as MP3, linked by its path, or left out."),
    ] = AudioMode.embed,
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="Default: the name of the recording.")
    ] = None,
    force: ReplaceOutput = False,
    labels: Labels = None,
    channels: Annotated[
        str, typer.Option("--channels", metavar="mix|each|N", help="Which channels; N counts from 0.")
    ] = "mix",
    model: ModelName = "default",
    vad: Vad = OnOff.on,
    profile: ProfileFile = None,
    adapt: Annotated[bool, typer.Option("--adapt", help="Adapt the model to each speaker.")] = False,
) -> int:
    """Write the page of a call: player, waveform, a lane for each speaker, transcript with emotions.

    The page is one file that needs no network. Without --segments, --transcribe or --diarize it shows a
    timeline of the emotions; with --channels each, one lane for each channel.

    Exit code: 0 when it was written, 2 when the request cannot be met.
    """
    parse_number(diarize)
    if output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"-o {str(output)!r}: expected a name that ends with .html")
    if segments is not None and (transcribe or diarize is not None):
        raise typer.BadParameter(
            "--segments brings its own text and speakers; leave --transcribe and --diarize out"
        )
    if not transcribe and (asr is not None or language is not None):
        raise typer.BadParameter("--asr and --language are options of --transcribe; add --transcribe")
    if segments is None and tier is not None:
        raise typer.BadParameter("--tier is an option of --segments; add --segments FILE")
    recordings = find_recordings([path])
    if len(recordings) != 1 or not recordings[0].is_file or Path(path).is_dir():
        problem = recordings[0].problem if len(recordings) == 1 and recordings[0].problem else None
        raise EmovoxError(f"{path}: {problem or 'expected one recording, in a file'}")
    source = recordings[0].name
    check_new(output, force=force, read=[source] if segments is None else [source, segments])
    options = PredictOptions(
        labels=labels,
        channels=channels,
        vad=vad.value,
        profile=load_profile(profile),
        adapt=adapt,
        timeline=segments is None and not transcribe and diarize is None,
    )
    if options.channels == "each" and not options.timeline:
        raise typer.BadParameter("--channels each is for a timeline; with segments, name one channel or mix")
    if segments is not None:
        options = _with_segments(options, read_segments(segments, recordings, tier).segments)
    from emovox.inference.recognizer import load
    from emovox.reports.call import call_html
    from emovox.reports.sound import summarize_sound

    recognizer = load(model)
    options = recognizer.check(options)
    report_ = ReadReport()
    turns = None if diarize is None else find_turns(source, options, diarize, speaker_model)
    if transcribe:
        rows = list(_transcribed(recognizer, source, options, asr, language, turns, report_))
    else:
        rows = list(
            _predicted(
                recognizer, source, options if turns is None else _with_segments(options, turns), report_
            )
        )
    sound = summarize_sound(source, encode=audio is AudioMode.embed)
    address = sound.data_url
    if audio is AudioMode.link or (audio is AudioMode.embed and address is None):
        address = urllib.parse.quote(os.path.relpath(source, output.parent).replace(os.sep, "/"))
    if audio is AudioMode.embed and sound.data_url is None:
        say(f"{source}: {sound.problem}; the page links to the file instead, which has to stay where it is")
    failed = sum("error" in row for row in rows)
    facts = [
        clock(sound.duration_s),
        _count(rows, "segment"),
        f"model {recognizer.name} {recognizer.spec.version}",
    ]
    facts += [f"{failed} segments could not be predicted"] if failed else []
    facts += sorted(name.replace("_", " ") for name in report_.warnings)
    facts.append(f"written on {datetime.date.today().isoformat()}")
    document = {
        "title": title or Path(source).name,
        "facts": facts,
        "duration_s": sound.duration_s,
        "segments": rows,
        "peaks": sound.peaks,
        "audio": address if audio is not AudioMode.none else None,
    }
    write_text(output, call_html(document))
    say(f"written: {output}, {output.stat().st_size / 1e6:.1f} MB, {_count(rows, 'segment')}")
    return 0


def _with_segments(options: PredictOptions, segments: Iterable[Any]) -> PredictOptions:
    from dataclasses import replace

    return replace(options, segments=tuple(segments), timeline=False)


def _transcribed(
    recognizer: Recognizer,
    source: str,
    options: PredictOptions,
    asr: str | None,
    language: str | None,
    turns: list[Any] | None,
    report_: ReadReport,
) -> Iterator[dict[str, Any]]:
    from emovox.speech.recognition import open_recognizer, predict_transcript

    with reading_progress(source) as (progress, _):
        for result in predict_transcript(
            recognizer,
            source,
            open_recognizer(asr),
            options=options,
            language=language,
            turns=turns,
            report=report_,
            progress=progress,
        ):
            yield result.to_dict()


def _predicted(
    recognizer: Recognizer, source: str, options: PredictOptions, report_: ReadReport
) -> Iterator[dict[str, Any]]:
    from emovox.results import Prediction

    for result, _ in recognizer.results(source, options, report=report_):
        if not isinstance(result, Prediction):  # a channel without speech has no segments
            yield result.to_dict()


def _count(rows: list[Any], noun: str) -> str:
    return f"{len(rows)} {noun}" + ("" if len(rows) == 1 else "s")
