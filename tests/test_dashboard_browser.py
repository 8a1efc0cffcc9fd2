"""The dashboard as people use it: in the system's Chromium, over real results and a real video."""

import contextlib
import csv
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import write_clip
from PIL import ExifTags, Image
from playwright.sync_api import Browser, Page, Playwright, Position, Response, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from scenes import Face, feeling, observe, still_landmarks
from test_dashboard import wait_for_status

from analytics import connect
from analytics.results.ids import file_sha256, video_id
from analytics.results.notes import Step, add_steps, hide, notes_path, read_notes, replace_steps
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.timeline.observations import missing_frames_table
from dashboard.data.results import CHECK_EVERY_S
from dashboard.views.library import COLUMNS
from dashboard.widgets.mount import PLAYER
from fer_models.atomic_files import replaced_atomically
from fer_models.labels import EMOTION_COLORS, EMOTIONS

pytestmark = pytest.mark.browser
# Turn off Chromium's own network requests: there may be no network, and no test needs one.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
HEADER_PX = 60  # height of Streamlit's header, which covers the page
AXIS_PX = 38  # width left of the charts
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = ("", "timeline", "moments", "compare", "sql", "models", "runs")
TIMEOUT_MS = 120_000  # for one step, on a slow and busy machine
HANG_S = 900  # a test that takes longer has hung: scripts in a page have no timeout of their own
# The height of an element once it has stayed the same while the page was drawn 20 times.
FINAL_HEIGHT = """async (element) => {
    let [height, times] = [element.clientHeight, 0];
    while (times < 20) {
        await new Promise(requestAnimationFrame);
        times = element.clientHeight === height ? times + 1 : 0;
        height = element.clientHeight;
    }
    return height;
}"""
SCREENSHOTS = os.environ.get("FERVID_SCREENSHOTS")  # a folder to keep them in
PLAYS = "(!video.paused || video.ended)"  # or has played to its end before a slow test looked
# The player is in a shadow root, which `document.querySelector` does not search.
FIND_VIDEO = """
    const roots = [document];
    let video = null;
    while (roots.length && !video) {
        const root = roots.pop();
        video = root.querySelector("video");
        for (const node of root.querySelectorAll("*")) if (node.shadowRoot) roots.push(node.shadowRoot);
    }
"""
NO_PEOPLE = {
    "tracks": [],
    "untracked": [],
    "episodes": [],
    "markers": [],
    "steps": [],
    "emotions": EMOTIONS,
    "colors": {},
}
TRACK = {
    "id": 7,
    "name": "P7",
    "label": "P7",
    "hidden": False,
    "seen_s": 2.2,
    "emotion": "sad",
    "shares": [0, 0, 0, 0, 1, 0, 0],
    "switch_s": None,
    "good_share": 0.02,
    "labeled_share": 1,
    "left_out_share": 0,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s at 10 frames per second: a square that moves one pixel a frame."""
    frames = np.full((120, 240, 320, 3), 70, np.uint8)
    for i, pixels in enumerate(frames):
        pixels[170:230, 110 + i : 170 + i] = 200
    return write_clip(tmp_path_factory.mktemp("video") / "alice.mp4", frames, fps=10)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """In the clip, one person is happy for 6 s and then sad, another is neutral; the second video is damaged."""
    store = Store(tmp_path_factory.mktemp("dashboard") / "results")
    alice = [Face(i, x=140 + i, size_px=60, p=feeling("happy" if i < 60 else "sad")) for i in range(120)]
    other = [Face(i, x=40, size_px=60, p=feeling("neutral")) for i in range(120)]
    timeline = build_timeline(observe(np.arange(120) / 10, alice + other), TimelineConfig())
    known = {"codec": "h264", "container": "mov,mp4,m4a,3gp,3g2,mj2", "duration_s": 12.0, "n_frames": 120}
    known |= {"width_px": 320, "height_px": 240, "path": str(clip)}
    store.commit_analysis({"video_id": video_id(file_sha256(clip)), "analysis_id": "a1", **known}, timeline)
    store.commit_failure({"video_id": "v0000000000000009", "analysis_id": "a9", "path": "in/broken.mp4"}, "not a video")
    return store.root


@pytest.fixture(scope="module")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder, in which the dashboard looks for the user's models."""
    return tmp_path_factory.mktemp("data")


class Dashboard:
    """A running dashboard, which is started again if it has ended."""

    def __init__(self, results: Path, data_home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        code = "from flows.cli.app import main; main()"
        self._command = [sys.executable, "-c", code, "dashboard", str(results), "--port", str(port)]
        self._environment = {**os.environ, "XDG_DATA_HOME": str(data_home)}
        self._process: subprocess.Popen[bytes] | None = None

    def ensure_running(self) -> None:
        """Start the server if there is none, and wait until it answers."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment
            )
        assert wait_for_status(f"{self.address}/_stcore/health", self._process) == 200

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=TIMEOUT_MS / 1000)


class Chromium:
    """A browser process, which is started again if it has ended."""

    def __init__(self, playwright: Playwright, executable: str) -> None:
        self._playwright, self._executable = playwright, executable
        self._browser: Browser | None = None

    def browser(self) -> Browser:
        """The running browser."""
        if self._browser is None or not self._browser.is_connected():
            self._browser = self._playwright.chromium.launch(
                executable_path=self._executable, args=FLAGS, timeout=TIMEOUT_MS
            )
        return self._browser

    def kill(self) -> None:
        """End the browser, so that whatever waits for one of its pages fails."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "chrom" in process.name():
                    process.kill()


@pytest.fixture(scope="module")
def dashboard(results: Path, data_home: Path) -> Iterator[Dashboard]:
    running = Dashboard(results, data_home)
    yield running
    running.stop()


@pytest.fixture
def address(dashboard: Dashboard, results: Path) -> Iterator[str]:
    """The address of a running dashboard; the notes of the test are removed after it."""
    dashboard.ensure_running()
    yield dashboard.address
    shutil.rmtree(results / "notes", ignore_errors=True)


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        chromium = Chromium(playwright, chromium_path)
        yield chromium
        chromium.browser().close()


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    """A browser that is killed if the test hangs, and started again for the next one."""
    watchdog = threading.Timer(HANG_S, chromium.kill)
    watchdog.daemon = True
    browser = chromium.browser()
    watchdog.start()
    yield browser
    for context in browser.contexts:
        context.close()
    watchdog.cancel()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a new browser context; the test fails on a script error or a request to another machine."""
    page = new_page(browser)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: check_local(request.url, problems))
    yield page
    assert not problems, problems


def new_page(browser: Browser) -> Page:
    """A page in a new browser context; the fixture `browser` closes it."""
    # A headless browser asks nobody whether a page may copy a link.
    options = {"accept_downloads": True, "permissions": ["clipboard-write"]}
    page = browser.new_context(viewport={"width": 1280, "height": 900}, **options).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    return page


def check_local(url: str, problems: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
        problems.append(f"asked of another machine: {url}")


def open_page(page: Page, url: str) -> None:
    """Open a page, and wait until it is complete: what is clicked while it is being drawn may be replaced."""
    page.goto(url)
    until_still(page)


def open_timeline(page: Page, address: str, query: str = "") -> None:
    open_page(page, f"{address}/timeline{query}")
    page.wait_for_selector("video")
    expect(page.get_by_role("button", name="play or pause (space)")).to_be_visible()
    until(page, "video => video.readyState >= 2")


def until(page: Page, holds: str) -> None:
    """Wait until a JavaScript function of the video element returns true."""
    page.wait_for_function(f"() => {{ {FIND_VIDEO} return video !== null && ({holds})(video); }}", polling=50)


def until_true(holds: Callable[[], bool], page: Page) -> None:
    """Wait until a function of what the page shows returns true."""
    end_s = time.monotonic() + TIMEOUT_MS / 1000
    while not holds():
        assert time.monotonic() < end_s
        page.wait_for_timeout(50)


def time_of(page: Page) -> float:
    """The current time of the video."""
    return float(page.evaluate(f"() => {{ {FIND_VIDEO} return video.currentTime; }}"))


def until_still(page: Page) -> None:
    """Wait until the page is complete, and nothing moves or fades anymore."""
    expect(page.get_by_text("Labels describe how a face looks")).to_be_visible()  # the last line of every page
    page.wait_for_selector("[data-test-script-state=notRunning]")
    expect(page.locator("[data-stale=true]")).to_have_count(0)  # elements that are being redrawn are pale
    page.wait_for_function(
        """() => {
            const containers = [...document.querySelectorAll("[data-testid=stElementContainer]")];
            const isRunning = (each) => each.playState === "running" && each.effect.getTiming().iterations !== Infinity;
            return [...document.images].every((image) => image.complete)
                && containers.every((node) => getComputedStyle(node).opacity === "1")
                && !document.getAnimations().some(isRunning);
        }""",
        polling=50,
    )


def until_at(page: Page, time_s: float) -> None:
    """Wait until the video is at this time, with a tolerance of a fifth of a frame."""
    until(page, f"video => Math.abs(video.currentTime - {time_s}) < 0.02 && !video.seeking")


def status_and_text(url: str) -> tuple[int, str]:
    """The HTTP status of a URL, and the text of an error."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_MS / 1000) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def remove_video(results: Path, video_id: str) -> None:
    """Remove a video that a test added to the results, which all tests share."""
    for folder in results.glob(f"*/video_id={video_id}"):
        shutil.rmtree(folder)


def shot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def test_a_click_anywhere_in_a_row_opens_the_video(page: Page, address: str) -> None:
    open_page(page, address)
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    page.get_by_role("textbox", name="Search").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No video passes the filters.")).to_be_visible()
    page.get_by_role("textbox", name="Search").fill("alice")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 video. Click one")).to_be_visible()
    until_still(page)
    for cell in ("td.number", "td.link a"):
        with page.context.expect_page() as opened:
            page.locator(cell).first.click(modifiers=["ControlOrMeta"])
        opened.value.wait_for_url("**/timeline?video=v*")
        opened.value.close()
    page.locator("td.number").first.click()
    page.wait_for_url("**/timeline?video=v*")
    page.wait_for_selector("video")
    until_still(page)
    page.get_by_role("link", name="Library").click()
    expect(page.get_by_role("textbox", name="Search")).to_have_value("alice")


def test_thumbnails_are_drawn_from_the_video_and_switched_off(page: Page, address: str) -> None:
    page.goto(address)
    canvas = page.locator("td.thumbnail canvas[data-drawn=true]")
    expect(canvas).to_have_count(1)
    # The square of the clip has the gray level 200 on 70: a bright object is visible on a darker background.
    red = canvas.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return [...d].filter((_, i) => i % 4 === 0 && d[i + 3] > 0); }"
    )
    assert min(red) < 90
    assert max(red) > 180
    until_still(page)
    page.get_by_text("Thumbnails", exact=True).click()
    expect(page.locator("td.thumbnail")).to_have_count(0)


@pytest.fixture
def away(results: Path, tmp_path: Path) -> Iterator[Path]:
    """The path of a video of 2 s whose file will be there later; it is elsewhere.mp4 beside that path now."""
    path = write_clip(tmp_path / "away.mp4", np.full((20, 48, 64, 3), 90, np.uint8), fps=10)
    known = video_id(file_sha256(path))
    about = {"path": str(path), "codec": "h264", "container": "mov,mp4,m4a,3gp,3g2,mj2", "duration_s": 2.0}
    timeline = build_timeline(observe(np.arange(20) / 10, []), TimelineConfig())
    Store(results).commit_analysis({"video_id": known, "analysis_id": "a4", **about}, timeline)
    yield path.rename(tmp_path / "elsewhere.mp4").with_name(path.name)
    remove_video(results, known)


def test_a_missing_thumbnail_says_why_until_the_file_is_there(page: Page, address: str, away: Path) -> None:
    open_page(page, address)
    canvas = page.locator("tr").filter(has_text="away.mp4").locator("td.thumbnail canvas")
    expect(canvas).to_have_attribute("title", "No thumbnail. The file is not where it was: page Timeline asks for it.")
    away.with_name("elsewhere.mp4").rename(away)
    page.get_by_role("link", name="Runs").click()
    expect(canvas).to_have_count(0)
    page.get_by_role("link", name="Library").click()
    expect(canvas).to_have_attribute("data-drawn", "true")


def test_the_notice_is_one_line_once_it_was_read(page: Page, address: str) -> None:
    open_page(page, address)
    expect(page.get_by_text("Before you use this on people")).to_be_visible()
    page.get_by_role("button", name="I have read this").click()
    expect(page.get_by_text("Before you use this on people")).to_have_count(0)
    open_page(page, f"{address}/runs")
    expect(page.get_by_text("Emotion recognition is regulated")).to_be_visible()
    expect(page.get_by_text("Before you use this on people")).to_have_count(0)
    page.get_by_role("button", name="Details of the legal notice").click()
    expect(page.get_by_text("Before you use this on people")).to_be_visible()


def test_a_moment_is_played_from_its_start(page: Page, address: str, results: Path) -> None:
    (start_s,) = connect(results).sql("SELECT start_s FROM episodes WHERE emotion = 'sad'").fetchall()[0]
    open_page(page, f"{address}/moments")
    with page.expect_download() as download:
        page.get_by_role("button", name="All rows as CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert {row["emotion"]: float(row["start_s"]) for row in rows} == {"happy": 0, "sad": start_s}
    until_still(page)
    page.get_by_role("button", name="play sad of").click()
    page.wait_for_url("**/timeline?*")
    until(page, f"video => {PLAYS} && video.currentTime > {start_s - 1}")
    assert "&t=" in page.url
    assert "play" not in page.url  # a reload does not play it again
    page.go_back()
    page.wait_for_url(f"{address}/moments")


def test_a_click_opens_what_the_row_says_although_the_list_has_changed(
    page: Page, address: str, results: Path, clip: Path, moving: str
) -> None:
    known = video_id(file_sha256(clip))
    sql = "SELECT track_id FROM episodes WHERE emotion = 'neutral' AND video_id = $known"
    ((track_id,),) = connect(results).sql(sql, params={"known": known}).fetchall()
    page.route("**/fervid/etag", lambda route: route.abort())  # the page does not notice that somebody was hidden
    open_page(page, f"{address}/moments")
    page.get_by_role("button", name="neutral", exact=True).click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_text([re.compile("alice.mp4"), re.compile("moving.mp4")])
    hide(results, known, track_id, True)
    page.wait_for_timeout(1500 * CHECK_EVERY_S)  # until the server looks for changes again
    rows.last.locator("td.emotion").click()
    page.wait_for_url(f"**/timeline?video={moving}&t=*")


def test_open_pages_follow_who_is_hidden(page: Page, address: str, results: Path, clip: Path) -> None:
    for url in (f"{address}/moments", address):
        open_page(page, url)
        for is_hidden in (True, False):
            for track_id in (0, 1):
                hide(results, video_id(file_sha256(clip)), track_id, is_hidden)
            expect(page.locator("td.emotion .swatch").first).to_be_visible(visible=not is_hidden)


def test_long_paths_are_shown_to_their_end_in_a_window_of_1280_px(browser: Browser) -> None:
    path = "/".join(["participants_of_the_second_year"] * 4) + "/interview_after_the_second_session_camera_left.mp4"
    values = {"video": Path(path).name, "path": path, "emotion": "happy", "people": "2", "href": ""}
    values |= {name: [[[0, 100, 3]]] for name in ("episodes", "shares")} | {"duration": "00:12.0", "low_quality": "3 %"}
    columns = [asdict(column) for column in COLUMNS]
    data = {"label": "Videos", "columns": columns, "rows": [values], "colors": EMOTION_COLORS, "thumbnails": False}
    page = new_page(browser)  # of 1280 px, of which margins take 64 and the thumbnails 132
    page.route("**/*", lambda route: route.fulfill(path=PLAYER / Path(route.request.url).name))
    page.goto("http://127.0.0.1/rows.css")
    page.evaluate(
        """async ([data, css]) => {
            document.body.innerHTML = `<style>${css}</style><main style="width: 1084px"></main>`;
            const parentElement = document.querySelector("main");
            (await import("/rows.js")).mount({ parentElement, data, setTriggerValue() {} });
        }""",
        [data, (PLAYER / "rows.css").read_text(encoding="utf-8")],
    )
    assert page.locator("td.muted").inner_text() == path
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") <= 1084


def test_the_library_shows_what_comes_while_it_is_open(page: Page, address: str, results: Path) -> None:
    open_page(page, address)
    expect(page.get_by_text("1 video. Click one")).to_be_visible()
    failed = page.locator("[data-testid=stMetric]").filter(has_text="failed")
    expect(failed).to_contain_text("1")
    late = {"video_id": "v0000000000000008", "analysis_id": "a8", "path": "in/late.mp4"}
    Store(results).commit_failure(late, "not a video")
    expect(failed).to_contain_text("2")
    remove_video(results, "v0000000000000008")
    expect(failed).to_contain_text("1")


def test_the_charts_follow_the_video_and_take_it_anywhere(page: Page, address: str, results: Path) -> None:
    open_timeline(page, address)
    play = page.get_by_role("button", name="play or pause (space)")
    play.click()
    until(page, "video => video.currentTime > 0.5")
    play.click()
    until(page, "video => video.paused")
    moved_px = "cursor => new DOMMatrix(getComputedStyle(cursor).transform).e"
    until_true(lambda: page.locator(".cursor").evaluate(moved_px) > 10, page)
    shot(page, "timeline")
    ((track_id, apex_s),) = (
        connect(results).sql("SELECT track_id, apex_s FROM episodes WHERE emotion = 'sad'").fetchall()
    )
    page.get_by_role("button", name=f"sad · P{track_id}").click()
    until_at(page, apex_s)
    expect(page.locator(".tag").filter(has_text=f"P{track_id} · sad")).to_be_visible()
    lane = page.get_by_role("img", name="probabilities of P1 over time")
    width_px = lane.evaluate("lane => lane.clientWidth")
    lane.click(position={"x": AXIS_PX + (width_px - AXIS_PX) * 0.75, "y": 20})
    until(page, "video => Math.abs(video.currentTime - 9) < 0.1")


@pytest.fixture
def moving(results: Path) -> Iterator[str]:
    """The id of the video of `commit_moving`."""
    known = commit_moving(results, "neutral")
    yield known
    remove_video(results, known)


def commit_moving(results: Path, emotion: str) -> str:
    """Add a video of 4 s whose file is missing, with a blink at 1 s and landmarks of a face turned by 12°."""
    n, known = 100, "v0000000000000007"
    openness = np.full(n, 0.3)
    openness[25:29] = 0.05
    landmarks = still_landmarks(
        n,
        eye_openness_left=openness,
        eye_openness_right=openness,
        head_yaw_deg=np.full(n, 12.0),
        points_px=np.full((n, 70, 2), 150.0, np.float32),
    )
    faces = [Face(i, x=150, p=feeling(emotion)) for i in range(n)]
    observed = observe(np.arange(n) / 25, faces, landmarks=landmarks)
    about = {"path": "in/moving.mp4", "width_px": 640, "height_px": 480, "duration_s": 4.0}
    settings = json.dumps({"observe": {"keep_landmarks": True}})
    store = Store(results)
    store.commit_analysis(
        {"video_id": known, "analysis_id": "a7", "settings": settings, **about},
        build_timeline(observed, TimelineConfig()),
    )
    return known


def test_movements_are_shown_below_the_lane_and_lead_to_their_moment(page: Page, address: str, moving: str) -> None:
    open_page(page, f"{address}/timeline?video={moving}")
    lane = page.get_by_role(
        "img", name="movements of P0: 1 blink, 0.0 s of speaking-like movement, 0 nods, 0 head shakes"
    )
    expect(lane).to_be_visible()
    expect(page.get_by_text("movement (speak: speaking-like movement, shake: head shake)")).to_be_visible()
    box = lane.bounding_box()
    assert box is not None
    at_blink: Position = {"x": AXIS_PX + (box["width"] - AXIS_PX) * 1.08 / 4, "y": 4}
    lane.hover(position=at_blink)
    expect(page.get_by_text("blink, 00:01.00, 0.16 s")).to_be_visible()
    lane.click(position=at_blink)
    expect(page.locator(".clock")).to_have_text("00:01.00 / 00:04.0")
    page.keyboard.press("o")
    expect(page.locator(".tag")).to_contain_text("yaw 12°, pitch 0°, roll 0°")
    expect(page.locator(".tag")).to_contain_text("eyes 0.05 left, 0.05 right; mouth 0.00")
    points = page.locator("svg.landmarks path.points").get_attribute("d")
    assert points is not None
    assert points.count("M") == 68
    page.get_by_text("Export", exact=True).click()
    assert {"label", "quality", "blink", "speak", "nod", "shake"} <= texts_of(saved_chart(page)).keys()
    page.get_by_text("Export", exact=True).click()
    page.get_by_role("button", name="movements below the lanes").click()
    expect(lane).to_have_count(0)


def test_a_video_without_movements_and_landmarks_says_so(page: Page, address: str) -> None:
    open_timeline(page, address)
    expect(page.get_by_text("Movements were not measured: they need trusted landmarks")).to_be_visible()
    page.keyboard.press("o")
    expect(page.get_by_role("status")).to_contain_text("fervid analyze --keep-landmarks")


def test_codes_are_shown_below_the_lane_of_the_same_person(page: Page, address: str, results: Path) -> None:
    ((track_id,),) = connect(results).sql("SELECT track_id FROM episodes WHERE emotion = 'sad'").fetchall()
    codes = f"start_s,end_s,code,person\n0,2,joy,P{track_id}\n8,11,sadness,P{track_id}\n"
    open_timeline(page, address)
    page.get_by_role("button", name="Codes").click()
    upload = page.locator("[data-testid=stFileUploader]").filter(has_text="A file of codes").locator("input")
    upload.set_input_files({"name": "codes.csv", "mimeType": "text/csv", "buffer": codes.encode()})
    expect(page.get_by_role("heading", name=f"codes of P{track_id}")).to_contain_text(
        "κ 1.00 · 100 % of 5.0 s the same"
    )
    lane = page.get_by_role("img", name=f"codes of P{track_id}")
    color = """(lane, gutter) => {
        const x = Math.round((gutter + ((lane.clientWidth - gutter) * 1.9) / 12) * devicePixelRatio);
        return [...lane.getContext("2d").getImageData(x, 8, 1, 1).data].slice(0, 3);
    }"""
    until_true(lambda: f"#{bytes(lane.evaluate(color, AXIS_PX)).hex()}" == EMOTION_COLORS["happy"].lower(), page)


def test_zooming_asks_for_finer_rows(page: Page, address: str) -> None:
    open_timeline(page, address)
    with page.expect_response(
        lambda answer: "/fervid/window/" in answer.url and "to_ms=12000" not in answer.url
    ) as asked:
        page.get_by_role("button", name="zoom in (+)").click()
    assert asked.value.json()["to_ms"] - asked.value.json()["from_ms"] == 6000
    expect(page.get_by_text("6.0 s shown")).to_be_visible()
    page.get_by_role("button", name="show the whole video").click()
    expect(page.get_by_text("12.0 s shown")).to_be_visible()


def test_the_overview_of_a_zoomed_video_follows_the_source_and_new_results(
    page: Page, address: str, results: Path, moving: str
) -> None:
    def has_whole_video(source: str) -> Callable[[Response], bool]:
        return lambda answer: "from_ms=0&to_ms=4000&" in answer.url and f"source={source}" in answer.url

    with page.expect_response(has_whole_video("smooth")):
        open_page(page, f"{address}/timeline?video={moving}")
    page.get_by_role("button", name="zoom in (+)").click()
    expect(page.get_by_text("2.0 s shown")).to_be_visible()
    with page.expect_response(has_whole_video("raw")):
        page.get_by_role("button", name="raw").click()
    with page.expect_response(has_whole_video("raw")):
        commit_moving(results, "happy")
    happy = [int(EMOTION_COLORS["happy"][at : at + 2], 16) for at in (1, 3, 5)]
    overview = page.get_by_role("img", name="the whole video")
    at_3_s = """(canvas, gutter) => {
        const x = Math.round((gutter + (canvas.clientWidth - gutter) * 0.75) * devicePixelRatio);
        return [...canvas.getContext("2d").getImageData(x, canvas.height / 2, 1, 1).data].slice(0, 3);
    }"""
    until_true(lambda: overview.evaluate(at_3_s, AXIS_PX) == happy, page)


def test_the_overview_has_a_strip_for_each_person(page: Page, address: str, results: Path) -> None:
    """One person is happy for 6 s and then sad, the other is neutral all the time."""
    rows = connect(results).sql("SELECT track_id FROM tracks ORDER BY n_faces_ok DESC, track_id").fetchall()
    ((happy,),) = connect(results).sql("SELECT track_id FROM episodes WHERE emotion = 'happy'").fetchall()
    names = ["happy", "neutral"] if rows[0][0] == happy else ["neutral", "happy"]  # from the top
    open_timeline(page, address)
    colors = """(canvas, gutter) => {
        const x = Math.round((gutter + ((canvas.clientWidth - gutter) * 3) / 12) * devicePixelRatio);
        const rows = Array.from({ length: canvas.clientHeight }, (_, y) => canvas.getContext("2d")
            .getImageData(x, Math.round(y * devicePixelRatio), 1, 1).data);
        return rows.filter((row) => row[3] === 255).map((row) => [...row].slice(0, 3));
    }"""

    def drawn() -> list[str]:
        overview = page.get_by_role("img", name="the whole video")
        found = [f"#{bytes(color).hex()}" for color in overview.evaluate(colors, AXIS_PX)]
        return [name_of[color] for color, _ in itertools.groupby(found) if color in name_of]

    name_of = {color.lower(): name for name, color in EMOTION_COLORS.items()}
    until_true(lambda: drawn() == names, page)


def test_keys_work_wherever_the_focus_is_but_while_typing(page: Page, address: str) -> None:
    open_timeline(page, address, "?t=3")
    until_at(page, 3)
    for key, time_s in (
        ("ArrowRight", 4),
        (".", 4.1),
        (".", 4.2),
        (",", 4.1),
        ("ArrowLeft", 3.1),
        ("l", 8.1),
        ("j", 3.1),
    ):
        page.keyboard.press(key)
        until_at(page, time_s)
    stacked, lines = (page.get_by_role("button", name=name) for name in ("stacked", "lines"))
    lines.click()
    stacked.click()
    page.keyboard.press("Space")
    until(page, f"video => {PLAYS} && video.currentTime > 3.3")
    page.keyboard.press("k")
    until(page, "video => video.paused")
    # Only who moves the focus with the keyboard presses buttons with the space bar.
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(lines).to_have_attribute("aria-pressed", "true")
    hide = page.get_by_role("button", name="hide P0")
    for leave in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.locator("h1").click(),
        lambda: page.get_by_role("textbox", name="name of P1").focus(),
    ):
        page.get_by_label("change P0").focus()
        page.keyboard.press("Space")
        expect(hide).to_be_visible()
        leave()
        expect(hide).to_be_hidden()
    page.get_by_role("button", name="Markers").focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("A CSV file with the columns start_s")).to_be_visible()
    page.keyboard.press("Escape")
    at_s = time_of(page)
    page.get_by_role("button", name="Validity").click()
    page.get_by_test_id("data-grid-canvas").focus()
    for key in ("ArrowRight", "l", "."):
        page.keyboard.press(key)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert time_of(page) == at_s
    assert page.evaluate(f"() => {{ {FIND_VIDEO} return video.paused; }}")
    page.get_by_role("button", name="play or pause (space)").focus()
    page.keyboard.press("Space")
    until(page, f"video => {PLAYS}")
    page.keyboard.press("k")
    until(page, "video => video.paused")
    page.keyboard.press(">")
    until(page, "video => video.playbackRate === 1.25")
    name = page.get_by_role("textbox", name="name of P0")
    name.focus()
    page.keyboard.type("k ")
    until(page, "video => video.paused")
    name.fill("P0")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="keyboard shortcuts")).to_be_visible()


def test_keys_are_for_the_video_again_after_a_choice_with_the_mouse(page: Page, address: str, moving: str) -> None:
    open_timeline(page, address, "?t=3")
    until_at(page, 3)
    speed, video = page.get_by_label("speed"), page.get_by_role("combobox", name="Video")
    speed.click()
    page.keyboard.press("Escape")
    speed.select_option("2")
    until(page, "video => video.playbackRate === 2")
    page.keyboard.press("ArrowRight")
    until_at(page, 4)
    for name in ("moving.mp4", "alice.mp4"):
        video.click()
        page.get_by_role("option").filter(has_text=name).click()
        expect(video).to_have_value(re.compile(name))
        until_still(page)
    expect(video).to_be_focused()
    until(page, "video => video.readyState >= 2")
    page.keyboard.press("ArrowRight")
    until_at(page, 1)
    page.keyboard.press("Space")
    until(page, f"video => {PLAYS}")
    page.keyboard.press("k")
    until(page, "video => video.paused")
    # After Tab moves the focus to a list, keys change the list.
    speed.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    expect(speed).to_be_focused()
    until(page, "video => video.playbackRate === 1.25")
    video.focus()
    page.keyboard.type("k")
    expect(video).to_have_value(re.compile("k$"))
    until(page, "video => video.paused")


def test_lanes_share_the_height_of_the_window_and_the_video_stays_in_sight(page: Page, address: str) -> None:
    open_timeline(page, address)
    lane = page.get_by_role("img", name="probabilities of P1 over time")
    heights = [lane.evaluate("lane => lane.clientHeight")]
    for height in (700, 1100):
        page.set_viewport_size({"width": 1280, "height": height})
        expect(lane).not_to_have_css("height", f"{heights[-1]}px")
        heights.append(lane.evaluate(FINAL_HEIGHT))
    assert heights[1] >= 64
    # the window is 400 px higher, half of it for each of two lanes
    assert heights[2] == pytest.approx(heights[1] + 200, abs=2)
    page.set_viewport_size({"width": 1280, "height": 640})
    page.mouse.move(900, 300)
    page.mouse.wheel(0, 2000)
    at_end = "main => main.scrollTop > 0 && main.scrollTop + main.clientHeight > main.scrollHeight - 2"
    until_true(lambda: page.get_by_test_id("stMain").evaluate(at_end), page)
    box = page.locator("video").bounding_box()
    assert box is not None
    assert box["y"] >= HEADER_PX
    assert box["y"] + box["height"] < 640


def test_the_lane_of_one_person_and_its_rows_fit_into_the_window(page: Page, address: str, moving: str) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    open_page(page, f"{address}/timeline?video={moving}")
    lane = page.get_by_role("img", name="probabilities of P0 over time")
    assert lane.evaluate(FINAL_HEIGHT) > 100

    def fit_into_the_window() -> bool:
        box = page.get_by_role("img", name="movements of P0").bounding_box()
        return box is not None and 850 < box["y"] + box["height"] < 900

    until_true(fit_into_the_window, page)
    page.evaluate("""() => {
        const above = document.createElement("div");
        above.style.height = "60px";
        document.querySelector("[data-testid=stMainBlockContainer]").prepend(above);
    }""")
    until_true(fit_into_the_window, page)
    expect(page.locator(".clock")).to_have_text("00:00.00 / 00:04.0")
    expect(page.get_by_text("00:04.0 visible")).to_be_visible()
    expect(page.get_by_text("00:00.0 to 00:04.0 · 4.0 s shown")).to_be_visible()


def test_an_episode_is_repeated(page: Page, address: str, results: Path) -> None:
    (start_s, end_s) = connect(results).sql("SELECT start_s, end_s FROM episodes WHERE emotion = 'happy'").fetchall()[0]
    open_timeline(page, address, f"?t={end_s - 0.6}")
    until_at(page, end_s - 0.6)
    page.get_by_role("button", name="happy · ").click()
    page.keyboard.press("p")
    expect(page.get_by_text("Repeating")).to_be_visible()
    for _ in range(int(end_s - time_of(page))):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    until(page, f"video => !video.paused && video.currentTime > {start_s} && video.currentTime < {end_s - 1}")
    # Going to a time outside of the episode ends the repetition; playing goes on there.
    for _ in range(2):
        page.keyboard.press("l")
    until(page, f"video => {PLAYS} && video.currentTime > {end_s + 1}")
    expect(page.get_by_role("button", name="repeat this episode")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_text("Repeating")).to_be_hidden()
    # An episode that lasts until the end of the video is repeated, too.
    page.keyboard.press("p")
    expect(page.get_by_text("Repeating")).to_be_visible()
    until(page, f"video => !video.paused && video.currentTime < {end_s + 3}")


@contextlib.contextmanager
def one_person(results: Path, known: str, pts_s: Sequence[float], **about: object) -> Iterator[str]:
    """Add a video of 60 s whose file is missing, with one person in frames at these times; yield its id."""
    about |= {"path": f"in/{known}.mp4", "width_px": 640, "height_px": 480, "duration_s": 60.0}
    timeline = build_timeline(observe(pts_s, [Face(i) for i in range(len(pts_s))]), TimelineConfig())
    Store(results).commit_analysis({"video_id": known, "analysis_id": "a5", **about}, timeline)
    yield known
    remove_video(results, known)


@pytest.fixture
def slides(results: Path) -> Iterator[str]:
    """The id of a video with frames at 0, 20 and 40 s."""
    with one_person(results, "v0000000000000006", [0, 20, 40]) as known:
        yield known


def test_boxes_stay_and_steps_lead_from_frame_to_frame_however_long_one_is_shown(
    page: Page, address: str, slides: str
) -> None:
    open_page(page, f"{address}/timeline?video={slides}&t=33")
    box, at = page.locator(".box"), page.locator(".clock")
    expect(box).to_have_count(1)
    for key, time_s in ((",", "00"), (".", "20"), (".", "40"), (".", "40"), (",", "20"), (",", "00"), (",", "00")):
        page.keyboard.press(key)
        expect(at).to_have_text(f"00:{time_s}.00 / 01:00.0")
        expect(box).to_have_count(1)


@pytest.fixture
def part(results: Path) -> Iterator[str]:
    """The id of a video at 10 fps whose part from 20 to 40 s was analyzed."""
    about = {"avg_fps": 10.0, "settings": json.dumps({"observe": {"start_s": 20.0, "end_s": 40.0}})}
    with one_person(results, "v0000000000000005", list(20 + np.arange(200) / 10), **about) as known:
        yield known


def test_boxes_end_with_the_analyzed_part_and_steps_outside_of_it_are_single_frames(
    page: Page, address: str, part: str
) -> None:
    open_page(page, f"{address}/timeline?video={part}&t=18.9")
    box, at = page.locator(".box"), page.locator(".clock")
    expect(at).to_have_text("00:18.90 / 01:00.0")
    for key, time_s, n_boxes in (
        *((".", "19.00", 0), ("ArrowRight", "20.00", 1), (",", "19.90", 0), (".", "20.00", 1), ("l", "25.00", 1)),
        *(("l", "30.00", 1), ("l", "35.00", 1), ("l", "40.00", 0), (",", "39.90", 1), (".", "40.00", 0)),
        *((".", "40.10", 0), (",", "40.00", 0), ("l", "45.00", 0), (",", "44.90", 0), (".", "45.00", 0)),
    ):
        page.keyboard.press(key)
        expect(at).to_have_text(f"00:{time_s} / 01:00.0")
        expect(box).to_have_count(n_boxes)


def test_boxes_and_tags_are_switched_off_and_tags_cover_no_face(page: Page, address: str) -> None:
    open_timeline(page, address, "?t=3")
    expect(page.locator(".box.labeled")).to_have_count(2)
    expect(page.locator(".tag")).to_have_count(2)
    # all at the same time, because they may move while the page is drawn
    rectangles = page.locator(".box, .tag").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().toJSON())"
    )
    is_tag = page.locator(".box, .tag").evaluate_all("all => all.map((each) => each.classList.contains('tag'))")
    assert is_tag.count(True) == 2
    shown = page.locator("video").bounding_box()
    assert shown is not None
    scale = shown["width"] / 320
    boxes = sorted((each for each, tag in zip(rectangles, is_tag, strict=True) if not tag), key=lambda each: each["x"])
    for box, left_px in zip(boxes, (10, 140), strict=True):  # at 3 s, 60 px wide, with their centers at 40 and 170 px
        edges = [(box[name] - shown["x"]) / scale for name in ("left", "right")]
        assert edges == pytest.approx([left_px, left_px + 60], abs=0.5)
        assert box["height"] == pytest.approx(60 * scale, abs=0.5)
    for tag in itertools.compress(rectangles, is_tag):
        for other in (each for each in rectangles if each is not tag):
            apart_x = min(tag["x"] + tag["width"], other["x"] + other["width"]) - max(tag["x"], other["x"])
            apart_y = min(tag["y"] + tag["height"], other["y"] + other["height"]) - max(tag["y"], other["y"])
            assert min(apart_x, apart_y) <= 1
    page.keyboard.press("t")
    expect(page.locator(".tag")).to_have_count(0)
    page.keyboard.press("b")
    expect(page.locator(".box")).to_have_count(0)
    page.keyboard.press("t")
    expect(page.locator(".tag")).to_have_count(2)
    expect(page.locator(".box")).to_have_count(0)


def test_a_line_leads_to_its_box_from_a_tag_for_which_there_is_no_room_beside_it(page: Page, address: str) -> None:
    page.goto(address)
    tags, lines = page.evaluate("""async () => {
        const { drawFaces } = await import("/fervid/player/overlay.js");
        const size = { width: 400, height: 300 };
        const video = { width_px: 400, height_px: 300 };
        const show = { boxes: true, tags: true, landmarks: false };
        const faces = [80, 100, 120, 140].map((x1, track) => (
            { track, x1, y1: 100, x2: x1 + 20, y2: 120, label: "happy", probability: 0.9, is_good: true }
        ));
        const nodes = drawFaces(faces, { video, colors: { happy: "#e69f00" }, names: new Map(), size, show });
        const tags = nodes.filter((node) => node.className === "tag labeled");
        const paths = nodes.flatMap((node) => [...node.querySelectorAll("path")]);
        return [tags.map((tag) => [tag.textContent, tag.style.top]), paths.map((path) => path.getAttribute("d"))];
    }""")
    # Tags are wider than all boxes together and keep 4 px away from other boxes: only the last one is beside its box.
    assert tags == [[f"P{number} · happy 0.90", f"{top}px"] for number, top in enumerate((64, 138, 46, 100))]
    assert lines == [
        "M90 82L90 100",
        "M110 138L110 120",
        "M130 64L130 100",
    ]  # from the tags to the edges of their boxes


def test_tags_of_a_still_image_have_labels_although_nobody_is_tracked(page: Page, address: str) -> None:
    page.goto(address)
    tags = page.evaluate("""async () => {
        const { drawFaces } = await import("/fervid/player/overlay.js");
        const show = { boxes: true, tags: true, landmarks: false };
        const face = { track: null, x1: 80, y1: 100, x2: 180, y2: 200, label: "happy", probability: 0.9 };
        const faces = [{ ...face, is_good: true }, { ...face, x1: 250, x2: 350, is_good: false, reason: "blurred" }];
        return [true, false].map((is_image) => {
            const video = { width_px: 400, height_px: 300, is_image };
            const size = { width: 400, height: 300 };
            const nodes = drawFaces(faces, { video, colors: { happy: "#e69f00" }, names: new Map(), size, show });
            return nodes.filter((node) => node.classList.contains("tag")).map((tag) => tag.textContent);
        });
    }""")
    assert tags == [["image · happy 0.90", "image · blurred"], ["passing · no label", "passing · blurred"]]


@pytest.fixture
def photo(results: Path, tmp_path: Path) -> Iterator[str]:
    """The id of a JPEG of 640 x 480 px, stored sideways: red, with a face between 250 and 350 px from the left."""
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (480, 640), "red").save(path, exif=exif)
    known = video_id(file_sha256(path))
    about = {"path": str(path), "container": "jpeg", "codec": "jpeg", "n_frames": 1, "duration_s": 0.0}
    about |= {"width_px": 640, "height_px": 480, "rotation_deg": 90}
    timeline = build_timeline(observe([0], [Face(0, p=feeling("happy"))]), TimelineConfig())
    Store(results).commit_analysis({"video_id": known, "analysis_id": "a8", **about}, timeline)
    yield known
    remove_video(results, known)


def test_a_photo_is_shown_with_its_boxes_and_without_a_timeline(page: Page, address: str, photo: str) -> None:
    open_page(page, f"{address}/timeline?video={photo}")
    image = page.get_by_role("img", name="the image")
    until_true(lambda: image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [640, 480], page)
    expect(page.locator(".box.labeled")).to_have_count(1)
    shown, box = image.bounding_box(), page.locator(".box").bounding_box()
    assert shown is not None and box is not None
    assert (box["x"] - shown["x"]) / shown["width"] == pytest.approx(250 / 640, abs=0.01)
    assert box["height"] / shown["height"] == pytest.approx(100 / 480, abs=0.01)
    expect(page.get_by_text("image · happy 1.00")).to_be_visible()
    for timed in ("video", "canvas", "section[aria-label=episodes]", "button[aria-label^=play]", ".clock"):
        for each in page.locator(timed).all():
            expect(each).to_be_hidden()
    page.keyboard.press("m")
    page.keyboard.press("t")
    expect(page.locator(".tag")).to_have_count(0)
    expect(page.locator(".status")).to_be_empty()
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="all rows, CSV").click()
    assert len(list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))) == 1
    expect(page.get_by_role("link", name="subtitles, SRT")).to_be_hidden()
    shot(page, "photo")
    open_page(page, address)
    canvas = page.locator("tr").filter(has_text="photo.jpg").locator("canvas[data-drawn=true]")
    middle = "c => [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]"
    assert canvas.evaluate(middle) == pytest.approx([255, 0, 0, 255], abs=2)


def test_a_live_session_has_the_clock_of_its_latest_update(page: Page, address: str, results: Path) -> None:
    known = "v000000000000000a"

    def commit(n_frames: int) -> None:
        seen = observe(np.arange(n_frames) / 10, [Face(i) for i in range(n_frames)])
        dropped = missing_frames_table(np.array([n_frames]), np.array([n_frames / 10]), "dropped")
        about = {
            "path": "camera",
            "live_since": datetime.now(UTC),
            "is_running": True,
            "finished_at": datetime.now(UTC),
        }
        about |= {"duration_s": n_frames / 10}
        timeline = build_timeline(pa.concat_tables([seen, dropped]), TimelineConfig())
        Store(results).commit_analysis({"video_id": known, "analysis_id": f"a{n_frames}", **about}, timeline)

    commit(20)
    open_page(page, f"{address}/timeline?video={known}")
    expect(page.locator(".clock")).to_have_text("00:00.00 / 00:02.1")
    expect(page.get_by_text("gaps: not visible, or frames are missing")).to_be_visible()
    commit(40)
    expect(page.locator(".clock")).to_have_text("00:00.00 / 00:04.1")
    remove_video(results, known)


def test_a_marker_is_made_while_watching_and_exported(page: Page, address: str, results: Path, clip: Path) -> None:
    open_timeline(page, address, "?t=2")
    until_at(page, 2)
    page.keyboard.press("m")
    expect(page.get_by_text("Marker begins at 00:02.00")).to_be_visible()
    mark = page.get_by_role("button", name="begin or end a marker")
    page.get_by_role("button", name="cancel the marker").click()
    expect(mark).to_have_text("Begin a marker here")
    mark.click()
    page.keyboard.press("l")
    until_at(page, 7)
    mark.click()
    label = page.get_by_role("textbox", name="label of marker marker 1")
    expect(label).to_be_visible()
    label.fill("ad A")
    label.press("Enter")
    expect(page.get_by_role("img", name="markers: ad A 00:02.00 to 00:07.00")).to_be_visible()
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="markers, CSV").click()
    exported = {"label": "ad A", "start_s": 2.0, "end_s": 7.0, "video": str(clip)}
    assert pd.read_csv(download.value.path()).to_dict("records") == [exported]
    page.get_by_role("button", name="delete marker ad A").click()
    expect(page.get_by_role("img", name="markers: ad A")).to_have_count(0)


def test_no_two_markers_get_the_same_label(page: Page, address: str, results: Path, clip: Path) -> None:
    """Markers with equal labels are one condition where they are compared."""
    alice = video_id(file_sha256(clip))
    noted = [{"id": label, "label": label, "start_s": 1.0, "end_s": 2.0} for label in ("ad 9", "marker 3")]
    add_steps(results, alice, [Step("marker", marker) for marker in noted])
    open_timeline(page, address, f"?video={alice}")
    for _ in range(2):  # the second marker is made before the first one is stored
        page.keyboard.press("m")
        page.keyboard.press("m")
    delete = page.get_by_role("button", name="delete marker marker 4")
    expect(page.get_by_role("button", name="delete marker marker 5")).to_be_visible()
    delete.click()
    expect(delete).to_have_count(0)
    page.keyboard.press("m")
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="delete marker marker 6")).to_be_visible()
    labels = [marker.label for marker in read_notes(results, alice).markers]
    assert sorted(labels) == ["ad 9", "marker 3", "marker 5", "marker 6"]


def saved_chart(page: Page) -> ElementTree.Element:
    """The chart as SVG, from the open menu Export."""
    with page.expect_download() as download:
        page.get_by_role("button", name="save the chart as SVG").click()
    return ElementTree.parse(download.value.path()).getroot()


def texts_of(svg: ElementTree.Element) -> dict[str | None, dict[str, str]]:
    """The attributes of each text."""
    return {node.text: node.attrib for node in svg.iter("{http://www.w3.org/2000/svg}text")}


def test_the_chart_and_the_rows_are_saved(page: Page, address: str) -> None:
    open_timeline(page, address)
    page.get_by_text("Export", exact=True).click()
    svg = saved_chart(page)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    texts = texts_of(svg)
    assert {"alice.mp4", "happy", "P0", "P1", "0.5", "smoothed probabilities"} <= texts.keys()
    for text, size, weight in (("alice.mp4", "13px", "bold"), ("P0", "12px", "bold"), ("happy", "12px", None)):
        font = [texts[text].get(f"font-{name}") for name in ("size", "weight", "family")]
        assert font == [size, weight, "sans-serif"]
    colors = {node.get("fill") for node in svg.iter("{http://www.w3.org/2000/svg}rect")}
    assert {EMOTION_COLORS["happy"], EMOTION_COLORS["sad"], EMOTION_COLORS["neutral"]} <= colors
    with page.expect_download() as download:
        page.get_by_role("button", name="save the chart as PNG").click()
    with Image.open(download.value.path()) as image:
        assert image.getpixel((2, 2))[:3] == (255, 255, 255)
        assert len(image.convert("RGB").getcolors(1_000_000) or []) > 3
    page.get_by_role("button", name="raw").click()
    page.get_by_text("Export", exact=True).click()
    assert "raw probabilities" in texts_of(saved_chart(page))
    with page.expect_download() as download:
        page.get_by_role("link", name="all rows, Parquet").click()
    assert download.value.suggested_filename == "alice-faces.parquet"
    assert pq.read_table(download.value.path()).num_rows == 240


def test_a_person_is_renamed_hidden_and_all_that_undone(page: Page, address: str) -> None:
    open_timeline(page, address)
    name = page.get_by_role("textbox", name="name of P0")
    name.fill("")
    page.keyboard.insert_text(61 * "y")
    expect(name).to_have_value(60 * "y")
    expect(page.get_by_text("Names and labels have at most 60 letters.")).to_be_visible()
    name.fill("Bea <b>")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="probabilities of Bea <b> over time")).to_be_visible()
    page.reload()
    expect(page.get_by_role("textbox", name="name of Bea <b>")).to_be_visible()
    page.get_by_label("change Bea <b>").click()
    page.get_by_role("button", name="hide Bea <b>").click()
    expect(page.get_by_role("img", name="probabilities of Bea <b> over time")).to_have_count(0)
    undo = page.get_by_role("button", name="undo my last change")
    for text, name in (("Undo: Bea <b> hidden", "Bea <b>"), ("Undo: P0 named Bea <b>", "P0")):
        expect(undo).to_have_text(text)
        undo.click()
        expect(page.get_by_role("img", name=f"probabilities of {name} over time")).to_be_visible()
    expect(undo).to_be_hidden()


@pytest.mark.parametrize(
    ("labeled_share", "line"),
    [(0.11, "00:02.2 visible · labels for 11 % of it · sad 100 %"), (0.95, "00:02.2 visible · sad 100 %")],
)
def test_the_list_of_people_says_how_much_of_the_time_has_labels(
    page: Page, address: str, labeled_share: float, line: str
) -> None:
    data = NO_PEOPLE | {"tracks": [TRACK | {"labeled_share": labeled_share}], "can_correct": False}
    page.goto(f"{address}/fervid/player/people.js")
    page.evaluate(
        "async (data) => new (await import('/fervid/player/people.js')).People(document.body, data, {})",
        data,
    )
    shown = page.get_by_text(line, exact=True)
    expect(shown).to_be_visible()
    title = f"{100 * labeled_share:.0f} % of this time has a label; in 2 % of it the face is of good quality"
    expect(shown).to_have_attribute("title", title.replace(" %", "\u00a0%"))


def test_a_change_of_a_person_is_sent_with_the_analysis_in_which_the_user_saw_the_person(
    page: Page, address: str
) -> None:
    page.goto(f"{address}/fervid/player/people.js")
    page.evaluate(
        """async (data) => {
            const { People } = await import('/fervid/player/people.js');
            window.edits = [];
            window.people = new People(document.body, data, { edit: (edit) => window.edits.push(edit) });
        }""",
        first := NO_PEOPLE | {"tracks": [TRACK], "can_correct": True, "numbering_id": "first"},
    )
    name = page.get_by_label("name of P7")
    name.fill("Bea")
    page.evaluate("(data) => window.people.update(data)", first | {"numbering_id": "second"})
    expect(name).to_have_value("Bea")
    name.press("Enter")
    expect(name).to_have_value("P7")
    page.get_by_label("change P7").click()
    page.get_by_role("button", name="hide P7").click()
    sent = [[edit["kind"], edit["track_id"], edit["numbering_id"]] for edit in page.evaluate("window.edits")]
    assert sent == [["name", 7, "first"], ["hidden", 7, "second"]]


def test_the_list_of_episodes_names_the_file_that_has_them_all(page: Page, address: str) -> None:
    episodes = [
        {"track_id": 0, "emotion": "sad", "start_s": i, "end_s": i + 1, "apex_s": i, "peak": 1} for i in range(203)
    ]
    data = NO_PEOPLE | {"episodes": episodes, "can_correct": False}
    page.goto(f"{address}/fervid/player/people.js")
    page.evaluate(
        "async (data) => new (await import('/fervid/player/people.js')).People(document.body, data, {})",
        data,
    )
    rows = page.get_by_role("region", name="episodes", exact=True).get_by_role("listitem")
    expect(rows).to_have_count(201)
    expect(rows.last).to_have_text("3 more: save all with Export (episodes, CSV).")


def test_merges_of_sessions_that_ended_can_be_undone(page: Page, address: str) -> None:
    steps = [
        {"id": "s1", "session": "gone", "text": "P0 named Anna", "is_correction": False},
        {"id": "s2", "session": "gone", "text": "P1 merged with Anna", "is_correction": True},
    ]
    data = NO_PEOPLE | {"steps": steps, "can_correct": True}
    page.goto(f"{address}/fervid/player/people.js")
    page.evaluate(
        """async (data) => {
            const { People } = await import('/fervid/player/people.js');
            new People(document.body, data, { edit: (edit) => { window.edited = edit; } });
        }""",
        data,
    )
    expect(page.get_by_role("button", name="undo my last change", include_hidden=True)).to_be_hidden()
    expect(page.get_by_role("list", name="merged and split people").get_by_role("listitem")).to_have_count(1)
    page.get_by_role("button", name="undo: P1 merged with Anna").click()
    assert page.evaluate("[window.edited.kind, window.edited.step]") == ["undo", "s2"]


def test_people_who_are_tracked_differently_are_confirmed(page: Page, address: str, results: Path, clip: Path) -> None:
    """P0 and P1 have the same name; P7 is hidden, but the shown analysis has no such person."""
    alice = video_id(file_sha256(clip))
    doubts = [Step("confirmed", False, track) for track in (0, 7)]
    names = [Step("name", "Anna", track) for track in (0, 1)]
    add_steps(results, alice, [*names, Step("hidden", True, 7), *doubts])
    open_timeline(page, address, f"?video={alice}&t=5")
    expect(page.get_by_role("textbox", name="name of Anna (P1)")).to_have_value("Anna")
    expect(page.get_by_text("or type another name above")).to_be_visible()
    page.get_by_role("button", name="tracked differently since named: look at Anna (P0)").click()
    until(page, "video => video.currentTime < 0.1 && !video.seeking")
    expect(page.get_by_text("P7 is no longer tracked under this number: ")).to_be_visible()
    for button in ("confirm Anna (P0)", "confirm P7"):
        page.get_by_role("button", name=button).click()
        until_true(lambda: not page.get_by_role("button", name=button).count(), page)  # noqa: B023
    assert read_notes(results, alice).unconfirmed == set()
    until_true(lambda: page.get_by_text("Undo: P7 confirmed").is_visible(), page)
    replace_steps(results, alice, [])


def test_changes_made_in_quick_succession_are_all_kept(page: Page, address: str, results: Path) -> None:
    open_timeline(page, address)
    hide = [page.get_by_role("button", name=f"hide {name}", include_hidden=True) for name in ("P0", "P1")]
    hide[0].evaluate("(first, second) => { first.click(); second.click(); }", hide[1].element_handle())
    expect(page.get_by_role("button", name="undo my last change")).to_have_text("Undo: P1 hidden")
    (video,) = (results / "notes").iterdir()
    assert read_notes(results, video.name.removeprefix("video_id=")).hidden == {0, 1}


def test_a_change_that_cannot_be_stored_is_reported(page: Page, address: str, results: Path, clip: Path) -> None:
    open_timeline(page, address)
    path = notes_path(results, video_id(file_sha256(clip)))
    path.parent.mkdir(parents=True)
    path.write_text("{")
    page.get_by_role("textbox", name="name of P0").fill("Cleo")
    page.keyboard.press("Enter")
    expect(page.get_by_text("the notes are damaged; delete the file to continue without them")).to_be_visible()


def store_edit(address: str, video: str, content: str, content_type: str = "application/json") -> tuple[int, str]:
    """Status and text of the dashboard's response to a change."""
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(f"{address}/fervid/edit/{video}", content.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting property name"),
        ("[]", "it is not an object"),
        ("{}", "This change cannot be made: 'kind'."),
        ('{"kind": "name", "value": "Dan", "track_id": "x"}', "invalid literal"),
        ('{"kind": "dance", "value": 1}', "There is no change of the kind dance."),
    ],
)
def test_a_change_of_the_wrong_form_is_refused(
    address: str, results: Path, clip: Path, content: str, words: str
) -> None:
    status, answer = store_edit(address, video_id(file_sha256(clip)), content)
    assert status == 400
    assert words in answer
    assert not (results / "notes").exists()


def test_changes_come_from_this_site_and_concern_a_video_of_the_results(address: str, clip: Path) -> None:
    edit = '{"kind": "name", "value": "Dan", "track_id": 0, "numbering_id": "a1"}'
    known = video_id(file_sha256(clip))
    assert store_edit(address, known, edit, "text/plain") == (415, "Send the change as application/json.")
    assert store_edit(address, "v0000000000000007", edit) == (404, "There is no such video.")
    assert store_edit(address, known, edit) == (204, "")


def test_two_sessions_see_each_others_changes_but_undo_their_own(page: Page, browser: Browser, address: str) -> None:
    open_timeline(page, address)
    other = new_page(browser)
    open_timeline(other, address)
    draft = other.get_by_role("textbox", name="name of P1")
    draft.fill("Dan")
    page.get_by_role("textbox", name="name of P0").fill("Cleo")
    page.keyboard.press("Enter")
    expect(other.get_by_role("img", name="probabilities of Cleo over time")).to_be_visible()
    expect(draft).to_have_value("Dan")  # text that is being typed is kept
    expect(other.get_by_role("button", name="undo my last change")).to_be_hidden()
    draft.press("Enter")
    expect(other.get_by_role("img", name="probabilities of Dan over time")).to_be_visible()
    expect(other.get_by_role("textbox", name="name of Cleo")).to_be_visible()
    page.get_by_role("button", name="undo my last change").click()
    expect(other.get_by_role("img", name="probabilities of P0 over time")).to_be_visible()


def test_a_link_opens_its_moment(page: Page, address: str) -> None:
    open_timeline(page, address, "?t=7.5")
    expect(page.get_by_text("Before you use this on people")).to_be_visible()  # whatever page is opened first
    until_at(page, 7.5)
    page.get_by_role("button", name="copy a link to this moment").click()
    expect(page.get_by_text("Link to 00:07.50 copied; it is also in the address bar.")).to_be_visible()
    assert "t=7.500" in page.url
    open_timeline(page, address, "?t=inf")
    until_at(page, 0)


def test_sql_completes_answers_refuses_to_write_and_gives_files(page: Page, address: str) -> None:
    open_page(page, f"{address}/sql")
    question = page.get_by_role("textbox", name="Query")
    question.fill("")
    question.press_sequentially("SELECT smooth_emo")
    expect(page.get_by_role("button", name="complete smooth_emotion")).to_be_visible()
    question.press("Tab")
    expect(question).to_have_value("SELECT smooth_emotion")
    question.fill("SELECT emotion, count(*) AS n FROM episodes GROUP BY ALL ORDER BY emotion")
    question.press("Control+Enter")
    expect(page.get_by_text("3 rows")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="All rows as CSV").click()
    assert Path(download.value.path()).read_text().splitlines()[1:] == ['"happy",1', '"neutral",1', '"sad",1']
    with page.expect_download() as download:
        page.get_by_role("button", name="All rows as Parquet").click()
    assert pq.read_table(download.value.path())["emotion"].to_pylist() == ["happy", "neutral", "sad"]
    question.fill("DROP VIEW faces")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("only one SELECT at a time")).to_be_visible()


def test_a_query_that_was_not_run_is_kept_while_another_page_is_shown(page: Page, address: str) -> None:
    open_page(page, f"{address}/sql")
    question = page.get_by_role("textbox", name="Query")
    for text in ("SELECT 1", "SELECT 2"):  # only the first is run
        question.fill(text)
        if text == "SELECT 1":
            question.press("Control+Enter")
            expect(page.get_by_text("1 row")).to_be_visible()
            until_still(page)
    page.get_by_role("link", name="Runs").click()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    until_still(page)
    page.get_by_role("link", name="SQL").click()
    expect(question).to_have_value("SELECT 2")
    until_still(page)
    question.press("Control+Enter")
    until_still(page)
    page.get_by_role("combobox", name="Cookbook").click()
    page.get_by_role("option", name="Where are the cuts?").click()
    expect(question).to_have_value(re.compile("is_cut"))


def serious_findings(page: Page) -> list[tuple[str, list[str]]]:
    """The serious findings of axe, and where they are; Streamlit's own elements cannot be fixed here."""
    found = Axe().run(page, context={"exclude": [["[data-testid=stDataFrame]"], ["[data-testid=stHeader]"]]})
    return [
        (violation["id"], [node["html"][:200] + node["failureSummary"] for node in violation["nodes"]])
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_no_serious_finding_of_accessibility_in_both_themes(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/{name}")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        expect(page.locator("[data-testid=stApp]")).to_have_css("color-scheme", theme)
        until_still(page)
        # it is redrawn, not added a second time
        expect(page.get_by_text("Before you use this on people")).to_have_count(1)
        shot(page, f"{name or 'library'}-{theme}")
        serious = serious_findings(page)
        if serious:  # what was being redrawn meanwhile was pale, so only findings of a still page count
            until_still(page)
            serious = serious_findings(page)
        assert not serious, f"{theme}: {json.dumps(serious, indent=1)}"


def test_groups_are_as_they_were_left(page: Page, address: str) -> None:
    open_page(page, f"{address}/compare")
    page.get_by_text("words in the path", exact=True).click()
    words = page.get_by_role("textbox", name="Words, separated by commas")
    words.fill("alice, bob")
    words.press("Enter")
    expect(page.get_by_text("No video has in its path below the common folder: bob.")).to_be_visible()
    until_still(page)
    page.get_by_role("link", name="Library").click()
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    until_still(page)
    page.get_by_role("link", name="Compare").click()
    expect(words).to_have_value("alice, bob")


def test_a_training_is_followed_and_the_chosen_model_stays(page: Page, address: str, data_home: Path) -> None:
    progress_file = data_home / "fervid" / "models" / "mine" / "checkpoints" / "progress.json"
    progress_file.parent.mkdir(parents=True)
    epoch = {"train_loss": 1.5, "public_accuracy": 0.4, "seconds": 60}
    progress_file.write_text(json.dumps({"total_epochs": 8, "epochs": [epoch]}))
    page.goto(f"{address}/models")
    expect(page.get_by_text("epoch 1 of 8")).to_be_visible()
    until_still(page)
    box, option = page.get_by_role("combobox", name="Model"), page.get_by_role("option", name="fer2013")
    box.scroll_into_view_if_needed()
    while not option.is_visible():  # a list that opens while the page scrolls closes again
        box.click()
        with contextlib.suppress(PlaywrightTimeout):
            option.wait_for(timeout=TIMEOUT_MS / 4)
    option.click()
    expect(page.get_by_role("heading", name="fer2013")).to_be_visible()
    with replaced_atomically(progress_file) as part:
        part.write_text(json.dumps({"total_epochs": 8, "epochs": [epoch, epoch]}))
    expect(page.get_by_text("epoch 2 of 8")).to_be_visible()
    expect(page.get_by_role("heading", name="fer2013")).to_be_visible()
    shutil.rmtree(progress_file.parents[1])
    expect(page.get_by_text("epoch 2 of 8")).to_have_count(0)


@pytest.mark.parametrize("name", PAGES)
def test_the_style_sheet_is_there_before_the_content(address: str, name: str) -> None:
    with urllib.request.urlopen(f"{address}/{name}", timeout=TIMEOUT_MS / 1000) as response:
        html = response.read().decode()
    link = '<link rel="stylesheet" href="./fervid/player/app.css">'
    assert html.count(link) == 1
    assert html.index('<div id="root">') < html.index(link)  # after the rules that it overrides
    assert status_and_text(f"{address}/fervid/player/app.css")[0] == 200


def test_other_sites_can_neither_frame_nor_read_anything(address: str) -> None:
    for path in ("/", "/fervid/etag", "/fervid/player/main.js"):
        with urllib.request.urlopen(f"{address}{path}", timeout=TIMEOUT_MS / 1000) as response:
            assert response.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_file_with_another_content_is_not_served(address: str, results: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.mp4"
    path.write_bytes(b"what was analyzed")
    known = {"video_id": video_id(file_sha256(path)), "analysis_id": "a7", "path": str(path), "codec": "h264"}
    known |= {"container": "mov,mp4,m4a,3gp,3g2,mj2"}
    write_clip(path, [np.full((32, 32, 3), 9, np.uint8)])
    Store(results).commit_analysis(known, build_timeline(observe(np.arange(2) / 10, []), TimelineConfig()))
    url = f"{address}/fervid/video/{known['video_id']}"
    until_known = time.monotonic() + TIMEOUT_MS / 1000  # the server checks the folder once in a second
    while (answer := status_and_text(url))[0] == 404 and time.monotonic() < until_known:
        time.sleep(0.1)
    remove_video(results, known["video_id"])
    assert answer[0] == 409
    assert "has changed since it was analyzed" in answer[1]


def test_routes_give_a_video_in_parts_and_no_other_file(address: str, clip: Path) -> None:
    url = f"{address}/fervid/video/{video_id(file_sha256(clip))}"
    request = urllib.request.Request(url, headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_MS / 1000) as answer:
        assert answer.status == 206
        assert answer.read() == clip.read_bytes()[10:20]
    for path in ("/fervid/video/..%2f..%2fetc%2fpasswd", "/fervid/video/v0", "/fervid/player/..%2fserver.py"):
        assert status_and_text(f"{address}{path}")[0] in (400, 403, 404)
