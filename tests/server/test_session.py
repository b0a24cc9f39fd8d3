"""A live conversation without its socket: every order of frames, every chunking, every end."""

from __future__ import annotations

import functools
import gc
import io
import itertools
import json
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import emovox
from emovox import audio
from emovox.errors import AudioDecodeError, MissingExtraError
from emovox.inference.recognizer import Recognizer
from emovox.server.schemas import Refusal
from emovox.server.session import (
    Session,
    SessionLimits,
    SessionMessage,
    SessionModel,
    SessionState,
    StartMessage,
    Work,
    advance,
    get_close_code,
)
from emovox.server.stream_decoder import MAX_SILENT_BYTES, ContainerDecoder

RATE = 16_000
START = {"type": "start", "rate": RATE, "encoding": "pcm16"}
TINY = SessionLimits(message_bytes=20_000, idle_s=30, longest_s=100)


def talk(rate: int = RATE) -> np.ndarray:
    """Seven seconds, ``(n,)`` float32: two buzzing vowels, a pause, and another voice."""
    t = np.arange(round(2.5 * rate)) / rate
    wide = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)

    def vowel(hz: float) -> np.ndarray:
        return sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, int(3800 / hz))) * wide  # type: ignore

    y = np.concatenate([vowel(120), np.zeros(round(1.2 * rate)), vowel(210), np.zeros(round(0.8 * rate))])
    return (0.3 * y / np.abs(y).max()).astype(np.float32)


def pcm16(x: np.ndarray) -> np.ndarray:
    return np.rint(x * 32767).astype("<i2")


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Recognizer:
    return emovox.load(tiny_bundle)


@pytest.fixture
def open_session(model: Recognizer) -> Callable[..., Session]:
    return lambda **named: Session(lambda start: SessionModel("tiny", model), **named)


def done(work: Work) -> list[SessionMessage]:
    """All answers of a piece of work."""
    answers: list[SessionMessage] = []
    is_last = False
    while not is_last:
        found, is_last = advance(work)
        answers += found
    return json.loads(json.dumps(answers))  # type: ignore[no-any-return]


def said(session: Session, **message: Any) -> list[SessionMessage]:
    return done(session.receive(json.dumps(message)))


def heard(session: Session, start: dict[str, Any], data: bytes, cuts: list[int]) -> list[SessionMessage]:
    """All that is answered to ``data``, sent in messages cut at ``cuts``."""
    answers = said(session, **start)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for a, b in itertools.pairwise(edges):
        answers += done(session.receive(data[a:b]))
    return answers + said(session, type="flush")


def rows(answers: list[SessionMessage], kind: str = "segment") -> list[SessionMessage]:
    return [{k: v for k, v in row.items() if k != "type"} for row in answers if row["type"] == kind]


def timeline(model: Recognizer, source: Any, **named: Any) -> list[dict[str, Any]]:
    return [{**each.to_dict(), "file": None} for each in model.timeline(source, **named)]


CUTS = st.lists(st.integers(0, 10**6), max_size=12)


# ------------------------------------------------------------------ the same sound, the same answers


@settings(max_examples=12)
@given(cuts=CUTS)
def test_pcm16_in_any_messages_is_the_timeline(model: Recognizer, cuts: list[int]) -> None:
    x = pcm16(talk())
    session = Session(lambda start: SessionModel("tiny", model))
    answers = heard(session, START, x.tobytes(), cuts)
    assert rows(answers) == timeline(model, x, sample_rate=RATE)
    assert len(rows(answers)) >= 2
    windows = rows(answers, "window")
    assert [w["end_s"] for w in windows[:7]] == [1, 2, 3, 4, 5, 6, 7]
    assert answers[-1] == {"type": "flushed", "duration_s": 7.0}


@settings(max_examples=5)
@given(cuts=CUTS)
def test_float32_at_another_rate_is_the_timeline(model: Recognizer, cuts: list[int]) -> None:
    x = talk(22_050)
    start = {**START, "encoding": "float32", "rate": 22_050, "hop": 0.5, "window": 2, "labels": "sad,happy"}
    answers = heard(
        Session(lambda start: SessionModel("tiny", model)), start, x.astype("<f4").tobytes(), cuts
    )
    wanted = timeline(model, x, sample_rate=22_050, hop_s=0.5, window_s=2.0, labels="sad,happy")
    assert rows(answers) == wanted
    assert answers[0]["labels"] == ["sad", "happy"]
    assert (answers[0]["window_s"], answers[0]["hop_s"]) == (2.0, 0.5)


@functools.cache
def webm(times: float = 1) -> bytes:
    """What MediaRecorder would give of the talk, ``times`` over: live, opus, a cluster every 0.1 s."""
    x, rate = np.resize(talk(), round(times * len(talk()))), RATE
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"live": "1", "cluster_time_limit": "100"}) as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm16(x)[np.newaxis], "s16", "mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler("s16", "mono", 48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(track.encode(part))
    return file.getvalue()


@settings(max_examples=8)
@given(cuts=CUTS)
def test_webm_in_any_messages_is_the_timeline_of_the_file(model: Recognizer, cuts: list[int]) -> None:
    data = webm()
    start = {"type": "start", "encoding": "webm"}
    answers = heard(Session(lambda start: SessionModel("tiny", model)), start, data, cuts)
    assert rows(answers) == timeline(model, data)
    assert len(rows(answers)) >= 2


def test_webm_is_heard_while_it_arrives(open_session: Callable[..., Session]) -> None:
    data, session = webm(2), open_session()
    said(session, type="start", encoding="webm")
    for at in range(0, len(data), 20_000):
        done(session.receive(data[at : at + 20_000]))
        there_s = len(audio.read(data[: at + 20_000])) / RATE
        assert there_s - 0.1 < session.audio_s <= there_s, "all that is there is heard at once"


def test_segments_come_once_they_are_final(open_session: Callable[..., Session], model: Recognizer) -> None:
    session, x = open_session(), pcm16(talk())
    said(session, **START)
    seen: list[SessionMessage] = []
    for at in range(0, len(x), 1600):
        for answer in done(session.receive(x[at : at + 1600].tobytes())):
            if answer["type"] == "segment":
                assert answer["end_s"] < (at + 1600) / RATE
                seen.append(answer)
    assert seen, "the first voice ended long before the sound did"
    rest = said(session, type="flush")
    assert rows(seen + rest) == timeline(model, x, sample_rate=RATE)


def test_a_torn_sample_at_the_end_is_no_sound(
    open_session: Callable[..., Session], model: Recognizer
) -> None:
    x = pcm16(talk())
    answers = heard(open_session(), START, x.tobytes() + b"\x01", [])
    assert rows(answers) == timeline(model, x, sample_rate=RATE)


def test_a_session_starts_again(open_session: Callable[..., Session]) -> None:
    session, x = open_session(), pcm16(talk()).tobytes()
    once = heard(session, START, x, [])
    assert session.state is SessionState.FLUSHED
    again = heard(session, START, x, [100])
    assert rows(again) == rows(once)
    assert once[0]["session"] != again[0]["session"]


# ------------------------------------------------------------------ fairness


def test_a_long_message_is_many_pieces(open_session: Callable[..., Session]) -> None:
    session = open_session()
    said(session, **START)
    work, n = session.receive(bytes(2 * RATE * 20)), 1
    while not advance(work)[1]:
        n += 1
    assert n == 20
    assert session.audio_s == 20


def test_a_long_packed_message_is_many_pieces(open_session: Callable[..., Session]) -> None:
    data = webm(3)
    session = open_session()
    said(session, type="start", encoding="webm")
    work, n = session.receive(data), 1
    while not advance(work)[1]:
        n += 1
    assert n >= 20


# ------------------------------------------------------------------ refusals


def refused(session: Session, frame: str | bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        done(session.receive(frame))
    assert session.state is SessionState.CLOSED
    return caught.value


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("", 1007, "not JSON"),
        ("[]", 1007, "another JSON type"),
        ('{"type": "begin"}', 1007, "flush"),
        ('{"type": ["start"]}', 1007, "stop"),
        ('{"type": "stop", "type": "stop"}', 1007, "twice"),
        ('{"type": "start"}', 1007, "rate"),
        ('{"type": "start", "rate": "16000"}', 1007, "whole number"),
        ('{"type": "start", "rate": 16}', 1007, "16000"),
        ('{"type": "start", "rate": 0}', 1007, "rate"),
        ('{"type": "start", "rate": 16000, "encoding": "pcm-16"}', 1007, "'pcm16'"),
        ('{"type": "start", "rate": 16000, "windows": 3}', 1007, "'window'"),
        ('{"type": "start", "rate": 16000, "window": 300}', 1007, "takes 0.5 to 10 s"),
        ('{"type": "start", "rate": 16000, "hop": 0.01}', 1007, "hop"),
        ('{"type": "start", "rate": 16000, "hop": 0.2}', 1007, "in 15 windows; expected at most 12"),
        ('{"type": "start", "rate": 16000, "hop": 0.1, "window": 1.5}', 1007, "in 15 windows"),
        ('{"type": "start", "rate": 16000, "\\ud800": 1}', 1007, "?"),
        ('{"type": "start", "rate": 16000, "hop": NaN}', 1007, "NaN"),
        ('{"type": "start", "rate": 16000, "labels": ["joyous"]}', 1007, "joyous"),
        ('{"type": "start", "rate": 16000, "vad": "yes"}', 1007, "'on' or 'off'"),
        ('{"type": "flush"}', 4000, "start"),
        (b"\0\0", 4000, "start"),
        ("x" * 30_000, 1009, "20000"),
        (bytes(30_000), 1009, "20000"),
    ],
)
def test_what_is_refused(
    open_session: Callable[..., Session], frame: str | bytes, code: int, words: str
) -> None:
    refusal = refused(open_session(limits=TINY), frame)
    assert get_close_code(refusal) == code
    assert words in refusal.message


def test_a_second_start_and_late_sound_are_out_of_order(open_session: Callable[..., Session]) -> None:
    session = open_session()
    said(session, **START)
    assert get_close_code(refused(session, json.dumps(START))) == 4000
    session = open_session()
    heard(session, START, bytes(3200), [])
    assert get_close_code(refused(session, b"\0\0")) == 4000


def test_samples_that_are_no_numbers(open_session: Callable[..., Session]) -> None:
    session = open_session()
    said(session, **{**START, "encoding": "float32"})
    refusal = refused(session, np.full(100, np.nan, "<f4").tobytes())
    assert (get_close_code(refusal), refusal.code) == (1007, "unusable_sound")


def test_who_listens_may_refuse() -> None:
    def opened(start: StartMessage) -> SessionModel:
        assert "secret" not in repr(start)
        raise Refusal(401, "unauthorized", "the API key is wrong")

    session = Session(opened)
    assert get_close_code(refused(session, json.dumps({**START, "api_key": "secret"}))) == 1008


def test_a_fault_of_ours_is_raised_and_closes() -> None:
    def opened(start: StartMessage) -> SessionModel:
        raise ZeroDivisionError

    session = Session(opened)
    with pytest.raises(ZeroDivisionError):
        done(session.receive(json.dumps(START)))
    assert session.state is SessionState.CLOSED


def test_what_is_no_container(open_session: Callable[..., Session]) -> None:
    pytest.importorskip("av")
    session = open_session()
    with pytest.raises(Refusal) as caught:
        heard(session, {"type": "start", "encoding": "webm"}, b"RIFF" + bytes(100_000), [50])
    assert get_close_code(caught.value) == 1003


def test_a_container_without_end_and_sound_is_given_up() -> None:
    pytest.importorskip("av")
    media = ContainerDecoder()
    header = webm()[:200]
    endless = b"\xec\x10\xff\xff\xff\xff\xff\xff"  # a void of 4 GiB, which has to be skipped
    parts = [header + endless, *[bytes(1 << 16)] * (MAX_SILENT_BYTES >> 15)]
    with pytest.raises(AudioDecodeError, match="without audio"):
        list(itertools.chain.from_iterable(media.push(part) for part in parts))
    media.close()


def test_without_the_extra_a_client_learns_at_once(
    open_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError):
        ContainerDecoder()
    assert get_close_code(refused(open_session(), '{"type": "start", "encoding": "webm"}')) == 1003


# ------------------------------------------------------------------ time


def test_an_idle_client_gets_the_rest_and_is_let_go(open_session: Callable[..., Session]) -> None:
    now = [0.0]
    session = open_session(limits=TINY, clock=lambda: now[0])
    assert session.wait_s() == 30
    now[0] = 20.0
    said(session, **START)
    x = pcm16(talk())[: 2 * RATE]
    for at in range(0, len(x), 8000):
        done(session.receive(x[at : at + 8000].tobytes()))
    assert session.wait_s() == 30
    now[0] = 50.0
    assert session.wait_s() == 0
    work = session.expire()
    answers, is_last = advance(work)
    assert [each["type"] for each in answers] == ["segment", "flushed"]
    assert not is_last
    with pytest.raises(Refusal) as caught:
        advance(work)
    assert get_close_code(caught.value) == 4001
    assert session.state is SessionState.CLOSED


def test_empty_frames_are_as_good_as_none(open_session: Callable[..., Session]) -> None:
    now = [0.0]
    session = open_session(limits=TINY, clock=lambda: now[0])
    said(session, **START)
    for now[0] in (10.0, 20.0, 29.0):
        assert done(session.receive(b"")) == []
    assert session.wait_s() == 1
    done(session.receive(b"\0"))  # half a sample is sound on its way
    assert session.wait_s() == 30


def test_a_session_is_not_for_ever(open_session: Callable[..., Session]) -> None:
    now = [0.0]
    session = open_session(limits=TINY, clock=lambda: now[0])
    for now[0] in range(0, 100, 20):
        said(session, **START)
        said(session, type="flush")
    now[0] = 90.0
    said(session, **START)
    assert session.wait_s() == 10
    now[0] = 101.0
    work = session.expire()
    assert advance(work)[0][-1]["type"] == "flushed"
    with pytest.raises(Refusal) as caught:
        advance(work)
    assert get_close_code(caught.value) == 4002


def test_sound_is_not_for_ever_either(open_session: Callable[..., Session]) -> None:
    session = open_session(limits=SessionLimits(longest_s=5))
    said(session, **START)
    work = session.receive(pcm16(talk()).tobytes())
    answers = [each for _ in range(6) for each in advance(work)[0]]
    with pytest.raises(Refusal) as caught:
        advance(work)
    assert get_close_code(caught.value) == 4002
    assert answers[-1] == {"type": "flushed", "duration_s": 6.0}
    assert len(rows(answers)) >= 1


# ------------------------------------------------------------------ nothing is left


def media_threads() -> int:
    return sum(thread.name == "emovox-media" for thread in threading.enumerate())


@pytest.mark.parametrize("encoding", ["pcm16", "webm"])
@pytest.mark.parametrize("way", ["closed", "dropped", "in the middle"])
def test_a_session_frees_its_state(open_session: Callable[..., Session], encoding: str, way: str) -> None:
    before = media_threads()
    data = pcm16(talk()).tobytes() if encoding == "pcm16" else webm()
    session = open_session()
    said(session, **{**START, "encoding": encoding})
    stream = weakref.ref(session._recording._stream)  # type: ignore[union-attr]
    work = session.receive(data)
    advance(work)
    if way != "in the middle":
        done(work)
    if way == "closed":
        session.close()
    threads = [thread for thread in threading.enumerate() if thread.name == "emovox-media"]
    del session, work
    gc.collect()
    for thread in threads[before:]:
        thread.join(5)
    assert stream() is None
    assert media_threads() == before


def test_closing_waits_for_the_piece_that_is_done(model: Recognizer) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def opened(start: StartMessage) -> SessionModel:
        begun.set()
        go_on.wait(10)
        return SessionModel("tiny", model)

    session = Session(opened)
    worker = threading.Thread(target=advance, args=(session.receive(json.dumps(START)),))
    closer = threading.Thread(target=session.close)
    worker.start()
    begun.wait(10)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    go_on.set()
    for thread in (worker, closer):
        thread.join(10)
    assert session.state is SessionState.CLOSED
    assert session._recording is None


# ------------------------------------------------------------------ whatever comes

FRAMES = st.one_of(
    st.binary(max_size=50),
    st.text(max_size=30),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ).map(json.dumps),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["start", "flush", "stop"])},
        optional={
            "rate": st.sampled_from([16_000, 8000, 0, -1, 1.5, True, None, 10**30]),
            "encoding": st.sampled_from(["pcm16", "float32", "webm", "opus", 1]),
            "window": st.sampled_from([1, 3.0, 0, -1, 1e300, None]),
            "hop": st.sampled_from([0.1, 0.25, 1, 0, None]),
            "labels": st.sampled_from(["sad,happy", ["sad"], [], "", ["sad", "sad"], 3]),
            "vad": st.sampled_from(["on", "off", "", None]),
            "model": st.text(max_size=3),
        },
    ).map(json.dumps),
)


def answered(session: Session, frames: list[str | bytes]) -> int | None:
    """The code that the session closes with, if it refuses; and then it is closed."""
    try:
        for frame in frames:
            for answer in done(session.receive(frame)):
                assert answer["type"] in ("ready", "window", "segment", "flushed")
            if session.state is SessionState.CLOSED:
                break
    except Refusal as refusal:
        assert session.state is SessionState.CLOSED
        return get_close_code(refusal)
    session.close()
    return None


@settings(max_examples=80)
@given(frames=st.lists(FRAMES, max_size=8))
def test_whatever_comes_is_answered_or_refused(model: Recognizer, frames: list[str | bytes]) -> None:
    assert answered(Session(lambda start: SessionModel("tiny", model)), frames) in (None, 1003, 1007, 4000)


@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_container_is_heard_or_refused(model: Recognizer, data: st.DataObject) -> None:
    whole = bytearray(webm(0.3))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    frames = [
        '{"type": "start", "encoding": "webm"}',
        bytes(whole[:cut]),
        bytes(whole[cut:]),
        '{"type": "flush"}',
    ]
    assert answered(Session(lambda start: SessionModel("tiny", model)), frames) in (None, 1003, 1007)


class Conversation(RuleBasedStateMachine):
    """Any order of proper frames, beside the drawing in the module's docstring as a table."""

    model: Recognizer

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(lambda start: SessionModel("tiny", self.model))
        self.at = SessionState.NEW
        self.n_samples = 0

    def go(self, frame: str | bytes, allowed: set[SessionState], to: SessionState) -> list[SessionMessage]:
        if self.at in allowed:
            self.at = to
            return done(self.session.receive(frame))
        self.at = SessionState.CLOSED
        assert get_close_code(refused(self.session, frame)) == 4000
        return []

    @precondition(lambda self: self.at is not SessionState.CLOSED)
    @rule()
    def start(self) -> None:
        found = self.go(json.dumps(START), {SessionState.NEW, SessionState.FLUSHED}, SessionState.ACTIVE)
        assert [each["type"] for each in found] == ["ready"] * (self.at is SessionState.ACTIVE)
        self.n_samples = 0

    @precondition(lambda self: self.at is not SessionState.CLOSED)
    @rule(n=st.integers(0, 40_000))
    def sound(self, n: int) -> None:
        before, self.n_samples = self.n_samples, self.n_samples + n
        found = self.go(bytes(2 * n), {SessionState.ACTIVE}, SessionState.ACTIVE)
        if self.at is SessionState.ACTIVE:
            assert len(found) == self.n_samples // RATE - before // RATE

    @precondition(lambda self: self.at is not SessionState.CLOSED)
    @rule()
    def flush(self) -> None:
        found = self.go('{"type": "flush"}', {SessionState.ACTIVE}, SessionState.FLUSHED)
        if self.at is SessionState.FLUSHED:
            assert found[-1] == {"type": "flushed", "duration_s": round(self.n_samples / RATE, 3)}

    @precondition(lambda self: self.at is SessionState.CLOSED)
    @rule()
    def open_another(self) -> None:
        self.__init__()  # type: ignore[misc]

    @precondition(lambda self: self.at is not SessionState.CLOSED)
    @rule()
    def stop(self) -> None:
        assert self.go('{"type": "stop"}', set(SessionState), SessionState.CLOSED) == []

    @invariant()
    def agree(self) -> None:
        assert self.session.state is self.at

    def teardown(self) -> None:
        self.session.close()


@pytest.fixture
def conversation(model: Recognizer) -> type[Conversation]:
    Conversation.model = model
    return Conversation


def test_every_order_of_frames(conversation: type[Conversation]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(conversation, settings=settings(max_examples=40, stateful_step_count=12))
