"""Benchmarks: nothing contaminated is trained unasked, folds are kept, and the leak shows as a gap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import tiny_onnx, tiny_spec
from emovox.bundles import read_spec, write_bundle
from emovox.cli import main
from emovox.cli.bench import divided
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.overlap import listen
from emovox.errors import ConfigError, MissingExtraError, ProtocolError
from emovox.evaluation import metrics
from emovox.evaluation.leakage import find_stamp
from emovox.training import bench
from emovox.training.bench import Job, Settings, find_recipe, plan, run

LABELS = ("neutral", "happy", "sad", "angry")
N_SPEAKERS = 10


def voice(speaker: int, emotion: int, take: int) -> np.ndarray:
    """Noise and tones that differ from clip to clip; the emotion sets the pitch, the speaker the colour."""
    dice = np.random.default_rng([speaker, emotion, take])
    t = np.arange(9600 + 320 * take) / 16_000
    hz = (
        (150 + 10 * speaker)
        * 1.5**emotion
        * (1 + 0.2 * np.sin(2 * np.pi * (2 + take) * t + dice.uniform(0, 6)))
    )
    sound = np.sin(2 * np.pi * np.cumsum(hz) / 16_000) + 0.3 * dice.standard_normal(len(t))
    return (0.1 * sound * np.interp(t, np.linspace(0, 0.7, 8), dice.uniform(0.2, 1, 8))).astype(np.float32)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("bench") / "toy"
    root.mkdir()
    rows = []
    for s in range(N_SPEAKERS):
        for e, emotion in enumerate(LABELS):
            for take in range(2):
                name = f"{s}-{emotion}-{take}"
                soundfile.write(root / f"{name}.wav", voice(s, e, take), 16_000)
                rows.append(
                    Utterance(
                        id=f"toy/{name}",
                        path=f"{name}.wav",
                        corpus="toy",
                        speaker=f"toy-{s}",
                        emotion=emotion,
                        original=emotion,
                    )
                )
    manifest = Manifest(root, tuple(rows))
    manifest.write_csv(root / "toy.csv")
    return manifest


class Trainer:
    """A recipe that trains nothing: it leaves the tiny bundle, and remembers what it was asked."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        model = tiny_onnx(len(LABELS), seed=len(self.jobs))
        write_bundle(
            job.folder, model, tiny_spec(LABELS, corpora=("toy",), protocol=job.protocol), replace=True
        )


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


def planned(toy: Manifest, protocol: str = "speaker-kfold/2", **options: Any) -> bench.Plan:
    return plan(toy, protocol, corpus="toy", **options)


# --- plans ----------------------------------------------------------------------------------------


def test_a_plan_says_what_is_shared(toy: Manifest) -> None:
    strict, leaky = planned(toy), planned(toy, "random")
    assert (strict.stamp, leaky.stamp) == ("strict", "speaker-dependent")
    assert strict.reasons == ("nobody listened for copies",)
    assert "10 speakers on both sides" in leaky.reasons
    nameless = replace(toy, utterances=tuple(replace(u, speaker="toy-unknown") for u in toy))
    told = planned(nameless, "random").reasons
    unknown = f"nobody says who speaks in {len(toy)} of the {len(toy)} clips"
    assert told[0] == f"{unknown}, so the same voices may be on both sides"
    assert not any("speakers on both sides" in reason for reason in told)
    heard = planned(toy, prints=listen(toy)[0])
    assert (heard.stamp, heard.reasons) == ("strict", ("nothing is shared that is known",))


@pytest.fixture
def planted(toy: Manifest, tmp_path: Path) -> Manifest:
    """The toy corpus with a copy, quieter, of speaker 0's clip in the mouth of speaker 1."""
    x, rate = soundfile.read(toy.file(toy.utterances[0]), dtype="float32")
    soundfile.write(tmp_path / "copy.wav", 0.4 * x, rate)
    (tmp_path / "toy").symlink_to(toy.root)
    rows = [replace(u, path=f"toy/{u.path}") for u in toy]
    copy = replace(rows[0], id="toy/copy", path="copy.wav", speaker="toy-1")
    return Manifest(tmp_path, (*rows, copy))


def test_contaminated_training_is_refused_unless_allowed_by_name(planted: Manifest) -> None:
    prints = listen(planted)[0]
    with pytest.raises(ProtocolError, match="--allow contaminated") as caught:
        planned(planted, "speakers/toy-1", prints=prints)
    assert "toy/0-neutral-0 = toy/copy" in str(caught.value)
    allowed = planned(planted, "speakers/toy-1", prints=prints, allow=("contaminated",))
    assert allowed.stamp == "contaminated", "the stamp stays"
    with pytest.raises(ProtocolError, match="cannot be allowed"):
        planned(planted, allow=("everything",))


# --- runs -----------------------------------------------------------------------------------------


def test_every_fold_trains_apart_and_counts_once(toy: Manifest, trainer: Trainer, tmp_path: Path) -> None:
    row = run(planned(toy), Settings(), out=tmp_path, recipe=trainer)
    assert [job.split.name for job in trainer.jobs] == ["speaker-kfold/2/0/1", "speaker-kfold/2/0/2"]
    assert (row["n_clips"], row["n_speakers"], row["stamp"]) == (len(toy), N_SPEAKERS, "strict")
    files = sorted((tmp_path / "toy").glob("*/*.json"))
    answers = [answer for file in files for answer in json.loads(file.read_text())["answers"]]
    assert sorted(answer[0] for answer in answers) == sorted(toy.ids)
    true, pred = [a[2] for a in answers], [a[3] for a in answers]
    assert row["uar"]["value"] == pytest.approx(metrics.uar(true, pred), abs=1e-6)
    assert row["uar"]["low"] <= row["uar"]["value"] <= row["uar"]["high"]
    assert row["mean_uar"] == pytest.approx(np.mean([fold["uar"] for fold in row["folds"]]), abs=1e-6)
    json.dumps(row, allow_nan=False)


def test_the_bundle_of_a_fold_earns_the_stamp_of_its_split(
    toy: Manifest, trainer: Trainer, tmp_path: Path
) -> None:
    made = planned(toy)
    run(made, Settings(), out=tmp_path, recipe=trainer)
    for job in trainer.jobs:
        spec = read_spec(job.folder)
        assert find_stamp(spec, toy, job.split.test).stamp == "strict"
        assert find_stamp(spec, toy, toy.ids).stamp == "contaminated"


class BrokenOff(Exception):
    pass


def test_it_goes_on_where_it_stopped(toy: Manifest, trainer: Trainer, tmp_path: Path) -> None:
    def stops(job: Job) -> None:
        if job.split.name.endswith("/2"):
            raise BrokenOff
        trainer(job)

    made, lines = planned(toy), []
    with pytest.raises(BrokenOff):
        run(made, Settings(), out=tmp_path, recipe=stops)
    resumed = run(made, Settings(), out=tmp_path, recipe=trainer, tell=lines.append)
    assert len(trainer.jobs) == 2, "the first fold is not trained again"
    assert lines[0].endswith("from before")
    other = Trainer()
    whole = run(made, Settings(), out=tmp_path / "other", recipe=other)
    for row in (resumed, whole):
        for one in (row, *row["folds"]):
            for measured in {"seconds", "clips_per_s"} & one.keys():
                del one[measured]
    assert resumed == whole, "resumed = uninterrupted"


@pytest.mark.parametrize(
    "change", ["settings", "clips", "fresh", "damaged", "half"], ids=lambda name: f"{name} changed"
)
def test_a_fold_made_of_something_else_is_not_taken(
    toy: Manifest, trainer: Trainer, tmp_path: Path, change: str
) -> None:
    run(planned(toy), Settings(), out=tmp_path, recipe=trainer)
    settings, manifest = Settings(), toy
    files = sorted((tmp_path / "toy").glob("*/*.json"))
    if change == "settings":
        settings = Settings(seed=1)
    elif change == "clips":
        manifest = replace(toy, utterances=(replace(toy.utterances[0], emotion="happy"), *toy.utterances[1:]))
    elif change in ("damaged", "half"):
        for file in files:
            file.write_text("[]" if change == "damaged" else file.read_text()[:99])
    run(planned(manifest), settings, out=tmp_path, recipe=trainer, fresh=change == "fresh")
    assert len(trainer.jobs) == 4


def test_a_fold_of_other_sound_is_not_taken_though_the_file_is_as_large(
    toy: Manifest, trainer: Trainer, tmp_path: Path
) -> None:
    manifest = replace(toy, root=tmp_path / "toy")
    shutil.copytree(toy.root, manifest.root)
    run(planned(manifest), Settings(), out=tmp_path / "out", recipe=trainer)
    file = manifest.file(manifest.utterances[0])
    sound = bytearray(file.read_bytes())
    sound[-1] ^= 1
    file.write_bytes(sound)
    run(planned(manifest), Settings(), out=tmp_path / "out", recipe=trainer)
    assert len(trainer.jobs) == 4


@pytest.mark.parametrize("changes", [{"speaker": "toy-9"}, {"text": "Kids are talking by the door."}])
def test_a_fold_of_the_same_split_but_of_another_voice_or_word_is_not_taken(
    toy: Manifest, trainer: Trainer, tmp_path: Path, changes: dict[str, str]
) -> None:
    made = planned(toy)
    run(made, Settings(), out=tmp_path, recipe=trainer)
    other = replace(toy, utterances=(replace(toy.utterances[0], **changes), *toy.utterances[1:]))
    run(replace(made, manifest=other), Settings(), out=tmp_path, recipe=trainer)
    assert len(trainer.jobs) == 4


def test_recipes_by_name() -> None:
    assert find_recipe("json:dumps") is json.dumps
    for name, said in (
        ("vxo", "did you mean 'vox'"),
        ("none.of:it", "cannot be imported"),
        ("json:no", "no function"),
    ):
        with pytest.raises(ConfigError, match=said):
            find_recipe(name)


def test_without_torch_the_sentence_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.RECIPES, "vox", "emovox.no_such_module:vox")  # type: ignore[misc]
    with pytest.raises(MissingExtraError, match=r"pip install 'emovox\[train\]'"):
        find_recipe("vox")


@pytest.mark.slow
def test_the_recipe_learns_and_leaves_its_bundle(toy: Manifest, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    made = planned(toy, "speakers/toy-2,toy-5")
    settings = Settings(short=True)
    row = run(made, settings, out=tmp_path)
    spec = read_spec(tmp_path / "toy" / next((tmp_path / "toy").iterdir()).name / "1")
    assert spec.labels == LABELS
    assert spec.protocol == f"{made.splits[0].name}#{made.splits[0].digest}"
    assert row["uar"]["value"] > 0.5, "the pitch says it all"
    (vectors,) = (tmp_path / "cache").iterdir()
    assert np.load(vectors).shape[0] == len(toy)


# --- the command ----------------------------------------------------------------------------------


TRAINED: list[str] = []


def tiny_recipe(job: Job) -> None:
    TRAINED.append(job.split.name)
    Trainer()(job)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    def call(*argv: str | Path) -> tuple[int, str, str]:
        TRAINED.clear()
        capfd.readouterr()
        options = ["--recipe", "test_bench:tiny_recipe", "-o", str(tmp_path / "out")]
        code = main(["bench", *map(str, argv), *options])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_the_command_prints_both_columns_and_the_gap(
    command: Callable[..., Any], toy: Manifest, tmp_path: Path
) -> None:
    argv = (toy.root / "toy.csv", "--protocol", "random,speaker-kfold/2")
    code, out, err = command(*argv)
    assert code == 0
    head, _, row = out.splitlines()[:3]
    cells = [cell.strip() for cell in head.split("|")[1:-1]]
    assert cells == ["corpus", "speaker-kfold/2, UAR %", "random, UAR %", "gap"]
    assert "strict" in row
    assert "speaker-dependent" in row
    assert "listening to 80 clips" in err
    rows = [json.loads(line) for line in (tmp_path / "out" / "bench.jsonl").read_text().splitlines()]
    assert [r["protocol"] for r in rows] == ["random", "speaker-kfold/2"]
    assert (tmp_path / "out" / "bench.md").read_text() == out
    again = command(*argv, "--format", "json", "--no-listen")
    assert TRAINED == [], "all folds are there"
    assert [json.loads(line)["uar"] for line in again[1].splitlines()] == [r["uar"] for r in rows]


def test_the_command_refuses_before_it_trains(command: Callable[..., Any], planted: Manifest) -> None:
    file = planted.write_csv(planted.root / "planted.csv")
    argv = (file, "--protocol", "speaker-kfold/2,speakers/toy-1")
    code, out, err = command(*argv)
    assert (code, out, TRAINED) == (2, "", [])
    assert "--allow contaminated" in err
    code, out, _ = command(*argv, "--allow", "contaminated")
    assert code == 0
    assert len(TRAINED) == 3
    assert "contaminated" in out


def test_a_protocol_that_cannot_be_is_told_before_the_listening(
    command: Callable[..., Any], toy: Manifest
) -> None:
    code, _, err = command(toy.root / "toy.csv", "--protocol", "loso,nothing")
    assert code == 2
    assert "there are" in err
    assert "listening" not in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("ravdes",), "did you mean 'ravdess'"),
        (("ravdess", "--root", "none"), "there is no 'none'"),
        (("TOY", "--protocol", "emobox"), "speaker-kfold"),
        (("TOY", "--protocol", "nothing"), "there are"),
        (("TOY", "--allow", "all"), "cannot be allowed"),
    ],
)
def test_wrong_requests_train_nothing(
    command: Callable[..., Any], toy: Manifest, argv: tuple[str, ...], said: str
) -> None:
    code, _, err = command(*(str(toy.root / "toy.csv") if a == "TOY" else a for a in argv), "--no-listen")
    assert (code, TRAINED) == (2, [])
    assert said in err


def test_commas_divide_protocols_and_speakers() -> None:
    assert divided("emobox, random,emobox") == ["emobox", "random"]
    assert divided("speakers/a,b,random,loso") == ["speakers/a,b", "random", "loso"]
    assert divided("given,mine.csv") == ["given", "mine.csv"]
