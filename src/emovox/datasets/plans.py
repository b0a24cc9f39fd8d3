"""From a protocol as a person types it to its splits.

The parts of the text are divided by ``/``; what is left out takes its usual value. The name of every split
is itself such a text and yields that split alone: ``emobox`` gives six splits of RAVDESS, and the first of
them is called ``emobox/ravdess/1``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from emovox.datasets import splits as protocols
from emovox.datasets.emobox import EMOBOX
from emovox.datasets.manifest import Manifest
from emovox.datasets.split_file import read_splits
from emovox.datasets.splits import Split
from emovox.errors import ProtocolError, did_you_mean

__all__ = ["KINDS", "N_FOLDS", "PROTOCOLS", "splits"]

N_FOLDS = 5
"""Folds of ``speaker-kfold`` when no number is given."""

PROTOCOLS: Mapping[str, str] = {
    "emobox[/CORPUS][/FOLD]": "EmoBox's published folds",
    "loso[/SPEAKER]": "leave one speaker out",
    f"speaker-kfold[/K={N_FOLDS}][/SEED=0][/N]": "groups of speakers, each tested once",
    "speakers/A,B,...": "these speakers are tested, all others train",
    "random[/SHARE=0.25][/SEED=0]": "by clip, speakers on both sides: only to compare with literature",
    "given": "the corpus's own train and test folders",
    "cross-corpus[/CORPUS]": "leave one corpus out",
    "FILE.csv": "columns id, path or speaker; part, fold or both",
}
"""What can be typed, and what it means."""


def splits(manifest: Manifest, protocol: str, *, allow_missing: bool = False) -> tuple[Split, ...]:
    """The splits of ``protocol`` (see ``PROTOCOLS``) on ``manifest``, in their order.

    Args:
        allow_missing: accept a manifest that lacks clips which EmoBox or the file lists.

    Raises:
        ProtocolError: unknown, or not possible with this manifest.
    """
    text = protocol.strip()
    if Path(text).suffix.lower() in {".csv", ".tsv", ".tab"}:
        return read_splits(manifest, text, allow_missing=allow_missing)
    kind, *rest = text.split("/")
    if kind == "emobox":
        return _emobox(manifest, rest, allow_missing)
    if kind in _MAKERS:
        return _MAKERS[kind](manifest, rest)
    raise ProtocolError(
        f"there is no protocol {protocol!r}; {did_you_mean(kind, ('emobox', *_MAKERS), listed=PROTOCOLS)}"
    )


def _emobox(manifest: Manifest, rest: list[str], allow_missing: bool) -> tuple[Split, ...]:
    corpus, fold = (None, rest[0]) if len(rest) == 1 and rest[0].isdecimal() else (*rest, None, None)[:2]
    if len(rest) > 2:
        raise _wrong("emobox", rest)
    here = [name for name in manifest.corpora if name in EMOBOX]
    if corpus is None and len(here) == 1:
        corpus = here[0]
    if corpus is None or corpus not in EMOBOX:
        raise ProtocolError(
            f"EmoBox's folds of {corpus or ', '.join(manifest.corpora) or 'nothing'}: name one corpus that "
            f"has some ({', '.join(EMOBOX)}), as in emobox/ravdess; for others there is speaker-kfold"
        )
    numbers = protocols.emobox_folds(corpus) if fold is None else (_number("emobox", fold),)
    return tuple(
        protocols.emobox(manifest, number, corpus=corpus, allow_missing=allow_missing) for number in numbers
    )


def _loso(manifest: Manifest, rest: list[str]) -> tuple[Split, ...]:
    every = protocols.loso(manifest)
    return every if not rest else _only(every, f"loso/{'/'.join(rest)}")


def _speaker_kfold(manifest: Manifest, rest: list[str]) -> tuple[Split, ...]:
    if len(rest) > 3:
        raise _wrong("speaker-kfold", rest)
    k, seed = (*(_number("speaker-kfold", part) for part in rest[:2]), *(N_FOLDS, 0)[len(rest) :])[:2]
    every = protocols.speaker_kfold(manifest, k, seed)
    return every if len(rest) < 3 else _only(every, f"speaker-kfold/{k}/{seed}/{rest[2]}")


def _speakers(manifest: Manifest, rest: list[str]) -> tuple[Split, ...]:
    names = [name.strip() for name in "/".join(rest).split(",") if name.strip()]
    if not names:
        raise _wrong("speakers", rest)
    return (protocols.held_out(manifest, names),)


def _random(manifest: Manifest, rest: list[str]) -> tuple[Split, ...]:
    if len(rest) > 2:
        raise _wrong("random", rest)
    try:
        share = float(rest[0]) if rest else 0.25
    except ValueError:
        raise _wrong("random", rest) from None
    seed = _number("random", rest[1]) if len(rest) > 1 else 0
    return (protocols.random_split(manifest, test_share=share, seed=seed),)


def _given(manifest: Manifest, rest: list[str]) -> tuple[Split, ...]:
    if rest:
        raise _wrong("given", rest)
    return (protocols.given(manifest),)


def _cross_corpus(manifest: Manifest, rest: list[str]) -> tuple[Split, ...]:
    names = ("/".join(rest),) if rest else manifest.corpora
    return tuple(protocols.cross_corpus(manifest, name) for name in names)


_MAKERS: Mapping[str, Callable[[Manifest, list[str]], tuple[Split, ...]]] = {
    "loso": _loso,
    "speaker-kfold": _speaker_kfold,
    "speakers": _speakers,
    "random": _random,
    "given": _given,
    "cross-corpus": _cross_corpus,
}


KINDS: tuple[str, ...] = ("emobox", *_MAKERS, "file")
"""First words of the names that splits have."""


def _only(every: tuple[Split, ...], name: str) -> tuple[Split, ...]:
    found = tuple(split for split in every if split.name == name)
    if not found:
        raise ProtocolError(f"there is no split {name!r}; the last one is {every[-1].name!r}")
    return found


def _number(kind: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise _wrong(kind, [text])
    return int(text)


def _wrong(kind: str, rest: list[str]) -> ProtocolError:
    form = next(form for form in PROTOCOLS if form.startswith(kind))
    return ProtocolError(f"the protocol {'/'.join([kind, *rest])!r} is not understood; it is typed {form}")
