"""Making the map of 20,000 and of 100,000 embeddings, and moving it in Chromium.

    python benchmarks/map.py [--rounds 3]

The embeddings are made: 1,280 numbers, 100 clusters with noise. Making is `beamvec map` without
pictures, in a process of its own. Then Chromium opens the page in a window of 1,280 x 900, without
a GPU, and a mouse drags the map and turns its wheel for some seconds: the longest task of the
page's thread is what a user could feel as a standstill.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import sys
import time

import inputs
import processes
import reading
from inputs import Setup
from measure import Goal, Report, take_turns

_ROWS = (20_000, 100_000)
_DIMENSION = 1280
_CLUSTERS = 100
_MOVES = 120
_WATCH = """
window.tasks = [];
new PerformanceObserver((list) => tasks.push(...list.getEntries().map((task) => task.duration)))
  .observe({ type: "longtask" });
window.frames_ = 0;
const tick = () => { frames_ += 1; requestAnimationFrame(tick); };
requestAnimationFrame(tick);
"""


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    report = Report("map", "making a map, and moving it in a browser")
    for full in _ROWS:
        rows = setup.scaled(full)
        dataset, page = setup.work / f"map-{rows}", setup.work / f"map-{rows}.html"
        reading.write_dataset(dataset, rows, _DIMENSION, _CLUSTERS)
        made = functools.partial(
            processes.call_script, "map.py", "--make", str(dataset), str(page), str(rows)
        )
        moved = functools.partial(processes.call_script, "map.py", "--move", str(page))
        found = take_turns({f"making {rows:,}": made, f"moving {rows:,}": moved}, 1, report)
        for name, results in found.items():
            for quantity, unit in results[0].items() if results else ():
                values = [result[quantity][0] for result in results]
                goal = Goal("<=", 200) if quantity == "longest task" else None
                report.add(f"{name}: {quantity}", unit[1], values, goal)
        shutil.rmtree(dataset)
    return report


def make(dataset: str, page: str, rows: str) -> dict[str, tuple[float, str]]:
    """Run `beamvec map`; return its time, its memory and the page's size, each with its unit."""
    from beamvec.pipeline.commands.main import main

    begin = time.perf_counter()
    if main(["map", dataset, "--html", page, "--max-rows", rows, "--pictures", "0"]):
        raise SystemExit("it failed")
    seconds = time.perf_counter() - begin
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "time": (seconds, "s"),
        "processor time": (time.process_time(), "s"),
        "peak memory": (peak_kb / 1024, "MiB"),
        "page": (os.path.getsize(page) / 1e6, "MB"),
    }


def move(page: str) -> dict[str, tuple[float, str]]:
    """Move and zoom a page's map; return its longest task and frames/s, each with its unit."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_find_browser(), args=_FLAGS)
        window = browser.new_page(viewport={"width": 1280, "height": 900})
        begin = time.perf_counter()
        window.goto(f"file://{os.path.abspath(page)}")
        window.wait_for_selector("#map-frame[data-ready]")
        ready_s = time.perf_counter() - begin
        window.wait_for_timeout(500)
        window.evaluate(_WATCH)
        begin = time.perf_counter()
        _drag_and_turn(window)
        window.wait_for_timeout(200)
        seconds = time.perf_counter() - begin
        # Tasks of less than 50 ms are no entries.
        longest_ms = window.evaluate("Math.max(50, ...tasks)")
        frames = window.evaluate("frames_")
        browser.close()
    return {
        "until it can be used": (ready_s, "s"),
        "longest task": (longest_ms, "ms"),
        "frames": (frames / seconds, "frames/s"),
    }


def _drag_and_turn(window) -> None:  # type: ignore[no-untyped-def]
    box = window.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    window.mouse.move(x, y)
    for turn in (0, -400, -400, 800):
        window.focus("#map")
        window.mouse.wheel(0, turn)
        window.mouse.down()
        for i in range(_MOVES):
            window.mouse.move(x + 2 * (i % 60), y + i % 40)
        window.mouse.up()


_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]


def _find_browser() -> str:
    found = os.environ.get("BEAMVEC_CHROMIUM") or shutil.which("chromium")
    if not found:
        print("needs Chromium on the path, or BEAMVEC_CHROMIUM", file=sys.stderr)
        raise SystemExit(processes.SKIPPED_CODE)
    return found


if __name__ == "__main__":
    for flag, call in {"--make": make, "--move": move}.items():
        if sys.argv[1:2] == [flag]:
            sys.exit(processes.answer(call, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
