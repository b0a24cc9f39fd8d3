"""The folder of a run: complete or not, never replaced unasked, compared on the same clips alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import ConfigError
from emovox.training import run_folder


def answers(folder: Path, right: int, *, n_speakers: int = 12, ids: str = "clip") -> None:
    """Answers of which the first ``right`` of every speaker's four are right."""
    with (folder / run_folder.ANSWERS_FILE).open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "speaker", "true", "answer"])
        for speaker in range(n_speakers):
            for n in range(4):
                true = ("sad", "happy")[n % 2]
                table.writerow(
                    [f"{ids}-{speaker}-{n}", speaker, true, true if n < right + speaker % 2 else "fear"]
                )


def run(folder: Path, **record: object) -> run_folder.Run:
    run_folder.start(folder, "seed: 0\n")
    return run_folder.finish(folder, {"kind": "train", "seed": 0, **record})


def test_the_record_is_written_last_and_reads_back(tmp_path: Path) -> None:
    folder = run_folder.start(tmp_path / "a" / "x", "seed: 3\n")
    assert (folder / run_folder.CONFIG_FILE).read_text() == "seed: 3\n"
    with pytest.raises(ConfigError, match="an incomplete run"):
        run_folder.read_run(folder)
    done = run_folder.finish(folder, {"kind": "train", "seed": 3})
    assert run_folder.read_run(folder) == done
    assert done.record["versions"]["emovox"] == run_folder.versions()["emovox"]
    with pytest.raises(ConfigError, match="is no run"):
        run_folder.read_run(tmp_path)


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    run(tmp_path / "x")
    with pytest.raises(ConfigError, match="--force"):
        run_folder.start(tmp_path / "x", "seed: 1\n")
    run_folder.start(tmp_path / "x", "seed: 1\n", force=True)
    with pytest.raises(ConfigError, match="incomplete"):
        run_folder.read_run(tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run_folder.start(tmp_path / "file", "")


def test_a_run_that_replaces_another_takes_its_model_away_first(tmp_path: Path) -> None:
    spec = run_folder.start(tmp_path / "x", "") / "bundle" / "spec.json"
    spec.parent.mkdir()
    spec.write_text("{}")
    run_folder.start(tmp_path / "x", "", force=True)
    assert not spec.exists(), "else an interrupted run would answer with the model of the one before"


def test_a_record_that_is_no_json_is_refused(tmp_path: Path) -> None:
    run_folder.start(tmp_path / "x", "")
    with pytest.raises(ConfigError, match="no JSON"):
        run_folder.finish(tmp_path / "x", {"uar": float("nan")})
    assert not (tmp_path / "x" / run_folder.METRICS_FILE).exists()


def test_runs_are_found_and_others_passed_over(tmp_path: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "deep" / "er" / "two")
    for name, text in (("alien", "{}"), ("broken", "{"), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / run_folder.METRICS_FILE).write_text(text)
    assert {found.name for found in run_folder.find_runs(tmp_path)} == {"one", "two"}


def test_the_difference_of_two_runs(tmp_path: Path) -> None:
    better, worse, elsewhere = (run(tmp_path / name) for name in ("better", "worse", "elsewhere"))
    answers(better.folder, 3)
    answers(worse.folder, 1)
    answers(elsewhere.folder, 3, ids="other")
    found = run_folder.difference(better, worse)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.p_value is not None
    assert found.p_value < 0.01
    assert run_folder.difference(better, elsewhere) is None, "other clips: nothing to compare"
    (worse.folder / run_folder.ANSWERS_FILE).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        run_folder.difference(better, worse)


@pytest.mark.slow
def test_mlflow_gets_the_run(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from emovox.training.tracking import EXPERIMENT, log_run

    done = run(tmp_path / "x", scores={"uar": {"value": 0.5, "low": None}}, name="toy")
    key = log_run(done, tmp_path / "mlruns")
    kept = [path for path in (tmp_path / "mlruns").rglob("*") if key in path.parts]
    assert any(path.name == run_folder.METRICS_FILE for path in kept), "the record is among the artefacts"
    (uar,) = [path for path in kept if path.name == "scores.uar.value"]
    assert float(uar.read_text().split()[1]) == 0.5
    assert EXPERIMENT in "".join(p.read_text() for p in (tmp_path / "mlruns").rglob("meta.yaml"))
    assert mlflow


def test_the_digest_of_clips_is_of_bytes_speakers_and_texts(tmp_path: Path) -> None:
    def digest(sound: bytes | None, **changes: str) -> str:
        (tmp_path / "a.wav").unlink(missing_ok=True)
        if sound is not None:
            (tmp_path / "a.wav").write_bytes(sound)
        about = {"speaker": "x-1", "emotion": "sad", "text": "Yes.", "corpus": "x", **changes}
        return run_folder.clips_digest(
            Manifest(tmp_path, (Utterance(id="x/a", path="a.wav", original="s", **about),))
        )

    same, again, *others = (
        digest(b"one"),
        digest(b"one"),
        digest(b"two"),
        digest(None),
        digest(b"one", speaker="x-2"),
        digest(b"one", text="No."),
        digest(b"one", emotion="happy"),
    )
    assert same == again
    assert len({same, *others}) == 6


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    run(tmp_path / "x", name="é")
    document = json.loads((tmp_path / "x" / run_folder.METRICS_FILE).read_text(encoding="utf-8"))
    assert document["name"] == "é"
    assert document["schema"] == run_folder.SCHEMA


def test_a_run_that_made_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    run_folder.start(tmp_path / "x", "seed: 3\n")
    folder = run_folder.start(tmp_path / "x", "seed: 4\n")
    assert (folder / run_folder.CONFIG_FILE).read_text() == "seed: 4\n"
    (folder / "training").mkdir()
    with pytest.raises(ConfigError, match="--force"):
        run_folder.start(tmp_path / "x", "seed: 5\n")
