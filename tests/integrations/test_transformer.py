"""`EmovoxTransformer` in scikit-learn: its own checks, pipelines, and the values of the library."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pandas")

import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import emovox
from emovox import audio
from emovox.errors import AudioError, ConfigError
from emovox.integrations import EmovoxTransformer

EXAMPLES = sorted(str(file) for file in (Path(__file__).parents[2] / "examples").glob("*.opus"))


def expect_failures(estimator: EmovoxTransformer) -> dict[str, str]:
    """The data of one check are samples of 100: no sound, and an error unless rows of nan are wanted."""
    fails = {"check_fit_idempotent": "samples of 100"}
    return fails if estimator.on_error == "raise" else {}


@parametrize_with_checks(
    [EmovoxTransformer(), EmovoxTransformer(on_error="nan")], expected_failed_checks=expect_failures
)
def test_check_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def test_rows_equal_extract() -> None:
    expected = emovox.extract(EXAMPLES).values
    transformer = EmovoxTransformer().fit(EXAMPLES)
    assert np.array_equal(transformer.transform(EXAMPLES), expected, equal_nan=True)
    sounds = [audio.read(file) for file in EXAMPLES]
    assert np.array_equal(transformer.transform(sounds), expected, equal_nan=True)
    contents = [Path(file).read_bytes() for file in EXAMPLES]
    assert np.array_equal(transformer.transform(contents), expected, equal_nan=True)
    table = pd.DataFrame({"file": EXAMPLES})
    assert np.array_equal(transformer.transform(table["file"]), expected, equal_nan=True)
    shortest = min(map(len, sounds))
    rows = np.stack([sound[:shortest] for sound in sounds])
    cut = transformer.transform([sound[:shortest] for sound in sounds])
    assert np.array_equal(EmovoxTransformer().fit_transform(rows), cut, equal_nan=True)


def test_embeddings_in_pipeline() -> None:
    model = emovox.load()
    transformer = EmovoxTransformer("embedding").set_output(transform="pandas")
    found = transformer.fit_transform(EXAMPLES)
    assert found.shape == (5, model.embedding_size)
    assert found.columns[0] == "embedding_e0"
    assert found.dtypes.eq("float32").all()
    pipeline = make_pipeline(EmovoxTransformer("embedding"), StandardScaler(), LogisticRegression())
    names = [Path(file).stem for file in EXAMPLES]
    again = pickle.loads(pickle.dumps(pipeline.fit(EXAMPLES, names)))
    assert again.predict(EXAMPLES).tolist() == names
    assert clone(transformer).get_params() == transformer.get_params()


def test_recordings_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    for X in ([EXAMPLES[0], str(bad)], [Path(EXAMPLES[0]).read_bytes(), b"no sound"]):
        with pytest.raises(AudioError):
            EmovoxTransformer().fit(X).transform(X)
        rows = EmovoxTransformer(on_error="nan").fit(X).transform(X)
        assert np.isfinite(rows[0]).any()
        assert np.isnan(rows[1]).all()
    with pytest.raises(AudioError, match=r"bad\.wav"):
        EmovoxTransformer().fit_transform([str(bad)])


def test_wrong_arguments() -> None:
    for wrong in ({"features": "emovox-cor"}, {"features": "seed-lstm"}, {"on_error": "skip"}):
        with pytest.raises(ConfigError):
            EmovoxTransformer(**wrong).fit(EXAMPLES)
    for X in (EXAMPLES[0], [], 3):
        with pytest.raises((ValueError, TypeError)):
            EmovoxTransformer().fit(X)
