"""Configs under a benchmark: one table, folds kept, features computed once, copies made too early shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytest.importorskip("yaml")

from emovox.bundles import read_spec
from emovox.cli import main
from emovox.reports import systems_markdown
from voices import toy_corpus

CONFIG = """\
data: [toy/toy.csv]
features: {set: seed-180}
augment: {copies: 1, steps: [{kind: noise, snr_db: 15}]}
model: {name: logistic-regression}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("configs")
    toy_corpus(root / "toy")
    (root / "copies.yaml").write_text(CONFIG, encoding="utf-8")
    (root / "plain.yaml").write_text(CONFIG.replace("copies: 1", "copies: 0"), encoding="utf-8")
    return root


@pytest.fixture
def bench(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(place)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["bench", *words, "--store", "store", "--no-listen"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def rows_in(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "bench.jsonl").read_text().splitlines()]


def test_configs_come_into_one_table_and_go_on(bench: Callable[..., Any]) -> None:
    options = ("--protocol", "random,speaker-kfold/2", "-o", "one")
    code, out, err = bench("copies.yaml", *options)
    assert code == 0
    assert "UAR" in err
    code, out, err = bench("plain.yaml", *options)
    head, _, first, second, *_ = out.splitlines()
    cells = [cell.strip() for cell in head.split("|")[1:-1]]
    assert cells == [
        *("system", "corpus", "labels", "speaker-kfold/2, UAR %", "random, UAR %", "gap"),
        *("parameters", "training, min", "clips/s"),
    ]
    assert ("copies" in first, "plain" in second) == (True, True), "the earlier command's row stays"
    rows = rows_in("one")
    assert len(rows) == 4
    assert out == systems_markdown(rows) == Path("one/bench.md").read_text()
    gap = rows[2]["uar"]["value"] - rows[3]["uar"]["value"]
    assert f"{100 * gap:+.1f}" in second
    for row in rows:
        assert row["n_labels"] == 4
        assert row["n_parameters"] > 4 * 180
        assert row["train_s"] > 0
        assert row["clips_per_s"] > 1
    assert read_spec(Path("one/plain/toy/random/1")).protocol.startswith("random/0.25/0#")
    again = bench("copies.yaml", "plain.yaml", *options)
    assert again[2].count("from before") == 6, "nothing is trained again"
    assert again[1] == out
    changed = bench("plain.yaml", "seed=1", *options)
    assert "from before" not in changed[2]
    bench("plain.yaml", "seed=2", "--protocol", "random", "-o", "one")
    kept = [(row["recipe"], row["protocol"], row["seed"]) for row in rows_in("one")]
    assert kept == [*(("copies", name, 0) for name in ("random", "speaker-kfold/2")), ("plain", "random", 2)]


def test_copies_made_before_the_split_are_refused_then_stamped(bench: Callable[..., Any]) -> None:
    options = ("--protocol", "speaker-kfold/2,augmented/random", "-o", "two")
    code, out, err = bench("copies.yaml", *options)
    assert (code, out) == (2, "")
    assert "--allow contaminated" in err
    assert not Path("two").exists(), "nothing was made or trained"
    code, out, err = bench("copies.yaml", *options, "--allow", "contaminated")
    assert code == 0
    strict, wrong = rows_in("two")
    assert (strict["stamp"], wrong["stamp"]) == ("strict", "contaminated")
    assert wrong["n_clips"] == 32, "a quarter of 64 clips and 64 copies"
    assert any("recordings on both sides" in reason for reason in wrong["reasons"])
    assert wrong["folds"][0]["n_train"] + wrong["folds"][0]["n_validation"] == 96, "no copies of copies"
    assert "contaminated" in out.splitlines()[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plain.yaml", "--protocol", "augmented/random"), "makes no copies"),
        (("plain.yaml", "model.nmae=svc"), "did you mean 'model.name'"),
        (("plain.yaml", "toy/toy.csv"), "--data PATH"),
        (("seed=1",), "expected a config"),
        (("plain.yaml", "./plain.yaml"), "two configs are called 'plain'"),
        (("plain.yaml", "augment.copies=1", "augment.steps=[{kind: nois}]"), "did you mean 'noise'"),
        (("plain.yaml", "--protocol", "loso/nobody"), "there is no split"),
        (("toy/toy.csv", "--data", "toy/toy.csv"), "--data is for configs"),
        (("none.yaml",), "there is no config"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    bench: Callable[..., Any], words: tuple[str, ...], told: str
) -> None:
    code, out, err = bench(*words, "-o", "three")
    assert (code, out) == (2, "")
    assert told in err
    assert not Path("three").exists()
