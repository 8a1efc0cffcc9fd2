"""The dashboard as people use it: in the system's Chromium, over real results and a real video."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import write_clip
from playwright.sync_api import Browser, Page, expect, sync_playwright
from scenes import Face, feeling, observe
from test_dashboard import wait_for_status

from analytics import connect
from analytics.results.ids import file_sha256, video_id
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Nothing that looks for a network: there may be none, and nothing here needs one.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PAGES = ("", "timeline", "moments", "compare", "sql", "models", "runs")
TIMEOUT_MS = 60_000  # for slow machines that have other things to do
SCREENSHOTS = os.environ.get("FERVID_SCREENSHOTS")  # a folder to keep them in


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s at 10 frames per second: a square that moves one pixel a frame."""
    frames = np.full((120, 240, 320, 3), 70, np.uint8)
    for i, pixels in enumerate(frames):
        pixels[170:230, 110 + i : 170 + i] = 200
    return write_clip(tmp_path_factory.mktemp("video") / "alice.mp4", frames, fps=10)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """In the clip someone is happy for 6 s and then sad, beside someone neutral; a second video is broken."""
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
    """Where the dashboard looks for models of the user."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def address(results: Path, data_home: Path) -> Iterator[str]:
    """A running dashboard."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = "from flows.cli.app import main; main()"
    command = [sys.executable, "-c", code, "dashboard", str(results), "--port", str(port)]
    environment = {**os.environ, "XDG_DATA_HOME": str(data_home)}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        assert wait_for_status(f"http://127.0.0.1:{port}/_stcore/health", server) == 200
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which no script may fail and which asks nothing of other machines."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: check_local(request.url, problems))
    yield page
    context.close()
    assert not problems, problems


def check_local(url: str, problems: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
        problems.append(f"asked of another machine: {url}")


def open_timeline(page: Page, address: str, query: str = "") -> None:
    page.goto(f"{address}/timeline{query}")
    page.wait_for_selector("video")
    expect(page.get_by_role("button", name="play or pause (space)")).to_be_visible()
    until(page, "video => video.readyState >= 2")


def until(page: Page, holds: str) -> None:
    """Wait until something holds of the video, which lies in a shadow root where `wait_for_function` does not look."""
    for _ in range(TIMEOUT_MS // 100):
        if page.locator("video").evaluate(holds):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never came: {holds}")


def until_at(page: Page, time_s: float) -> None:
    """Wait until the video shows what is there at a time, give or take a fifth of a frame."""
    until(page, f"video => Math.abs(video.currentTime - {time_s}) < 0.02 && !video.seeking")


def shot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def test_a_video_is_found_in_the_library_and_opened(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    page.get_by_role("textbox", name="Search").fill("alice")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 video. Choose one")).to_be_visible()
    table = page.locator("[data-testid=stDataFrame]").first
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 52)  # the box before the first row: the table is a canvas
    page.wait_for_url("**/timeline?video=v*")
    page.wait_for_selector("video")


def test_the_library_shows_what_comes_while_it_is_open(page: Page, address: str, results: Path) -> None:
    page.goto(address)
    expect(page.get_by_text("1 video. Choose one")).to_be_visible()
    failed = page.locator("[data-testid=stMetric]").filter(has_text="failed")
    expect(failed).to_contain_text("1")
    late = {"video_id": "v0000000000000008", "analysis_id": "a8", "path": "in/late.mp4"}
    Store(results).commit_failure(late, "not a video")
    expect(failed).to_contain_text("2")


def test_the_video_plays_and_the_charts_follow(page: Page, address: str) -> None:
    open_timeline(page, address)
    page.get_by_role("button", name="play or pause (space)").click()
    until(page, "video => video.currentTime > 0.5")
    page.get_by_role("button", name="play or pause (space)").click()
    moved = page.locator(".cursor").evaluate("cursor => new DOMMatrix(getComputedStyle(cursor).transform).e")
    assert moved > 10
    shot(page, "timeline")


def test_an_episode_takes_the_video_to_its_peak(page: Page, address: str, results: Path) -> None:
    open_timeline(page, address)
    ((track_id, apex_s),) = (
        connect(results).sql("SELECT track_id, apex_s FROM episodes WHERE emotion = 'sad'").fetchall()
    )
    page.get_by_role("button", name=f"sad · P{track_id}").click()
    until_at(page, apex_s)
    expect(page.locator(".tag").filter(has_text=f"P{track_id} · sad")).to_be_visible()


def test_a_click_in_a_chart_takes_the_video_there(page: Page, address: str) -> None:
    open_timeline(page, address)
    box = page.get_by_role("img", name="probabilities of P1 over time").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    until(page, "video => Math.abs(video.currentTime - 9) < 0.1")


def test_keys_step_by_frame_and_second(page: Page, address: str) -> None:
    open_timeline(page, address, "?t=3")
    until_at(page, 3)
    for key, time_s in (("ArrowRight", 4), (".", 4.1), (".", 4.2), (",", 4.1), ("ArrowLeft", 3.1)):
        page.keyboard.press(key)
        until_at(page, time_s)
    page.keyboard.press("Space")
    until(page, "video => !video.paused && video.currentTime > 3.3")
    page.keyboard.press("Space")
    until(page, "video => video.paused")


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


def test_a_person_is_renamed_hidden_and_all_that_undone(page: Page, address: str) -> None:
    open_timeline(page, address)
    page.get_by_role("textbox", name="name of P0").fill("Bea <b>")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="probabilities of Bea <b> over time")).to_be_visible()
    page.reload()
    expect(page.get_by_role("textbox", name="name of Bea <b>")).to_be_visible()
    page.get_by_role("button", name="hide Bea <b>").click()
    expect(page.get_by_role("img", name="probabilities of Bea <b> over time")).to_have_count(0)
    for name in ("Bea <b>", "P0"):
        page.get_by_role("button", name="undo the last change").click()
        expect(page.get_by_role("img", name=f"probabilities of {name} over time")).to_be_visible()


def test_a_link_opens_its_moment(page: Page, address: str) -> None:
    open_timeline(page, address, "?t=7.5")
    expect(page.get_by_text("Before you use this on people")).to_be_visible()  # whatever page is opened first
    until_at(page, 7.5)
    page.get_by_role("button", name="copy a link to this moment").click()
    assert "t=7.50" in page.url


def test_sql_answers_refuses_to_write_and_gives_files(page: Page, address: str) -> None:
    page.goto(f"{address}/sql")
    question = page.get_by_role("textbox", name="Question")
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


@pytest.mark.parametrize("name", PAGES)
def test_no_serious_finding_of_accessibility(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/{name}")
    page.wait_for_selector("h1")
    page.wait_for_selector("[data-test-script-state=notRunning]")
    expect(page.locator("[data-stale=true]")).to_have_count(0)  # what is being drawn anew is pale
    page.wait_for_timeout(1000)  # it fades in
    shot(page, name or "library")
    # What is Streamlit's own (its canvas of a table, its menu) is not ours to mend.
    found = Axe().run(page, context={"exclude": [["[data-testid=stDataFrame]"], ["[data-testid=stHeader]"]]})
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]])
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert not serious, json.dumps(serious, indent=1)


def test_a_training_is_followed_and_the_chosen_model_stays(page: Page, address: str, data_home: Path) -> None:
    told = data_home / "fervid" / "models" / "mine" / "checkpoints" / "progress.json"
    told.parent.mkdir(parents=True)
    epoch = {"train_loss": 1.5, "public_accuracy": 0.4, "seconds": 60}
    told.write_text(json.dumps({"total_epochs": 8, "epochs": [epoch]}))
    page.goto(f"{address}/models")
    expect(page.get_by_text("epoch 1 of 8")).to_be_visible()
    expect(page.get_by_text("The whole card")).to_be_visible()  # the end of the page
    page.wait_for_selector("[data-test-script-state=notRunning]")
    box = page.get_by_role("combobox", name="Model")
    box.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # a list that opens while the page moves closes again
    box.click()
    page.get_by_role("option", name="fer2013").click()
    expect(page.get_by_role("heading", name="fer2013")).to_be_visible()
    told.write_text(json.dumps({"total_epochs": 8, "epochs": [epoch, epoch]}))
    expect(page.get_by_text("epoch 2 of 8")).to_be_visible()
    expect(page.get_by_role("heading", name="fer2013")).to_be_visible()
    shutil.rmtree(told.parents[1])
    expect(page.get_by_text("epoch 2 of 8")).to_have_count(0)


def test_routes_give_a_video_in_parts_and_no_other_file(address: str, clip: Path) -> None:
    url = f"{address}/fervid/video/{video_id(file_sha256(clip))}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=10-19"})) as answer:
        assert answer.status == 206
        assert answer.read() == clip.read_bytes()[10:20]
    for path in ("/fervid/video/..%2f..%2fetc%2fpasswd", "/fervid/video/v0", "/fervid/player/..%2fserver.py"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}{path}")
        assert refused.value.code in (400, 403, 404)
