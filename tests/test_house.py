"""The house keeps its plan: imports go down, `__all__` is whole, imports do nothing, CI runs the README."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import emovox
from emovox.cli import main
from emovox.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"

LEVELS: dict[str, int] = {
    **dict.fromkeys(("errors", "files", "labels", "notice", "places", "privacy", "results", "suffixes"), 0),
    **dict.fromkeys(("audio", "spectrum", "vad", "windows", "features", "corpora", "metrics"), 1),
    "config": 1,
    **dict.fromkeys(("graph", "bundle", "profile", "judge", "listening", "zoo", "recognizer", "request"), 2),
    **dict.fromkeys(("hub", "modelcard"), 2),
    **dict.fromkeys(("nets", "augment", "train", "classical", "selection", "tune", "export"), 3),
    **dict.fromkeys(
        ("evaluate", "bench", "recipe", "experiment", "experiment_nets", "comparison", "runs", "tracking"), 3
    ),
    **dict.fromkeys(("linear", "calibration", "export_classical", "quantise"), 3),
    **dict.fromkeys(("copies", "experiment_bench"), 3),
    "experiment_search": 3,
    **dict.fromkeys(("batch", "serve", "bot", "report", "extract", "client", "microphone"), 3),
    **dict.fromkeys(("cli", "__main__"), 4),
}
"""Room -> level, as docs/architecture.md draws them. A new room gets its line here."""

WORKSHOP = {"nets", "augment", "train", "classical", "selection", "tune", "export", "evaluate"} | {
    *("bench", "recipe", "linear", "calibration", "export_classical", "quantise", "experiment_search"),
    *("experiment", "experiment_nets", "experiment_bench", "copies", "comparison", "runs", "tracking"),
}
JUDGES = {"evaluate", "bench"}
"""Of the workshop, those who ask the recogniser as a user would."""
STREET = {"batch", "serve", "bot", "report", "client", "microphone"}
RUNTIME = {
    "errors",
    "files",
    "labels",
    "notice",
    "privacy",
    "places",
    "results",
    "suffixes",
    "audio",
    "vad",
    "windows",
    "graph",
    "bundle",
    "profile",
    "judge",
    "listening",
    "zoo",
} | {
    *("recognizer", "request", "batch", "extract", "serve", "bot", "client", "microphone", "cli", "__main__"),
}
HANDED_OUT = {("evaluate", "batch")}
"""What the workshop hands to the street: clips under many conditions, to several processes."""
UPWARD = {("recognizer", "batch")}
"""The one import that goes up: `Recognizer.predict_many` hands its files to `batch`, when it is called."""

HEAVY = {
    "torch",
    "sklearn",
    "scipy",
    "librosa",
    "pandas",
    "numba",
    "matplotlib",
    "lightning",
    "transformers",
    "huggingface_hub",
    "rich",
}
EXTRAS = HEAVY | {
    "av",
    "onnx",
    "onnxscript",
    "opensmile",
    "audiomentations",
    "skl2onnx",
    "pyarrow",
    "mlflow",
    "threadpoolctl",
    "optuna",
    "yaml",
    "ray",
    "fsspec",
}

SIBLINGS: dict[str, tuple[set[str], set[str]]] = {
    "features": (
        {"frames", "prosody", "voiced", "definition"},
        {"families", "composed", "sets", "blocks", "encoders", "core"},
    ),
    "nets": ({"blocks", "folded", "functionals", "layers", "framed"}, {"table", "encoder"}),
    "corpora": (
        {"manifest", "corpus", "drawing"},
        {
            "scan",
            "protocols",
            "audit",
            "splitfile",
            "plans",
            "formats",
            "prepare",
            "stats",
            "fetch",
            "record",
        },
    ),
    "augment": ({"base"}, {"kinds"}),
    "serve": (
        {"schemas", "wire", "uploads", "logs", "metrics"},
        {"service", "http", "socket", "app", "server"},
    ),
}
"""Room -> (what its files may share, files that join the others)."""


@dataclass(frozen=True)
class Module:
    """One source file of the package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def parts(self) -> list[str]:
        return self.name.split(".")

    @property
    def room(self) -> str:
        return self.parts[1] if len(self.parts) > 1 else ""

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((SRC / "emovox").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return found


def imports(module: Module, *, only_at_import: bool = False) -> Iterator[str]:
    """Dotted names that a module imports (those only for type checkers left out)."""
    todo: list[ast.AST] = [module.tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo.extend(node.orelse)
            continue
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: a relative import; write the whole name"
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in modules() else str(node.module)
        todo.extend(ast.iter_child_nodes(node))


def house_imports() -> Iterator[tuple[Module, Module]]:
    """Every pair (importer, imported) inside the package."""
    for module in modules().values():
        for name in imports(module):
            if name in modules():
                yield module, modules()[name]


def test_the_plan_is_read() -> None:
    # Were the walk over the sources broken, every rule below would hold of nothing.
    pairs = {(a.name, b.name) for a, b in house_imports()}
    assert ("emovox.zoo", "emovox.recognizer") in pairs  # inside a function
    assert ("emovox.graph", "emovox.errors") in pairs
    assert ("emovox.cli.app", "emovox.cli.predict") in pairs  # `from package import module`
    assert ("emovox.cli.rows", "emovox.recognizer") not in pairs  # for type checkers only


def test_every_room_has_a_level() -> None:
    rooms = {module.room for module in modules().values()} - {""}
    assert rooms <= LEVELS.keys(), "a new room: give it a level here and a line in docs/architecture.md"


def test_imports_go_down() -> None:
    wrong = {
        f"{a.name} -> {b.name}"
        for a, b in house_imports()
        if a.room and b.room and LEVELS[a.room] < LEVELS[b.room] and (a.room, b.room) not in UPWARD
    }
    assert not wrong


def test_nothing_imports_in_a_circle() -> None:
    below = {m.name: set(imports(m, only_at_import=True)) & modules().keys() for m in modules().values()}
    below["emovox"] = set()  # its names are fetched on first use
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for deeper in below[name]:
                visit(deeper, (*way, name))
            done.add(name)

    for name in below:
        visit(name, ())


def test_siblings_share_only_their_base() -> None:
    wrong = set()
    for a, b in house_imports():
        if a.room != b.room or a.room not in SIBLINGS or a.is_package or b.is_package:
            continue
        base, joins = SIBLINGS[a.room]
        data = {"emobox"} if a.room == "corpora" and a.parts[2] in joins else set()
        if a.parts[2] not in joins and b.parts[2] not in base | data:
            wrong.add(f"{a.name} -> {b.name}")
    assert not wrong


def test_rooms_that_do_not_know_each_other() -> None:
    for a, b in house_imports():
        pair = f"{a.name} -> {b.name}"
        assert {a.room, b.room} != {"corpora", "features"}, pair
        assert not (a.room in WORKSHOP and b.room in STREET) or (a.room, b.room) in HANDED_OUT, pair
        assert not (a.room in STREET and b.room in WORKSHOP), pair
        if a.room in WORKSHOP - JUDGES and LEVELS.get(b.room) == 2:
            assert b.room in {"bundle", "graph"}, (
                f"{pair}: the workshop meets the recogniser in bundle, evaluate and bench alone"
            )


def test_prediction_never_asks_for_the_heavy() -> None:
    for module in modules().values():
        if module.room in RUNTIME or module.name == "emovox":
            heavy = {name.split(".")[0] for name in imports(module)} & HEAVY
            assert not heavy, f"{module.name} imports {heavy}"


def test_metrics_stand_on_numpy_alone() -> None:
    for module in modules().values():
        if module.room == "metrics":
            foreign = {name for name in imports(module) if name.split(".")[0] not in sys.stdlib_module_names}
            assert {name for name in foreign if not name.startswith("emovox.metrics")} <= {
                "numpy",
                "numpy.typing",
            }


ENCODERS = {
    "emovox.features.encoders": {"torch", "safetensors", "transformers", "transformers.utils"},
    "emovox.features.checkpoints": {"huggingface_hub"},
}
"""What pretrained encoders need when one is opened, and not before."""


def test_features_stand_on_numpy_and_the_transform() -> None:
    for module in modules().values():
        if module.room == "features":
            foreign = {name for name in imports(module) if name.split(".")[0] not in sys.stdlib_module_names}
            assert {name for name in foreign if not name.startswith("emovox.features")} <= {
                *("numpy", "numpy.typing", "emovox.spectrum", "emovox.errors", "emovox"),
                *ENCODERS.get(module.name, ()),
            }, module.name
            assert not {name.split(".")[0] for name in imports(module, only_at_import=True)} & EXTRAS


def defined(module: Module) -> set[str]:
    """Public names that a module makes itself; CamelCase assignments, aliases of types, are left out."""
    made: set[str] = set()
    assigned: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Assign):
            assigned |= {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assigned.add(node.target.id)
    constants = {name for name in assigned if not re.fullmatch("([A-Z][a-z0-9]+)+", name)}
    return {name for name in made | constants if not name.startswith("_")}


def listed(module: Module) -> list[str]:
    """The `__all__` that the source of a module spells out."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "__all__" and node.value:
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module.name} has no __all__")


@pytest.mark.parametrize("name", list(modules()))
def test_all_is_complete_and_the_module_imports(name: str) -> None:
    module = modules()[name]
    names = listed(module)
    assert len(names) == len(set(names)), "a name twice"
    assert defined(module) <= set(names), "public names that __all__ does not list"
    if not module.is_package:
        made = defined(module) | set(re.findall(r"^([A-Z]\w+)\b.*=", module.path.read_text(), re.M))
        assert set(names) <= made, "__all__ lists names made elsewhere"
    try:
        loaded = importlib.import_module(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert [n for n in names if not hasattr(loaded, n)] == []


def test_every_module_has_a_docstring() -> None:
    assert [module.name for module in modules().values() if not ast.get_docstring(module.tree)] == []


def run_python(code: str) -> str:
    """What `code` prints, in a process of its own, where it must not fail or warn."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_import_emovox_is_light() -> None:
    loaded = run_python("import emovox, sys; print(*sorted(m.split('.')[0] for m in sys.modules))").split()
    assert "emovox" in loaded
    assert not {"numpy", "onnxruntime", "pydantic", "soundfile", "typer"} & set(loaded)


def test_importing_does_nothing() -> None:
    runtime = [m.name for m in modules().values() if m.room in RUNTIME]
    code = f"""
import importlib, os, signal, sys, threading, warnings
import numpy, onnxruntime, pydantic, soundfile, soxr, typer  # what these do is theirs
def world():
    hooks = (sys.excepthook, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    filters = list(warnings.filters)
    return dict(os.environ), os.getcwd(), filters, threading.active_count(), hooks, numpy.geterr()
before = world()
for name in {runtime!r}:
    importlib.import_module(name)
assert world() == before, (before, world())
print(*[m for m in {sorted(HEAVY)!r} if m in sys.modules])
"""
    assert run_python(code).split() == []


# --- what stands beside the package ---------------------------------------------------------------


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def readme_commands() -> list[str]:
    """The set-up commands: the single lines of the README's first two `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of("README.md"), re.M | re.S)
    return [block.strip() for block in blocks[:2]]


def test_readme_has_two_commands_and_ci_runs_them() -> None:
    commands = readme_commands()
    assert len(commands) == 2
    assert all("\n" not in command for command in commands), "each set-up command is one line"
    assert "venv" in commands[0]
    assert "predict examples/" in commands[0]
    assert commands[1] == "scripts/test"
    lines = [line.strip() for line in text_of(".ci/run").splitlines()]
    assert commands[0] in lines
    assert any(line.startswith(commands[1]) for line in lines)


def test_the_readmes_python_is_python() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text_of("README.md"), re.M | re.S)
    assert len(blocks) >= 4
    for block in blocks:
        compile(block, "README.md", "exec")
    assert len([line for line in blocks[0].splitlines() if line]) == 3, "the first use takes three lines"


def test_the_readmes_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    typed = re.findall(
        r"\bemovox (\w+)([^#|`\n]*)", "\n".join(re.findall(r"^\$ .*", text_of("README.md"), re.M))
    )
    assert {"predict", "doctor"} <= {name for name, _ in typed}
    for name, rest in typed:
        # `emovox data check ...` is a command of its own.
        group = rest.split()[:1] if name in ("data", "batch") else []
        assert main([name, *group, "--help"]) == 0
        known = capsys.readouterr().out
        for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", rest):
            assert f"{option} " in known or f"{option}," in known, f"emovox {name} {rest}"


def test_every_install_command_takes_the_constraints() -> None:
    # Without them torch brings several GB of CUDA.
    for path in ("README.md", "CONTRIBUTING.md", "scripts/test", ".ci/run"):
        for line in text_of(path).splitlines():
            if re.search(r"pip install\b.*(\s\.(\s|$)|-e '?\.)", line):
                assert "-c constraints.txt" in line, f"{path}: {line}"


def test_scripts_are_short_and_runnable() -> None:
    for name in ("test", "lint", "check"):
        path = ROOT / "scripts" / name
        assert path.stat().st_mode & 0o111
        assert len(path.read_text().splitlines()) <= 12
    assert "scripts/lint" in text_of(".ci/run")


def shipped() -> Iterator[Path]:
    """Files of the repository's own folders."""
    for folder in (
        "src",
        "tests",
        "scripts",
        "examples",
        "benchmarks",
        "recipes",
        "configs",
        "models",
        "docs",
        ".ci",
    ):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(".pyc"):
                yield path
    yield from (path for path in ROOT.glob("*") if path.suffix in {".md", ".toml", ".txt"})


def test_no_pickles() -> None:
    pickles = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin"}
    assert [path for path in shipped() if path.suffix in pickles] == []


def test_no_path_of_a_machine() -> None:
    homes = re.compile(rb"(?<![\w.])/(?:" + b"|".join([b"work", b"root", b"home", b"Users"]) + rb")/\w")
    assert [path for path in shipped() if homes.search(path.read_bytes())] == []


def test_changelog_knows_this_version() -> None:
    assert f"## [{emovox.__version__}]" in text_of("CHANGELOG.md")


def test_licences_are_there() -> None:
    assert "Apache License" in text_of("LICENSE")
    assert "END OF TERMS AND CONDITIONS" in text_of("LICENSE")
    assert "CC BY-NC-SA 4.0" in text_of("LICENSE-WEIGHTS.md")


def test_we_never_claim_to_know_what_people_feel() -> None:
    assert "expressed emotion" in text_of("README.md").lower()
    assert "Art. 5(1)(f)" in text_of("README.md")
    assert "Art. 50(3)" in text_of("README.md")
