"""Options of the commands that recognise speech or speakers, and what they do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.audio import Source, probe
from emovox.cli.sources import STDIN, AudioPath
from emovox.cli.terminal import Progress
from emovox.errors import EmovoxError
from emovox.inference.options import PredictOptions

if TYPE_CHECKING:
    from emovox.results import TranscriptSegment
    from emovox.transcripts.reading import Transcript

__all__ = [
    "Asr",
    "Diarize",
    "Language",
    "SpeakerModel",
    "diarize_recording",
    "find_turns",
    "parse_number",
    "reading_progress",
]

Asr = Annotated[
    str | None,
    typer.Option(
        "--asr",
        metavar="MODEL",
        help="Whisper model: a folder, or a name such as base, which is downloaded unless it is here. "
        "Default: base, if it is here.",
    ),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="Such as en; else it is detected.")
]
Diarize = Annotated[
    str | None,
    typer.Option(
        "--diarize",
        metavar="N|auto",
        help="Find who speaks: the number of speakers, or auto, which is much less certain.",
    ),
]
SpeakerModel = Annotated[
    Path | None,
    typer.Option(
        "--speaker-model", metavar="FILE", help="With --diarize: .onnx for sherpa-onnx; else Resemblyzer."
    ),
]


def parse_number(diarize: str | None) -> int | None:
    """Return the number of speakers of ``--diarize``; ``None`` for ``auto``.

    Raises:
        typer.BadParameter: it is neither.
    """
    from emovox.speech.diarization import MAX_SPEAKERS

    if diarize in (None, "auto"):
        return None
    if diarize.isascii() and diarize.isdecimal() and 1 <= int(diarize[:9]) <= MAX_SPEAKERS:
        return int(diarize)
    raise typer.BadParameter(
        f"--diarize {diarize!r}: expected the number of speakers, 1 to {MAX_SPEAKERS}, or auto"
    )


def find_turns(
    source: Source, options: PredictOptions, diarize: str, speaker_model: Path | None
) -> list[TranscriptSegment]:
    """Find who speaks when, with a progress bar.

    Raises:
        EmovoxError: the recording or the speaker model cannot be used.
    """
    from emovox.speech.diarization import diarize as find
    from emovox.speech.diarization import open_speaker_encoder

    number, encoder = parse_number(diarize), open_speaker_encoder(speaker_model)
    with reading_progress(source) as (progress, _):
        return find(
            source,
            encoder,
            channels=options.channels,
            n_speakers=number,
            vad=options.vad != "off",
            progress=progress,
        )


def diarize_recording(
    recordings: Sequence[AudioPath], options: PredictOptions, diarize: str, speaker_model: Path | None
) -> Transcript:
    """Find the turns of the one recording, as a transcript without text.

    Raises:
        typer.BadParameter: there is not one recording in a file.
        EmovoxError: it or the speaker model cannot be used.
    """
    from emovox.transcripts.reading import Transcript

    if len(recordings) != 1 or recordings[0].name == STDIN:
        raise typer.BadParameter(f"--diarize is of one recording in a file; got {len(recordings)}")
    if recordings[0].problem is not None:
        raise EmovoxError(f"{recordings[0].name}: {recordings[0].problem}")
    turns = find_turns(recordings[0].name, options, diarize, speaker_model)
    return Transcript(tuple(turns), "rttm")


@contextmanager
def reading_progress(source: Source) -> Iterator[tuple[Callable[[float], None], Progress]]:
    """Show a bar for callbacks with the seconds of a recording that were read; also yield the bar."""
    try:
        duration_s = probe(source).duration_s
    except EmovoxError:  # the work itself reports it
        duration_s = None
    bar = Progress(1, enabled=duration_s is not None)

    def show(seconds: float) -> None:
        bar.at(min(seconds / duration_s, 1.0) if duration_s else 0.0)

    try:
        yield show, bar
    finally:
        bar.hide()
