"""The report: complete, consistent with the tables, self-contained, and safe from markup in file names."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import fervid
from scenes import Face, feeling, observe, still_landmarks

from analytics import connect
from analytics.report import ReportError, report_page, sections, timelines
from analytics.report.charts import Grid, label_runs, person_chart, time_ticks, words_of_runs
from analytics.report.library import Library
from analytics.report.templating import macro, share_bar
from analytics.results.notes import hide, rename
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.timeline.smoothing import SmoothingConfig
from fer_models.labels import EMOTIONS

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>.mp4"
VOID = {"meta", "br", "img", "link", "input", "hr", "rect", "path"}


class Page(HTMLParser):
    """Every element with its attributes, the text, and whether all elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


def row(video: int, path: str) -> dict:
    settings = '{"observe": {"fps": 5, "detector": "compact"}}'
    about = {"width_px": 640, "height_px": 360, "duration_s": 4.0, "settings": settings}
    about |= {"weights": '{"detector": "abcdef0123456789"}', "versions": '{"fervid": "0.1.0"}'}
    return {"video_id": f"v{video:016}", "analysis_id": f"a{video:016}", "path": path, **about}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report on a video of two people (one blurred for 1 s), an empty one named like HTML, and a failed one."""
    store = Store(tmp_path_factory.mktemp("report") / "my results")
    faces = [Face(i, x=150, p=feeling("happy" if i < 20 else "sad"), blur=5 if i >= 30 else 100) for i in range(40)]
    faces += [Face(i, x=450, p=feeling("angry")) for i in range(40)]
    observed = observe(np.arange(40) / 10, faces)
    store.commit_analysis(row(1, "/clips/two people.mp4"), build_timeline(observed, TimelineConfig()))
    nobody = build_timeline(observe([0.0, 0.1], [], undecoded=[1]), TimelineConfig())
    store.commit_analysis(row(2, f"/clips/{ATTACK}"), nobody)
    store.commit_failure(row(3, f"/clips/{ATTACK}3"), f"broken: {ATTACK}")
    return report_page(store.root)


def test_nothing_is_loaded_and_nothing_runs(page):
    parsed = Page(page)
    assert not parsed.open
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "form", "video"}
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"src", "srcset", "background", "data"} & attributes.keys()
        if (target := attributes.get("href")) is not None:
            assert tag == "a"
            assert target.startswith(("#v", "https://doi.org/"))
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_names_are_text_and_nothing_else(page):
    assert "<script" not in page.lower()
    text = Page(page).text
    assert ATTACK in text
    assert f"broken: {ATTACK}" in text


def test_the_page_agrees_with_the_tables(page):
    text = re.sub(r"\s+", " ", Page(page).text)
    for said in (
        "my results",
        "two people.mp4",
        "4.0 s, 640 x 360 px, 40 frames analyzed, 88% of 80 faces good, 10 blurred",
        "1 could not be decoded, no face found",
        "P0 happy 61%, sad 39%",
        "visible for 4.0 s, from 0.0 s to 4.0 s 3.0 s of it good (30 of 40 faces)",
        "10 of 80 faces (12.5 %) are low-quality faces",
        "P1 angry 100%",
        "AI Act",
        "Changes per min of 2 of 2 people rest on less than 60 s: one change more or less is more than 1 per minute.",
        "detectorcompactabcdef012345",
        "Every analyzed frame is searched for faces in full. Faces are tracked over time.",
        '"fps": 5',
        "fervid 0.1.0",
    ):
        assert said in text, said
    assert "/clips/" not in page  # the report does not reveal the folders of the videos
    links = {a["href"].removeprefix("#") for tag, a in Page(page).elements if tag == "a" and a["href"].startswith("#")}
    assert links == {a["id"] for _, a in Page(page).elements if a.get("id", "").startswith("v0")}


def test_people_of_a_replaced_file_are_those_of_the_right_content(tmp_path):
    """Of the first content, speech is left out, of the second it is not; the third one failed."""
    store = Store(tmp_path / "results")
    observed = observe(np.arange(90) / 30, [Face(i) for i in range(90)], landmarks=still_landmarks(90))
    timeline = build_timeline(observed, TimelineConfig())
    settings = '{"timeline": {"quality": {"speech": "exclude"}}}'
    store.commit_analysis({**row(1, "/c/a.mp4"), "settings": settings}, timeline)
    store.commit_analysis(row(2, "/c/a.mp4"), timeline)
    store.commit_failure(row(3, "/c/a.mp4"), "not a video")
    with connect(store.root) as connection:
        library = Library(connection)
    first, second = "<bdi>a.mp4-v0000000000000001</bdi>", "<bdi>a.mp4-v0000000000000002</bdi>"
    assert [line[:2] for line in sections.validity_table(library).rows] == [("P0", first), ("P0", second)]
    assert [line[:2] for line in sections.speech_table(library).rows] == [("P0", second)]


def test_videos_without_timelines_are_not_linked(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "MAX_VIDEOS", 1)
    monkeypatch.setattr(timelines, "MAX_VIDEOS", 1)
    store = Store(tmp_path / "results")
    timeline = build_timeline(observe(np.arange(20) / 10, [Face(i) for i in range(20)]), TimelineConfig())
    for video in (1, 2):
        store.commit_analysis(row(video, f"/c/{video}.mp4"), timeline)
    elements = Page(report_page(store.root)).elements
    links = [a["href"] for tag, a in elements if tag == "a" and a["href"].startswith("#v")]
    assert links == ["#v0000000000000001"]
    assert [a["id"] for _, a in elements if a.get("id", "").startswith("v0")] == ["v0000000000000001"]


def test_the_frames_that_are_searched_for_faces_are_stated_by_the_settings(tmp_path):
    """At 4 frames per second, two analyzed frames are more than 0.2 s apart: each is searched in full."""
    store = Store(tmp_path / "results")
    for number, observe_settings in enumerate(('{"detect_every_s": 0.2}', '{"detect_every_s": 0.2, "fps": 4}', "{}")):
        settings = f'{{"observe": {observe_settings}}}'
        timeline = build_timeline(observe(np.arange(4) / 4, [Face(0)]), TimelineConfig())
        store.commit_analysis(row(number, f"/{number}.mp4") | {"settings": settings}, timeline)
        with connect(store.root) as connection:
            sentences = sections.detection_sentences(Library(connection))
        if number == 0:
            assert sentences == [
                "The whole frame is searched for faces every 0.2 s, and the surroundings of known faces in between."
            ]
    assert sentences == [
        "Every analyzed frame is searched for faces in full (2 of 3 videos).",
        "The whole frame is searched for faces every 0.2 s, and the surroundings of known faces in between "
        "(1 of 3 videos).",
    ]


def test_parts_of_videos_are_named(tmp_path):
    """Of a video of 90 s, 12 s were analyzed, and all 60 s of another one."""
    store = Store(tmp_path / "results")
    part = row(1, "/clips/part.mp4") | {"duration_s": 90.0, "settings": '{"observe": {"start_s": 30, "end_s": 42.0}}'}
    whole = row(2, "/clips/all.mp4") | {"duration_s": 60.0, "settings": '{"observe": {"start_s": 0, "end_s": 70}}'}
    for number, video in enumerate((part, whole)):
        timeline = build_timeline(observe(30 * (1 - number) + np.arange(12), [Face(0)]), TimelineConfig())
        store.commit_analysis(video, timeline)
    text = re.sub(r"\s+", " ", Page(report_page(store.root)).text)
    assert "1:30, 640 x 360 px, 12 frames analyzed, only 30.0 s to 42.0 s" in text
    assert "1:00, 640 x 360 px, 12 frames analyzed, 100%" in text
    assert "1.2minutes analyzed" in text
    said = " ".join(fervid("summary", store.root).output.split())
    assert "150 s of video, 72 s of it analyzed (--start, --end), 24 frames" in said


def test_still_images_are_shown_with_their_faces(tmp_path):
    """One face is happy, one sad, and a blurred one does not count; the image counts neither as a video nor in time."""
    store = Store(tmp_path / "results")
    faces = [Face(0, x=100, p=feeling("happy")), Face(0, x=300, p=feeling("sad")), Face(0, x=500, blur=1.0)]
    image = row(1, "/a/photo.jpg") | {"duration_s": 0.0}
    store.commit_analysis(image, build_timeline(observe([0.0], faces), TimelineConfig()))
    text = " ".join(Page(report_page(store.root)).text.split())
    assert "0videos analyzed 1still images analyzed" in text
    assert "photo.jpg still image367%" in text
    assert "still image, 640 x 360 px, 67% of 3 faces good, 1 blurred, happy 50%, sad 50%" in text
    assert "No label is known." in text  # over all time


def test_the_page_can_be_heard(page):
    elements = Page(page).elements
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert max(np.diff(levels)) <= 1
    ids = {attributes.get("id") for _, attributes in elements}
    assert {a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a} <= ids
    charts = [a for _, a in elements if a.get("role") == "img"]
    assert all(a["aria-label"] for a in charts)
    assert "P0: happy, 0.0\xa0s to 2.0\xa0s; sad, 2.0\xa0s to 3.3\xa0s; visible, no label, 3.3\xa0s to 4.0\xa0s" in [
        a["aria-label"] for a in charts
    ]
    n_tables = sum(tag == "table" for tag, _ in elements)
    assert n_tables == sum(tag == "caption" for tag, _ in elements) >= 5
    assert all(a.get("scope") in ("col", "row") for tag, a in elements if tag == "th")


@pytest.mark.browser
def test_the_page_fits_on_a_phone_and_uses_no_network(page, tmp_path, chromium_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser looks at the page")
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    asked = []
    with playwright.sync_playwright() as browsers:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = browsers.chromium.launch(executable_path=chromium_path, args=arguments)
        for width in (360, 1280):
            shown = browser.new_page(viewport={"width": width, "height": 800})
            shown.on("request", lambda request: asked.append(request.url))
            shown.goto(path.as_uri())
            assert shown.evaluate("document.documentElement.scrollWidth") == width
            for chart in shown.locator("svg.chart").all():  # areas and labels are one drawing, as wide as the time axis
                axis = shown.locator(".axis").first.bounding_box()
                assert chart.bounding_box()["width"] == pytest.approx(axis["width"], abs=1)
        browser.close()
    assert set(asked) == {path.as_uri()}


def test_episodes_are_ordered_by_their_displayed_values(page):
    body = page[page.index("Strongest episodes") :]
    rows = re.findall(r"<tr>(.*?)</tr>", body[: body.index("</table>")])[1:]
    shown = [re.findall(r'class="n"><div>([\d.]+)', row) for row in rows]
    assert len(shown) == 3
    assert shown == sorted(shown, key=lambda row: (-float(row[0]), -float(row[1])))


def test_videos_of_one_name_are_distinguished_by_their_folder(tmp_path):
    store = Store(tmp_path / "results")
    for i, folder in enumerate(("monday", "tuesday")):
        store.commit_failure(row(i, f"/home/somebody/{folder}/talk.mp4"), "broken")
    text = Page(report_page(store.root)).text
    assert "monday/talk.mp4" in text
    assert "tuesday/talk.mp4" in text
    assert "somebody" not in text


def test_a_library_of_failures_has_a_report_and_an_empty_one_has_none(tmp_path):
    store = Store(tmp_path / "results")
    with pytest.raises(ReportError, match="nothing to report"):
        report_page(store.root)
    store.commit_failure(row(1, "/clips/broken.mp4"), "no video stream")
    text = Page(report_page(store.root)).text
    assert "no video stream" in text
    assert "No label is known." in text
    assert "No face was found." in text


def test_bars_and_axes_stay_within_their_width():
    share = dict.fromkeys(EMOTIONS, 0.0) | {"happy": 0.75, "sad": 0.25}
    assert re.findall(r"width:([\d.]+)%", share_bar(share)) == ["75.00", "25.00"]
    ticks = time_ticks(Grid.over(10.0, 20.0, 200))
    assert (ticks[0].position, ticks[0].text, ticks[0].edge) == (0, "10.0\xa0s", "first")
    assert (ticks[-1].position, ticks[-1].text, ticks[-1].edge) == (1, "20.0\xa0s", "last")
    assert len(time_ticks(Grid.over(0.0, 36_000.0, 200))) == 6
    assert '<span class="first" style="left:0.00%">10.0\xa0s</span>' in macro("time_axis", ticks)


def test_areas_and_labels_share_their_steps_and_leave_gaps_open():
    probabilities = np.zeros((4, 7))
    probabilities[:, 0], probabilities[:, 6] = 0.25, 0.75
    probabilities[3] = np.nan
    bins, labels, grid = np.array([0, 1, 5, 6]), ["neutral", "neutral", "neutral", None], Grid(2000, 500, 8)
    svg = macro("person_chart", person_chart(bins, labels, probabilities, grid, "Anna & Bob"))
    paths = dict(re.findall(r'class="e-(\w+)" d="([^"]*)"', svg))
    assert paths["angry"] == "M0,100V0H2V100ZM5,100V0H6V100Z"  # drawn first, behind the others
    assert paths["neutral"] == "M0,100V25H2V100ZM5,100V25H6V100Z"  # at the bottom, as in the dashboard
    assert list(paths) == list(EMOTIONS)
    runs = re.findall(r'class="e-(\w+)" x="(\d+)" y="104" width="(\d+)"', svg)
    assert runs == [("neutral", "0", "2"), ("neutral", "5", "1"), ("unlabeled", "6", "1")]
    assert "<title>neutral, 2.0\xa0s to 3.0\xa0s</title>" in svg
    assert 'aria-label="Anna &amp; Bob: neutral, 2.0\xa0s to 3.0\xa0s; ' in svg
    assert words_of_runs(label_runs(bins, labels, grid)).endswith("visible, no label, 5.0\xa0s to 5.5\xa0s")
    empty = person_chart(np.empty(0, int), [], np.empty((0, 7)), grid, "nobody")
    assert {area.outline for area in empty.areas} == {""}


def test_validity_of_each_person_is_in_the_report(page):
    body = page[page.index("<caption>Validity by person") :]
    rows = re.findall(r"<tr>(.*?)</tr>", body[: body.index("</table>")])[1:]
    cells = [re.findall(r"<(?:div|th)[^>]*>(.*?)</(?:div|th)>", row) for row in rows]
    # P0 is blurred in the last of four seconds and keeps its label for 0.3 s of it; one change in 3.3 s.
    happy = [
        "P0",
        "<bdi>two people.mp4</bdi>",
        "4.0\xa0s",
        "100.0%",
        "75.0%",
        "82.5%",
        "9.1%",
        "blurred",
        "0.0° (0.0°)",
        "18.2",
    ]
    angry = [
        "P1",
        "<bdi>two people.mp4</bdi>",
        "4.0\xa0s",
        "100.0%",
        "100.0%",
        "100.0%",
        "0.0%",
        "",
        "0.0° (0.0°)",
        "0.0",
    ]
    assert cells == [happy, angry]


def test_names_are_shown_and_hidden_people_are_not(tmp_path):
    store = Store(tmp_path / "results")
    faces = [Face(i, x=x, p=feeling(emotion)) for i in range(40) for x, emotion in ((150, "happy"), (450, "angry"))]
    about = row(1, "/a.mp4")
    store.commit_analysis(about, build_timeline(observe(np.arange(40) / 10, faces), TimelineConfig()))
    rename(store.root, about["video_id"], 0, "Anna <3")
    hide(store.root, about["video_id"], 1, True)
    text = re.sub(r"\s+", " ", Page(report_page(store.root)).text)
    assert "1people (tracks) 40faces in frames" in text
    assert "Anna <3 happy 100%" in text
    assert "0 of 40 faces are low-quality faces" in text
    assert "P1 angry" not in text
    assert "angry 50%" not in text


def drawn(store: Store, emotion: str = "happy") -> tuple[list[tuple[str, int, int]], list[str]]:
    """The runs of labels on the page, and the outline of the area that shows one emotion of each person."""
    page = report_page(store.root)
    runs = re.findall(r'<rect class="e-(\w+)" x="(\d+)" y="104" width="(\d+)"', page)
    return [(name, int(x), int(width)) for name, x, width in runs], re.findall(
        rf'class="e-{emotion}" d="([^"]*)"', page
    )


def test_samples_far_apart_leave_no_gaps(tmp_path):
    store = Store(tmp_path / "results")
    faces = [Face(i, p=feeling("happy")) for i in range(8)]
    pts_s = [0.0, 0.04, 0.5, 0.54, 0.58, 1.0, 1.04, 1.5]
    store.commit_analysis(row(1, "/a.mp4"), build_timeline(observe(pts_s, faces), TimelineConfig()))
    runs, areas = drawn(store)
    assert [name for name, _, _ in runs] == ["happy"]
    assert [area.count("M") for area in areas] == [1]


def test_short_absences_are_closed_long_ones_open_and_narrow_runs_visible(tmp_path):
    store = Store(tmp_path / "results")
    seen = [*range(100), *range(105, 200), *range(1000, 1006)]  # some of 2,000 frames, with 25 per second
    faces = [Face(i, p=feeling("happy")) for i in seen]
    store.commit_analysis(row(1, "/a.mp4"), build_timeline(observe(np.arange(2000) / 25, faces), TimelineConfig()))
    runs, areas = drawn(store)
    assert runs == [("happy", 0, 20), ("happy", 100, 1)]  # there are two people; a step is 0.4 s
    assert [area.count("M") for area in areas] == [1, 1]


def test_a_step_shows_what_is_shown_longest_in_it(tmp_path):
    """Steps of 20 ms: a frame of 2 ms is in the first step of a smile from 0.942 to 1.842 s, which is longer."""
    store, config = Store(tmp_path / "results"), TimelineConfig(smoothing=SmoothingConfig(time_constant_s=1e-4))
    pts_s = [*np.arange(10) / 10, 0.94, 0.942, *np.arange(1.842, 3.9, 0.1)]
    faces = [Face(i, p=feeling("happy" if i == 11 else "neutral")) for i in range(len(pts_s))]
    store.commit_analysis(row(1, "/a.mp4"), build_timeline(observe(pts_s, faces), config, end_s=4.0))
    runs, areas = drawn(store, "neutral")
    assert runs == [("neutral", 0, 47), ("happy", 47, 45), ("neutral", 92, 108)]
    assert areas == ["M0,100V0H47V90H48V100H92V10H93V0H200V100Z"]


def test_the_command_writes_one_file(tmp_path):
    store = Store(tmp_path / "results")
    store.commit_failure(row(1, "/a.mp4"), "broken")
    arguments = ["report", str(store.root), "--out", str(tmp_path / "report.html")]
    done = fervid(*arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert fervid(*arguments).exit_code == 1
    assert fervid(*arguments, "--overwrite").exit_code == 0
    missing = fervid("report", tmp_path / "none", "--out", tmp_path / "x.html")
    assert (missing.exit_code, "not a results folder" in missing.output) == (1, True)
