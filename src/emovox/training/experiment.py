"""From a config to what a model is made of: clips under their labels, a split, rows of features, a bundle.

::

    problem = Dataset.load(config.data, labels=config.labels)
    plan = planned(problem.manifest, config.protocol)
    rows = extract(problem.manifest, "emovox-core")                      # emovox.features.extraction
    trained = train(config, problem.manifest, plan.splits[0], rows)
    write_bundle(folder, trained.model, trained.spec)

Only the split's training part is learnt from; its validation part says how sure the model may be. Nobody
looks at the test here: ``emovox.evaluation`` does, through the recogniser that users run.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.augment.clips import augmented_id
from emovox.bundles import Abstain, Features, Input, Licence, Spec
from emovox.datasets import CORPORA
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import Audit, Copy
from emovox.datasets.splits import Split, default_protocol
from emovox.errors import ConfigError, ProtocolError
from emovox.evaluation import metrics
from emovox.evaluation.leakage import hash_clips, pack_hashes
from emovox.features import FeatureSet, find_feature_set
from emovox.features.extraction import FeatureTable
from emovox.labels import EMOTIONS
from emovox.training.bench import Plan
from emovox.training.bench import plan as audited
from emovox.training.calibration import Calibration, calibrated
from emovox.training.config import ClassicalModel, Config, NetModel

__all__ = [
    "Rows",
    "Trained",
    "check_bundle",
    "classical_config",
    "compared",
    "copied",
    "licence_of",
    "planned",
    "rows_of",
    "spec_of",
    "train",
]

if TYPE_CHECKING:
    from emovox.training.classical import ClassicalConfig, FittedClassifier


# ------------------------------------------------------------------------------------------- splits


def planned(manifest: Manifest, protocol: str | None) -> Plan:
    """The one split of ``protocol`` (`default_protocol` unless given), audited by the manifest's word.

    Raises:
        ProtocolError: there is no such protocol, or it has several splits; the message names the first.
        ConfigError: all clips express the same.
    """
    if len(manifest.emotions) < 2:
        raise ConfigError(
            f"all {len(manifest)} clips express {', '.join(manifest.emotions)}; expected at least two "
            "emotions to tell apart"
        )
    name = protocol or default_protocol(manifest)
    made = audited(manifest, name, corpus="+".join(manifest.corpora), allow=("missing",))
    if len(made.splits) > 1:
        raise ProtocolError(
            f"the protocol {name!r} has {len(made.splits)} splits, a model is trained by one: name it, as in "
            f"{made.splits[0].name!r}; all of them in turn:  emovox compare --protocol {name}"
        )
    return made


def compared(plan: Plan) -> Plan:
    """The plan, contaminated where a test holds a file of its training, byte for byte under any name."""
    found = hash_clips(plan.manifest)
    pairs = zip(plan.audits, plan.splits, strict=True)
    return replace(plan, audits=tuple(_with_same(one, split, found) for one, split in pairs))


def _with_same(audit: Audit, split: Split, found: Mapping[str, str]) -> Audit:
    near = {found[key]: key for key in (*split.train, *split.validation) if key in found}
    copies = tuple(Copy(near[found[key]], key, 1.0) for key in split.test if found.get(key) in near)
    return replace(audit, copies=copies, stamp="contaminated") if copies else audit


# --------------------------------------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Features of clips, what they express and who speaks."""

    ids: tuple[str, ...]
    x: Floats
    """``(n, d)``; nan is missing."""
    y: tuple[str, ...]
    speakers: tuple[str | None, ...]


def rows_of(table: FeatureTable, manifest: Manifest, ids: Sequence[str]) -> Rows:
    """The rows of ``ids``, in their order, without the clips that could not be read."""
    place = {key: n for n, key in enumerate(table.ids)}
    kept = [key for key in ids if key not in table.errors]
    clips = [manifest[key] for key in kept]
    return Rows(
        tuple(kept),
        table.values[[place[key] for key in kept]],
        tuple(u.emotion for u in clips),
        tuple(u.known_speaker for u in clips),
    )


def copied(rows: Rows, copies: FeatureTable, n_copies: int) -> tuple[Floats, NDArray[np.int64]]:
    """Features ``(m, d)`` of the rows' changed copies, those that could be read, and of which row each is.

    Args:
        copies: features under the names of `emovox.augment.clips.augmented_id`.
        n_copies: of each row: the first of all rows, then the second ...
    """
    place = {key: n for n, key in enumerate(copies.ids) if key not in copies.errors}
    made = [
        (row, name)
        for number in range(1, n_copies + 1)
        for row, key in enumerate(rows.ids)
        if (name := augmented_id(key, number)) in place
    ]
    return copies.values[[place[name] for _, name in made]], np.array([row for row, _ in made], np.int64)


def _with_copies(rows: Rows, copies: FeatureTable, n_copies: int) -> Rows:
    """The rows, then those of their copies, each under its clip's id.

    A clip of nobody known stays in one group with its copies.
    """
    x, of = copied(rows, copies, n_copies)
    whose = [*range(len(rows.ids)), *of.tolist()]
    groups = [who or f"clip {key}" for who, key in zip(rows.speakers, rows.ids, strict=True)]
    return Rows(
        tuple(rows.ids[row] for row in whose),
        np.concatenate([rows.x, x]),
        tuple(rows.y[row] for row in whose),
        tuple(groups[row] for row in whose),
    )


# -------------------------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, ready to be written as a bundle, and what is worth telling of its making."""

    model: bytes
    """ONNX."""
    spec: Spec
    validation_uar: float | None
    """``None`` without validation clips."""
    selected: tuple[str, ...] | None
    """The columns that were chosen, where any were."""
    n_parameters: int
    """Numbers that were learnt: weights of a net, all numbers in the graph of a classical model."""
    notes: tuple[str, ...] = ()


def classical_config(model: ClassicalModel | NetModel, seed: int) -> ClassicalConfig:
    """What `emovox.training.classical.fit` is given.

    Raises:
        ConfigError: an estimator, a parameter or a value is unknown; the message names the nearest. Or it is
            a net.
    """
    from emovox.training.classical import ClassicalConfig

    if isinstance(model, NetModel):
        raise ConfigError(
            f"model.kind is 'net' ({model.name}); expected classical: a net is made by emovox train"
        )
    values = {key: value for key, value in asdict(model).items() if key not in ("kind", "name")}
    select = values["select"]
    if select is not None:
        values["select"] = {key: value for key, value in select.items() if value is not None}
    return ClassicalConfig.from_dict({"model": model.name, "seed": seed, **values})


def train(
    config: Config,
    manifest: Manifest,
    split: Split,
    table: FeatureTable,
    copies: FeatureTable | None = None,
) -> Trained:
    """Fit on the split's training part, calibrate on its validation part, export.

    Args:
        table: features of (at least) these two parts' clips.
        copies: features of the training clips' changed copies (`emovox.augment.clips`), further rows to
            learn from, of the same speakers.

    Raises:
        ConfigError: a setting is impossible, or there is too little to train on.
        BundleError: graph and model disagree.
    """
    from emovox.training.classical import fit
    from emovox.training.classical.onnx_export import count_parameters, to_onnx_classical

    rows, held = rows_of(table, manifest, split.train), rows_of(table, manifest, split.validation)
    if not rows.ids:
        raise ConfigError(f"{split.name}: none of the {len(split.train)} training clips could be read")
    if copies is not None:
        rows = _with_copies(rows, copies, config.augment.copies)
    fitted = fit(rows.x, rows.y, rows.speakers, classical_config(config.model, config.seed), table.columns)
    calibration, uar = _validated(fitted, held, config.coverage)
    checked = np.concatenate([rows.x[:_CHECKED], held.x[:_CHECKED]])
    model = to_onnx_classical(fitted, checked)
    seen = fitted.selected_columns  # the graph takes these alone, not those that are constant or not chosen
    columns = None if seen == tuple(table.columns) else seen
    heard = Input(kind="vector", features=Features(**table.reference, columns=columns))
    spec = spec_of(
        config,
        manifest,
        split,
        labels=fitted.classes,
        heard=heard,
        calibration=calibration,
        unread=table.errors,
    )
    chosen = isinstance(config.model, ClassicalModel) and config.model.select is not None
    selected = fitted.selected_columns if chosen else None
    return Trained(model, spec, uar, selected, count_parameters(model), (*fitted.notes, *calibration.notes))


_CHECKED = 64
"""Rows of the training, and as many of the validation, on which graph and model must agree."""


def _validated(fitted: FittedClassifier, held: Rows, coverage: float) -> tuple[Calibration, float | None]:
    """How sure it may be, and the UAR; on clips of the emotions that were trained."""
    known = [n for n, name in enumerate(held.y) if name in fitted.classes]
    if not known:
        return calibrated(np.zeros((0, len(fitted.classes))), np.zeros(0, np.int64), coverage), None
    logits = np.log(np.maximum(fitted.predict_proba(held.x[known]), _LEAST))
    truth = np.array([fitted.classes.index(held.y[n]) for n in known])
    answers = np.array(fitted.classes)[logits.argmax(1)]
    uar = metrics.uar([held.y[n] for n in known], answers.tolist(), labels=list(fitted.classes))
    return calibrated(logits, truth, coverage), uar


_LEAST = 1e-12
"""No probability is smaller, so that every logit is finite."""


def spec_of(
    config: Config,
    manifest: Manifest,
    split: Split,
    *,
    labels: tuple[str, ...],
    heard: Input,
    calibration: Calibration,
    pretrained: str | None = None,
    unread: Container[str] = (),
) -> Spec:
    """What a bundle says of a model that ``config`` made of a split; ``heard`` is what its graph takes.

    Args:
        pretrained: of which checkpoint the weights were before, if of any.
        unread: ids of clips that taught nothing, for they could not be read.

    Raises:
        ConfigError: the values cannot be those of a bundle.
    """
    taught = manifest.select([*split.train, *split.validation])
    features = None
    if heard.kind != "waveform":
        features = find_feature_set(config.features.set, config.features.overrides)
    of_what = config.features.set if features else pretrained or "the waveform"
    what = f"{config.model.name} on {of_what}, trained on {', '.join(taught.corpora)}"
    try:
        return Spec(
            name=config.name,
            version="1",
            description=what,
            labels=labels,
            input=heard,
            **asdict(config.windows),
            temperature=calibration.temperature,
            abstain=Abstain(confidence=calibration.threshold),
            corpora=taught.corpora,
            protocol=f"{split.name}#{split.digest}",
            taught=pack_hashes(taught.keep(lambda u: u.id not in unread)),
            licence=licence_of(taught.corpora, features, pretrained),
        )
    except ValueError as error:
        raise ConfigError(f"no bundle can be made of this config: {error}") from error


def check_bundle(config: Config) -> None:
    """See before the work whether a bundle may be called, and listen, as the config says.

    Raises:
        ConfigError: its name or its windows are impossible.
    """
    try:
        Spec(
            name=config.name,
            version="1",
            description="",
            labels=EMOTIONS[:2],
            input=Input(kind="waveform"),
            **asdict(config.windows),
            temperature=1.0,
            abstain=Abstain(confidence=0.0),
            corpora=(),
            protocol="",
            licence=Licence(code=_OURS, weights=_OURS, commercial=True),
        )
    except ValueError as error:
        raise ConfigError(f"no bundle can be made of this config: {error}") from error


def licence_of(
    corpora: Sequence[str], features: FeatureSet | None = None, pretrained: str | None = None
) -> Licence:
    """What binds weights that these corpora taught: their licences, and that of what computes the features.

    Commercial use is granted only where every one of them is known to allow it. What binds a checkpoint, by
    its name ``pretrained``, is not known here.
    """
    terms = {name: CORPORA[name].licence if name in CORPORA else "not stated" for name in corpora}
    free = all(name in CORPORA and CORPORA[name].commercial for name in corpora)
    weights = "as its corpora: " + ", ".join(f"{name} ({licence})" for name, licence in terms.items())
    if features is not None and features.licence != _OURS:
        weights += f"; features: {features.licence}"
        free = False
    if pretrained is not None:
        weights += f"; as its checkpoint: {pretrained} (not known here)"
        free = False
    return Licence(code=_OURS, weights=weights, commercial=free)


_OURS = "Apache-2.0"
