"""A config as a recipe of the benchmark: what does it reach, fold by fold, strict and leaky?

::

    config = read_config("configs/seed-lstm.yaml")
    problem = Dataset.load(config.data, labels=config.labels)
    made = config_plan(config, problem.manifest, "emobox", folder=Path("runs/bench"))
    row = run(made, config_settings(config), out="runs/bench", recipe=ConfigRecipe(config, store))

Each fold is what ``emovox train`` makes of that split; features, and those of changed copies, come from the
store once for all folds. Beside `emovox.datasets.protocols` there is one more, ``augmented/P``:
copies are made first, and P splits clips and copies alike. It is how many published figures came about.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emovox.augment.clips import augmented_manifest, write_augmented
from emovox.bundles import write_bundle
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import Fingerprint
from emovox.datasets.splits import COPY_OF
from emovox.errors import ConfigError
from emovox.features import find_feature_set
from emovox.features.cache import FeatureCache
from emovox.features.extraction import extract
from emovox.training.bench import Job, Made, Plan, Settings, plan
from emovox.training.config import AugmentConfig, Config, NetModel, to_yaml
from emovox.training.experiment import Trained, train
from emovox.training.experiment_nets import clip_table, train_net

__all__ = ["AUGMENTED", "ConfigRecipe", "config_plan", "config_settings"]

AUGMENTED = "augmented/"
"""Before a protocol: copies are made before the split."""

_SHORTER = 10
"""A short run trains a net for this many times fewer epochs."""


def config_settings(config: Config, *, name: str | None = None, short: bool = False) -> Settings:
    """What a fold's figures depend on: all of the config but its protocol, which the benchmark sets."""
    text = to_yaml(replace(config, protocol=None))
    return Settings(recipe=name or config.name, short=short, seed=config.seed, config=text)


def config_plan(
    config: Config,
    manifest: Manifest,
    protocol: str,
    *,
    folder: Path,
    allow: Sequence[str] = (),
    prints: Mapping[str, Fingerprint] | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Plan:
    """The config's clips under a protocol, audited. Only copies ask for more than data and labels.

    Args:
        manifest: the config's clips (`emovox.training.experiment.opened`).
        folder: where copies that are made before the split are written.
        prints: fingerprints of the clips; ``None``: nobody listened.
        tell: called with how many such copies are made.

    Raises:
        ProtocolError: there is no such protocol, or a split is contaminated and that is not allowed.
        ConfigError: copies are wanted, and the config makes none.
    """
    early, copies = protocol.startswith(AUGMENTED), folder / "copies"
    augmentation = config.augmentation() if early else None
    if early and augmentation is None:
        raise ConfigError(f"{config.name} makes no copies; expected augment.steps with one step at least")
    made = plan(
        manifest if augmentation is None else augmented_manifest(manifest, augmentation, copies),
        protocol.removeprefix(AUGMENTED),
        corpus="+".join(manifest.corpora),
        allow=(*allow, "missing"),
        prints=prints,
    )
    if augmentation is not None:
        write_augmented(manifest, augmentation, copies, progress=tell)
    return replace(made, protocol=protocol)


@dataclass(frozen=True, slots=True)
class ConfigRecipe:
    """Trains each fold as the config says."""

    config: Config
    store: FeatureCache

    def __call__(self, job: Job) -> Made:
        """Train on the job's training part, write the bundle.

        Raises:
            ConfigError: a setting is impossible, or there is too little to train on.
            BundleError: model and graph disagree.
        """
        config = self._of(job)
        way = self._net if isinstance(config.model, NetModel) else self._estimator
        trained, seconds = way(config, job)
        write_bundle(job.folder, trained.model, trained.spec, replace=True)
        return Made(trained.n_parameters, seconds)

    def _of(self, job: Job) -> Config:
        config = self.config
        if any(COPY_OF in u.extra for u in job.manifest):  # the copies are among the clips
            config = replace(config, augment=AugmentConfig())
        if job.settings.short:
            epochs = max(1, config.train.epochs // _SHORTER)
            config = replace(config, train=replace(config.train, epochs=epochs))
        return replace(config, protocol=job.split.name)

    def _estimator(self, config: Config, job: Job) -> tuple[Trained, float]:
        numbers = find_feature_set(config.features.set, config.features.overrides)
        near = job.manifest.select([*job.split.train, *job.split.validation])
        rows = extract(near, numbers, workers=job.workers, cache=self.store)
        augmentation = config.augmentation()
        changed = None
        if augmentation is not None:
            copies = augmentation.clips(near.select(job.split.train))
            changed = extract(copies, numbers, workers=job.workers, cache=self.store)
        began = time.process_time()
        return train(config, job.manifest, job.split, rows, changed), time.process_time() - began

    def _net(self, config: Config, job: Job) -> tuple[Trained, float]:
        near = job.manifest.select([*job.split.train, *job.split.validation])
        clips = clip_table(near, config, training=job.split.train, workers=job.workers, store=self.store)
        # Named after what is trained: of a training of something else nothing is gone on with.
        digest = hashlib.sha256(f"{to_yaml(config)} {job.protocol}".encode()).hexdigest()[:8]
        folder = job.folder.with_name(f"{job.folder.name}-training-{digest}")
        began = time.process_time()
        trained = train_net(config, job.manifest, job.split, clips, folder=folder)
        seconds = time.process_time() - began
        shutil.rmtree(folder, ignore_errors=True)
        return trained, seconds
