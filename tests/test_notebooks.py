"""The notebooks run from top to bottom, and are kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run_notebook(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Execute a notebook in a kernel of its own; return it with its outputs."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "src"))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}})
    return client.execute()


def texts(notebook: Any) -> str:
    """Everything that the cells printed, and the text form of what they show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text", "") or str(output.get("data", {})) for output in outputs)


def test_four_notebooks_without_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["adapt", "evaluate", "first-steps", "train-and-compare"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code), path.name
        assert 'zipfile.ZipFile("emovox.zip")' in "".join(code[0]["source"])


EXPECTED = {
    "adapt": ["weight 0.40", "intended   before  after"],
    "evaluate": ["'stamp': 'strict'", "contaminated", "white noise"],
    "first-steps": ["happy.opus: happy 0.9", "label None, reason silence", "image/png", "audio/mpeg"],
    "train-and-compare": ["speaker-kfold/4", "speaker-dependent", "chance 25"],
}


# Libraries of notebooks warn about their own event loops.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "sklearn") if path.stem != "first-steps" else ("matplotlib",):
        pytest.importorskip(name)
    shown = texts(run_notebook(path, monkeypatch))
    for expected in EXPECTED[path.stem]:
        assert expected in shown
