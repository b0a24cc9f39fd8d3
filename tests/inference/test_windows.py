"""Windows share out all sound, whatever the chunks; their scores become segments of speech only."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.audio import SAMPLE_RATE
from emovox.inference.segments import (
    GAP_S,
    HYSTERESIS,
    MIN_SEGMENT_S,
    SMOOTHING_S,
    MeanPool,
    SegmentBuilder,
    Smoother,
    choose_label,
)
from emovox.inference.windows import FRAME, NEW_SHARE, AudioWindow, Windower
from emovox.results import Segment

LABELS = ("happy", "sad", "angry")


def sound(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


def speech(n_frames: int, seed: int = 0) -> np.ndarray:
    """Runs of speech and silence, each about half a second."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.random(n_frames // 15 + 1) < 0.6, 15)[:n_frames]


def levels(n: int) -> np.ndarray:
    """Noise that is loud or 60 dB softer for about a quarter of a second."""
    rng = np.random.default_rng(1)
    loud = np.repeat(rng.random(n // 4000 + 1) < 0.5, 4000)[:n]
    return (rng.normal(0, 0.1, n) * np.where(loud, 1, 0.001)).astype(np.float32)


def cut_whole(
    n: int,
    *,
    window: int,
    hop: int,
    least: int = 0,
    confirm: bool = False,
    sizes: Sequence[int] = (),
) -> list[AudioWindow]:
    """Cut ``n`` samples, pushed in chunks of ``sizes`` (cycled), with flags as a detector gives them."""
    cutter = Windower(window=window, hop=hop, least=least, confirm=confirm)
    x, flags = sound(n), speech(-(-n // FRAME))
    if confirm:
        x = levels(n)
    cuts: list[AudioWindow] = []
    at = i = 0
    while at < n:
        end = min(n, at + sizes[i % len(sizes)]) if sizes else n
        cuts += cutter.push(x[at:end], flags[at // FRAME : end // FRAME])
        at, i = end, i + 1
    assert cutter.n == n
    return cuts + cutter.flush(flags[n // FRAME :])


def same(a: AudioWindow, b: AudioWindow) -> bool:
    return (
        (a.start, a.end, a.speech, a.first_frame) == (b.start, b.end, b.speech, b.first_frame)
        and np.array_equal(a.flags, b.flags)
        and (a.sound is None) == (b.sound is None)
        and (a.sound is None or b.sound is None or np.array_equal(a.sound, b.sound))
    )


sizes = st.lists(st.integers(1, 40_000), min_size=1, max_size=6)
grids = st.tuples(st.integers(1600, 50_000), st.floats(0.05, 1)).map(
    lambda g: {"window": g[0], "hop": max(1600, int(g[0] * g[1]))}
)


# ------------------------------------------------------------------------------------------ cutting


@given(n=st.integers(0, 120_000), grid=grids, least=st.integers(0, 8000), confirm=st.booleans(), sizes=sizes)
def test_windows_ignore_chunking(
    n: int, grid: dict[str, int], least: int, confirm: bool, sizes: list[int]
) -> None:
    whole = cut_whole(n, **grid, least=least, confirm=confirm)
    chunked = cut_whole(n, **grid, least=least, confirm=confirm, sizes=sizes)
    assert len(whole) == len(chunked)
    assert all(same(a, b) for a, b in zip(whole, chunked, strict=True))


@given(n=st.integers(1, 120_000), grid=grids)
def test_windows_end_at_hops(n: int, grid: dict[str, int]) -> None:
    window, hop = grid["window"], grid["hop"]
    ends = list(range(hop, n + 1, hop))
    new = n - (ends[-1] if ends else 0)
    if not ends or new >= NEW_SHARE * hop:
        ends.append(n)
    cuts = [cut for cut in cut_whole(n, **grid) if cut.sound is not None]
    flags = speech(-(-n // FRAME))
    assert [cut.end for cut in cuts] == ends
    for cut in cuts:
        assert cut.start == max(0, cut.end - window)
        np.testing.assert_array_equal(cut.sound, sound(n)[cut.start : cut.end])
        # The last window has the flag of a last, partial frame as well.
        end = cut.end if cut in cuts[:-1] or cut.end % hop == 0 else math.ceil(n / FRAME) * FRAME
        inside = [k for k in range(len(flags)) if cut.start <= k * FRAME and (k + 1) * FRAME <= end]
        assert cut.speech == pytest.approx(flags[inside].mean() if inside else 0)
        places = [k * FRAME for k in inside if flags[k]]
        expected = (0, cut.end - cut.start)
        if places:
            expected = places[0] - cut.start, min(places[-1] + FRAME, cut.end) - cut.start
        assert cut.speech_span == expected


@given(n=st.integers(1, 120_000), grid=grids, least=st.integers(0, 8000))
def test_cells_partition_frames(n: int, grid: dict[str, int], least: int) -> None:
    cuts = cut_whole(n, **grid, least=least)
    at = 0
    for cut in cuts:
        assert cut.first_frame == at
        at += len(cut.flags)
    assert at == math.ceil(n / FRAME)
    np.testing.assert_array_equal(np.concatenate([cut.flags for cut in cuts]), speech(at))


@given(n=st.integers(60_000, 200_000), grid=grids)
def test_frame_belongs_to_nearest_window(n: int, grid: dict[str, int]) -> None:
    cuts = [cut for cut in cut_whole(n, **grid) if cut.sound is not None]
    full = cuts[: -1 if cuts[-1].end % grid["hop"] else None]  # a last, partial window has an odd centre
    centres = np.array([(cut.start + cut.end) / 2 for cut in full])
    for cut, centre in zip(full[:-1], centres[:-1], strict=True):
        for k in range(cut.first_frame, cut.first_frame + len(cut.flags)):
            distance = np.abs(centres - (k + 0.5) * FRAME)
            assert abs(centre - (k + 0.5) * FRAME) <= distance.min() + FRAME
            assert (k + 1) * FRAME <= cut.end  # causal: the cell has been heard when the window ends


@given(n=st.integers(1, 120_000), grid=grids)
def test_confirmed_cells_partition_frames(n: int, grid: dict[str, int]) -> None:
    cuts = cut_whole(n, **grid, confirm=True)
    found = np.concatenate([cut.flags for cut in cuts])
    assert len(found) == math.ceil(n / FRAME)
    assert not (found & ~speech(len(found))).any()


def test_silence_of_window_is_no_speech() -> None:
    x = np.concatenate([levels(4000) * 0, 1e-4 * np.sin(np.arange(28_000)), 0.1 * np.sin(np.arange(16_000))])
    cutter = Windower(window=48_000, hop=16_000, confirm=True)
    windows = cutter.push(x.astype(np.float32), np.ones(100, np.bool_)) + cutter.flush(np.zeros(0, np.bool_))
    assert [window.n_speech for window in windows[:2]] == [0, 0]
    assert windows[2].speech == pytest.approx(16_000 / 48_000, abs=0.02)
    assert windows[2].speech_span[0] == pytest.approx(32_000, abs=FRAME)


def test_short_first_window_has_empty_cell() -> None:
    cuts = cut_whole(20_000, window=32_000, hop=1600, least=8000)
    assert [len(cut.flags) for cut in cuts[:4]] == [0, 0, 0, 0]
    assert cuts[4].end == 8000
    assert cuts[4].first_frame == 0
    assert len(cuts[4].flags) == (0 + 8000 + 0 + 9600) // 4 // FRAME


@pytest.mark.parametrize("flags", [[0, 1, 1, 0, 1, 0, 0], [1] * 7, [0] * 7, [0, 0, 0, 0, 0, 0, 1]])
def test_window_names_its_speech(flags: list[int]) -> None:
    cutter = Windower(window=5 * FRAME, hop=2 * FRAME)
    windows = cutter.push(sound(6 * FRAME + 100), np.array(flags[:6], np.bool_))
    windows += cutter.flush(np.array(flags[6:], np.bool_))
    for window in windows:
        if window.sound is None:
            continue
        places = [k * FRAME for k in range(7) if flags[k] and window.start <= k * FRAME < window.end]
        expected = (0, window.end - window.start)
        if places:
            expected = places[0] - window.start, min(places[-1] + FRAME, window.end) - window.start
        assert window.speech_span == expected


def test_windows_share_no_memory() -> None:
    cutter = Windower(window=3200, hop=1600)
    chunk = sound(3200)
    first, second = cutter.push(chunk, speech(6))
    chunk[:] = -1
    assert first.sound is not None
    assert second.sound is not None
    first.sound[:] = -2
    np.testing.assert_array_equal(second.sound, sound(3200))


def test_windower_memory_is_bounded() -> None:
    cutter = Windower(window=48_000, hop=16_000)
    block, flags = np.zeros(160_000, np.float32), np.ones(160_000 // FRAME + 1, np.bool_)
    grown = set()
    for i in range(720):
        fresh = (i + 1) * 160_000 // FRAME - i * 160_000 // FRAME
        cutter.push(block, flags[:fresh])
        grown.add(len(pickle.dumps(cutter)) // 1000)
    assert max(grown) < 300
    assert max(grown) - min(grown) <= 10


@pytest.mark.parametrize(("window", "hop"), [(10, 11), (10, 0), (0, 0)])
def test_hop_above_window_is_refused(window: int, hop: int) -> None:
    with pytest.raises(ValueError, match="hop"):
        Windower(window=window, hop=hop)


# ------------------------------------------------------------------------------------------ scores


def test_smoothing_time_constant() -> None:
    for hop_s in (0.1, 0.5, 1.0):
        smoother = Smoother(hop_s)
        smoother.push(np.array([0.0, 1.0]))
        out = [smoother.push(np.array([1.0, 0.0])) for _ in range(20)]
        expected = [1 - math.exp(-(i + 1) * hop_s / SMOOTHING_S) for i in range(20)]
        np.testing.assert_allclose([y[0] for y in out if y is not None], expected)
    assert smoother.push(None) is None
    np.testing.assert_array_equal(smoother.push(np.array([0.3, 0.7])), [0.3, 0.7])


scores3 = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda p: np.array(p) / sum(p))


@given(scores=scores3, before=st.sampled_from([None, 0, 1, 2]), threshold=st.floats(0, 1))
def test_label_hysteresis(scores: np.ndarray, before: int | None, threshold: float) -> None:
    label = choose_label(before, scores, threshold)
    top = int(scores.argmax())
    assert label in (None, before, top)
    if label is None:
        assert scores[top] < threshold
    elif label == top:
        assert scores[top] >= threshold - HYSTERESIS
    else:
        assert scores[before] >= scores[top] - HYSTERESIS
    assert choose_label(label, scores, threshold) == label  # the same scores again change nothing


def cell(first: int, flags: Sequence[int], *, goes_on: bool = False) -> AudioWindow:
    marks = np.array(flags, np.bool_)
    return AudioWindow(0, 0, None if goes_on else np.zeros(1, np.float32), 1.0, first, marks)


@given(st.lists(st.tuples(scores3 | st.none(), st.integers(0, 30)), min_size=1, max_size=10))
def test_pool_is_speech_weighted_mean(windows: list[tuple[np.ndarray | None, int]]) -> None:
    pool = MeanPool()
    for scores, n in windows:
        pool.push(cell(0, [1] * n + [0] * 3), scores)
    judged = [(scores, n) for scores, n in windows if scores is not None]
    if not sum(n for _, n in judged):
        assert pool.scores is None
    else:
        expected = np.average([s for s, _ in judged], axis=0, weights=[n for _, n in judged])
        np.testing.assert_allclose(pool.scores, expected)


def test_pool_counts_last_cell() -> None:
    pool = MeanPool()
    pool.push(cell(0, [1]), np.array([1.0, 0.0]))
    pool.push(cell(1, [1]), np.array([0.0, 1.0]))
    pool.push(cell(2, [1, 1], goes_on=True), None)
    np.testing.assert_allclose(pool.scores, [0.25, 0.75])
    pool.push(cell(4, [1] * 9), None)
    pool.push(cell(5, [1] * 9, goes_on=True), None)
    np.testing.assert_allclose(pool.scores, [0.25, 0.75])


# ------------------------------------------------------------------------------------------ segments


def glued(
    cells: Sequence[tuple[np.ndarray | None, Sequence[int]]], *, hop_s: float = 1.0, threshold: float = 0.0
) -> list[Segment]:
    glue = SegmentBuilder(LABELS, hop_s=hop_s, threshold=threshold)
    segments: list[Segment] = []
    at = 0
    for scores, flags in cells:
        segments += glue.push(cell(at, flags), scores)
        at += len(flags)
    return segments + glue.flush(at * FRAME)


def certain(label: str, p: float = 0.9) -> np.ndarray:
    return np.array([p if name == label else (1 - p) / 2 for name in LABELS])


HAPPY, SAD, ANGRY = (certain(name) for name in LABELS)
UNSURE = np.array([0.34, 0.33, 0.33])


def told(segments: list[Segment]) -> list[tuple[int, int, str | None]]:
    """Segments in frames."""
    return [
        (round(s.start_s * SAMPLE_RATE / FRAME), round(s.end_s * SAMPLE_RATE / FRAME), s.label)
        for s in segments
    ]


cell_lists = st.lists(
    st.tuples(st.none() | scores3 | st.sampled_from([HAPPY, SAD]), st.lists(st.booleans(), max_size=40)),
    max_size=15,
)
run_cells = st.lists(
    st.tuples(
        st.none() | st.sampled_from([HAPPY, SAD, ANGRY, UNSURE]),
        st.lists(st.tuples(st.booleans(), st.integers(1, 20)), max_size=4).map(
            lambda runs: [int(on) for on, n in runs for _ in range(n)]
        ),
    ),
    max_size=15,
)


@settings(max_examples=300)
@given(cells=cell_lists | run_cells, hop_s=st.sampled_from([0.1, 1.0]), threshold=st.sampled_from([0.0, 0.5]))
def test_segments_cover_scored_speech(
    cells: list[tuple[np.ndarray | None, list[int]]], hop_s: float, threshold: float
) -> None:
    segments = told(glued(cells, hop_s=hop_s, threshold=threshold))
    judged = np.concatenate(
        [np.array(flags, bool) & (p is not None) for p, flags in cells] or [np.zeros(0, bool)]
    )
    covered = np.zeros(len(judged), int)
    for start, end, _ in segments:
        assert judged[start]
        assert judged[end - 1]
        covered[start:end] += 1
        gaps = np.diff(np.flatnonzero(judged[start:end])) - 1
        assert not len(gaps) or gaps.max() * FRAME / SAMPLE_RATE <= GAP_S + 1e-9
    assert (covered[judged] == 1).all()
    assert (covered <= 1).all()
    for (_, end, label), (start, _, other) in pairwise(segments):
        assert start >= end
        if (start - end) * FRAME / SAMPLE_RATE <= GAP_S:
            assert label != other


@given(cells=run_cells, threshold=st.sampled_from([0.0, 0.5]))
def test_segment_scores_are_probabilities(
    cells: list[tuple[np.ndarray | None, list[int]]], threshold: float
) -> None:
    for segment in glued(cells, threshold=threshold):
        assert sum(segment.scores.values()) == pytest.approx(1, abs=1e-9)
        if segment.label is None:
            assert segment.reason == "uncertain"
            assert segment.confidence == max(segment.scores.values())
        else:
            assert segment.reason is None
            assert segment.confidence == segment.scores[segment.label]


def test_equal_labels_merge() -> None:
    on = [1] * 30
    assert told(glued([(HAPPY, on), (HAPPY, on), (SAD, on), (SAD, on)])) == [
        (0, 60, "happy"),
        (60, 120, "sad"),
    ]


def test_only_long_pauses_split() -> None:
    breath = math.floor(GAP_S * SAMPLE_RATE / FRAME)
    assert told(glued([(HAPPY, [1] * 20 + [0] * breath + [1] * 20)])) == [(0, 40 + breath, "happy")]
    pause = breath + 1
    assert told(glued([(HAPPY, [1] * 20 + [0] * pause + [1] * 20)])) == [
        (0, 20, "happy"),
        (20 + pause, 40 + pause, "happy"),
    ]


def test_segments_are_trimmed() -> None:
    assert told(glued([(HAPPY, [0] * 7 + [1] * 20 + [0] * 6), (HAPPY, [0] * 30)])) == [(7, 27, "happy")]


def test_segments_come_when_final() -> None:
    glue = SegmentBuilder(LABELS, hop_s=1.0)
    assert glue.push(cell(0, [1] * 30), HAPPY) == []
    assert [s.label for s in glue.push(cell(30, [1] * 30), SAD)] == ["happy"]
    assert [s.label for s in glue.push(cell(60, [0] * 30), SAD)] == ["sad"]
    assert glue.flush(90 * FRAME) == []


def test_short_spans_are_absorbed() -> None:
    scrap = [1] * (math.ceil(MIN_SEGMENT_S * SAMPLE_RATE / FRAME) - 1)
    on = [1] * 30
    assert told(glued([(HAPPY, on), (SAD, scrap), (HAPPY, on)]))[0][:2] == (0, 60 + len(scrap))
    # after a pause, a scrap takes the label of what follows
    assert told(glued([(None, [0] * 20), (HAPPY, [0] * 20 + scrap), (SAD, on), (SAD, on)])) == [
        (40, 100 + len(scrap), "sad")
    ]


def test_short_hops_change_label() -> None:
    small = [1, 1, 1, 1]
    segments = told(glued([(HAPPY, small)] * 20 + [(SAD, small)] * 60, hop_s=0.12))
    assert [label for _, _, label in segments] == ["happy", "sad"]
    assert segments[1][0] == segments[0][1]
    turned_s = (segments[0][1] - 80) * FRAME / SAMPLE_RATE
    assert 0 < turned_s < 1.5 * SMOOTHING_S  # the smoothing's delay, and no more


def test_labels_do_not_flicker() -> None:
    """Two labels a hair apart, swapping at each window: one segment."""
    a, b = np.array([0.47, 0.43, 0.1]), np.array([0.43, 0.47, 0.1])
    assert len(glued([(p, [1] * 30) for p in (a, b, a, b, b, a)])) == 1
    (segment,) = glued([(p, [1] * 30) for p in (a, b, b, b)])
    assert segment.label == "happy"
    assert segment.confidence == segment.scores["happy"] < segment.scores["sad"]


def test_uncertain_segments_merge() -> None:
    on = [1] * 30
    segments = glued([(UNSURE, on), (UNSURE[::-1], on), (HAPPY, on), (HAPPY, on)], threshold=0.6)
    assert [(s.label, s.reason) for s in segments] == [(None, "uncertain"), ("happy", None)]


def test_silence_resets_label() -> None:
    """After a window without speech the next voice starts with its own scores."""
    on, off = [1] * 30, [0] * 30
    first, second = glued([(HAPPY, on), (None, off), (SAD, on)])
    assert (first.label, second.label) == ("happy", "sad")
    assert second.scores == pytest.approx(dict(zip(LABELS, SAD, strict=True)))


def test_last_segment_ends_with_sound() -> None:
    glue = SegmentBuilder(LABELS, hop_s=1.0, file="a.wav", channel=1)
    glue.push(cell(0, [1] * 10), HAPPY)
    glue.push(cell(10, [1] * 10, goes_on=True), None)
    (segment,) = glue.flush(20 * FRAME - 100)
    assert segment.end_s == (20 * FRAME - 100) / SAMPLE_RATE
    assert (segment.file, segment.channel) == ("a.wav", 1)
