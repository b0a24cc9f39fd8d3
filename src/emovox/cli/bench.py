"""``emovox bench``: what recipes and configs reach under strict and leaky protocols, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox._files import write_text
from emovox.cli.models import Form
from emovox.cli.terminal import Progress, say
from emovox.cli.training import Data, Seed, Store, Workers, check_config, config_of, need_classical
from emovox.errors import ConfigError, ManifestError

if TYPE_CHECKING:
    from emovox.datasets import Manifest
    from emovox.datasets.overlap import Fingerprint
    from emovox.training.bench import Plan, Recipe, Settings
    from emovox.training.config import Config

__all__ = ["bench", "divided"]

_ROWS_FILE = "bench.jsonl"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What all corpora and configs of a command are asked for."""

    protocols: list[str]
    allow: tuple[str, ...]
    listen: bool
    output: Path


@dataclass(frozen=True, slots=True)
class _Task:
    """One row to be made."""

    plan: Plan
    settings: Settings
    recipe: Recipe
    folder: Path
    """Where its folds are kept."""


def bench(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS...|CONFIG... [KEY=VALUE]...",
            help="Names of corpora below --root, or manifests; or configs, YAML files, and changes to them.",
        ),
    ],
    data: Data = None,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Where the corpora lie, one folder each.")
    ] = Path(),
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="R", help="For corpora: vox, or your own as module:function.")
    ] = "vox",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="P,P",
            help="What to compare (see docs/evaluation.md); for configs also augmented/P: copies, then P.",
        ),
    ] = "emobox,random",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="WHAT", help="contaminated: train it, stamped; missing: lacking clips."
        ),
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Train a tenth: to see that all works, not to report.")
    ] = False,
    listen: Annotated[
        bool, typer.Option("--listen/--no-listen", help="Search for copies across each split by ear.")
    ] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where folds are kept, and gone on from.")
    ] = Path("runs/bench"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train folds again that are there.")] = False,
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    format: Annotated[
        Form, typer.Option("--format", "-f", help="table (Markdown), or json: one row a line.")
    ] = Form.table,
) -> int:
    """Train a recipe, or configs, fold by fold; print strict and leaky scores and the gap between them.

    Needs the extra `train`. An interrupted benchmark, started again, goes on where it stopped. Configs whose
    folds lie in one DIR stand in one table, those of earlier commands too.

    Exit code: 0 when all worked, 2 when the request cannot be met; nothing is trained then.
    """
    wish = _Wish(divided(protocol), tuple(allow or ()), listen, output)
    if any(_is_of_config(word) for word in words):
        tasks = _of_configs(words, data, seed, short, store, wish)
        rows = _earlier(output)
    elif data:
        raise ConfigError(
            "--data is for configs; a corpus is named as it is:  emovox bench CORPUS --root DIR"
        )
    else:
        tasks, rows = _of_corpora(words, root, recipe, seed, short, wish), {}
    for task in tasks:
        _work(task, rows, workers=workers, fresh=fresh, format=format)
        text = _table(rows)
        write_text(output / _ROWS_FILE, "".join(_line(row) for row in rows.values()))
        write_text(output / "bench.md", text)
    if format is Form.table:
        typer.echo(text, nl=False)
    return 0


def divided(protocols: str) -> list[str]:
    """The protocols between the commas; names of speakers after a comma belong to what stands before.

    >>> divided("emobox,speakers/a,b,random")
    ['emobox', 'speakers/a,b', 'random']
    """
    from emovox.datasets.protocols import KINDS

    found: list[str] = []
    for part in protocols.split(","):
        if found and found[-1].startswith("speakers/") and part.split("/")[0] not in KINDS:
            found[-1] += f",{part}"
        elif part.strip():
            found.append(part.strip())
    return list(dict.fromkeys(found))


_Rows = dict[tuple[str, str, str], dict[str, Any]]
"""Rows by recipe, corpus and protocol."""


def _work(task: _Task, rows: _Rows, *, workers: int, fresh: bool, format: Form) -> None:
    from emovox.training.bench import run

    plan, settings = task.plan, task.settings
    say(f"{settings.recipe}, {plan.corpus}, {plan.protocol}: {len(plan.splits)} to train; {plan.stamp}")
    row = run(plan, settings, out=task.folder, recipe=task.recipe, workers=workers, fresh=fresh, tell=say)
    for key, earlier in list(rows.items()):  # one line of the table is one system
        same = all(earlier[name] == row[name] for name in ("config", "seed", "short"))
        if key[:2] == (settings.recipe, plan.corpus) and not same:
            del rows[key]
    rows[settings.recipe, plan.corpus, plan.protocol] = row
    if format is Form.json:
        typer.echo(_line(row), nl=False)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _table(rows: _Rows) -> str:
    from emovox.reports import bench_markdown, systems_markdown

    every = list(rows.values())
    return systems_markdown(every) if any(row["config"] for row in every) else bench_markdown(every)


def _earlier(output: Path) -> _Rows:
    """Rows of configs that an earlier command has left."""
    try:
        lines = (output / _ROWS_FILE).read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return {(row["recipe"], row["corpus"], row["protocol"]): row for row in found if row["config"]}
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version
        return {}


# --------------------------------------------------------------------------------------- configs


def _is_of_config(word: str) -> bool:
    return "=" in word or Path(word).suffix.lower() in (".yaml", ".yml")


def _of_configs(
    words: Sequence[str],
    data: Sequence[str] | None,
    seed: int | None,
    short: bool,
    store: Path | None,
    wish: _Wish,
) -> list[_Task]:
    """Everything that a command's configs want trained; none is, before all are known to be possible."""
    need_classical()
    from emovox.features.cache import FeatureCache, default_folder
    from emovox.training.experiment_bench import ConfigRecipe, config_settings

    files = [word for word in words if "=" not in word]
    _check_names(files)
    changes = [word for word in words if "=" in word]
    kept = FeatureCache(default_folder() if store is None else store)
    configs = {
        Path(file).stem: config_of([file, *changes], None, None, data, None, None, seed) for file in files
    }
    for config in configs.values():
        check_config(config)
    plans, tasks = _Plans(wish), []
    for name, config in configs.items():
        settings = config_settings(config, name=name, short=short)
        recipe = ConfigRecipe(config, kept)
        tasks += [
            _Task(plans.of(config, protocol), settings, recipe, wish.output / name)
            for protocol in wish.protocols
        ]
    return tasks


def _check_names(files: Sequence[str]) -> None:
    if strange := [file for file in files if not _is_of_config(file)]:
        raise ConfigError(
            f"{strange[0]!r} stands among configs, which name their own data; for other data:  --data PATH"
        )
    if not files:
        raise ConfigError("settings alone were given; expected a config before them, such as configs/x.yaml")
    names = [Path(file).stem for file in files]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two configs are called {twice[0]!r}; their folds would lie in one folder")


class _Plans:
    """What configs are about, opened, listened to and audited once for all that ask for the same."""

    def __init__(self, wish: _Wish) -> None:
        self._wish = wish
        self._clips: dict[tuple[object, ...], Manifest] = {}
        self._prints: dict[tuple[str, ...], dict[str, Fingerprint]] = {}
        self._plans: dict[tuple[object, ...], Plan] = {}

    def of(self, config: Config, protocol: str) -> Plan:
        from emovox.training.config import to_yaml
        from emovox.training.experiment_bench import AUGMENTED, config_plan

        manifest = self._opened(config.data, config.labels)
        copies = to_yaml(config) if protocol.startswith(AUGMENTED) else ""
        key = (config.data, config.labels, protocol, copies)
        if key in self._plans:
            return self._plans[key]
        progress = Progress(config.augment.copies * len(manifest))
        try:
            self._plans[key] = config_plan(
                config,
                manifest,
                protocol,
                folder=self._wish.output,
                allow=self._wish.allow,
                prints=self._prints.get(config.data),
                tell=progress.at,
            )
        finally:
            progress.hide()
        return self._plans[key]

    def _opened(self, data: tuple[str, ...], labels: str) -> Manifest:
        from emovox.datasets.loading import Dataset

        if (data, labels) in self._clips:
            return self._clips[data, labels]
        problem = Dataset.load(data, labels=labels)
        for note in problem.notes:
            say(note)
        if self._wish.listen and data not in self._prints:
            every = Dataset.load(data).manifest
            self._prints[data] = _heard("+".join(every.corpora), every)
        self._clips[data, labels] = problem.manifest
        return problem.manifest


# --------------------------------------------------------------------------------------- corpora


def _of_corpora(
    names: Sequence[str], root: Path, recipe: str, seed: int | None, short: bool, wish: _Wish
) -> list[_Task]:
    from emovox.training.bench import Settings, find_recipe

    trainer = find_recipe(recipe)
    settings = Settings(recipe=recipe, short=short, seed=seed or 0)
    return [
        _Task(plan, settings, trainer, wish.output)
        for name in dict.fromkeys(names)
        for plan in _plans(name, root, wish)
    ]


def _plans(name: str, root: Path, wish: _Wish) -> list[Plan]:
    from emovox.training.bench import plan

    corpus, manifest = _opened(name, root)
    plans = [plan(manifest, protocol, corpus=corpus, allow=wish.allow) for protocol in wish.protocols]
    if not wish.listen:
        return plans
    prints = _heard(corpus, manifest)
    return [
        plan(manifest, protocol, corpus=corpus, allow=wish.allow, prints=prints)
        for protocol in wish.protocols
    ]


def _heard(corpus: str, manifest: Manifest) -> dict[str, Fingerprint]:
    from emovox.datasets.overlap import listen

    say(f"{corpus}: listening to {len(manifest)} clips for copies")
    prints, failed = listen(manifest)
    for key, why in failed.items():
        say(f"{key}: {why}")
    if failed:
        raise ManifestError(f"{corpus}: {len(failed)} clips cannot be read; mend or leave them out")
    return prints


def _opened(name: str, root: Path) -> tuple[str, Manifest]:
    from emovox.datasets import CORPORA
    from emovox.datasets.loading import Dataset

    if name not in CORPORA and Path(name).is_file():
        corpus, found = Path(name).stem, Dataset.load(name)
    else:
        place = root / name
        corpus, found = name, Dataset.load(place if place.is_dir() else root, corpus=name)
    for line in found.notes:
        say(line)
    return corpus, found.manifest
