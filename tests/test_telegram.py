"""The bot against a stand-in for Telegram: every kind of message, many users, bad networks, no traces."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import emovox
from emovox.disclaimer import NOTICE, SHORT
from emovox.errors import AudioTooLongError, BotError, ConfigError
from emovox.inference.recognizer import load as load_model
from emovox.results import Prediction, Segment
from telegrams import TOKEN, Telegram, command_entities

library = pytest.importorskip("telegram")
pytest.importorskip("matplotlib")

from emovox import telegram as bots  # noqa: E402
from emovox.telegram import (  # noqa: E402
    LONG_S,
    BotSettings,
    RecordingAnswer,
    TelegramBot,
    hide_token,
    predict_recording,
)

# From 22.2 on, it warns that times will become timedeltas, also when it raises RetryAfter itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*datetime.timedelta:DeprecationWarning")

RATE = 16_000
PNG = b"\x89PNG\r\n\x1a\n"


def voice(seconds: float) -> np.ndarray:
    """Notes with pauses: ``(n,)`` at 16 kHz."""
    t = np.arange(round(RATE * seconds)) / RATE
    hz = np.array([180, 320, 250, 900, 140, 400, 210])[(t % 7).astype(int)]
    loud = np.clip(np.sin(2 * np.pi * 0.9 * t) + 0.4, 0.001, 1)
    return (0.15 * loud * sum(np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 3, 5))).astype(np.float32)


def encoded(seconds: float, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds), RATE, format=kind, subtype=subtype)
    return file.getvalue()


def film(seconds: float) -> bytes:
    """A video note: an mp4 with a sound track and a picture."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(voice(seconds)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        frames = av.AudioResampler(sound.codec_context.format, "mono", RATE).resample(frame)
        for packet in [p for f in frames for p in sound.encode(f)] + sound.encode(None):
            container.mux(packet)
    return file.getvalue()


def repeated(clip: bytes, times: int) -> bytes:
    """A long ogg of a short one, without encoding it all."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as long, av.open(io.BytesIO(clip)) as short:
        track = long.add_stream_from_template(short.streams.audio[0])
        *packets, last = [packet for packet in short.demux() if packet.size]  # the last one is cut short
        end = last.pts - packets[0].pts
        for n in range(times):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts = again.dts = packet.pts + n * end
                again.duration, again.time_base, again.stream = packet.duration, packet.time_base, track
                long.mux(again)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bots, "FIRST_WAIT_S", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that costs nothing: matplotlib takes its time."""
    monkeypatch.setattr("emovox.telegram.draw_answer", lambda answer: PNG + b"drawn")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files would lie."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def telegram() -> Iterator[Telegram]:
    server = Telegram()
    yield server
    server.close()


def make_bot(telegram: Telegram, bundle: Path | str, **options: Any) -> TelegramBot:
    settings = BotSettings(**options)
    return TelegramBot(TOKEN, partial(load_model, bundle), settings, base_url=telegram.url)


@contextmanager
def running(telegram: Telegram, bundle: Path, **options: Any) -> Iterator[TelegramBot]:
    """A bot in a thread of its own; what makes it fail is raised at the end."""
    loop, stopped, made = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    made_bots: list[TelegramBot] = []
    faults: list[BaseException] = []

    async def main() -> None:
        made_bots.append(make_bot(telegram, bundle, **options))
        made.set()
        await made_bots[0].run(stopped)

    def work() -> None:
        try:
            loop.run_until_complete(main())
        except BaseException as error:
            faults.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert made.wait(10)
        yield made_bots[0]
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stopped.set)
        thread.join(30)
    assert not thread.is_alive()
    if faults:
        raise faults[0]


@pytest.mark.usefixtures("drawn")
def test_recording_kinds(telegram: Telegram, tiny_bundle: Path, shelf: Path) -> None:
    mp4 = film(3)
    contents: dict[str, tuple[str, bytes]] = {
        "a voice message": ("voice", encoded(3, "OGG", "OPUS")),
        "music": ("audio", encoded(3, "MP3")),
        "m4a": ("audio", mp4),
        "a video note": ("video_note", mp4),
        "wav": ("document", encoded(3, "WAV")),
        "mp3": ("document", encoded(3, "MP3")),
        "ogg": ("document", encoded(3, "OGG", "VORBIS")),
        "mp4": ("document", mp4),
    }
    model = emovox.load(tiny_bundle)
    with running(telegram, tiny_bundle):
        sent = {
            name: telegram.send(
                # The name lies, and so does the type: content decides.
                **{kind: telegram.recording(content, file_name="report.pdf", mime_type="text/plain")}
            )
            for name, (kind, content) in contents.items()
        }
        for name, number in sent.items():
            answer = telegram.answer(number)
            assert answer.method == "sendPhoto", name
            assert answer.photo is not None
            assert answer.photo.startswith(PNG)
            said = model.predict(contents[name][1])
            assert answer.fields["caption"].startswith(f"{bots.emoji(said.label)} {said.label}, ")
            assert all(label in answer.fields["caption"] for label in model.labels)
            assert answer.fields["caption"].endswith(SHORT)
            assert answer.fields["chat_id"] == "1"
        assert list(shelf.iterdir()) == []
    assert len(telegram.answers()) == len(contents)
    assert telegram.n_waiting == 0  # confirmed: another start does not answer them again


def test_other_messages(telegram: Telegram, tiny_bundle: Path, shelf: Path) -> None:
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(2 * RATE), RATE, format="WAV")
    wanted = {
        bots.UNKNOWN: [
            {"text": "How are you?"},
            {"location": {"latitude": 1.0, "longitude": 1.0}},
            {"photo": [{"file_id": "x", "file_unique_id": "x", "width": 1, "height": 1}]},
        ],
        bots.NO_SOUND: [
            {
                "document": telegram.recording(
                    b"%PDF-1.7 no sound", file_name="voice.ogg", mime_type="audio/ogg"
                )
            },
            {"voice": telegram.recording(b"")},
        ],
        bots.NOT_FETCHED: [{"voice": {"file_id": "gone", "file_unique_id": "x", "duration": 1}}],
        bots.too_large_text(BotSettings(max_mb=0.5, max_seconds=60)): [
            {"voice": telegram.recording(b"", duration=61)},
            {"document": telegram.recording(b"", file_size=500_001)},
            {"document": telegram.recording(encoded(40, "WAV"))},  # 1.3 MB, and does not say so
            {"voice": telegram.recording(encoded(61, "OGG", "OPUS"), duration=2)},  # says that it is short
        ],
    }
    with running(telegram, tiny_bundle, max_mb=0.5, max_seconds=60, rate=100):
        for text, contents in wanted.items():
            for content in contents:
                answer = telegram.answer(telegram.send(**content))
                assert (answer.method, answer.fields["text"]) == ("sendMessage", text), content
        answer = telegram.answer(telegram.send(voice=telegram.recording(silence.getvalue())))
        assert "silent" in answer.fields["text"]
    assert list(shelf.iterdir()) == []


def test_commands(telegram: Telegram, tiny_bundle: Path) -> None:
    with running(telegram, tiny_bundle):

        def told(text: str) -> str:
            return telegram.answer(telegram.send(text=text)).fields["text"]

        assert NOTICE in told("/start")
        assert "20 MB and 30 minutes, 10 a minute" in told("/help please")
        assert "deleted" in told("/privacy@Emovox_Test_Bot")
        assert "tiny 1" in told("/model")
        assert told("/modell") == bots.UNKNOWN
        assert told("/") == bots.UNKNOWN
        assert told("/emotion") == bots.NO_RECORDING


@pytest.mark.usefixtures("drawn")
def test_group_requires_own_recording(telegram: Telegram, tiny_bundle: Path) -> None:
    speaker = {"id": 5, "is_bot": False, "first_name": "A"}
    spoken: dict[str, Any] = {
        "message_id": 7,
        "date": 0,
        "from": speaker,
        "chat": {"id": -1, "type": "group"},
    }
    spoken["voice"] = telegram.recording(encoded(2, "OGG", "OPUS"))
    with running(telegram, tiny_bundle):
        send = partial(telegram.send, 5, chat="supergroup")
        quiet = [
            send(voice=spoken["voice"]),
            send(text="hello"),
            send(text="/help"),
            send(text="/start@other_bot"),
            telegram.send(6, chat="channel", voice=spoken["voice"]),
        ]
        assert "/emotion" in telegram.answer(send(text="/help@emovox_test_bot")).fields["text"]
        stranger = telegram.send(6, chat="group", text="/emotion", reply_to_message=spoken)
        assert telegram.answer(stranger).fields["text"] == bots.NOT_YOURS
        forwarded = {**spoken, "forward_origin": {"type": "hidden_user", "date": 0, "sender_user_name": "A"}}
        assert (
            telegram.answer(send(text="/emotion", reply_to_message=forwarded)).fields["text"]
            == bots.NOT_YOURS
        )
        send(text="/emotion", reply_to_message=spoken)
        answer = telegram.answer(7)  # the recording is answered, not the command
        assert answer.photo is not None
        assert answer.fields["chat_id"] == "-1"
        assert [number for number in quiet if telegram.answers(number)] == []


@pytest.mark.usefixtures("drawn")
def test_users_run_concurrently(telegram: Telegram, tiny_bundle: Path) -> None:
    both = threading.Barrier(2, timeout=10)  # passed only if one download does not wait for the other
    telegram.on_download = lambda _: both.wait() and None
    with running(telegram, tiny_bundle):
        clips = [encoded(2, "OGG", "OPUS"), encoded(3, "WAV")]
        sent = [telegram.send(user, voice=telegram.recording(clip)) for user, clip in enumerate(clips, 1)]
        answers = [telegram.answer(number) for number in sent]
    assert [answer.fields["chat_id"] for answer in answers] == ["1", "2"]
    assert not both.broken


@pytest.mark.usefixtures("drawn")
def test_one_recording_per_user(telegram: Telegram, tiny_bundle: Path) -> None:
    at_once, most = [0], [0]

    def download(_: str) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.1)
        at_once[0] -= 1

    telegram.on_download = download
    clip = telegram.recording(encoded(1, "WAV"))
    with running(telegram, tiny_bundle, threads=4):
        for number in [telegram.send(voice=clip) for _ in range(4)]:
            assert telegram.answer(number).photo is not None
    assert most[0] == 1


@pytest.mark.usefixtures("drawn")
def test_recording_rate(telegram: Telegram, tiny_bundle: Path) -> None:
    clip = telegram.recording(encoded(1, "WAV"))
    with running(telegram, tiny_bundle, rate=2):
        sent = [telegram.send(voice=clip) for _ in range(6)]
        other = telegram.send(2, voice=clip)
        telegram.answer(other)
        telegram.answer(telegram.send(text="/help"))
        time.sleep(0.3)
        answered = [telegram.answers(number)[0] for number in sent if telegram.answers(number)]
    assert [answer.method for answer in answered].count("sendPhoto") == 2
    warnings = [answer.fields["text"] for answer in answered if answer.method == "sendMessage"]
    assert len(warnings) == 1, "who sends too much is told so once, not as often"
    assert "next recording in" in warnings[0]


@pytest.mark.usefixtures("drawn")
def test_full_queue(telegram: Telegram, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def slow(*given: Any, **more: Any) -> RecordingAnswer:
        assert free.wait(20)
        return predict_recording(*given, **more)

    monkeypatch.setattr("emovox.telegram.predict_recording", slow)
    clip = telegram.recording(encoded(1, "WAV"))
    with running(telegram, tiny_bundle, threads=1, queue=1):
        sent = [telegram.send(user, voice=clip) for user in range(1, 4)]
        refused = None
        while refused is None:
            refused = next((n for n in sent if telegram.answers(n)), None)
        assert telegram.answer(refused).fields["text"] == bots.BUSY
        free.set()
        assert all(telegram.answer(n).photo for n in sent if n != refused)


def test_deferred_chat_blocks_no_other(telegram: Telegram, tiny_bundle: Path) -> None:
    telegram.put_off = {"1": 100}
    with running(telegram, tiny_bundle):
        for _ in range(300):
            telegram.send(text="x")
        telegram.answer(telegram.send(2, text="/help"), timeout_s=20)
        stopped_s = time.monotonic()
    assert time.monotonic() - stopped_s < 10, "a bot that is stopped waits until it may answer"


@pytest.mark.usefixtures("drawn")
def test_text_rate(telegram: Telegram, tiny_bundle: Path) -> None:
    with running(telegram, tiny_bundle):
        start_s = time.monotonic()
        for text in ("x", "/help", "/emotion", "/privacy") * 5:
            telegram.answer(telegram.send(text=text))
        more = [telegram.send(text=text) for text in ("x", "/help", "/emotion") * 3]
        assert telegram.answer(telegram.send(voice=telegram.recording(encoded(1, "WAV")))).photo is not None
        telegram.answer(telegram.send(2, text="x"))
        answered = sum(map(len, map(telegram.answers, more)))
        assert answered <= (time.monotonic() - start_s) / 3


@pytest.mark.usefixtures("drawn")
def test_active_messages_per_user(telegram: Telegram, tiny_bundle: Path) -> None:
    arrived, free = threading.Event(), threading.Event()
    slow, quick = (telegram.recording(encoded(1, "WAV")) for _ in range(2))

    def hold(file_id: str) -> None:
        if file_id == slow["file_id"]:
            arrived.set()
            free.wait(20)

    telegram.on_download = hold
    with running(telegram, tiny_bundle, rate=100):
        sent = [telegram.send(voice=slow) for _ in range(16)]
        assert arrived.wait(10)
        late = [telegram.send(voice=slow) for _ in range(3)]
        assert telegram.answer(late[0]).fields["text"] == bots.BUSY
        assert telegram.answer(telegram.send(2, voice=quick)).photo is not None
        assert telegram.answers(sent[-1]) == []
        free.set()
        assert all(telegram.answer(number).photo for number in sent)
        assert telegram.answer(telegram.send(voice=quick)).photo is not None
    assert not any(map(telegram.answers, late[1:]))


def test_retry_after(telegram: Telegram, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def no_wait(self: TelegramBot, wait_s: float) -> bool:
        waited.append(wait_s)
        return True

    monkeypatch.setattr(TelegramBot, "_wait", no_wait)
    telegram.plan = {"sendMessage": [("wait", 300), ("wait", 86_400), ("wait", -1), 500]}
    with running(telegram, tiny_bundle):
        telegram.answer(telegram.send(text="/help"))
    assert waited == [300, 3600, 0, 8 * bots.FIRST_WAIT_S]


@pytest.mark.usefixtures("drawn")
def test_network_failures(telegram: Telegram, tiny_bundle: Path, shelf: Path) -> None:
    telegram.plan = {
        "getMe": ["drop", 500],
        "getUpdates": ["drop", "page", ("wait", 0), 502],
        "getFile": ["drop"],
        "download": ["drop", 503],
        "sendPhoto": [500, ("wait", 0), "drop"],
    }
    with running(telegram, tiny_bundle):
        number = telegram.send(voice=telegram.recording(encoded(2, "WAV")))
        assert telegram.answer(number).photo is not None
        assert not any(telegram.plan.values())
        # A picture that is forbidden: the words go alone. An answer that never arrives costs nobody else's.
        telegram.plan = {"sendPhoto": [400]}
        answer = telegram.answer(telegram.send(voice=telegram.recording(encoded(2, "WAV"))))
        assert answer.method == "sendMessage"
        assert SHORT in answer.fields["text"]
        telegram.plan = {"sendMessage": [403]}
        lost = telegram.send(text="I block you")
        assert telegram.answer(telegram.send(2, text="/help")).method == "sendMessage"
        assert telegram.answers(lost) == []
    assert list(shelf.iterdir()) == []


def test_revoked_token(telegram: Telegram, tiny_bundle: Path) -> None:
    telegram.plan = {"getUpdates": [401]}

    async def run() -> None:
        await asyncio.wait_for(make_bot(telegram, tiny_bundle).run(asyncio.Event()), 20)

    with pytest.raises(BotError, match="401") as caught:
        asyncio.run(run())
    assert TOKEN not in str(caught.value)


def test_internal_error_is_isolated(
    telegram: Telegram, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> RecordingAnswer:
        raise RuntimeError(f"at https://api.telegram.org/bot{TOKEN}/getFile")

    monkeypatch.setattr("emovox.telegram.predict_recording", broken)
    caplog.set_level(logging.DEBUG)
    with hide_token(TOKEN), running(telegram, tiny_bundle):
        telegram.send(voice=telegram.recording(encoded(1, "WAV")))
        telegram.answer(telegram.send(text="/start"))
    assert "RuntimeError" in caplog.text
    assert "bot<token>/getFile" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.usefixtures("drawn")
def test_token_hidden_in_logs(
    telegram: Telegram, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    telegram.plan = {"getUpdates": ["drop", 500], "sendPhoto": [500], "getMe": ["page"]}
    with running(telegram, tiny_bundle):
        telegram.answer(telegram.send(voice=telegram.recording(encoded(2, "WAV"))))
    assert TOKEN in caplog.text, "without the veil httpx writes it, so this test holds something"
    caplog.clear()
    telegram.plan = {"getUpdates": ["drop", 500], "sendPhoto": [500], "getMe": ["page"]}
    with hide_token(TOKEN), running(telegram, tiny_bundle):
        telegram.answer(telegram.send(voice=telegram.recording(encoded(2, "WAV"))))
        telegram.answer(telegram.send(voice=telegram.recording(b"nonsense")))
        try:
            raise RuntimeError(f"bot{TOKEN}")
        except RuntimeError:
            logging.getLogger("httpx").exception("at %s", TOKEN)
    assert caplog.text.count("<token>") >= 5
    assert TOKEN not in caplog.text
    assert TOKEN.partition(":")[2] not in caplog.text
    assert TOKEN not in repr(make_bot(telegram, tiny_bundle))


@pytest.mark.parametrize("token", ["", "12", "12:", "12:a/b", "12:ab\n", "12:a?b=c", f"{TOKEN} "])
def test_malformed_token(token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TelegramBot(token, partial(load_model, "default"), BotSettings())
    assert not token.strip() or token.strip() not in str(caught.value)


def test_settings() -> None:
    for wrong in ({"max_mb": 0}, {"rate": -1}, {"max_seconds": float("inf")}, {"threads": 0}, {"queue": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BotSettings(**wrong)  # type: ignore[arg-type]


FILE = st.just({"file_id": "x", "file_unique_id": "x", "duration": 1})
PERSON = st.just({"id": 3, "is_bot": False, "first_name": ""})
REPLIED = st.fixed_dictionaries(
    {"message_id": st.integers(0, 9), "date": st.just(0), "chat": st.just({"id": 1, "type": "group"})},
    optional={"voice": FILE, "text": st.text(max_size=4), "from": PERSON},
)
TEXTS = st.sampled_from(["/emotion", "/start x", "/help@emovox_test_bot", "/@", "/ ", "x", ""])
CHATS = st.sampled_from(["private", "group", "channel"]).map(lambda kind: {"id": 1, "type": kind})
CONTENTS = st.fixed_dictionaries(
    {"message_id": st.just(1), "date": st.just(0), "chat": CHATS},
    optional={
        "text": TEXTS,
        "caption": st.text(max_size=4),
        "voice": FILE,
        "document": FILE,
        "from": PERSON | st.none(),
        "reply_to_message": REPLIED,
    },
)


@settings(max_examples=60)
@given(CONTENTS)
def test_odd_messages(content: dict[str, Any]) -> None:
    """Every message that Telegram's documentation allows is handled without an internal error."""
    faults: list[object] = []

    async def run() -> None:
        bot = TelegramBot(TOKEN, partial(load_model, "default"), BotSettings(), base_url="http://127.0.0.1:9")
        bot._application._initialized = True  # without a network
        bot._application.bot._bot_user = library.User(1, "E", True, username="emovox_test_bot")
        bot._engine.model = lambda name=None: ("model", emovox.load())  # type: ignore[method-assign]
        message = {**content, **command_entities(content.get("text"))}
        update = library.Update.de_json({"update_id": 1, "message": message}, bot._application.bot)
        await bot.process(update)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bots._log, "error", lambda *given, **_: faults.append(given))
        patch.setattr(bots, "_TRIES", 1)
        asyncio.run(run())
    assert faults == []


def test_odd_updates(telegram: Telegram, tiny_bundle: Path) -> None:
    with running(telegram, tiny_bundle):
        edited = {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}}
        for odd in ({}, {"message": None}, {"edited_message": edited}):
            telegram.send_raw(odd)
        telegram.answer(telegram.send(text="/start"))
    assert len(telegram.answers()) == 1


# --- long recordings ------------------------------------------------------------------------------


@pytest.mark.slow
def test_long_recording(telegram: Telegram, tiny_bundle: Path, shelf: Path) -> None:
    content = repeated(encoded(20, "OGG", "OPUS"), 60)
    with running(telegram, tiny_bundle):
        number = telegram.send(voice=telegram.recording(content, duration=1200))
        answer = telegram.answer(number, timeout_s=100)
    assert answer.photo is not None
    assert answer.photo.startswith(PNG)
    text = answer.fields["caption"]
    assert text.startswith("Duration 20:00, ")
    assert len(text) <= bots.MAX_CAPTION
    assert re.search(r"\nThe longest of \d+ segments:\n", text)
    starts = re.findall(r"^(\d+):(\d\d)-", text, re.M)
    assert len(starts) >= 5
    assert starts == sorted(starts, key=lambda start: (int(start[0]), int(start[1])))
    assert list(shelf.iterdir()) == []


def test_answer_equals_recognizer(tiny_bundle: Path) -> None:
    model = emovox.load(tiny_bundle)
    short, long = (io.BytesIO(encoded(seconds, "WAV")) for seconds in (LONG_S - 1, LONG_S + 15))
    said = predict_recording(model, short, max_s=60)
    assert said.prediction is not None
    assert said.prediction.scores == model.predict(short.getvalue()).scores
    told = predict_recording(model, long, max_s=60)
    assert told.prediction is None
    assert [s.to_dict() for s in told.segments] == [s.to_dict() for s in model.timeline(long.getvalue())]
    assert told.duration_s == LONG_S + 15
    assert sum(told.scores.values()) == pytest.approx(1)
    with pytest.raises(AudioTooLongError):
        predict_recording(model, long, max_s=40)


@given(st.lists(st.floats(0.3, 4000), max_size=300), st.integers(2, 12), st.booleans())
def test_answer_fits_caption(lengths: list[float], n_labels: int, unsure: bool) -> None:
    labels = [*bots.EMOJI, "amused", "sleepiness", "disappointment"][:n_labels]
    scores = dict.fromkeys(labels, 1 / n_labels)
    start_s, segments = 0.0, []
    for n, length_s in enumerate(lengths):
        label = None if unsure and n % 3 == 0 else labels[n % n_labels]
        segments.append(Segment(start_s, start_s + length_s, label, 0.5, scores))
        start_s += length_s + 1
    heard = RecordingAnswer(start_s + 1, None, segments)
    assert 0 < len(bots.answer_text(heard)) <= bots.MAX_CAPTION
    prediction = Prediction(
        label=None if unsure else labels[0], scores=scores, confidence=0.5, reason="uncertain"
    )
    assert 0 < len(bots.answer_text(RecordingAnswer(3.0, prediction))) <= bots.MAX_CAPTION


def test_nothing_to_draw() -> None:
    nothing = RecordingAnswer(60.0, None, [])
    assert "no speech" in bots.answer_text(nothing)
    assert bots.draw_answer(nothing) is None
    assert bots.draw_answer(RecordingAnswer(1.0, Prediction(label=None, reason="silence"))) is None


# --- the command ----------------------------------------------------------------------------------


def command(telegram: Telegram, bundle: Path, shelf: Path) -> subprocess.Popen[str]:
    options = ("--threads", "1", "--model", str(bundle), "--base-url", telegram.url)
    return subprocess.Popen(
        [sys.executable, "-m", "emovox", "bot", "telegram", "--verbose", *options],
        env=os.environ | {"EMOVOX_TELEGRAM_TOKEN": TOKEN, "TMPDIR": str(shelf)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_command(telegram: Telegram, tiny_bundle: Path, shelf: Path, end: signal.Signals) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        arrived.set()
        go_on.wait(20)

    telegram.on_download = hold
    with command(telegram, tiny_bundle, shelf) as bot:
        number = telegram.send(voice=telegram.recording(encoded(2, "WAV")))
        assert arrived.wait(30)
        bot.send_signal(end)
        time.sleep(0.2)
        go_on.set()
        log = bot.communicate(timeout=30)[1]
    if end is signal.SIGTERM:
        assert bot.returncode == 0, log
        assert telegram.answer(number).photo is not None  # what was begun is finished
    assert list(shelf.iterdir()) == []
    assert "<token>" in log  # httpx's lines are there, and veiled
    assert TOKEN not in log


def test_command_errors(
    telegram: Telegram, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from emovox.cli import main

    run: Callable[..., int] = lambda *more: main(["bot", "telegram", *more])  # noqa: E731
    monkeypatch.delenv("EMOVOX_TELEGRAM_TOKEN", raising=False)
    assert run() == 2
    assert "EMOVOX_TELEGRAM_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("EMOVOX_TELEGRAM_TOKEN", TOKEN.replace("123456", "654321"))
    assert run("--base-url", telegram.url) == 2
    err = capsys.readouterr().err
    assert "Unauthorized (401)" in err
    assert "AAfake" not in err
    assert run("--base-url", "ftp://x") == 2
    assert run("--model", "no-such-model") == 2
    assert run("--rate", "0") == 2
    assert main(["bot", "telegramm"]) == 2
    assert "did you mean 'telegram'" in capsys.readouterr().err
    assert main(["bot", "telegram", "--help"]) == 0


def test_missing_extra() -> None:
    code = "import sys; sys.modules['telegram'] = None; from emovox.cli import main; sys.exit(main())"
    for options, status, message in ((["--help"], 0, ""), ([], 2, "[bot]'")):
        done = subprocess.run(
            [sys.executable, "-c", code, "bot", "telegram", *options],
            env=os.environ | {"EMOVOX_TELEGRAM_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, message in done.stderr) == (status, True), done.stderr
