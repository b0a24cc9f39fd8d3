"""``emovox enroll``: learn a voice, as a file of statistics that ``emovox predict --profile`` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.audio import SAMPLE_RATE
from emovox.cli.outputs import check_new
from emovox.cli.sources import Source, expand
from emovox.cli.terminal import Progress, say
from emovox.errors import EmovoxError

if TYPE_CHECKING:
    from emovox.inference.adaptation import Profile
    from emovox.inference.recognizer import Recognizer

__all__ = ["enroll"]


def enroll(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Recordings of one speaker: files, folders, patterns."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The profile to write, such as me.json.")
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
    ] = "default",
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look in folders below folders too.")
    ] = False,
) -> int:
    """Learn a voice: statistics of its features, never its sound.

    Varied speech teaches most; labels are not needed. Exit code: 0 when all recordings were learnt from, 1
    when some could not be (the others are), 2 when nothing could, and nothing is written.
    """
    from emovox.bundles import registry

    sources = expand(paths, recursive=recursive)
    check_new(output, force=force, read=[source.name for source in sources if source.is_file])
    recognizer = registry.load(model)
    recognizer.stream(sample_rate=SAMPLE_RATE, adapt=True)  # a model that can use no profile says so first
    profile, failed = _learnt(recognizer, sources)
    if profile is None:
        raise EmovoxError(f"nothing was learnt, so {str(output)!r} is not written")
    profile.save(output)
    learnt = f"{profile.n_clips} clips, {profile.seconds:.1f} s"
    typer.echo(f"{output}: {learnt}; for models on {profile.features.set}, such as {profile.model}")
    return 1 if failed else 0


def _learnt(model: Recognizer, sources: Sequence[Source]) -> tuple[Profile | None, int]:
    """What all usable recordings teach together, and how many are not usable."""
    profile: Profile | None = None
    progress, failed = Progress(len(sources), enabled=len(sources) > 1), 0
    try:
        for done, (source, found) in enumerate(_each(model, sources), 1):
            if isinstance(found, str):
                progress.hide()
                say(f"{source.name}: {found.removeprefix(f'{source.name}: ')}")
                failed += 1
            else:
                profile = found if profile is None else profile.merged(found)
            progress.at(done)
    finally:
        progress.hide()
    return profile, failed


def _each(model: Recognizer, sources: Sequence[Source]) -> Iterator[tuple[Source, Profile | str]]:
    """The profile of each recording, or why there is none."""
    for source in sources:
        if not source.is_file:
            yield source, source.problem or "a profile is learnt from files, not from standard input"
            continue
        try:
            yield source, model.enroll([source.name])
        except (EmovoxError, OSError) as error:
            yield source, str(error)
