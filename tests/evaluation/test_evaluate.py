"""`emovox.evaluate` in Python: what the command does, from paths, a data set or a recogniser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import emovox
from emovox.cli import main
from emovox.datasets.loading import Dataset
from emovox.errors import LabelError, ManifestError, ProtocolError
from emovox.evaluation.evaluate import FILES
from voices import toy_corpus


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    toy_corpus(folder, n_speakers=3, n_takes=1)
    return folder / "toy.csv"


def test_python_equals_command(table: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    protocol = "loso"
    argv = ["evaluate", "--model", str(tiny_bundle), "--data", str(table), "--protocol", protocol]
    assert main([*argv, "-o", str(tmp_path / "command")]) == 0
    evaluation = emovox.evaluate(tiny_bundle, table, protocol)
    evaluation.write(tmp_path / "python")
    for name in FILES:
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert evaluation.document == json.loads((tmp_path / "command" / "evaluation.json").read_text())
    assert len(evaluation.document["splits"]) == 3


def test_model_and_data_in_memory(table: Path, tiny_bundle: Path) -> None:
    paths = emovox.evaluate(tiny_bundle, [table], vad="on")
    objects = emovox.evaluate(emovox.load(tiny_bundle), Dataset.load(table))
    assert objects.document == paths.document


def test_notes_and_progress(table: Path, tiny_bundle: Path) -> None:
    notes: list[str] = []
    steps: list[tuple[int, int]] = []
    evaluation = emovox.evaluate(
        tiny_bundle,
        table,
        labels="angry,sad",
        robustness=2,
        notify=notes.append,
        progress=lambda done, total: steps.append((done, total)),
    )
    n_clips = evaluation.document["data"]["n_clips"]
    assert any(note.startswith("left out") for note in notes)
    assert set(evaluation.predictions.y_true) == {"angry", "sad"}
    assert steps == [*((k + 1, n_clips) for k in range(n_clips)), (1, 2), (2, 2)]
    assert evaluation.document["robustness"]["n_clips"] == 2


def test_wrong_arguments(table: Path, tiny_bundle: Path) -> None:
    with pytest.raises(ProtocolError, match="emobx"):
        emovox.evaluate(tiny_bundle, table, "emobx")
    with pytest.raises(LabelError, match="angrry"):
        emovox.evaluate(tiny_bundle, table, labels="angrry")
    with pytest.raises(ManifestError, match="expected 1 or more"):
        emovox.evaluate(tiny_bundle, table, robustness=0)
