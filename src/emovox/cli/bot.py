"""``emovox bot telegram``: a bot that answers voice messages."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.groups import Group
from emovox.errors import ConfigError
from emovox.telegram.api import BASE_URL, Api, hidden
from emovox.telegram.bot import Bot, BotSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from emovox.inference.recognizer import Recognizer

__all__ = ["TOKEN", "app", "telegram"]

TOKEN = "EMOVOX_TELEGRAM_TOKEN"
"""The environment variable that holds the token; on a command line others could read it."""

app = typer.Typer(
    name="bot",
    cls=Group,
    help="Bots that answer voice messages with the expressed emotion (extra bot).",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def _group() -> None:
    pass  # without it, typer would make the only command the group itself


@app.command()
def telegram(
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
    ] = "default",
    base_url: Annotated[
        str, typer.Option("--base-url", metavar="URL", help="Of another server of the Bot API.")
    ] = BASE_URL,
    max_mb: Annotated[float, typer.Option("--max-mb", metavar="MB", help="Of a file.")] = 20.0,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", metavar="S", help="Of a recording.")
    ] = 1800.0,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", help="Recordings a minute that one user may send.")
    ] = 10.0,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="Judgements at a time [cores].")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log all there is, on stderr.")] = False,
) -> int:
    """Answer voice messages, audio, video notes and files with sound in them.  docs/bot.md

    The token is taken from the environment variable EMOVOX_TELEGRAM_TOKEN. Nothing that is sent is kept.
    Ctrl-C or SIGTERM ends it, once what it took is answered.
    """
    from emovox.bundles import registry

    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ConfigError(f"there is no token; put the one that BotFather gave you into {TOKEN}")
    settings = BotSettings(
        max_mb=max_mb, max_seconds=max_seconds, rate=rate, threads=threads or os.cpu_count() or 1
    )
    registry.find(model)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not verbose:
        logging.getLogger("emovox.telegram").setLevel(logging.INFO)
    with hidden(token):
        asyncio.run(_answer(token, base_url, partial(registry.load, model), settings))
    return 0


async def _answer(
    token: str, base_url: str, factory: Callable[[], Recognizer], settings: BotSettings
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stopped.set)
        except (NotImplementedError, RuntimeError, ValueError):  # Windows; or no main thread
            continue
    async with Api(token, base_url) as api:
        await Bot(api, factory, settings).run(stopped)
