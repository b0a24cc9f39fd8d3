"""Pages show the document, nothing else: every figure is in them, and no text can become markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.reports import cross_validation_html, evaluation_html, evaluation_markdown, overview_markdown
from emovox.reports.classes import confusion_html, recalls_html
from emovox.reports.colours import COLOURS
from emovox.reports.evaluation import evaluation_lines
from emovox.reports.html import escape, heat_table, page
from emovox.reports.svg import Plot, Rung, ladder, strip
from emovox.reports.text import markdown_table, percent
from emovox.reports.training import training_html

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation.json"
VOID = {"meta", "br", "img", "input", "link", "hr"}


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return loaded


class Checker(HTMLParser):
    """Counts elements, keeps the text, and fails where tags are not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_page_is_whole_and_stands_alone(document: dict[str, Any]) -> None:
    text = evaluation_html(document)
    found = Checker(text)
    assert found.seen.count("svg") == 4
    assert not {"script", "link", "img", "iframe"} & set(found.seen)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_every_figure_is_on_both_pages(document: dict[str, Any]) -> None:
    page_text, markdown = Checker(evaluation_html(document)).text, evaluation_markdown(document)
    scores = document["scores"]
    wanted = [scores["uar"][key] for key in ("value", "low", "high")]
    wanted += [scores["wa"]["value"], scores["macro_f1"], scores["coverage"], scores["answered_uar"]]
    wanted += [row["recall"] for row in document["classes"]]
    wanted += [row["uar"] for one in document["groups"] for row in one["rows"]]
    wanted += [one["gap"] for one in document["groups"] if one["gap"] is not None]
    wanted += [row["uar"] for row in document["splits"]]
    for text in (page_text, markdown):
        for value in wanted:
            assert percent(value) in text
        for name in ("ece", "auc", "brier", "log_loss"):
            assert f"{scores[name]:.3f}" in text
        assert document["stamp"]["stamp"] in text
        assert document["stamp"]["reasons"][0] in text
        assert "disgust: 3" in text, "what was left out stands on the page"
    for line in document["confusion"]["counts"]:
        assert " | ".join(map(str, line)) in re.sub(r" +", " ", markdown)


def test_the_lines_name_the_score_the_stamp_and_the_gap(document: dict[str, Any]) -> None:
    text = "\n".join(evaluation_lines(document))
    uar = document["scores"]["uar"]
    assert f"{percent(uar['value'])} [{percent(uar['low'])}, {percent(uar['high'])}]" in text
    assert document["stamp"]["stamp"] in text
    assert "by sex" in text


def few_speakers(document: dict[str, Any]) -> dict[str, Any]:
    uar = {**document["scores"]["uar"], "low": None, "high": None, "n_speakers": 3}
    scores = {**document["scores"], "uar": uar, "wa": {**uar}}
    return {**document, "scores": scores, "speakers": document["speakers"][:3]}


def test_few_speakers_are_shown_one_by_one(document: dict[str, Any]) -> None:
    few = few_speakers(document)
    for text in (evaluation_html(few), evaluation_markdown(few), "\n".join(evaluation_lines(few))):
        for row in few["speakers"]:
            assert row["speaker"] in text
            assert percent(row["uar"]) in text
    assert "no honest interval" in evaluation_html(few)


@given(
    evil=st.text(max_size=30)
    | st.sampled_from(["<script>x</script>", '"><b onclick=x>', "a|b\n# c", "&amp;"])
)
def test_no_name_becomes_markup(evil: str) -> None:
    document = json.loads(GOLDEN.read_text(encoding="utf-8"))
    document["model"]["name"] = document["speakers"][0]["speaker"] = evil
    document["stamp"]["reasons"] = [evil]
    document["groups"][0]["rows"][0]["group"] = evil
    document["errors"] = [{"id": evil, "error": evil}]
    found = Checker(evaluation_html(document))
    assert "script" not in found.seen
    rows = [line for line in evaluation_markdown(document).splitlines() if line.startswith("|")]
    assert rows
    assert all(line.endswith("|") for line in rows)


def test_text_that_is_no_unicode_can_be_written() -> None:
    assert page("\udcff", escape("\udcff")).encode()


def test_markdown_tables_have_as_many_cells_in_every_line() -> None:
    lines = markdown_table(["a", "long head"], [["x|y", 1], ["two\nlines", 22]])
    assert len({len(line) for line in lines}) == 1
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)


def test_points_stand_where_they_belong() -> None:
    plot = Plot("x", "y", y_range=(0.0, 0.5))
    assert plot.x(0) == plot.LEFT
    assert plot.x(1) == plot.width - plot.RIGHT
    assert plot.y(0.5) == plot.TOP
    assert plot.y(0.0) == plot.height - plot.BOTTOM
    assert plot.y(0.25) == pytest.approx((plot.y(0) + plot.y(0.5)) / 2)
    plot.curve([(0, 0), (1, 0.5)])
    assert f'points="{plot.LEFT:.1f},{plot.y(0):.1f} {plot.x(1):.1f},{plot.TOP:.1f}"' in plot.svg("it")


def test_the_strip_has_a_dot_for_each_speaker() -> None:
    dots = [(0.5, f"s{n}") for n in range(4)] + [(0.9, "s4")]
    text = strip(dots, title="scores", value=0.6, low=0.5, high=0.7)
    assert text.count('class="dot"') == 5
    assert len(set(re.findall(r'class="dot" cx="[\d.]+" cy="\d+"', text))) == 5, "none hides another"
    assert "50.0% to 70.0%" in text
    assert 'class="range"' not in strip(dots, title="scores", value=0.6, low=None, high=None)


def test_the_depth_of_a_cell_is_its_share_of_the_row() -> None:
    text = heat_table(["a", "b"], ["a", "b"], [[9, 1], [0, 0]], caption="it")
    assert re.findall(r"--deep:([\d.]+)", text) == ["0.900", "0.100", "0.000", "0.000"]
    assert text.count("right") == 2


def test_shares_of_a_matrix_stand_beside_its_clips() -> None:
    matrix = {"true": ["sad"], "answered": ["sad", "happy", "calm"], "counts": [[5, 3, 0]]}
    clips, shares = confusion_html(matrix)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", each) for each in (clips, shares)]
    assert cells == [["5", "3", "·", "8"], ["62", "38", "·", "8"]]
    assert re.findall(r'title="([^"]*)"', shares) == ["5 clips", "3 clips", "0 clips"]


def lines(svg: str, kind: str) -> list[tuple[float, float]]:
    """Ends of the lines of a kind, from the left."""
    found = re.findall(rf'<line class="{kind}" x1="([\d.]+)" x2="([\d.]+)"', svg)
    return [(float(a), float(b)) for a, b in found]


def test_a_bar_of_the_page_is_as_long_as_the_recall(document: dict[str, Any]) -> None:
    drawing = next(recalls_html(document))
    ((left, right),) = lines(drawing, "axis")
    bars = re.findall(r'fill="(#\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawing)
    rows = document["classes"]
    assert [tone for tone, _, _ in bars] == [COLOURS[row["label"]] for row in rows]
    assert {float(x) for _, x, _ in bars} == {left}
    for (_, _, width), ends, row in zip(bars, lines(drawing, "over"), rows, strict=True):
        assert float(width) == pytest.approx(row["recall"] * (right - left), abs=0.1)
        wanted = [left + row[key] * (right - left) for key in ("recall_low", "recall_high")]
        assert ends == pytest.approx(wanted, abs=0.1)
    unsure = [{**row, "recall_low": None, "recall_high": None} for row in rows]
    alone = next(recalls_html({**document, "classes": unsure}))
    assert lines(alone, "over") == []
    assert "Too few speakers" in alone


def test_words_of_a_ladder_have_their_room() -> None:
    name = "gradient-boosting on ComParE_2016"
    text = ladder([Rung(name, 0.5, shown="50.0 [40.0, 60.0]")], title="UAR", span=(0.4, 0.6))
    ((left, right),) = lines(text, "axis")
    assert left > 6 * len(name), "letters are six units wide and more"
    assert re.search(rf'cx="{(left + right) / 2:.1f}"', text), "half of the way from 40 to 60"
    assert float(re.findall(r"--wide: (\d+)", text)[0]) > right + 6 * 17
    assert re.findall(r'middle">([\d.]+)</text>', text) == ["40", "45", "50", "55", "60"]


def compared() -> dict[str, Any]:
    """A comparison of three systems, one of which failed."""
    base = {"features": "seed-180", "error": None, "n_columns": [180], "validation_uar": 0.5}
    confusion = {"labels": ["happy", "sad"], "counts": [[30, 15], [20, 25]]}
    common = {"n_clips": 90, "n_labels": 4, "confusion": confusion}
    test = {"uar": 0.52, "low": 0.47, "high": 0.57, "mean_uar": 0.51, **common}
    worse = {"uar": 0.3, "low": 0.25, "high": 0.35, "mean_uar": 0.3, **common}
    against = {"value": -0.22, "low": -0.31, "high": -0.12, "p": 0.0004}
    systems = [
        {
            **base,
            "name": "knn on seed-180",
            "model": "knn",
            "validation_uar": 0.4,
            "test": worse,
            "against_chosen": against,
        },
        {**base, "name": "lda on seed-180", "model": "lda", "test": test, "against_chosen": None},
        {**base, "name": "mlp on seed-180", "model": "mlp", "error": "it failed"},
    ]
    one = {
        "corpus": "toy",
        "protocol": "emobox",
        "stamp": "strict",
        "reasons": ["why"],
        "splits": [{}],
        "chosen": {"name": "lda on seed-180", "features": "seed-180", "model": "lda"},
        "headline": test,
        "each_fold_its_own": None,
        "systems": systems,
    }
    data = {"corpora": ["toy"], "n_clips": 90, "n_speakers": 12, "emotions": {"sad": 45, "happy": 45}}
    return {"kind": "comparison", "data": data, "protocols": [one]}


def test_a_comparison_draws_scores_and_differences() -> None:
    text = cross_validation_html(compared())
    scores, gaps = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert (scores.count('class="mark"'), scores.count('class="dot"')) == (1, 1), "the ring is the chosen"
    assert [scores.index(name) for name in ("lda on", "knn on")] == sorted(
        scores.index(name) for name in ("lda on", "knn on")
    )
    ((left, right),) = lines(gaps, "axis")
    ((low, high),) = lines(gaps, "range")
    step = (right - left) / 0.4  # from -40 to 0
    assert (low, high) == pytest.approx((left + 0.09 * step, left + 0.28 * step), abs=0.1)
    assert "-22.0 [-31.0, -12.0]" in gaps
    assert "it failed" in Checker(text).text


def test_a_comparison_of_few_speakers_has_no_intervals() -> None:
    few = compared()
    for one in few["protocols"][0]["systems"][:2]:
        one["test"] = {**one["test"], "low": None, "high": None}
    few["protocols"][0]["systems"][0]["against_chosen"] = None
    text = cross_validation_html(few)
    assert text.count("<svg") == 1
    assert "Too few speakers for intervals" in text
    assert lines(text, "range") == []


def test_overview_shows_the_gap_between_protocols() -> None:
    def protocol(corpus: str, name: str, stamp: str, uar: float, low: float | None = None) -> dict[str, Any]:
        one = compared()["protocols"][0]
        row = one["systems"][0]
        test = {**row["test"], "uar": uar, "low": low, "high": None if low is None else uar + 0.05}
        about = {"corpus": corpus, "protocol": name, "stamp": stamp, "reasons": ["why"], "splits": [{}]}
        return {**one, **about, "systems": [{**row, "name": "svm", "test": test}]}

    protocols = [
        protocol("ravdess", "random", "speaker-dependent", 0.703, 0.65),
        protocol("ravdess", "emobox", "text-shared", 0.541, 0.48),
        protocol("savee", "emobox", "text-shared", 0.6),
    ]
    lines = overview_markdown({"protocols": protocols}).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:4]]
    assert cells[0][:6] == ["system", "corpus", "labels", "emobox, UAR %", "random, UAR %", "gap"]
    assert cells[2][3:6] == [
        "54.1 [48.0, 59.1] text-shared",
        "70.3 [65.0, 75.3] speaker-dependent",
        "+16.2",
    ]
    assert cells[3][1:6] == ["savee", "4", "60.0 text-shared", "–", "–"]
    assert "gap" not in overview_markdown({"protocols": protocols[1:]}).splitlines()[0]


def test_curves_of_a_training_mark_the_epoch_that_is_kept() -> None:
    rows = [
        {
            "number": n,
            "of": 4,
            "loss": None if n == 4 else 2.0 / n,
            "validation_loss": 1.0 + n,
            "uar": (0.2, 0.6, 0.4, 0.6)[n - 1],
            "learning_rate": 1e-3 / n,
            "seconds": 1.5,
        }
        for n in (1, 2, 3, 4)
    ]
    html = "".join(training_html({"kept": 2, "epochs": rows}))
    plots = re.findall(r"<svg.*?</svg>", html)
    assert len(plots) == 3
    losses, uar, _ = plots
    taught, held = (re.search(rf'class="{kind}" points="([^"]*)"', losses) for kind in ("curve", "second"))
    assert taught
    assert held
    assert [len(line[1].split()) for line in (taught, held)] == [3, 4], "what is missing is no point"
    ring = re.search(r'class="mark" cx="([\d.]+)" cy="([\d.]+)"', uar)
    assert ring
    points = [point.split(",") for point in re.search(r'points="([^"]*)"', uar)[1].split()]  # type: ignore[index]
    assert points[1] == [ring[1], ring[2]], "the ring is on the second point"
    assert float(ring[2]) == min(float(y) for _, y in points), "and nothing is above it"
    assert re.findall(r'text-anchor="middle">(\d[\d.]*)<', uar) == ["1", "2", "3", "4"]
    assert "epoch 2 are kept, UAR 60.0 %" in html
    for few in (rows[:1], [row | {"uar": None, "validation_loss": None} for row in rows]):
        assert "nan" not in "".join(training_html({"kept": 1, "epochs": few}))
