"""Transcripts: our detector decides what is speech, times are those of the recording, models are local."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emovox
from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError, DownloadError, MissingExtraError
from emovox.inference.options import PredictOptions
from emovox.results import TranscriptSegment, Word
from emovox.speech import recognition
from emovox.speech.recognition import RecognizedWords, open_recognizer, predict_transcript, transcribe
from speech import pause, talk, voice
from speech_models import ScriptedRecognizer


def test_silence_is_not_given_to_the_recogniser() -> None:
    recognizer = ScriptedRecognizer()
    assert list(transcribe(pause(60), recognizer, sample_rate=SAMPLE_RATE)) == []
    assert recognizer.sounds == []


def test_words_outside_of_speech_are_dropped() -> None:
    x = np.concatenate([pause(5), voice(2), pause(2.5), voice(2), pause(5)])
    (part,) = transcribe(x, ScriptedRecognizer("Thanks", "for", "watching!"), sample_rate=SAMPLE_RATE)
    words = [word for one in part.segments for word in one.words]
    assert words
    assert all(word.end_s > 5 and word.start_s < 12 for word in words)
    assert not any(word.start_s > 8 and word.end_s < 9.4 for word in words)


def test_times_are_bounded() -> None:
    class Wild:
        def recognize(self, sound: np.ndarray, language: str | None) -> RecognizedWords:
            words = (
                Word(-1.0, 0.5, " a"),
                Word(1.0, 0.8, " b"),
                Word(0.7, 1.5, " c"),
                Word(1.5, 99.0, " d."),
                Word(50.0, 60.0, " e"),
                Word(1.6, 1.9, "  "),
            )
            return RecognizedWords(words, None, None)

    x = np.concatenate([pause(1), voice(3), pause(1)])
    (part,) = transcribe(x, Wild(), sample_rate=SAMPLE_RATE)
    words = [word for one in part.segments for word in one.words]
    assert [word.text for word in words] == ["a", "c", "d."]
    assert all(0 <= word.start_s < word.end_s <= part.chunk.end_s for word in words)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)


def test_language_is_kept_once_sure() -> None:
    x = np.concatenate([voice(3), pause(5), voice(3), pause(5), voice(3)])
    unsure = ScriptedRecognizer(probability=0.3)
    assert [p.language for p in transcribe(x, unsure, sample_rate=SAMPLE_RATE)] == ["en"] * 3
    assert unsure.languages == [None, None, None]
    sure = ScriptedRecognizer(language="de")
    list(transcribe(x, sure, sample_rate=SAMPLE_RATE))
    assert sure.languages == [None, "de", "de"]
    named = ScriptedRecognizer()
    list(transcribe(x, named, sample_rate=SAMPLE_RATE, language="pl"))
    assert named.languages == ["pl"] * 3


def test_speakers_end_sentences() -> None:
    turns = [TranscriptSegment(0, 2.2, speaker="a"), TranscriptSegment(2.2, 9, speaker="b")]
    parts = transcribe(voice(4), ScriptedRecognizer("on"), sample_rate=SAMPLE_RATE, turns=turns)
    found = [(one.speaker, one.end_s <= 2.4, one.start_s >= 2.0) for part in parts for one in part.segments]
    assert found == [("a", True, False), ("b", False, True)]


def test_sentences_are_predicted_as_their_sound(tiny_bundle: Path) -> None:
    model = emovox.load(tiny_bundle)
    x = talk()
    results = list(predict_transcript(model, x, ScriptedRecognizer(), sample_rate=SAMPLE_RATE))
    assert len(results) > 2
    for one in results:
        start, end = (round(s * SAMPLE_RATE) for s in (one.segment.start_s, one.segment.end_s))
        alone = model.predict(x[start:end], sample_rate=SAMPLE_RATE)
        assert one.prediction.label == alone.label
        assert one.prediction.scores == pytest.approx(dict(alone.scores), abs=1e-5)
        assert one.to_dict()["words"][0]["start_s"] == round(one.segment.start_s, 3)


def test_adaptation_reads_the_recording_twice(adaptive_bundle: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "call.wav", talk(), SAMPLE_RATE)
    model = emovox.load(adaptive_bundle)
    options = PredictOptions(adapt=True)
    results = list(predict_transcript(model, tmp_path / "call.wav", ScriptedRecognizer(), options=options))
    assert any(one.prediction.adaptation is not None for one in results)


def test_each_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match="each"):
        list(transcribe(talk(), ScriptedRecognizer(), sample_rate=SAMPLE_RATE, channels="each"))


# --- models ----------------------------------------------------------------------------------------


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail(name: str, *rest: Any, **more: Any) -> Any:
        if name == "faster_whisper":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(MissingExtraError, match=r"\[asr\]"):
        open_recognizer("base")


def test_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model\.bin and no config\.json and no tokenizer\.json"):
        open_recognizer(tmp_path)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    pytest.importorskip("faster_whisper")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_recognizer(tmp_path)


def test_nothing_is_downloaded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    faster_whisper = pytest.importorskip("faster_whisper")
    asked = []

    def download(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        asked.append((name, local_files_only))
        raise ConnectionError("no network")

    monkeypatch.setattr(faster_whisper, "download_model", download)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("EMOVOX_OFFLINE", raising=False)
    with pytest.raises(DownloadError, match="--asr base"):
        open_recognizer()
    assert asked == [("base", True)]
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        open_recognizer("small")
    assert asked[1:] == [("small", True), ("small", False)]
    monkeypatch.setenv("EMOVOX_OFFLINE", "1")
    with pytest.raises(DownloadError, match="EMOVOX_OFFLINE"):
        open_recognizer("tiny")
    assert asked[3:] == [("tiny", True)]
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        open_recognizer("smal")
    with pytest.raises(ConfigError, match="no such folder"):
        open_recognizer("models/of/mine")


@pytest.mark.corpora
@pytest.mark.skipif("EMOVOX_ASR" not in os.environ, reason="EMOVOX_ASR names no Whisper model's folder")
def test_whisper_knows_the_sentences_of_ravdess() -> None:
    """The two sentences are known; RAVDESS says them in the fifth field of a name."""
    recognizer = recognition.open_recognizer(os.environ["EMOVOX_ASR"])
    for number, text in (("01", "kids are talking by the door"), ("02", "dogs are sitting by the door")):
        file = Path(os.environ["EMOVOX_CORPORA"], "ravdess", "Actor_05", f"03-01-01-01-{number}-01-05.flac")
        (part,) = transcribe(file, recognizer)
        (sentence,) = part.segments
        assert sentence.text is not None
        assert sentence.text.lower().rstrip(".") == text
        assert part.language == "en"
