"""Configs: every key is known or refused with the nearest, what is saved reads back to the same."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.errors import ConfigError
from emovox.training.config import Config, read_comparison, read_config, to_yaml

pytest.importorskip("yaml")


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_and_changes_on_top(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "name: mine\ndata: [corpora/a, corpora/b]\nlabels: 4\nmodel:\n  name: svc\n  params: {C: 1e-3}\n",
    )
    config = read_config(path, ["model.params.gamma=scale", "seed=7", "features.overrides.mfcc.n_mfcc=13"])
    assert (config.name, config.data, config.labels) == ("mine", ("corpora/a", "corpora/b"), "4")
    assert config.model.params == {"C": 0.001, "gamma": "scale"}, "1e-3 is a number, as YAML 1.2 has it"
    assert config.features.overrides == {"mfcc.n_mfcc": 13}, "below a field of free keys, a dot is a letter"
    assert (config.seed, config.model.clip) == (7, 8.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("seeed=1", "did you mean 'seed'"),
        ("modle.name=svc", "did you mean 'model.name'"),
        ("model.nmae=svc", "did you mean 'model.name'"),
        ("draws=3", "did you mean 'tune.draws'"),
        ("C=3", "model.params.C"),
        ("seed.x=3", "has nothing inside"),
        ("seed=1.5", "seed is 1.5; expected a whole number"),
        ("seed=true", "expected a whole number"),
        ("seed=-1", "seed is -1; expected 0 to 4294967295"),
        ("seed=4294967296", "expected 0 to 4294967295"),
        ("model.clip=.inf", "expected a finite number"),
        ("model.params=3", "expected keys and values"),
        ("tune.method=optima", "did you mean 'optuna'"),
        ("model.kind=nett", "expected one of classical"),
        ("model.select.count=3", "'model.select.method' is missing"),
        ("data=3", "expected a list"),
        ("seed", "expected key=value"),
        ("name=[", "not YAML"),
    ],
)
def test_a_typo_is_refused_with_what_was_meant(change: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(None, [change])
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trian: 3\n", "unknown setting 'trian'"),
        ("model: {naem: svc}\n", "did you mean 'model.name'"),
        ("seed: 1\nseed: 2\n", "'seed' occurs twice"),
        ("[1, 2]\n", "expected keys and values"),
        ("model: svc\n", "expected keys and values"),
        ("a: &x [*x]\nseed: 1\n", "unknown setting 'a'"),
        ("!!python/object/apply:os.getcwd []\n", "not YAML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text))
    assert told in str(caught.value)


def test_no_such_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no config"):
        read_config(tmp_path / "no.yaml")
    assert read_config(written(tmp_path, "")) == Config()


words = st.text(
    string.ascii_letters + string.digits + " .:#-_ñ'\"", min_size=1, max_size=12
) | st.sampled_from(
    ["1e3", "no", "~", "2026-11-21", "0x1f", "0o7", "1_000", "12:30", ".5", "true", "null", "-"]
)
free = st.dictionaries(words, st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | words)


@given(name=words, data=st.lists(words, max_size=3), params=free, seed=st.integers(0, 10**9))
def test_what_is_saved_reads_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: list[str], params: dict[str, object], seed: int
) -> None:
    from emovox.training.config import ClassicalModel

    config = Config(name=name, data=tuple(data), model=ClassicalModel(params=params), seed=seed)
    path = written(tmp_path_factory.mktemp("config"), to_yaml(config))
    assert read_config(path) == config


def test_a_comparison_has_its_own_keys(tmp_path: Path) -> None:
    config = read_comparison(None, ["models=[svc, lda]", "params.svc={C: 3}", "search=svc"])
    assert config.models == ("svc", "lda")
    assert config.params == {"svc": {"C": 3}}
    assert config.search == ("svc",)
    assert read_comparison(written(tmp_path, to_yaml(config))) == config
    with pytest.raises(ConfigError, match="did you mean 'protocols'"):
        read_comparison(None, ["protocol=emobox"])
    with pytest.raises(ConfigError, match="seed is -1; expected 0 to"):
        read_comparison(None, ["seed=-1"])


def test_seven_classifiers_of_the_seeds() -> None:
    pytest.importorskip("sklearn")
    from emovox.training.cross_validation import expand_comparison

    comparison = read_comparison(Path(__file__).parents[2] / "configs" / "seed-seven.yaml")
    systems = expand_comparison(comparison)
    names = [system.name.removesuffix(" on seed-full") for system in systems]
    seven = ["mlp", "gradient-boosting", "svc", "random-forest", "knn", "bagging", "adaboost"]
    assert names == seven
    assert all(system.search for system in systems)
    selected = {
        name: system.trainer.config.model.select.method
        for name, system in zip(names, systems, strict=True)
        if system.trainer.config.model.select is not None
    }
    assert selected == {"gradient-boosting": "catboost", "adaboost": "catboost"}
