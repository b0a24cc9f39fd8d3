"""Label files of the commands: segments that are read, formats that are written, tables of speakers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from emovox.cli.outputs import check_writable
from emovox.cli.sources import AudioPath
from emovox.cli.terminal import clean, pad, say, width
from emovox.transcripts import LABEL_FORMATS

if TYPE_CHECKING:
    from emovox.transcripts.reading import Transcript
    from emovox.transcripts.speakers import SpeakerSummary

__all__ = ["check_label_output", "format_speakers", "read_segments"]

_SHOWN = 5
"""Problems of a file that are printed one by one."""


def read_segments(file: Path, recordings: Sequence[AudioPath], tier: str | None) -> Transcript:
    """Read the file of ``--segments``, and print what in it is no segment.

    Raises:
        typer.BadParameter: there are several recordings.
        TranscriptError: it cannot be read.
    """
    from emovox.transcripts.reading import read_transcript

    if len(recordings) != 1:
        raise typer.BadParameter(f"--segments is of one recording; got {len(recordings)}")
    found = read_transcript(file, recording=recordings[0].name, tier=tier)
    for problem in found.problems[:_SHOWN]:
        say(f"{file}: {problem}")
    if len(found.problems) > _SHOWN:
        say(f"{file}: {len(found.problems) - _SHOWN} more parts are no segments")
    return found


def check_label_output(
    name: str, output: Path | None, recordings: Sequence[AudioPath], *, is_over_time: bool, force: bool
) -> None:
    """Refuse a label format that cannot hold what is asked for.

    Raises:
        typer.BadParameter: results without times, several recordings in a file of one, a wrong folder.
        MissingExtraError: audformat is not installed.
    """
    if not is_over_time:
        raise typer.BadParameter(f"--format {name} is of segments; add --timeline or --segments FILE")
    if name in LABEL_FORMATS and name != "rttm" and len(recordings) > 1:
        raise typer.BadParameter(
            f"a {name} file is of one recording; got {len(recordings)}: name one, or use rttm, csv or jsonl"
        )
    if name != "audformat":
        return
    from emovox.transcripts.audformat_database import load_audformat

    if output is None:
        raise typer.BadParameter("--format audformat writes a folder; name it with -o")
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not force)):
        raise typer.BadParameter(f"-o {str(output)!r} exists; name a new folder, or add --force")
    check_writable(output)
    load_audformat()


def format_speakers(summaries: Iterable[SpeakerSummary]) -> Iterator[str]:
    """Yield the lines of a table for people: what each speaker expressed."""
    found = list(summaries)
    names = [clean(one.speaker or "(none)") for one in found]
    columns = max(map(width, ["speaker", *names]))
    yield f"{pad('speaker', columns)}  segments     length  expressed"
    for name, one in zip(names, found, strict=True):
        reasons = {f"({reason.replace('_', ' ')})": share for reason, share in one.unlabelled.items()}
        shares = "  ".join(f"{label} {share:.0%}" for label, share in {**one.shares, **reasons}.items())
        shares += "  ".join(f"{target} {value:.2f}" for target, value in (one.values or {}).items())
        failed = f"  {one.n_failed} failed" if one.n_failed else ""
        numbers = f"{one.n_segments:>8}  {one.duration_s:>7.1f} s"
        yield f"{pad(name, columns)}  {numbers}  {shares}{failed}".rstrip()
