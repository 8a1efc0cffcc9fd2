"""Speed and memory of the dashboard: starts it on a results folder and drives a browser.

    .venv/bin/python benchmarks/library.py make FOLDER --videos 1000 --faces 10_000_000
    .venv/bin/python -m benchmarks.dashboard FOLDER

It needs playwright (in the extra dev) and Chromium. Each line has the wall time from the click to the changed page, and
the CPU time that the server used meanwhile, which depends less on other work of the machine.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from dashboard.text import NO_MATCHING_VIDEO, OPEN_VIDEO_HINT

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
REPEATS = 5
SESSIONS = 6


class Server:
    """A running dashboard."""

    def __init__(self, results: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-c", "from flows.cli.app import main; main()", "dashboard", str(results)]
        started_s = time.perf_counter()
        self.process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        print(f"{'server starts':42} {time.perf_counter() - started_s:6.2f} s, {self.cpu_s():6.2f} s of processor time")

    def cpu_s(self) -> float:
        """CPU time in seconds that the server has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def memory(self) -> str:
        """Resident memory: the current and the highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = dict(line.split(":", 1) for line in status.splitlines())
        now, peak = (int(kilobytes[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return f"{now:.0f} MB, peak {peak:.0f} MB"


def measure(server: Server, name: str, do: Callable[[], None], prepare: Callable[[], object] = lambda: None) -> None:
    """Print the median and the best of `REPEATS` runs."""
    seconds, cpu = [], []
    for _ in range(REPEATS):
        prepare()
        before_s, cpu_before_s = time.perf_counter(), server.cpu_s()
        do()
        seconds.append(time.perf_counter() - before_s)
        cpu.append(server.cpu_s() - cpu_before_s)
    middle, best = statistics.median(seconds), min(seconds)
    print(f"{name:42} {middle:6.2f} s, best {best:6.2f} s, {statistics.median(cpu):6.2f} s of server time")


def new_page(browser: Browser, seen: list[Page]) -> Page:
    """A page of a browser with an empty cache."""
    while seen:
        seen.pop().context.close()
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(120_000)
    seen.append(page)
    return page


def main() -> None:
    """Measure, and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    server = Server(parser.parse_args().results)
    print(f"memory before the first page: {server.memory()}")
    try:
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            measure_library(server, browser)
            measure_timeline(server, browser)
            measure_sessions(server, browser)
            browser.close()
    finally:
        server.process.terminate()
        server.process.wait()


def measure_library(server: Server, browser: Browser) -> None:
    """Measure the first page, and a filter on it."""
    seen: list[Page] = []

    def first_page() -> None:
        seen[0].goto(server.address)
        seen[0].get_by_text(OPEN_VIDEO_HINT).wait_for()
        seen[0].locator("td.link").first.wait_for()

    new_page(browser, seen)
    started_s = time.perf_counter()
    first_page()
    wall_s = time.perf_counter() - started_s
    print(f"{'first page after the start':42} {wall_s:6.2f} s, {server.cpu_s():6.2f} s of server time since the start")
    measure(server, "first page", first_page, lambda: new_page(browser, seen))
    page = seen[0]
    everything = str(page.get_by_text(OPEN_VIDEO_HINT).text_content())
    search = page.get_by_role("textbox", name="Search")
    texts = iter(["no such video", ""] * REPEATS)

    def enter(text: str) -> None:
        search.fill(text)
        search.press("Enter")
        page.get_by_text(NO_MATCHING_VIDEO if text else everything, exact=True).wait_for()

    measure(server, "filter by text and back, each", lambda: enter(next(texts)))


def measure_timeline(server: Server, browser: Browser) -> None:
    """Measure the timeline of the first video, and a zoom."""
    seen: list[Page] = []

    def open_timeline() -> None:
        with seen[0].expect_response(lambda answer: "/fervid/window/" in answer.url):
            seen[0].goto(f"{server.address}/timeline")

    measure(server, "timeline, first page", open_timeline, lambda: new_page(browser, seen))
    page = seen[0]
    zoom_in = page.get_by_role("button", name="zoom in (+)")
    everything = page.get_by_role("button", name="show the whole video (0)")

    def show_all() -> None:
        with page.expect_response(lambda answer: "/fervid/window/" in answer.url):
            everything.click()

    def zoom() -> None:
        with page.expect_response(lambda answer: "/fervid/window/" in answer.url) as asked:
            zoom_in.click()
        asked.value.finished()

    measure(server, "zoom, until its rows are there", zoom, show_all)


def measure_sessions(server: Server, browser: Browser) -> None:
    """Measure the memory of the server while several sessions open all pages in turn."""
    pages = [new_page(browser, []) for _ in range(SESSIONS)]
    for name in ("timeline", "moments", "compare", ""):
        for page in pages:
            page.goto(f"{server.address}/{name}")
            page.wait_for_selector("h1")
            page.wait_for_selector("[data-test-script-state=notRunning]")
    print(f"memory with {SESSIONS} sessions: {server.memory()}")


if __name__ == "__main__":
    main()
