"""Words become sentences without being lost or changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.results import Word
from emovox.speech.sentences import MAX_SENTENCE_S, PAUSE_S, split_sentences


def spoken(text: str, *, gap_s: float = 0.1) -> list[Word]:
    """The words of a text, 0.3 s each."""
    step = 0.3 + gap_s
    return [Word(i * step, i * step + 0.3, " " + word) for i, word in enumerate(text.split(" "))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kids are talking. Dogs are sitting.", ["Kids are talking.", "Dogs are sitting."]),
        ("Is it? Yes! Good", ["Is it?", "Yes!", "Good"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Dr. Who met Mr. J. Smith.", ["Dr. Who met Mr. J. Smith."]),
        ("It is 3.5 or so at 10 p.m. or later.", ["It is 3.5 or so at 10 p.m. or later."]),
        ("Well... I know.", ["Well...", "I know."]),
        ("你好。 再见！", ["你好。", "再见！"]),
    ],
)
def test_punctuation_ends_sentences(text: str, expected: list[str]) -> None:
    assert [one.text for one in split_sentences(spoken(text))] == expected


def test_pauses_end_sentences() -> None:
    assert [one.text for one in split_sentences(spoken("no full stop", gap_s=PAUSE_S + 0.1))] == [
        "no",
        "full",
        "stop",
    ]


def test_sentences_are_of_one_speaker() -> None:
    found = split_sentences(spoken("yes no no yes"), ["a", "b", "b", None])
    assert [(one.speaker, one.text) for one in found] == [("a", "yes"), ("b", "no no"), (None, "yes")]


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.floats(0.01, 30), st.sampled_from(["a", "B.", "c?", "Mr.", "…", "。"])),
        max_size=30,
    )
)
def test_words_are_kept(parts: list[tuple[float, float, str]]) -> None:
    words, at = [], 0.0
    for gap_s, length_s, text in parts:
        words.append(Word(at + gap_s, at + gap_s + length_s, " " + text, 0.5))
        at += gap_s + length_s
    found = split_sentences(words)
    assert [word.text for one in found for word in one.words] == [word.text.strip() for word in words]
    for one in found:
        assert one.words
        assert (one.start_s, one.end_s) == (one.words[0].start_s, one.words[-1].end_s)
        assert len(one.words) == 1 or one.end_s - one.start_s <= MAX_SENTENCE_S
