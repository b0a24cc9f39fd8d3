"""Join the words of a speech recogniser to sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emovox.results import TranscriptSegment, Word

__all__ = ["MAX_SENTENCE_S", "split_sentences"]

PAUSE_S = 0.7
"""A longer pause ends a sentence, whatever its punctuation: Whisper does not always write any."""

MAX_SENTENCE_S = 20.0
"""A sentence that lasts longer is cut before its next word, since its emotion may change."""

_END = re.compile(r"[.!?…。！？؟।։]+[\"'”’»)\]]*$")
_ABBREVIATION = re.compile(
    r"(?:^|\W)(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|Nr|Hr|Fr|bzw|ca|usw|e\.g|i\.e|z\.B|d\.h)\.$"
)
"""One letter, and titles and the like: their full stop ends no sentence."""


def split_sentences(
    words: Sequence[Word], speakers: Sequence[str | None] | None = None
) -> list[TranscriptSegment]:
    """Join words to sentences, which end at punctuation, at a pause, or where the speaker changes.

    Args:
        words: in the order of time; a text begins with a space where one belongs before it.
        speakers: of each word; ``None`` if speakers are not known.

    Returns:
        Sentences that begin and end with their words. The texts of their words have no spaces around them.
    """
    found: list[TranscriptSegment] = []
    first = 0
    for i, word in enumerate(words):
        following = words[i + 1] if i + 1 < len(words) else None
        if following is not None and not (
            _ends_sentence(word, following)
            or following.start_s - word.end_s > PAUSE_S
            or following.end_s - words[first].start_s > MAX_SENTENCE_S
            or (speakers is not None and speakers[i] != speakers[i + 1])
        ):
            continue
        inside = words[first : i + 1]
        found.append(
            TranscriptSegment(
                start_s=inside[0].start_s,
                end_s=max(one.end_s for one in inside),
                text="".join(one.text for one in inside).strip(),
                speaker=None if speakers is None else speakers[i],
                words=tuple(
                    Word(one.start_s, one.end_s, one.text.strip(), one.probability) for one in inside
                ),
            )
        )
        first = i + 1
    return found


def _ends_sentence(word: Word, following: Word) -> bool:
    text = word.text.strip()
    if not _END.search(text) or _ABBREVIATION.search(text):
        return False
    return not following.text.strip()[:1].islower()  # "10 p.m. or so"
