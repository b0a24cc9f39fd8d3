"""Recording without a device: takes are checked, kept atomically, and requested once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox._arrays import Floats
from emovox.datasets import Manifest, recording
from emovox.datasets.recording import (
    CONSENT,
    Prompt,
    RecordingSession,
    SpeakerCard,
    make_prompts,
    read_prompts,
)
from emovox.errors import LabelError, ManifestError

RATE = 48_000


def voice(seconds: float = 1.0, gain: float = 0.2) -> Floats:
    t = np.arange(round(RATE * seconds)) / RATE
    return (gain * np.sin(2 * np.pi * 200 * t) * np.sin(2 * np.pi * 2 * t)).astype(np.float32)


def session(
    folder: Path, code: str = "p01", emotions: tuple[str, ...] = ("happy", "sad"), **more: object
) -> RecordingSession:
    wanted = make_prompts(emotions, ("One.", "Two."))
    return RecordingSession(folder, SpeakerCard(code, **more), wanted, consent="I agree.")  # type: ignore[arg-type]


def test_takes_become_a_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "My corpus"
    one = session(folder, sex="female", age=33, language="en")
    for prompt in list(one.left()):
        take = one.take(prompt, voice(), RATE)
        assert take.usable
        one.keep(take)
    assert list(one.left()) == []
    manifest = Manifest.read_csv(folder / "manifest.csv")
    assert manifest.utterances == one.manifest.utterances
    assert [(u.id, u.emotion, u.text) for u in manifest] == [
        ("my_corpus/p01_s01_happy_1", "happy", "my_corpus-s01"),
        ("my_corpus/p01_s02_happy_1", "happy", "my_corpus-s02"),
        ("my_corpus/p01_s01_sad_1", "sad", "my_corpus-s01"),
        ("my_corpus/p01_s02_sad_1", "sad", "my_corpus-s02"),
    ]
    first = manifest.utterances[0]
    assert (first.speaker, first.sex, first.age, first.language) == ("my_corpus-p01", "female", 33, "en")
    assert first.extra == {"words": "One.", "take": "1"}
    sound, rate = soundfile.read(manifest.file(first), dtype="float32")
    assert rate == 16_000
    assert np.abs(sound - one.take(Prompt("s01", "", "sad"), voice(), RATE).sound).max() <= 1.01 / 32768
    card = json.loads((folder / "p01" / "speaker.json").read_text())
    assert card["consent"] == "I agree."
    assert card["consented"].endswith("+00:00")
    assert not list(folder.rglob("*.part"))


def test_a_second_session_goes_on(tmp_path: Path) -> None:
    one = session(tmp_path)
    done = next(one.left())
    one.keep(one.take(done, voice(), RATE))
    again = session(tmp_path, emotions=("happy", "angry"))
    assert [(p.emotion, p.sentence) for p in again.left()] == [
        ("happy", "s02"),
        ("angry", "s01"),
        ("angry", "s02"),
    ]
    assert again.keep(again.take(done, voice(), RATE)).id.endswith("p01_s01_happy_2")
    other = session(tmp_path, "p02")
    assert len(list(other.left())) == 4
    other.keep(other.take(done, voice(), RATE))
    assert len(Manifest.read_csv(tmp_path / "manifest.csv").speakers) == 2


def test_speaker_code_is_unique(tmp_path: Path) -> None:
    session(tmp_path, age=30)
    session(tmp_path, age=30)
    with pytest.raises(ManifestError, match="another person"):
        session(tmp_path, age=31)


@pytest.mark.parametrize(
    ("sound", "warning"),
    [
        (np.zeros(RATE, np.float32), "silence"),
        (voice(0.2), "too_short"),
        (np.sign(voice()) * np.float32(1.0), "clipping"),
        (voice(gain=0.002), "low_level"),
        (np.zeros(0, np.float32), "too_short"),
    ],
)
def test_bad_take_has_warning(sound: Floats, warning: str, tmp_path: Path) -> None:
    one = session(tmp_path)
    take = one.take(next(one.left()), sound, RATE)
    assert warning in take.quality.warnings
    assert not take.usable


def test_prompts() -> None:
    wanted = make_prompts(["joy", "sadness"])
    assert len(wanted) == 2 * len(recording.SENTENCES)
    assert {p.emotion for p in wanted} == {"happy", "sad"}
    assert "{speaker}" in CONSENT
    with pytest.raises(LabelError):
        make_prompts([" "])


def test_prompts_of_a_project(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text("emotion,text\njoy,Hello there.\nanger,Hello there.\nanger,Go.\n")
    assert read_prompts(table) == (
        Prompt("s01", "Hello there.", "happy"),
        Prompt("s01", "Hello there.", "angry"),
        Prompt("s02", "Go.", "angry"),
    )
    for text in ("", "emotion\nsad\n", "emotion,text\nsad,\n"):
        table.write_text(text)
        with pytest.raises(ManifestError):
            read_prompts(table)
    with pytest.raises(ManifestError):
        read_prompts(tmp_path / "nothing.csv")


@pytest.mark.parametrize("fields", [{"code": "Anna B"}, {"code": ""}, {"code": "../x"}, {"code": "a_b"}])
def test_codes_that_are_none(fields: dict[str, str]) -> None:
    with pytest.raises(ManifestError, match="code"):
        SpeakerCard(**fields)


def test_impossible_people() -> None:
    with pytest.raises(ManifestError, match="sex"):
        SpeakerCard("p1", sex="f")
    with pytest.raises(ManifestError, match="age"):
        SpeakerCard("p1", age=200)
