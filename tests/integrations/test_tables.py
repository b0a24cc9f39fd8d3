"""Predictions as columns of pandas tables and of Hugging Face datasets."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emovox
from emovox import audio
from emovox.errors import ConfigError, LabelError
from emovox.integrations import EmotionMap, predict_table

pd = pytest.importorskip("pandas")

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.opus"))
LABELS = ("angry", "happy")


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


def test_table_of_files(bundle: Path, tmp_path: Path) -> None:
    for file in EXAMPLES[:2]:
        shutil.copy(file, tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    names = [EXAMPLES[0].name, "bad.wav", None, EXAMPLES[1].name, "absent.wav"]
    frame = pd.DataFrame({"file": names, "speaker": list("abcde")}, index=[3, 1, 4, 1, 5])
    before = frame.copy()
    found = predict_table(frame, model=bundle, labels=LABELS, root=tmp_path)
    pd.testing.assert_frame_equal(frame, before)
    assert list(found.columns) == [
        *("file", "speaker", "label", "reason", "confidence", "angry_prob", "happy_prob", "error"),
    ]
    assert list(found.index) == [3, 1, 4, 1, 5]
    model = emovox.load(bundle)
    for at, name in ((0, names[0]), (3, names[3])):
        expected, row = model.predict(tmp_path / str(name), labels=LABELS), found.iloc[at]
        assert (row["label"], row["confidence"]) == (expected.label, expected.confidence)
        assert row["happy_prob"] == expected.scores["happy"]
        assert pd.isna(row["error"])
    assert found["confidence"].isna().tolist() == [False, True, True, False, True]
    assert "is empty" in found["error"].iloc[2]
    assert "no such file" in found["error"].iloc[4]


def test_names_of_columns(bundle: Path) -> None:
    frame = pd.DataFrame({"path": [str(EXAMPLES[0])], "label": ["angry"]})
    with pytest.raises(ConfigError, match="no column 'file'"):
        predict_table(frame, model=bundle)
    with pytest.raises(ConfigError, match="'label' already"):
        predict_table(frame, "path", model=bundle)
    found = predict_table(frame, "path", model=bundle, prefix="emovox_")
    assert {"emovox_label", "emovox_angry_prob", "emovox_error"} <= set(found.columns)
    with pytest.raises(LabelError):
        predict_table(frame, "path", model=bundle, labels="hungry", prefix="x_")
    assert len(predict_table(frame[:0], "path", model=bundle, prefix="x_")) == 0


def kinds_of_sound() -> list[Any]:
    """One recording as the versions and settings of datasets give it."""
    x = audio.read(EXAMPLES[0])
    content = EXAMPLES[0].read_bytes()
    return [
        {"array": x, "sampling_rate": audio.SAMPLE_RATE, "path": None},
        {"bytes": content, "path": "a.opus"},
        {"bytes": None, "path": str(EXAMPLES[0])},
        str(EXAMPLES[0]),
    ]


def test_map_function(bundle: Path) -> None:
    add = EmotionMap(bundle, labels="anger,happy")
    expected = emovox.load(bundle).predict(EXAMPLES[0], labels=LABELS)
    rows = [add({"audio": sound, "id": 1}) for sound in kinds_of_sound()]
    for row in rows:
        assert list(row) == ["label", "reason", "confidence", "angry_prob", "happy_prob", "error"]
        assert row["label"] == expected.label
        assert row["angry_prob"] == pytest.approx(expected.scores["angry"], abs=1e-6)
    batch = add(
        {"audio": [*kinds_of_sound(), None, {"bytes": b"no sound", "path": None}], "id": list(range(6))}
    )
    assert [dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True)][:4] == rows
    assert [error is None for error in batch["error"]] == [True] * 4 + [False] * 2
    assert batch["label"][4:] == [None, None]
    assert pickle.loads(pickle.dumps(add))({"audio": str(EXAMPLES[0])}) == rows[3]
    with pytest.raises(ConfigError, match="no column 'audio'"):
        add({"sound": 1})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of datasets
def test_map_of_datasets(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    files = [str(file) for file in EXAMPLES]
    made = datasets.Dataset.from_dict({"audio": files})
    undecoded = made.cast_column("audio", datasets.Audio(decode=False))
    model = emovox.load(bundle)
    expected = [model.predict(file).scores["angry"] for file in files]
    for dataset, options in ((made, {}), (undecoded, {}), (undecoded, {"batched": True, "batch_size": 2})):
        cache = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.arrow")
        found = dataset.map(EmotionMap(bundle), cache_file_name=cache, **options)
        assert np.allclose(found["angry_prob"], expected, atol=1e-9)
        assert found["error"] == [None] * len(files) or list(found["error"]) == [None] * len(files)
