"""The benchmark's own recipe: how a split becomes a bundle in one small, honest step (extra ``train``).

``vox`` is the default model's net, smaller and trained for less long on the clips as they are. Nothing is
learnt from the test, and from the validation only the temperature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from emovox import audio
from emovox._arrays import Bools, Floats
from emovox._files import replaced
from emovox.bundles import Abstain, Input, Licence, Spec, write_bundle
from emovox.datasets.manifest import Manifest, Utterance
from emovox.features.cache import hash_file
from emovox.labels import EMOTIONS, EXTRAS
from emovox.nets import front_end
from emovox.nets.vox import Vox, VoxConfig
from emovox.training.bench import Job
from emovox.training.calibration import fit_temperature
from emovox.training.config import TrainingConfig
from emovox.training.export import to_onnx
from emovox.training.neural.clips import balanced_weights, label_mask
from emovox.training.neural.vectors import VectorSet, fit_vectors

__all__ = ["NET", "SHORTER", "STEPS", "TRAIN", "vox"]

NET = VoxConfig(n_members=1, hidden=128)
TRAIN = TrainingConfig(batch_size=128, weight_decay=0.05, mixup=0.3, gradient_norm=5.0)
STEPS = 1000

SHORTER = 10
"""A short run trains this many times less."""

_PER_WORKER = 40
_EXPORT_SOUNDS = 4


def vox(job: Job) -> None:
    """Train, fit the temperature on the validation, export, write the bundle."""
    rows = _vectors(job)
    ids = np.array(job.manifest.ids)
    training, held = (np.isin(ids, part) for part in (job.split.train, job.split.validation))
    emotions = np.array([u.emotion for u in job.manifest])
    names = tuple(name for name in (*EMOTIONS, *EXTRAS) if name in set(emotions[training]))
    net = _trained(job, rows, training, emotions, names)
    held &= np.isin(emotions, names)
    temperature = 1.0
    if held.any():
        with torch.inference_mode():
            logits = net.classify(torch.from_numpy(rows[held])).numpy().astype(np.float64)
        temperature = fit_temperature(logits, np.array([names.index(e) for e in emotions[held]]))
    model = to_onnx(net, list(_sounds(job.manifest.select(job.split.train))), name="bench-vox")
    write_bundle(job.folder, model, _spec(job, names, temperature), replace=True)


def _trained(
    job: Job,
    rows: Floats,
    training: Bools,
    emotions: npt.NDArray[np.str_],
    names: Sequence[str],
) -> Vox:
    steps, seed = STEPS // SHORTER if job.settings.short else STEPS, job.settings.seed
    homes = job.manifest.corpora
    corpora = np.array([homes.index(u.corpus) for u in job.manifest])
    labels = np.array([names.index(e) if e in names else 0 for e in emotions])
    shares = {n: 1.0 for n in range(len(homes)) if (training & (corpora == n)).any()}
    data = VectorSet(
        [rows],
        labels,
        corpora,
        label_mask(labels[training], corpora[training], len(names)),
        balanced_weights(labels, corpora, training, shares),
    )
    torch.manual_seed(seed)
    net = Vox(replace(NET, n_labels=len(names)))
    mean, deviation = data.statistics()
    net.mean.copy_(torch.from_numpy(mean))
    net.scale.copy_(1 / torch.from_numpy(deviation))
    for index in range(NET.n_members):
        fit_vectors(_Member(net, index), data, TRAIN, steps=steps, seed=seed + index)
    return net.eval()


class _Member(nn.Module):
    """One head behind the net's standardisation, for training on vectors."""

    def __init__(self, net: Vox, index: int) -> None:
        super().__init__()
        self.head = net.heads[index]
        self.standardize = net.standardize

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.standardize(x))
        return logits


def _spec(job: Job, names: Sequence[str], temperature: float) -> Spec:
    return Spec(
        name="bench-vox",
        version="1",
        description="One fold of a benchmark",
        labels=tuple(names),
        input=Input(kind="waveform"),
        window_s=3.0,
        hop_s=1.0,
        min_s=0.3,
        clip_s=12.0,
        temperature=temperature,
        abstain=Abstain(confidence=0.0),
        corpora=job.manifest.corpora,
        protocol=job.protocol,
        licence=Licence(code="Apache-2.0", weights="as its corpora", commercial=False),
    )


def _sound(file: Path, u: Utterance) -> Floats:
    x = audio.read(file)
    start = round((u.start or 0.0) * audio.SAMPLE_RATE)
    return x[start : None if u.end is None else round(u.end * audio.SAMPLE_RATE)]


def _sounds(manifest: Manifest) -> Iterator[Floats]:
    """A few clips to check the exported graph on, and a cut one: lengths must differ."""
    step = max(1, len(manifest) // _EXPORT_SOUNDS)
    sounds = [_sound(manifest.file(u), u) for u in manifest.utterances[::step][:_EXPORT_SOUNDS]]
    yield from sounds
    yield sounds[0][: max(4800, len(sounds[0]) // 2)] if len(sounds[0]) > 4800 else np.tile(sounds[0], 2)


# --- features ---------------------------------------------------------------------------------------


def _vectors(job: Job) -> Floats:
    """Functionals ``(n, d)`` of all clips, kept under a key of the clips and of the code that makes them."""
    seen = hashlib.sha256(Path(front_end.__file__ or "").read_bytes())
    for u in job.manifest:
        sound = hash_file(job.manifest.file(u))
        seen.update(f"{u.id}\t{u.start}\t{u.end}\t{sound}\n".encode("utf-8", "surrogateescape"))
    file = job.cache / f"vox-{seen.hexdigest()[:16]}.npy"
    if not file.exists():
        with replaced(file) as half, half.open("wb") as stream:
            np.save(stream, _computed(job))
    kept: Floats = np.load(file, allow_pickle=False)
    return kept


def _computed(job: Job) -> Floats:
    items = [(job.manifest.file(u), u) for u in job.manifest]
    chunks = [items[n : n + _PER_WORKER] for n in range(0, len(items), _PER_WORKER)]
    if job.workers < 2 or len(chunks) < 2:
        return np.concatenate([_vectors_of(chunk) for chunk in chunks])
    with ProcessPoolExecutor(job.workers, mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(_vectors_of, chunks)))


def _vectors_of(items: Sequence[tuple[Path, Utterance]]) -> Floats:
    front = front_end.FrontEnd(NET.front).eval()
    rows = []
    with torch.inference_mode():
        for file, u in items:
            x = _sound(file, u)
            rows.append(front(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0].numpy())
    return np.stack(rows)
