"""Cells of numbers and of soft labels: read, refused with a reason, folded, written and read again."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.datasets.cells import (
    KEY,
    LARGEST,
    average_shares,
    find_top_label,
    format_shares,
    is_soft,
    normalize_shares,
    parse_shares,
    parse_value,
)
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.soft_labels import map_shares, read_shares, set_shares, shares_of
from emovox.datasets.targets import check_targets, read_targets
from emovox.errors import ManifestError
from emovox.labels import EMOTIONS, label_map, normalize_label

weights = st.dictionaries(
    st.sampled_from(EMOTIONS), st.floats(1e-6, 1e6, allow_subnormal=False), min_size=1, max_size=6
)


def make_clip(emotion: str = "angry", **fields: object) -> Utterance:
    options = {"id": "c/1", "path": "1.wav", "corpus": "c", "speaker": "c-1", "original": emotion}
    return Utterance(**{**options, "emotion": emotion, **fields})  # type: ignore[arg-type]


def write_table(folder: Path, text: str, *names: str) -> Path:
    for name in names or ("a.wav", "b.wav"):
        (folder / name).touch()
    file = folder / "t.csv"
    file.write_text(text, encoding="utf-8")
    return file


# --- numbers ------------------------------------------------------------------------------------------


@given(st.text(max_size=12))
def test_cell_is_number_missing_or_refused(text: str) -> None:
    try:
        value = parse_value(text)
    except ValueError:
        return
    assert math.isnan(value) or abs(value) <= LARGEST


@given(st.floats(-LARGEST, LARGEST))
def test_number_round_trip(value: float) -> None:
    assert parse_value(repr(value)) == value
    assert parse_value(f" {value!r} ") == value


@pytest.mark.parametrize("text", ["inf", "-inf", "1e400", "1_0", "0,5", "high", "1 2", "٣x", "2e9"])
def test_no_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no number|could not convert"):
        parse_value(text)


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NA", "n/a", "None", "null", "<NA>"])
def test_missing_is_nan(text: str) -> None:
    assert math.isnan(parse_value(text))


@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=8))
def test_targets_equal_the_cells(cells: list[float | None]) -> None:
    clips = [
        make_clip(id=f"c/{n}", extra={} if value is None else {"arousal": repr(value)})
        for n, value in enumerate(cells)
    ]
    manifest = Manifest(Path(), tuple(clips))
    if all(value is None for value in cells):
        with pytest.raises(ManifestError, match="no clip has a value of 'arousal'"):
            read_targets(manifest, ["arousal"])
        return
    found = read_targets(manifest, ["arousal"])[:, 0]
    assert np.array_equal(found, [math.nan if value is None else value for value in cells], equal_nan=True)
    if len(set(found[~np.isnan(found)])) < 2:
        with pytest.raises(ManifestError, match="'arousal' is"):
            check_targets(found[:, None], ["arousal"], "training")


def test_fields_are_targets() -> None:
    manifest = Manifest(Path(), (make_clip(age=31, intensity="strong"),))
    found = read_targets(manifest, ["age", "intensity"], {"strong": 1})
    assert found.tolist() == [[31, 1]]
    with pytest.raises(ManifestError, match=r"column 'intensity': 'strong' is not a number"):
        read_targets(manifest, ["intensity"])


def test_own_manifest_has_columns_of_numbers(tmp_path: Path) -> None:
    Manifest(tmp_path, (make_clip(extra={"a": "x"}),)).write_csv(tmp_path / "m.csv")
    head, row = (tmp_path / "m.csv").read_text().splitlines()
    (tmp_path / "m.csv").write_text(f"{head},arousal\n{row},0.25\n")
    (u,) = Manifest.read_csv(tmp_path / "m.csv")
    assert u.extra == {"a": "x", "arousal": "0.25"}
    (tmp_path / "m.csv").write_text(f"{head},arousal\n{row},x\n")
    with pytest.raises(ManifestError, match="row 1: 'x' in the unknown column 'arousal' is no number"):
        Manifest.read_csv(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text(f"{head},speeker\n{row},1\n")
    with pytest.raises(ManifestError, match="did you mean 'speaker'"):
        Manifest.read_csv(tmp_path / "m.csv")


# --- shares -------------------------------------------------------------------------------------------


@given(weights)
def test_shares_round_trip(given_weights: dict[str, float]) -> None:
    shares = normalize_shares(given_weights, "")
    assert sum(shares.values()) == pytest.approx(1)
    again = parse_shares(format_shares(shares), normalize_label)
    assert again == pytest.approx(shares, abs=1e-8)
    assert shares[find_top_label(shares)] == max(shares.values())


@given(weights, st.floats(1e-3, 1e3))
def test_scale_of_weights_does_not_matter(given_weights: dict[str, float], factor: float) -> None:
    scaled = {label: factor * weight for label, weight in given_weights.items()}
    assert normalize_shares(scaled, "") == pytest.approx(normalize_shares(given_weights, ""))


@given(st.text(alphabet="angrysd:,.+-0123456789e \t", max_size=24))
def test_any_cell_gives_shares_or_a_reason(text: str) -> None:
    try:
        shares = parse_shares(text, normalize_label)
    except ValueError:
        return
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 < share <= 1 for share in shares.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("angry:.6,sad:-.4", "is -0.4; expected 0 or more"),
        ("angry:.6,sad:x", "'x' of .* is not a number"),
        ("angry:0,sad:0", "sum to 0; expected more than 0"),
        ("angry:nan,sad:1", "is nan"),
        ("angry:inf,sad:1", "is inf"),
        ("angry:.6,sad", "has no weight"),
        ("angry:.6,:.4", "cannot be a label"),
    ],
)
def test_impossible_weights_are_refused(tmp_path: Path, text: str, message: str) -> None:
    table = write_table(tmp_path, f'file,speaker,emotion\na.wav,1,"{text}"\nb.wav,1,sad\n')
    with pytest.raises(ManifestError, match=f"line 2.*{message}"):
        Dataset.load(table)
    assert [u.emotion for u in Dataset.load(table, drop_unknown=True).manifest] == ["sad"]


def test_cell_becomes_shares(tmp_path: Path) -> None:
    table = write_table(
        tmp_path, 'file,speaker,emotion\na.wav,1,"Anger:3,sadness:1"\nb.wav,1,"sad:1,happy:0"\n'
    )
    first, second = Dataset.load(table).manifest
    assert (first.emotion, shares_of(first)) == ("angry", {"angry": 0.75, "sad": 0.25})
    assert (second.emotion, shares_of(second), KEY in second.extra) == ("sad", {"sad": 1.0}, False)


def test_columns_of_emotions_become_shares(tmp_path: Path) -> None:
    table = write_table(tmp_path, "file,speaker,angry,sad,happy\na.wav,1,2,6,\nb.wav,1,0,0,1\n")
    first, second = Dataset.load(table).manifest
    assert (first.emotion, shares_of(first)) == ("sad", {"sad": 0.75, "angry": 0.25})
    assert second.emotion == "happy"
    bad = write_table(tmp_path, "file,speaker,angry,sad\na.wav,1,much,6\nb.wav,1,0,0\n")
    with pytest.raises(ManifestError, match=r"column 'angry': 'much' is not a number.*sum to 0"):
        Dataset.load(bad)


def test_mapping_in_json_lines_becomes_shares(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "t.jsonl").write_text(
        '{"file": "a.wav", "speaker": "1", "emotion": {"angry": 0.25, "sad": 0.75}}\n'
        '{"file": "b.wav", "speaker": "1", "emotion": {"keen": 1}}\n'
    )
    first, second = Dataset.load(tmp_path / "t.jsonl").manifest
    assert (first.emotion, shares_of(first)) == ("sad", {"sad": 0.75, "angry": 0.25})
    assert (second.emotion, shares_of(second)) == ("keen", {"keen": 1.0})


def test_annotators_are_averaged(tmp_path: Path) -> None:
    table = write_table(
        tmp_path,
        "file,speaker,annotator,emotion,arousal\n"
        "a.wav,1,r1,angry,0.5\na.wav,1,r2,sad,0.7\na.wav,1,r3,angry,\nb.wav,1,r1,sad,0.1\n",
    )
    first, second = Dataset.load(table).manifest
    assert first.emotion == "angry"
    assert shares_of(first) == pytest.approx({"angry": 2 / 3, "sad": 1 / 3})
    assert float(first.extra["arousal"]) == pytest.approx(0.6), "the mean of the two that are known"
    assert shares_of(second) == {"sad": 1.0}
    twice = write_table(tmp_path, "file,speaker,rater,emotion\na.wav,1,r1,angry\na.wav,1,r1,sad\n")
    with pytest.raises(ManifestError, match="earlier row"):
        Dataset.load(twice)
    unnamed = write_table(tmp_path, "file,speaker,emotion\na.wav,1,angry\na.wav,1,sad\n")
    with pytest.raises(ManifestError, match="earlier row"):
        Dataset.load(unnamed)


@given(weights)
def test_folding_keeps_the_sum(given_weights: dict[str, float]) -> None:
    u = set_shares(make_clip(), normalize_shares(given_weights, ""))
    for name in ("4", "6", "7"):
        fold = label_map(name)
        folded = map_shares(u, fold)
        left = {label for label in given_weights if fold(label) is not None}
        assert (folded is None) == (not left)
        if folded is not None:
            shares = shares_of(folded)
            assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
            assert set(shares) <= set(fold.labels)
            assert folded.emotion == find_top_label(shares)


@given(st.lists(weights, min_size=1, max_size=5))
def test_average_is_between(several: list[dict[str, float]]) -> None:
    shares = [normalize_shares(one, "") for one in several]
    mean = average_shares(shares)
    assert sum(mean.values()) == pytest.approx(1)
    for label, share in mean.items():
        each = [one.get(label, 0.0) for one in shares]
        assert min(each) - 1e-9 <= share <= max(each) + 1e-9


@given(weights)
def test_rows_of_shares(given_weights: dict[str, float]) -> None:
    u = set_shares(make_clip(), normalize_shares(given_weights, ""))
    (row,) = read_shares([u], EMOTIONS)
    assert row.sum() == pytest.approx(1)
    assert EMOTIONS[int(row.argmax())] in given_weights
    (none,) = read_shares([u], ["banana"])
    assert none.sum() == 0


def test_manifest_keeps_shares(tmp_path: Path) -> None:
    u = set_shares(make_clip(), {"angry": 0.4, "sad": 0.6})
    Manifest(tmp_path, (u,)).write_csv(tmp_path / "m.csv")
    assert Manifest.read_csv(tmp_path / "m.csv").utterances == (u,)
    text = (tmp_path / "m.csv").read_text().replace(",sad,", ',"sad:1,angry:3",', 1)
    (tmp_path / "m.csv").write_text(text)
    (found,) = Manifest.read_csv(tmp_path / "m.csv")
    assert (found.emotion, shares_of(found)) == ("angry", {"angry": 0.75, "sad": 0.25})
    (tmp_path / "m.csv").write_text(text.replace("angry:3", "angry:-3"))
    with pytest.raises(ManifestError, match=r"row 1: a weight of .* is -3"):
        Manifest.read_csv(tmp_path / "m.csv")


def test_plain_labels_are_not_soft() -> None:
    assert not is_soft("angry")
    assert not is_soft("mood:1"), "a label of one's own"
    assert not is_soft("angry:x")
    assert not is_soft("a, b")
    assert is_soft("angry:1,sad:1")
    assert is_soft("Anger:1"), "a known emotion with its weight"


def test_single_label_with_weight(tmp_path: Path) -> None:
    soft = write_table(tmp_path, 'file,speaker,emotion\na.wav,1,keen:1\nb.wav,1,"keen:1,sad:2"\n')
    assert [u.emotion for u in Dataset.load(soft).manifest] == ["keen", "sad"]
    plain = write_table(tmp_path, "file,speaker,emotion\na.wav,1,class:1\nb.wav,1,sad:1\n")
    assert [u.emotion for u in Dataset.load(plain).manifest] == ["class:1", "sad"]
