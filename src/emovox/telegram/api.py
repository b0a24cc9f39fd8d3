"""How are Telegram's methods called? Patiently, within bounds, and by a token that nobody sees.

Source: https://core.telegram.org/bots/api. The token is part of every address, hence no address, and no error
of the HTTP library, which may name one, leaves this file; see `hidden`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, BinaryIO

from emovox.errors import BotError, ConfigError, MissingExtraError

__all__ = ["BASE_URL", "FIRST_WAIT_S", "Api", "LaterError", "TooBigError", "hidden"]

BASE_URL = "https://api.telegram.org"

FIRST_WAIT_S = 1.0
"""When the network fails, it is tried again after this time, then after twice as long, and so on."""

_POLL_S = 50
"""Telegram holds a question for news so long, when there are none."""
_TIMEOUT_S = 30.0
_TRIES = 5
_LONGEST_WAIT_S = 3600.0
"""Of what Telegram asks for, at a stretch."""
_PATIENCE_S = 10.0
"""A longer wait than this is broken off when the bot is to stop."""
_LIBRARIES = ("httpx", "httpcore", "httpcore.connection", "httpcore.http11", "httpcore.http2", "asyncio")

_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")

_log = logging.getLogger("emovox.telegram")


class TooBigError(BotError):
    """A file is bigger than was allowed."""


class LaterError(BotError):
    """It may work later: after ``wait_s``, if that is known."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Api:
    """One bot's view of Telegram. Use it as an asynchronous context.

    Args:
        token: of the bot, as Telegram's BotFather gave it.
        base_url: of another server of the Bot API.

    Raises:
        ConfigError: the token or the address cannot be one.
        MissingExtraError: httpx is not installed.
    """

    def __init__(self, token: str, base_url: str = BASE_URL) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("the bot", "bot") from error
        if not _TOKEN.fullmatch(token):
            raise ConfigError("the token is none; expected digits, a colon and letters, as of BotFather")
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"the address of the Bot API is {base_url!r}; expected one with https://")
        self._httpx = httpx
        self._token = token
        self._client = httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT_S)
        self._hurried = asyncio.Event()

    def __repr__(self) -> str:
        return "Api()"

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def call(
        self, method: str, fields: Mapping[str, Any] | None = None, *, picture: bytes | None = None
    ) -> Any:
        """The result of a method. Waits as long as it is told to, and tries again when the network fails.

        Args:
            fields: its parameters; ``None`` ones are left out.
            picture: a PNG that goes with them as ``photo``.

        Raises:
            BotError: Telegram refuses, cannot be reached at all, or puts off for long what is to `hurry`.
        """
        given = {name: value for name, value in (fields or {}).items() if value is not None}
        for n in range(1, _TRIES + 1):
            try:
                return await self._once(method, given, picture)
            except LaterError as later:
                wait_s = FIRST_WAIT_S * 2 ** (n - 1) if later.wait_s is None else later.wait_s
                if n == _TRIES or not await self._waited(method, wait_s):
                    raise BotError(str(later)) from None
        raise AssertionError("unreachable")

    def hurry(self) -> None:
        """From now on, wait for nothing that takes long: what Telegram puts off, or did, fails."""
        self._hurried.set()

    async def _waited(self, method: str, wait_s: float) -> bool:
        """Wait until a method may be called again; false, and at once, when there is no time for that."""
        _log.info("%s: not now; again in %.0f s", method, wait_s)
        if wait_s <= _PATIENCE_S:
            await asyncio.sleep(wait_s)
            return True
        try:
            await asyncio.wait_for(self._hurried.wait(), wait_s)
        except TimeoutError:
            return True
        return False

    async def name(self) -> str:
        """What the bot is called. Tries once; raises as `updates`."""
        me = await self._once("getMe", {}, None)
        return str(me.get("username", "")) if isinstance(me, dict) else ""

    async def updates(self, offset: int | None) -> list[dict[str, Any]]:
        """Messages since the one numbered ``offset``; waits until there are some, or for a while. Tries once.

        Raises:
            LaterError: Telegram cannot be reached, or is busy.
            BotError: it refuses.
        """
        fields = {"offset": offset, "timeout": _POLL_S, "allowed_updates": ["message"]}
        given = {name: value for name, value in fields.items() if value is not None}
        found = await self._once("getUpdates", given, None, timeout_s=_POLL_S + _TIMEOUT_S)
        updates = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [one for one in updates if isinstance(one.get("update_id"), int)]

    async def confirm(self, offset: int) -> None:
        """Tell Telegram that what came before ``offset`` is dealt with, if it can be told."""
        with suppress(BotError):
            await self._once("getUpdates", {"offset": offset, "timeout": 0, "limit": 1}, None)

    async def download(self, file_id: str, target: BinaryIO, *, most_bytes: int) -> None:
        """Write a file that somebody sent to ``target``, as it comes.

        Raises:
            TooBigError: there is more than that.
            BotError: Telegram refuses, or cannot be reached.
        """
        told = await self.call("getFile", {"file_id": file_id})
        path = told.get("file_path") if isinstance(told, dict) else None
        if not isinstance(path, str) or path.startswith("/"):
            raise BotError("Telegram does not say where the file is")
        for n in range(1, _TRIES + 1):
            try:
                await self._download_once(path, target, most_bytes)
            except self._httpx.HTTPError as error:
                if n == _TRIES:
                    raise BotError(f"the file did not come whole ({type(error).__name__})") from None
                await asyncio.sleep(FIRST_WAIT_S * 2 ** (n - 1))
            else:
                return

    async def _download_once(self, path: str, target: BinaryIO, most_bytes: int) -> None:
        target.seek(0)
        target.truncate()
        async with self._client.stream("GET", f"/file/bot{self._token}/{path}") as answer:
            if answer.status_code >= 500:
                raise self._httpx.ReadError("busy")
            if answer.status_code != 200:
                raise BotError(f"Telegram does not give the file ({answer.status_code})")
            n = 0
            async for chunk in answer.aiter_bytes():
                n += len(chunk)
                if n > most_bytes:
                    raise TooBigError(f"the file is bigger than {most_bytes / 1e6:g} MB")
                target.write(chunk)

    async def _once(
        self, method: str, fields: Mapping[str, Any], picture: bytes | None, *, timeout_s: float = _TIMEOUT_S
    ) -> Any:
        words = {n: v if isinstance(v, str) else json.dumps(v) for n, v in fields.items()}
        files = None if picture is None else {"photo": ("emotions.png", picture, "image/png")}
        try:
            answer = await self._client.post(
                f"/bot{self._token}/{method}", data=words, files=files, timeout=timeout_s
            )
            told = answer.json()
            if not isinstance(told, dict):
                raise ValueError
        except self._httpx.HTTPError as error:
            raise LaterError(f"{method}: the network failed ({type(error).__name__})") from None
        except ValueError:  # a page of some proxy's
            raise LaterError(f"{method}: got no answer of the Bot API ({answer.status_code})") from None
        if told.get("ok") is True:
            return told.get("result")
        raise _refused(method, told, answer.status_code)


def _refused(method: str, told: Mapping[str, Any], status: int) -> BotError:
    code = told.get("error_code", status)
    message = f"{method}: {told.get('description', 'refused')} ({code})"
    parameters = told.get("parameters")
    wait_s = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if isinstance(wait_s, int | float):
        return LaterError(message, min(max(0.0, wait_s), _LONGEST_WAIT_S))
    if isinstance(code, int) and code >= 500:
        return LaterError(message)
    return BotError(message)


@contextmanager
def hidden(token: str) -> Iterator[None]:
    """No log line, at any level, shows the token: neither ours nor one of the libraries below us."""
    veil = _Veil(token)
    loggers = [_log, *map(logging.getLogger, _LIBRARIES)]
    for logger in loggers:
        logger.addFilter(veil)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(veil)


class _Veil(logging.Filter):
    """Writes ``<token>`` where the token would stand, in the message and in the traceback."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(self._token, "<token>"), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:  # a formatter that finds this text writes no traceback of its own
            record.exc_text = record.exc_text.replace(self._token, "<token>")
            record.exc_info = None
        return True
