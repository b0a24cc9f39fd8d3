"""``emovox mcp``: tools for agents over the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emovox.errors import MissingExtraError

__all__ = ["mcp"]


def mcp(
    allow: Annotated[
        list[Path],
        typer.Option("--allow", metavar="FOLDER", help="Recordings below it may be read; repeatable."),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="BUNDLE", help="As for predict; repeatable [all that come along]."),
    ] = None,
    max_mb: Annotated[float, typer.Option("--max-mb", metavar="MB", help="Limit for one file.")] = 500.0,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", metavar="S", help="Limit for one recording.")
    ] = 3600.0,
) -> int:
    """Serve the tools predict, timeline and models to an agent over stdin and stdout.  docs/agents.md

    Only recordings below the allowed folders are read; links that lead out are refused, and nothing is
    written or sent. The agent's program starts the command and ends it. Needs the extra mcp.
    """
    try:
        from emovox.mcp_server import create_server
    except ModuleNotFoundError as error:
        if str(error.name).startswith("emovox"):
            raise
        raise MissingExtraError("emovox mcp", "mcp") from None
    create_server(allow, models=model, max_mb=max_mb, max_s=max_seconds).run()
    return 0
