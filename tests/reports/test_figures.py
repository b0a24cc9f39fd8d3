"""Figures show what the results say: their words and numbers are read back out of the axes."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emovox.errors import ConfigError, MissingExtraError, install_command
from emovox.labels import EMOTIONS, EXTRAS
from emovox.reports.colours import COLOURS, MARKERS, NONE, colour, marker
from emovox.results import Prediction, Segment
from sights import SIGHTS, TO_XYZ, lab, linear

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from emovox.reports.figures import (
    LearningPoint,
    ScoreLine,
    canvas,
    draw_confusion,
    draw_importance,
    draw_intervals,
    draw_learning_curve,
    draw_projection,
    draw_radar,
    draw_search,
    draw_speakers,
    draw_spectrogram,
    draw_system_confusions,
    draw_timeline,
    draw_training,
    draw_values,
    draw_waveform,
    figure_html,
    inline_svg,
    project,
    radar,
    render_figure,
    write_figure,
)
from emovox.reports.figures.features import SCALES

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation.json"
RATE = 16_000


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return loaded


def nine(document: dict[str, Any]) -> dict[str, Any]:
    """The same evaluation with all nine emotions, each mostly right."""
    counts = (np.eye(9, dtype=int) * 1234 + 7).tolist()
    row = document["classes"][0]
    return {
        **document,
        "confusion": {
            "true": list(EMOTIONS),
            "answered": [*EMOTIONS, "no answer"],
            "counts": [[*c, 3] for c in counts],
        },
        "classes": [{**row, "label": name} for name in EMOTIONS],
    }  # fmt: skip


def words(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text()]


def all_words(figure: Figure) -> str:
    """In one line, as they are read: long titles and captions are broken into lines."""
    return " ".join(" ".join(words(figure)).split())


def main_axes(figure: Figure) -> Axes:
    return figure.axes[-1]


def laid_out(figure: Figure) -> Figure:
    """Every word in its place; no picture is painted, which would take most of the time."""
    figure.draw_without_rendering()
    return figure


def overlaps(texts: list[Text]) -> list[tuple[str, str]]:
    """Pairs of words that stand on each other, once laid out."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text() and t.get_visible()]
    return [(a, b) for (a, one), (b, other) in itertools.combinations(boxes, 2) if one.overlaps(other)]


def whole(figure: Figure) -> bool:
    """Whether every word is inside of the sheet, once laid out."""
    width, height = figure.canvas.get_width_height()
    return all(
        box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        for box in (t.get_window_extent() for t in figure.findobj(Text) if t.get_text() and t.get_visible())
    )


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pixels: what is asked is whether a picture comes out, not how fine it is."""
    monkeypatch.setattr(canvas, "DPI", 40)


# --- colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sight", SIGHTS)
def test_emotions_can_be_told_apart(sight: str) -> None:
    seen = {name: lab(np.clip(SIGHTS[sight] @ linear(tone), 0, 1)) for name, tone in COLOURS.items()}
    apart = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in itertools.combinations(seen, 2)}
    assert min(apart.values()) >= 30, min(apart, key=apart.__getitem__)


def test_colours_have_contrast() -> None:
    assert tuple(COLOURS) == tuple(MARKERS) == EMOTIONS
    assert len(set(MARKERS.values())) == 9
    for tone in COLOURS.values():
        assert 1.05 / (linear(tone) @ TO_XYZ[1] + 0.05) >= 2.3
    assert all(colour(name) != NONE and colour(name) not in COLOURS.values() for name in EXTRAS)
    assert all(marker(name) not in (*MARKERS.values(), ".") for name in EXTRAS)
    assert (colour("no answer"), marker(None)) == (NONE, ".")


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [False, True])
def test_confusion_cells(document: dict[str, Any], shares: bool) -> None:
    figure = draw_confusion(document, shares=shares)
    counts = np.array(document["confusion"]["counts"])
    wanted = 100 * counts / counts.sum(1, keepdims=True) if shares else counts
    cells = {t.get_position(): t.get_text() for t in main_axes(figure).texts}
    for (row, column), value in np.ndenumerate(wanted):
        assert cells[column, row] == (f"{value:.0f}" if value else "·")
    assert [t for t in words(figure) if t.startswith("of ")] == [f"of {n}" for n in counts.sum(1)]
    image = main_axes(figure).images[0].get_array()
    np.testing.assert_allclose(image.sum(axis=1), 1)
    assert ("per cent of each row" if shares else "Numbers: clips") in all_words(figure)


def test_confusion_names_its_protocol(document: dict[str, Any]) -> None:
    text = all_words(draw_confusion(document))
    uar = document["scores"]["uar"]
    assert "protocol speaker-kfold/3" in text
    assert "on hand" in text
    assert f"stamp: {document['stamp']['stamp']}" in text
    assert f"[{100 * uar['low']:.1f}, {100 * uar['high']:.1f}]" in text


def test_nine_emotions_do_not_overlap(document: dict[str, Any]) -> None:
    figure = laid_out(draw_confusion(nine(document)))
    axes = main_axes(figure)
    assert whole(figure)
    assert not overlaps([*axes.texts])
    assert not overlaps(axes.get_yticklabels())
    answers = [Prediction("sad", dict.fromkeys(EMOTIONS, 1 / 9), 1 / 9, file=f"{n}.wav") for n in range(5)]
    figure = laid_out(draw_radar(answers))
    assert whole(figure)
    legend = main_axes(figure).get_legend()
    assert not overlaps([*main_axes(figure).texts, *legend.get_texts()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "comparison"}, "expected 'evaluation'"),
        ({"confusion": {"true": [], "answered": ["sad"], "counts": []}}, "no clip was predicted"),
        ({"confusion": {"true": ["sad"], "answered": ["sad"], "counts": [[0]]}}, "no clip was predicted"),
    ],
)
def test_no_matrix_of_nothing(document: dict[str, Any], change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        draw_confusion({**document, **change})


def test_one_class_is_drawn(document: dict[str, Any]) -> None:
    one = {"true": ["sad"], "answered": ["sad"], "counts": [[5]]}
    alone = {**document, "confusion": one, "classes": document["classes"][2:3]}
    assert "5" in words(draw_confusion(alone))


def test_the_highest_columns_are_named() -> None:
    scores = {f"column_{n}": float(n) for n in range(30)} | {"lost": float("nan")}
    figure = draw_importance(scores, n=5, unit="F", title="Importance")
    axes = main_axes(figure)
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"column_{n}" for n in (29, 28, 27, 26, 25)]
    assert [bar.get_width() for bar in axes.patches] == [29, 28, 27, 26, 25]
    assert "The 5 highest of 31 columns. 1 have no score" in all_words(figure)
    assert axes.get_xlabel() == "F"
    for nothing in ({}, {"a": float("nan")}):
        with pytest.raises(ConfigError, match=r"0 of \d columns have a score"):
            draw_importance(nothing, title="x")


# --- sound ----------------------------------------------------------------------------------------


def answer(scores: dict[str, float], **fields: Any) -> Prediction:
    return Prediction(max(scores, key=scores.__getitem__), scores, **{"file": "a/clip.wav", **fields})


def test_the_radar_shows_the_probabilities() -> None:
    scores = {"neutral": 0.1, "happy": 0.2, "sad": 0.7}
    figure = draw_radar([answer(scores)])
    line = next(line for line in main_axes(figure).lines if len(line.get_xdata()) == 4)
    assert list(line.get_ydata()) == pytest.approx([10, 20, 70, 10])
    assert "clip.wav: sad 70 %" in words(figure)
    assert set(scores) <= set(words(figure))
    unsure = Prediction(None, scores, 0.7, reason="uncertain", file="clip.wav")
    assert "clip.wav: no label (uncertain); most likely sad 70 %" in words(draw_radar([unsure]))


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([], "got 0 clips"),
        ([answer({"sad": 0.2, "happy": 0.3, "calm": 0.5})] * 6, "got 6 clips"),
        ([Prediction(None, reason="silence", file="x.wav")], "x.wav has no probabilities.*silence"),
        ([Prediction(None, error="no such file", file="x.wav")], "no such file"),
        ([answer({"sad": float("nan"), "happy": 0.3, "calm": 0.5})], "no numbers"),
        ([answer({"sad": 0.5, "happy": 0.5})], "three emotions"),
        ([answer({"sad": 0.2, "happy": 0.3, name: 0.5}) for name in ("calm", "fear")], "different labels"),
    ],
)  # fmt: skip
def test_radars_that_cannot_be_drawn(answers: list[Prediction], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        draw_radar(answers)


def test_timeline_lanes() -> None:
    scores = {"happy": 0.5, "sad": 0.5}
    parts = [
        Segment(0.0, 60.0, "happy", 0.9, scores),
        Segment(70.0, 200.0, "sad", 0.5, scores),
        Segment(200.0, 200.3, None, 0.3, scores, reason="uncertain"),
        Segment(1100.0, 1160.0, "happy", 0.9, scores),
    ]
    figure = draw_timeline(parts, duration_s=1200.0)
    axes = main_axes(figure)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["sad", "happy", "not sure"]
    bars = [(b.get_x(), b.get_width(), round(b.get_y() + b.get_height() / 2)) for b in axes.patches]
    assert bars[:2] == [(0.0, 1.0, 1), (pytest.approx(70 / 60), pytest.approx(130 / 60), 0)]
    assert bars[2][1] > 0.3 / 60, "a short one is seen still"
    assert axes.get_xlim() == (0, 20)
    assert axes.get_xlabel() == "time, min"
    for segments, duration_s in ((), 1.0), (parts, 1000.0):
        with pytest.raises(ConfigError, match="inside of it"):
            draw_timeline(segments, duration_s=duration_s)


def tone(seconds: float, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


SEGMENTS = (
    Segment(0.0, 1.2, "sad", 0.8, {}),
    Segment(1.4, 2.0, None, 0.3, {}, reason="uncertain"),
    Segment(2.0, 2.05, "surprise", 0.8, {}),
)


def test_waveform_keeps_peaks() -> None:
    x = np.zeros(5 * RATE, np.float32)
    x[12_345] = 0.9
    axes = main_axes(draw_waveform(x, start_s=10.0))
    drawn = axes.collections[0].get_paths()[0].vertices
    assert drawn[:, 1].max() == pytest.approx(0.9)
    assert drawn[drawn[:, 1].argmax(), 0] == pytest.approx(10 + 12_345 / RATE, abs=0.01)
    assert axes.get_xlim() == pytest.approx((10, 15))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time, s", "amplitude, full scale = 1")


@pytest.mark.parametrize("hz", [150, 1000, 4000])
def test_tone_at_its_frequency(hz: int) -> None:
    axes = draw_spectrogram(tone(2.0, hz)).axes[0]
    image = axes.images[0]
    level = np.asarray(image.get_array())
    peak = level.mean(axis=1).argmax() + 0.5
    ticks = dict(zip((100, 200, 500, 1000, 2000, 4000, 8000), axes.get_yticks(), strict=True))
    mel = {f: 2595 * np.log10(1 + f / 700) for f in (*ticks, hz)}
    wanted = np.interp(mel[hz], [mel[f] for f in ticks], list(ticks.values()))
    assert abs(peak - wanted) <= 1
    assert image.get_extent()[:2] == [0, 2.0]


@pytest.mark.parametrize("draw", [draw_waveform, draw_spectrogram])
def test_segment_colours(draw: Any) -> None:
    figure = draw(tone(3.0), SEGMENTS, title="a$b$.wav", caption="by tiny")
    strip = next(axes for axes in figure.axes if len(axes.patches) == 3 and not axes.axison)
    assert [to_hex(bar.get_facecolor()).upper() for bar in strip.patches] == [
        COLOURS["sad"],
        NONE,
        COLOURS["surprise"],
    ]
    assert [bar.get_x() for bar in strip.patches] == [0.0, 1.4, 2.0]
    named = [t.get_text() for t in (*strip.texts, *strip.get_legend().get_texts())]
    assert sorted(named) == ["no label (uncertain)", "sad", "surprise"]
    assert whole(laid_out(figure))
    assert b"a$b$.wav" in render_figure(figure, ".svg")


@pytest.mark.parametrize("draw", [draw_waveform, draw_spectrogram])
@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros(0), "expected"),
        (np.zeros((2, 100)), "expected"),
        (np.array([0.0, np.nan]), "numbers alone"),
        (np.zeros(601 * RATE, np.float32), "601 s"),
    ],
)
def test_sound_that_cannot_be_drawn(draw: Any, x: np.ndarray, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        draw(x)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("draw", [draw_waveform, draw_spectrogram])
@pytest.mark.parametrize("n", [1, 100, 16_000])
def test_silence_and_crumbs_are_drawn(draw: Any, n: int) -> None:
    assert render_figure(draw(np.zeros(n, np.float32)))[:4] == b"\x89PNG"


# --- curves ---------------------------------------------------------------------------------------


def test_learning_curve_points() -> None:
    points = [LearningPoint(200, 0.4, 0.3, 0.5), LearningPoint(100, 0.3)]
    axes = main_axes(draw_learning_curve(points, title="x"))
    assert [list(v) for v in axes.lines[0].get_data()] == [[100, 200], [30, 40]]
    assert [list(v) for v in axes.lines[1].get_data()] == [[200, 200], [30, 50]]
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["training clips", "UAR on the test, %"]
    with pytest.raises(ConfigError, match="two sizes"):
        draw_learning_curve(points[:1], title="x")


def test_search_trials_and_best() -> None:
    scores = [0.3, 0.5, None, 0.9, 0.4]
    trials = [{"score": s, "complete": n != 3} for n, s in enumerate(scores)]
    axes = main_axes(draw_search(trials, title="x"))
    lines = {line.get_label(): [list(v) for v in line.get_data()] for line in axes.lines}
    assert lines["trial"] == [[1, 2, 5], [30, 50, 40]]
    assert lines["pruned"] == [[4], [90]]
    assert lines["best so far"] == [[1, 2, 5, 5], [30, 50, 50, 50]], "one given up cannot win"
    for nothing in ([], [{"score": None}], [{"score": float("nan")}]):
        with pytest.raises(ConfigError, match="nothing to draw"):
            draw_search(nothing, title="x")


def test_training_losses_and_scores() -> None:
    history = [
        {"epoch": n, "train_loss": 2.0 - n, "validation_uar": u} for n, u in enumerate((0.2, None, 0.4))
    ]
    top, bottom = draw_training(history, title="x").axes
    assert [list(v) for v in top.lines[0].get_data()] == [[0, 1, 2], [2, 1, 0]]
    assert [list(v) for v in bottom.lines[0].get_data()] == [[0, 2], [20, 40]], "what is missing is no 0"
    assert (bottom.get_xlabel(), top.get_ylabel(), bottom.get_ylabel()) == ("epoch", "loss, nats", "UAR, %")
    assert top.get_xlim() == bottom.get_xlim()
    for nothing in ([], [{"epoch": 1}], [{"loss": 1.0}], [{"epoch": 1, "loss": None}]):
        with pytest.raises(ConfigError, match="expected epoch or step"):
            draw_training(nothing, title="x")


# --- projection -----------------------------------------------------------------------------------


def test_pca_equals_covariance() -> None:
    dice = np.random.default_rng(1)
    rows = dice.standard_normal((60, 3)) @ dice.standard_normal((3, 7)) * 10.0 ** np.arange(7)
    rows = np.column_stack([rows, np.full(60, 4.0)])
    found = project(rows)
    z = (rows[:, :7] - rows[:, :7].mean(0)) / rows[:, :7].std(0)
    values, vectors = np.linalg.eigh(np.cov(z.T))
    np.testing.assert_allclose(found.explained, values[::-1][:2] / values.sum(), rtol=1e-4)
    for k in range(2):
        wanted = z @ vectors[:, -1 - k]
        sign = np.sign(wanted @ found.points[:, k])
        np.testing.assert_allclose(found.points[:, k], sign * wanted, atol=1e-3)
    assert found.n_columns == 7, "a constant column says nothing"


def test_long_tails_are_cut() -> None:
    dice = np.random.default_rng(3)
    rows = dice.standard_normal((200, 6))
    rows[:3] *= 1e6
    inner = {}
    for scale in SCALES:
        found = project(rows, scale=scale)
        assert found.scale == scale
        np.testing.assert_allclose(found.points.mean(0), 0, atol=1e-6 * np.abs(found.points).max())
        span = np.ptp(found.points, axis=0)
        inner[scale] = float((np.ptp(found.points[3:], axis=0) / span).max())
    assert inner["none"] < 1e-4, "three clips make the picture"
    assert inner["robust"] > 0.2, "the others have room"
    tail = np.column_stack([dice.standard_normal((400, 2)), dice.standard_normal(400) ** 31])
    assert np.abs(project(tail).points).max() < 12, "no value is more than 5 deviations away"
    assert np.abs(project(tail, scale="none").points).max() > 1e6


def test_ranks_ignore_distance() -> None:
    rows = np.random.default_rng(5).standard_normal((80, 5))
    plain, stretched = project(rows, scale="rank"), project(np.exp(4 * rows), scale="rank")
    np.testing.assert_allclose(plain.points, stretched.points, atol=1e-4)
    assert np.abs(plain.points).max() <= 0.5 * np.sqrt(5)


def test_unscaled_pca_equals_covariance() -> None:
    rows = np.random.default_rng(4).standard_normal((50, 4)) * [1, 10, 100, 1000]
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    found = project(rows, scale="none")
    np.testing.assert_allclose(found.explained, values[:2] / values.sum(), rtol=1e-6)
    text = all_words(draw_projection(found, ["sad"] * 50, title="x"))
    assert "4 columns in their own units" in text
    with pytest.raises(ConfigError, match="did you mean 'robust'"):
        project(rows, scale="robst")


def test_missing_values_in_projection() -> None:
    rows = np.random.default_rng(2).standard_normal((20, 5))
    rows[3, 1] = np.nan
    found = project(np.column_stack([rows, np.full(20, np.nan)]))
    assert np.isfinite(found.points).all()
    np.testing.assert_allclose(found.points.mean(0), 0, atol=1e-5)


@pytest.mark.parametrize(
    "rows", [np.zeros((2, 5)), np.zeros(5), np.zeros((9, 5)), np.full((9, 5), np.nan), np.zeros((0, 4))]
)
def test_rows_that_cannot_be_projected(rows: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="expected"):
        project(rows)


def test_unknown_projections_and_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(2).standard_normal((20, 5))
    with pytest.raises(ConfigError, match="did you mean 'pca'"):
        project(rows, "pcaa")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("umap"))):
        project(rows, "umap")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("plot"))):
        draw_radar([answer({"sad": 0.2, "happy": 0.3, "calm": 0.5})])


def test_projection_points() -> None:
    found = project(np.random.default_rng(2).standard_normal((40, 5)))
    groups = ["sad"] * 15 + ["happy"] * 20 + [None] * 5
    figure = draw_projection(found, groups, title="x")
    axes = main_axes(figure)
    drawn = {c.get_label(): c for c in axes.collections}
    assert {name: len(c.get_offsets()) for name, c in drawn.items()} == {
        "sad (15)": 15, "happy (20)": 20, "unknown (5)": 5,
    }  # fmt: skip
    assert to_hex(drawn["sad (15)"].get_facecolor()[0]).upper() == COLOURS["sad"]
    np.testing.assert_array_equal(drawn["sad (15)"].get_offsets(), found.points[:15])
    assert f"component 1, standard units ({100 * found.explained[0]:.1f} % of the variance)" in words(figure)
    with pytest.raises(ConfigError, match="39 groups for 40 points"):
        draw_projection(found, groups[1:], title="x")


def test_many_speakers_are_drawn_together() -> None:
    found = project(np.random.default_rng(2).standard_normal((60, 5)))
    groups = [f"s{min(n, 24):02}" for n in range(60)]
    axes = main_axes(draw_projection(found, groups, by="speaker", title="x"))
    assert len(axes.collections) == 12
    assert sum(len(c.get_offsets()) for c in axes.collections) == 60
    looks = {(to_hex(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in axes.collections}
    assert len(looks) == 12, "no two groups look the same"


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figure_files_are_reproducible(
    document: dict[str, Any], tmp_path: Path, suffix: str, magic: bytes
) -> None:
    file = tmp_path / f"figure{suffix}"
    write_figure(draw_confusion(document), file)
    assert file.read_bytes().startswith(magic)
    assert file.read_bytes() == render_figure(draw_confusion(document), suffix.upper())
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.usefixtures("coarse")
def test_unknown_suffix_and_inline_svg(document: dict[str, Any], tmp_path: Path) -> None:
    figure = draw_confusion(document)
    with pytest.raises(ConfigError, match=r"'.gif'; expected .png"):
        write_figure(figure, tmp_path / "x.gif")
    part = inline_svg(figure, 'of "hand" & <co>')
    assert part.startswith('<figure class="wide"><svg viewBox="0 0 ')
    assert 'aria-label="of &quot;hand&quot; &amp; &lt;co&gt;"' in part


def test_page_figures_follow_the_theme() -> None:
    lines = [ScoreLine("a", 0.5, 0.4, 0.6, "50.0"), ScoreLine("b", 0.3, is_reference=True)]
    part = figure_html(draw_intervals, lines, axis="UAR, %", description="scores")
    assert {"var(--ink)", "var(--soft)", "var(--blue)", "var(--red)"} <= set(
        re.findall(r"var\(--\w+\)", part)
    )
    assert not re.search(r"#(1b1f24|59636e|ffffff)", part, re.IGNORECASE)
    ids = re.findall(r' id="([^"]+)"', part)
    assert len(ids) == len(set(ids))
    assert all(f"#{name}" in part for name in ids)


def test_figure_html_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "find_spec", lambda name: None)
    assert figure_html(draw_intervals, [ScoreLine("a", 0.5)], axis="UAR, %", description="x") == ""


# --- intervals ------------------------------------------------------------------------------------


def test_intervals_keep_order() -> None:
    lines = [
        ScoreLine("chosen", 0.52, 0.47, 0.57, "52.0 [47.0, 57.0]", is_reference=True),
        ScoreLine("gradient-boosting on ComParE_2016", 0.3, 0.25, 0.35, "30.0 [25.0, 35.0]"),
        ScoreLine("few", 0.4),
    ]
    figure = laid_out(draw_intervals(lines, axis="UAR, %", mark=0.52, title="Systems"))
    axes = main_axes(figure)
    assert [t.get_text() for t in axes.get_yticklabels()] == [line.name for line in lines]
    drawn = [[float(v) for v in line.get_xdata()] for line in axes.lines]
    for found, wanted in zip(drawn, [[52, 52], [47, 57], [52], [25, 35], [30], [40]], strict=True):
        assert found == pytest.approx(wanted)
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [list(ring.get_xdata()) for ring in rings] == [[52.0]], "the reference alone is a ring"
    assert whole(figure)
    assert not overlaps([*axes.texts, *axes.get_yticklabels()])
    with pytest.raises(ConfigError, match="at least one"):
        draw_intervals([], axis="x")


def test_speaker_dots() -> None:
    figure = draw_speakers([0.5, 0.5, 0.5, 0.9], value=0.6, low=0.5, high=0.7)
    dots, interval, ring = main_axes(figure).lines
    points = {(float(x), float(y)) for x, y in zip(*dots.get_data(), strict=True)}
    assert points == {(50, 0), (50, 1), (50, 2), (90, 0)}
    assert list(interval.get_xdata()) == [50, 70]
    assert list(ring.get_xdata()) == [60]
    assert len(main_axes(draw_speakers([0.5], value=0.5)).lines) == 2


def compared() -> dict[str, Any]:
    """A cross-validation of three systems, one of which failed."""
    matrix = {"labels": ["happy", "sad"], "counts": [[30, 15], [5, 40]]}
    rows = [
        {"name": name, "error": None, "test": {"uar": uar, "confusion": matrix}}
        for name, uar in (("lda on seed-180", 0.778), ("knn on seed-180", 0.5))
    ]
    one = {"protocol": "emobox", "stamp": "strict", "systems": [*rows, {"name": "mlp", "error": "failed"}]}
    data = {"corpora": ["toy"], "n_clips": 90, "n_speakers": 12, "emotions": {"sad": 45, "happy": 45}}
    return {"kind": "comparison", "data": data, "protocols": [one]}


def test_confusion_of_systems() -> None:
    figure = laid_out(draw_system_confusions(compared()))
    assert [axes.get_title() for axes in figure.axes] == [
        "lda on seed-180: UAR 77.8 %",
        "knn on seed-180: UAR 50.0 %",
    ]
    for axes in figure.axes:
        assert [t.get_text() for t in axes.texts][:4] == ["30", "15", "5", "40"]
    assert whole(figure)
    assert "stamp: strict" in all_words(figure)
    alone = draw_system_confusions(compared(), system="knn on seed-180", shares=True)
    assert [t.get_text() for t in main_axes(alone).texts][:4] == ["67", "33", "11", "89"]
    for options, says in (
        ({"protocol": "loso"}, "no protocol 'loso'"),
        ({"system": "knm on seed-180"}, "did"),
    ):
        with pytest.raises(ConfigError, match=says):
            draw_system_confusions(compared(), **options)


def test_radar_takes_plain_arrays() -> None:
    labels = ["happy", "sad", "frustrated"]
    figure = radar(np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]), labels, names=["a", "b"])
    axes = main_axes(figure)
    polygons = [list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 4]
    assert polygons == [pytest.approx([20, 30, 50, 20]), pytest.approx([10, 10, 80, 10])]
    assert {*labels, "a", "b"} <= set(words(figure))
    assert main_axes(radar([0.2, 0.3, 0.5], labels)).get_legend() is None
    for probabilities, says in (([0.2, 0.8], "column per label"), ([2.0, 0.0, 0.0], "from 0 to 1")):
        with pytest.raises(ConfigError, match=says):
            radar(probabilities, labels)
    with pytest.raises(ConfigError, match="three emotions"):
        radar([0.2, 0.8], labels[:2])


def test_missing_glyphs_do_not_warn() -> None:
    figure = draw_importance({"特徵\n一": 1.0}, title="音.wav")
    assert render_figure(figure)[:4] == b"\x89PNG"


def test_matplotlib_is_imported_late() -> None:
    code = (
        "import sys, emovox.reports.figures, emovox.cli.plot\n"
        "assert not {m.split('.')[0] for m in sys.modules} & {'matplotlib', 'umap', 'sklearn'}\n"
        "from emovox.reports.figures import draw_importance\n"
        "draw_importance({'a': 1.0}, title='x')\n"
        "assert 'matplotlib.figure' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_timeline_of_values() -> None:
    segments = [
        Segment(0.0, 1.5, None, None, {}, values={"arousal": 0.2, "age": 40.0}),
        Segment(2.0, 4.0, None, None, {}, values={"arousal": 0.7, "age": 41.0}),
    ]
    figure = draw_timeline(segments, duration_s=4.5)
    assert [axes.get_ylabel() for axes in figure.axes] == ["arousal", "age"]
    figure.draw_without_rendering()
    above, below = (axes.get_position() for axes in figure.axes)
    assert above.y0 > below.y1, "the panels do not overlap"
    assert above.x0 == below.x0
    lines = figure.axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[0.2, 0.2], [0.7, 0.7]]
    both = [Segment(0.0, 1.5, "happy", 0.8, {"happy": 0.8, "sad": 0.2}, values={"arousal": 0.2})]
    names = [axes.get_ylabel() for axes in draw_timeline(both, duration_s=2).axes]
    assert sorted(names) == ["", "arousal"], "lanes of labels, and a panel for the target"


@pytest.mark.parametrize("levels", [2, 40])
def test_values_as_boxes_or_points(levels: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, levels, 200) / (levels - 1)
    row = {"target": "arousal", "unit": "", "points": np.stack([true, true + 0.1], axis=1).tolist()}
    figure = draw_values(row)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true arousal", "predicted arousal")
    assert len(axes.get_xticks()) == 2 if levels == 2 else len(axes.get_lines()) == 2
    assert render_figure(figure)[:4] == b"\x89PNG"
