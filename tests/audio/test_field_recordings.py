"""Recordings as they occur in the field: gaps, pauses, damage, odd headers, offsets, inverted channels."""

from __future__ import annotations

import io
import struct
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import emovox
from emovox import audio
from emovox.inference.recognizer import Recognizer
from field_files import CASES, RATE, make_phase_inverted, noise, read_happy, sound_file
from media_files import CONTAINERS, make_media


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return emovox.load("fast")


@pytest.mark.parametrize("kind", [("FLAC", "PCM_16"), ("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", None)])
@pytest.mark.parametrize("level_db", [-60, -50])
def test_noise_after_a_mute_is_no_speech(
    model: Recognizer, kind: tuple[str, str | None], level_db: float
) -> None:
    file = io.BytesIO()
    x = np.r_[read_happy(), np.zeros(24_000, np.int16), noise(6.0, level_db)]
    soundfile.write(file, x, RATE, format=kind[0], subtype=kind[1])
    segments = list(model.timeline(file.getvalue()))
    assert len(segments) == 1
    assert segments[0].end_s < 3.0


TAGGED = {
    kind: sound_file(read_happy(), kind)
    for kind in ("WAV", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU")
}


def test_joined_files_are_read_to_the_end() -> None:
    pytest.importorskip("av")
    for kind in ("MP3", "OGG"):
        file = io.BytesIO()
        soundfile.write(file, read_happy(), RATE, format=kind)
        x = audio.read(file.getvalue() * 2)
        assert len(x) / RATE == pytest.approx(2 * 2.774, abs=0.2)


def test_phase_inverted_equals_channel_0(model: Recognizer) -> None:
    inverted, one = model.predict(make_phase_inverted()), model.predict(sound_file(read_happy()))
    assert inverted.scores == one.scores
    loud = np.stack([read_happy() // 4, -read_happy() // 2 * 2], axis=1)
    mix = audio.read(sound_file(loud))
    np.testing.assert_array_equal(mix, audio.read(sound_file(loud), channels="mix"))
    stream = model.stream(sample_rate=RATE)
    x = np.stack([read_happy(), -read_happy()], axis=1)
    pieces = [found for part in np.array_split(x, 7) for found in stream.push(part)] + stream.flush()
    other = model.stream(sample_rate=RATE)
    assert pieces == other.push(read_happy()) + other.flush()


def test_normal_stereo_is_averaged() -> None:
    left, right = read_happy(), np.roll(read_happy(), 4000)
    report = audio.ReadReport()
    data = sound_file(np.stack([left, right], axis=1))
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
    data = bytearray(sound_file(read_happy()))
    data[4:8] = data[40:44] = struct.pack("<I", size)
    report = audio.ReadReport()
    x = np.concatenate(list(audio.blocks(bytes(data), report=report)), axis=1)[0]
    np.testing.assert_array_equal(x, audio.read(sound_file(read_happy())))
    assert report.warnings == set()


@pytest.mark.parametrize(
    ("kind", "patches"),
    [
        ("RIFX", {4: bytes(4), 40: bytes(4)}),
        ("W64", {16: b"\xff" * 7 + b"\x7f", 96: b"\xff" * 7 + b"\x7f"}),
        ("RF64", {20: bytes(24)}),
        ("RF64", {20: b"\xff" * 24, 100: bytes(4)}),
        ("AIFF", {4: bytes(4), 22: bytes(4), 42: bytes(4)}),
        ("CAF", {4084: b"\xff" * 8}),
        ("AU", {8: bytes(4)}),
        ("AU", {8: b"\xff" * 4}),
    ],
)
def test_unknown_sizes(kind: str, patches: dict[int, bytes]) -> None:
    whole = sound_file(
        read_happy(), "WAV" if kind == "RIFX" else kind, endian="BIG" if kind == "RIFX" else None
    )
    data = bytearray(whole)
    for offset, patch in patches.items():
        data[offset : offset + len(patch)] = patch
    assert data != whole
    report = audio.ReadReport()
    x = np.concatenate(list(audio.blocks(bytes(data), report=report)), axis=1)[0]
    np.testing.assert_array_equal(x, audio.read(whole))
    assert report.warnings == set()
    assert audio.probe(bytes(data)).duration_s == pytest.approx(2.774, abs=0.001)


def test_rf64_without_its_sizes() -> None:
    data = bytearray(sound_file(read_happy()))
    data[:8], data[40:44] = b"RF64" + b"\xff" * 4, b"\xff" * 4
    np.testing.assert_array_equal(audio.read(bytes(data)), audio.read(sound_file(read_happy())))


def test_empty_wav_stays_empty() -> None:
    data = sound_file(np.zeros(0, np.int16)) + b"LIST\x04\x00\x00\x00INFO"
    with pytest.raises(emovox.EmovoxError, match="holds no samples"):
        audio.read(data)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("n_tags", [1, 2])
def test_tags_before_the_header(kind: str, n_tags: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, read_happy(), RATE, format=kind)
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 10]) + bytes(266)
    x = audio.read(tag * n_tags + file.getvalue())
    np.testing.assert_allclose(x, audio.read(file.getvalue()), atol=1e-6)


TAG_VERSIONS = st.sampled_from([2, 3, 4])


def make_id3(version: int, size: int, footer: bool) -> bytes:
    """An ID3v2 tag with ``size`` bytes of padding; the footer exists in version 2.4."""
    lengths = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    with_footer = footer and version == 4
    head = bytes([version, 0, 0x10 if with_footer else 0]) + lengths
    return b"ID3" + head + bytes(size) + (b"3DI" + head if with_footer else b"")


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["WAV", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU"]),
    tags=st.lists(st.builds(make_id3, TAG_VERSIONS, st.integers(0, 5000), st.booleans()), max_size=3),
    after=st.sampled_from([b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(24), make_id3(4, 300, True), b"\n"]),
)
def test_no_tag_loses_sound(kind: str, tags: list[bytes], after: bytes) -> None:
    data = TAGGED[kind]
    found, report = audio.ReadReport(), audio.ReadReport()
    x, plain = (
        np.concatenate(list(audio.blocks(source, report=to)), axis=1)[0]
        for source, to in ((b"".join(tags) + data + after, found), (data, report))
    )
    assert len(x) / RATE == pytest.approx(len(plain) / RATE, abs=0.1)
    if kind not in ("MP3", "OGG"):  # other decoders of these round otherwise
        np.testing.assert_array_equal(x[: len(plain)], plain[: len(x)])
    assert report.warnings == found.warnings == set()


def test_bytes_before_riff() -> None:
    data = b"\r\n--boundary\r\nContent-Type: audio/wav\r\n\r\n" + sound_file(read_happy())
    np.testing.assert_array_equal(audio.read(data), audio.read(sound_file(read_happy())))


@pytest.mark.parametrize(
    "kind", ["WAV", "FLAC", "OGG", "MP3", "W64", "RF64", "AIFF", "AU", "CAF", "NIST", "IMA_ADPCM", "GSM610"]
)
def test_truncated_files_warn(kind: str) -> None:
    if kind == "CAF":
        pytest.importorskip("av")  # libsndfile does not open half of one
    x = np.tile(read_happy(), 4)
    data = sound_file(x, "WAV", kind) if kind in ("IMA_ADPCM", "GSM610") else sound_file(x, kind)
    for half, expected in ((data[: len(data) // 2], True), (data, False)):
        report = audio.ReadReport()
        list(audio.blocks(half, report=report))
        assert bool({"truncated", "damaged"} & report.warnings) == expected, report.warnings


@pytest.mark.parametrize("start", [0, 36])  # a file, or a second chunk of data
def test_unread_rest_warns(start: int) -> None:
    pytest.importorskip("av")  # libsndfile refuses them
    whole, report = sound_file(read_happy()), audio.ReadReport()
    list(audio.blocks(whole + whole[start:], report=report))
    assert report.warnings == {"truncated"}


@pytest.mark.parametrize("damage", ["noise", "hole"])
def test_sound_behind_damage_is_read(damage: str) -> None:
    pytest.importorskip("av")
    data = bytearray(sound_file(np.tile(read_happy(), 4), "FLAC"))
    middle = len(data) // 2
    if damage == "noise":
        data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    else:
        del data[middle : middle + 3000]
    report = audio.ReadReport()
    x = np.concatenate(list(audio.blocks(bytes(data), report=report)), axis=1)[0]
    assert len(x) == 4 * len(read_happy())
    np.testing.assert_allclose(x[-RATE:], np.tile(read_happy(), 4)[-RATE:] / 32768, atol=1e-6)
    assert report.warnings == {"damaged"}


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


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "aac", {}),
        ("mov", "aac", {}),
        ("mp4", "libopus", {}),
        ("matroska", "libopus", {}),
        ("webm", "libopus", {"live": "1"}),
    ],
)
def test_late_sound_without_picture(container: str, codec: str, options: dict[str, str]) -> None:
    report = audio.ReadReport()
    data = make_media(container, codec, [(3.0, 1.0)], options=options)
    x = np.concatenate(list(audio.blocks(data, report=report)), axis=1)[0]
    assert [start for start, _ in loud_spans(x)] == pytest.approx([3.0], abs=0.1)
    assert audio.probe(data).duration_s in (None, pytest.approx(len(x) / RATE, abs=0.05))
    assert report.warnings == set()


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("mp4", "aac", {"movflags": "delay_moov+frag_every_frame"}),
        ("mp4", "aac", {"use_editlist": "0"}),
        ("3gp", "aac", {}),
        ("flv", "aac", {}),
        ("matroska", "flac", {}),
        ("webm", "libopus", {"live": "1"}),
        ("mpegts", "libopus", {}),
        ("mpegts", "ac3", {}),
    ],
)
def test_gaps_in_other_containers(container: str, codec: str, options: dict[str, str]) -> None:
    x = audio.read(make_media(container, codec, [(0.0, 1.0), (7.0, 1.0)], options=options))
    assert [start for start, _ in loud_spans(x)] == pytest.approx([0.0, 7.0], abs=0.08)


def test_faults_are_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is not PyAV's passes."""

    class Packet:
        pts = duration = None

        def decode(self) -> Any:
            raise TypeError("a fault")

    decoder = audio.decoders.open_decoder(audio.source.open_reader(make_media("mp4", "aac", [(0.0, 1.0)])))
    assert isinstance(decoder, audio.decoders.MediaDecoder)
    track = decoder._container
    decoder._container = SimpleNamespace(demux=lambda _: iter([Packet()]))
    try:
        with pytest.raises(TypeError, match="a fault"):
            list(decoder._decode())
    finally:
        track.close()


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
    writer = threading.Thread(target=lambda: fifo.write_bytes(sound_file(read_happy())))
    writer.start()
    rows = [row for row, _ in model.results(str(fifo), PredictOptions(timeline=True))]
    writer.join()
    expected = [row for row, _ in model.results(sound_file(read_happy()), PredictOptions(timeline=True))]
    assert [row.scores for row in rows] == [row.scores for row in expected]
    assert len(rows) == 1


@pytest.mark.parametrize(("on_disk", "typed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_the_other_unicode_form(
    on_disk: Any, typed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from emovox.cli import main

    file = tmp_path / unicodedata.normalize(on_disk, "Müller/Jürgen.wav")
    file.parent.mkdir()
    file.write_bytes(sound_file(read_happy()))
    other = str(tmp_path / unicodedata.normalize(typed, "Müller/Jürgen.wav"))
    np.testing.assert_array_equal(audio.read(other), audio.read(file))
    for name in (other, str(Path(other).parent)):
        assert main(["predict", "--model", "fast", "--format", "jsonl", name]) == 0
        assert '"label": "angry"' in capsys.readouterr().out
    with pytest.raises(emovox.EmovoxError, match="no such file"):
        audio.read(f"{other}x")


def test_timeline_reports_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emovox.cli import main

    file = tmp_path / "cut.wav"
    file.write_bytes(sound_file(read_happy())[:60_000])
    assert main(["predict", "--timeline", "--format", "jsonl", str(file)]) == 0
    assert f"emovox: {file}: truncated" in capsys.readouterr().err
