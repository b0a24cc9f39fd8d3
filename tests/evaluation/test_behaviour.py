"""Behavioural tests: read from YAML, run on any model, compared with their limits, resumable."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from emovox._arrays import Floats
from emovox.bundles import Bundle, load_bundle
from emovox.cli import main
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError, EmovoxError
from emovox.evaluation.behaviour import (
    BehaviourTest,
    OtherModel,
    check_behaviour,
    read_tests,
    select_tests,
)
from emovox.evaluation.behaviour.predictions import PredictionStore
from emovox.evaluation.behaviour.registry import METRICS
from emovox.evaluation.behaviour.runner import FILES, STORE
from emovox.inference.recognizer import Recognizer
from emovox.reports.behaviour import behaviour_html, behaviour_lines, behaviour_markdown, card_section
from voices import EMOTIONS, toy_corpus


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("toy"), n_speakers=10, n_takes=1)


def make_test(**settings: Any) -> BehaviourTest:
    row = {
        "name": "a test",
        "category": "robustness",
        "metric": "unchanged",
        "at_least": 0.9,
        "source": "ours",
    }
    return BehaviourTest(**{**row, "change": ({"kind": "gain", "gain_db": 6},), **settings})


def by_pitch(x: Floats, rate: int) -> Mapping[str, float]:
    """Score the toy corpus by the strongest frequency, which is its emotion."""
    hz = np.fft.rfftfreq(len(x), 1 / rate)[np.abs(np.fft.rfft(x)).argmax()]
    place = np.clip(round(math.log(max(hz, 1) / 190) / math.log(1.5)), 0, 3)
    return {name: 0.7 if k == place else 0.1 for k, name in enumerate(EMOTIONS)}


def by_level(x: Floats, rate: int) -> Mapping[str, float]:
    loud = float(np.abs(x).max() > 0.2)
    return {"angry": loud, "sad": 1 - loud}


def model_of(scores: Callable[[Floats, int], Mapping[str, float] | None]) -> OtherModel:
    return OtherModel("toy", EMOTIONS, scores)


def run(
    scores: Callable[[Floats, int], Mapping[str, float] | None],
    manifest: Manifest,
    *tests: BehaviourTest,
    **options: Any,
) -> list[dict[str, Any]]:
    found = check_behaviour(model_of(scores), Dataset(manifest), tests=tests, **options)
    return list(found.document["tests"])


# --- tests as data ------------------------------------------------------------------------------------


def test_embedded_tests_are_complete() -> None:
    tests = read_tests()
    assert len({test.name for test in tests}) == len(tests) >= 18
    assert all(test.source for test in tests)
    assert {test.category for test in tests} >= {"correctness", "robustness"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("at_least: '0,95'", "'0,95'; expected a finite number"),
        ("at_least: 95", "at_least is 95; expected a share"),
        ("at_least: .nan", "expected a finite number"),
        ("at_least: yes", "expected a finite number"),
        ("at_most: 0.1", "unchanged is better when it is higher: give at_least"),
        ("at_leest: 0.9", "did you mean 'at_least'?"),
        ("source2: x", "unknown setting"),
        ("{}", "there is no limit"),
        ("{at_least: 0.9, metric: unchangd}", "did you mean 'unchanged'?"),
        ("{at_least: 0.9, change: [{kind: gian}]}", "did you mean 'gain'?"),
        ("{at_least: 0.9, change: [{kind: gain, gain_db: loud}]}", "gain_db of Gain is 'loud'"),
        ("{at_least: 0.9, change: [{gain_db: 3}]}", "expected kind and settings"),
        ("{at_least: 0.9, change: []}", "give change"),
        ("{at_least: 0.9, category: speed}", "category is 'speed'"),
    ],
)
def test_wrong_test_is_named(tmp_path: Path, row: str, message: str) -> None:
    import yaml

    base = {"name": "my gain", "category": "robustness", "metric": "unchanged", "source": "ours"}
    base["change"] = [{"kind": "gain", "gain_db": 6}]  # type: ignore[assignment]
    more = row if row.startswith("{") else "{" + row + "}"
    text = yaml.safe_dump(base, default_flow_style=True, width=1000).strip()
    inside = more.strip("{}")
    kept = {key: value for key, value in base.items() if f"{key}:" not in inside}
    text = yaml.safe_dump(kept, default_flow_style=True, width=1000).strip()
    (tmp_path / "mine.yaml").write_text(f"tests:\n  - {text[:-1]}{', ' if inside else ''}{inside}" + "}\n")
    with pytest.raises(ConfigError) as caught:
        read_tests([tmp_path / "mine.yaml"])
    assert "test 'my gain' of" in str(caught.value)
    assert message in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_limit_is_taken_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    place = tmp_path_factory.getbasetemp() / "any.yaml"
    row = {"name": "any", "category": "correctness", "metric": "uar", "at_least": value, "source": "ours"}
    place.write_text(json.dumps({"embedded": False, "tests": [row]}), encoding="utf-8")
    is_share = isinstance(value, int | float) and not isinstance(value, bool) and -1 <= value <= 1
    if is_share:
        assert read_tests([place])[0].limit == value
    else:
        with pytest.raises(ConfigError, match=r"test 'any' of|not YAML"):
            read_tests([place])


def test_own_tests_add_and_replace(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    rows = [
        {"name": name, "category": "correctness", "metric": "uar", "at_least": 0.9, "source": "contract"}
        for name in ("UAR", "new")
    ]
    file.write_text(json.dumps({"tests": rows}))
    tests = {test.name: test for test in read_tests([file])}
    assert tests["UAR"].limit == 0.9
    assert len(tests) == len(read_tests()) + 1
    file.write_text(json.dumps({"embedded": False, "tests": rows}))
    assert [test.name for test in read_tests([file])] == ["UAR", "new"]
    file.write_text(json.dumps({"tests": [rows[0], rows[0]]}))
    with pytest.raises(ConfigError, match="twice"):
        read_tests([file])
    assert [t.name for t in select_tests(tuple(tests.values()), ["new"])] == ["new"]
    with pytest.raises(ConfigError, match="did you mean 'robustness'"):
        select_tests(tuple(tests.values()), ["robustnes"])


# --- results ------------------------------------------------------------------------------------------


def test_change_of_nothing_changes_nothing(manifest: Manifest) -> None:
    same = ({"kind": "gain", "gain_db": 0},)
    kept, lost = run(
        by_level,
        manifest,
        make_test(change=same, at_least=1.0),
        make_test(name="b", metric="uar-loss", at_least=None, at_most=0.0, change=same),
    )
    assert (kept["value"], kept["status"], kept["changed"]) == (1.0, "passed", [])
    assert (lost["value"], lost["status"]) == (0.0, "passed")


def test_reaction_to_level_is_found_by_gain_alone(manifest: Manifest) -> None:
    gain = make_test(name="gain", change=({"kind": "gain", "gain_db": 12},))
    noise = make_test(name="noise", change=({"kind": "noise", "colour": "white", "snr_db": 40},))
    status = {row["name"]: row["status"] for row in run(by_level, manifest, gain, noise)}
    assert status == {"gain": "failed", "noise": "passed"}
    status = {row["name"]: row["status"] for row in run(by_pitch, manifest, gain, noise)}
    assert status == {"gain": "passed", "noise": "passed"}


def test_changed_clips_are_those_counted(manifest: Manifest) -> None:
    (row,) = run(by_level, manifest, make_test(change=({"kind": "gain", "gain_db": 9},)))
    assert 0 < len(row["changed"]) == round((1 - row["value"]) * row["n_clips"])
    assert all((one["plain"], one["changed"]) == ("sad", "angry") for one in row["changed"])
    assert row["low"] <= row["value"] <= row["high"]


def test_correctness_of_known_predictions(manifest: Manifest) -> None:
    """Neutral and happy are right, all others are called neutral."""
    emotions = {manifest.read(u).tobytes(): u.emotion for u in manifest}

    def scores(x: Floats, rate: int) -> Mapping[str, float]:
        return {"happy" if emotions[x.tobytes()] == "happy" else "neutral": 1.0}

    wanted = {
        **{"uar": 0.5, "uap": (1 / 3 + 1) / 4, "lowest-recall": 0.0, "lowest-precision": 0.0},
        **{"share-difference": 0.5, "coverage": 1.0, "ece": 0.5},
    }
    tests = [make_test(name=name, metric=name, change=(), **limit(name)) for name in wanted]
    for row in run(scores, manifest, *tests):
        assert row["value"] == pytest.approx(wanted[row["name"]], abs=1e-6), row["name"]
        assert (row["status"] == "passed") == (row["name"] in ("uar", "coverage"))


def limit(name: str) -> dict[str, float | None]:
    higher = METRICS[name].better == "higher"
    return {"at_least": 0.5 if higher else None, "at_most": None if higher else 0.1}


def test_no_pass_without_data(manifest: Manifest, tmp_path: Path) -> None:
    place = make_test(name="place", change=({"kind": "background", "snr_db": 20, "folder": "street"},))
    ranking = make_test(name="ranking", metric="speaker-ranking", at_least=0.7, change=())
    babble = make_test(name="babble", change=({"kind": "babble", "snr_db": 20},))
    one_speaker = manifest.where(speaker=manifest.speakers[0])
    for row, reason in zip(
        run(by_pitch, one_speaker, place, ranking, babble),
        ("--noise street=DIR", "no speaker has", "other speakers"),
        strict=True,
    ):
        assert row["status"] == "not applicable"
        assert reason in row["reason"]
        assert row["value"] is None
    found = check_behaviour(model_of(by_pitch), recordings=[manifest.root])
    needs = {t.name: METRICS[t.metric].needs_labels for t in read_tests()}
    assert all(row["status"] == "not applicable" for row in found.document["tests"] if needs[row["name"]])
    assert any(row["status"] != "not applicable" for row in found.document["tests"])


def test_bad_file_costs_no_other(manifest: Manifest, tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "toy", n_speakers=10, n_takes=1)
    broken = next(iter(corpus))
    corpus.file(broken).write_bytes(b"no sound")
    uar = make_test(name="uar", metric="uar", at_least=0.5, change=())
    found = check_behaviour(model_of(by_pitch), Dataset(corpus), tests=[make_test(), uar])
    assert [row["id"] for row in found.document["errors"]] == [broken.id]
    gain, uar_row = found.document["tests"]
    assert (gain["n_clips"], gain["value"]) == (39, 1.0)
    assert uar_row["n_clips"] == 40  # it counts as wrong
    every = [corpus.file(u).write_bytes(b"") for u in corpus]
    rows = run(by_pitch, corpus, make_test(), uar)
    assert every
    assert {row["status"] for row in rows} == {"not applicable"}


# --- resuming -----------------------------------------------------------------------------------------


def test_resumed_equals_uninterrupted(manifest: Manifest, tmp_path: Path) -> None:
    tests = read_tests()
    calls: list[int] = []

    def counted(x: Floats, rate: int) -> Mapping[str, float]:
        calls.append(1)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return by_pitch(x, rate)

    whole = check_behaviour(model_of(by_pitch), Dataset(manifest), tests=tests)
    with pytest.raises(KeyboardInterrupt):
        check_behaviour(model_of(counted), Dataset(manifest), tests=tests, output=tmp_path)
    kept = len((tmp_path / STORE).read_text().splitlines())
    assert 0 < kept < 100
    with (tmp_path / STORE).open("a") as stream:
        stream.write('{"key": "torn')
    calls[:] = [1] * 200
    found = check_behaviour(model_of(counted), Dataset(manifest), tests=tests, output=tmp_path)
    assert found.document == whole.document
    n = len(calls)
    found = check_behaviour(model_of(counted), Dataset(manifest), tests=tests, output=tmp_path)
    assert (len(calls), found.document) == (n, whole.document)


def test_two_workers_equal_one(tiny_bundle: Path, manifest: Manifest) -> None:
    tests = select_tests(read_tests(), ["UAR", "babble, 10 dB: UAR", "gain +12 dB, clipped"])
    one, two = (
        check_behaviour(tiny_bundle, Dataset(manifest), tests=tests, max_clips=8, workers=n).document
        for n in (1, 2)
    )
    assert one == two


def test_store_knows_the_spec(tiny_bundle: Path, manifest: Manifest, tmp_path: Path) -> None:
    """The same graph with other windows or another detector predicts anew."""
    bundle = load_bundle(tiny_bundle)
    model = (tiny_bundle / "model.onnx").read_bytes()
    windows = Bundle(replace(bundle.spec, clip_s=bundle.spec.clip_s - 1), model)
    described = Bundle(replace(bundle.spec, description="other words"), model)
    lines = []
    for one in (
        Recognizer(bundle),
        Recognizer(described),
        Recognizer(windows),
        Recognizer(bundle, vad="off"),
    ):
        check_behaviour(one, Dataset(manifest), tests=[make_test(metric="uar", change=())], output=tmp_path)
        lines.append(len((tmp_path / STORE).read_text().splitlines()))
    assert lines == [40, 40, 80, 120]


def test_store_skips_damaged_lines(tmp_path: Path) -> None:
    file = tmp_path / STORE
    file.write_bytes(
        b'{"key": "a", "label": "sad", "reason": null, "scores": {}}\n[]\n\xff\n{"label": 1}\n{"key": "b"'
    )
    assert PredictionStore(file).rows == {"a": {"label": "sad", "reason": None, "scores": {}}}


def test_result_does_not_depend_on_names(manifest: Manifest, tmp_path: Path) -> None:
    """Noise is seeded by the samples, so renamed clips get the same."""
    test = make_test(change=({"kind": "noise", "colour": "white", "snr_db": 0},))
    renamed = toy_corpus(tmp_path, n_speakers=10, n_takes=1, name="other")
    (a,), (b,) = run(by_pitch, manifest, test), run(by_pitch, renamed, test)
    assert a["value"] == b["value"]
    assert [one["id"].split("/")[1] for one in a["changed"]] == [
        one["id"].split("/")[1] for one in b["changed"]
    ]


# --- pages and the command ----------------------------------------------------------------------------


def test_pages_show_every_test(manifest: Manifest) -> None:
    document = check_behaviour(model_of(by_level), Dataset(manifest)).document
    json.dumps(document, allow_nan=False)
    lines, page, text = (
        "\n".join(behaviour_lines(document)),
        behaviour_html(document),
        behaviour_markdown(document),
    )
    for row in document["tests"]:
        for shown in (lines, text):
            assert row["name"] in shown
        assert row["name"].replace("&", "&amp;") in page
    n = document["summary"][0]
    assert f"{n['passed']} of {n['passed'] + n['failed']} tests passed" in card_section(document)
    assert all(
        name in card_section(document)
        for name in (r["name"] for r in document["tests"] if r["status"] == "failed")
    )


def test_command(
    tiny_bundle: Path, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(manifest.root / "toy.csv"), tmp_path / "report"
    argv = ["check", str(tiny_bundle), "--data", data, "-o", str(out), "--max-clips", "8"]
    assert main([*argv, "--only", "gain up to 2 dB"]) == 0
    assert "1 of 1 tests passed" in capsys.readouterr().out
    assert {*FILES, STORE} == {path.name for path in out.iterdir()}
    assert main([*argv, "--only", "correctness"]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert main([*argv, "--only", "speaker ranking"]) == 2
    assert "no test is applicable" in capsys.readouterr().err
    (manifest.root / "broken.csv").write_text(
        (manifest.root / "toy.csv").read_text().replace("0-sad-0.wav", "gone.wav")
    )
    argv[3] = str(manifest.root / "broken.csv")
    assert main([*argv, "--only", "gain up to 2 dB"]) == 3
    assert "gone.wav" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    assert main([*argv[:-3], str(tmp_path / "full")]) == 2
    assert "holds thesis.txt" in capsys.readouterr().err
    assert main([*argv, "--noise", "street"]) == 2
    assert "expected NAME=DIR" in capsys.readouterr().err


def test_data_or_recordings(manifest: Manifest) -> None:
    for options in ({}, {"recordings": ["x"], "data": Dataset(manifest)}):
        with pytest.raises(EmovoxError, match="one of both"):
            check_behaviour(model_of(by_pitch), **options)
    with pytest.raises(EmovoxError, match="does not exist"):
        check_behaviour(model_of(by_pitch), recordings=["no/such/folder"])


def test_recordings_are_listed_once(tmp_path: Path) -> None:
    for name in ("a/b.wav", "c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(1600), 16_000)
    (tmp_path / "notes.txt").write_text("x")
    from emovox.evaluation.behaviour.clips import list_unlabelled

    found = list_unlabelled([tmp_path, tmp_path / "c.wav"])
    assert sorted(u.path for u in found) == ["a/b.wav", "c.wav"]


def test_tests_of_the_document_are_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "behaviour.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "ours.yaml").write_text(block, encoding="utf-8")
    tests = {test.name: test for test in read_tests([tmp_path / "ours.yaml"])}
    assert tests["our hold music"].limit == 0.85
    assert tests["UAR"].limit == 0.7
    assert all(f"`{name}`" in text for name in METRICS if not name.startswith(("group", "sentiment")))
