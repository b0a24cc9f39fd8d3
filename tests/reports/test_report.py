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

from emovox.reports import (
    cross_validation_html,
    cross_validation_markdown,
    evaluation_html,
    evaluation_markdown,
    overview_markdown,
)
from emovox.reports.colours import COLOURS
from emovox.reports.evaluation import evaluation_lines
from emovox.reports.figures import canvas
from emovox.reports.html import Bar, bar_table, escape, heat_table, page
from emovox.reports.text import markdown_table, percent

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
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src"
            assert name != "href" or str(value).startswith("#"), "only to a part of the same figure"
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


def test_page_needs_no_other_file(document: dict[str, Any]) -> None:
    text = evaluation_html(document)
    found = Checker(text)
    assert found.seen.count("svg") == 2
    assert not {"script", "link", "img", "iframe"} & set(found.seen)
    assert not re.search(r"https?://(?!www\.w3\.org/)|url\((?!#)|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_pages_contain_every_number(document: dict[str, Any]) -> None:
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


def test_terminal_lines(document: dict[str, Any]) -> None:
    text = "\n".join(evaluation_lines(document))
    uar = document["scores"]["uar"]
    assert f"{percent(uar['value'])} [{percent(uar['low'])}, {percent(uar['high'])}]" in text
    assert document["stamp"]["stamp"] in text
    assert "by sex" in text


def few_speakers(document: dict[str, Any]) -> dict[str, Any]:
    uar = {**document["scores"]["uar"], "low": None, "high": None, "n_speakers": 3}
    scores = {**document["scores"], "uar": uar, "wa": {**uar}}
    return {**document, "scores": scores, "speakers": document["speakers"][:3]}


def test_few_speakers_are_listed(document: dict[str, Any]) -> None:
    few = few_speakers(document)
    for text in (evaluation_html(few), evaluation_markdown(few), "\n".join(evaluation_lines(few))):
        for row in few["speakers"]:
            assert row["speaker"] in text
            assert percent(row["uar"]) in text
    assert "no interval under ten speakers" in evaluation_html(few)


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


def test_invalid_unicode_is_escaped() -> None:
    assert page("\udcff", escape("\udcff")).encode()


def test_markdown_table_cells() -> None:
    lines = markdown_table(["a", "long head"], [["x|y", 1], ["two\nlines", 22]])
    assert len({len(line) for line in lines}) == 1
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)


def test_heat_table_depth() -> None:
    text = heat_table(["a", "b"], ["a", "b"], [[9, 1], [0, 0]], caption="it")
    assert re.findall(r"--deep:([\d.]+)", text) == ["0.900", "0.100", "0.000", "0.000"]
    assert text.count("right") == 2


def compared() -> dict[str, Any]:
    """A cross-validation of three systems, one of which failed."""
    matrix = {"labels": ["sad", "happy"], "counts": [[30, 15], [5, 40]]}
    base = {"error": None, "n_columns": [180], "validation_uar": 0.5, "n_parameters": 1234}
    test = {"uar": 0.52, "low": 0.47, "high": 0.57, "mean_uar": 0.51, "n_clips": 90, "n_labels": 2}
    test |= {"confusion": matrix}
    worse = {**test, "uar": 0.3, "low": 0.25, "high": 0.35, "mean_uar": 0.3}
    against = {"value": -0.22, "low": -0.31, "high": -0.12, "p": 0.0004}
    systems = [
        {**base, "name": "knn on s", "validation_uar": 0.4, "test": worse, "against_chosen": against},
        {**base, "name": "lda on s", "test": test, "against_chosen": None},
        {**base, "name": "mlp on s", "error": "it failed"},
    ]
    one = {
        "protocol": "emobox",
        "corpus": "toy",
        "stamp": "strict",
        "reasons": ["why"],
        "splits": [{}],
        "chosen": {"name": "lda on s"},
        "headline": test,
        "each_fold_its_own": None,
        "systems": systems,
    }
    data = {"corpora": ["toy"], "n_clips": 90, "n_speakers": 12, "emotions": {"sad": 45, "happy": 45}}
    return {"kind": "comparison", "data": data, "protocols": [one]}


def test_cross_validation_page() -> None:
    text = cross_validation_html(compared())
    found = Checker(text)
    assert found.seen.count("svg") == 2
    assert "-22.0 [-31.0, -12.0]" in found.text
    assert "it failed" in found.text
    assert [text.count(f"Confusion matrix: {name}") for name in ("lda on s", "knn on s", "mlp on s")] == [
        1,
        1,
        0,
    ]
    assert text.count("<details open>") == 1, "that of the chosen"
    cells = re.findall(r"<td[^>]*>(\d+)</td>", text)
    assert cells.count("30") == 2
    assert "-22.0 [-31.0, -12.0]" in cross_validation_markdown(compared())


def test_cross_validation_of_few_speakers() -> None:
    few = compared()
    for one in few["protocols"][0]["systems"][:2]:
        one["test"] = {**one["test"], "low": None, "high": None}
    few["protocols"][0]["systems"][0]["against_chosen"] = None
    text = cross_validation_html(few)
    assert text.count("<svg") == 1
    assert "Too few speakers for intervals" in text


def test_overview_gap() -> None:
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
    assert cells[3][1:6] == ["savee", "2", "60.0 text-shared", "–", "–"]
    assert "gap" not in overview_markdown({"protocols": protocols[1:]}).splitlines()[0]


def test_heat_table_shares() -> None:
    matrix = ["sad"], ["sad", "happy", "calm"], [[5, 3, 0]]
    clips, shares = (heat_table(*matrix, caption="it", shares=shares) for shares in (False, True))
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", each) for each in (clips, shares)]
    assert cells == [["5", "3", "·", "8"], ["62", "38", "·", "8"]]
    assert re.findall(r'title="([^"]*)"', shares) == ["5 clips", "3 clips", "0 clips"]


def test_bar_lengths() -> None:
    bars = [Bar("sad (9)", 0.5, "50.0", "#240E97", 0.25, 0.75), Bar("happy", 1.0, "")]
    text = bar_table(["emotion", "", "%"], bars, mark=0.2)
    assert re.findall(r'<i style="width:([\d.]+)%', text) == ["50.0", "100.0"]
    assert re.findall(r'<s style="left:([\d.]+)%;width:([\d.]+)%', text) == [("25.0", "50.0")]
    assert re.findall(r'<u style="left:([\d.]+)%', text) == ["20.0", "20.0"]
    assert text.count("#240E97") == 1


def test_page_recall_bars(document: dict[str, Any]) -> None:
    text = evaluation_html(document)
    for row in document["classes"]:
        assert f'<i style="width:{100 * row["recall"]:.1f}%;background:{COLOURS[row["label"]]}"></i>' in text
    few = {
        **document,
        "classes": [{**row, "recall_low": None, "recall_high": None} for row in document["classes"]],
    }
    assert "Too few speakers for intervals." in evaluation_html(few)


def test_page_without_matplotlib(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "find_spec", lambda name: None)
    text = Checker(evaluation_html(document))
    assert "svg" not in text.seen
    assert text.text.count("matplotlib is not installed") == 1
    assert percent(document["scores"]["uar"]["value"]) in text.text


def test_training_page_marks_epoch(document: dict[str, Any]) -> None:
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
    text = evaluation_html({**document, "training": {"kept": 2, "epochs": rows}})
    assert "epoch 2 are kept, UAR 60.0 %" in text
    assert "epoch 2 is kept" in text
    for few in (rows[:1], [row | {"uar": None, "validation_loss": None} for row in rows]):
        assert "nan" not in evaluation_html({**document, "training": {"kept": 1, "epochs": few}})


def test_unknown_speakers_are_not_counted(document: dict[str, Any]) -> None:
    scores = {**document["scores"]}
    for name in ("uar", "wa"):
        scores[name] = {**scores[name], "low": None, "high": None, "n_speakers": None}
    rows = [{**document["speakers"][0], "speaker": None, "n_clips": 120}]
    data = {**document["data"], "n_speakers": None}
    nameless = {**document, "scores": scores, "speakers": rows, "data": data}
    for text in (Checker(evaluation_html(nameless)).text, evaluation_markdown(nameless)):
        assert "as the speakers are unknown" in text
        assert "1 speakers" not in text
        assert "None" not in text
    assert "unknown speakers" in evaluation_html(nameless)


def test_groups_have_intervals(document: dict[str, Any]) -> None:
    group = document["groups"][0]
    row = {**group["rows"][0], "uar": 0.6, "uar_low": 0.5, "uar_high": 0.7}
    known = {**group, "rows": [row, *group["rows"][1:]], "gap": 0.2, "gap_low": 0.1, "gap_high": 0.3}
    text = {**document, "groups": [known]}
    assert "60.0 [50.0, 70.0]" in "\n".join(evaluation_lines(text))
    assert "50.0 to 70.0" in evaluation_html(text)
    assert "Gap in UAR, best to worst: 20.0 [10.0, 30.0] points." in evaluation_markdown(text)
