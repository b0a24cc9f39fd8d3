"""Folding label sets: nothing is merged or dropped without being told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.errors import LabelError
from emovox.labels import EMOTIONS, EXTRAS, LABEL_MAPS, LabelMap, label_map

ALL = EMOTIONS + EXTRAS


@pytest.mark.parametrize(("name", "n"), [("9", 9), ("7", 7), ("6", 6), (4, 4)])
def test_a_map_has_as_many_labels_as_it_is_called(name: str | int, n: int) -> None:
    chosen = label_map(name)
    assert len(chosen.labels) == n
    assert all(chosen(label) == label for label in chosen.labels), "what is already new stays"


def test_each_map_can_go_through_the_larger_one() -> None:
    for large, small in (("7", "6"), ("7", "4"), ("6", "4")):
        both = label_map(large).then(label_map(small))
        assert both.pairs == label_map(small).pairs
        assert both.name == f"{large}>{small}"
    assert label_map("9").then(label_map("7"))("excited") is None


def test_what_is_merged_and_dropped_is_reported() -> None:
    labels = ["calm"] * 2 + ["neutral", "Boredom", "ps", "anger"]
    report = label_map("7").report(labels)
    assert report.kept == {"neutral": 3, "angry": 1, "surprise": 1}
    assert report.merged == {"neutral": ("calm", "neutral")}
    assert report.dropped == {"boredom": 1}
    assert list(report.lines()) == [
        "5 clips kept as neutral, angry, surprise",
        "merged into neutral: calm, neutral",
        "dropped: boredom (1 clips)",
    ]


def test_choices_can_be_made_otherwise() -> None:
    strict = label_map("7").but(calm=None, boredom="neutral")
    assert (strict("calm"), strict("boredom"), strict("happy")) == (None, "neutral", "happy")
    assert label_map("7")("calm") == "neutral"
    assert strict.name == "7(calm=None,boredom=neutral)"


def test_only_known_names() -> None:
    with pytest.raises(LabelError, match="there are 9, 7, 6, 4"):
        label_map("5")
    with pytest.raises(LabelError, match="write 'angry'"):
        LabelMap("mine", {"anger": "angry"})
    assert label_map("4")("gleeful") is None
    with pytest.raises(TypeError):
        label_map("4").pairs["fear"] = "sad"  # type: ignore[index]


@given(st.lists(st.sampled_from(ALL)), st.sampled_from(list(LABEL_MAPS)))
def test_every_clip_is_kept_or_dropped(labels: list[str], name: str) -> None:
    report = label_map(name).report(labels)
    assert sum(report.kept.values()) + sum(report.dropped.values()) == len(labels)
    assert set(report.kept) <= set(label_map(name).labels)
