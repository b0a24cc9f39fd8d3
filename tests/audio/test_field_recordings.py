"""Recordings as they occur in the field: gaps, pauses, damage, odd headers, offsets, inverted channels."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import emovox
from emovox import audio
from emovox.inference.recognizer import Recognizer
from media_files import CONTAINERS, make_media

CASES = Path(__file__).parents[1] / "cases"
RATE = 16_000


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return emovox.load("fast")  # the labels below are those of this model


def happy() -> np.ndarray:
    """A synthetic voice of 2.774 s, ``(n,)`` int16."""
    return soundfile.read(CASES / "happy.wav", dtype="int16")[0]


def wav(x: np.ndarray, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, x, RATE, format="WAV", subtype=subtype)
    return file.getvalue()


def noise(seconds: float, level_db: float, seed: int = 3) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return np.round(x * 32768 * 10 ** (level_db / 20)).astype(np.int16)


def data_size_0() -> bytes:
    data = bytearray(wav(happy()))
    data[40:44] = bytes(4)
    return bytes(data)


def muted_then_noise() -> bytes:
    return wav(np.r_[happy(), np.zeros(24_000, np.int16), noise(6.0, -60)])


def dc_offset_quiet() -> bytes:
    quiet = happy().astype(np.float32) / 32768 * 10 ** (-80 / 20)
    return wav(quiet + np.float32(0.2), "FLOAT")


def dither() -> bytes:
    return wav(np.random.default_rng(1).integers(-1, 2, 6 * RATE).astype(np.int16))


def phase_inverted() -> bytes:
    return wav(np.stack([happy(), -happy()], axis=1))


def file_of(name: str) -> Callable[[], bytes]:
    return (CASES / name).read_bytes


@pytest.mark.parametrize(
    ("make", "duration_s", "label", "starts", "warnings"),
    [
        pytest.param(file_of("call_dtx.amr"), 44.5, ..., [0, 12.8, 27.2, 40.0], (), id="amr-dtx"),
        pytest.param(file_of("gap_10s.webm"), 19.78, ..., [1.23, 16.23], (), id="webm-gap"),
        pytest.param(file_of("late_audio_6s.mp4"), 8.6, "neutral", [6.2], (), id="mp4-late"),
        pytest.param(dither, 6.0, None, [], ("silence", "no_speech"), id="dither"),
        pytest.param(muted_then_noise, 10.274, "angry", [0.24], (), id="mute-noise"),
        pytest.param(dc_offset_quiet, 2.774, None, [], ("silence",), id="dc-offset"),
        pytest.param(phase_inverted, 2.774, "angry", [0.24], ("phase",), id="phase-inverted"),
        pytest.param(file_of("opus_rate_8000.opus"), 2.774, "angry", [0.24], (), id="opus-rate"),
        pytest.param(data_size_0, 2.774, "angry", [0.24], (), id="data-size-0"),
        pytest.param(file_of("unknown_length.flac"), 4.467, "neutral", [0.24], (), id="flac-length"),
    ],
)
def test_field_recordings(
    model: Recognizer,
    make: Callable[[], bytes],
    duration_s: float,
    label: object,
    starts: list[float],
    warnings: tuple[str, ...],
) -> None:
    data = make()
    if data[:4] not in (b"RIFF", b"fLaC", b"OggS"):
        pytest.importorskip("av")
    found = model.predict(data)
    assert found.duration_s == pytest.approx(duration_s, abs=0.05)
    assert found.quality is not None
    assert found.quality.warnings == warnings
    if label is not ...:
        assert found.label == label
    segments = list(model.timeline(data))
    # Segments of one turn follow each other without a pause.
    turns = [s.start_s for n, s in enumerate(segments) if not n or s.start_s > segments[n - 1].end_s + 0.3]
    assert turns == pytest.approx(starts, abs=0.4)


@pytest.mark.parametrize("kind", [("FLAC", "PCM_16"), ("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", None)])
@pytest.mark.parametrize("level_db", [-60, -50])
def test_noise_after_a_mute_is_no_speech(
    model: Recognizer, kind: tuple[str, str | None], level_db: float
) -> None:
    file = io.BytesIO()
    x = np.r_[happy(), np.zeros(24_000, np.int16), noise(6.0, level_db)]
    soundfile.write(file, x, RATE, format=kind[0], subtype=kind[1])
    segments = list(model.timeline(file.getvalue()))
    assert len(segments) == 1
    assert segments[0].end_s < 3.0


def test_joined_files_are_read_to_the_end() -> None:
    pytest.importorskip("av")
    for kind in ("MP3", "OGG"):
        file = io.BytesIO()
        soundfile.write(file, happy(), RATE, format=kind)
        x = audio.read(file.getvalue() * 2)
        assert len(x) / RATE == pytest.approx(2 * 2.774, abs=0.2)


def test_phase_inverted_equals_channel_0(model: Recognizer) -> None:
    inverted, one = model.predict(phase_inverted()), model.predict(wav(happy()))
    assert inverted.scores == one.scores
    loud = np.stack([happy() // 4, -happy() // 2 * 2], axis=1)
    mix = audio.read(wav(loud))
    np.testing.assert_array_equal(mix, audio.read(wav(loud), channels="mix"))
    stream = model.stream(sample_rate=RATE)
    x = np.stack([happy(), -happy()], axis=1)
    pieces = [found for part in np.array_split(x, 7) for found in stream.push(part)] + stream.flush()
    other = model.stream(sample_rate=RATE)
    assert pieces == other.push(happy()) + other.flush()


def test_normal_stereo_is_averaged() -> None:
    left, right = happy(), np.roll(happy(), 4000)
    report = audio.ReadReport()
    data = wav(np.stack([left, right], axis=1))
    mix = np.concatenate(list(audio.blocks(data, report=report)), axis=1)[0]
    np.testing.assert_allclose(mix, (left / 65536 + right / 65536), atol=1e-6)
    assert report.warnings == set()


def test_opus_header_rate_is_information(model: Recognizer) -> None:
    one, other = (model.predict(CASES / f"opus_rate_{rate}.opus") for rate in (8000, 48000))
    assert (one.label, one.scores) == (other.label, other.scores)
    zero = patch_opus_rate((CASES / "opus_rate_48000.opus").read_bytes(), 0)
    assert model.predict(zero).scores == other.scores


def patch_opus_rate(data: bytes, rate: int) -> bytes:
    from emovox.audio.containers import _ogg_checksum

    page = bytearray(data[: 28 + data[27]])
    page[40:44] = struct.pack("<I", rate)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", _ogg_checksum(page))
    return bytes(page) + data[len(page) :]


def test_unknown_length_until_read(tmp_path: Path) -> None:
    assert audio.probe(CASES / "unknown_length.flac").duration_s is None
    assert len(audio.read(CASES / "unknown_length.flac")) == 71_475


# --- headers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_unfinished_wav_sizes(size: int) -> None:
    data = bytearray(wav(happy()))
    data[4:8] = data[40:44] = struct.pack("<I", size)
    report = audio.ReadReport()
    x = np.concatenate(list(audio.blocks(bytes(data), report=report)), axis=1)[0]
    np.testing.assert_array_equal(x, audio.read(wav(happy())))
    assert report.warnings == set()


def test_empty_wav_stays_empty() -> None:
    data = wav(np.zeros(0, np.int16)) + b"LIST\x04\x00\x00\x00INFO"
    with pytest.raises(emovox.EmovoxError, match="holds no samples"):
        audio.read(data)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("n_tags", [1, 2])
def test_tags_before_the_header(kind: str, n_tags: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, happy(), RATE, format=kind)
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 10]) + bytes(266)
    x = audio.read(tag * n_tags + file.getvalue())
    np.testing.assert_allclose(x, audio.read(file.getvalue()), atol=1e-6)


def test_bytes_before_riff() -> None:
    data = b"\r\n--boundary\r\nContent-Type: audio/wav\r\n\r\n" + wav(happy())
    np.testing.assert_array_equal(audio.read(data), audio.read(wav(happy())))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_truncated_files_warn(model: Recognizer, kind: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.tile(happy(), 4), RATE, format=kind)
    found = model.predict(file.getvalue()[: len(file.getvalue()) // 2])
    assert found.quality is not None
    assert {"truncated", "damaged"} & set(found.quality.warnings), found.quality.warnings
    whole = model.predict(file.getvalue())
    assert whole.quality is not None
    assert whole.quality.warnings == ()


# --- containers with time stamps ---------------------------------------------------------------------

av = pytest.importorskip("av")


def loud_spans(x: np.ndarray) -> list[tuple[float, float]]:
    """Where a burst begins and ends, in seconds."""
    level = np.sqrt(np.mean(x[: len(x) // 160 * 160].reshape(-1, 160) ** 2, axis=1))
    edges = np.flatnonzero(np.diff(level > 0.1, prepend=False, append=False)) / 100
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    return [span for span in spans if span[1] - span[0] > 0.1]


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_gaps_keep_their_time(container: str, codec: str) -> None:
    x = audio.read(make_media(container, codec, [(0.0, 1.0), (7.0, 1.0)]))
    assert [start for start, _ in loud_spans(x)] == pytest.approx([0.0, 7.0], abs=0.08)
    assert len(x) / RATE == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize(("container", "codec"), [CONTAINERS[0], *CONTAINERS[2:5]])
def test_late_sound_keeps_its_time(container: str, codec: str) -> None:
    data = make_media(container, codec, [(3.0, 1.0)], video=True)
    x = audio.read(data)
    assert [start for start, _ in loud_spans(x)] == pytest.approx([3.0], abs=0.1)
    assert audio.probe(data).duration_s == pytest.approx(len(x) / RATE, abs=0.15)


def test_gaps_are_bounded_by_max_s() -> None:
    data = make_media("matroska", "libopus", [(0.0, 0.5), (600.0, 0.5)])
    with pytest.raises(emovox.EmovoxError, match="longer than 60 s"):
        list(audio.blocks(data, max_s=60.0))
    assert len(audio.read(data)) / RATE == pytest.approx(600.5, abs=0.1)


def test_damaged_packets_are_silence_with_a_warning() -> None:
    data = bytearray(make_media("mp4", "aac", [(0.0, 6.0)]))
    start = data.find(b"mdat") + len(data) // 3
    data[start : start + 200] = np.random.default_rng(0).bytes(200)
    report = audio.ReadReport()
    x = np.concatenate(list(audio.blocks(bytes(data), report=report)), axis=1)[0]
    assert len(x) / RATE == pytest.approx(6.0, abs=0.1)
    assert report.warnings <= {"damaged"}


def test_default_track_is_read() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        streams = [out.add_stream("pcm_s16le", rate=RATE) for _ in range(2)]
        for stream in streams:
            stream.layout = "mono"
        try:
            streams[0].disposition = 0
            streams[1].disposition = 1
        except AttributeError:
            pytest.skip("this PyAV cannot set the default flag")
        for stream, level in zip(streams, (1000, 9000), strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, RATE), level, np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = RATE, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    x = audio.read(file.getvalue())
    assert np.median(x) == pytest.approx(9000 / 32768, abs=1e-3)


# --- nothing audible ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sparse", "offset", "dither", "step"])
@pytest.mark.parametrize("vad", ["on", "off"])
def test_inaudible_sound_has_no_emotion(model: Recognizer, kind: str, vad: str) -> None:
    n, rng = 6 * RATE, np.random.default_rng(4)
    x = np.zeros(n, np.float32)
    if kind == "sparse":
        x[rng.integers(0, n, 60)] = 0.004
    elif kind == "offset":
        x += 0.25
    elif kind == "dither":
        x = (rng.integers(-1, 2, n) / 32768).astype(np.float32)
    else:
        x = (0.1 + rng.standard_normal(n) * 1e-5).astype(np.float32)
    found = model.predict(x, sample_rate=RATE, vad=vad)  # type: ignore[arg-type]
    assert (found.label, found.reason, found.scores) == (None, "silence", {})
    assert list(model.timeline(x, sample_rate=RATE, vad=vad)) == []  # type: ignore[arg-type]
    stream = model.stream(sample_rate=RATE, vad=vad)  # type: ignore[arg-type]
    results = stream.push(x) + stream.flush()
    assert all(not getattr(result, "scores", None) for result in results)


def test_pipes_have_timelines(model: Recognizer, tmp_path: Path) -> None:
    import os
    import threading

    from emovox.inference.options import PredictOptions

    fifo = tmp_path / "pipe.wav"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(wav(happy())))
    writer.start()
    rows = [row for row, _ in model.results(str(fifo), PredictOptions(timeline=True))]
    writer.join()
    expected = [row for row, _ in model.results(wav(happy()), PredictOptions(timeline=True))]
    assert [row.scores for row in rows] == [row.scores for row in expected]
    assert len(rows) == 1


def test_timeline_reports_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emovox.cli import main

    file = tmp_path / "cut.wav"
    file.write_bytes(wav(happy())[:60_000])
    assert main(["predict", "--timeline", "--format", "jsonl", str(file)]) == 0
    assert f"emovox: {file}: truncated" in capsys.readouterr().err
