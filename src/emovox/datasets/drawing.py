"""Who is drawn by lot? Speakers, sexes in turn, and clips by emotion: the same ones for the same seed."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from emovox.datasets.manifest import Utterance

__all__ = ["drawn_clips", "homes", "in_turn", "validation_speakers"]


def validation_speakers(pool: Sequence[Utterance], share: float, seed: int) -> set[str]:
    """About ``share`` of each corpus's speakers, at least one; none of a corpus with fewer than three, unless
    all corpora are that small: then they are drawn from together."""
    groups = list(homes(pool).values())
    if all(len(speakers) < 3 for speakers in groups):
        groups = [[speaker for speakers in groups for speaker in speakers]]
    drawn: set[str] = set()
    for speakers in groups:
        if len(speakers) >= 3:
            n = min(max(1, round(share * len(speakers))), len(speakers) - 1)
            drawn.update(in_turn(speakers, pool, seed)[:n])
    return drawn


def homes(utterances: Iterable[Utterance]) -> Mapping[str, list[str]]:
    """Speakers by the first corpus, by name, in which they speak: a person is counted once."""
    home: dict[str, str] = {}
    for u in utterances:
        home[u.speaker] = min(home.get(u.speaker, u.corpus), u.corpus)
    groups: dict[str, list[str]] = defaultdict(list)
    for speaker, corpus in sorted(home.items()):
        groups[corpus].append(speaker)
    return dict(sorted(groups.items()))


def in_turn(speakers: Sequence[str], utterances: Iterable[Utterance], seed: int) -> list[str]:
    """The speakers in an order that chance decides but the same seed repeats, sexes taking turns."""
    sex = {u.speaker: u.sex or "" for u in sorted(utterances, key=lambda u: (u.speaker, u.sex or ""))}
    lots = sorted(
        speakers, key=lambda s: hashlib.sha256(f"{seed}:{s}".encode("utf-8", "surrogateescape")).digest()
    )
    rank: dict[str, int] = defaultdict(int)
    places = []
    for place, speaker in enumerate(lots):
        places.append((rank[sex[speaker]], place, speaker))
        rank[sex[speaker]] += 1
    return [speaker for _, _, speaker in sorted(places)]


def drawn_clips(utterances: Iterable[Utterance], share: float, seed: int) -> list[Utterance]:
    """A random share of each emotion's clips; what must be left whole goes by the largest remainder."""
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for u in sorted(utterances, key=lambda u: u.id):
        groups[u.emotion].append(u)
    dice = random.Random(seed)
    drawn: list[Utterance] = []
    quota = 0.0
    for _, group in sorted(groups.items()):
        quota += share * len(group)
        n = min(len(group), max(0, round(quota) - len(drawn)))
        drawn.extend(dice.sample(group, n))
    return drawn
