"""``emovox bot telegram``: a bot that answers voice messages."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import Annotated

import typer

from emovox.cli.groups import Group
from emovox.cli.options import ModelName
from emovox.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "app", "telegram"]

TOKEN_VARIABLE = "EMOVOX_TELEGRAM_TOKEN"
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
    model: ModelName = "default",
    base_url: Annotated[
        str, typer.Option("--base-url", metavar="URL", help="Another server of the Bot API.")
    ] = "https://api.telegram.org",
    max_mb: Annotated[float, typer.Option("--max-mb", metavar="MB", help="Limit for a file.")] = 20.0,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", metavar="S", help="Limit for a recording.")
    ] = 1800.0,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", help="Recordings per minute and user.")
    ] = 10.0,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="Predictions at a time [cores].")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log everything, on stderr.")] = False,
) -> int:
    """Answer voice messages, audio, video notes and files with sound in them.  docs/bot.md

    The token is read from the environment variable EMOVOX_TELEGRAM_TOKEN. Recordings are not kept. Ctrl-C or
    SIGTERM ends the bot once the recordings it accepted are answered.
    """
    from emovox.bundles import read_spec, registry
    from emovox.inference.recognizer import load as load_model
    from emovox.telegram import BotSettings, TelegramBot, hide_token

    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise ConfigError(f"no token; set {TOKEN_VARIABLE} to the token that BotFather gave you")
    settings = BotSettings(
        max_mb=max_mb, max_seconds=max_seconds, rate=rate, threads=threads or os.cpu_count() or 1
    )
    if not read_spec(registry.find(model)).labels:
        raise ConfigError(f"the model {model!r} gives values alone; the bot answers with labels")
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not verbose:
        logging.getLogger("emovox.telegram").setLevel(logging.INFO)

    async def run() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows; or not the main thread
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        bot = TelegramBot(token, partial(load_model, model), settings, base_url=base_url)
        await bot.run(stopped)

    with hide_token(token):
        asyncio.run(run())
    return 0
