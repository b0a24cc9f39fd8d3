"""A Telegram bot that answers voice messages with the expressed emotion (extra ``bot``).

It is built on python-telegram-bot. In a private chat every recording is answered; in a group the bot answers
only users who reply to *their own* recording with ``/emotion``. Recordings are held in memory and never
written to disk.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import time
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox.audio import SAMPLE_RATE
from emovox.bundles import Spec
from emovox.disclaimer import LIMITS, NOTICE, SHORT
from emovox.errors import (
    AudioError,
    AudioTooLongError,
    BotError,
    ConfigError,
    MissingExtraError,
)
from emovox.inference.recognizer import Recognizer
from emovox.inference.stream import BLOCK_S
from emovox.results import Prediction, Segment
from emovox.server.limits import RateLimit
from emovox.server.model_pool import ModelPool
from emovox.server.schemas import Refusal

try:
    from telegram import Message, Update
    from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter
    from telegram.error import TelegramError as LibraryError
    from telegram.ext import (
        Application,
        ApplicationBuilder,
        CallbackContext,
        CommandHandler,
        MessageHandler,
        filters,
    )
except ImportError as error:
    raise MissingExtraError("the bot", "bot") from error

__all__ = ["BASE_URL", "BotSettings", "RecordingAnswer", "TelegramBot", "hide_token", "predict_recording"]

BASE_URL = "https://api.telegram.org"
FIRST_WAIT_S = 1.0
"""Before a failed call is repeated; doubled with each failure."""
LONG_S = 30.0
"""Recordings longer than this are answered with a timeline."""
MAX_CAPTION = 1024
"""Telegram's limit for the characters below a picture."""

_POLL_S = 50
_TIMEOUT_S = 30.0
_TRIES = 5
_MAX_WAIT_S = 3600.0
"""Limit for Telegram's ``retry_after``."""
_SHUTDOWN_WAIT_S = 10.0
"""While the bot stops, calls that Telegram defers for longer than this are given up."""
_DRAIN_S = 30.0
_MAX_MESSAGES = 256
"""Messages being answered at a time; no more are fetched until some are done."""
_MAX_MESSAGES_OF_ONE = 16
"""Of those, in one chat or of one user, so that one user cannot take all slots."""
_TEXTS_PER_MINUTE = 20
"""Text answers in a chat. Telegram accepts no more in a group."""
_MAX_DOWNLOADS = 8
_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")

_RECORDING = filters.VOICE | filters.AUDIO | filters.VIDEO_NOTE | filters.Document.ALL

_log = logging.getLogger("emovox.telegram")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class BotSettings:
    """Limits set by the operator.

    Raises:
        ConfigError: a value is out of range.
    """

    max_mb: float = 20.0
    """Of a file; Telegram's own server delivers none above 20. 1 MB is 1 000 000 bytes."""
    max_seconds: float = 1800.0
    """Of a recording, measured while decoding."""
    rate: float = 10.0
    """Recordings per minute and user."""
    threads: int = 2
    """Predictions at a time."""
    queue: int = 64
    """Recordings that may wait."""

    def __post_init__(self) -> None:
        for name in ("max_mb", "max_seconds", "rate", "threads"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected more than 0")
        if self.queue < 0:
            raise ConfigError(f"queue is {self.queue!r}; expected 0 or more")


class _FileTooLargeError(Exception):
    """A file exceeds the limit."""


class _FromUser(filters.MessageFilter):
    """Messages sent by a person, not by another bot."""

    def filter(self, message: Message) -> bool:
        return message.from_user is not None and not message.from_user.is_bot


class TelegramBot:
    """Answers the messages of one bot. Await ``run`` in an event loop.

    Args:
        token: the bot's token, as issued by BotFather.
        factory: loads the recogniser.
        base_url: of another server of the Bot API.

    Raises:
        ConfigError: the token or the address is malformed.
    """

    def __init__(
        self,
        token: str,
        factory: Callable[[], Recognizer],
        settings: BotSettings,
        *,
        base_url: str = BASE_URL,
    ) -> None:
        if not _TOKEN.fullmatch(token):
            raise ConfigError("the token is malformed; expected digits, a colon and letters, as of BotFather")
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"the address of the Bot API is {base_url!r}; expected one with https://")
        self._token, self._settings = token, settings
        self._engine = ModelPool(
            ("model",), lambda _: factory(), threads=settings.threads, queue=settings.queue
        )
        self._rates, self._text_rates, self._warning_rates = (
            RateLimit(rate) for rate in (settings.rate, _TEXTS_PER_MINUTE, 1)
        )
        self._user_locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._n_active: Counter[int] = Counter()
        """Chat or user -> messages being answered."""
        self._slots = asyncio.Semaphore(_MAX_MESSAGES)
        self._downloads = asyncio.Semaphore(_MAX_DOWNLOADS)
        self._drawing = asyncio.Lock()  # matplotlib's settings are shared by all threads
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._offset: int | None = None
        # Without PTB's Updater: it fetches updates without a bound, and a revoked token would not end it.
        self._application: Application[Any, Any, Any, Any, Any, Any] = (
            ApplicationBuilder()
            .token(token)
            .base_url(f"{base_url}/bot")
            .base_file_url(f"{base_url}/file/bot")
            .connection_pool_size(_MAX_MESSAGES)
            .pool_timeout(_TIMEOUT_S)
            .connect_timeout(_TIMEOUT_S)
            .read_timeout(_TIMEOUT_S)
            .write_timeout(_TIMEOUT_S)
            .get_updates_read_timeout(_TIMEOUT_S)
            .updater(None)
            .build()
        )
        private = filters.UpdateType.MESSAGE & filters.ChatType.PRIVATE & _FromUser()
        group = filters.UpdateType.MESSAGE & filters.ChatType.GROUPS & _FromUser()
        # Without the bot's name, a command in a group may be meant for another bot.
        addressed = private | (group & filters.Regex(r"^/\w+@"))
        self._application.add_handlers(
            [
                CommandHandler("emotion", self._answer_emotion, filters=private | group),
                CommandHandler(["start", "help", "privacy", "model"], self._answer_command, addressed),
                MessageHandler(private & _RECORDING, self._answer_private_recording),
                MessageHandler(private, self._answer_anything_else),
            ]
        )
        self._application.add_error_handler(self._log_error)

    def __repr__(self) -> str:
        return "TelegramBot()"

    async def run(self, stopped: asyncio.Event) -> None:
        """Answer messages until ``stopped`` is set; then finish those in progress.

        Raises:
            BotError: Telegram rejects the bot.
            EmovoxError: the model cannot be loaded.
        """
        self._engine.open()
        try:
            stopping = asyncio.create_task(stopped.wait())
            polling = asyncio.create_task(self._poll())
            await asyncio.wait({stopping, polling}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            polling.cancel()
            self._stopping.set()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_DRAIN_S)
            if not stopped.is_set():
                await polling  # raises its error
            if self._offset is not None:
                with suppress(LibraryError):  # confirms the last messages
                    await self._application.bot.get_updates(offset=self._offset, limit=1, timeout=0)
        finally:
            self._engine.close()
            await self._application.shutdown()
            await self._application.bot.shutdown()  # also if the application was never initialized

    async def _poll(self) -> None:
        """Fetch messages until cancelled; wait when the network is down.

        Raises:
            BotError: Telegram rejects the bot.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._application.initialize()  # does nothing once it has succeeded
                updates = await self._application.bot.get_updates(
                    offset=self._offset, timeout=_POLL_S, allowed_updates=["message"]
                )
            except InvalidToken:
                raise BotError("Telegram rejects the token: Unauthorized (401)") from None
            except (BadRequest, Conflict, Forbidden) as error:
                raise BotError(f"Telegram rejects the bot: {self._without_token(error)}") from None
            except LibraryError as error:
                pause_s = _retry_after_s(error) if isinstance(error, RetryAfter) else wait_s
                wait_s = min(2 * wait_s, 60.0)
                _log.warning("no messages: %s; trying again in %.0f s", error, pause_s)
                await asyncio.sleep(pause_s)
                continue
            wait_s = FIRST_WAIT_S
            for update in updates:
                await self._slots.acquire()
                task = asyncio.create_task(self.process(update))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self._offset = update.update_id + 1

    async def process(self, update: Update) -> None:
        """Answer one update; errors are logged, never raised."""
        try:
            await self._application.process_update(update)
        finally:
            self._slots.release()

    async def _log_error(self, _: object, context: CallbackContext[Any, Any, Any, Any]) -> None:
        """Log what a handler raised: one message must not cost other users their answers."""
        if isinstance(context.error, LibraryError | BotError):
            _log.warning("an answer was not delivered: %s", context.error)
        else:
            _log.error("an answer failed: %s", type(context.error).__name__, exc_info=context.error)

    def _without_token(self, error: object) -> str:
        return str(error).replace(self._token, "<token>")

    # --- messages ---------------------------------------------------------------------------------

    async def _answer_command(self, update: Update, _: object) -> None:
        message = _message(update)
        command = re.split(r"[@\s]", str(message.text))[0]
        if command == "/start":
            text = GREETING
        elif command == "/privacy":
            text = PRIVACY
        elif command == "/model":
            text = model_text(self._engine.model()[1].spec)
        else:
            text = help_text(self._settings)
        await self._send_text(message, text)

    async def _answer_emotion(self, update: Update, _: object) -> None:
        """Answer the recording that ``/emotion`` replies to, if the same user recorded it."""
        message = _message(update)
        original = message.reply_to_message
        if original is None or not _RECORDING.check_update(Update(0, message=original)):
            await self._send_text(message, NO_RECORDING)
        elif original.from_user != message.from_user or original.forward_origin is not None:
            await self._send_text(message, NOT_YOURS)
        else:
            await self._answer_recording(original)

    async def _answer_private_recording(self, update: Update, _: object) -> None:
        await self._answer_recording(_message(update))

    async def _answer_anything_else(self, update: Update, _: object) -> None:
        await self._send_text(_message(update), UNKNOWN)

    async def _answer_recording(self, message: Message) -> None:
        """Classify a recording and reply to it, within the user's limits."""
        assert message.from_user is not None
        user, start_s = message.from_user.id, time.monotonic()
        try:
            self._rates.take(str(user))
        except Refusal as refusal:
            await self._send_warning(message, slow_down_text(refusal.retry_after_s or 60))
            return
        try:
            # One at a time and user, so that one user's long recordings do not delay all others.
            with self._count_active(message):
                async with self._user_locks.setdefault(user, asyncio.Lock()):
                    answer = await self._fetch_and_predict(message)
                await self._send_answer(message, answer)
            _log.info("answered: %.1f s of audio after %.1f s", answer.duration_s, time.monotonic() - start_s)
        except Refusal:
            await self._send_warning(message, BUSY)
        except (_FileTooLargeError, AudioTooLongError):
            await self._reply(message, too_large_text(self._settings))
        except (AudioError, MissingExtraError) as error:
            if isinstance(error, MissingExtraError):
                _log.error("%s", error)
            await self._reply(message, NO_SOUND)
        except BotError as error:
            _log.warning("a recording was not fetched: %s", error)
            await self._reply(message, NOT_FETCHED)

    async def _fetch_and_predict(self, message: Message) -> RecordingAnswer:
        """Download a recording and classify it.

        Raises:
            _FileTooLargeError, AudioError: it cannot be used.
            BotError: it cannot be fetched.
            Refusal: too many recordings are waiting.
        """
        recording: Any = message.effective_attachment
        max_bytes = round(self._settings.max_mb * 1e6)
        if (recording.file_size or 0) > max_bytes:
            raise _FileTooLargeError
        if _seconds(recording, "duration") > self._settings.max_seconds:
            raise AudioTooLongError("longer than allowed, by its own account")
        data = io.BytesIO()
        try:
            async with self._downloads:
                file = await self._retry(recording.get_file)
                if (file.file_size or 0) > max_bytes:
                    raise _FileTooLargeError
                await self._retry(lambda: file.download_to_memory(data))
        except (LibraryError, RuntimeError) as error:  # RuntimeError: an answer without a path
            raise BotError(self._without_token(error)) from None
        if data.tell() > max_bytes:
            raise _FileTooLargeError
        _, model = self._engine.model()
        return await self._engine.run(
            lambda: predict_recording(model, data, max_s=self._settings.max_seconds)
        )

    async def _send_answer(self, message: Message, answer: RecordingAnswer) -> None:
        picture: bytes | None = None
        try:
            async with self._drawing:
                picture = await self._engine.run(lambda: draw_answer(answer), admitted=True)
        except MissingExtraError as error:
            _log.warning("%s", error)
        text = answer_text(answer)
        if picture is not None:
            try:
                await self._retry(
                    lambda: message.reply_photo(
                        picture, caption=text, do_quote=True, allow_sending_without_reply=True
                    )
                )
            except (BadRequest, Forbidden):
                _log.info("the picture was rejected (groups may forbid pictures); sending text alone")
            else:
                return
        await self._reply(message, text)

    # --- sending ----------------------------------------------------------------------------------

    async def _send_text(self, message: Message, text: str) -> None:
        """Reply to a text or a command; those over the chat's limits are ignored."""
        with suppress(Refusal):
            self._text_rates.take(str(message.chat.id))
            with self._count_active(message):
                await self._reply(message, text)

    async def _send_warning(self, message: Message, text: str) -> None:
        """Tell a user about their limit, at most once a minute."""
        assert message.from_user is not None
        with suppress(Refusal):
            self._warning_rates.take(str(message.from_user.id))
            # One slot more, since the user's own messages may be the reason for the warning.
            with self._count_active(message, _MAX_MESSAGES_OF_ONE + 1):
                await self._reply(message, text)

    async def _reply(self, message: Message, text: str) -> None:
        await self._retry(lambda: message.reply_text(text, do_quote=True, allow_sending_without_reply=True))

    async def _retry(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Await ``call()``; repeat it when the network fails or Telegram asks to come back later.

        Raises:
            LibraryError: Telegram rejects the call, stays unreachable, or defers it while the bot stops.
        """
        for n in range(_TRIES):
            try:
                return await call()
            except (BadRequest, Forbidden, InvalidToken, Conflict):
                raise
            except (RetryAfter, NetworkError) as error:
                wait_s = _retry_after_s(error) if isinstance(error, RetryAfter) else FIRST_WAIT_S * 2**n
                if n == _TRIES - 1 or not await self._wait(wait_s):
                    raise
        raise AssertionError("unreachable")

    async def _wait(self, wait_s: float) -> bool:
        """Wait before a call is repeated; false, and at once, when the bot stops meanwhile."""
        _log.info("deferred; trying again in %.0f s", wait_s)
        if wait_s <= _SHUTDOWN_WAIT_S:
            await asyncio.sleep(wait_s)
            return True
        try:
            await asyncio.wait_for(self._stopping.wait(), wait_s)
        except TimeoutError:
            return True
        return False

    @contextmanager
    def _count_active(self, message: Message, limit: int = _MAX_MESSAGES_OF_ONE) -> Iterator[None]:
        """Count a message being answered. Raises Refusal above the limit of its chat or its user."""
        assert message.from_user is not None
        ids = Counter({message.chat.id, message.from_user.id})  # the same in a private chat
        if any(self._n_active[one] >= limit for one in ids):
            raise Refusal(503, "overloaded", f"{limit} messages of one user or chat are being answered")
        self._n_active += ids
        try:
            yield
        finally:
            self._n_active -= ids  # drops those at zero


def _message(update: Update) -> Message:
    assert update.message is not None  # by the handlers' filters
    return update.message


def _seconds(holder: object, name: str) -> float:
    """A time of python-telegram-bot: seconds, or, depending on its version and settings, a timedelta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from 22.2 on it warns that the type will change
        value = getattr(holder, name, None)
    return value.total_seconds() if isinstance(value, timedelta) else float(value or 0)


def _retry_after_s(error: RetryAfter) -> float:
    return min(max(0.0, _seconds(error, "retry_after")), _MAX_WAIT_S)


@contextmanager
def hide_token(token: str) -> Iterator[None]:
    """Replace the token by ``<token>`` in every log record, at any level and of any library.

    The token is part of each address of the Bot API, and the HTTP library logs addresses. Handlers that are
    added to the root logger later are not covered.
    """
    hiding = _TokenFilter(token)
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(hiding)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(hiding)


class _TokenFilter(logging.Filter):
    def __init__(self, token: str) -> None:
        super().__init__()
        number, _, secret = token.partition(":")
        # python-telegram-bot percent-encodes the colon in the addresses of files.
        self._pattern = re.compile(rf"({re.escape(number)}(:|%3A))?{re.escape(secret)}", re.IGNORECASE)

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._pattern.sub("<token>", record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:  # a formatter that finds this text formats no traceback of its own
            record.exc_text = self._pattern.sub("<token>", record.exc_text)
            record.exc_info = None
        return True


# --- predictions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordingAnswer:
    """The answer to a recording: a prediction when it is short, else the segments of its timeline."""

    duration_s: float
    prediction: Prediction | None
    segments: Sequence[Segment] = ()

    @property
    def speech_s(self) -> float:
        """Seconds in the segments."""
        return sum(one.duration_s for one in self.segments)

    @property
    def scores(self) -> Mapping[str, float]:
        """Scores of the prediction, or their mean over the segments, weighted by duration."""
        if self.prediction is not None:
            return self.prediction.scores
        total = self.speech_s
        names = self.segments[0].scores if self.segments else ()
        return {
            name: sum(one.duration_s * one.scores[name] for one in self.segments) / total for name in names
        }


def predict_recording(model: Recognizer, file: io.BytesIO, *, max_s: float) -> RecordingAnswer:
    """Classify a recording, in memory that does not grow with its duration.

    Raises:
        AudioTooLongError: it lasts longer than ``max_s``, whatever its header claims.
        AudioError: it cannot be decoded or used.
    """
    file.seek(0)
    blocks = (block[0] for block in audio.blocks(file, block_s=BLOCK_S, max_s=max_s))
    start: list[NDArray[np.float32]] = []
    for block in blocks:
        start.append(block)
        if sum(map(len, start)) > LONG_S * SAMPLE_RATE:
            break
    else:
        signal = np.concatenate(start)
        prediction = model.predict(signal, sample_rate=SAMPLE_RATE)
        return RecordingAnswer(len(signal) / SAMPLE_RATE, prediction)
    stream, n_samples, events = model.stream(sample_rate=SAMPLE_RATE), 0, []
    for block in chain(start, blocks):
        n_samples += len(block)
        events += stream.push(block)
    events += stream.flush()
    segments = [one for one in events if isinstance(one, Segment)]
    return RecordingAnswer(n_samples / SAMPLE_RATE, None, segments)


def draw_answer(answer: RecordingAnswer) -> bytes | None:
    """Draw a radar chart of a short recording, the timeline of a long one.

    Returns:
        A PNG; ``None`` when there is nothing to draw.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from emovox.reports.figures import draw_radar, draw_timeline, render_figure

    if answer.prediction is None:
        if not answer.segments:
            return None
        return render_figure(draw_timeline(answer.segments, duration_s=answer.duration_s, caption=SHORT))
    if len(answer.prediction.scores) < 3:
        return None
    return render_figure(draw_radar([answer.prediction]))


# --- texts ----------------------------------------------------------------------------------------

EMOJI: Mapping[str, str] = {
    "neutral": "😐",
    "calm": "😌",
    "happy": "😊",
    "sad": "😢",
    "angry": "😠",
    "fear": "😨",
    "disgust": "🤢",
    "surprise": "😮",
    "boredom": "🥱",
}

GREETING = (
    "Send me a voice message, and I reply with the emotion that the voice expresses: the label, the "
    f"probabilities and a picture. Long recordings get a timeline.\n\n{NOTICE}\n\n/help  /privacy  /model"
)
PRIVACY = (
    "Your recording is downloaded for the answer only and deleted with it; this bot neither keeps nor logs "
    "the recording, the answer or your name. Telegram keeps the messages of this chat as it keeps any other: "
    f"delete them there. Do not send the voice of a person who has not agreed. {NOTICE}"
)
UNKNOWN = "I understand speech only. Send me a voice message, or a file with speech in it; see /help."
NO_SOUND = "I cannot read any audio in this file. Please send a voice message, wav, mp3, m4a or ogg."
NO_RECORDING = "Reply to your own voice message with /emotion, and I classify it."
NOT_YOURS = "Only the speaker may ask: a voice is classified only at its owner's request."
BUSY = "Many recordings are waiting right now. Please send it again in a minute."
NOT_FETCHED = "Your recording did not reach me. Please send it again."

_ABSTENTIONS = {
    "silence": "The recording is silent. Is the microphone on?",
    "too_short": "The recording is too short. Please send a second of speech or more.",
    "no_speech": "There is no speech in the recording.",
    "uncertain": "I am not certain enough to name one emotion.",
}
_BAR_LENGTH = 10
_MAX_SEGMENT_LINES = 15


def emoji(label: str | None) -> str:
    """Return the face of an emotion, or a microphone."""
    return EMOJI.get(label or "", "🎙")


def help_text(settings: BotSettings) -> str:
    """Format the answer to ``/help``."""
    return (
        "I accept voice messages, audio, video notes, and files with sound in them (wav, mp3, m4a, ogg and "
        f"more), up to {settings.max_mb:g} MB and {settings.max_seconds / 60:g} minutes, "
        f"{settings.rate:g} a minute.\n\nIn a group I answer only users who reply to their own recording "
        f"with /emotion.\n\n{LIMITS}"
    )


def model_text(spec: Spec) -> str:
    """Format the answer to ``/model``."""
    use = "commercial use allowed" if spec.licence.commercial else "no commercial use"
    return (
        f"{spec.name} {spec.version}: {spec.description}.\nLabels: {', '.join(spec.labels)}.\n"
        f"Trained on: {', '.join(spec.corpora)}.\nWeights: {spec.licence.weights}, {use}.\n\n{LIMITS}"
    )


def slow_down_text(wait_s: float) -> str:
    """Format the reply to a user over the limit."""
    return f"One moment, please: I accept your next recording in {wait_s:.0f} s."


def too_large_text(settings: BotSettings) -> str:
    """Format the reply to a recording that is too large or too long."""
    return (
        f"This is too large: I accept up to {settings.max_mb:g} MB and {settings.max_seconds / 60:g} minutes."
    )


def answer_text(answer: RecordingAnswer) -> str:
    """Format the answer to a recording, at most `MAX_CAPTION` characters."""
    prediction = answer.prediction
    if prediction is not None:
        if prediction.label is None:
            reason = _ABSTENTIONS.get(prediction.reason or "", "I cannot classify this.")
            head = f"{emoji(None)} {reason}"
        else:
            head = f"{emoji(prediction.label)} {prediction.label}, {100 * (prediction.confidence or 0):.0f} %"
        return "\n".join(
            [head, "", *_score_lines(prediction.scores), "", SHORT] if prediction.scores else [head]
        )
    if not answer.segments:
        return f"{emoji(None)} {_ABSTENTIONS['no_speech']}"
    head = f"Duration {format_clock(answer.duration_s)}, speech {format_clock(answer.speech_s)}. On average:"
    lines = [head, "", *_score_lines(answer.scores)]
    longest = sorted(answer.segments, key=lambda one: -one.duration_s)
    for n in range(min(len(longest), _MAX_SEGMENT_LINES), 0, -1):
        title = f"The longest of {len(longest)} segments:" if n < len(longest) else "Segments:"
        shown = sorted(longest[:n], key=lambda one: one.start_s)
        text = "\n".join([*lines, "", title, *map(_segment_line, shown), "", SHORT])
        if len(text) <= MAX_CAPTION:
            return text
    return "\n".join([*lines, "", SHORT])


def _score_lines(scores: Mapping[str, float]) -> list[str]:
    lines = []
    for label, score in sorted(scores.items(), key=lambda pair: -pair[1]):
        n_full = round(score * _BAR_LENGTH)
        bar = "█" * n_full + "░" * (_BAR_LENGTH - n_full)
        lines.append(f"{bar} {100 * score:3.0f} %  {emoji(label)} {label}")
    return lines


def _segment_line(one: Segment) -> str:
    times = f"{format_clock(one.start_s)}-{format_clock(one.end_s)}"
    return f"{times}  {emoji(one.label)} {one.label or 'uncertain'} {100 * (one.confidence or 0):.0f} %"


def format_clock(seconds: float) -> str:
    """``3:07``, ``1:02:45``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
