"""Take the screenshots of the dashboard in the documentation, from the results of the demo.

fervid demo demo/videos && fervid analyze demo/videos --out demo/results --keep-landmarks
fervid dashboard demo/results --port 8501
python docs/dashboard_images.py demo/results http://127.0.0.1:8501
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from analytics import connect
from analytics.results.notes import rename

FOLDER = Path(__file__).parent
NAMES = ("Grace", "Eileen")
QUERY = """SELECT smooth_emotion, round(sum(duration_s), 1) AS seconds
FROM visible('faces')
WHERE smooth_emotion IS NOT NULL
GROUP BY ALL ORDER BY seconds DESC"""
SETTLE_MS = 8000  # after the last change, charts and thumbnails are still being drawn
WIDTH_PX, HEIGHT_PX, COMPARE_HEIGHT_PX = 1280, 960, 1320


def show_timeline(page: Page) -> None:
    """Both people at 2 s, with landmarks."""
    page.get_by_role("button", name="landmarks").click()


def show_compare(page: Page) -> None:
    """The first two videos side by side."""
    page.get_by_text("single videos").click()


def show_sql(page: Page) -> None:
    """A query and its answer."""
    page.get_by_role("textbox", name="Query").fill(QUERY)
    page.get_by_role("button", name="Run").click()


def main(results: Path, address: str) -> None:
    """Name the two people of a clip, and take a screenshot of each page."""
    where = "FROM videos WHERE path LIKE '%two_people_pan.mp4'"
    [(video_id,)] = connect(results).execute(f"SELECT video_id {where}").fetchall()
    for track_id, name in enumerate(NAMES):
        rename(results, video_id, track_id, name)
    pages: dict[str, tuple[str, Callable[[Page], None] | None]] = {
        "library": ("", None),
        "timeline": (f"timeline?video={video_id}&t=2", show_timeline),
        "moments": ("moments", None),
        "compare": ("compare", show_compare),
        "sql": ("sql", show_sql),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        page.goto(address)
        page.get_by_role("button", name="I have read this").click()
        for name, (path, show) in pages.items():
            page.set_viewport_size({"width": WIDTH_PX, "height": COMPARE_HEIGHT_PX if name == "compare" else HEIGHT_PX})
            page.goto(f"{address}/{path}")
            page.get_by_text("Labels describe how a face looks").wait_for()
            page.wait_for_timeout(SETTLE_MS)
            if show is not None:
                show(page)
                page.wait_for_timeout(SETTLE_MS)
            page.mouse.move(0, 0)
            page.screenshot(path=FOLDER / f"dashboard_{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
