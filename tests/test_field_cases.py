"""The right values of inputs on which an early version failed: recordings and tables as people have them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import emovox
from emovox.datasets.formats import read
from emovox.inference.recognizer import Recognizer
from field_files import (
    CASES,
    make_data_size_0,
    make_dc_offset,
    make_dither,
    make_mute_then_noise,
    make_phase_inverted,
)


class Sound(NamedTuple):
    """What is right for a recording; the labels are those of the model ``fast``."""

    duration_s: float
    label: str | None
    turns: tuple[float, ...] = (0.24,)
    """Where speech begins after a pause, in seconds."""
    warnings: tuple[str, ...] = ()
    make: Callable[[], bytes] | None = None
    """Makes the input; by default it is a file."""


class Table(NamedTuple):
    """What is right for a table."""

    rows: tuple[tuple[str, float | None, float | None, str], ...]
    """Path, start and end in seconds, emotion."""
    speakers: tuple[str, ...] = ("unknown",)


_B = "wav/b.wav"
_SPOKEN = (("happy", "Happy"), ("sad", "SAD"))
CASES_BY_NAME: dict[str, Sound | Table] = {
    "call_dtx.amr": Sound(44.5, None, (0.24, 12.8, 27.2, 40.0)),
    "gap_10s.webm": Sound(19.78, "neutral", (1.23, 16.23)),
    "nogap.webm": Sound(19.78, "neutral", (1.23, 16.23)),
    "late_audio_6s.mp4": Sound(8.6, "neutral", (6.2,)),
    "dither_6s.wav": Sound(6.0, None, (), ("silence", "no_speech"), make_dither),
    "mute_then_room_noise.flac": Sound(10.274, "angry", make=make_mute_then_noise),
    "dc_offset_quiet.wav": Sound(2.774, None, (), ("silence",), make_dc_offset),
    "phase_inverted.wav": Sound(2.774, "angry", warnings=("phase",), make=make_phase_inverted),
    "opus_rate_8000.opus": Sound(2.774, "angry"),
    "opus_rate_48000.opus": Sound(2.774, "angry"),
    "data_size_0.wav": Sound(2.774, "angry", make=make_data_size_0),
    "unknown_length.flac": Sound(4.467, "neutral"),
    "happy.wav": Sound(2.774, "angry"),
    "wav/a.wav": Sound(2.774, "angry", make=(CASES / "happy.wav").read_bytes),
    "wav/b.wav": Sound(4.467, "neutral", make=(CASES / "unknown_length.flac").read_bytes),
    "nemo.csv": Table(((_B, 1.0, 2.5, "sad"), (_B, 2.5, 4.0, "angry"))),
    "dur.csv": Table(((_B, 1.0, 2.5, "sad"), (_B, 3.0, 4.0, "sad"))),
    "nfc.csv": Table((("wav/Müller.wav", None, None, "happy"), (_B, None, None, "sad"))),
    "nfc_nfd_speakers.csv": Table(
        tuple(
            (f"wav/{code}_{speaker}_{n}.wav", None, None, label)
            for label, code in _SPOKEN
            for speaker in ("f2", "f4", "m1", "m3")
            for n in range(4)
        ),
        speakers=("Ana", "Jürgen", "Zoë", "Øystein"),
    ),
    "kaggle.csv": Table(
        (("wav/a.wav", None, None, "happy"), (_B, None, None, "sad"), ("wav/c.wav", None, None, "angry"))
    ),
    "utf16.csv": Table((("wav/a.wav", None, None, "happy"), (_B, None, None, "sad"))),
    "cp1252.csv": Table((("wav/Jürgen.wav", None, None, "angry"), (_B, None, None, "sad"))),
}


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return emovox.load("fast")


@pytest.mark.parametrize("name", CASES_BY_NAME)
def test_field_case(name: str, model: Recognizer, tmp_path: Path) -> None:
    right = CASES_BY_NAME[name]
    if isinstance(right, Table):
        check_table(name, right, tmp_path)
        return
    if name.endswith((".amr", ".webm", ".mp4")):
        pytest.importorskip("av")
    file = tmp_path / Path(name).name
    file.write_bytes(right.make() if right.make else (CASES / name).read_bytes())
    found = model.predict(file)
    assert (found.label, found.duration_s) == (right.label, pytest.approx(right.duration_s, abs=0.05))
    assert found.quality is not None
    assert found.quality.warnings == right.warnings
    segments = list(model.timeline(file))
    # Segments of one turn follow each other without a pause.
    turns = [s.start_s for n, s in enumerate(segments) if not n or s.start_s > segments[n - 1].end_s + 0.3]
    assert turns == pytest.approx(right.turns, abs=0.4)


def check_table(name: str, right: Table, folder: Path) -> None:
    for path, *_ in right.rows:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    manifest, report = read(shutil.copy(CASES / name, folder))
    assert tuple((u.path, u.start, u.end, u.emotion) for u in manifest) == right.rows
    assert {speaker.partition("-")[2] for speaker in manifest.speakers} == set(right.speakers)
    assert report.ok, list(report.lines())
