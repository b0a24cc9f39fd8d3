"""The judge is judged: by scikit-learn, by numbers worked out by hand, and by simulation."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.evaluation import metrics as m

LABELS = ["angry", "happy", "neutral", "sad"]
CASES = {
    "random": (LABELS * 25, list(np.random.default_rng(1).choice(LABELS, 100))),
    "absent class": (["angry", "sad"] * 10, list(np.random.default_rng(2).choice(LABELS, 20))),
    "class never predicted": (LABELS * 5, ["angry", "sad"] * 10),
    "constant prediction": (LABELS * 5, ["sad"] * 20),
    "one clip, right": (["sad"], ["sad"]),
    "one clip, wrong": (["sad"], ["angry"]),
    "unbalanced": (["angry"] * 50 + ["sad"], ["angry"] * 49 + ["sad"] * 2),
}


def _probs(n: int, k: int, seed: int = 0) -> np.ndarray:
    table = np.random.default_rng(seed).gamma(0.5, size=(n, k)) + 1e-6
    return table / table.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("case", CASES)
def test_label_scores_equal_scikit_learns(case: str) -> None:
    from sklearn import metrics as sk

    true, pred = CASES[case]
    options = {"labels": LABELS, "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "uar": sk.balanced_accuracy_score(true, pred),
            "wa": sk.accuracy_score(true, pred),
            "macro_f1": sk.f1_score(true, pred, average="macro", **options),
            "weighted_f1": sk.f1_score(true, pred, average="weighted", **options),
        }
        matrix = sk.confusion_matrix(true, pred, labels=LABELS)
        recall = sk.recall_score(true, pred, average=None, labels=LABELS, zero_division=np.nan)
        precision = sk.precision_score(true, pred, average=None, **options)
        f1 = sk.f1_score(true, pred, average=None, **options)
    for name, value in expected.items():
        assert m.METRICS[name](true, pred, labels=LABELS) == pytest.approx(value, abs=1e-12), name
    assert (m.confusion_matrix(true, pred, labels=LABELS) == matrix).all()
    np.testing.assert_allclose(m.recalls(true, pred, labels=LABELS), recall, atol=1e-12)
    np.testing.assert_allclose(m.precisions(true, pred, labels=LABELS), precision, atol=1e-12)
    np.testing.assert_allclose(m.f1_scores(true, pred, labels=LABELS), f1, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_default_labels_are_union(case: str) -> None:
    from sklearn import metrics as sk

    true, pred = CASES[case]
    expected = sk.f1_score(true, pred, average="macro", zero_division=0)
    assert m.macro_f1(true, pred) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_probability_scores_equal_scikit_learns(seed: int) -> None:
    from sklearn import metrics as sk

    true = list(np.random.default_rng(seed).choice(LABELS, 200))
    probs = _probs(200, 4, seed)
    onehot = np.eye(4)[[LABELS.index(t) for t in true]]
    area = [sk.roc_auc_score(onehot[:, c], np.round(probs[:, c], 1)) for c in range(4)]
    rounded = np.round(probs, 1)
    assert m.log_loss(true, probs, labels=LABELS) == pytest.approx(
        sk.log_loss(true, probs, labels=LABELS), abs=1e-12
    )
    assert m.brier(true, probs, labels=LABELS) == pytest.approx(
        sum(sk.brier_score_loss(onehot[:, c], probs[:, c]) for c in range(4)), abs=1e-12
    )
    assert [m.probabilities._auc(rounded[:, c], onehot[:, c] == 1) for c in range(4)] == pytest.approx(
        area, abs=1e-12
    )
    exact = [sk.roc_auc_score(onehot[:, c], probs[:, c]) for c in range(4)]
    np.testing.assert_allclose(m.auc(true, probs, labels=LABELS), exact, atol=1e-12)


def test_probability_scores_on_degenerate_cases() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert m.log_loss(["a", "a"], sure, labels=["a", "b"]) == pytest.approx(0.0, abs=1e-12)
    assert m.log_loss(["a", "b"], sure, labels=["a", "b"]) == pytest.approx(
        -math.log(np.finfo(float).eps) / 2
    )
    assert m.brier(["b", "b"], sure, labels=["a", "b"]) == 2.0
    assert m.ece(["b", "b"], sure, labels=["a", "b"]) == 1.0
    assert m.ece(["a", "a"], sure, labels=["a", "b"]) == 0.0
    assert np.isnan(m.auc(["a", "a"], sure, labels=["a", "b"])).all()


def test_ece_bin_edges() -> None:
    probs = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]
    true = ["a", "b", "a", "b"]
    # bins of 0.1: two clips at 0.9 (half right), one at 0.6 (right), one at 0.7 (right)
    assert m.ece(true, probs, labels=["a", "b"], n_bins=10) == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4)
    table = m.reliability(true, probs, labels=["a", "b"], n_bins=2)
    assert table[1].tolist() == pytest.approx([0.775, 0.75, 4])
    assert table[0, 2] == 0
    assert np.isnan(table[0, :2]).all()
    half = m.reliability(["a"], [[0.5, 0.5]], labels=["a", "b"], n_bins=2)
    assert half[:, 2].tolist() == [1, 0]


@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40),
    st.randoms(),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_order_invariant(pairs, dice) -> None:
    shuffled = pairs[:]
    dice.shuffle(shuffled)
    renamed = {label: f"{n}" for n, label in enumerate(dice.sample(LABELS, 4))}
    for score in m.METRICS.values():
        value = score(*zip(*pairs, strict=True))
        assert 0 <= value <= 1
        assert score(*zip(*shuffled, strict=True)) == pytest.approx(value)
        assert score([renamed[t] for t, _ in pairs], [renamed[p] for _, p in pairs]) == pytest.approx(value)
    if all(t == p for t, p in pairs):
        assert m.uar(*zip(*pairs, strict=True)) == 1


@pytest.mark.parametrize(
    ("true", "pred", "options", "says"),
    [
        (["a"], ["a", "b"], {}, "1 true and 2 predicted"),
        ([], [], {}, "at least one"),
        (["a"], [None], {}, "no label"),
        (["a"], [float("nan")], {}, "no label"),
        ("abc", "abc", {}, "one text"),
        (["a"], ["b"], {"labels": ["a"]}, "'b' is not among"),
        (["a"], ["a"], {"labels": ["a", "a"]}, "none twice"),
    ],
)
def test_impossible_labels_are_refused(true, pred, options, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        m.uar(true, pred, **options)


@pytest.mark.parametrize(
    ("probs", "says"),
    [
        ([[0.5, 0.5, 0.0]], "shape"),
        ([[2.0, -1.0]], "negative"),
        ([[np.nan, 1.0]], "non-finite"),
        ([[0.4, 0.4]], "not logits"),
    ],
)
def test_impossible_probabilities_are_refused(probs, says: str) -> None:
    for score in (m.log_loss, m.brier, m.ece, m.auc):
        with pytest.raises(ValueError, match=says):
            score(["a"], probs, labels=["a", "b"])


def test_risk_coverage_by_hand() -> None:
    curve = m.risk_coverage(np.array([True, False, True, True]), [0.9, 0.6, 0.6, 0.2])
    assert curve.threshold.tolist() == [0.9, 0.6, 0.2]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 1 / 4])
    assert curve.aurc == pytest.approx(0.25 * 0 + 0.5 / 3 + 0.25 / 4)
    assert m.accuracy_at(curve, 1.0) == pytest.approx(0.75)
    assert m.accuracy_at(curve, 0.5) == pytest.approx(2 / 3)
    assert m.accuracy_at(curve, 0.25) == 1


def test_risk_coverage_orders() -> None:
    right = np.random.default_rng(0).random(200) < 0.6
    best = m.risk_coverage(right, right.astype(float) + np.linspace(0, 0.1, 200))
    worst = m.risk_coverage(right, -right.astype(float))
    assert best.aurc < worst.aurc
    assert best.risk[-1] == worst.risk[-1] == pytest.approx(1 - right.mean())
    with pytest.raises(ValueError, match="booleans"):
        m.risk_coverage([1, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="non-finite"):
        m.risk_coverage([True], [np.nan])


# -- speakers --------------------------------------------------------------------------------------


def _clips(dice: np.random.Generator, n_speakers: int, n_clips: int, spread: float = 0.15):
    """Four balanced emotions; each speaker has a skill of their own around 0.6."""
    skill = np.clip(dice.normal(0.6, spread, n_speakers), 0.02, 0.98)
    true = np.tile(np.arange(4), n_clips // 4 * n_speakers)
    who = np.repeat(np.arange(n_speakers), n_clips)
    right = dice.random(true.size) < skill[who]
    pred = np.where(right, true, (true + dice.integers(1, 4, true.size)) % 4)
    return true, pred, who


def test_interval_coverage() -> None:
    dice, hits, n_runs = np.random.default_rng(3), 0, 600
    # The truth: the mean of the clipped skill, on a sample of 10^6.
    truth = float(np.clip(np.random.default_rng(4).normal(0.6, 0.15, 10**6), 0.02, 0.98).mean())
    for run in range(n_runs):
        found = m.speaker_interval(*_clips(dice, 24, 40), "uar", 500, run)
        hits += found.low <= truth <= found.high
    # 0.92 is asked of a nominal 0.95; above 0.985 the interval would be idle.
    assert 0.92 <= hits / n_runs <= 0.985


def test_counted_equals_called_interval() -> None:
    true, pred, who = _clips(np.random.default_rng(5), 12, 8)
    fast = m.speaker_interval(true, pred, who, "uar", 200, 7)
    slow = m.speaker_interval(true, pred, who, lambda t, p: m.uar(t, p, labels=[0, 1, 2, 3]), 200, 7)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high), abs=1e-12)
    assert fast.per_speaker == pytest.approx(slow.per_speaker)
    assert fast.value == pytest.approx(m.uar(true, pred))
    assert fast == m.speaker_interval(true, pred, who, m.uar, 200, 7)
    assert fast != m.speaker_interval(true, pred, who, m.uar, 200, 8)


def test_interval_is_over_speakers() -> None:
    """Saying everything ten times over adds no evidence."""
    true, pred, who = _clips(np.random.default_rng(6), 24, 40)
    once = m.speaker_interval(true, pred, who)
    often = m.speaker_interval(np.tile(true, 10), np.tile(pred, 10), np.tile(who, 10))
    assert (once.low, once.high) == pytest.approx((often.low, often.high))
    assert once.n_clips * 10 == often.n_clips
    wider = m.speaker_interval(true, pred, who, level=0.99)
    assert wider.low < once.low < once.value < once.high < wider.high


def test_few_speakers_no_interval() -> None:
    true, pred, who = _clips(np.random.default_rng(8), 9, 40)
    found = m.speaker_interval(true, pred, who)
    assert found.low is None
    assert found.high is None
    assert len(found.per_speaker) == found.n_speakers == 9
    for n, value in enumerate(found.per_speaker.values()):
        assert value == pytest.approx(m.uar(true[who == n], pred[who == n]))
    assert m.speaker_interval(true, pred, who, min_speakers=5).low is not None
    assert m.speaker_interval(["a"], ["a"], ["x"], min_speakers=1).low is None
    assert found.to_dict()["value"] == found.value


def test_student_t_equals_scipys() -> None:
    from scipy import stats

    for p in (0.6, 0.9, 0.975, 0.995):
        for dof in (1, 2, 5, 23, 200):
            ours = m.speakers._student_t(p, dof)
            assert ours == pytest.approx(stats.t.ppf(p, dof), rel=1e-4), (p, dof)


def test_paired_difference_is_sharper() -> None:
    dice = np.random.default_rng(9)
    true, a, who = _clips(dice, 24, 40, spread=0.2)
    b = np.where(dice.random(true.size) < 0.06, (true + 1) % 4, a)
    found = m.paired_difference(true, a, b, who)
    one, two = m.speaker_interval(true, a, who), m.speaker_interval(true, b, who)
    assert one.low < two.high, "alone, the two overlap"
    assert 0 < found.low < found.value < found.high
    assert found.p_value < 0.01
    assert found.value == pytest.approx(one.value - two.value)
    back = m.paired_difference(true, b, a, who)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    same = m.paired_difference(true, a, a, who)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert m.paired_difference(["a"], ["a"], ["b"], ["x"]).low is None


def test_paired_test_false_alarms() -> None:
    dice, alarms, n_runs = np.random.default_rng(10), 0, 200
    for run in range(n_runs):
        true, a, who = _clips(dice, 24, 24)
        swap = dice.random(true.size) < 0.5
        other = np.where(dice.random(true.size) < 0.6, true, (true + 1) % 4)
        first, second = np.where(swap, a, other), np.where(swap, other, a)
        alarms += m.paired_difference(true, first, second, who, n=300, seed=run).p_value < 0.05
    assert alarms / n_runs <= 0.10


@pytest.mark.parametrize("n_speakers", [10, 24])
def test_p_value_agrees_with_interval(n_speakers: int) -> None:
    from scipy import stats

    for tail in (1e-4, 0.01, 0.0249, 0.2, 0.5):
        t = stats.norm.isf(tail) * ((n_speakers - 1) / n_speakers) ** 0.5
        expected = 2 * stats.t.sf(t, n_speakers - 1)
        assert m.speakers._two_sided_p(tail, n_speakers) == pytest.approx(expected, rel=1e-4)
    dice, alarms, n_runs = np.random.default_rng(11), 0, 200
    for run in range(n_runs):
        true, a, who = _clips(dice, n_speakers, 16, spread=0.15)
        b = _clips(dice, n_speakers, 16, spread=0.15)[1]
        found = m.paired_difference(true, a, b, who, n=1000, seed=run)
        alarms += found.p_value < 0.05
        if abs(found.p_value - 0.05) > 0.01:  # nearer, one resample decides
            assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
    assert 0.0 < alarms / n_runs <= 0.10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"speakers": ["x"]}, "1 speakers for 2 clips"),
        ({"metric": "accuracy"}, "unknown metric"),
        ({"n": 10}, "100 resamples"),
        ({"level": 1.0}, "level"),
        ({"y_pred": ["a"]}, "2 true and 1"),
        ({"labels": ["a"]}, "not among"),
    ],
)
def test_impossible_bootstraps_are_refused(change, says: str) -> None:
    call = {"y_true": ["a", "b"], "y_pred": ["a", "b"], "speakers": ["x", "y"]} | change
    with pytest.raises(ValueError, match=says):
        m.speaker_interval(**call)


def test_group_scores_and_gap() -> None:
    true, pred, who = ["a", "b", "a", "b", "a"], ["a", "b", "a", "a", "b"], ["s", "t", "s", "t", "u"]
    table, gap = m.group_intervals(true, pred, who, ["f", "f", "m", "m", None])
    assert {name: one.value for name, one in table.items()} == {"f": 1.0, "m": 0.5, None: 0.0}
    assert gap is not None
    assert (gap.value, gap.low, gap.high, gap.p_value) == (0.5, None, None, None), "too few speakers"
    assert m.group_intervals(true, pred, who, [None] * 5)[1] is None
    with pytest.raises(ValueError, match="2 groups and 5 speakers for 5"):
        m.group_intervals(true, pred, who, ["f", "m"])
    with pytest.raises(ValueError, match="unknown metric"):
        m.group_intervals(true, pred, who, ["f"] * 5, "no such")


def test_gap_interval() -> None:
    rng = np.random.default_rng(8)
    true, _, who = _clips(rng, 24, 40)
    group = ["f" if speaker % 2 else "m" for speaker in who]

    def predict(accuracy: dict[str, float]) -> np.ndarray:
        right = rng.random(true.size) < [accuracy[g] for g in group]
        return np.where(right, true, (true + 1) % 4)

    for accuracy, differs in (({"f": 0.9, "m": 0.4}, True), ({"f": 0.6, "m": 0.6}, False)):
        table, gap = m.group_intervals(true, predict(accuracy), who, group)
        assert gap is not None
        assert gap.low is not None
        assert (gap.low > 0) is differs
        assert gap.low < gap.value < gap.high
        for one in table.values():
            assert one.n_speakers == 12
            assert one.low < one.value < one.high


def test_numpy_alone() -> None:
    code = (
        "import sys, emovox.evaluation.metrics;"
        "heavy = {'scipy', 'sklearn', 'pandas', 'torch', 'onnxruntime'};"
        "assert not heavy & {m.partition('.')[0] for m in sys.modules};"
        "ours = {m for m in sys.modules if m.startswith('emovox.')} - {'emovox._arrays'};"
        "assert all(m.startswith('emovox.evaluation') for m in ours), ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recall_intervals_by_class() -> None:
    true, pred, who = _clips(np.random.default_rng(3), 12, 40)
    found = m.recall_intervals(true, pred, who, 200)
    labels = sorted(set(true))
    assert [found[name].value for name in labels] == pytest.approx(m.recalls(true, pred).tolist())
    own = [i for i, label in enumerate(true) if label == labels[0]]
    alone = m.speaker_interval(*([x[i] for i in own] for x in (true, pred, who)), "wa", 200)
    assert found[labels[0]] == alone
    assert alone.low < alone.value < alone.high
    few = m.recall_intervals(["a", "b"], ["a", "a"], ["x", "x"])
    assert (few["a"].low, few["b"].value) == (None, 0.0)
    with pytest.raises(ValueError, match="got 1 speakers for 2 clips"):
        m.recall_intervals(["a", "b"], ["a", "a"], ["x"])
