"""``emovox bench``: configs in one table, folds kept, early augmentation shown as a leak."""

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
from emovox.cli.training import split_protocols
from emovox.reports import overview_markdown
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


def document_in(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "compare.json").read_text(encoding="utf-8"))
    return found


def test_configs_share_one_table(bench: Callable[..., Any]) -> None:
    options = ("copies.yaml", "plain.yaml", "--protocol", "random,speaker-kfold/2", "-o", "one")
    code, out, _ = bench(*options)
    assert code == 0
    head, _, first, second, *_ = out.splitlines()
    cells = [cell.strip() for cell in head.split("|")[1:-1]]
    assert cells == [
        *("system", "corpus", "labels", "speaker-kfold/2, UAR %", "random, UAR %", "gap"),
        *("parameters", "fit s", "ms a clip"),
    ]
    assert {line.split("|")[1].strip() for line in (first, second)} == {"copies", "plain"}
    assert ("strict" in first, "speaker-dependent" in first) == (True, True)
    document = document_in("one")
    times = json.loads(Path("one/times.json").read_text())
    assert out == overview_markdown(document, times) == Path("one/bench.md").read_text()
    by_name = {one["protocol"]: {row["name"]: row for row in one["systems"]} for one in document["protocols"]}
    gap = by_name["random"]["plain"]["test"]["uar"] - by_name["speaker-kfold/2"]["plain"]["test"]["uar"]
    assert f"{100 * gap:+.1f}" in next(line for line in (first, second) if "plain" in line)
    for row in (row for rows in by_name.values() for row in rows.values()):
        assert row["test"]["n_labels"] == 4
        assert row["n_parameters"] > 4 * 180
    assert all(row["fit_s"] > 0 and row["predict_ms"] > 0 for row in times)
    (bundle,) = Path("one").glob("cells/plain/toy-random*/1")
    assert read_spec(bundle).protocol.startswith("random/0.25/0#")
    again = bench(*options)
    assert "fit " not in again[2].replace("fits are kept", ""), "nothing is trained again"
    assert again[1] == out
    assert "6 of 6 fits are kept from before" in again[2]
    assert "kept from before" not in bench(*options, "seed=1")[2]


def test_corpora_are_trained_with_the_default_config(bench: Callable[..., Any]) -> None:
    options = ("--protocol", "speaker-kfold/2/0/1", "-o", "corpus")
    code, out, _ = bench("toy/toy.csv", *options, "--format", "json")
    assert code == 0
    (one,) = json.loads(out)["protocols"]
    assert (one["systems"][0]["model"], one["systems"][0]["features"]) == (
        "logistic-regression",
        "emovox-core",
    )


def test_early_augmentation_is_refused_then_stamped(bench: Callable[..., Any]) -> None:
    options = ("--protocol", "speaker-kfold/2,augmented/random", "-o", "two")
    code, out, err = bench("copies.yaml", *options)
    assert (code, out) == (2, "")
    assert "--allow contaminated" in err
    assert not Path("two").exists(), "nothing was made or trained"
    code, out, err = bench("copies.yaml", *options, "--allow", "contaminated")
    assert code == 0
    strict, wrong = document_in("two")["protocols"]
    assert (strict["stamp"], wrong["stamp"]) == ("strict", "contaminated")
    assert wrong["headline"]["n_clips"] == 32, "a quarter of 64 clips and 64 augmented ones"
    assert any("recordings on both sides" in reason for reason in wrong["reasons"])
    sizes = wrong["splits"][0]
    assert sizes["n_train"] + sizes["n_validation"] == 96, "no augmented clips of augmented clips"
    assert "contaminated" in out.splitlines()[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plain.yaml", "--protocol", "augmented/random"), "augments no clips"),
        (("plain.yaml", "model.nmae=svc"), "did you mean 'model.name'"),
        (("plain.yaml", "toy/toy.csv"), "--data PATH"),
        (("seed=1",), "expected a config"),
        (("plain.yaml", "./plain.yaml"), "two configs are called 'plain'"),
        (("plain.yaml", "augment.copies=1", "augment.steps=[{kind: nois}]"), "did you mean 'noise'"),
        (("plain.yaml", "--protocol", "loso/nobody"), "there is no split"),
        (("toy/toy.csv", "--data", "toy/toy.csv"), "--data is for configs"),
        (("none.yaml",), "there is no config"),
        (("ravdes",), "did you mean 'ravdess'"),
        (("ravdess", "--root", "none"), "'none' is not a folder"),
        (("toy/toy.csv", "--protocol", "emobox"), "speaker-kfold"),
        (("toy/toy.csv", "--protocol", "nothing"), "there are"),
        (("toy/toy.csv", "--allow", "all"), "cannot be allowed"),
        (("toy/toy.csv", "--trainer", "json:no"), "has no 'no'"),
        (("toy/toy.csv", "--trainer", "none.of:it"), "cannot be imported"),
    ],
)
def test_impossible_requests_are_refused(
    bench: Callable[..., Any], words: tuple[str, ...], told: str
) -> None:
    code, out, err = bench(*words, "-o", "three")
    assert (code, out) == (2, "")
    assert told in err
    assert not Path("three").exists()


def test_protocols_are_split_at_commas() -> None:
    assert split_protocols("emobox, random,emobox") == ["emobox", "random"]
    assert split_protocols("speakers/a,b,random,loso") == ["speakers/a,b", "random", "loso"]
    assert split_protocols("given,mine.csv") == ["given", "mine.csv"]
