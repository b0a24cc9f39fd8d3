"""Results as text, as HTML and back from JSON."""

from __future__ import annotations

import json

import pytest

from emovox.results import Adaptation, Prediction, Quality, Segment, Window

SCORES = {"happy": 0.125, "angry": 0.75, "<b>": 0.125}
QUALITY = Quality(level_dbfs=-20.5, peak_dbfs=-3.0, clipped=0.0, speech_s=1.25, warnings=("clipping",))


def test_prediction_in_one_line() -> None:
    assert str(Prediction("angry", SCORES, file="a.wav")) == "a.wav: angry 0.75 (happy 0.12, <b> 0.12)"
    assert str(Prediction(None, SCORES, reason="uncertain")).startswith("no label: uncertain (angry 0.75")
    assert str(Prediction(None, reason="silence")) == "no label: silence"
    assert str(Prediction(None, file="a.wav", error="no sound")) == "a.wav: error: no sound"
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
    ],
)
def test_results_return_from_json(result: Prediction | Segment | Window) -> None:
    row = json.loads(json.dumps(result.to_dict()))
    assert type(result).from_dict(row | {"of a newer server": 1}) == result
