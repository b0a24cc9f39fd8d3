"""Turns: different voices are different speakers, times are in the recording, mistakes are refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError
from emovox.speech.diarization import cluster_speakers, diarize, open_speaker_encoder
from speech import BRIGHT, DARK, pause, voice
from speech_models import PitchEncoder

pytest.importorskip("sklearn")


def anna(seconds: float) -> np.ndarray:
    return voice(seconds, pitch_hz=210, formants_hz=DARK)


def ben(seconds: float) -> np.ndarray:
    return voice(seconds, pitch_hz=110, formants_hz=BRIGHT)


@pytest.mark.parametrize("n_speakers", [2, None])
def test_two_voices_are_two_speakers(n_speakers: int | None) -> None:
    x = np.concatenate([pause(1), anna(4), pause(1), ben(5), pause(1), anna(3), pause(0.5)])
    turns = diarize(x, PitchEncoder(), sample_rate=SAMPLE_RATE, n_speakers=n_speakers)
    assert [turn.speaker for turn in turns] == ["speaker 1", "speaker 2", "speaker 1"]
    for turn, (start_s, end_s) in zip(turns, [(1, 5), (6, 11), (12, 15)], strict=True):
        assert turn.start_s == pytest.approx(start_s, abs=0.4)
        assert turn.end_s == pytest.approx(end_s, abs=0.5)


def test_change_without_pause_is_found() -> None:
    turns = diarize(np.concatenate([anna(6), ben(6)]), PitchEncoder(), sample_rate=SAMPLE_RATE, n_speakers=2)
    assert [turn.speaker for turn in turns] == ["speaker 1", "speaker 2"]
    assert turns[0].end_s == turns[1].start_s == pytest.approx(6, abs=0.8)


def test_one_voice_is_one_speaker() -> None:
    x = np.concatenate([ben(6), pause(2), ben(6)])
    assert {t.speaker for t in diarize(x, PitchEncoder(), sample_rate=SAMPLE_RATE)} == {"speaker 1"}
    one = diarize(ben(0.2), PitchEncoder(), sample_rate=SAMPLE_RATE, n_speakers=3)
    assert {turn.speaker for turn in one} == {"speaker 1"}


def test_silence_has_no_turn() -> None:
    assert diarize(pause(5), PitchEncoder(), sample_rate=SAMPLE_RATE) == []


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 4), st.floats(0, 2)), min_size=1, max_size=6))
def test_turns_are_ordered_and_inside(parts: list[tuple[bool, float, float]]) -> None:
    x = np.concatenate([y for is_anna, s, p in parts for y in ((anna if is_anna else ben)(s), pause(p))])
    turns = diarize(x, PitchEncoder(), sample_rate=SAMPLE_RATE, n_speakers=2)
    assert all(0 <= turn.start_s < turn.end_s <= len(x) / SAMPLE_RATE for turn in turns)
    assert all(a.end_s <= b.start_s for a, b in pairwise(turns))
    assert {turn.speaker for turn in turns} <= {"speaker 1", "speaker 2"}
    assert not turns or turns[0].speaker == "speaker 1"


def test_many_windows_are_clustered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    rows = np.eye(3)[truth] + 0.1 * rng.standard_normal((400, 3))
    monkeypatch.setattr("emovox.speech.diarization._MAX_CLUSTERED", 50)
    labels = cluster_speakers(rows, 3, None)
    assert len(set(zip(truth.tolist(), labels.tolist(), strict=True))) == 3


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    encoder = PitchEncoder()
    for n_speakers in (0, 21):
        with pytest.raises(ConfigError, match="1 to 20"):
            diarize(ben(1), encoder, sample_rate=SAMPLE_RATE, n_speakers=n_speakers)
    with pytest.raises(ConfigError, match="each"):
        diarize(ben(1), encoder, sample_rate=SAMPLE_RATE, channels="each")
    encoder.same_speaker = None
    with pytest.raises(ConfigError, match="how many"):
        diarize(ben(1), encoder, sample_rate=SAMPLE_RATE)
    with pytest.raises(ConfigError, match="no such file"):
        open_speaker_encoder(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
    with pytest.raises(ConfigError, match="no ONNX model"):
        open_speaker_encoder(tmp_path / "text.onnx")


def test_missing_metadata_is_named(tiny_bundle: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    with pytest.raises(ConfigError, match="no metadata framework"):
        open_speaker_encoder(tiny_bundle / "model.onnx")


def test_sherpa_model_embeds(tmp_path: Path) -> None:
    """A mean over frames of filter-bank energies, exported as WeSpeaker's models are."""
    pytest.importorskip("sherpa_onnx")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["feats"], ["embs"], axes=[1], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("feats", kind, ["B", "T", 80])],
        [helper.make_tensor_value_info("embs", kind, ["B", 80])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    metadata = {
        "framework": "wespeaker",
        "language": "English",
        "url": "",
        "comment": "a mean",
        "sample_rate": "16000",
        "output_dim": "80",
        "normalize_samples": "0",
        "feature_normalize_type": "",
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "mean.onnx")
    encoder = open_speaker_encoder(tmp_path / "mean.onnx")
    assert encoder.embed(ben(1.5)).shape == (80,)
    x = np.concatenate([anna(4), pause(1), ben(5)])
    turns = diarize(x, encoder, sample_rate=SAMPLE_RATE, n_speakers=2)
    assert [turn.speaker for turn in turns] == ["speaker 1", "speaker 2"]
