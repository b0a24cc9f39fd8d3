"""Options that several commands have in common: one name, one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Labels", "ModelName", "OnOff", "OutputFile", "ProfileFile", "ReplaceOutput", "Vad"]


class OnOff(StrEnum):
    """On or off."""

    on = "on"
    off = "off"


Labels = Annotated[
    str | None, typer.Option("--labels", metavar="A,B", help="Decide among these labels only.")
]
ModelName = Annotated[
    str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here, not to stdout.")
]
ProfileFile = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE", help="The speaker or source: a file of `emovox enroll`."),
]
ReplaceOutput = Annotated[bool, typer.Option("--force", help="Let -o replace an existing file.")]
Vad = Annotated[OnOff, typer.Option("--vad", help="Voice activity detection.")]
