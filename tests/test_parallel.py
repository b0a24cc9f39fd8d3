"""Worker pools: order, isolation of failures, no orphans; predict_many on top of them."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import emovox
from emovox._parallel import AHEAD, Outcome, map_items, map_unordered
from emovox.errors import AudioDecodeError, ConfigError, EmovoxError

CLIP = Path(__file__).parents[1] / "tests" / "synthetic" / "happy.flac"


def work(item: Any) -> Any:
    """What the workers here do: an item says what is to become of it."""
    if item == "refused":
        raise AudioDecodeError("refused.wav is no sound")
    if item == "bug":
        raise ZeroDivisionError("a bug")
    if item == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "exit":
        os._exit(3)
    if item == "lambda":
        return lambda: None
    if item == "pid":
        return os.getpid()
    if item == "threads":
        return os.environ.get("OPENBLAS_NUM_THREADS")
    if isinstance(item, float):
        time.sleep(item)
    return item


def factory() -> Callable[[Any], Any]:
    return work


def broken_factory() -> Callable[[Any], Any]:
    raise EmovoxError("the model is gone")


def dying_factory() -> Callable[[Any], Any]:
    os._exit(7)


def sometimes_killed_factory(starts: Path, killed: set[int]) -> Callable[[Any], Any]:
    """Counts how often it was called; of some calls, the process is killed in the middle."""
    with starts.open("a") as stream:
        stream.write(".")
    if len(starts.read_text()) in killed:
        os.kill(os.getpid(), signal.SIGKILL)
    return fatal_at_minus_one


def fatal_at_minus_one(item: int) -> int:
    if item == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def no_children() -> bool:
    return not multiprocessing.active_children()


# ------------------------------------------------------------------------------------------ the engine


@pytest.mark.parametrize("workers", [1, 3])
def test_outcomes_in_input_order(workers: int) -> None:
    items = [0.3, "a", 0.1, "b", "c", 0.0, *range(20)]
    assert list(map_items(factory, items, workers=workers)) == [Outcome(item, item) for item in items]
    assert list(map_items(factory, [], workers=workers)) == []
    assert no_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_item(workers: int) -> None:
    items = ["a", "refused", "b", "bug", "c"]
    assert list(map_items(factory, items, workers=workers)) == [
        Outcome("a", "a"),
        Outcome("refused", error="refused.wav is no sound"),
        Outcome("b", "b"),
        Outcome("bug", error="ZeroDivisionError: a bug"),
        Outcome("c", "c"),
    ]


def test_fatal_item() -> None:
    items = ["segfault", 0.2, "a", "exit", "segfault", "b", 0.1, "exit"]
    outcomes = list(map_items(factory, items, workers=2))
    assert [o.item for o in outcomes] == items
    for outcome in outcomes:
        if outcome.item in ("segfault", "exit"):
            fate = "SIGSEGV" if outcome.item == "segfault" else "exit code 3"
            assert outcome.value is None
            assert outcome.error == f"the process working on it died ({fate})"
        else:
            assert outcome == Outcome(outcome.item, outcome.item)
    assert no_children()


@pytest.mark.parametrize(
    ("chosen", "theirs"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": "2"}, None)]
)
def test_blas_threads(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], theirs: str | None) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    assert [outcome.value for outcome in map_items(factory, ["threads"] * 3, workers=2)] == [theirs] * 3
    assert dict(os.environ) == before


def test_unpicklable_items() -> None:
    thing = lambda: None  # noqa: E731
    first, second, third = map_items(factory, [thing, "lambda", "a"], workers=2)
    assert first.error is not None
    assert "cannot be sent to" in first.error
    assert second.error is not None
    assert "cannot be sent back" in second.error
    assert third == Outcome("a", "a")


def test_processes_are_reused() -> None:
    assert len({o.value for o in map_items(factory, ["pid"] * 12, workers=2)}) <= 2
    assert len({o.value for o in map_items(factory, ["pid"], workers=8)}) == 1
    assert {o.value for o in map_items(factory, ["pid"] * 3, workers=1)} == {os.getpid()}


def test_endless_input() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Any]:
        for i in itertools.count():
            taken.append(i)
            yield 0.5 if i == 0 else i

    outcomes = map_items(factory, endless(), workers=2)
    assert taken == []
    next(outcomes)
    assert len(taken) <= 2 * AHEAD + 1
    assert [next(outcomes).value for _ in range(30)] == list(range(1, 31))
    assert len(taken) <= 31 + 2 * AHEAD
    outcomes.close()  # type: ignore[attr-defined]
    assert no_children()


def test_failing_input() -> None:
    def cut_off() -> Iterator[int]:
        yield 1
        raise RuntimeError("the list broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        list(map_items(factory, cut_off(), workers=2))
    assert no_children()


def test_failing_start() -> None:
    with pytest.raises(EmovoxError, match="could not start: the model is gone"):
        list(map_items(broken_factory, range(5), workers=2))
    with pytest.raises(EmovoxError, match=r"exit code 7.*__main__"):
        list(map_items(dying_factory, range(5), workers=2))
    with pytest.raises(EmovoxError, match="could not start"):
        list(map_items(dying_factory, [b"x" * 10_000_000], workers=2))  # too large for the pipe to swallow
    assert no_children()


def test_killed_start(tmp_path: Path) -> None:
    def starts() -> int:
        return len((tmp_path / "starts").read_text())

    killed = partial(sometimes_killed_factory, tmp_path / "starts", {2, 3, 5})
    outcomes = list(map_unordered(killed, [1, -1, 2, -1, 3], workers=1))
    assert [outcome.value for outcome in outcomes] == [1, None, 2, None, 3]
    assert starts() == 6
    (tmp_path / "starts").unlink()
    assert [outcome.value for outcome in map_items(killed, [1, -1, 2, -1, 3], workers=2)] == [
        1,
        None,
        2,
        None,
        3,
    ]
    (tmp_path / "starts").unlink()
    always = partial(sometimes_killed_factory, tmp_path / "starts", set(range(2, 99)))
    with pytest.raises(EmovoxError, match=r"could not start: it died \(SIGKILL\)"):
        list(map_unordered(always, [1, -1, 2, 3], workers=1))
    assert starts() == 1 + 4
    (tmp_path / "starts").unlink()
    with pytest.raises(EmovoxError, match=r"could not start: it died \(SIGKILL\)"):
        list(map_unordered(partial(sometimes_killed_factory, tmp_path / "starts", {1}), [1], workers=1))
    assert starts() == 1, "nothing has ever started: it is no accident"
    assert no_children()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True, None])
def test_workers_is_validated(workers: Any) -> None:
    with pytest.raises(ConfigError, match="workers"):
        map_items(factory, [], workers=workers)


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return path


def test_factory_of_unguarded_script(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import time
        from emovox._parallel import map_items
        def factory(): return str
        print(list(map_items(factory, [1, 2], workers=2)))
        """,
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def run_script(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script(tmp_path, text)], capture_output=True, text=True, timeout=60, check=False
    )


def test_predict_many_in_plain_script(tmp_path: Path, tiny_bundle: Path) -> None:
    """Without a guard, and with another start method set: the workers do not import the script."""
    for start in ("", "import multiprocessing; multiprocessing.set_start_method('spawn')"):
        done = run_script(
            tmp_path,
            f"""
            {start}
            import emovox
            model = emovox.load({str(tiny_bundle)!r})
            print(len([p.scores for p in model.predict_many([{str(CLIP)!r}] * 3, workers=2)]))
            """,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout == "3\n"


def test_predict_many_in_daemonic_process(tmp_path: Path, tiny_bundle: Path) -> None:
    done = run_script(
        tmp_path,
        f"""
        import multiprocessing
        import emovox
        def task(workers):
            model = emovox.load({str(tiny_bundle)!r})
            try:
                print(len(list(model.predict_many([{str(CLIP)!r}], workers=workers))), flush=True)
            except emovox.EmovoxError as error:
                print(error, flush=True)
        if __name__ == "__main__":
            for workers in (1, 2):
                process = multiprocessing.get_context("spawn").Process(
                    target=task, args=(workers,), daemon=True
                )
                process.start()
                process.join()
        """,
    )
    assert done.stderr == ""
    one, two = done.stdout.splitlines()
    assert one == "1"
    assert "daemonic" in two
    assert "workers=1" in two


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int], *, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc who is alive")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_orphans(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C goes to all processes of the terminal; a kill to the parent alone."""
    path = script(
        tmp_path,
        """
        import os, sys, time
        from emovox._parallel import map_items
        def work(item):
            os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: two processes share the pipe
            time.sleep(1.5 if sys.argv[1] == "9" else 60)
        def factory(): return work
        if __name__ == "__main__":
            list(map_items(factory, range(10), workers=2))
        """,
    )
    child = subprocess.Popen(
        [sys.executable, path, str(int(how))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    pids = [int(child.stdout.readline()) for _ in range(2)]
    assert all(map(alive, pids))
    if how == signal.SIGINT:
        os.killpg(child.pid, how)
    else:
        child.kill()
    assert gone(pids)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == -how
    if how == signal.SIGINT:
        assert errors.count("Traceback") == 1  # the parent's own; the workers say nothing


# ------------------------------------------------------------------------------------------ recordings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings, three of them broken."""
    folder = tmp_path_factory.mktemp("calls")
    rng = np.random.default_rng(5)
    for i in range(12):
        x = np.convolve(rng.standard_normal(4000 * (i + 1)), np.hanning(2 + i), "same") * 0.02
        soundfile.write(folder / f"{i:02}.wav", x, 16_000)
    (folder / "03.wav").write_text("no sound")
    (folder / "07.wav").write_bytes(b"")
    (folder / "11.wav").unlink()
    return folder


def test_one_worker_equals_two(tiny_bundle: Path, folder: Path) -> None:
    model = emovox.load(tiny_bundle)
    files = [folder / f"{i:02}.wav" for i in range(12)]
    one = list(model.predict_many(files, labels="sad,angry,fear"))
    two = list(model.predict_many(files, labels="sad,angry,fear", workers=2))
    assert json.dumps([p.to_dict() for p in one]) == json.dumps([p.to_dict() for p in two])
    assert [pickle.dumps(p) for p in one] == [pickle.dumps(pickle.loads(pickle.dumps(p))) for p in two]
    assert one == two
    assert [p.file for p in one] == [str(file) for file in files]
    assert [p.file for p in one if p.error] == [str(folder / f"{i}.wav") for i in ("03", "07", "11")]
    for p in one:
        if not p.error:
            assert p == model.predict(p.file or "", labels="sad,angry,fear")


def test_predict_many_channels(tiny_bundle: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 2)) * [0.01, 0.1]
    soundfile.write(tmp_path / "call.wav", x, 16_000)
    model = emovox.load(tiny_bundle)
    sources = [tmp_path / "call.wav", "nowhere.wav", tmp_path / "call.wav"]
    rows = [(p.channel, p.error is None) for p in model.predict_many(sources, channels="each")]
    assert rows == [(0, True), (1, True), (None, False), (0, True), (1, True)]


def test_predict_many_bytes(tiny_bundle: Path, folder: Path) -> None:
    model = emovox.load(tiny_bundle)
    data = (folder / "05.wav").read_bytes()
    for workers in (1, 2):
        good, bad = model.predict_many([data, b"nothing"], workers=workers)
        assert (good.file, good.error) == (None, None)
        assert bad.error is not None


def test_predict_many_missing_bundle(make_bundle: Any, folder: Path) -> None:
    path = make_bundle()
    model = emovox.load(path)
    (path / "model.onnx").unlink()
    with pytest.raises(EmovoxError, match="could not start"):
        list(model.predict_many([folder / "00.wav"], workers=2))
    assert len(list(model.predict_many([folder / "00.wav"]))) == 1


def test_partial_factory() -> None:
    assert [o.value for o in map_items(partial(partial, work), [1, 2], workers=2)] == [1, 2]
