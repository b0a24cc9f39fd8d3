"""The door for sound: every kind of file, every wrong thing people hand in."""

from __future__ import annotations

import doctest
import io
import itertools
import os
import struct
import sys
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emovox import audio
from emovox.audio import validation
from emovox.errors import (
    AudioDecodeError,
    AudioError,
    AudioNotFoundError,
    AudioTooLongError,
    AudioValueError,
    MissingExtraError,
)

RATE = audio.SAMPLE_RATE


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    """``(n,)`` float64."""
    return peak * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def encoded(x: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    """A file in memory, written by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=kind, subtype=subtype)
    return file.getvalue()


def riff(tag: int, bits: int, rate: int, n_channels: int, data: bytes, *, claims: int | None = None) -> bytes:
    """A wav packed by hand: a second road beside libsndfile's writer. ``claims`` is what the header says."""
    frame = n_channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, n_channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    size = len(data) if claims is None else claims
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(size + len(body) - len(data), 0xFFFFFFFF)) + body


def pcm16(x: np.ndarray, rate: int = RATE) -> bytes:
    """``(n,)`` or ``(n, c)`` -> 16-bit wav."""
    x = x.reshape(len(x), -1)
    return riff(1, 16, rate, x.shape[1], np.rint(x * 32767).astype("<i2").tobytes())


def media(kind: str, codec: str, x: np.ndarray, rate: int) -> bytes:
    """``(n, c)`` -> a file written by FFmpeg, in codecs libsndfile does not have."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    layout = "mono" if x.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(x.T, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts = rate, 0
        frames = av.AudioResampler(stream.codec_context.format, layout, rate).resample(frame)
        for packet in [p for f in frames for p in stream.encode(f)] + stream.encode(None):
            container.mux(packet)
    return file.getvalue()


def silent_film() -> bytes:
    """A video without a sound track."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            for packet in stream.encode(picture):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return file.getvalue()


def similarity(x: np.ndarray, y: np.ndarray) -> float:
    """Largest normalised correlation over shifts of up to 0.1 s: codecs delay."""
    n = min(len(x), len(y)) - 3200
    x = x[1600 : 1600 + n].astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(y.astype(np.float64)[: n + 3200], n)[:3200:2]
    return float(np.max(windows @ x / (np.linalg.norm(x) * np.linalg.norm(windows, axis=1) + 1e-12)))


# --- files -----------------------------------------------------------------------------------------------


def mulaw(codes: np.ndarray) -> np.ndarray:
    """G.711 mu-law, from its definition."""
    inverted = ~codes.astype(np.uint8)
    magnitude = (((inverted & 15) * 2 + 33) << ((inverted >> 4) & 7).astype(int)) - 33
    return np.where(inverted & 128, -1, 1) * magnitude * 4 / 32768


def alaw(codes: np.ndarray) -> np.ndarray:
    """G.711 A-law, from its definition."""
    even = codes.astype(int) ^ 0x55
    exponent, mantissa = (even >> 4) & 7, even & 15
    magnitude = np.where(
        exponent == 0, mantissa * 16 + 8, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0)
    )
    return np.where(even & 128, 1, -1) * magnitude / 32768


def _wav_kinds() -> dict[str, tuple[bytes, np.ndarray]]:
    rng = np.random.default_rng(1)
    n = 1000
    wide = rng.integers(-(2**31), 2**31, n)
    floats = rng.uniform(-1, 1, n)
    codes = np.arange(256, dtype=np.uint8)
    packed24 = b"".join(int(v >> 8).to_bytes(3, "little", signed=True) for v in wide)
    return {
        "8 bit": (riff(1, 8, RATE, 1, ((wide >> 24) + 128).astype("u1").tobytes()), (wide >> 24) / 2**7),
        "16 bit": (riff(1, 16, RATE, 1, (wide >> 16).astype("<i2").tobytes()), (wide >> 16) / 2**15),
        "24 bit": (riff(1, 24, RATE, 1, packed24), (wide >> 8) / 2**23),
        "32 bit": (riff(1, 32, RATE, 1, wide.astype("<i4").tobytes()), wide / 2**31),
        "float": (riff(3, 32, RATE, 1, floats.astype("<f4").tobytes()), floats),
        "double": (riff(3, 64, RATE, 1, floats.astype("<f8").tobytes()), floats),
        "mu-law": (riff(7, 8, RATE, 1, codes.tobytes()), mulaw(codes)),
        "A-law": (riff(6, 8, RATE, 1, codes.tobytes()), alaw(codes)),
    }


@pytest.mark.parametrize("kind", list(_wav_kinds()))
def test_every_wav_coding_gives_the_numbers_it_was_packed_from(kind: str) -> None:
    data, expected = _wav_kinds()[kind]
    x = audio.read(data)
    assert x.dtype == np.float32
    assert x.shape == expected.shape
    np.testing.assert_allclose(x, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [
        ("FLAC", "PCM_16", 44_100),
        ("MP3", None, 44_100),
        ("MP3", None, 24_000),
        ("OGG", "VORBIS", 48_000),
        ("OGG", "OPUS", 48_000),
        ("AIFF", "PCM_16", 22_050),
        ("CAF", "PCM_16", 96_000),
    ],
)
def test_coded_sound_is_the_sound(kind: str, subtype: str | None, rate: int) -> None:
    x = audio.read(encoded(tone(rate), rate, kind, subtype))
    assert len(x) == RATE
    assert similarity(x, tone(RATE)) > 0.99
    assert np.sqrt(np.mean(x[1600:-1600] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "n_channels", "like"),
    [
        ("ipod", "aac", 44_100, 1, 0.99),
        ("mp4", "aac", 48_000, 2, 0.99),
        ("adts", "aac", 16_000, 2, 0.99),
        ("webm", "libopus", 48_000, 2, 0.99),
        ("avi", "mp2", 44_100, 2, 0.99),
        ("mpegts", "mp2", 44_100, 1, 0.99),
        ("amr", "libopencore_amrnb", 8_000, 1, 0.9),
    ],
)
def test_media_is_read_at_its_own_level(
    kind: str, codec: str, rate: int, n_channels: int, like: float
) -> None:
    if codec not in pytest.importorskip("av").codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    data = media(kind, codec, np.repeat(tone(rate, 2.0)[:, np.newaxis], n_channels, axis=1), rate)
    x = audio.read(data)
    assert len(x) == pytest.approx(2 * RATE, abs=0.15 * RATE)
    assert similarity(x, tone(RATE, 2.0)) > like
    # Equal channels mix to themselves. FFmpeg's own down-mix would be 1.4 times as loud.
    assert np.sqrt(np.mean(x[8000:24000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.2)
    info = audio.probe(data)
    assert (info.sample_rate, info.n_channels) == (rate, n_channels)
    if kind in ("adts", "amr"):
        assert info.duration_s is None, "nothing in a raw stream says how long it is"
    else:
        assert info.duration_s == pytest.approx(2.0, abs=0.15)


def test_path_bytes_file_object_and_array_are_one(tmp_path: Path) -> None:
    data = pcm16(np.stack([tone(48_000), tone(48_000, hz=300)], axis=1), 48_000)
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    expected = audio.read(path)
    with path.open("rb") as file:
        for other in (str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file):
            np.testing.assert_array_equal(audio.read(other), expected)
    np.testing.assert_array_equal(audio.read(samples, sample_rate=rate), expected)
    np.testing.assert_array_equal(audio.read(np.ascontiguousarray(samples.T), sample_rate=rate), expected)


@pytest.mark.parametrize("name", ["a.mp3", "a.raw", "a.txt", "a", "a.m4a", "a.gsm", "a.vox", "ä ö.wav"])
def test_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    data = encoded(tone(RATE), RATE, "FLAC")
    (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(audio.read(tmp_path / name), audio.read(data))


def test_a_file_object_is_read_from_where_it_stands_and_left_there() -> None:
    data = pcm16(tone(RATE))
    file = io.BytesIO(b"twelve bytes" + data)
    file.seek(12)
    np.testing.assert_array_equal(audio.read(file), audio.read(data))
    assert file.tell() == 12
    np.testing.assert_array_equal(audio.read(file), audio.read(data))
    assert not file.closed


class Pipe(io.RawIOBase):
    """Bytes that come once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


def test_a_pipe_is_read_whole_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pcm16(tone(RATE))
    np.testing.assert_array_equal(audio.read(io.BufferedReader(Pipe(data))), audio.read(data))
    monkeypatch.setattr("emovox.audio.source.MAX_STREAM_BYTES", 1000)
    with pytest.raises(AudioValueError, match="cannot seek"):
        audio.read(io.BufferedReader(Pipe(data)))


class Broken(io.BytesIO):
    """A file object that fails in the middle."""

    def read(self, count: int | None = -1, /) -> bytes:
        if self.tell() > 10_000:
            raise RuntimeError("the network went away")
        return super().read(count)


def test_a_file_object_that_fails_is_an_audio_error_not_a_shorter_recording() -> None:
    for data in (WAV, media("ipod", "aac", tone(RATE, 30.0)[:, np.newaxis], RATE)):
        with pytest.raises(AudioDecodeError, match="network went away"):
            audio.read(Broken(data))


# --- channels --------------------------------------------------------------------------------------------


def test_channels() -> None:
    left, right = tone(RATE), tone(RATE, hz=700, peak=0.2)
    both = np.stack([left, right], axis=1).astype(np.float32)
    data = riff(3, 32, RATE, 2, both.astype("<f4").tobytes())
    np.testing.assert_array_equal(audio.read(data, channels="each"), both.T)
    for one, same in ((0, "0"), (1, "1")):
        np.testing.assert_array_equal(audio.read(data, channels=one), both[:, one])
        np.testing.assert_array_equal(audio.read(data, channels=same), both[:, one])
    np.testing.assert_allclose(audio.read(data), (left + right) / 2, atol=1e-7)
    assert audio.read(pcm16(left), channels="each").shape == (1, RATE)
    with pytest.raises(AudioValueError, match=r"no channel 2.*has 2"):
        audio.read(data, channels=2)


@pytest.mark.parametrize("channels", [-1, "-1", "left", "", True, 1.5, None, "1e3", "²", "9" * 5000])
def test_nonsense_channels_are_refused_at_once(channels: Any) -> None:
    with pytest.raises(AudioValueError, match="channels is"):
        audio.blocks(np.zeros(9), sample_rate=RATE, channels=channels)


# --- blocks ----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]),
    n=st.integers(1, 60_000),
    block_s=st.floats(0.01, 3.0),
    channels=st.sampled_from(["mix", "each", 1]),
)
def test_blocks_one_after_the_other_are_what_read_gives(
    rate: int, n: int, block_s: float, channels: Any
) -> None:
    x = np.random.default_rng(n).uniform(-1, 1, (n, 2)).astype(np.float32)
    parts = list(audio.blocks(x, sample_rate=rate, channels=channels, block_s=block_s))
    assert {p.shape[1] for p in parts[:-1]} <= {round(block_s * RATE)}
    assert 1 <= parts[-1].shape[1] <= round(block_s * RATE)
    whole = audio.read(x, sample_rate=rate, channels=channels)
    joined = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(joined if channels == "each" else joined[0], whole)
    assert whole.shape[-1] == pytest.approx(n * RATE / rate, abs=1)
    assert np.abs(whole).max() <= 1.0


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("kind", ["MP3", "OGG"])
def test_reading_a_little_at_a_time_loses_no_coded_frame(kind: str, rate: int) -> None:
    """libsndfile's own whole read is the other road; its seeks between reads would break mp3s."""
    noise = np.random.default_rng(2).normal(0, 0.2, rate * 8).astype(np.float32)
    with io.BytesIO() as file:
        with soundfile.SoundFile(file, "w", rate, 1, format=kind) as writer:
            writer.write(noise)
        data = file.getvalue()
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    ours = np.concatenate(list(audio.blocks(data, block_s=0.7)), axis=1)[0]
    np.testing.assert_allclose(ours, audio.read(whole, sample_rate=rate), atol=1e-5)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    def peak_bytes(seconds: int) -> int:
        path = tmp_path / f"{seconds}.flac"
        with soundfile.SoundFile(path, "w", 48_000, 2) as file:
            for _ in range(seconds):
                file.write(np.zeros((48_000, 2), np.int16))
        tracemalloc.start()
        n = sum(b.shape[1] for b in audio.blocks(path, block_s=5.0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert n == seconds * RATE
        return peak

    peak_bytes(10)
    assert peak_bytes(160) < peak_bytes(20) + 200_000 < 3_000_000


@pytest.mark.parametrize("block_s", [0, -1, float("nan"), float("inf"), 1e-9, "1"])
def test_absurd_blocks_are_refused_at_once(block_s: Any) -> None:
    with pytest.raises(AudioValueError, match="block_s"):
        audio.blocks(np.zeros(9), sample_rate=RATE, block_s=block_s)


def test_a_recording_longer_than_it_may_be_is_decoded_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    # A flac of digital silence: an hour of it is a few kB.
    file = io.BytesIO()
    soundfile.write(file, np.zeros((60 * 8000, 2), np.int16), 8000, format="FLAC")
    file.seek(0)
    read: list[int] = []
    frames = audio.decoders.SoundfileDecoder.frames
    monkeypatch.setattr(
        audio.decoders.SoundfileDecoder,
        "frames",
        lambda self: (read.append(len(x)) or x for x in frames(self)),
    )
    with pytest.raises(AudioTooLongError, match="longer than 5 s"):
        list(audio.blocks(file, block_s=1.0, max_s=5.0))
    assert sum(read) / 8000 < 5 + 8192 / 8000
    assert sum(block.shape[1] for block in audio.blocks(file, max_s=60.0)) == 60 * RATE  # to the last sample
    for max_s in (0, -1, float("nan")):
        with pytest.raises(AudioValueError, match="max_s"):
            audio.blocks(file, max_s=max_s)
    many = io.BytesIO()
    soundfile.write(many, np.zeros((96_000, 8), np.int16), 96_000, format="FLAC")
    many.seek(0)
    assert len(list(audio.blocks(many, block_s=1.0))) == 1
    with pytest.raises(AudioTooLongError, match="8 channels at 96000 Hz"):
        list(audio.blocks(many, block_s=1.0, max_s=1.5))


# --- resampling ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([1_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000, 768_000]),
    sizes=st.lists(st.integers(0, 5_000), min_size=1, max_size=12),
    n_channels=st.integers(1, 3),
)
def test_resampled_in_chunks_is_resampled_whole(rate: int, sizes: list[int], n_channels: int) -> None:
    x = np.random.default_rng(sum(sizes)).uniform(-0.7, 0.7, (n_channels, sum(sizes))).astype(np.float32)
    whole = audio.Resampler(rate, n_channels=n_channels)
    chunked = audio.Resampler(rate, n_channels=n_channels)
    expected = np.concatenate([whole.push(x), whole.flush()], axis=1)
    edges = np.cumsum([0, *sizes])
    parts = [chunked.push(x[:, a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([*parts, chunked.flush()], axis=1), expected)
    assert expected.shape[1] == pytest.approx(x.shape[1] * RATE / rate, abs=0.5001)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_a_resampled_tone_is_the_tone(rate: int) -> None:
    """What the tone is at 16 kHz is known without any resampler."""
    y = audio.read(tone(rate, 1.0).astype(np.float32), sample_rate=rate)
    np.testing.assert_allclose(y[800:-800], tone(RATE)[800:-800], atol=1e-4)


def test_what_16_khz_cannot_hold_is_filtered_out() -> None:
    y = audio.read(tone(48_000, 1.0, hz=10_000), sample_rate=48_000)
    assert np.abs(y[800:-800]).max() < 1e-4


def test_a_resampler_begins_anew_after_flush_and_keeps_the_layout() -> None:
    x = tone(48_000, 0.1).astype(np.float32)
    resampler = audio.Resampler(48_000)
    first = np.concatenate([resampler.push(x), resampler.flush()])
    again = np.concatenate([resampler.push(x), resampler.flush()])
    flat = np.concatenate([resampler.push(x[np.newaxis]), resampler.flush()], axis=1)
    assert flat.shape == (1, 1600)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, flat[0])


def test_sound_over_full_scale_is_cut_there() -> None:
    for rate in (16_000, 48_000):
        y = audio.read(tone(rate, peak=1.5), sample_rate=rate)
        assert y.max() == 1.0
        assert y.min() == -1.0


def test_a_resampler_refuses_what_it_was_not_made_for() -> None:
    with pytest.raises(AudioValueError, match="channels"):
        audio.Resampler(48_000, n_channels=0)
    with pytest.raises(AudioValueError, match="takes"):
        audio.Resampler(48_000, n_channels=2).push(np.zeros(5, np.float32))


# --- the gate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_integers_are_scaled_by_their_type(dtype: str) -> None:
    limits = np.iinfo(dtype)
    middle = 0 if limits.min < 0 else (int(limits.max) + 1) // 2
    half = (int(limits.max) + 1) // (4 if limits.min == 0 else 2)
    x = np.array([limits.min, middle, middle + half, limits.max], dtype=dtype)
    np.testing.assert_allclose(audio.validate(x, RATE)[0], [-1, 0, 0.5, 1], atol=0.01)
    assert audio.validate(x, RATE)[0, :3].tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((500,), (1, 500)),
        ((500, 2), (2, 500)),
        ((2, 500), (2, 500)),
        ((500, 1), (1, 500)),
        ((1, 500), (1, 500)),
        ((2, 2), (2, 2)),
        ((500, 8), (8, 500)),
        ((1,), (1, 1)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert audio.validate(np.zeros(shape), RATE).shape == expected


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros(0), "empty"),
        (np.zeros((0, 2)), "empty"),
        (np.float32(1), "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros((5, 0)), "channels"),
        (np.zeros((500, 40)), "channels"),
        (np.zeros(9, bool), "bool"),
        (np.zeros(9, np.int64), "int64"),
        (np.zeros(9, complex), "complex"),
        (np.array(["a"]), "U1"),
        (np.array([None]), "object"),
        (np.array([0.0, 20_000.0]), "divide by 32768"),
    ],
)
def test_what_is_not_sound_is_refused_with_its_reason(x: Any, says: str) -> None:
    with pytest.raises(AudioValueError, match=says):
        audio.validate(x, RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_bad_second_is_named(bad: float, dtype: type) -> None:
    x = np.zeros((5 * RATE, 2))
    x[3 * RATE + 4000, 1] = bad
    x[4 * RATE, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = x.astype(dtype)
    for source, rate in ((x, RATE), (riff(3, 64, RATE, 2, x.astype("<f8").tobytes()), None)):
        with pytest.raises(AudioValueError, match=r"at 3\.250 s, channel 1"):
            audio.read(source, sample_rate=rate)


@pytest.mark.parametrize(
    "rate", [None, 0, -16_000, 16, 999, 768_001, 16_000.5, float("nan"), "16000", True, [1]]
)
def test_absurd_rates_are_refused(rate: Any) -> None:
    with pytest.raises(AudioValueError, match="rate"):
        audio.read(np.zeros(100), sample_rate=rate)


@pytest.mark.parametrize("rate", [RATE, 16_000.0, np.int64(16_000), np.float32(16_000)])
def test_whole_rates_of_any_type_are_accepted(rate: Any) -> None:
    assert validation.validate_rate(rate) == RATE


def test_a_rate_for_a_file_is_refused() -> None:
    with pytest.raises(AudioValueError, match="a file knows its own"):
        audio.read(pcm16(tone(RATE)), sample_rate=48_000)


def test_the_callers_array_is_neither_changed_nor_shared() -> None:
    x = tone(RATE).astype(np.float32)
    before = x.copy()
    for y in (audio.read(x, sample_rate=RATE), audio.validate(x, RATE)):
        y[...] = 9
    np.testing.assert_array_equal(x, before)


@settings(max_examples=150, deadline=None)
@given(
    x=hnp.arrays(
        dtype=st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes()),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=50),
    ),
    rate=st.sampled_from([RATE, 48_000, 8_000]),
)
def test_any_array_is_sound_or_an_audio_error(x: np.ndarray, rate: int) -> None:
    try:
        y = audio.read(x, sample_rate=rate)
    except AudioValueError:
        return
    assert y.dtype == np.float32
    assert y.ndim == 1
    assert len(y) >= 1
    assert np.isfinite(y).all()
    assert np.abs(y).max() <= 1


# --- doors -----------------------------------------------------------------------------------------------


def test_a_missing_path(tmp_path: Path) -> None:
    for path in (tmp_path / "no.wav", str(tmp_path / "no" / "x.wav"), "nul\0byte.wav", ""):
        with pytest.raises((AudioNotFoundError, AudioDecodeError)):
            audio.read(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        audio.read(tmp_path / "no.wav")
    with pytest.raises(AudioError):
        audio.read("x" * 5000)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioDecodeError, match="a folder"):
        audio.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(AudioDecodeError, match="cannot be opened"):
        audio.read(path)


@pytest.mark.parametrize("source", [None, 7, [0.1, 0.2], object(), io.StringIO("text")])
def test_things_that_are_no_source(source: Any) -> None:
    with pytest.raises(AudioValueError, match=r"expected a path|binary mode"):
        audio.read(source)


WAV = pcm16(tone(RATE, 2.0))
NOT_SOUND = {
    "empty": b"",
    "one byte": b"R",
    "header only": riff(1, 16, RATE, 1, b""),
    "half a header": WAV[:20],
    "text": b"Dear diary, today I recorded nothing at all.\n" * 50,
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "json": b'{"error": "not found"}',
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "random": np.random.default_rng(3).bytes(20_000),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "zip": b"PK\x03\x04" + bytes(200),
    "playlist": b"#EXTM3U\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "no channels": riff(1, 16, RATE, 0, bytes(400)),
    "65535 channels": riff(1, 16, RATE, 65_535, bytes(400)),
    "40 channels": riff(1, 16, RATE, 40, bytes(8000)),
    "0 Hz": riff(1, 16, 0, 1, bytes(400)),
    "16 Hz": riff(1, 16, 16, 1, bytes(400)),
    "4 GHz": riff(1, 16, 0xFFFFFFFF, 1, bytes(400)),
    "unknown coding": riff(0x7777, 16, RATE, 1, bytes(400)),
    "64-bit integers": riff(1, 64, RATE, 1, bytes(8000)),
    "mp3 tag only": b"ID3\x03\x00\x00\x00\x00\x0f\x76" + bytes(2000),
    "ftyp only": b"\x00\x00\x00\x1cftypisom" + bytes(200),
    "ebml only": b"\x1aE\xdf\xa3" + bytes(200),
}


@pytest.mark.parametrize("name", list(NOT_SOUND))
def test_what_is_not_sound_is_an_audio_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(NOT_SOUND[name])
    start = time.monotonic()
    with pytest.raises((AudioDecodeError, AudioValueError)) as caught:
        audio.read(path)
    assert time.monotonic() - start < 2
    assert str(path) in str(caught.value)
    assert str(caught.value).count(str(path)) == 1
    with pytest.raises((AudioDecodeError, AudioValueError)):
        audio.read(NOT_SOUND[name])


def test_a_video_without_sound() -> None:
    with pytest.raises(AudioDecodeError, match="no sound track"):
        audio.read(silent_film())


@pytest.mark.parametrize("claims", [0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF])
def test_a_header_that_claims_gigabytes_allocates_nothing_for_them(claims: int) -> None:
    lie = riff(1, 16, RATE, 1, np.rint(tone(RATE) * 32767).astype("<i2").tobytes(), claims=claims)
    tracemalloc.start()
    x = audio.read(lie)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(x) == RATE
    assert peak < 2_000_000


def test_truncated_files_give_what_is_there() -> None:
    seconds = 8.0
    x = tone(24_000, seconds) + np.random.default_rng(6).normal(0, 0.05, 24_000 * 8)
    for data in (pcm16(x, 24_000), encoded(x, 24_000, "MP3"), encoded(x, 24_000, "OGG", "VORBIS")):
        half = audio.read(data[: len(data) // 2])
        assert 0.3 * seconds < len(half) / RATE < 0.7 * seconds
        assert similarity(half, tone(RATE, seconds)) > 0.98
    film = media("matroska", "aac", x[:, np.newaxis], 24_000)
    assert 0.3 * seconds < len(audio.read(film[: len(film) // 2])) / RATE < 0.7 * seconds


@pytest.mark.parametrize("rate", [8_000, RATE, 44_100, 192_000])
@pytest.mark.parametrize("n", [1, 2, 160])
def test_very_short_sound_is_still_sound(rate: int, n: int) -> None:
    x = audio.read(pcm16(np.full(n, 0.25), rate))
    assert len(x) == pytest.approx(n * RATE / rate, abs=1)
    assert len(x) >= 1


def test_eight_channels_and_silence() -> None:
    data = pcm16(np.zeros((4800, 8)), 192_000)
    assert audio.read(data).tolist() == [0.0] * 400
    assert audio.read(data, channels="each").shape == (8, 400)
    assert audio.probe(data) == audio.Info(0.025, 192_000, 8, "wav/pcm_16")
    assert audio.probe(np.zeros((10, 2)), sample_rate=RATE) == audio.Info(10 / RATE, RATE, 2, "array")


def test_media_without_its_extra_fails_with_the_sentence_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    m4a = media("ipod", "aac", tone(RATE)[:, np.newaxis], RATE)
    webm = media("webm", "libopus", tone(48_000)[:, np.newaxis], 48_000)
    monkeypatch.setitem(sys.modules, "av", None)
    for data, name in ((m4a, r"\.m4a"), (webm, r"\.webm")):
        with pytest.raises(MissingExtraError, match=rf"reading {name}.*-m pip install .*\[media\]'"):
            audio.read(data)
    with pytest.raises(AudioDecodeError, match="not sound that can be read"):
        audio.read(NOT_SOUND["text"])
    assert len(audio.read(WAV)) == 2 * RATE


def test_no_file_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(WAV)
    stream = audio.blocks(path, block_s=0.1)
    next(stream)
    stream.close()
    with pytest.raises(AudioValueError):
        audio.read(path, channels=5)
    path.rename(tmp_path / "y.wav")
    assert len(audio.read(tmp_path / "y.wav")) == 2 * RATE


# --- levels ----------------------------------------------------------------------------------------------


def measured(x: np.ndarray, *sizes: int) -> audio.LevelMeter:
    """A meter that heard ``x`` in chunks."""
    meter = audio.LevelMeter()
    for part in np.split(x, np.cumsum(sizes)):
        meter.push(part.astype(np.float32))
    return meter


def test_levels_are_those_of_the_textbook() -> None:
    meter = measured(tone(RATE, peak=0.1))
    assert meter.level_dbfs == pytest.approx(-20 - 3.0103, abs=0.001)
    assert meter.peak_dbfs == pytest.approx(-20, abs=0.02)
    square = np.tile([1.0, -1.0], 50)
    assert measured(square).level_dbfs == pytest.approx(0)
    assert measured(square).clipped == 1.0
    assert measured(tone(RATE, peak=0.1) + 0.3).level_dbfs == pytest.approx(-20 - 3.0103, abs=0.001)
    assert measured(np.ones(99)).level_dbfs is None
    silent = measured(np.zeros(RATE))
    assert (silent.level_dbfs, silent.peak_dbfs, silent.clipped) == (None, None, 0.0)
    assert audio.LevelMeter().level_dbfs is None


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 4000), max_size=8))
def test_a_meter_reads_the_same_for_any_chunks(sizes: list[int]) -> None:
    x = np.random.default_rng(4).normal(0, 0.4, 20_000).clip(-1, 1)
    one, many = measured(x), measured(x, *sizes)
    for name in ("level_dbfs", "loudest_dbfs", "peak_dbfs", "clipped"):
        assert getattr(many, name) == pytest.approx(getattr(one, name), abs=1e-9)
    assert one.level_dbfs == pytest.approx(10 * np.log10(np.var(x)), abs=1e-4)
    assert one.clipped == np.mean(np.abs(x.astype(np.float32)) >= 0.98)


def warned(x: np.ndarray, speech_s: float | None = 1.0, duration_s: float = 2.0) -> tuple[str, ...]:
    """Warnings on ``x``."""
    return audio.measure_quality(measured(x), duration_s=duration_s, speech_s=speech_s, min_s=0.5).warnings


def test_warnings() -> None:
    assert warned(tone(RATE)) == ()
    assert warned(np.zeros(RATE)) == ("silence",)
    assert warned(np.zeros(RATE), speech_s=0.0, duration_s=0.1) == ("silence", "no_speech", "too_short")
    assert warned(tone(RATE, peak=10 ** (-70 / 20))) == ("silence",)
    assert warned(tone(RATE, peak=10 ** (-50 / 20))) == ("low_level",)
    assert warned(tone(RATE, peak=3.0).clip(-1, 1)) == ("clipping",)
    assert warned(tone(RATE), speech_s=None) == ()
    assert warned(tone(RATE), speech_s=0.45) == ("no_speech",)
    assert warned(tone(RATE), speech_s=0.45, duration_s=1.0) == ()


def test_a_long_pause_does_not_make_speech_quiet() -> None:
    assert warned(np.concatenate([np.zeros(600 * RATE), tone(RATE, peak=0.02)])) == ()


def test_clipped_sound_is_noticed_at_any_rate() -> None:
    rng = np.random.default_rng(5)
    loud = np.convolve(rng.normal(0, 1, 48_000), np.ones(30) / 5, "same")
    for gain, expected in ((0.1, ()), (1.5, ("clipping",))):
        x = audio.read(pcm16((loud * gain).clip(-1, 1), 48_000))
        assert warned(x) == expected


def test_docstring_examples() -> None:
    assert doctest.testmod(validation).failed == 0
    assert all(hasattr(audio, name) for name in audio.__all__)
