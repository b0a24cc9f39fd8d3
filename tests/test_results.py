"""Results as text, as HTML and back from JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from emovox.results import Adaptation, Explanation, Prediction, Quality, Segment, Window

SCORES = {"happy": 0.125, "angry": 0.75, "<b>": 0.125}
EXPLANATION = Explanation(
    "angry",
    0.75,
    SCORES,
    times_s=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    time_drops=(-0.5, 0.25, 1.0, 0.25, 0.0),
    bands_hz=(0.0, 500.0, 8000.0),
    band_drops=(0.5, 0.5),
    map_times_s=(0.5, 1.0),
    map_bands_hz=(0.0, 500.0, 8000.0),
    map_drops=((0.25, -0.25),),
    n_runs=10,
    file="a.wav",
)
QUALITY = Quality(level_dbfs=-20.5, peak_dbfs=-3.0, clipped=0.0, speech_s=1.25, warnings=("clipping",))


def test_prediction_in_one_line() -> None:
    assert str(Prediction("angry", SCORES, file="a.wav")) == "a.wav: angry 0.75 (happy 0.12, <b> 0.12)"
    assert str(Prediction(None, SCORES, reason="uncertain")).startswith("no label: uncertain (angry 0.75")
    assert str(Prediction(None, reason="silence")) == "no label: silence"
    assert str(Prediction(None, file="a.wav", error="no sound")) == "a.wav: error: no sound"
    assert str(Window(0.5, 3.5, SCORES, 1.0)) == "0.50 to 3.50 s: angry 0.75 (happy 0.12, <b> 0.12)"
    assert str(Window(0.5, 3.5, {}, 0.0)) == "0.50 to 3.50 s: no speech"
    assert str(Segment(0.5, 12.34, "angry", 0.75, SCORES)).startswith("0.50 to 12.34 s: angry 0.75")


def test_html_escapes_names() -> None:
    page = Prediction("angry", SCORES, file="<script>")._repr_html_()
    assert "<script>" not in page
    assert "<b></td>" not in page
    assert "&lt;script&gt;" in page
    assert page.index("angry</td>") < page.index("happy</td>")


@pytest.mark.parametrize(
    "result",
    [
        Prediction(
            "angry", SCORES, 0.75, 2.5, QUALITY, file="a.wav", channel=1, adaptation=Adaptation(3, 0.25)
        ),
        Prediction(None, {}, None, 2.5, reason="silence"),
        Prediction(None, file="a.wav", error="no sound"),
        Segment(0.5, 1.5, "angry", 0.75, SCORES, channel=0, adaptation=Adaptation(3, 0.25)),
        Window(0.5, 1.5, SCORES, 0.5),
        EXPLANATION,
    ],
)
def test_results_return_from_json(result: Prediction | Segment | Window | Explanation) -> None:
    row = json.loads(json.dumps(result.to_dict()))
    assert type(result).from_dict(row | {"of a newer server": 1}) == result


def test_explanation_names_the_main_part() -> None:
    assert EXPLANATION.main_span_s == (0.7, 0.8)
    assert EXPLANATION.main_band_hz is None, "no band has a small part of all"
    assert str(EXPLANATION) == "a.wav: angry 0.75: mostly 0.7-0.8 s, spread over frequency"
    both = replace(EXPLANATION, bands_hz=(0, 299, 402, 8000), band_drops=(0.1, 0.5, 0.1))
    assert str(both).endswith("mostly 0.7-0.8 s, 300-400 Hz")
    tenths = tuple(n / 10 for n in range(11))
    plateau = replace(EXPLANATION, times_s=tenths, time_drops=(0, 0, 0.2, 0.7, 0.3, 0.5, 0.8, 0.2, 0, 0))
    assert plateau.main_span_s == (0.3, 0.7), "0.4 to 0.7 s hold half; the part before is as high as they are"
    neither = replace(EXPLANATION, time_drops=(0.0,) * 5)
    assert str(neither).endswith("spread over time and frequency")
