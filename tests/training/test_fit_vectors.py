"""`fit_vectors`: balanced sampling, masked labels, mixup, reproducibility."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from emovox.errors import ConfigError  # noqa: E402
from emovox.nets.vox import VoxConfig, VoxHead  # noqa: E402
from emovox.training.config import TrainingConfig  # noqa: E402
from emovox.training.neural.batches import soft_targets  # noqa: E402
from emovox.training.neural.clips import balanced_weights, label_mask  # noqa: E402
from emovox.training.neural.vectors import VectorSet, fit_vectors  # noqa: E402

QUICK = TrainingConfig(batch_size=16, learning_rate=1e-2, weight_decay=0.0, mixup=0.3, gradient_norm=5.0)
pytestmark = pytest.mark.usefixtures("one_thread")


def clips(
    n: int = 32, d: int = 12, *, n_labels: int = 4, corpora: int = 1, variants: int = 1, seed: int = 0
) -> VectorSet:
    """Random clips, labels and corpora in turn; every corpus can show every label that it has."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_labels
    corpora_of = np.arange(n) // n_labels % corpora
    x = rng.standard_normal((n, d)).astype(np.float32)
    more = [x + 0.05 * rng.standard_normal((n, d)).astype(np.float32) for _ in range(variants - 1)]
    return VectorSet(
        [x, *more], labels, corpora_of, label_mask(labels, corpora_of, n_labels), np.full(n, 1 / n)
    )


def linear(data: VectorSet, n_labels: int, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Linear(data.variants[0].shape[1], n_labels)


def flat(net: Any) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in net.parameters()])


# ------------------------------------------------------------------------------------ balance

_Clips = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), min_size=1, max_size=60)


@given(_Clips, st.lists(st.floats(0.1, 5), min_size=3, max_size=3))
def test_balanced_weights_follow_shares(rows: list[tuple[int, int, bool]], shares: list[float]) -> None:
    labels, corpora, training = (np.array(column) for column in zip(*rows, strict=True))
    share_of = dict(enumerate(shares))
    if not training.any():
        with pytest.raises(ConfigError, match="nothing to train on"):
            balanced_weights(labels, corpora, training, share_of)
        return
    weights = balanced_weights(labels, corpora, training, share_of)
    assert weights.sum() == pytest.approx(1)
    assert not weights[~training].any()
    assert (weights[training] > 0).all()
    present = np.unique(corpora[training])
    total = sum(share_of[c] for c in present)
    for c in present:
        inside = training & (corpora == c)
        assert weights[inside].sum() == pytest.approx(share_of[c] / total)
        sums = [weights[inside & (labels == e)].sum() for e in np.unique(labels[inside])]
        assert sums == pytest.approx([sums[0]] * len(sums))
        for e in np.unique(labels[inside]):
            assert np.ptp(weights[inside & (labels == e)]) < 1e-12


def test_corpus_without_share_has_no_weight() -> None:
    weights = balanced_weights(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.ones(4, bool), {1: 2.0})
    np.testing.assert_allclose(weights, [0, 0, 0.5, 0.5])


@given(_Clips)
def test_label_mask_has_occurring_labels(rows: list[tuple[int, int, bool]]) -> None:
    labels, corpora = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    shown = label_mask(labels, corpora, 5)
    assert shown.shape == (corpora.max() + 1, 5)
    pairs = {(c, e) for e, c, _ in rows}
    assert {(int(c), int(e)) for c, e in zip(*np.nonzero(shown), strict=True)} == pairs


@given(st.integers(0, 4), st.sets(st.integers(0, 4)), st.floats(0, 1))
def test_soft_targets_sum_to_one(label: int, more: set[int], smoothing: float) -> None:
    shown = torch.tensor([[k in more | {label} for k in range(5)]])
    target = soft_targets(torch.tensor([label]), shown, smoothing)
    assert float(target.sum()) == pytest.approx(1, abs=1e-5)
    assert not target[~shown].any()
    n = int(shown.sum())
    assert float(target[0, label]) == pytest.approx(1 - smoothing + smoothing / n, abs=1e-5)


# ------------------------------------------------------------------------------------ statistics


def test_statistics_equal_numpy() -> None:
    rng = np.random.default_rng(4)
    n, d = 50, 7
    variants = [(3e3 + rng.standard_normal((n, d)) * [1, 10, 0.1, 1, 1, 1, 5]).astype(np.float32)] * 2
    variants = [v + k for k, v in enumerate(variants)]
    weights = rng.random(n)
    weights[:10] = 0
    for v in variants:
        v[:10] = 1e30  # never drawn, so it may be anything
        v[:, 3] = 7  # a constant column
    labels = np.zeros(n, np.int64)
    data = VectorSet(variants, labels, labels, np.ones((1, 1), bool), weights / weights.sum())
    mean, deviation = data.statistics()
    rows = np.concatenate([v[10:] for v in variants]).astype(np.float64)
    per_row = np.tile(weights[10:], 2)
    expected = np.average(rows, axis=0, weights=per_row)
    spread = np.sqrt(np.average((rows - expected) ** 2, axis=0, weights=per_row))
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    np.testing.assert_allclose(np.delete(deviation, 3), np.delete(spread, 3), rtol=2e-3)
    assert deviation[3] == 1.0  # constant: not blown up to unit variance
    assert mean.dtype == deviation.dtype == np.float32


# ------------------------------------------------------------------------------------ fitting


def test_net_memorises_32_rows() -> None:
    data = clips(32, 40, variants=2)
    torch.manual_seed(0)
    net = VoxHead(40, VoxConfig(n_labels=4, hidden=32, input_dropout=0.0, dropout=0.0))
    fit_vectors(net, data, replace(QUICK, mixup=0.0), steps=150)
    assert not net.training
    with torch.inference_mode():
        answers = net(torch.from_numpy(data.variants[0])).argmax(1).numpy()
    assert (answers == data.labels).all()


def test_same_seed_gives_same_weights() -> None:
    data = clips(variants=3)
    first, again = (flat(fit_vectors(linear(data, 4), data, QUICK, steps=60)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = flat(fit_vectors(linear(data, 4), data, QUICK, steps=60, seed=1))
    assert np.abs(other - first).max() > 1e-3


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_masked_labels_are_not_trained(mixup: float) -> None:
    # Labels 0 to 3 occur, 4 and 5 do not: their weights must not move at all, not even towards "never".
    data = clips(48, corpora=2)
    data = replace(data, corpus_labels=np.pad(data.corpus_labels, ((0, 0), (0, 2))))
    net = linear(data, 6)
    before = net.weight.detach().clone(), net.bias.detach().clone()
    fit_vectors(net, data, replace(QUICK, mixup=mixup), steps=60)
    for old, new in zip(before, (net.weight, net.bias), strict=True):
        assert torch.equal(old[4:], new[4:])
        assert (old[:4] != new[:4]).any(dim=-1).all()


def test_absent_but_possible_labels_are_trained() -> None:
    # The same clips, but the corpus could have shown all six: now their absence is trained.
    data = replace(clips(48), corpus_labels=np.ones((1, 6), bool))
    net = linear(data, 6)
    before = net.bias.detach().clone()
    fit_vectors(net, data, QUICK, steps=60)
    assert (net.bias[4:] < before[4:] - 0.05).all()


def test_corpus_trains_its_own_labels() -> None:
    labels = np.array([0, 1, 2, 3] * 8)
    corpora_of = labels // 2  # corpus 0 shows labels 0 and 1, corpus 1 shows 2 and 3
    x = np.random.default_rng(0).standard_normal((32, 6)).astype(np.float32)
    weights = balanced_weights(labels, corpora_of, np.ones(32, bool), {0: 1.0})
    data = VectorSet([x], labels, corpora_of, label_mask(labels, corpora_of, 4), weights)
    net = linear(data, 4)
    before = net.weight.detach().clone()
    fit_vectors(net, data, QUICK, steps=60)
    assert torch.equal(before[2:], net.weight[2:])
    assert (before[:2] != net.weight[:2]).all()


def test_mixup_across_corpora_joins_masks() -> None:
    # What is blended shows the labels of both, else half the target would be hidden, at a loss of 30.
    labels = np.array([0, 1, 2, 3] * 8)
    corpora_of = labels // 2
    x = np.random.default_rng(0).standard_normal((32, 6)).astype(np.float32)
    data = VectorSet([x], labels, corpora_of, label_mask(labels, corpora_of, 4), np.full(32, 1 / 32))
    losses: list[float] = []
    mixed = replace(QUICK, mixup=5.0)
    fit_vectors(linear(data, 4), data, mixed, steps=100, progress=lambda step, loss: losses.append(loss))
    assert len(losses) == 1
    assert losses[0] < 2


@pytest.mark.parametrize(("clean", "unused"), [(1.0, 1), (0.0, 0)])
def test_share_of_clean_rows(clean: float, unused: int) -> None:
    data = clips(variants=2)
    data.variants[unused][:] = np.nan
    assert np.isfinite(flat(fit_vectors(linear(data, 4), data, replace(QUICK, clean=clean), steps=60))).all()
    data.variants[1 - unused][:] = np.nan
    assert np.isnan(flat(fit_vectors(linear(data, 4), data, replace(QUICK, clean=clean), steps=60))).any()


def test_rows_of_weight_zero_are_not_drawn() -> None:
    data = clips()
    data.variants[0][:8] = np.nan
    weights = np.where(np.arange(32) < 8, 0, 1 / 24)
    assert np.isfinite(
        flat(fit_vectors(linear(data, 4), replace(data, weights=weights), QUICK, steps=60))
    ).all()


def test_data_is_not_changed() -> None:
    data = clips(variants=2)
    before = [v.copy() for v in data.variants]
    fit_vectors(linear(data, 4), data, QUICK, steps=60)
    for old, new in zip(before, data.variants, strict=True):
        np.testing.assert_array_equal(old, new)


def test_progress_every_hundred_steps() -> None:
    data, calls = clips(), []
    fit_vectors(
        linear(data, 4),
        data,
        replace(QUICK, batch_size=4),
        steps=250,
        progress=lambda step, loss: calls.append((step, loss)),
    )
    assert [step for step, _ in calls] == [100, 200]
    assert all(np.isfinite(loss) and loss > 0 for _, loss in calls)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.1), (10, 0.1), (2, 0.5), (5, 0.0), (20, 0.95)])
def test_short_trainings_change_weights(steps: int, warm_up: float) -> None:
    data = clips()
    net = linear(data, 4)
    before = flat(net)
    fit_vectors(net, data, replace(QUICK, warm_up=warm_up), steps=steps)
    assert np.abs(flat(net) - before).max() > 0


def test_no_steps_are_refused() -> None:
    data = clips()
    with pytest.raises(ConfigError, match="steps is 0; expected at least 1"):
        fit_vectors(linear(data, 4), data, QUICK, steps=0)
