"""What a test shares with the training of a model: the worst that cannot be ruled out.

A bundle names the corpora it was trained on, and its protocol. Clips of other corpora are foreign to it:
``strict``. Clips of one of its corpora count as training clips, unless the protocol names a split
(``emobox/ravdess/1``, ``speakers/emodb-09``, ... see `emovox.datasets.protocols`) that holds them out. That
split is made again, and what its two sides share is the stamp. The name may be followed by ``#`` and the
digest of the split. It must be where the name alone does not settle who is tested: random folds of other
clips are other folds.

Names are not trusted where more is known:

- Clips of an unknown corpus are not foreign when the corpus's own file names and labels are those of a corpus
  that trained the model: its folder was read under another name, or merged with others.
- Bundles that `emovox train` writes store hashes of their training and validation clips (``Spec.taught``).
  A test clip among them is ``contaminated`` under any name. Where no hashes are stored and the model was
  trained on an unknown corpus, nothing was compared: ``unverified``.

A file that was changed has another hash. Whether two corpora hold the same recordings in different files is
found only by comparing the sound: see `emovox.datasets.overlap`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from emovox.bundles import Spec
from emovox.datasets import CORPORA, Manifest
from emovox.datasets.protocols import KINDS, make_splits
from emovox.datasets.splits import Split, doubt_speakers, stamp_of
from emovox.errors import EmovoxError
from emovox.features.cache import hash_file

__all__ = ["MAX_HASHED_CLIPS", "Stamp", "find_hashed_clips", "find_stamp", "hash_clips", "pack_hashes"]

MAX_HASHED_CLIPS = 20_000
"""Of more clips no hashes are stored: these take 160 kB of the 1 MiB that a spec may have."""

_HASH_BYTES, _HASH_LETTERS = 6, 8
_N_FOLDERS = 4
"""The last parts of a path that are compared with a corpus's naming scheme."""

_NEED_DIGEST = ("random", "speaker-kfold", "given", "file")
"""Protocols whose name does not settle which clips are tested."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """One of ``emovox.datasets.splits.STAMPS``, and the reasons for it."""

    stamp: str
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"stamp": self.stamp, "reasons": list(self.reasons)}


def find_stamp(
    spec: Spec,
    manifest: Manifest,
    tested: Sequence[str],
    *,
    known: Sequence[Split] = (),
    relabelled: Manifest | None = None,
) -> Stamp:
    """Find what a test on the ids ``tested`` shares with the training of a model.

    Args:
        spec: of the model.
        manifest: all clips at hand, the tested ones among them. The more of the training corpora it holds,
            the more can be compared.
        known: splits that the model may have been trained by, such as those of the user's own file.
        relabelled: the clips of ``manifest`` that remain after folding and dropping labels. A model of these
            labels was trained by a split of such clips.

    Raises:
        ManifestError: an id is not in the manifest.
    """
    if not spec.corpora:
        return Stamp("contaminated", ("the model does not say which corpora it was trained on",))
    rows = manifest.select(tested)
    if reasons := _find_disguised_clips(rows, spec):
        return Stamp("contaminated", reasons)
    owners = {_owner(name) for name in spec.corpora}
    shared = [name for name in rows.corpora if name in spec.corpora]
    related = [name for name in rows.corpora if name not in spec.corpora and _owner(name) in owners]
    if not shared and not related:
        reasons = _reasons_for_strict(rows, spec)
        by_name_alone = not spec.taught and any(name not in CORPORA for name in spec.corpora)
        return Stamp("unverified" if by_name_alone else "strict", reasons)
    manifests = [manifest] if relabelled is None else [manifest, relabelled]
    split, why_not = _remake_split(spec.protocol, manifests, known)
    if split is not None:
        return _stamp_by_split(split, manifest, tested, spec)
    why = []
    if shared:
        n = sum(u.corpus in shared for u in rows)
        why.append(f"the model was trained on {', '.join(shared)}, from which {n} of {len(rows)} clips come")
    if related:
        why.append(f"the speakers of {', '.join(related)} are those of a corpus it was trained on")
    why.append(f"its protocol, {spec.protocol!r}, does not show that these clips were held out: {why_not}")
    return Stamp("contaminated" if shared else "speaker-dependent", tuple(why))


def _find_disguised_clips(rows: Manifest, spec: Spec) -> tuple[str, ...]:
    """Return why clips are taken for training clips of the model although they have other names."""
    reasons = []
    if same := find_hashed_clips(spec.taught, rows):
        reasons.append(
            f"{len(same)} of the {len(rows)} clips are files that the model was trained or validated on, "
            f"byte for byte, such as {same[0]}"
        )
    trained_on = [CORPORA[name] for name in spec.corpora if name in CORPORA]
    for name in (name for name in rows.corpora if name not in CORPORA and name not in spec.corpora):
        clips = [u for u in rows if u.corpus == name]
        for corpus in trained_on:
            # The corpus's own adapter reads the path and finds the same emotion.
            n = 0
            for u in clips:
                parts = u.path.split("/")
                ends = ("/".join(parts[-k:]) for k in range(1, min(len(parts), _N_FOLDERS) + 1))
                n += any((found := corpus.parse(end)) and found.emotion == u.emotion for end in ends)
            if n:
                reasons.append(
                    f"{n} of the {len(clips)} clips of {name} are named like those of {corpus.name}, which "
                    f"the model was trained on; if they are:  emovox evaluate --corpus {corpus.name}"
                )
    return tuple(reasons)


def _reasons_for_strict(rows: Manifest, spec: Spec) -> tuple[str, ...]:
    by_name = (
        f"the clips' corpus ({', '.join(rows.corpora)}) is not among the corpora it was trained on: "
        f"{', '.join(spec.corpora)}"
    )
    unknown = [name for name in spec.corpora if name not in CORPORA]
    if spec.taught:
        return by_name, (
            f"none of the {len(rows)} clips is a file that it was trained or validated on, byte for byte; "
            "whether speakers or sentences are shared was not compared"
        )
    if unknown:
        return by_name, (
            "this rests on names alone, the recordings were not compared: the model stores no hashes of its "
            f"clips, and {', '.join(unknown)} is no corpus that emovox knows"
        )
    return (by_name,)


def _owner(corpus: str) -> str:
    """Return the corpus whose speakers a corpus shares; itself where it has its own."""
    return CORPORA[corpus].owner if corpus in CORPORA else corpus


def _remake_split(
    protocol: str, manifests: Sequence[Manifest], known: Sequence[Split]
) -> tuple[Split | None, str]:
    """Make the split that a spec claims; or ``None`` and the reason why that is not possible.

    A digest identifies the split under any name, of any of the manifests; the name alone only of the first.
    """
    name, _, digest = protocol.partition("#")
    kind, _, rest = name.partition("/")
    if kind not in KINDS:
        return None, "it names no split"
    if digest:
        why = "no splits of that name and content can be made of these clips"
        if found := [split for split in known if split.digest == digest]:
            return found[0], ""
        for manifest in manifests if kind != "file" else ():
            try:
                made = make_splits(manifest, name, allow_missing=True)
            except EmovoxError as error:
                why = str(error)
                continue
            if found := [split for split in made if split.digest == digest]:
                return found[0], ""
        return None, why
    if kind == "speakers":
        # Held-out speakers without clips here do not matter for these clips.
        here = [speaker for speaker in rest.split(",") if speaker in manifests[0].speakers]
        if not here:
            return None, "none of the speakers that it held out is here"
        name = f"speakers/{','.join(here)}"
    if kind in _NEED_DIGEST:
        return None, "the name needs the digest of the split behind it, as in NAME#0123456789abcdef"
    try:
        candidates = [s for s in known if s.name == name] or make_splits(
            manifests[0], name, allow_missing=True
        )
    except EmovoxError as error:
        return None, str(error)
    if len(candidates) != 1:
        return (
            None,
            f"{len(candidates) or 'no'} splits of that name and content can be made of these clips",
        )
    return candidates[0], ""


def _stamp_by_split(split: Split, manifest: Manifest, tested: Sequence[str], spec: Spec) -> Stamp:
    """Compare the tested clips with the training side of the split that the model was trained by."""
    owners = {_owner(name) for name in spec.corpora}
    training = {key for key in (*split.train, *split.validation) if _owner(manifest[key].corpus) in owners}
    seen = [key for key in tested if key in training and manifest[key].corpus in spec.corpora]
    by = f"the model was trained by the split {split.name}"
    if seen:
        n = f"{len(seen)} of the {len(tested)} clips"
        return Stamp("contaminated", (f"{by}, which trains or validates on {n}, such as {seen[0]}",))
    if not training:
        return Stamp("text-shared", (by, "its training clips are not here: shared sentences may be"))
    held_out = f"{by}, which trains on none of the {len(tested)} clips"
    stamp = stamp_of(manifest, training, tested)
    if stamp == "strict":
        return Stamp(stamp, (held_out, "neither a speaker nor a known sentence is shared"))
    if stamp == "text-shared":
        return Stamp(stamp, (held_out, "other speakers say the same sentences in its training part"))
    if doubt := doubt_speakers(manifest.select(training), manifest.select(tested)):
        return Stamp(stamp, (held_out, f"it cannot be called strict: {doubt}"))
    speakers = {manifest[key].speaker for key in tested}
    shared = speakers & {manifest[key].speaker for key in training}
    unnamed = [key for key in tested if manifest[key].known_speaker is None]
    if unnamed and not any(u.known_speaker in shared for u in manifest.select(tested)):
        return Stamp(
            stamp,
            (
                held_out,
                f"it cannot be called strict: the speakers of {len(unnamed)} of the {len(tested)} clips are "
                "unknown, so they may also be in the training part; name them in a manifest or read them off "
                "the paths (emovox data convert --speaker)",
            ),
        )
    return Stamp(
        stamp, (held_out, f"{len(shared)} of its {len(speakers)} speakers speak in its training part too")
    )


# --- hashes of training clips ---------------------------------------------------------------------


def hash_clips(manifest: Manifest) -> dict[str, str]:
    """Hash the clips whose files can be read: id -> eight letters of base64.

    A hash is 6 bytes of the sha256 of the file's content and of the segment's ends. The sound cannot be
    recovered from it. Of 20,000 foreign clips against as many hashes, one collides with a chance of about
    one in a million.
    """
    # Segments of one long file follow each other: its content is hashed once.
    hash_once = lru_cache(maxsize=1)(hash_file)
    hashes = {}
    for u in manifest:
        try:
            content = hash_once(manifest.file(u))
        except (OSError, ValueError):  # no such file, or a name that no file can have
            continue
        text = f"{content} {float(u.start or 0)!r} {u.end if u.end is None else float(u.end)!r}"
        hashes[u.id] = base64.b64encode(hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]).decode()
    return hashes


def pack_hashes(manifest: Manifest, known: str = "") -> str:
    """Return the sorted hashes of training clips as ``Spec.taught`` stores them; empty for too many clips.

    Args:
        manifest: the clips.
        known: packed hashes of earlier clips, such as those of the base model of a fine-tuned one.
    """
    earlier = _unpack_hashes(known)
    if len(manifest) + len(earlier) > MAX_HASHED_CLIPS:
        return ""
    return "".join(sorted(earlier | {*hash_clips(manifest).values()}))


def _unpack_hashes(packed: str) -> set[str]:
    return {packed[n : n + _HASH_LETTERS] for n in range(0, len(packed), _HASH_LETTERS)}


def find_hashed_clips(packed: str, manifest: Manifest) -> tuple[str, ...]:
    """Return the ids of clips whose hash is among those of `pack_hashes`."""
    known = _unpack_hashes(packed)
    return tuple(key for key, value in hash_clips(manifest).items() if value in known) if known else ()
