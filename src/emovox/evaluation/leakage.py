"""What had the test in common with the model's training? The worst that cannot be ruled out.

A bundle names the corpora it was trained on, and its protocol. Clips of other corpora are foreign to it:
strict. Clips of one of its corpora were trained on, unless the protocol names a split (``emobox/ravdess/1``,
``speakers/emodb-09``, ... see `emovox.datasets.protocols`) that holds them out; the split is then made again,
and what it leaves in common is the stamp. ``#`` and the digest of the split may follow the name. They must
where the name alone does not settle who is tested: random folds of other clips are other folds.

Clips of a corpus that nobody knows are not foreign when their names, and what is expressed in them, are those
of a corpus that taught the model: its folder was read under another name, or poured together with others.

Names end where the content of a file is that of one which taught the model: what `emovox train` makes
remembers them (`emovox.evaluation.fingerprints`). Where nothing is remembered, and a corpus that nobody knows
taught the model, it is told that nobody compared.

Beyond that the stamp believes what the bundle says. Whether two corpora hold the same recordings in other
files only listening tells: see `emovox.datasets.overlap`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from emovox.bundles import Spec
from emovox.datasets import CORPORA, Corpus, Manifest, Utterance
from emovox.datasets.protocols import KINDS, make_splits
from emovox.datasets.splits import Split, stamp_of
from emovox.errors import EmovoxError
from emovox.evaluation.fingerprints import known as known_contents

__all__ = ["Stamp", "stamp"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """One of ``emovox.datasets.splits.STAMPS``, and why."""

    stamp: str
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"stamp": self.stamp, "reasons": list(self.reasons)}


def stamp(
    spec: Spec,
    manifest: Manifest,
    tested: Sequence[str],
    *,
    known: Sequence[Split] = (),
    asked: Manifest | None = None,
) -> Stamp:
    """The stamp of a test on the ids ``tested``.

    Args:
        spec: of the model.
        manifest: all clips that are known, the tested ones among them: the more of the training corpora it
            holds, the more can be told.
        known: splits that the model may have been trained by, such as those of the user's own file.
        asked: the clips of ``manifest`` whose emotions are asked about, as they were folded; a model of these
            labels was trained by a split of such clips.

    Raises:
        ManifestError: an id is not in the manifest.
    """
    if not spec.corpora:
        return Stamp("contaminated", ("the model does not say which corpora it was trained on",))
    rows = manifest.select(tested)
    if under := (*_remembered(rows, spec), *_renamed(rows, spec)):
        return Stamp("contaminated", under)
    shared = [name for name in rows.corpora if name in spec.corpora]
    kin = [name for name in rows.corpora if name not in spec.corpora and _people(name) in _voices(spec)]
    if not shared and not kin:
        heard = f"the clips' corpus ({_listed(rows.corpora)}) is not among the corpora it was trained on"
        return Stamp("strict", (f"{heard}: {_listed(spec.corpora)}", *_compared(rows, spec)))
    split, why = _claimed(spec.protocol, [manifest, *([] if asked is None else [asked])], known)
    if split is not None:
        return _by_split(split, manifest, tested, spec)
    reasons = []
    if shared:
        n = sum(u.corpus in shared for u in rows)
        reasons.append(
            f"the model was trained on {_listed(shared)}, from which {n} of {len(rows)} clips come"
        )
    if kin:
        reasons.append(f"the voices of {_listed(kin)} are those of a corpus it was trained on")
    reasons.append(f"its protocol, {spec.protocol!r}, does not show that these clips were held out: {why}")
    return Stamp("contaminated" if shared else "speaker-dependent", tuple(reasons))


def _remembered(rows: Manifest, spec: Spec) -> tuple[str, ...]:
    """Why clips are those that taught the model, whatever they are called."""
    found = known_contents(spec.taught, rows)
    if not found:
        return ()
    n = f"{len(found)} of the {len(rows)} clips"
    return (f"{n} are files that the model was trained or validated on, byte for byte, such as {found[0]}",)


def _compared(rows: Manifest, spec: Spec) -> tuple[str, ...]:
    """What ``strict`` rests on, beside the names; nothing where these are known to name other recordings."""
    if spec.taught:
        return (
            f"none of the {len(rows)} clips is a file that it was trained or validated on, byte for byte; "
            "whether their speakers or sentences were, nobody compared",
        )
    own = [name for name in spec.corpora if name not in CORPORA]
    if not own:
        return ()
    return (
        "that goes by the names alone, nobody compared the recordings: the model does not remember its "
        f"clips, and emovox does not know {_listed(own)}",
    )


def _renamed(rows: Manifest, spec: Spec) -> tuple[str, ...]:
    """Why clips are held for those of a corpus that taught the model, though they are called otherwise."""
    taught = [CORPORA[name] for name in spec.corpora if name in CORPORA]
    reasons = []
    for name in (name for name in rows.corpora if name not in CORPORA and name not in spec.corpora):
        clips = [u for u in rows if u.corpus == name]
        for corpus in taught:
            n = sum(_is_named_by(corpus, u) for u in clips)
            if n:
                reasons.append(
                    f"{n} of the {len(clips)} clips of {name} are named like those of {corpus.name}, which "
                    f"the model was trained on; if they are, say so (--corpus {corpus.name})"
                )
    return tuple(reasons)


def _is_named_by(corpus: Corpus, u: Utterance) -> bool:
    """Whether the corpus's own adapter reads the file's place and name, and finds the same emotion."""
    parts = u.path.split("/")
    inner = ("/".join(parts[-n:]) for n in range(1, min(len(parts), _PLACES) + 1))
    return any((found := corpus.parse(path)) and found.emotion == u.emotion for path in inner)


_PLACES = 4
"""Folders that count when a clip's place is compared, its name being one of them."""


def _people(corpus: str) -> str:
    return CORPORA[corpus].owner if corpus in CORPORA else corpus


def _voices(spec: Spec) -> set[str]:
    return {_people(name) for name in spec.corpora}


def _claimed(
    protocol: str, manifests: Sequence[Manifest], known: Sequence[Split]
) -> tuple[Split | None, str]:
    """The split that the spec claims, made again; or why it cannot be.

    A digest settles it under any name and of any of the manifests, the name alone of the first.
    """
    name, _, digest = protocol.partition("#")
    if name.split("/")[0] not in KINDS:
        return None, "it names no split"
    if digest:
        return _of_digest(name, digest, manifests, known)
    name = _at_hand(name, manifests[0])
    if not name:
        return None, "none of the speakers that it held out speaks here"
    if name.split("/")[0] in _VAGUE:
        return None, "the name needs the digest of the split behind it, as in NAME#0123456789abcdef"
    try:
        found = [s for s in known if s.name == name] or make_splits(manifests[0], name, allow_missing=True)
    except EmovoxError as error:
        return None, str(error)
    if len(found) != 1:
        return None, f"{len(found) or 'no'} splits of that name and content can be made of these clips"
    return found[0], ""


def _of_digest(
    name: str, digest: str, manifests: Sequence[Manifest], known: Sequence[Split]
) -> tuple[Split | None, str]:
    why = "no splits of that name and content can be made of these clips"
    if found := [split for split in known if split.digest == digest]:
        return found[0], ""
    for manifest in manifests if not name.startswith("file/") else ():
        try:
            found = [s for s in make_splits(manifest, name, allow_missing=True) if s.digest == digest]
        except EmovoxError as error:
            why = str(error)
            continue
        if found:
            return found[0], ""
    return None, why


def _at_hand(name: str, manifest: Manifest) -> str:
    """``speakers/A,B`` without those who do not speak here: they settle nothing about these clips. Empty when
    none is left."""
    kind, _, speakers = name.partition("/")
    if kind != "speakers":
        return name
    here = [speaker for speaker in speakers.split(",") if speaker in manifest.speakers]
    return f"{kind}/{','.join(here)}" if here else ""


_VAGUE = ("random", "speaker-kfold", "given", "file")


def _by_split(split: Split, manifest: Manifest, tested: Sequence[str], spec: Spec) -> Stamp:
    """The stamp of clips against the training part of the split that the model was made by."""
    sides = {*split.train, *split.validation}
    near = {key for key in sides if _people(manifest[key].corpus) in _voices(spec)}
    seen = [key for key in tested if key in near and manifest[key].corpus in spec.corpora]
    by = f"the model was trained by the split {split.name}"
    if seen:
        n = f"{len(seen)} of the {len(tested)} clips"
        return Stamp("contaminated", (f"{by}, which trains or validates on {n}, such as {seen[0]}",))
    if not near:
        return Stamp("text-shared", (by, "its training clips are not here: shared sentences may be"))
    found = stamp_of(manifest, near, tested)
    held = f"{by}, which trains on none of the {len(tested)} clips"
    common = {
        "strict": "neither a speaker nor a known sentence is shared",
        "text-shared": "other speakers say the same sentences in its training part",
        "speaker-dependent": f"{_shared_speakers(manifest, near, tested)} speak in its training part too",
    }
    if found == "speaker-dependent" and (unknown := _unknown_speakers(manifest, near, tested)):
        return Stamp(found, (held, unknown))
    return Stamp(found, (held, common[found]))


def _unknown_speakers(manifest: Manifest, near: Iterable[str], tested: Sequence[str]) -> str:
    """Why a test of clips whose speakers nobody named cannot be strict; nothing when speakers are named."""
    shared = {manifest[key].speaker for key in near} & {manifest[key].speaker for key in tested}
    nameless = [key for key in tested if manifest[key].known_speaker is None]
    if not nameless or any(u.known_speaker in shared for u in manifest.select(tested)):
        return ""
    return (
        f"it cannot be called strict: nobody says who speaks in {len(nameless)} of the {len(tested)} clips, "
        "so the same voices may have been trained on; once a manifest or the paths name the speakers "
        "(emovox data convert --speaker), it can be told"
    )


def _shared_speakers(manifest: Manifest, near: Iterable[str], tested: Iterable[str]) -> str:
    taught = {manifest[key].speaker for key in near}
    tested_speakers = {manifest[key].speaker for key in tested}
    return f"{len(taught & tested_speakers)} of its {len(tested_speakers)} speakers"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
