"""One figure of a recording and its results, its player, and the summary of an evaluation."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emovox import audio
from emovox.errors import AudioError, ConfigError
from emovox.reports import embed_player, evaluation_summary
from emovox.reports.colours import COLOURS
from emovox.results import Prediction, Segment, Window

RATE = 16_000
CLIP = Path(__file__).parents[2] / "examples" / "happy.opus"
SCORES = {"happy": 0.7, "sad": 0.2, "angry": 0.1}
OTHERS = {"happy": 0.1, "sad": 0.3, "angry": 0.6}
SOUND = (0.3 * np.sin(np.arange(6 * RATE) / 20)).astype(np.float32)
SEGMENTS = [Segment(0.5, 2.5, "happy", 0.7, SCORES), Segment(3.0, 4.0, "angry", 0.6, OTHERS)]


def plot(*arguments: Any, **options: Any) -> Any:
    pytest.importorskip("matplotlib")
    import emovox

    return emovox.plot(*arguments, **options)


def panel(figure: Any, label: str) -> Any:
    return next(axes for axes in figure.axes if label in (axes.get_ylabel(), axes.name))


def spoke_values(figure: Any) -> list[float]:
    line = next(one for one in panel(figure, "polar").lines if len(one.get_xdata()) > 1)
    return list(np.array(line.get_ydata())[:-1] / 100)


def test_prediction_with_its_file() -> None:
    figure = plot(Prediction("happy", SCORES, 0.7, 3.58, file=str(CLIP)))
    assert figure.get_suptitle() == "happy.opus: happy 0.70"
    n_seconds = len(audio.read(CLIP)) / RATE
    assert panel(figure, "frequency, Hz").get_xlim() == pytest.approx((0, n_seconds))
    assert spoke_values(figure) == pytest.approx(list(SCORES.values()))
    assert not [axes for axes in figure.axes if axes.get_ylabel() == "probability"]


def test_prediction_without_sound() -> None:
    figure = plot(Prediction("happy", SCORES, 0.7, 3.0))
    assert [axes.name for axes in figure.axes] == ["polar"]
    two = plot(Prediction("happy", {"happy": 0.7, "sad": 0.3}, 0.7, 3.0)).axes[0]
    assert [bar.get_width() for bar in two.patches] == [0.7, 0.3]


def test_explanation_with_its_file(tiny_bundle: Path, tmp_path: Path) -> None:
    from emovox.inference.recognizer import load

    soundfile.write(tmp_path / "long.wav", np.tile(SOUND, 200), RATE)
    found = load(tiny_bundle).explain(tmp_path / "long.wav", start_s=1000.5, end_s=1001.5)
    figure = plot(found)
    assert figure.get_suptitle() == str(replace(found, file="long.wav"))
    assert panel(figure, "frequency, Hz (mel scale)").get_xlim() == (1000.5, 1001.5)
    again = load(tiny_bundle).explain(SOUND[:RATE], sample_rate=RATE)
    assert plot(again, SOUND, sample_rate=RATE, title="why").get_suptitle() == "why"
    with pytest.raises(ConfigError, match="names no file"):
        plot(again)


def test_segments_over_time() -> None:
    figure = plot(iter(SEGMENTS), SOUND, sample_rate=RATE)
    bars = panel(figure, "probability").patches
    drawn = {(bar.get_x(), round(bar.get_width(), 6), round(bar.get_height(), 6)) for bar in bars}
    assert drawn == {
        (one.start_s, one.duration_s, round(p, 6)) for one in SEGMENTS for p in one.scores.values()
    }
    # Stacked: the tops of a segment's last label are 1.
    assert max(bar.get_y() + bar.get_height() for bar in bars) == pytest.approx(1)
    weighted = [(2 * SCORES[name] + OTHERS[name]) / 3 for name in SCORES]
    assert spoke_values(figure) == pytest.approx(weighted)


def test_windows_take_their_hop() -> None:
    windows = [Window(0.0, end, SCORES, 1.0) for end in (1.0, 2.0, 3.0)]
    windows += [Window(float(start), start + 3.0, SCORES, 1.0) for start in (1, 2)]
    bars = panel(plot([*windows, *SEGMENTS], SOUND, sample_rate=RATE), "probability").patches
    happy = [bar for bar in bars if bar.get_y() == 0]
    assert [bar.get_x() for bar in happy] == [0, 0.5, 1, 2, 3]
    assert {bar.get_width() for bar in happy} == {1.0}


def test_no_speech_is_drawn() -> None:
    silence = np.zeros(RATE, np.float32)
    figure = plot(Prediction(None, reason="silence", duration_s=1.0), silence, sample_rate=RATE)
    assert "no label: silence" in [text.get_text() for axes in figure.axes for text in axes.texts]
    image = panel(figure, "frequency, Hz").images[0]
    assert image.norm(np.asarray(image.get_array())).max() == 0, "digital silence is white"
    assert "no speech" in plot([], silence, sample_rate=RATE).get_suptitle()


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Prediction(None, error="no such file", file="x.wav"), "no such file"),
        ([SEGMENTS[0].with_file("a"), SEGMENTS[1].with_file("b")], "one file and one channel"),
        ([Segment(0.0, 9.0, "happy", 0.7, SCORES)], "ends at 9.0 s, the recording lasts 6.0 s"),
    ],
)
def test_results_that_cannot_be_drawn(result: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        plot(result, SOUND, sample_rate=RATE)


@pytest.mark.parametrize("swapped", ["clip.wav", Path("clip.wav"), SOUND, b"RIFF", None, 3])
def test_arguments_in_the_wrong_order(swapped: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected a prediction.* emovox\.plot\("):
        plot(swapped, Prediction("happy", SCORES, 0.7, 3.0))


def test_recordings_that_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="at most 600 s"):
        plot(SEGMENTS, np.zeros(700 * RATE, np.float32), sample_rate=RATE)
    with pytest.raises(AudioError, match=r"gone\.wav"):
        plot(Prediction("happy", SCORES, 0.7, 3.0, file="gone.wav"))


def test_player_embeds_sound_and_segments() -> None:
    html = embed_player(SEGMENTS, SOUND, sample_rate=RATE)._repr_html_()
    data = re.search(r"src='data:audio/mpeg;base64,([^']+)'", html)
    assert data is not None
    assert len(audio.read(base64.b64decode(data[1]))) / RATE == pytest.approx(6, abs=0.2)
    assert f"background:{COLOURS['happy']};left:8.33%;width:33.33%" in html
    assert "<li>3.00 to 4.00 s: angry 0.60" in html
    assert "happy.opus" in embed_player(Prediction("happy", SCORES, 0.7, file=str(CLIP))).html


def test_player_needs_one_recording() -> None:
    with pytest.raises(ConfigError, match="names 0 files"):
        embed_player(SEGMENTS)
    with pytest.raises(ConfigError, match="recording second"):
        embed_player("clip.wav", SEGMENTS)  # type: ignore[arg-type]
    html = embed_player(Prediction("<b>", {"<b>": 1.0}, file="<i>"), CLIP).html
    assert "<i>" not in html
    assert "&lt;b&gt;" in html


def test_summary_of_an_evaluation() -> None:
    golden = Path(__file__).parents[1] / "golden" / "evaluation.json"
    document = json.loads(golden.read_text(encoding="utf-8"))
    html = evaluation_summary(document, folder="runs/<a>")
    assert f"{100 * document['scores']['uar']['value']:.1f}" in html
    assert document["stamp"]["stamp"] in html
    assert "runs/&lt;a&gt;" in html
    assert "folder" not in evaluation_summary(document)
