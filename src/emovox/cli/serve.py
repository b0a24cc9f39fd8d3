"""``emovox serve``: the recogniser over HTTP and WebSocket, with a page for browsers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.terminal import say
from emovox.errors import ConfigError, MissingExtraError

__all__ = ["serve"]


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 admits other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="BUNDLE", help="As for predict; several times for several."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="Predictions at a time in each [cores/workers]."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="NAME", help="Require the key in this environment variable."),
    ] = None,
    max_upload_mb: Annotated[
        float, typer.Option("--max-upload-mb", metavar="MB", help="Limit for a request, all files together.")
    ] = 25.0,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", metavar="S", help="Limit for one recording.")
    ] = 600.0,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N", help="Requests per minute and client [no limit]."),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", min=0, metavar="N", help="Predictions that may wait in each process.")
    ] = 32,
    max_streams: Annotated[
        int,
        typer.Option("--max-streams", min=1, metavar="N", help="Live sessions at a time in each process."),
    ] = 64,
    profiles: Annotated[
        Path | None,
        typer.Option("--profiles", metavar="DIR", help="Folder of voice profiles for ?profile=NAME."),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", metavar="RULE", help="Of live sessions, for --webhook: angry>0.8:2s. Repeatable."
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Send the events of --on to it, signed.")
    ] = None,
    webhook_host: Annotated[
        list[str] | None,
        typer.Option("--webhook-host", metavar="HOST", help="Hosts that events may be sent to. Repeatable."),
    ] = None,
    webhook_key_env: Annotated[
        str | None,
        typer.Option("--webhook-key-env", metavar="NAME", help="Sign with the key in this variable."),
    ] = None,
    log_level: Annotated[
        str, typer.Option("--log-level", metavar="debug|info|warning|error", help="JSON lines on stderr.")
    ] = "info",
) -> int:
    """Serve predictions over HTTP and WebSocket, and a page.  docs/serve.md

    Nothing that is sent is kept. Ctrl-C or SIGTERM stops it, once accepted requests are answered.
    """
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f"--log-level {log_level!r}: expected debug, info, warning or error")
    from emovox.bundles import read_spec, registry
    from emovox.inference.triggers import Triggers
    from emovox.server.settings import ServerSettings

    settings = ServerSettings(
        host=host,
        port=port,
        models=tuple(model or ["default"]),
        workers=workers,
        threads=threads or max(1, (os.cpu_count() or 1) // workers),
        queue=queue,
        api_key=_read_key(api_key_env, "--api-key-env"),
        max_upload_mb=max_upload_mb,
        max_seconds=max_seconds,
        rate=rate,
        max_streams=max_streams,
        profiles=profiles,
        rules=tuple(on or ()),
        webhook=webhook,
        webhook_hosts=tuple(webhook_host or ()),
        webhook_key=_read_key(webhook_key_env, "--webhook-key-env"),
    )
    specs = [read_spec(registry.find(name)) for name in settings.models]
    Triggers(settings.rules, specs[0].labels)  # what is wrong is reported here once, not by every process
    try:
        from emovox.server import server, webhooks
    except ImportError as error:
        if isinstance(error, MissingExtraError) or str(error.name).startswith("emovox"):
            raise
        raise MissingExtraError("emovox serve", "serve") from None
    webhooks.make_sender(settings, lambda _: None)
    if not settings.is_loopback and settings.api_key is None:
        say(f"anyone who can reach {host} may use this server; require a key with --api-key-env NAME")
    server.run(settings, level=log_level, on_start=_print_url)
    return 0


def _print_url(url: str) -> None:
    typer.echo(f"emovox listens at {url}   (open it in a browser; Ctrl-C stops it)")


def _read_key(name: str | None, option: str) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()  # a file may end with a newline
    if not key:
        raise ConfigError(
            f"the environment variable {name!r} that {option} names is empty; set it to the key, for "
            f'example:  export {name}="$(openssl rand -hex 32)"'
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key in the environment variable {name!r} has characters that a header cannot contain; "
            "expected printable ASCII, as made by openssl rand -hex 32"
        )
    return key
