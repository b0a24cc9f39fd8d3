"""Messages come, answers go: which recording is judged for whom, and how often?

In a private chat every recording is answered. In a group nobody is judged unasked: the bot speaks when
somebody answers *their own* recording with ``/emotion``.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from emovox.errors import AudioError, AudioTooLongError, BotError, ConfigError, MissingExtraError
from emovox.inference.recognizer import Recognizer
from emovox.server.engine import Engine
from emovox.server.limits import Rates
from emovox.server.schemas import Refusal
from emovox.telegram import api, words
from emovox.telegram.api import Api, LaterError, TooBigError
from emovox.telegram.judging import Heard, judge
from emovox.telegram.pictures import picture

__all__ = ["Bot", "BotSettings"]

_Message: TypeAlias = dict[str, Any]

_RECORDINGS = ("voice", "audio", "video_note", "document")
_MOST_MESSAGES = 256
"""Being answered at a time; more are not fetched until some are."""
_MOST_OF_ONE = 16
"""Of those, in one chat or of one user, so that nobody takes the places of all others."""
_TEXTS_A_MINUTE = 20
"""Texts and commands that are answered in a chat. Telegram itself takes no more for a group."""
_MOST_DOWNLOADS = 8
"""At a time."""
_DRAIN_S = 30.0

_log = logging.getLogger("emovox.telegram")


@dataclass(frozen=True, slots=True, kw_only=True)
class BotSettings:
    """What an operator decides.

    Raises:
        ConfigError: a value is out of range.
    """

    max_mb: float = 20.0
    """Of a file; Telegram's own server gives none above 20. 1 MB is 1 000 000 bytes."""
    max_seconds: float = 1800.0
    """Of a recording, as decoded: decoding stops there."""
    rate: float = 10.0
    """Recordings a minute that one user may send."""
    threads: int = 2
    """Judgements at a time."""
    queue: int = 64
    """Recordings that may wait."""

    def __post_init__(self) -> None:
        for name in ("max_mb", "max_seconds", "rate", "threads"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected more than 0")
        if self.queue < 0:
            raise ConfigError(f"queue is {self.queue!r}; expected 0 or more")


class Bot:
    """A bot that listens. ``run`` it in an event loop.

    Args:
        telegram: an open connection.
        factory: opens the recogniser.
    """

    def __init__(self, telegram: Api, factory: Callable[[], Recognizer], settings: BotSettings) -> None:
        self._api, self._settings = telegram, settings
        self._engine = Engine(("model",), lambda _: factory(), threads=settings.threads, queue=settings.queue)
        self._rates = Rates(settings.rate)
        self._texts = Rates(_TEXTS_A_MINUTE)
        self._warnings = Rates(1)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._name = ""
        self._offset: int | None = None
        self._downloads = asyncio.Semaphore(_MOST_DOWNLOADS)
        self._drawing = asyncio.Lock()  # matplotlib's settings are one for all threads
        self._room = asyncio.Semaphore(_MOST_MESSAGES)
        self._places: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stopped: asyncio.Event) -> None:
        """Answer until somebody stops it; what was begun is finished then.

        Raises:
            BotError: Telegram refuses the bot.
            EmovoxError: the model cannot be opened.
        """
        self._engine.open()
        try:
            stopping = asyncio.create_task(stopped.wait())
            polling = asyncio.create_task(self._poll())
            await asyncio.wait({stopping, polling}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            polling.cancel()
            self._api.hurry()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_DRAIN_S)
            if not stopped.is_set():
                await polling  # it ended by itself: its error is ours
            if self._offset is not None:
                await self._api.confirm(self._offset)
        finally:
            self._engine.close()

    async def _poll(self) -> None:
        """Fetch messages for ever; a network that is away is waited for."""
        wait_s = api.FIRST_WAIT_S / 2
        while True:
            try:
                if not self._name:
                    self._name = await self._api.name()
                    _log.info("listening")
                updates = await self._api.updates(self._offset)
            except LaterError as error:
                wait_s = min(2 * wait_s, 60.0) if error.wait_s is None else error.wait_s
                _log.warning("%s; again in %.0f s", error, wait_s)
                await asyncio.sleep(wait_s)
                continue
            wait_s = api.FIRST_WAIT_S / 2
            for update in updates:
                message = update.get("message")
                if isinstance(message, dict):
                    await self._room.acquire()
                    task = asyncio.create_task(self.take(message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                self._offset = update["update_id"] + 1

    async def take(self, message: _Message) -> None:
        """Answer one message, whatever comes of it."""
        try:
            await self._answer(message)
        except BotError as error:
            _log.warning("an answer was not delivered: %s", error)
        except Exception as error:  # a fault of ours must not cost the others their answers
            _log.error("a fault while answering: %s", type(error).__name__, exc_info=error)
        finally:
            self._room.release()

    async def _answer(self, message: _Message) -> None:
        chat = message.get("chat") or {}
        is_private = chat.get("type") == "private"
        sender = message.get("from") or {}
        if chat.get("type") not in ("private", "group", "supergroup") or sender.get("is_bot"):
            return
        command, is_addressed = self._command(str(message.get("text") or ""))
        if command and not (is_private or is_addressed or command == "emotion"):
            return  # in a group it may be meant for another bot
        if command == "emotion":
            await self._asked(message, sender)
        elif command in ("start", "help", "privacy", "model"):
            await self._tell(message, self._told(command))
        elif is_private and not command and _recording(message) is not None:
            await self._judge(message, sender)
        elif is_private:
            await self._tell(message, words.UNKNOWN)

    def _command(self, text: str) -> tuple[str, bool]:
        """``/help@our_bot me`` -> ``("help", True)``; nothing for what is no command of ours."""
        if not text.startswith("/"):
            return "", False
        command, _, bot = text[1:].split(maxsplit=1)[0].partition("@") if text[1:].strip() else ("", "", "")
        if bot and bot.lower() != self._name.lower():
            return "", False
        return command.lower(), bool(bot)

    def _told(self, command: str) -> str:
        settings = self._settings
        if command == "start":
            return words.greeting()
        if command == "privacy":
            return words.privacy_text()
        if command == "model":
            return words.model_text(self._engine.model()[1].spec)
        return words.help_text(max_mb=settings.max_mb, max_s=settings.max_seconds, rate=settings.rate)

    async def _asked(self, message: _Message, sender: _Message) -> None:
        """``/emotion``: the recording that is answered by it, if it is the voice of who asks."""
        original = message.get("reply_to_message") or {}
        if _recording(original) is None:
            await self._tell(message, words.NO_RECORDING)
        elif (original.get("from") or {}).get("id") != sender.get("id") or "forward_origin" in original:
            await self._tell(message, words.NOT_YOURS)
        else:
            await self._judge(original, sender)

    async def _judge(self, message: _Message, sender: _Message) -> None:
        """Judge the recording in a message and answer it, unless it is one too many."""
        user = str(sender.get("id"))
        try:
            self._rates.take(user)
        except Refusal as refusal:
            await self._warn(message, user, words.slower(refusal.retry_after_s or 60))
            return
        try:
            with self._place(message):
                await self._judged(message, user)
        except Refusal:
            await self._warn(message, user, words.BUSY)

    async def _judged(self, message: _Message, user: str) -> None:
        """Judge and answer. Raises Refusal when too many recordings wait already."""
        start_s = time.monotonic()
        turn = self._turns.setdefault(user, asyncio.Lock())
        try:
            async with turn:  # one at a time, so that nobody's long ones keep all others waiting
                heard = await self._heard(message)
        except (TooBigError, AudioTooLongError):
            limits = self._settings
            await self._say(message, words.too_much(max_mb=limits.max_mb, max_s=limits.max_seconds))
        except AudioError:
            await self._say(message, words.NO_SOUND)
        except MissingExtraError as error:
            _log.error("%s", error)
            await self._say(message, words.NO_SOUND)
        except BotError as error:
            _log.warning("a recording was not fetched: %s", error)
            await self._say(message, words.NOT_FETCHED)
        else:
            await self._show(message, heard)
            _log.info("answered: %.1f s of sound, after %.1f s", heard.duration_s, time.monotonic() - start_s)

    async def _heard(self, message: _Message) -> Heard:
        """Fetch a recording and judge it; nothing of it stays."""
        recording, limits = _recording(message) or {}, self._settings
        most_bytes = round(limits.max_mb * 1e6)
        if _number(recording, "file_size") > most_bytes:
            raise TooBigError("as it says itself")
        if _number(recording, "duration") > limits.max_seconds:
            raise AudioTooLongError("as it says itself")
        with tempfile.TemporaryFile() as file:  # it has no name, and goes with the process at the latest
            async with self._downloads:
                await self._api.download(str(recording.get("file_id")), file, most_bytes=most_bytes)
            _, model = self._engine.model()
            return await self._engine.run(lambda: judge(model, file, most_s=limits.max_seconds))

    async def _show(self, message: _Message, heard: Heard) -> None:
        text = words.answer(heard)
        drawn: bytes | None = None
        try:
            async with self._drawing:
                drawn = await self._engine.run(lambda: picture(heard), begun=True)
        except MissingExtraError as error:
            _log.warning("%s", error)
        if drawn is not None:
            try:
                await self._api.call("sendPhoto", {**_to(message), "caption": text}, picture=drawn)
            except LaterError:
                raise
            except BotError:  # pictures may be forbidden in a group
                _log.info("a picture was refused; the words go alone")
            else:
                return
        await self._say(message, text)

    async def _say(self, message: _Message, text: str) -> None:
        await self._api.call("sendMessage", {**_to(message), "text": text})

    async def _tell(self, message: _Message, text: str) -> None:
        """Answer a text or a command, unless it is one too many: then it is passed over."""
        with suppress(Refusal):
            self._texts.take(_chat(message))
            with self._place(message):
                await self._say(message, text)

    async def _warn(self, message: _Message, user: str, text: str) -> None:
        """Say it once a minute: who sends too much needs not as many answers."""
        with suppress(Refusal):
            self._warnings.take(user)
            with self._place(message, _MOST_OF_ONE + 1):  # all others may be why there is a warning
                await self._say(message, text)

    @contextmanager
    def _place(self, message: _Message, most: int = _MOST_OF_ONE) -> Iterator[None]:
        """One of the few places that a chat has, and that a user has. Raises Refusal when there is none."""
        sender = str((message.get("from") or {}).get("id"))
        mine = Counter({_chat(message), sender})  # in a private chat they are one
        if any(self._places[one] >= most for one in mine):
            raise Refusal(503, "overloaded", f"{most} of one are being answered already")
        self._places += mine
        try:
            yield
        finally:
            self._places -= mine  # leaves out those at zero


def _recording(message: _Message) -> dict[str, Any] | None:
    """What may be a recording in a message; its content is not known yet."""
    for kind in _RECORDINGS:
        if isinstance(message.get(kind), dict):
            found: dict[str, Any] = message[kind]
            return found
    return None


def _chat(message: _Message) -> str:
    """Whom the chat's limits are counted for."""
    return str((message.get("chat") or {}).get("id"))


def _number(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name)
    return value if isinstance(value, int | float) else 0


def _to(message: _Message) -> dict[str, Any]:
    """Where an answer goes: the chat, its topic, and the message that it answers."""
    return {
        "chat_id": (message.get("chat") or {}).get("id"),
        "message_thread_id": message.get("message_thread_id") if message.get("is_topic_message") else None,
        "reply_parameters": {"message_id": message.get("message_id"), "allow_sending_without_reply": True},
    }
