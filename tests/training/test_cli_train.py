"""``emovox train``, ``tune``, ``compare`` and ``runs`` as people type them; nothing of theirs is a pickle."""

from __future__ import annotations

import io
import json
import pickletools
import zipfile
from pathlib import Path

import pytest
import soundfile
import soxr

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytest.importorskip("yaml")

import emovox
from emovox.cli import main
from emovox.inference.recognizer import load as load_model
from emovox.training.config import read_config
from voices import toy_corpus, toy_tree

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's folders, a corpus with speakers, and room for runs."""
    root = tmp_path_factory.mktemp("workshop")
    toy_tree(root / "mine")
    toy_corpus(root / "toy")
    return root


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOVOX_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def newcomer(place: Path) -> Path:
    """The run of the README's first command."""
    args = ["--features", "seed-180", "--model", "logistic-regression", "--data", str(place / "mine")]
    assert main(["train", *args, "-o", str(place / "runs" / "mine"), "--mlflow", "off"]) == 0
    return place / "runs" / "mine"


def test_a_newcomers_folders_become_a_model(newcomer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((newcomer / "metrics.json").read_text())
    assert record["split"]["name"] == "given", "their own train and test folders are honoured"
    assert (record["split"]["n_train"] + record["split"]["n_validation"], record["split"]["n_test"]) == (
        36,
        12,
    )
    assert record["scores"]["uar"]["value"] > 0.5
    assert record["stamp"]["stamp"] == "speaker-dependent"
    page = (newcomer / "evaluation.html").read_text()
    assert "cannot be called strict: the speakers of 12 of the 12 clips are unknown" in page
    assert main(["evaluate", "--model", str(newcomer), "--data", "mine", "--protocol", "given"]) == 0
    assert "cannot be called strict" in capsys.readouterr().out
    assert main(["predict", "--model", str(newcomer), "mine/test/angry", "--format", "json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 3
    assert all(set(answer["scores"]) == {"neutral", "happy", "sad", "angry"} for answer in answers)


def test_a_models_own_clips_are_known_in_a_subfolder(
    newcomer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(newcomer), "--data", "mine/train", "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["stamp"]
    assert found["stamp"] == "contaminated"
    assert found["reasons"][0].startswith(
        "36 of the 36 clips are files that the model was trained or validated"
    )
    assert main(["evaluate", "--model", str(newcomer), "--data", "mine/test", "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["stamp"]
    assert "none of the 12 clips is a file that it was trained or validated on" in found["reasons"][1]


def test_copies_under_other_names_are_no_strict_test(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A speaker whose files are those of another one, byte for byte."""
    header, *rows = (place / "toy/toy.csv").read_text().splitlines()
    again = [row.replace("toy/7-", "toy/x-").replace("toy-7", "toy-x") for row in rows if "toy/7-" in row]
    (place / "toy/again.csv").write_text("\n".join([header, *rows, *again]) + "\n")
    args = ["--features", "seed-180", "--data", "toy/again.csv", "--protocol", "speakers/toy-x", "-f", "json"]
    assert main(["train", *args, "--model", "knn", "-o", "runs/again", "--mlflow", "off"]) == 0
    found = json.loads(capsys.readouterr().out)["stamp"]
    assert found["stamp"] == "contaminated"
    assert found["reasons"][0].startswith(
        f"{len(again)} of the {len(again)} clips are files that the model was"
    )
    assert "contaminated" in load_model(place / "runs/again").spec.scores[0].protocol
    assert main(["compare", *args, "--models", "knn", "-o", "runs/compared-again"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["protocols"]
    assert told["stamp"] == "contaminated"
    assert f"{len(again)} recordings on both sides" in told["reasons"][0]


def test_changed_copies_are_found_by_sound(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test speaker's clip is a quieter, resampled copy of a training clip."""
    header, *rows = (place / "toy/toy.csv").read_text().splitlines()
    x, rate = soundfile.read(place / "toy/1-sad-0.wav", dtype="float32")
    low = soxr.resample(0.3 * x, rate, 8000)
    soundfile.write(place / "toy/copy.wav", low, 8000)
    copy = next(row for row in rows if "toy/7-sad-0" in row).replace("7-sad-0", "copy")
    (place / "toy/copied.csv").write_text("\n".join([header, *rows, copy]) + "\n")
    args = ["train", "--features", "seed-180", "--data", "toy/copied.csv", "--protocol", "speakers/toy-7"]
    args += ["--model", "knn", "--mlflow", "off", "-f", "json"]
    assert main([*args, "-o", "runs/unheard"]) == 0
    printed = capsys.readouterr()
    stamp = json.loads(printed.out)["stamp"]
    assert stamp["stamp"] == "strict"
    assert "were not compared by sound" in stamp["reasons"][-1]
    assert "were not compared by sound" in printed.err
    assert emovox.load("runs/unheard").spec.scores[0].protocol.endswith("(strict, not compared by sound)")
    assert main([*args, "-o", "runs/heard", "--listen"]) == 0
    printed = capsys.readouterr()
    stamp = json.loads(printed.out)["stamp"]
    assert stamp["stamp"] == "contaminated"
    assert "1 recording on both sides, such as" in stamp["reasons"][0]
    assert "contaminated" in emovox.load("runs/heard").spec.scores[0].protocol
    assert "contaminated" in Path("runs/heard/evaluation.html").read_text()


@pytest.mark.parametrize(
    ("labels", "option", "fold", "told"),
    [
        ("4", "--map", "speaker-kfold/4/0/1", "strict"),
        ("neutral,angry", "--labels", "speaker-kfold/4/0/1", "strict"),
        ("4", "--map", "random/0.25/0", "speaker-dependent"),
    ],
)
def test_a_run_on_some_labels_is_evaluated_with_its_own_stamp(
    place: Path, labels: str, option: str, fold: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (place / "toy/toy.csv").read_text().splitlines()
    kept = [row.replace(",happy,happy", ",fear,fear") for row in rows if "toy/1-sad" not in row]
    (place / "toy/some.csv").write_text("\n".join(kept) + "\n")
    data = ["--data", "toy/some.csv", "-f", "json"]
    args = [
        "train",
        *data,
        "--labels",
        labels,
        "--protocol",
        fold,
        "--features",
        "seed-180",
        "--model",
        "lda",
    ]
    assert main([*args, "-o", "runs/some", "--force", "--mlflow", "off"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["stamp"]["stamp"] == told
    again = ["evaluate", "--model", "runs/some", *data, option, labels]
    for protocol in (fold, "runs/some/split.csv"):
        assert main([*again, "--protocol", protocol]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["stamp"]["stamp"] == told, protocol
        assert found["scores"]["uar"] == first["scores"]["uar"]
    if told == "strict":  # one of the speakers that were held out, by a split of another content
        assert main([*again, "--protocol", f"speakers/{first['speakers'][0]['speaker']}"]) == 0
        assert json.loads(capsys.readouterr().out)["stamp"]["stamp"] == told
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out)["stamp"]["stamp"] == "contaminated"


def test_a_run_on_all_labels_is_evaluated_on_some_with_its_own_stamp(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "toy/toy.csv", "--protocol", "random/0.25/0", "-f", "json"]
    args = ["train", *data, "--features", "seed-180", "--model", "lda", "-o", "runs/all", "--mlflow", "off"]
    assert main(args) == 0
    capsys.readouterr()
    assert main(["evaluate", "--model", "runs/all", *data, "--labels", "angry,sad"]) == 0
    assert json.loads(capsys.readouterr().out)["stamp"]["stamp"] == "speaker-dependent"


def test_the_run_says_all_that_it_was_made_of(newcomer: Path) -> None:
    record = json.loads((newcomer / "metrics.json").read_text())
    config = read_config(newcomer / "config.yaml")
    assert (config.protocol, config.features.set) == ("given", "seed-180"), "resolved, not as typed"
    spec = load_model(newcomer).spec
    assert record["model_sha256"] == spec.sha256
    assert spec.protocol == f"given#{record['split']['digest']}"
    assert spec.scores[0].value == record["scores"]["uar"]["value"]
    assert {"numpy", "scikit-learn", "emovox"} <= record["versions"].keys()
    assert len((newcomer / "split.csv").read_text().splitlines()) == 1 + 48


def test_a_config_and_changes_and_the_seed_decide_everything(place: Path) -> None:
    args = ["train", str(ROOT / "configs/seed-mlp.yaml"), "--data", "toy/toy.csv", "--mlflow", "off"]
    args += [
        "--protocol",
        "speaker-kfold/4/0/1",
        "model.params.max_iter=200",
        "model.params.hidden_layer_sizes=[16]",
    ]
    for name in ("one", "two"):
        assert main([*args, "-o", f"runs/{name}"]) == 0
    one, two = (Path("runs") / name for name in ("one", "two"))
    assert (one / "answers.csv").read_bytes() == (two / "answers.csv").read_bytes()
    assert (one / "bundle/model.onnx").read_bytes() == (two / "bundle/model.onnx").read_bytes()
    assert read_config(one / "config.yaml").model.params["max_iter"] == 200


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["train", "-o", "x", "modle.name=svc"], "did you mean 'model.name'"),
        (["train", "-o", "x", "--model", "scv", "--data", "mine"], "did you mean 'svc'"),
        (["train", "-o", "x", "--features", "seed-ful", "--data", "mine"], "did you mean 'seed-full'"),
        (["train", "-o", "x", "model.params.max_itr=1", "--data", "mine"], "did you mean 'max_iter'"),
        (["train", "-o", "x", "--data", "mine", "--labels", "angri,sad"], "did you mean 'angry'"),
        (["train", "-o", "x", "--data", "mine", "--protocol", "givn"], "did you mean 'given'"),
        (["train", "-o", "x", "--data", "mine", "name=../evil"], "'../evil'; expected small letters"),
        (["train", "-o", "x", "--data", "mine", "windows.hop_s=9"], "hop_s: 9 is longer than window_s"),
        (["train", "-o", "x", "--data", "mine", "coverage=90"], "expected a share"),
        (["train", "-o", "x"], "--data PATH"),
        (["train", "-o", "x", "no.yaml"], "there is no config"),
        (["train", "-o", "x", "seed=1", "no.yaml"], "comes first"),
        (["train", "-o", "mine", "--data", "mine", "--features", "seed-180"], "--force"),
        (["tune", "-o", "x", "--data", "mine", "--method", "optna"], "did you mean 'optuna'"),
        (["compare", "--models", "knn,ldaa", "--data", "mine"], "did you mean 'lda'"),
        (["compare", "protocol=emobox"], "did you mean 'protocols'"),
        (["runs", "show", "mine"], "is no run"),
        (["runs", "list", "nowhere"], "there is no folder"),
        (["runs", "lst"], "did you mean 'list'"),
    ],
)
def test_what_cannot_be_met_is_refused_before_the_work(
    args: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert told in capsys.readouterr().err
    assert not Path("x").exists()


def test_mlflow_that_is_not_installed_is_asked_for_before_the_work(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emovox.training.tracking.is_installed", lambda: False)
    for name in ("train", "tune"):
        assert main([name, "-o", "x", "--data", "toy/toy.csv", "--mlflow", "http://127.0.0.1:1"]) == 2
        assert "[track]'" in capsys.readouterr().err
        assert not Path("x").exists()


def test_a_test_of_untaught_emotions_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (place / "toy/toy.csv").read_text().splitlines()
    kept = [row for row in rows if "toy-0" in row or "angry" not in row]
    (place / "toy/few.csv").write_text("\n".join(kept) + "\n")
    args = ["--data", "toy/few.csv", "--features", "seed-180", "--protocol", "speakers/toy-0"]
    assert main(["train", "-o", "x", *args]) == 2
    assert "the test has the labels angry" in capsys.readouterr().err


def test_a_search_goes_on_and_its_best_is_a_config(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    args = ["tune", "--data", "toy/toy.csv", "--features", "seed-180", "--model", "knn", "--mlflow", "off"]
    args += ["--method", "optuna", "tune.inner_folds=2", "-o", "runs/tuned"]
    assert main([*args, "--draws", "3"]) == 0
    first = json.loads(Path("runs/tuned/trials.json").read_text())
    Path("runs/tuned/metrics.json").unlink()  # as if it had been killed before the end
    assert main([*args, "--draws", "3"]) == 0
    assert "resuming" in capsys.readouterr().err
    again = json.loads(Path("runs/tuned/trials.json").read_text())
    assert [trial["params"] for trial in again] == [trial["params"] for trial in first]
    best = read_config("runs/tuned/best.yaml")
    assert best.model.name == "knn"
    assert main(["train", "runs/tuned/best.yaml", "-o", "runs/best", "--mlflow", "off"]) == 0
    assert json.loads(Path("runs/best/metrics.json").read_text())["model"] == "knn"


@pytest.mark.parametrize("command", ["train", "tune"])
def test_clips_that_cannot_be_read_leave_a_folder_that_is_as_good_as_empty(
    command: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (place / "toy/toy.csv").read_text().replace(".wav", ".lost")
    (place / "toy/lost.csv").write_text(rows)
    args = [command, "--features", "seed-180", "--model", "knn", "--protocol", "speaker-kfold/4/0/1"]
    args += [
        "-o",
        f"runs/lost-{command}",
        "--mlflow",
        "off",
        *(["--draws", "1"] if command == "tune" else []),
    ]
    assert main([*args, "--data", "toy/lost.csv"]) == 2
    assert "none of the 64 clips could be read" in capsys.readouterr().err
    assert [path.name for path in Path(f"runs/lost-{command}").iterdir()] == ["config.yaml"]
    assert main([*args, "--data", "toy/toy.csv"]) == 0, "without --force"


def test_a_search_learns_from_copies_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["tune", "--data", "toy/toy.csv", "--features", "seed-180", "--model", "knn", "--mlflow", "off"]
    args += ["--draws", "1", "tune.inner_folds=2", "--protocol", "speaker-kfold/4/0/1"]
    noisy = ["augment.copies=3", "augment.steps=[{kind: noise, snr_db: -20}, {kind: speed, factor: 2}]"]
    assert main([*args, "-o", "runs/plain"]) == 0
    assert main([*args, *noisy, "-o", "runs/noisy"]) == 0
    plain, heard = (json.loads(Path(f"runs/{name}/trials.json").read_text()) for name in ("plain", "noisy"))
    assert plain[0]["scores"] != heard[0]["scores"]
    capsys.readouterr()
    assert main([*args, "augment.steps=[{kind: noice}]", "-o", "runs/wrong"]) == 2
    assert "noise" in capsys.readouterr().err
    assert not Path("runs/wrong").exists()


def test_interrupted_search_keeps_its_trials(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    from emovox.training import tuning

    args = ["tune", "--data", "toy/toy.csv", "--features", "seed-180", "--model", "knn", "--mlflow", "off"]
    args += ["--method", "optuna", "--draws", "3", "tune.inner_folds=2", "-o", "runs/stopped"]

    def ctrl_c(trial: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "_describe", ctrl_c)
        assert main(args) == 130
    assert len(json.loads(Path("runs/stopped/trials.json").read_text())) == 1
    assert not Path("runs/stopped/metrics.json").exists(), "it is not complete"
    assert main(args) == 0
    assert "resuming" in capsys.readouterr().err
    assert len(json.loads(Path("runs/stopped/trials.json").read_text())) == 3


def test_a_comparison_and_its_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["compare", "--data", "toy/toy.csv", "--features", "seed-180", "--models", "knn,lda"]
    args += ["--protocol", "speaker-kfold/3,random", "-f", "json"]
    assert main([*args, "-o", "runs/compared"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["stamp"] for one in document["protocols"]] == ["strict", "speaker-dependent"]
    assert main([*args, "-o", "runs/compared"]) == 0
    assert "from before" in capsys.readouterr().err
    kept = Path("runs/compared/compare.json").read_bytes()
    for fewer in (["--models", "knn"], ["--protocol", "random"]):
        assert main([*args, *fewer, "-o", "runs/compared"]) == 2
        assert "rows would be lost" in capsys.readouterr().err
    assert Path("runs/compared/compare.json").read_bytes() == kept
    names = {path.name for path in Path("runs/compared").iterdir()}
    assert {
        "config.yaml",
        "chosen.json",
        "compare.md",
        "compare.html",
        "compare.json",
        "metrics.json",
    } <= names
    assert any(name.startswith("confusion-") and name.endswith(".png") for name in names)
    assert main(["plot", "confusion", "runs/compared", "-o", "systems.svg"]) == 0


def test_a_stopped_comparison_says_how_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from emovox.training import folds

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folds._FoldFitter, "__call__", ctrl_c)
    args = ["--data", "toy/toy.csv", "--features", "seed-180", "--models", "knn", "--protocol", "random"]
    assert main(["compare", *args, "-o", "runs/halted"]) == 130
    assert "the same command resumes it" in capsys.readouterr().err
    assert not Path("runs/halted/metrics.json").exists()


def test_a_comparison_destroys_no_other_run(
    newcomer: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (newcomer / "metrics.json").read_bytes()
    args = ["--data", "mine", "--features", "seed-180", "--models", "knn", "--protocol", "given"]
    assert main(["compare", *args, "-o", str(newcomer)]) == 2
    assert "name another folder" in capsys.readouterr().err
    assert main(["compare", *args, "-o", "toy/toy.csv"]) == 2
    assert "is a file" in capsys.readouterr().err
    assert (newcomer / "metrics.json").read_bytes() == before


def test_runs_are_listed_and_compared(
    newcomer: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["train", "--features", "seed-180", "--model", "knn", "--data", "mine", "--mlflow", "off"]
    assert main([*args, "-o", "runs/knn"]) == 0
    capsys.readouterr()
    assert main(["runs", "list", "runs"]) == 0
    listed = capsys.readouterr().out
    assert "runs/knn" in listed
    assert "speaker-dependent" in listed
    assert main(["runs", "compare", "runs/knn", "runs/mine"]) == 0
    told = capsys.readouterr().out
    assert "model.name" in told
    assert "logistic-regression" in told
    assert main(["runs", "show", "runs/knn", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "knn"


# --- nothing is a pickle --------------------------------------------------------------------------


def is_pickle(data: bytes) -> bool:
    """Whether ``data`` is one, or holds one, as PyTorch's and joblib's files do."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as inside:
            return any(is_pickle(inside.read(name)) for name in inside.namelist())
    try:
        return sum(1 for _ in pickletools.genops(data)) > 0
    except Exception:
        return False


def test_no_bundle_and_no_run_holds_a_pickle(newcomer: Path, place: Path) -> None:
    import pickle

    assert is_pickle(pickle.dumps({"a": 1})), "the test can fail"
    assert is_pickle(pickle.dumps([1], protocol=0))
    files = [path for path in (place / "runs").rglob("*") if path.is_file()]
    files += [path for path in (ROOT / "src/emovox/bundles/embedded").rglob("*") if path.is_file()]
    assert {"model.onnx", "spec.json", "metrics.json", "config.yaml"} <= {path.name for path in files}
    assert [path for path in files if is_pickle(path.read_bytes())] == []
