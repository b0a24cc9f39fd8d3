"""Imports go down the list of packages, nothing imports in a circle, importing does nothing, CI runs the
README."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from emovox.cli import main
from emovox.errors import MissingExtraError

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"

LEVELS = (
    {
        "errors",
        "labels",
        "results",
        "disclaimer",
        "_arrays",
        "_files",
        "_parallel",
        "_settings",
        "_telemetry",
    },
    {"audio"},
    {"nets"},
    {"features", "datasets"},
    {"augment", "transcripts"},
    {"bundles"},
    {"inference"},
    {"integrations", "speech"},
    {"reports"},
    {"evaluation"},
    {"training"},
    {"batch"},
    {"server", "client", "telegram", "mcp_server"},
    {"cli", "__main__"},
)
"""The packages in the order of docs/architecture.md: a package imports its own level or those above it."""

WITHOUT_FRAMEWORKS = {
    *LEVELS[0],
    "audio",
    *("bundles", "inference", "batch", "server", "client", "telegram", "mcp_server"),
}
FRAMEWORKS = {
    *("torch", "sklearn", "scipy", "librosa", "pandas", "numba", "matplotlib", "lightning", "transformers"),
}
OPTIONAL = FRAMEWORKS | {
    *("av", "onnx", "onnxscript", "opensmile", "audiomentations", "skl2onnx", "pyarrow", "mlflow", "ray"),
    *(
        "threadpoolctl",
        "optuna",
        "yaml",
        "fsspec",
        "huggingface_hub",
        "telegram",
        "rich",
        "fastapi",
        "uvicorn",
    ),
    *("starlette", "websockets", "prometheus_client", "httpx", "anyio", "python_multipart", "sounddevice"),
    *("safetensors", "peft", "pydantic", "mcp", "mcp_types"),
}


KNOWN: set[str] = set()
"""Imports that still go up: each is to be mended and taken from here."""


@cache
def source_trees() -> dict[str, ast.Module]:
    """The syntax tree of every module of the package, by its dotted name."""
    found = {}
    for path in sorted((SRC / "emovox").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def level_of(package: str) -> int:
    return next(i for i, level in enumerate(LEVELS) if package in level)


def imported_names(module: str, *, at_import: bool = False) -> Iterator[str]:
    """Dotted names that a module imports: lazily and for type checkers too, unless ``at_import``."""
    todo: list[ast.AST] = [source_trees()[module]]
    while todo:
        node = todo.pop()
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import; write the whole name"
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in source_trees() else str(node.module)
        todo.extend(ast.iter_child_nodes(node))


def package_imports(*, at_import: bool = False) -> set[tuple[str, str]]:
    """Every pair (importer, imported) of modules of this package; the lazy ``emovox/__init__`` left out."""
    return {
        (module, name)
        for module in source_trees()
        for name in imported_names(module, at_import=at_import)
        if module != "emovox" and name in source_trees() and name != "emovox"
    }


def test_every_package_has_a_level() -> None:
    packages = {package_of(module) for module in source_trees()} - {""}
    assert packages == set().union(*LEVELS)


def test_imports_go_down() -> None:
    pairs = package_imports()
    assert ("emovox.bundles.registry", "emovox.errors") in pairs  # the trees were read
    wrong = {f"{a} -> {b}" for a, b in pairs if level_of(package_of(a)) < level_of(package_of(b))} | {
        f"{a} -> {b}" for a, b in pairs if {package_of(a), package_of(b)} == {"features", "datasets"}
    }
    assert sorted(wrong - KNOWN) == []
    assert sorted(KNOWN - wrong) == [], "mended: take it from the list"


def test_no_import_cycles() -> None:
    below: dict[str, set[str]] = {module: set() for module in source_trees()}
    for a, b in package_imports():
        if a != b:
            below[a].add(b)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for deeper in sorted(below[name]):
                visit(deeper, (*path, name))
            done.add(name)

    for name in below:
        visit(name, ())


def test_prediction_needs_no_framework() -> None:
    for module in source_trees():
        if package_of(module) in WITHOUT_FRAMEWORKS or module == "emovox":
            assert not {name.split(".")[0] for name in imported_names(module)} & FRAMEWORKS, module


def test_metrics_need_numpy_alone() -> None:
    for module in source_trees():
        if module.startswith("emovox.evaluation.metrics"):
            foreign = {name.split(".")[0] for name in imported_names(module)} - set(sys.stdlib_module_names)
            assert foreign <= {"numpy", "emovox"}, module


def exported_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("module", list(source_trees()))
def test_module_imports_with_its_exports(module: str) -> None:
    tree = source_trees()[module]
    assert ast.get_docstring(tree) or not tree.body, "no docstring"
    names = exported_names(tree) or []
    assert len(names) == len(set(names))
    try:
        loaded = importlib.import_module(module)
    except MissingExtraError as error:
        pytest.skip(str(error))
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")
    assert [name for name in names if not hasattr(loaded, name)] == []


def run_python(code: str) -> str:
    """What ``code`` prints in a process of its own, where it must not fail or warn."""
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


def test_importing_has_no_side_effects() -> None:
    runtime = [
        module
        for module in source_trees()
        if package_of(module)
        in {"audio", "bundles", "inference", "batch", "cli", "errors", "labels", "results"}
        and not {n.split(".")[0] for n in imported_names(module, at_import=True)} & OPTIONAL
    ]
    code = f"""
import importlib, os, signal, sys, threading, warnings
import numpy, onnxruntime, pydantic, soundfile, soxr, typer  # their own effects are theirs
def state():
    hooks = (sys.excepthook, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    filters = list(warnings.filters)
    return dict(os.environ), os.getcwd(), filters, threading.active_count(), hooks, numpy.geterr()
before = state()
for name in {runtime!r}:
    importlib.import_module(name)
assert state() == before, (before, state())
print(*[m for m in {sorted(FRAMEWORKS)!r} if m in sys.modules])
"""
    assert len(runtime) > 30
    assert run_python(code).split() == []


# --- what is kept beside the package --------------------------------------------------------------


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_readme_has_two_commands_and_ci_runs_them() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of("README.md"), re.M | re.S)
    commands = [block.strip() for block in blocks[:2]]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands), "each set-up command is one line"
    assert "venv" in commands[0]
    assert "predict examples/" in commands[0]
    assert commands[1] == "scripts/test"
    lines = [line.strip() for line in text_of(".ci/run").splitlines()]
    assert commands[0] in lines
    assert any(line.startswith(commands[1]) for line in lines)


DOCUMENTS = [
    f"docs/tutorials/{name}.md" for name in ("first-steps", "own-labels", "evaluate", "transcripts", "live")
]


def test_first_use_takes_three_lines() -> None:
    first = re.findall(r"^```python\n(.*?)^```", text_of("README.md"), re.M | re.S)[0]
    assert len([line for line in first.splitlines() if line]) == 3


@pytest.mark.parametrize("document", ["README.md", *DOCUMENTS])
def test_commands_of_documents_exist(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(document)
    typed = re.findall(
        r"\bemovox (\w+)([^#|`\n]*)",
        "\n".join(re.findall(r"^\$ .*", text, re.M) + re.findall(r"^\| `(emovox [^`]+)`", text, re.M)),
    )
    assert {"predict", "listen"} & {name for name, _ in typed}
    for name, rest in typed:
        group = rest.split()[:1] if name in ("data", "batch") else []
        assert main([name, *group, "--help"]) == 0
        known = capsys.readouterr().out
        for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", rest):
            assert f"{option} " in known or f"{option}," in known, f"emovox {name} {rest}"
