"""Plan the splits of a protocol, and audit each for what its test shares with its training.

::

    plan = plan_splits(manifest, "emobox", corpus="ravdess")
    plan.stamp, plan.reasons                # "text-shared", ("2 sentences on both sides", ...)
    split = make_split(manifest, "emobox/ravdess/1").splits[0]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import Duplicate, Fingerprint, SplitAudit, audit_split
from emovox.datasets.protocols import make_splits
from emovox.datasets.splits import STAMPS, Split, default_protocol
from emovox.errors import ConfigError, ProtocolError

__all__ = ["SplitPlan", "make_split", "plan_splits"]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """The splits of one protocol on one set of clips, each with its audit."""

    corpus: str
    protocol: str
    manifest: Manifest
    splits: tuple[Split, ...]
    audits: tuple[SplitAudit, ...]

    @property
    def stamp(self) -> str:
        """The worst stamp of the splits."""
        return max((one.stamp for one in self.audits), key=STAMPS.index)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the tests and the trainings have in common, over all splits."""
        nameless = [u for u in self.manifest if u.known_speaker is None]
        unknown = {u.speaker for u in nameless}
        speakers = {name for one in self.audits for name in one.shared_speakers}
        pairs = [
            f"{one} = {other}"
            for found in self.audits
            for one, other in [*found.named, *((copy.one, copy.other) for copy in found.copies)]
        ]
        kinds: tuple[tuple[str, Iterable[str]], ...] = (
            ("speakers", sorted(speakers - unknown)),
            ("sentences", (name for one in self.audits for name in one.shared_texts)),
            ("recordings", pairs),
        )
        reasons = []
        for kind, names in kinds:
            if distinct := list(dict.fromkeys(names)):
                example = f", such as {distinct[0]}" if kind == "recordings" else ""
                counted = f"{len(distinct)} {kind if len(distinct) > 1 else kind[:-1]}"
                reasons.append(f"{counted} on both sides{example}")
        if speakers & unknown:
            reasons.append(
                f"the speakers of {len(nameless)} of the {len(self.manifest)} clips are unknown, so the same "
                "speakers may be on both sides"
            )
        reasons.extend(dict.fromkeys(f"not strict: {one.doubt}" for one in self.audits if one.doubt))
        if not all(one.heard for one in self.audits):
            reasons.append("the clips were not compared by sound")
        return tuple(reasons) or ("nothing known is shared",)

    def to_dict(self) -> dict[str, Any]:
        """Corpus, protocol, stamp, reasons and the sizes of the splits, in plain JSON types."""
        return {
            "corpus": self.corpus,
            "protocol": self.protocol,
            "stamp": self.stamp,
            "reasons": list(self.reasons),
            "splits": [
                {
                    "name": split.name,
                    "digest": split.digest,
                    "n_train": len(split.train),
                    "n_validation": len(split.validation),
                    "n_test": len(split.test),
                }
                for split in self.splits
            ],
        }

    def flag_identical(self, marks: Mapping[str, str]) -> SplitPlan:
        """Stamp the splits as contaminated whose test holds a file of their training, under any name.

        Args:
            marks: id -> what identifies the content of the clip's file (`emovox.evaluation.leakage`).
        """

        def flag(found: SplitAudit, split: Split) -> SplitAudit:
            near = {marks[key]: key for key in (*split.train, *split.validation) if key in marks}
            copies = tuple(
                Duplicate(near[marks[key]], key, 1.0) for key in split.test if marks.get(key) in near
            )
            return replace(found, copies=copies, stamp="contaminated") if copies else found

        return replace(self, audits=tuple(map(flag, self.audits, self.splits)))


def plan_splits(
    manifest: Manifest,
    protocol: str,
    *,
    corpus: str | None = None,
    allow: Sequence[str] = (),
    fingerprints: Mapping[str, Fingerprint] | None = None,
    warn: Callable[[str], None] | None = None,
) -> SplitPlan:
    """Make the splits of ``protocol`` and audit them.

    Args:
        corpus: what the clips are called; the names of their corpora unless given.
        allow: ``contaminated`` accepts such splits, ``missing`` a corpus that lacks clips.
        fingerprints: of the clips (`emovox.datasets.overlap`); without them the clips are not compared by
            sound.
        warn: called with a line about clips that a split file names and the corpus lacks.

    Raises:
        ProtocolError: there is no such protocol, or a split is contaminated and that is not allowed.
    """
    if strange := set(allow) - {"contaminated", "missing"}:
        raise ProtocolError(f"{sorted(strange)[0]!r} cannot be allowed; expected contaminated or missing")
    splits = make_splits(manifest, protocol, allow_missing="missing" in allow, warn=warn)
    audits = tuple(audit_split(manifest, split, prints=fingerprints, compare_sound=False) for split in splits)
    plan = SplitPlan(corpus or "+".join(manifest.corpora), protocol, manifest, splits, audits)
    if plan.stamp == "contaminated" and "contaminated" not in allow:
        raise ProtocolError(
            f"{plan.corpus} under {protocol!r} is contaminated: {'; '.join(plan.reasons)}. A score would "
            "mean nothing; to train all the same, with the stamp:  --allow contaminated"
        )
    return plan


def make_split(
    manifest: Manifest,
    protocol: str | None = None,
    *,
    need_labels: bool = True,
    warn: Callable[[str], None] | None = None,
) -> SplitPlan:
    """Plan the one split of ``protocol``; of `default_protocol` unless given.

    Args:
        need_labels: whether labels are predicted, so that there must be two.
        warn: called with a line when no protocol is given and clips are drawn at random, and when a split
            file names clips that the manifest lacks.

    Raises:
        ProtocolError: there is no such protocol, or it has several splits; the message names the first.
        ConfigError: all clips have the same label.
    """
    if need_labels and len(manifest.emotions) < 2:
        raise ConfigError(
            f"all {len(manifest)} clips express {', '.join(manifest.emotions)}; expected at least two "
            "emotions to tell apart"
        )
    name = protocol or default_protocol(manifest, warn=warn)
    plan = plan_splits(manifest, name, allow=("missing",), warn=warn)
    if len(plan.splits) > 1:
        raise ProtocolError(
            f"the protocol {name!r} has {len(plan.splits)} splits, but a model is trained on one: name it, "
            f"as in {plan.splits[0].name!r}; all of them in turn:  emovox compare --protocol {name}"
        )
    return plan
