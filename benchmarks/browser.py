"""How long does a clip of 3 s take in the browser, next to the Python package, and how large is the page?

    python benchmarks/browser.py --runtime node_modules [--runs 15]

``node_modules`` holds the runtime: ``npm install onnxruntime-web@1.30.0 @echogarden/fvad-wasm@0.2.0``.
Chromium without a window and Python take turns on the same clip, both in one thread; times are those of
`predict` from the bytes of a WAV file on.
"""

from __future__ import annotations

import argparse
import base64
import functools
import gzip
import http.server
import io
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from measure import finish, table

import emovox
from emovox.bundles.registry import find
from emovox.inference.web import write_web_page

CLIP = Path(__file__).parents[1] / "examples" / "angry.opus"
PREDICT = """async (data) => {
  const x = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer, start = performance.now();
  const answer = await window.emovox.predict(x);
  return [performance.now() - start, answer.scores];
}"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main() -> int:
    """Measure both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    x, rate = soundfile.read(CLIP, dtype="float32")
    stream = io.BytesIO()
    soundfile.write(stream, np.resize(x, 3 * rate), rate, format="WAV")
    rows: list[dict[str, Any]] = []
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as scratch:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        for model in ("fast", "default"):
            folder = Path(scratch) / model
            n_bytes = write_web_page(find(model), folder, options.runtime)
            files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
            packed = sum(len(gzip.compress(content)) for content in files)
            rows.append(
                {
                    "model": model,
                    "MB": round(n_bytes / 1e6, 1),
                    "MB gzip": round(packed / 1e6, 1),
                    **_time(browser, folder, model, stream.getvalue(), options.runs),
                }
            )
        version = browser.version
        browser.close()
    print(f"3 s clip, one thread, Chromium {version}")
    table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])
    same = all(row["difference"] < most for row, most in zip(rows, (1e-3, 1e-2), strict=True))
    return finish("browser", {"rows": rows}, {"the scores are Python's": same})


def _time(browser: Any, folder: Path, model: str, clip: bytes, runs: int) -> dict[str, float]:
    handler = functools.partial(_Handler, directory=str(folder))
    recognizer, data = emovox.load(model), base64.b64encode(clip).decode()
    times: dict[str, list[float]] = {"browser": [], "python": []}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.locator("#file:enabled").wait_for(state="attached", timeout=120_000)
        for run in range(runs + 2):
            start_s = time.perf_counter()
            expected = recognizer.predict(clip).scores
            python_ms = 1e3 * (time.perf_counter() - start_s)
            browser_ms, scores = page.evaluate(PREDICT, data)
            if run >= 2:  # warm
                times["browser"].append(browser_ms)
                times["python"].append(python_ms)
        page.close()
        server.shutdown()
    difference = max(abs(scores[label] - p) for label, p in expected.items())
    least = {name: min(values) for name, values in times.items()}
    return {
        "browser ms": round(least["browser"]),
        "python ms": round(least["python"]),
        "ratio": round(statistics.median(times["browser"]) / statistics.median(times["python"]), 1),
        "difference": float(f"{difference:.1g}"),
    }


if __name__ == "__main__":
    sys.exit(main())
