"""``emovox explain``: which seconds and which frequency bands of a recording decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.options import ModelName, ProfileFile, ReplaceOutput
from emovox.cli.plot.common import check_output, write
from emovox.cli.predict import load_profile
from emovox.cli.sources import find_recordings
from emovox.cli.terminal import clean, progress_bar
from emovox.errors import EmovoxError, MissingExtraError

__all__ = ["explain"]


def explain(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A recording.")],
    label: Annotated[
        str | None, typer.Option("--label", metavar="NAME", help="Explain this one, not the likeliest.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A figure: .png, .svg, .pdf, or .html page."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all values as JSON.")] = False,
    start_s: Annotated[
        float, typer.Option("--start-s", min=0.0, metavar="S", help="Start of the part.")
    ] = 0.0,
    end_s: Annotated[
        float | None, typer.Option("--end-s", metavar="S", help="End of the part; else the end.")
    ] = None,
    channels: Annotated[
        str, typer.Option("--channels", metavar="mix|N", help="Which channel; N counts from 0.")
    ] = "mix",
    model: ModelName = "default",
    profile: ProfileFile = None,
    force: ReplaceOutput = False,
) -> int:
    """Find which seconds and which frequency bands decided for a label.

    Parts of the sound are replaced by the quiet noise of the clip, one by one, and the model is run again, up
    to 185 times: a few seconds for a clip of three. A recording longer than 30 s is refused: name a part of
    it.

    Exit code: 0 when it was explained, 2 when it cannot be.
    """
    if output is not None:
        from emovox.reports.figures import has_matplotlib

        check_output(output, force=force)
        if not has_matplotlib():  # reported before the work, not after it
            raise MissingExtraError("drawing a figure", "plot")
    (recording, *others) = find_recordings([path])
    if others or not recording.is_file or Path(path).is_dir():
        problem = None if others else recording.problem
        raise EmovoxError(f"{path}: {problem or 'expected one recording, in a file'}")
    known = load_profile(profile)
    from emovox.audio import parse_channels
    from emovox.inference.recognizer import load

    recognizer, of_channel = load(model), parse_channels(channels)
    with progress_bar() as progress:
        found = recognizer.explain(
            recording.name,
            label,
            start_s=start_s,
            end_s=end_s,
            channels=of_channel,
            profile=known,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1, allow_nan=False))
    else:
        typer.echo(clean(str(found)))
    if output is None:
        return 0
    from emovox.reports.figures.explanation import draw_explanation, read_explained

    figure = draw_explanation(found, read_explained(found, recording.name))
    return write(figure, output, clean(str(found)))
