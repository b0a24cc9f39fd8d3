"""Cross-validation: the choice is written before a test is predicted, results are kept, runs are equal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn")

from conftest import tiny_onnx, tiny_spec
from emovox.bundles import read_spec
from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError, EmovoxError, ProtocolError
from emovox.evaluation import metrics
from emovox.evaluation.leakage import find_stamp
from emovox.reports import cross_validation_html, cross_validation_markdown
from emovox.training import cross_validation, folds
from emovox.training.calibration import Calibration
from emovox.training.classical import ESTIMATORS
from emovox.training.config import ComparisonConfig, Config, TuneConfig
from emovox.training.cross_validation import CrossValidation, cross_validate, expand_comparison
from emovox.training.folds import Fold, FoldResult
from emovox.training.inputs import SplitInputs
from emovox.training.trainers import EstimatorTrainer, ExportedModel, FittedModel
from voices import EMOTIONS, toy_corpus

SMALL = ComparisonConfig(models=("knn", "lda"), features=("seed-180",), protocols=("speaker-kfold/3",))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "toy", n_speakers=10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def compare(toy: Manifest, store: Path, tmp_path: Path) -> Callable[..., CrossValidation]:
    """``compare(folder="out", config=SMALL, data=None, **changes)`` compares estimators on the toy corpus."""

    def call(
        folder: str = "out", config: ComparisonConfig = SMALL, data: Path | None = None, **more: Any
    ) -> Any:
        config = replace(config, data=(str(data or toy.root / "toy.csv"),))
        return cross_validate(config, output=tmp_path / folder, store=store, **more)

    return call


class Recorder:
    """Records which folds were fitted, and whether a system had been chosen by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str, str, bool]] = []
        fit = folds._FoldFitter.__call__

        def record(fitter: Any, fold: Fold) -> FoldResult:
            chosen = any((parent / "chosen.json").exists() for parent in fold.file.parents)
            self.done.append((fold.part, fold.split.name, fold.system.name, chosen))
            return fit(fitter, fold)

        monkeypatch.setattr(folds._FoldFitter, "__call__", record)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def test_choice_comes_before_the_tests(
    compare: Callable[..., CrossValidation], tmp_path: Path, recorder: Recorder
) -> None:
    (one,) = compare().results
    assert len(recorder.done) == 12, "two systems, three folds, validation and test"
    assert all(chosen == (part == "test") for part, _, _, chosen in recorder.done)
    (entry,) = json.loads((tmp_path / "out/chosen.json").read_text())
    scores = entry["validation_uar"]
    assert one.chosen is not None
    assert entry["chosen"] == one.chosen.about
    assert scores[one.chosen.name] == max(scores.values())


def test_results_are_kept_and_changed_ones_fitted(
    compare: Callable[..., CrossValidation], toy: Manifest, tmp_path: Path, recorder: Recorder
) -> None:
    shutil.copytree(toy.root, tmp_path / "toy")
    data = tmp_path / "toy/toy.csv"
    compare(data=data)
    recorder.done.clear()
    compare(data=data)
    assert recorder.done == []
    compare(config=replace(SMALL, params={"knn": {"n_neighbors": 3}}), data=data)
    assert {name for _, _, name, _ in recorder.done} == {"knn on seed-180"}
    recorder.done.clear()
    clip = next((tmp_path / "toy").glob("*.wav"))
    x, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(clip, 0.5 * x, rate)
    compare(data=data)
    assert len(recorder.done) == 12, "other sound, other fits"


def test_changed_defaults_are_fitted_again(
    compare: Callable[..., CrossValidation], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare()
    recorder.done.clear()
    monkeypatch.setitem(ESTIMATORS, "knn", replace(ESTIMATORS["knn"], defaults={"n_neighbors": 3}))
    compare()
    assert {name for _, _, name, _ in recorder.done} == {"knn on seed-180"}, "no setting was typed"


def test_resumed_equals_uninterrupted(
    compare: Callable[..., CrossValidation], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare("whole").document
    fit, count = folds._FoldFitter.__call__, iter(range(5))

    def until_killed(fitter: Any, fold: Fold) -> FoldResult:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return fit(fitter, fold)

    with monkeypatch.context() as patched:
        patched.setattr(folds._FoldFitter, "__call__", until_killed)
        with pytest.raises(KeyboardInterrupt):
            compare("killed")
    lines: list[str] = []
    resumed = compare("killed", notify=lines.append)
    assert "5 of 6 fits are kept from before" in lines
    assert resumed.document == whole


def test_one_worker_equals_two(compare: Callable[..., CrossValidation]) -> None:
    config = replace(SMALL, protocols=("speaker-kfold/3/0/1",))
    assert compare("1", config).document == compare("2", config, workers=2).document


def test_dead_worker_is_an_error(
    compare: Callable[..., CrossValidation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def map_unordered(factory: Any, items: Sequence[Any], *, workers: int) -> Any:
        return (folds._parallel.Outcome(item, error="the process died") for item in items)

    monkeypatch.setattr(folds._parallel, "map_unordered", map_unordered)
    with pytest.raises(EmovoxError, match="--workers 1"):
        compare(workers=2)


def test_scores_are_those_of_the_predictions(compare: Callable[..., CrossValidation], toy: Manifest) -> None:
    found = compare()
    (one,), document = found.results, found.document["protocols"][0]
    assert one.chosen is not None
    predicted = {k: p for fold in one.test[one.chosen] for k, p in zip(fold.ids, fold.predicted, strict=True)}
    assert set(predicted) == set(toy.ids), "every clip is tested once"
    expected = metrics.uar([toy[key].emotion for key in predicted], list(predicted.values()))
    assert document["headline"]["uar"] == pytest.approx(expected, abs=1e-6)
    assert document["headline"]["low"] <= expected <= document["headline"]["high"]
    other = next(row for row in document["systems"] if row["name"] != one.chosen.name)
    assert other["against_chosen"]["value"] == pytest.approx(other["test"]["uar"] - expected, abs=2e-6)
    assert document["each_fold_its_own"]["n_clips"] == len(toy)
    confusion = np.array(document["headline"]["confusion"]["counts"])
    assert confusion.sum() == len(toy)
    assert np.trace(confusion) / len(toy) == pytest.approx(document["headline"]["wa"], abs=1e-6)
    json.dumps(found.document, allow_nan=False)
    page = cross_validation_html(found.document)
    assert f"{one.chosen.name} (chosen)" in page
    assert page.count("Confusion matrix:") == 2
    assert "strict" in cross_validation_markdown(found.document)


@pytest.mark.parametrize("refit", [True, False])
def test_refit_uses_training_and_validation(
    compare: Callable[..., CrossValidation], refit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[str, ...]] = []
    fit_rows = EstimatorTrainer.fit_rows

    def record(trainer: EstimatorTrainer, inputs: SplitInputs) -> Any:
        fitted.append(inputs.split.train)
        return fit_rows(trainer, inputs)

    monkeypatch.setattr(EstimatorTrainer, "fit_rows", record)
    config = replace(SMALL, models=("knn",), protocols=("speaker-kfold/3/0/1",), refit=refit)
    (one,) = compare(config=config).results
    split = one.plan.splits[0]
    expected = {*split.train, *split.validation} if refit else {*split.train}
    assert [{*ids} for ids in fitted] == [{*split.train}, expected]


def test_canary_column_is_not_found(
    compare: Callable[..., CrossValidation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that is the label for tested and validating clips alone must change next to nothing."""
    config = replace(
        SMALL,
        models=("logistic-regression",),
        search=("logistic-regression",),
        tune=TuneConfig(draws=2, inner_folds=2),
        refit=False,
        protocols=("speaker-kfold/3/0/1",),
    )
    (plain,) = compare("plain", config).results
    split = plain.plan.splits[0]
    load = EstimatorTrainer.load

    def with_canary(trainer: EstimatorTrainer, manifest: Manifest, of: Any, **options: Any) -> SplitInputs:
        inputs = load(trainer, manifest, of, **options)
        labels = {key: sorted(EMOTIONS).index(manifest[key].emotion) for key in inputs.values}
        noise = np.random.default_rng(0).permutation(list(labels.values()))
        for n, key in enumerate(split.train):
            labels[key] = int(noise[n])
        values = {key: np.append(row, np.float32(labels[key])) for key, row in inputs.values.items()}
        return replace(inputs, values=values, columns=(*inputs.columns, "canary"))

    monkeypatch.setattr(EstimatorTrainer, "load", with_canary)
    (other,) = compare("canary", config).results
    (before,), (after,) = plain.test.values(), other.test.values()
    assert before[0].config == after[0].config, "the search found the same"
    same = [a == b for a, b in zip(before[0].predicted, after[0].predicted, strict=True)]
    assert np.mean(same) > 0.9


def test_unread_clip_counts_as_wrong(
    compare: Callable[..., CrossValidation], toy: Manifest, tmp_path: Path
) -> None:
    shutil.copytree(toy.root, tmp_path / "toy")
    lost = toy.ids[0]
    (tmp_path / "toy" / toy[lost].path).write_bytes(b"noise")
    found = compare(data=tmp_path / "toy/toy.csv")
    assert found.document["data"]["unread"] == [lost]
    assert found.exit_code == 1
    assert found.document["protocols"][0]["headline"]["n_clips"] == len(toy)
    assert all(lost not in fold.ids for one in found.results[0].test.values() for fold in one)


def test_failed_system_is_a_row(
    compare: Callable[..., CrossValidation], toy: Manifest, tmp_path: Path
) -> None:
    few = toy.where(speaker=tuple(toy.speakers[:4])).write_csv(toy.root / "few.csv")
    config = replace(
        SMALL,
        models=("knn", "stacking"),
        params={"stacking": {"estimators": ["knn", "lda"]}},
        protocols=("speaker-kfold/2",),
    )
    found = compare(config=config, data=few)
    document = found.document["protocols"][0]
    failed = [row["model"] for row in document["systems"] if row["error"]]
    assert failed == ["stacking"], "one training speaker cannot be parted"
    assert document["chosen"]["model"] == "knn"
    assert "stacking on seed-180" in cross_validation_markdown(found.document)


def test_comparison_expands_to_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [system.name for system in expand_comparison(replace(SMALL, models=("all",)))]
    assert {"svc on seed-180", "knn on seed-180", "lda on seed-180"} <= set(every)
    assert "stacking on seed-180" not in every
    twice = expand_comparison(replace(SMALL, models=("lda", "lda", "svc")))
    assert [system.about["model"] for system in twice] == ["lda", "svc"]
    with pytest.raises(ConfigError, match="did you mean 'adaboost'"):
        expand_comparison(replace(SMALL, models=("adabost",)))
    wide = replace(SMALL, models=("adaboost", "knn"), features=("seed-full",), class_weight="balanced")
    monkeypatch.setitem(ESTIMATORS, "adaboost", replace(ESTIMATORS["adaboost"], max_columns=100))
    boosted, knn = (system.trainer.config.model for system in expand_comparison(wide))
    assert asdict(boosted)["select"]["count"] == 100, "slow estimators get few columns"
    assert (asdict(knn)["select"], asdict(knn)["class_weight"]) == (None, None), "knn cannot weigh clips"
    assert asdict(boosted)["class_weight"] == "balanced"


# --- exported bundles -----------------------------------------------------------------------------


class TinyTrainer:
    """A trainer that trains nothing: it exports the tiny bundle, and records what it was asked for."""

    jobs: list[SplitInputs]

    def __init__(self, data: list[str], seed: int | None = None, version: str = "1") -> None:
        self.config = Config(name="tiny", data=tuple(data), seed=seed or 0)
        self.version, self.jobs = version, []

    def identify(self) -> list[str]:
        return ["tiny", self.version, str(self.config.seed)]

    def check(self) -> None: ...

    def load(self, manifest: Manifest, split: Any, **options: Any) -> SplitInputs:
        return SplitInputs(manifest, split, "waveform", {}, {})

    def fit(self, inputs: SplitInputs, **options: Any) -> FittedModel:
        self.jobs.append(inputs)
        validation = dict.fromkeys(inputs.split.validation, "sad")
        return FittedModel(None, EMOTIONS, Calibration(), None, validation)

    def export(self, fitted: FittedModel, inputs: SplitInputs) -> ExportedModel:
        split = inputs.split
        spec = tiny_spec(EMOTIONS, corpora=("toy",), protocol=f"{split.name}#{split.digest}")
        return ExportedModel(tiny_onnx(len(EMOTIONS), seed=len(self.jobs)), spec, None, None, 7)


@pytest.fixture
def trainer(toy: Manifest) -> TinyTrainer:
    pytest.importorskip("onnx")
    return TinyTrainer([str(toy.root / "toy.csv")])


def test_every_fold_is_a_bundle(trainer: TinyTrainer, toy: Manifest, tmp_path: Path) -> None:
    found = cross_validate(trainer, protocols="speaker-kfold/2", output=tmp_path)
    assert [job.split.name for job in trainer.jobs] == ["speaker-kfold/2/0/1", "speaker-kfold/2/0/2"]
    (row,) = found.document["protocols"][0]["systems"]
    assert (row["test"]["n_clips"], row["test"]["n_speakers"], row["n_parameters"]) == (len(toy), 10, 7)
    (one,) = found.results[0].test.values()
    assert sorted(key for fold in one for key in fold.ids) == sorted(toy.ids)
    for job, fold in zip(trainer.jobs, sorted(tmp_path.glob("cells/tiny/*/*/spec.json")), strict=True):
        spec = read_spec(fold.parent)
        assert find_stamp(spec, toy, job.split.test).stamp == "strict"
        assert find_stamp(spec, toy, toy.ids).stamp == "contaminated"


def test_bundles_are_resumed(trainer: TinyTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = TinyTrainer.fit

    def stop(self: TinyTrainer, inputs: SplitInputs, **options: Any) -> FittedModel:
        if inputs.split.name.endswith("/2"):
            raise KeyboardInterrupt
        return fit(self, inputs, **options)

    with monkeypatch.context() as patched:
        patched.setattr(TinyTrainer, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(trainer, protocols="speaker-kfold/2", output=tmp_path / "one")
    resumed = cross_validate(trainer, protocols="speaker-kfold/2", output=tmp_path / "one")
    assert len(trainer.jobs) == 2, "the first fold is not trained again"
    other = TinyTrainer(list(trainer.config.data))
    whole = cross_validate(other, protocols="speaker-kfold/2", output=tmp_path / "other")
    assert resumed.document == whole.document


@pytest.mark.parametrize(
    "change", ["settings", "emotion", "speaker", "text", "sound", "fresh", "damaged", "no bundle"]
)
def test_results_of_something_else_are_not_used(
    trainer: TinyTrainer, toy: Manifest, tmp_path: Path, change: str
) -> None:
    shutil.copytree(toy.root, tmp_path / "toy")
    data = tmp_path / "toy/toy.csv"
    trainer = TinyTrainer([str(data)])

    def run(fresh: bool = False) -> None:
        cross_validate(trainer, protocols="speakers/toy-1", output=tmp_path / "out", fresh=fresh)

    run()
    manifest = replace(toy, root=tmp_path / "toy")
    first = manifest.utterances[0]
    if change == "settings":
        trainer.version = "2"
    elif change in ("emotion", "speaker", "text"):
        value = {"emotion": "happy", "speaker": "toy-9", "text": "Kids are talking by the door."}[change]
        changed = replace(first, **{change: value})
        replace(manifest, utterances=(changed, *manifest.utterances[1:])).write_csv(data)
    elif change == "sound":
        sound = bytearray(manifest.file(first).read_bytes())
        sound[-1] ^= 1
        manifest.file(first).write_bytes(sound)
    elif change == "damaged":
        for file in tmp_path.glob("out/cells/tiny/*/1.json"):
            file.write_text(file.read_text()[:99])
    elif change == "no bundle":
        shutil.rmtree(next(tmp_path.glob("out/cells/tiny/*/1")))
    run(fresh=change == "fresh")
    assert len(trainer.jobs) == 2


def test_copies_by_sound_are_refused_before_the_work(toy: Manifest, tmp_path: Path) -> None:
    shutil.copytree(toy.root, tmp_path / "toy")
    x, rate = soundfile.read(toy.file(toy.utterances[0]), dtype="float32")
    soundfile.write(tmp_path / "toy/copy.wav", 0.4 * x, rate)
    copy = replace(toy.utterances[0], id="toy/copy", path="copy.wav", speaker="toy-1")
    data = Manifest(tmp_path / "toy", (*toy.utterances, copy)).write_csv(tmp_path / "toy/copy.csv")
    trainer = TinyTrainer([str(data)])
    options: dict[str, Any] = {"protocols": ["speaker-kfold/2", "speakers/toy-1"], "output": tmp_path / "out"}
    with pytest.raises(ProtocolError, match="--allow contaminated"):
        cross_validate(trainer, listen_for_copies=True, **options)
    assert trainer.jobs == []
    found = cross_validate(trainer, listen_for_copies=True, allow=["contaminated"], **options)
    assert "contaminated" in [one["stamp"] for one in found.document["protocols"]]


def test_systems_share_one_choice(toy: Manifest, store: Path, tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx")
    data = str(toy.root / "toy.csv")
    configs = {
        name: {"features": {"set": "seed-180"}, "model": {"name": name}}
        for name in ("knn", "logistic-regression")
    }
    found = cross_validate(configs, data, "speaker-kfold/3/0/1", output=tmp_path, store=store)
    (one,) = found.results
    assert one.chosen is not None
    rows = {row["name"]: row for row in found.document["protocols"][0]["systems"]}
    assert rows[one.chosen.name]["validation_uar"] == max(row["validation_uar"] for row in rows.values())
    assert json.loads((tmp_path / cross_validation.CHOSEN_FILE).read_text())[0]["chosen"] == one.chosen.about
