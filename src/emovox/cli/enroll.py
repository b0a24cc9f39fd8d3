"""``emovox enroll``: statistics of a speaker or source, for ``emovox predict --profile``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.options import ModelName, ReplaceOutput
from emovox.cli.outputs import check_new
from emovox.cli.sources import find_recordings
from emovox.cli.terminal import Progress, say
from emovox.errors import EmovoxError
from emovox.inference.options import PredictOptions

if TYPE_CHECKING:
    from emovox.inference.adaptation import Profile

__all__ = ["Emotion", "enroll"]


class Emotion(StrEnum):
    """The emotion of all recordings, if it is known."""

    neutral = "neutral"


def enroll(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Recordings of one speaker: files, folders, patterns."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The profile to write, such as me.json.")
    ],
    model: ModelName = "default",
    emotion: Annotated[
        Emotion | None,
        typer.Option("--emotion", help="When all are neutral, which harms on some sources."),
    ] = None,
    force: ReplaceOutput = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also read the folders below folders.")
    ] = False,
) -> int:
    """Learn statistics of a speaker or source, never its sound.

    Varied speech teaches most; labels are not needed. Neutral speech alone makes answers worse on some
    sources (docs/enrolment.md). Exit code: 0 when all recordings were usable, 1 when some were not (the
    profile is of the others), 2 when none was, and nothing is written.
    """
    from emovox.inference.recognizer import load

    recordings = find_recordings(paths, recursive=recursive)
    check_new(output, force=force, read=[one.name for one in recordings if one.is_file])
    recognizer = load(model)
    recognizer.check(PredictOptions(adapt=True))  # a model that cannot be adapted is refused first
    profile: Profile | None = None
    n_failed = 0
    progress = Progress(len(recordings), enabled=len(recordings) > 1)
    try:
        for done, recording in enumerate(recordings, 1):
            try:
                if not recording.is_file:
                    raise EmovoxError(recording.problem or "a profile is learnt from files, not from stdin")
                found = recognizer.enroll(
                    [recording.name], emotion=None if emotion is None else emotion.value
                )
                profile = found if profile is None else profile.merge(found)
            except (EmovoxError, OSError) as error:
                progress.hide()
                say(f"{recording.name}: {str(error).removeprefix(f'{recording.name}: ')}")
                n_failed += 1
            progress.at(done)
    finally:
        progress.hide()
    if profile is None:
        raise EmovoxError(f"nothing was learnt, so {str(output)!r} is not written")
    profile.save(output)
    if emotion is not None:
        say("neutral speech alone makes answers worse on some sources (docs/enrolment.md)")
    learnt = f"{profile.n_clips} clips, {profile.seconds:.1f} s"
    typer.echo(f"{output}: {learnt}; for models on {profile.features.set}, such as {profile.model}")
    return 1 if n_failed else 0
