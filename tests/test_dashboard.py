"""The pages over real results, the requests of the player, and the command that serves both."""

import contextlib
import functools
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import fervid
from PIL import ExifTags, Image
from pympi import Elan
from scenes import LONG_FRAME_S, Face, feeling, long_smile, observe, still_landmarks
from scipy import stats
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from analytics import connect, queries
from analytics.queries.codes import CodesError, read_codes
from analytics.queries.event_files import EventsError, read_events
from analytics.queries.groups import GroupError
from analytics.queries.sql_files import run_sql_for_videos
from analytics.results import verification
from analytics.results.compaction import compact
from analytics.results.damage import Damage
from analytics.results.ids import content_id
from analytics.results.in_progress import mark_in_progress
from analytics.results.notes import Step, add_steps, hide, read_notes, rename
from analytics.results.status import Running, running, unfinished
from analytics.results.storage_paths import StoragePath
from analytics.results.store import Store, StoreError
from analytics.results.videos import UnknownVideoError, choose_videos
from analytics.timeline.baseline import BaselineConfig
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.timeline.observations import missing_frames_table
from analytics.timeline.quality import QualityConfig
from dashboard.data import codes, markers
from dashboard.data.downloads import download
from dashboard.data.edits import store_edit
from dashboard.data.library import VIDEOS_SQL, read_library
from dashboard.data.live_refresh import results_etag, trainings_etag, video_etag
from dashboard.data.media import find_media, make_preview, relocate
from dashboard.data.player_data import player_data
from dashboard.data.prefect_runs import flow_runs
from dashboard.data.results import ENVIRONMENT, Results, current_results, open_results
from dashboard.data.timeline_window import boxes, window
from dashboard.data.uploads import read_upload
from dashboard.server import EXCEPTION_HANDLERS, ROUTES, names_of, unreachable_note, warm_up
from dashboard.text import DISCLAIMER, plain
from dashboard.views import library, moments
from dashboard.views.sql import chart_of
from dashboard.views.timeline import parse_time_s, summary_line
from dashboard.widgets.agreement import library_agreement, person_table
from dashboard.widgets.charts import GRAY, GROUP_COLORS, TEXT_COLOR
from dashboard.widgets.differences import notes_of
from dashboard.widgets.group_picker import (
    GroupFile,
    Grouping,
    groups_by_folder,
    groups_by_word,
    joined_folders_note,
    parse_grouping,
)
from dashboard.widgets.over_time import interval_notes, onset_chart, people_chart, timeline_rows
from dashboard.widgets.validity import validity_table
from fer_models.labels import EMOTION_COLORS, EMOTIONS
from fer_models.observe_version import OBSERVE_VERSION
from fer_models.video.probe import probe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
START_S = 300  # for the server to start on a slow and busy machine
APP_TIMEOUT_S = 300  # for one run of a page
Page = Callable[[str, Path], AppTest]
ALICE, NOBODY, BROKEN = "v0000000000000001", "v0000000000000002", "v0000000000000003"


def timeline(pts_s: np.ndarray, faces: list[Face]) -> Timeline:
    return build_timeline(observe(pts_s, faces), TimelineConfig())


def codes_in(content: bytes) -> codes.Codes:
    """The codes of an uploaded CSV file."""
    return codes.Codes("codes.csv", read_upload(read_codes, content, "codes.csv"))


def row(video_id: str, path: str, **known: object) -> dict[str, object]:
    return {"video_id": video_id, "analysis_id": f"a{video_id[1:]}", "path": path, **known}


@pytest.fixture(scope="module", autouse=True)
def scan_once() -> Iterator[None]:
    """Let Streamlit search all installed packages for components only once, as a server does, and not for each page."""
    with pytest.MonkeyPatch.context() as patch:
        name = "scan_component_manifests"
        patch.setattr(manifest_scanner, name, functools.cache(getattr(manifest_scanner, name)))
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def results(store: Store) -> Path:
    """Alice is happy for 4 s, with nobody from 4 to 8 s, then sad; someone else is there for the first 4 s."""
    pts_s = np.arange(120) / 10
    alice = [Face(i, x=150, p=feeling("happy" if i < 40 else "sad")) for i in range(120) if not 40 <= i < 80]
    other = [Face(i, x=450) for i in range(40)]
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=12.0, n_frames=120), timeline(pts_s, alice + other))
    store.commit_analysis(row(NOBODY, "in/nobody.mp4", duration_s=12.0, n_frames=120), timeline(pts_s, []))
    store.commit_failure(row(BROKEN, "in/broken.mp4"), "in/broken.mp4: not a video")
    return store.root


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """A page over a results folder, after its first run."""

    def run(name: str, results: Path) -> AppTest:
        monkeypatch.setenv(ENVIRONMENT, str(results))
        file = ROOT / "dashboard" / ("app.py" if name == "app" else f"views/{name}.py")
        shown = AppTest.from_file(file, default_timeout=APP_TIMEOUT_S).run()
        assert not shown.exception
        return shown

    return run


def words(shown: AppTest) -> str:
    """All texts of a page, as a reader sees them: without the backslashes that escape Markdown."""
    kinds = ("info", "warning", "error", "caption", "markdown", "code")
    texts = "\n".join(element.value for kind in kinds for element in shown.get(kind))
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", texts)


def chart_rows(shown: AppTest) -> list[dict[str, object]]:
    """The rows of the first chart of a page."""
    (named,) = shown.get("vega_lite_chart")[0].proto.datasets
    rows: list[dict[str, object]] = pa.ipc.open_stream(named.data.data).read_all().to_pylist()
    return rows


def test_the_library_counts_the_analyzed_part_of_videos(store: Store, page: Page) -> None:
    for video, duration_s, observe_settings in (
        (ALICE, 120.0, {"start_s": 30.0, "end_s": 90.0}),  # 60 s
        (NOBODY, 24.0, {"start_s": 6.0, "end_s": None}),  # 18 s
        (BROKEN, None, {"start_s": 6.0, "end_s": 9.0}),  # a still image
    ):
        settings = json.dumps({"observe": observe_settings})
        store.commit_analysis(row(video, f"{video}.mp4", duration_s=duration_s, settings=settings), timeline([], []))
    minutes = {metric.label: metric.value for metric in page("library", store.root).metric}["minutes"]
    assert minutes == "1.3"  # 78 s


def test_the_first_page_is_read_before_it_is_opened(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on, pages read small tables from memory: here, their files are gone."""
    monkeypatch.setenv(ENVIRONMENT, str(results))
    warm_up()
    for name in ("faces", "tracks", "episodes"):
        shutil.rmtree(results / name)
    opened = current_results()
    found = read_library(opened)
    cells = library.table_rows(opened, found.rows, found.videos[found.videos["status"] == "done"])
    assert sorted(str(row["people"]) for row in cells) == ["0", "3"]
    assert opened.ask("SELECT person FROM people JOIN visible('tracks') USING (video_id, track_id)").num_rows == 3


def test_the_library_lists_every_video_with_its_strips(results: Path, page: Page) -> None:
    shown = page("library", results)
    assert [metric.value for metric in shown.metric] == ["2", "0.4", "3", "1"]  # the last figure counts failures
    assert "**broken.mp4**: in/broken.mp4: not a video" in words(shown)
    opened = Results(results)
    found = read_library(opened)
    done = found.videos[found.videos["status"] == "done"].sort_values("video")
    alice, nobody = library.table_rows(opened, found.rows, done)
    assert (alice["video"], alice["emotion"], alice["people"]) == ("alice.mp4", "happy / sad / neutral", "3")
    assert alice["href"] == f"timeline?video={ALICE}"
    assert len(alice["episodes"]) == 3  # a strip for each person
    happy = next(part for strip in alice["episodes"] for part in strip if part[2] == EMOTIONS.index("happy"))
    assert happy[0] == 0
    shares = {EMOTIONS[number]: round(width) for _, width, number in alice["shares"][0]}
    assert alice["shares_title"].startswith(f"happy {shares['happy']}\xa0%, ")  # the largest share is first
    assert happy[1] == pytest.approx(100 * 4 / 12, abs=1)  # 4 of 12 s
    assert (nobody["video"], nobody["emotion"], nobody["people"], nobody["episodes"]) == ("nobody.mp4", None, "0", [])
    hide(results, ALICE, 0, True)  # hide the person who is happy
    opened.refresh()
    found = read_library(opened)
    (alice,) = library.table_rows(opened, found.rows, found.videos[found.videos["video"] == "alice.mp4"])
    assert (alice["people"], len(alice["episodes"])) == ("2", 2)


def test_people_who_were_not_corrected_by_their_baseline_are_noted(store: Store, page: Page) -> None:
    pts_s = np.arange(120) / 10
    people = [Face(i, x=x, p=feeling("happy" if x == 150 else "neutral")) for i in range(120) for x in (150, 450)]
    corrected = build_timeline(observe(pts_s, people), TimelineConfig(baseline=BaselineConfig("neutral_stretch")))
    settings = json.dumps({"timeline": {"baseline": {"method": "neutral_stretch"}}})
    for video_id, path in ((ALICE, "in/alice.mp4"), (NOBODY, "in/nobody.mp4")):
        store.commit_analysis(row(video_id, path, settings=settings), corrected)
    for name in ("library", "compare"):
        assert "2 of 4 people have no neutral stretch and were not corrected" in words(page(name, store.root))


def test_replaced_files_are_noted(results: Path, store: Store, page: Page) -> None:
    store.commit_analysis(row("v0000000000000004", "in/alice.mp4"), timeline(np.arange(10) / 10, [Face(0)]))
    for name in ("library", "compare"):
        assert "alice.mp4: replaced after the analysis" in words(page(name, results))


def test_a_reason_is_stated_once_for_all_videos_that_failed_for_it(store: Store, page: Page) -> None:
    for number, (name, reason) in enumerate((("1/a", "no index"), ("b", "is empty"), ("2/a", "no index"))):
        store.commit_failure(row(f"v{number:016}", f"in/{name}.mp4"), reason)
    said = words(page("library", store.root))
    assert "- **1/a.mp4**, **2/a.mp4**: no index\n- **b.mp4**: is empty" in said
    assert "There are no finished videos yet" in said
    assert "No video passes the filters" not in said


def test_the_library_counts_a_video_as_done_whose_later_run_failed(results: Path, store: Store, page: Page) -> None:
    store.commit_failure(row(NOBODY, "in/nobody.mp4", analysis_id="a9"), "the file is truncated")
    shown = page("library", results)
    assert [metric.value for metric in shown.metric] == ["2", "0.4", "3", "1"]
    assert "**nobody.mp4**: a later run failed: the file is truncated" in words(shown)


def test_the_library_is_searched_and_filtered(results: Path, page: Page) -> None:
    shown = page("library", results)
    assert "2 videos. Click one" in words(shown)
    shown.text_input[0].set_value("NOBODY").run()
    assert "1 video. Click one" in words(shown)
    shown.text_input[0].set_value("").run()
    shown.selectbox[0].set_value("angry").run()
    assert "No video passes the filters." in words(shown)


def test_the_library_shows_the_faces_of_still_images(store: Store, page: Page) -> None:
    """Two of four good faces are happy, two neutral: both are dominant. In the last image, one face is too small."""
    four = [Face(0, x=160 * i, p=feeling(name)) for i, name in enumerate(["happy", "happy", "neutral", "neutral"])]
    small = [Face(0, p=feeling("sad")), Face(0, x=400, size_px=8, p=feeling("angry"))]
    for video_id, name, faces in ((ALICE, "tie", four), (NOBODY, "nobody", []), (BROKEN, "small", small)):
        store.commit_analysis(row(video_id, f"in/{name}.png", duration_s=0.0), timeline(np.zeros(1), faces))
    shown = page("library", store.root)
    assert [metric.value for metric in shown.metric] == ["3", "0.0", "0", "0"]  # faces are no tracks
    opened = Results(store.root)
    found = read_library(opened)
    nobody, small_row, tie = library.table_rows(opened, found.rows, found.videos.sort_values("video"))
    assert {cells["duration"] for cells in (nobody, small_row, tie)} == {"still image"}
    assert [cells["people"] for cells in (nobody, small_row, tie)] == ["0 faces", "2 faces", "4 faces"]
    assert [cells["emotion"] for cells in (nobody, small_row, tie)] == [None, "sad", "happy / neutral"]
    assert tie["shares_title"] == "happy 50\xa0%, neutral 50\xa0%"
    assert small_row["shares_title"] == "sad 100\xa0%"
    assert small_row["low_quality"] == "50.0\xa0%"
    for emotion in ("happy", "neutral", "sad"):
        shown.selectbox(key="library_emotion").select(emotion).run()
        assert "1 video. Click one" in words(shown)


def test_results_without_videos_say_so(store: Store, page: Page) -> None:
    assert "There are no videos yet" in words(page("library", store.root))
    store.write_segment(ALICE, "o1", 0, observe(np.arange(10) / 10, [Face(0, appearance=90)]))
    open_results.cache_clear()  # running analyses are remembered for a second
    with mark_in_progress(store.root, ALICE):
        said = words(page("library", store.root))
    assert "Analysis in progress: 1 video with 1 finished segment." in said
    assert "There are no videos yet" not in said
    for name in ("timeline", "moments", "compare"):
        assert "There are no finished videos yet" in words(page(name, store.root))


def test_a_video_without_faces_says_so(results: Path, page: Page) -> None:
    shown = page("timeline", results)
    shown.selectbox[0].set_value(NOBODY).run()
    assert not shown.exception
    assert "No face is visible long enough" in words(shown)


def test_the_video_of_the_last_visit_is_shown_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(results))
    shown = AppTest.from_file(ROOT / "dashboard/views/timeline.py", default_timeout=APP_TIMEOUT_S)
    shown.session_state["timeline_video"] = NOBODY
    assert shown.run().selectbox[0].value == NOBODY
    assert shown.query_params["video"] == NOBODY
    shown.query_params["video"] = ALICE  # the video in the address takes precedence
    assert shown.run().selectbox[0].value == ALICE


def test_each_choice_in_the_list_of_videos_is_shown(results: Path, page: Page) -> None:
    shown = page("timeline", results)
    shown.query_params["t"] = "7"
    for video in (NOBODY, ALICE, NOBODY, ALICE):
        shown.selectbox[0].set_value(video).run()
        assert not shown.exception
        assert (shown.selectbox[0].value, shown.query_params["video"]) == (video, video)
        assert "t" not in shown.query_params  # a moment of the video before


def test_both_contents_of_a_replaced_file_can_be_opened(results: Path, store: Store, page: Page) -> None:
    later = "v0000000000000004"
    store.commit_analysis(row(later, "in/alice.mp4", duration_s=1.0), timeline(np.arange(10) / 10, [Face(0)]))
    shown = page("timeline", results)
    assert shown.selectbox[0].options == [f"alice.mp4 ({ALICE})", f"alice.mp4 ({later})", "nobody.mp4"]
    for video in (ALICE, later, ALICE):
        shown.query_params["video"] = video
        for _ in range(2):  # the second run reads the choice back from the browser
            shown.run()
            assert (shown.selectbox[0].value, shown.query_params["video"]) == (video, video)


@pytest.mark.parametrize(
    ("video", "why"),
    [
        (BROKEN, "in/broken.mp4 could not be analyzed: in/broken.mp4: not a video"),
        ("v0000000000000008", "There is no video v0000000000000008 here; it may have been purged."),
    ],
)
def test_a_video_that_cannot_be_shown_is_explained_and_no_other_is_shown(
    results: Path, monkeypatch: pytest.MonkeyPatch, video: str, why: str
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(results))
    shown = AppTest.from_file(ROOT / "dashboard" / "views" / "timeline.py", default_timeout=APP_TIMEOUT_S)
    shown.query_params["video"] = video
    for _ in range(2):
        assert words(shown.run()) == why
        assert (shown.selectbox[0].value, shown.query_params["video"]) == (None, video)
    shown.selectbox[0].set_value(ALICE).run()
    assert not shown.exception
    assert shown.query_params["video"] == ALICE
    assert "00:12.0 · 3 people" in words(shown)


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "soon", "", "-3"])
def test_moments_outside_of_any_video_begin_at_0(text: str) -> None:
    assert parse_time_s(text) == 0


def test_a_video_that_moved_is_reported_and_can_be_relocated(results: Path, page: Page, tmp_path: Path) -> None:
    shown = page("timeline", results)
    assert "The video is not where it was" in words(shown)
    outside = tmp_path / "other.mp4"
    outside.write_bytes(b"another")
    refusals = set()
    for path in (outside, tmp_path / "missing.mp4", Path("/etc/passwd"), tmp_path, Path("~nobody-here/a.mp4")):
        shown.text_input[0].set_value(str(path)).run()
        (error,) = (box.value for box in shown.error)
        refusals.add(error.removeprefix(plain(path)))
    assert len(refusals) == 1  # the message does not reveal whether the file exists
    inside = results / "other.mp4"
    inside.write_bytes(b"another")
    for pasted in (str(inside), f'"{inside}" '):
        shown.text_input[0].set_value(pasted).run()
        assert "another video" in words(shown)
    assert read_notes(results, ALICE).moved_to is None


def test_a_relocated_file_is_found_where_it_was_analyzed_once_it_has_moved_back(store: Store, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "alice.mp4", store.root / "moved.mp4"
    path.write_bytes(b"what was analyzed")
    known = content_id(path)
    store.commit_analysis(row(known, str(path)), timeline(np.zeros(0), []))
    found = []
    for source, target in ((path, elsewhere), (elsewhere, path), (path, elsewhere)):
        source.rename(target)
        if not found:
            relocate(Results(store.root), known, str(elsewhere))
        media = find_media(Results(store.root), known)
        assert media is not None
        found.append((media.path, media.exists))
    assert found == [(elsewhere, True), (path, True), (elsewhere, True)]


def test_a_file_that_may_not_be_looked_at_counts_as_moved(store: Store, page: Page) -> None:
    """On a path that is too long, as in a folder without permission, `Path.is_file` raises an error."""
    path = f"/{300 * 'a'}/alice.mp4"
    store.commit_analysis(row(ALICE, path), timeline(np.arange(20) / 10, [Face(i) for i in range(20)]))
    shown = page("timeline", store.root)
    assert "The video is not where it was" in words(shown)
    inside = str(store.root / f"{300 * 'a'}.mp4")
    shown.text_input[0].set_value(inside).run()
    assert [error.value for error in shown.error] == [plain(f"{inside}: no such file")]
    with pytest.raises(UnknownVideoError, match="no such video in the results"):
        choose_videos(Results(store.root).videos(), [inside])


def test_names_in_uploads_do_not_read_files_of_the_server(store: Store, page: Page, tmp_path: Path) -> None:
    """The file has the content of a video of the results, so that reading it would find the video."""
    file = tmp_path / "secret.txt"
    file.write_bytes(b"abc")
    video_id = f"v{hashlib.sha256(b'abc').hexdigest()[:16]}"
    for known, path in ((video_id, "in/abc.mp4"), (ALICE, "in/alice.mp4")):
        store.commit_analysis(row(known, path), timeline(np.arange(20) / 10, [Face(i) for i in range(20)]))
    results = Results(store.root)
    events = read_upload(
        read_events, f"start_s,end_s,label,video,time offset (s)\n0,1,a,{file}\n0,1,b,,-1\n".encode(), "events.csv"
    )
    uploaded = markers.Markers("events.csv", events)
    with pytest.raises(UnknownVideoError, match=r"secret\.txt: no such video in the results, by path"):
        uploaded.of_video(results, video_id)
    with pytest.raises(UnknownVideoError, match="by path"):
        codes_in(f"start_s,end_s,code,video\n0,1,happy,{file}\n".encode()).by_video(results)
    shown = page("compare", store.root)
    shown.session_state["markers"] = uploaded
    shown.run().segmented_control[0].set_value("markers").run()
    assert "secret.txt: no such video in the results, by path" in words(shown)
    assert "subtracted from 1 event" in words(shown)
    groups = {"in/alice.mp4": "x", "in/abc.mp4": "y"}
    for grouping in (Grouping({**groups, str(file): "y"}), Grouping(groups, {str(file): "Bob"})):
        shown.session_state["groups_of_file"] = GroupFile("groups.csv", grouping)
        shown.segmented_control[0].set_value("a CSV file").run()
        assert "secret.txt: no such video in the results, by path" in words(shown)
    shown = page("sql", store.root)
    shown.session_state["markers"] = uploaded
    shown.text_area[0].set_value("FROM events")
    shown.button[0].click().run()
    assert f"events.csv: {file}: no such video in the results, by path" in words(shown)
    shown.text_area[0].set_value("SELECT 'answered' AS said")
    shown.button[0].click().run()
    assert "no such video" not in words(shown)
    assert shown.dataframe[0].value["said"].tolist() == ["answered"]


EVERYTHING = moments.Filters(list(EMOTIONS))


def strongest(opened: Results, ranking: str, filters: moments.Filters) -> list[moments.Moment]:
    return moments.moments_of(moments.find_moments(opened, ranking, filters))


def test_moments_are_ranked_by_area_and_filtered(results: Path, page: Page) -> None:
    opened = Results(results)
    by_area = strongest(opened, "area (mean × duration)", moments.Filters(["happy", "sad"]))
    areas = connect(results).sql("SELECT mean * duration_s FROM episodes WHERE emotion IN ('happy', 'sad')").fetchall()
    assert [moment.rank_value for moment in by_area] == pytest.approx(sorted((area for (area,) in areas), reverse=True))
    assert [moment.emotion for moment in strongest(opened, "peak", moments.Filters(["sad"]))] == ["sad"]
    assert strongest(opened, "peak", replace(EVERYTHING, min_duration_s=9.0)) == []
    longest_s = max(moment.duration_s for moment in by_area)
    rounded_up = moments.Filters(["happy", "sad"], min_duration_s=longest_s + 1e-12)
    assert [moment.duration_s for moment in strongest(opened, "peak", rounded_up)] == [longest_s, longest_s]
    # The player adds 1 ms to the times of links, so that 0.667 shows the frame at 2/3 s.
    links = moments.table_row(replace(by_area[0], apex_s=2 / 3, start_s=5 / 3))
    assert links["moment_title"] == "in/alice.mp4"
    assert [links[name].partition("&")[2] for name in ("href", "play_href")] == ["t=0.667", "t=0.667&play=1"]
    shown = page("moments", results)
    assert "strongest episodes by area" in words(shown)
    assert [button.label for button in shown.get("download_button")] == ["All rows as CSV"]
    assert "The 2 strongest episodes" in words(shown)  # all episodes but the neutral one
    shown.pills[0].set_value(["sad"]).run()  # one click selects one emotion
    assert "1 episode." in words(shown)
    shown.slider[0].set_value(9.0).run()
    assert "No episode passes the filters" in words(shown)
    for track_id in connect(results).sql("SELECT DISTINCT track_id FROM episodes").fetchall():
        hide(results, ALICE, *track_id, True)
    current_results().reload_notes()
    assert "There are no episodes: hidden people aside" in words(page("moments", results))


def test_all_episodes_are_saved_if_the_list_of_moments_is_cut(store: Store, page: Page) -> None:
    """A person who is happy and sad in turn, for 2 s each, 204 times in all."""
    faces = [Face(i, p=feeling("sad" if i // 10 % 2 else "happy")) for i in range(2040)]
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=408.0), timeline(np.arange(2040) / 5, faces))
    assert "The 200 of 204 strongest episodes" in words(page("moments", store.root))
    assert moments.find_moments(Results(store.root), "peak", EVERYTHING).num_rows == 204


def test_people_in_videos_of_the_same_name_can_all_be_selected(store: Store) -> None:
    faces = [Face(i) for i in range(20)]
    for video, path in ((ALICE, "P01/cam.mp4"), (NOBODY, "P02/cam.mp4"), (BROKEN, "P02/other.mp4")):
        store.commit_analysis(row(video, path), timeline(np.arange(20) / 10, faces))
    rename(store.root, BROKEN, 0, "Zoe")
    opened = Results(store.root)
    found = {moment.video for moment in strongest(opened, "peak", moments.Filters(["neutral"]))}
    assert found == {"P01/cam.mp4", "P02/cam.mp4", "other.mp4"}
    assert list(moments.people_by_label(opened).items()) == [
        ("Zoe", "Zoe"),
        ("P0 in P01/cam.mp4", f"{ALICE}/P0"),
        ("P0 in P02/cam.mp4", f"{NOBODY}/P0"),
    ]


def test_the_player_counts_time_of_good_quality_as_validity_does(store: Store) -> None:
    """One of 23 faces is blurred, in the frame that is shown for 0.9 of 3.05 s."""
    faces = [Face(i, blur=1 if i == 10 else 100) for i in range(len(LONG_FRAME_S))]
    store.commit_analysis(row(ALICE, "a.mp4"), timeline(np.array(LONG_FRAME_S), faces))
    opened = Results(store.root)
    (person,) = player_data(opened, find_media(opened, ALICE), None, None).tracks
    (validity,) = opened.answer(queries.validity).to_pylist()
    assert person.good_share == pytest.approx(1 - 0.9 / 3.05) == validity["good_share"]


def test_moments_of_equal_rounded_peaks_are_ordered_by_duration(store: Store) -> None:
    """Smiles of about 5 and 6 s, whose peaks are 1.000 and 0.998."""
    for video_id, length_s, p in ((ALICE, 5, 1.0), (NOBODY, 6, 0.998)):
        faces = [Face(i, p=feeling("happy", p if i < 10 * length_s else 0)) for i in range(100)]
        store.commit_analysis(row(video_id, f"{length_s}.mp4"), timeline(np.arange(100) / 10, faces))
    by_peak = moments.find_moments(Results(store.root), "peak", moments.Filters(["happy"]))
    assert [moment.video for moment in moments.moments_of(by_peak)] == ["6.mp4", "5.mp4"]


def test_moments_know_names_and_leave_out_hidden_people(results: Path) -> None:
    (sad,) = strongest(Results(results), "peak", moments.Filters(["sad"]))
    rename(results, ALICE, sad.track_id, "Anna")
    (named,) = strongest(Results(results), "peak", replace(EVERYTHING, participant="Anna"))
    assert (named.person, named.emotion) == ("Anna", "sad")
    hide(results, ALICE, sad.track_id, True)
    assert strongest(Results(results), "peak", moments.Filters(["sad"])) == []


def test_pages_moments_and_sql_report_people_to_confirm(results: Path, page: Page) -> None:
    (sad,) = strongest(Results(results), "peak", moments.Filters(["sad"]))
    add_steps(results, ALICE, [Step("name", "Anna", sad.track_id), Step("confirmed", False, sad.track_id)])
    note = f"so that these may be others now: P{sad.track_id} (Anna) in alice.mp4."
    assert note in words(page("moments", results))
    shown = page("sql", results)
    shown.text_area[0].set_value("SELECT person FROM People")
    shown.button[0].click().run()
    assert note in words(shown)
    shown.text_area[0].set_value("SELECT 1")
    shown.button[0].click().run()
    assert note not in words(shown)
    with connect(results) as connection:
        assert queries.unconfirmed_people_note(connection, [NOBODY]) is None


def test_the_number_of_an_unnamed_person_is_no_name(store: Store) -> None:
    for video in (ALICE, NOBODY):
        store.commit_analysis(row(video, f"{video}.mp4"), timeline(np.arange(20) / 10, [Face(i) for i in range(20)]))
        opened = Results(store.root)
        known = player_data(opened, find_media(opened, video), None, None).numbering_id
        for name in ("Anna", " p0"):
            store_edit(opened, video, {"kind": "name", "value": name, "track_id": 0, "numbering_id": known})
    people = Results(store.root).ask("SELECT person, is_named, participant FROM people ORDER BY ALL").to_pylist()
    assert [(one["person"], one["is_named"]) for one in people] == [("P0", False)] * 2
    assert len({one["participant"] for one in people}) == 2  # nobody who is not named is in two videos


def test_files_of_a_video_leave_out_hidden_people(results: Path) -> None:
    """There are three people with 40 faces and one episode each."""
    opened = Results(results)
    (happy,) = strongest(opened, "peak", moments.Filters(["happy"]))
    hide(results, ALICE, happy.track_id, True)
    opened.reload_notes()
    for name, n_rows in (("faces.csv", 80), ("faces.parquet", 80), ("episodes.csv", 2)):
        read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
        rows = read(io.BytesIO(download(opened, ALICE, name)))
        assert len(rows) == n_rows
        assert happy.track_id not in rows["track_id"].tolist()


@pytest.mark.parametrize(
    ("name", "cell"),
    [("faces.csv", "'=HYPERLINK(1)"), ("episodes.csv", "'=HYPERLINK(1)"), ("faces.parquet", "=HYPERLINK(1)")],
)
def test_csv_files_of_a_video_hold_no_formulas(results: Path, name: str, cell: str) -> None:
    rename(results, ALICE, 0, "=HYPERLINK(1)")
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    rows = read(io.BytesIO(download(Results(results), ALICE, name)))
    assert set(rows.loc[rows["track_id"] == 0, "person"]) == {cell}


def test_formulas_in_markers_are_escaped_and_read_back(results: Path, page: Page) -> None:
    labels = ["=HYPERLINK(1)", "'=1+1", "'ad'", "-1.5"]
    opened = Results(results)
    for number, label in enumerate(labels):
        marker = {"id": f"m{number}", "label": label, "start_s": number + 0.25, "end_s": number + 1}
        store_edit(opened, ALICE, {"kind": "marker", "value": marker})
    content = download(opened, ALICE, "markers.csv")
    cells = pd.read_csv(io.BytesIO(content), dtype=str)["label"]
    assert cells.tolist() == ["'=HYPERLINK(1)", "''=1+1", "'ad'", "-1.5"]
    events = read_upload(read_events, content, "markers.csv")
    of_alice = [row for row in events.to_pylist() if row["video"] == "in/alice.mp4"]
    assert [(row["label"], row["start_s"]) for row in of_alice] == list(zip(labels, np.arange(4) + 0.25, strict=True))
    shown = page("sql", results)
    shown.session_state["markers"] = markers.Markers("markers.csv", events)
    shown.text_area[0].set_value("SELECT label FROM events ORDER BY start_s")
    shown.button[0].click().run()
    assert shown.dataframe[0].value["label"].tolist() == labels


def test_notes_are_read_again_however_recent_the_last_check_was(results: Path) -> None:
    opened = Results(results)
    for name in ("Anna", "Bea"):
        rename(results, ALICE, 0, name)
        opened.reload_notes()
        assert opened.ask("SELECT person FROM people WHERE is_named")["person"].to_pylist() == [name]
    rename(results, ALICE, 0, "Cleo")
    opened.refresh()
    assert opened.ask("SELECT person FROM people WHERE is_named")["person"].to_pylist() == ["Cleo"]


def test_people_who_are_renamed_are_seen_by_an_open_connection(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.data.results.CHECK_EVERY_S", -1)
    opened = Results(results)
    assert opened.ask("SELECT count(*) FILTER (is_named) AS n FROM people")["n"].to_pylist() == [0]
    rename(results, ALICE, 0, "Anna")
    assert opened.ask("SELECT person FROM people WHERE is_named")["person"].to_pylist() == ["Anna"]


def test_single_videos_are_compared_where_all_lie_in_one_folder(results: Path, store: Store, page: Page) -> None:
    bob = timeline(np.arange(60) / 10, [Face(i, p=feeling("surprise")) for i in range(60)])
    store.commit_analysis(row("v0000000000000004", "in/bob.mp4", duration_s=6.0), bob)
    shown = page("compare", results)
    shown.multiselect[0].set_value([ALICE, "v0000000000000004"]).run()
    assert not shown.exception
    table = shown.dataframe[0].value.set_index("emotion")
    assert table.loc["surprise", "difference in points"] == pytest.approx(-100)
    assert table.loc["surprise", "95 % interval"] is None
    assert "over participants, or over videos if there are none" in words(shown)
    assert pd.isna(table.loc["surprise", "Cliff's delta"])  # empty, because each group has one participant
    assert shown.dataframe[0].proto.placeholder == "—"
    assert "no Cliff's delta: 2 participants per group are needed, got 1" in words(shown)
    assert shown.dataframe[1].value["videos A, B"].tolist() == ["1, 1"]
    assert "no interval: 5 participants" in words(shown)
    shown.multiselect[0].set_value([ALICE]).run()
    assert "Select at least two videos." in words(shown)
    assert shown.segmented_control[0].proto.required  # a click on the selected option does not deselect it
    shown.segmented_control[0].set_value("folders").run()
    assert "All videos are in one folder" in words(shown)
    shown.segmented_control[0].set_value("words in the path").run()
    assert "Enter at least two words that paths contain" in words(shown)
    shown.segmented_control[0].set_value("a CSV file").run()
    assert "Choose a file that names at least two groups." in words(shown)


def test_videos_of_the_same_file_name_are_compared_as_chosen(store: Store, page: Page) -> None:
    """Two videos have one file name, two have one path: the content of the file was replaced."""
    paths = ("/v/anna/clip.mp4", "/v/bo/clip.mp4", "/v/cam.mp4", "/v/cam.mp4")
    ids = [f"v{number:016}" for number in range(4)]
    for video_id, path, emotion in zip(ids, paths, ("happy", "sad", "fear", "angry"), strict=True):
        faces = [Face(i, p=feeling(emotion)) for i in range(20)]
        store.commit_analysis(row(video_id, path, duration_s=2.0), timeline(np.arange(20) / 10, faces))
    shown = page("compare", store.root)
    shown.segmented_control[0].set_value("single videos").run()
    for chosen, pair in (
        ({1: "sad", 2: "fear"}, f"bo/clip.mp4 − cam.mp4-{ids[2]}"),
        ({0: "happy", 3: "angry"}, f"anna/clip.mp4 − cam.mp4-{ids[3]}"),
    ):
        shown.multiselect[0].set_value([ids[number] for number in chosen]).run()
        assert not shown.exception
        assert f"A − B: {pair}" in words(shown)
        table = shown.dataframe[0].value.set_index("emotion")["difference in points"]
        first, second = chosen.values()
        assert (table[first], table[second]) == (pytest.approx(100), pytest.approx(-100))
    assert f"not compared: bo/clip.mp4, cam.mp4-{ids[2]}" in words(shown).replace("*", "")
    shown.segmented_control[0].set_value("words in the path").run()
    shown.text_input[0].set_value("clip, bo").run()
    assert "Left out, because several of the words are in their path: bo/clip.mp4." in words(shown)


def test_compare_shows_results_that_were_added_between_two_checks_of_the_folder(
    store: Store, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.data.results.CHECK_EVERY_S", 1000)

    def add(video: str, analysis: str, emotion: str) -> None:
        faces = [Face(i, p=feeling(emotion)) for i in range(20)]
        known = row(video, f"in/{video}.mp4", duration_s=2.0) | {"analysis_id": analysis}
        store.commit_analysis(known, timeline(np.arange(20) / 10, faces))

    add(ALICE, "a1", "happy")
    add(NOBODY, "a2", "sad")
    shown = page("compare", store.root)
    add(NOBODY, "a3", "fear")
    shown.run()  # the connection still shows the earlier analysis
    current_results().refresh()
    table = shown.run().dataframe[0].value.set_index("emotion")["difference in points"]
    assert (table["happy"], table["sad"], table["fear"]) == pytest.approx((100, 0, -100))


def test_a_video_is_in_the_group_of_the_one_word_in_its_path(results: Path, page: Page) -> None:
    paths = ["in/Male_1.mp4", "in/female_1.mp4", "in/female_and_male.mp4", "in/nobody.mp4"]
    assert groups_by_word(paths, ["male", "female"]) == {"in/Male_1.mp4": "male", "in/female_1.mp4": "female"}
    assert groups_by_word(["/male/a_1.mp4", "/male/female/2.mp4"], ["male", "female"]) == {
        "/male/female/2.mp4": "female"
    }
    shown = page("compare", results)
    shown.segmented_control[0].set_value("words in the path").run()
    shown.text_input[0].set_value("alice, .mp4, bob, in/").run()
    assert "No video has in its path below the common folder: bob, in/." in words(shown)
    assert "Left out, because several of the words are in their path: alice.mp4." in words(shown)
    assert "The folders that all videos share do not count." in words(shown)  # nobody.mp4 alone is left: one group


def test_at_most_six_groups_are_compared(store: Store, page: Page) -> None:
    for number in range(8):
        faces = [Face(i) for i in range(20)]
        path = f"{number % 4}/{number}.mp4"
        store.commit_analysis(row(f"v{number:016}", path, duration_s=2.0), timeline(np.arange(20) / 10, faces))
    shown = page("compare", store.root)
    assert not shown.multiselect  # all four folders are compared
    shown.segmented_control[0].set_value("single videos").run()
    (videos,) = shown.multiselect  # no second list, whatever is chosen in it
    assert (videos.label, videos.proto.max_selections) == ("Videos, at most 6", 6)
    by_path = {f"{number % 4}/{number}.mp4": f"group {number}" for number in range(7)}
    shown.session_state["groups_of_file"] = GroupFile("groups.csv", Grouping(by_path))
    shown.segmented_control[0].set_value("a CSV file").run()
    (groups,) = shown.multiselect
    assert (groups.label, groups.value) == ("Groups to compare, at most 6 of 7", [f"group {i}" for i in range(6)])
    assert "not compared\\: 2" in shown.expander[0].label


def test_a_removed_or_wrong_file_replaces_the_markers_and_codes(
    results: Path, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ("wrong.csv", b"a,b\n1,2\n", "text/csv")
    right = ("right.csv", b"start_s,end_s,label,code\n0,1,ad,happy\n", "text/csv")
    of_command = tmp_path / "command.csv"
    of_command.write_bytes(right[1])
    monkeypatch.setenv(markers.ENVIRONMENT, str(of_command))
    monkeypatch.setenv(codes.ENVIRONMENT, str(of_command))
    shown = page("compare", results)
    for number, kind in enumerate(("markers", "codes")):
        shown.get("file_uploader")[number].set_value(right).run()
        assert shown.session_state[kind].name == "right.csv"
        shown.get("file_uploader")[number].set_value(wrong).run()
        assert kind not in shown.session_state
        assert "wrong.csv: " in words(shown)
        assert "command.csv, the file given to the command, is used instead" in words(shown)
        shown.get("file_uploader")[number].set_value(right).run()
        shown.get("file_uploader")[number].set_value(None).run()
        assert kind not in shown.session_state
        shown.get("file_uploader")[number].set_value(right).run()
        next(button for button in shown.button if button.label == f"Remove {kind}").click().run()
        shown.get("file_uploader")[number].set_value(None).run()
        assert shown.session_state[kind] is None


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a file of markers with these lines below the header, and let the dashboard use it."""

    def write(lines: str) -> Path:
        file = tmp_path / "ads.csv"
        file.write_text(f"start_s,end_s,label,video\n{lines}")
        monkeypatch.setenv(markers.ENVIRONMENT, str(file))
        return file

    return write


def compare_markers(page: Page, results: Path) -> AppTest:
    """The page Compare, where groups are made by markers."""
    shown = page("compare", results)
    shown.segmented_control[0].set_value("markers").run()
    assert not shown.exception
    return shown


def test_the_validity_of_each_person_is_shown_on_demand(results: Path, page: Page) -> None:
    shown = page("timeline", results)
    assert not shown.dataframe
    next(button for button in shown.button if button.label == "Validity").click().run()
    table = shown.dataframe[0].value
    expected = [row for row in queries.validity(connect(results)).to_pylist() if row["path"].endswith("alice.mp4")]
    assert len(table) == len(expected) == 3
    assert table["visible in s"].tolist() == [row["seen_s"] for row in expected]
    assert table["good quality"].tolist() == [row["good_share"] for row in expected]
    assert "Changes per min of 3 of 3 people rest on less than 60 s" in words(shown)
    rename(results, ALICE, 0, "Anna")
    current_results().reload_notes()
    assert shown.run().dataframe[0].value["person"].tolist() == ["Anna", "P1", "P2"]  # still open
    rename(results, ALICE, 2, "Anna")
    current_results().reload_notes()
    assert shown.run().dataframe[0].value["person"].tolist() == ["Anna (P0)", "P1", "Anna (P2)"]
    (dialog,) = shown.get("dialog")
    states = shown._tree.get_widget_states()
    states.widgets.add(id=dialog.proto.id, trigger_value=True)  # as its ✕ does
    assert not shown._run(states).dataframe
    assert not shown.run().dataframe


def validity_of(store: Store, video_id: str) -> pd.DataFrame:
    with connect(store.root) as connection:
        return validity_table(run_sql_for_videos(connection, "validity", [video_id]).to_pylist())


def test_validity_names_the_reason_of_those_who_have_low_quality_faces(store: Store) -> None:
    clear = [Face(i, x=150) for i in range(20)]
    blurred = [Face(i, x=450, blur=0.0) for i in range(20)]
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=2.0), timeline(np.arange(20) / 10, clear + blurred))
    table = validity_of(store, ALICE).set_index("person")
    assert table["good quality"].to_dict() == {"P0": 1.0, "P1": 0.0}
    assert table["reason for low quality"].to_dict() == {"P0": "", "P1": "blurred"}
    later = row("v0000000000000004", "in/alice.mp4", duration_s=1.0)  # another content of the same path
    store.commit_analysis(later, timeline(np.arange(10) / 10, [Face(i, x=150) for i in range(10)]))
    assert validity_of(store, ALICE)["visible in s"].tolist() == [2.0, 2.0]
    assert validity_of(store, "v0000000000000004")["visible in s"].tolist() == [1.0]


def test_markers_are_shown_and_compared(results: Path, page: Page, mark: Callable[[str], Path]) -> None:
    lines = "1,3,ad A,alice.mp4\n8,12,ad B,\n0,1,ad C,nobody.mp4\n"
    file = mark(lines)
    shown = page("timeline", results)
    of_alice = [{"label": "ad A", "start_s": 1, "end_s": 3}, {"label": "ad B", "start_s": 8, "end_s": 12}]
    assert markers.Markers("ads.csv", read_events(file)).of_video(Results(results), ALICE) == of_alice
    mark(f"{lines}8,12,ad B,alice.mp4\n")
    assert markers.Markers("ads.csv", read_events(file)).of_video(Results(results), ALICE) == of_alice
    shown = compare_markers(page, results)
    table = shown.dataframe[0].value.set_index(["A − B", "emotion"])
    assert table.loc[("ad A − ad B", "happy"), "difference in points"] > 49  # the other person is neutral
    assert table.loc[("ad A − ad C", "happy"), "95 % interval"] == "no labeled face"
    assert "No labeled face: ad C." in words(shown)
    assert "No line: ad C. Nobody there has a label" in words(shown)
    legend = json.loads(shown.get("vega_lite_chart")[1].proto.spec)["layer"][-1]["encoding"]["color"]["legend"]
    assert legend["values"] == ["ad A", "ad B"]
    assert "ad A and ad B are compared within 1 video (paired)." in words(shown)
    assert "1 event repeats another of the same video, label, start and end, and is left out." in words(shown)
    assert "Change around the onset" in [heading.value for heading in shown.subheader]
    assert "Left out, because no person has a good face in the 5 s before their markers: ad C." in words(shown)
    domain = re.compile(r'"domain": (\[[^]]*"ad A"[^]]*\])')
    domains = [set(domain.findall(chart.proto.spec)) for chart in shown.get("vega_lite_chart")]
    assert domains == [set()] + 3 * [{'["ad A", "ad B", "ad C"]'}]  # the first chart has the colors of emotions


def test_compare_has_the_notes_of_the_command_on_faces_and_late_markers(
    store: Store, page: Page, mark: Callable[[str], Path]
) -> None:
    """Of 20 good and 20 blurred faces, the blurred ones are included; one good face belongs to no person."""
    quality = QualityConfig(gate=False)
    faces = [Face(i, x=x, blur=0.0 if x == 450 else 100.0) for i in range(20) for x in (150, 450)]
    lone = observe(np.append(np.arange(20) / 10, 8.0), [*faces, Face(20)])
    settings = json.dumps({"timeline": {"quality": {"gate": False}}})
    for video, path in ((ALICE, "a/alice.mp4"), (NOBODY, "b/bob.mp4")):
        found = build_timeline(lone, TimelineConfig(quality=quality))
        store.commit_analysis(row(video, path, duration_s=9.0, settings=settings), found)
    note = "40 of 82 faces (48.8 %) are low-quality faces: blurred 40. They are included, because of --no-gate."
    mark("0,1,ad A,\n1,2,ad B,\n10,11,ad B,alice.mp4\n")
    for shown in (page("compare", store.root), compare_markers(page, store.root)):
        assert note in words(shown)
        assert "s with good faces belong to no person" in words(shown)
    assert "Outside the video: 1 of 3 events" in words(shown)
    assert "Nobody is seen during 1 of 5 events (each counted in each of its videos), such as 'ad B'" in words(shown)
    rename(store.root, ALICE, 0, "Alice")
    for shown in (page("compare", store.root), compare_markers(page, store.root)):
        assert "In 1 of 2 videos, people without a name (1 in all) are visible beside named ones" in words(shown)


def takes_etag_before(shown: AppTest, kind: str, text: str) -> bool:
    """Whether a page takes the etag that it compares before it shows the element of this kind with `text`.

    Otherwise, it could show older data than its etag, and would never notice.
    """
    elements = list(shown.main)
    etag = [element.type for element in elements].index("bidi_component")
    shown_at = [element.type == kind and element.value.startswith(text) for element in elements].index(True)
    return etag < shown_at


def test_the_timeline_follows_all_that_it_shows_of_a_video(store: Store, page: Page) -> None:
    session = {"live_since": datetime.now(UTC), "is_running": True, "finished_at": datetime.now(UTC)}
    store.commit_analysis(row(ALICE, "live", **session), timeline(np.arange(20) / 10, [Face(i) for i in range(20)]))
    assert takes_etag_before(page("timeline", store.root), "caption", "A live session")


def test_each_update_of_a_live_session_is_a_revision(store: Store) -> None:
    """The player requests boxes and lanes again when the revision changes."""
    opened = Results(store.root)

    def revision_after(n_frames: int) -> str:
        session = row(ALICE, "live", live_since=datetime.now(UTC), is_running=True)
        store.commit_analysis(session, timeline(np.arange(n_frames) / 10, [Face(i) for i in range(n_frames)]))
        opened.refresh()
        return player_data(opened, find_media(opened, ALICE), None, None).revision

    first, second = revision_after(20), revision_after(40)
    assert first != second
    assert player_data(opened, find_media(opened, ALICE), None, None).revision == second


def test_codes_are_lanes_with_their_agreement(store: Store) -> None:
    alice = [Face(i, x=150, p=feeling("happy" if i < 40 else "sad")) for i in range(120)]
    other = [Face(i, x=450) for i in range(40)]
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=12.0), timeline(np.arange(120) / 10, alice + other))
    store.commit_analysis(row(NOBODY, "in/nobody.mp4", duration_s=12.0), timeline(np.arange(120) / 10, []))
    rename(store.root, ALICE, 0, "Anna")
    content = b"""start_s,end_s,code,person,video
0,2,joy,Anna,alice.mp4
2,3,anger,Anna,alice.mp4
9,12,sadness,Anna,alice.mp4
1,2,speaking,Anna,alice.mp4
0,1,neutral,Bo,alice.mp4
0,1,fear,Anna,nobody.mp4
"""
    known = codes_in(content)
    opened = Results(store.root)
    anna, bo = codes.coded_lanes(opened, ALICE, known.of_video(opened, ALICE))
    assert (anna.person, anna.track_id, bo.person, bo.track_id) == ("Anna", 0, "Bo", None)
    assert [(span.start_s, span.label, span.emotion) for span in anna.spans] == [
        (0, "joy", EMOTIONS.index("happy")), (1, "speaking", None), (2, "anger", EMOTIONS.index("angry")),
        (9, "sadness", EMOTIONS.index("sad")),
    ]  # fmt: skip
    # Labels: happy for 3 s, sad for 3 s. Codes: happy for 2 s, angry for 1 s, sad for 3 s. So 5 of 6 s agree; the
    # agreement by chance is (2 · 3 + 3 · 3) / 36, so kappa is (30 − 15) / (36 − 15).
    assert anna.agreement == f"κ {15 / 21:.2f} · 83\xa0% of 6.0 s the same"
    assert bo.agreement == ""


@pytest.mark.parametrize("person", ["P1", "Bo"])
def test_codes_of_a_hidden_person_are_not_those_of_the_visible_one(results: Path, person: str) -> None:
    rename(results, ALICE, 1, "Bo")
    opened = Results(results)
    tracks = opened.ask("SELECT track_id FROM tracks WHERE video_id = $id", id=ALICE)["track_id"].to_pylist()
    for track_id in tracks[1:]:
        hide(results, ALICE, track_id, True)
    opened.reload_notes()
    known = codes_in(f"start_s,end_s,code,person\n0,2,joy,{person}\n".encode())
    (lane,) = codes.coded_lanes(opened, ALICE, known.codes)
    assert (lane.track_id, lane.agreement) == (None, "not compared: this person is hidden")
    assert codes.comparable_codes(opened, ALICE, known.codes) == ([], {person: "this person is hidden"})
    alone = codes_in(b"start_s,end_s,code\n0,2,joy\n")
    assert [lane.track_id for lane in codes.coded_lanes(opened, ALICE, alone.codes)] == [tracks[0]]


def test_codes_of_a_name_that_two_people_have_are_not_compared(results: Path) -> None:
    for track_id in (0, 1):
        rename(results, ALICE, track_id, "Bo")
    opened = Results(results)
    known = codes_in(b"start_s,end_s,code,person\n0,2,joy,Bo\n0,2,joy,P1\n")
    bo, second = codes.coded_lanes(opened, ALICE, known.codes)
    assert (bo.track_id, bo.agreement) == (None, "not compared: several visible people have this name")
    assert second.track_id == 1
    comparable, left_out = codes.comparable_codes(opened, ALICE, known.codes)
    assert [code.person for code in comparable] == ["P1"]
    assert left_out == {"Bo": "several visible people have this name"}


def test_agreement_is_shown_over_all_coded_videos(
    results: Path, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename(results, ALICE, 0, "Anna")
    file = tmp_path / "codes.csv"
    lines = ("0,2,happy,Anna,alice.mp4", "12,13,sad,Anna,alice.mp4,10", "3,4,smile,Anna,alice.mp4",
             "0,4,happy,Hanna,alice.mp4", "0,4,smile,Bo,alice.mp4", "0,1,sad,Bo,broken.mp4")  # fmt: skip
    file.write_text("\n".join(["start_s,end_s,code,person,video,Time offset (s)", *lines]))
    monkeypatch.setenv(codes.ENVIRONMENT, str(file))
    shown = page("compare", results)
    assert "Codes that name no emotion are not compared: smile." in words(shown)
    assert "subtracted from 1 code" in words(shown)
    left_out = "broken.mp4: the analysis failed; Hanna in alice.mp4: no visible person has this name or number"
    assert f"Not compared: {left_out}." in words(shown)
    figures = {metric.label: metric.value for metric in shown.metric}
    # Anna is labeled happy all the time: 2 of 3 s agree, as many as by chance.
    assert (figures["Cohen's kappa"], figures["same emotion"], figures["compared"]) == ("0.00", "67\xa0%", "3.0 s")
    people = shown.dataframe[-2].value
    assert people[["video", "person", "same emotion"]].iloc[0].tolist() == ["alice.mp4", "Anna", pytest.approx(200 / 3)]


def test_compared_people_of_one_name_or_path_can_be_told_apart(store: Store) -> None:
    """Two people of a video have the same name; an earlier content of its file has other people."""
    faces = [Face(i, x=x, p=feeling("happy")) for i in range(20) for x in (150, 450)]
    for video in (NOBODY, ALICE):
        store.commit_analysis(row(video, "in/alice.mp4", duration_s=2.0), timeline(np.arange(20) / 10, faces))
    for track_id in (0, 1):
        rename(store.root, ALICE, track_id, "Bo")
    rename(store.root, NOBODY, 0, "Cy")
    known = codes_in(b"start_s,end_s,code,person,video\n0,2,joy,P0,alice.mp4\n0,1,joy,P1,alice.mp4\n")
    shown = person_table(library_agreement(Results(store.root), known))
    assert sorted(zip(shown["video"], shown["person"], shown["compared in s"].round(), strict=True)) == [
        (f"alice.mp4-{ALICE}", "Bo (P0)", 2), (f"alice.mp4-{ALICE}", "Bo (P1)", 1),
        (f"alice.mp4-{NOBODY}", "Cy", 2), (f"alice.mp4-{NOBODY}", "P1", 1),
    ]  # fmt: skip


def test_a_coded_name_that_is_the_number_of_another_person_means_the_name(store: Store) -> None:
    """The first person, who is happy, has the name P1; the second one is sad."""
    faces = [Face(i, x=x, p=feeling(emotion)) for i in range(20) for x, emotion in ((150, "happy"), (450, "sad"))]
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=2.0), timeline(np.arange(20) / 10, faces))
    rename(store.root, ALICE, 0, "P1")
    opened = Results(store.root)
    (lane,) = codes.coded_lanes(opened, ALICE, codes_in(b"start_s,end_s,code,person\n0,2,joy,P1\n").codes)
    assert (lane.track_id, lane.agreement) == (0, "100\xa0% of 2.0 s the same")


def test_changes_around_an_onset_need_a_baseline() -> None:
    averages = pd.DataFrame({"label": "ad", "start_s": [-0.5, 0.0], "emotion": "happy", "estimate": [0.0, 0.25]})
    averages = averages.assign(low=None, high=None, mean=0.5, n_participants=1, n_trials=2)
    chart = onset_chart(averages, "happy", ["ad", "other"])
    assert chart is not None
    assert chart.layer[-1].to_dict()["encoding"]["color"]["scale"]["domain"] == ["ad", "other"]
    rows = chart.layer[-1].data
    assert rows[["group", "start_s", "end_s", "estimate"]].to_numpy().tolist() == [
        ["ad", -0.5, 0.0, 0.0],
        ["ad", 0.0, 0.5, 0.25],
    ]
    assert onset_chart(averages.assign(estimate=None), "happy", ["ad"]) is None


def test_codes_that_overlap_are_shown_but_not_compared(results: Path) -> None:
    known = codes_in(b"start_s,end_s,code,person\n0,2,happy,P0\n1,3,sad,P0\n")
    (lane,) = codes.coded_lanes(Results(results), ALICE, known.of_video(Results(results), ALICE))
    assert len(lane.spans) == 2
    assert lane.agreement == "not compared: codes overlap"


def test_compare_says_that_its_lines_end_before_the_videos(
    store: Store, page: Page, mark: Callable[[str], Path]
) -> None:
    """Faces are visible until 600 s in one video, and until 601 s in another one."""
    for video, n_s in ((ALICE, 601), (NOBODY, 600)):
        faces = [Face(i) for i in range(n_s)]
        store.commit_analysis(row(video, f"{video}.mp4", duration_s=900.0), timeline(np.arange(float(n_s)), faces))
    assert "The lines end at 600 s; 1 video has faces after that." in words(page("compare", store.root))
    mark("0,600,ad A,\n0,601,ad B,\n200,900,ad C,\n")
    assert "The lines end at 600 s; 2 markers are longer." in words(compare_markers(page, store.root))
    mark("0,600,ad A,\n100,700,ad B,\n")
    assert "The lines end" not in words(compare_markers(page, store.root))


def test_annotations_of_an_uploaded_elan_file_are_markers(results: Path, tmp_path: Path) -> None:
    eaf = Elan.Eaf()
    eaf.add_linked_file("file:///clips/alice.mp4", mimetype="video/mp4")
    eaf.add_tier("ads")
    eaf.add_annotation("ads", 1000, 3000, "ad A")
    eaf.to_file(str(tmp_path / "ads.eaf"))
    events = read_upload(read_events, (tmp_path / "ads.eaf").read_bytes(), "ads.eaf")
    of_alice, of_nobody = (
        markers.Markers("ads.eaf", events).of_video(Results(results), one) for one in (ALICE, NOBODY)
    )
    assert (of_alice, of_nobody) == ([{"label": "ad A", "start_s": 1, "end_s": 3}], [])
    with pytest.raises(EventsError, match=r"^ads\.eaf: not an ELAN file"):
        read_upload(read_events, b"<html>", "ads.eaf")


def test_codes_of_an_unknown_format_are_named() -> None:
    with pytest.raises(CodesError, match=r"^notes\.csv: no known format"):
        read_upload(read_codes, b"a,b\n1,2\n", "notes.csv")


def test_compare_says_how_to_compare_markers_made_with_m(results: Path, page: Page) -> None:
    assert "Markers made with M on page Timeline are not among them" in words(page("compare", results))


@pytest.fixture
def sessions(store: Store) -> Path:
    """Two folders and two videos have the same names in different places; of one file, two contents were analyzed."""
    paths = ("/d/s1/ctl/a.mp4", "/d/s2/ctl/a.mp4", "/d/s1/exp/b.mp4", "/d/s1/exp/b.mp4")
    for number, (path, emotion) in enumerate(zip(paths, ("happy", "sad", "angry", "fear"), strict=True)):
        faces = [Face(i, p=feeling(emotion if i > 20 else "neutral")) for i in range(40)]
        store.commit_analysis(row(f"v{number:016}", path, duration_s=4.0), timeline(np.arange(40) / 10, faces))
    return store.root


def test_folders_of_one_name_are_one_group_and_named(sessions: Path, page: Page) -> None:
    shown = page("compare", sessions)
    assert shown.expander[0].label == plain("Videos in each group (ctl: 2 · exp: 2)")
    assert "Folders of the same name are one group: /d/s1/ctl, /d/s2/ctl." in words(shown)
    assert joined_folders_note(["/d/ctl/a.mp4", "/d/exp/b.mp4", "/d/exp/c.mp4"]) is None
    assert groups_by_folder([r"C:\d\ctl\a.mp4", "s3://d/exp/b.mp4", "c.mp4"]) == {
        r"C:\d\ctl\a.mp4": "ctl",
        "s3://d/exp/b.mp4": "exp",
        "c.mp4": ".",
    }


def test_markers_name_videos_by_the_end_of_the_path(sessions: Path, page: Page, mark: Callable[[str], Path]) -> None:
    file = mark("0,2,ad A,s1/ctl/a.mp4\n2,4,ad B,s1/ctl/a.mp4\n2,4,ad B,exp/b.mp4\n2,4,ad C,\n")
    exact = markers.Markers("ads.csv", read_events(file)).with_exact_names(Results(sessions))
    assert exact["video"].to_pylist() == ["v0000000000000000"] * 2 + ["/d/s1/exp/b.mp4", None]
    mark("0,2,ad A,s1/ctl/a.mp4\n2,4,ad B,s1/ctl/a.mp4\n")
    table = compare_markers(page, sessions).dataframe[0].value.set_index("emotion")
    assert table.loc["happy", "difference in points"] < -90
    mark("0,2,ad A,ctl/a.mp4\n")
    assert "2 videos have a path that ends so" in words(compare_markers(page, sessions))


def test_markers_may_be_of_a_video_that_failed(results: Path, page: Page, mark: Callable[[str], Path]) -> None:
    mark("1,3,ad A,alice.mp4\n8,12,ad B,alice.mp4\n0,1,ad A,broken.mp4\n")
    shown = compare_markers(page, results)
    assert set(shown.dataframe[0].value["A − B"]) == {"ad A − ad B"}


def test_texts_of_charts_have_enough_contrast_in_both_themes() -> None:
    def luminance(color: str) -> float:  # WCAG 2.2, relative luminance
        values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    on_light, on_dark = (luminance(color) for color in re.findall("#[0-9a-f]{6}", str(TEXT_COLOR)))
    assert (luminance("#ffffff") + 0.05) / (on_light + 0.05) > 4.5
    assert (on_dark + 0.05) / (luminance("#181715") + 0.05) > 4.5


def test_colors_of_groups_differ_from_each_other_and_from_those_of_emotions_also_for_the_color_blind() -> None:
    """Distances in CIELAB without and with protanopia and deuteranopia (Machado et al. 2009)."""
    deficiencies = (
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    )
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]

    def linear(colors: Sequence[str]) -> np.ndarray:
        values = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)

    def lab(rgb: np.ndarray, deficiency: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        xyz = np.clip(rgb @ np.transpose(deficiency), 0, 1) @ np.transpose(to_xyz) / [0.9505, 1, 1.089]
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
        return np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    of_emotions = lab(linear(list(EMOTION_COLORS.values())), deficiencies[0])
    for ground, colors in zip(("#ffffff", "#181715"), zip(*GROUP_COLORS, strict=True), strict=True):
        luminance, around = linear(colors) @ to_xyz[1] + 0.05, linear([ground]) @ to_xyz[1] + 0.05
        assert (np.maximum(luminance / around, around / luminance) > 3).all()
        assert min(np.linalg.norm(of_emotions - one, axis=1).min() for one in lab(linear(colors), deficiencies[0])) > 24
        for deficiency in deficiencies:
            assert all(np.linalg.norm(a - b) > 20 for a, b in combinations(lab(linear(colors), deficiency), 2))


def test_equal_numbers_of_people_do_not_hide_each_other() -> None:
    rows = pd.DataFrame({"group": ["a", "b", "c"], "people": 2, "start_s": 0.0, "end_s": 1.0})
    scale = people_chart(rows, "time", ["a", "b", "c"]).to_dict()["encoding"]["strokeWidth"]["scale"]
    assert scale == {"domain": ["a", "b", "c"], "range": [11, 7, 3]}  # those drawn later are narrower


def test_groups_of_a_file_are_kept_for_the_session(results: Path, store: Store, page: Page) -> None:
    bob = timeline(np.arange(60) / 10, [Face(i, p=feeling("surprise")) for i in range(60)])
    for number, name in ((4, "bob"), (5, "bob_again")):
        store.commit_analysis(row(f"v{number:016}", f"in/{name}.mp4", duration_s=6.0), bob)
    groups = {"in/alice.mp4": "odd", "in/bob.mp4": "even", "in/bob_again.mp4": "even"}
    participants = {"in/bob.mp4": "Bob", "in/bob_again.mp4": "Bob"}
    shown = page("compare", results)
    shown.session_state["groups_of_file"] = GroupFile("groups.csv", Grouping(groups, participants))
    shown.segmented_control[0].set_value("a CSV file").run()
    assert "Groups of groups.csv" in words(shown)
    assert "A − B: even − odd" in words(shown)
    assert shown.dataframe[1].value[["participants A, B", "videos A, B"]].to_numpy().tolist() == [["1, 1", "2, 1"]]


def bars_of(shown: AppTest) -> dict[str, float]:
    """The shares of "happy" in the first chart of page Compare, by group."""
    return {row["group"]: row["share"] for row in chart_rows(shown) if row["emotion"] == "happy"}


def test_bars_are_the_means_of_the_shown_pair(store: Store, page: Page) -> None:
    """Groups a and b share the participants p1 and p2, so only these are compared; p3 of a is always sad."""
    coded = [("a", "p1", "happy"), ("a", "p2", "happy"), ("a", "p3", "sad"), ("b", "p1", "sad"), ("b", "p2", "sad"),
             ("c", "p4", "happy"), ("c", "p5", "sad")]  # fmt: skip
    grouping = Grouping({}, {})
    for number, (group, participant, emotion) in enumerate(coded):
        path = f"in/{number}.mp4"
        faces = [Face(i, p=feeling(emotion)) for i in range(20)]
        store.commit_analysis(row(f"v{number:016}", path, duration_s=2.0), timeline(np.arange(20) / 10, faces))
        grouping.groups[path], grouping.participants[path] = group, participant
    shown = page("compare", store.root)
    shown.session_state["groups_of_file"] = GroupFile("groups.csv", grouping)
    shown.segmented_control[0].set_value("a CSV file").run()
    assert not shown.exception
    assert bars_of(shown) == pytest.approx({"a": 1, "b": 0})
    assert re.findall(r".* \(paired\)\.", words(shown)) == ["a and b are compared within 2 participants (paired)."]
    for pair, bars in {"a − c": {"a": 2 / 3, "c": 0.5}, "b − c": {"b": 0, "c": 0.5}}.items():
        shown.selectbox(key="compared_pair").set_value(pair).run()
        assert bars_of(shown) == pytest.approx(bars)
        table = shown.dataframe[0].value.set_index(["A − B", "emotion"])
        assert table.loc[(pair, "happy"), "difference in points"] == pytest.approx(100 * np.subtract(*bars.values()))
    del grouping.groups["in/5.mp4"], grouping.groups["in/6.mp4"]
    assert bars_of(shown.run()) == pytest.approx({"a": 1, "b": 0})  # the pair that was shown is gone


def test_notes_name_the_pairs_and_emotions_that_they_apply_to() -> None:
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    comparison = pd.DataFrame([(*pair, emotion) for pair in pairs for emotion in EMOTIONS],
                              columns=["group_a", "group_b", "emotion"])  # fmt: skip
    of_pair, of_emotions = comparison["group_b"] == "b", comparison["emotion"].isin(["fear", "angry"])
    few = comparison.assign(note="few")
    assert notes_of(few) == ["few"]
    assert notes_of(few.assign(note=few["note"].where(~of_pair))) == ["a − c, b − c: few"]
    assert notes_of(few.assign(note=few["note"].where(of_emotions))) == ["angry, fear: few"]
    assert notes_of(few.assign(note=few["note"].where(of_pair & of_emotions))) == ["a − b (angry, fear): few"]
    left_out = few.assign(note=np.where(of_emotions, "few; left out: 1 video", "left out: 1 video"))
    assert notes_of(left_out) == ["angry, fear: few", "left out: 1 video"]
    assert notes_of(few.assign(note=None)) == []


def test_notes_on_changes_say_from_when_on_there_is_no_interval() -> None:
    def group(name: str, lows: list[float | None]) -> pd.DataFrame:
        n = len(lows)
        rows = pd.DataFrame({"label": name, "start_s": np.arange(n) / 2 - 0.5, "emotion": "happy", "estimate": 0.1})
        rows["n_participants"] = range(n)
        return rows.assign(low=np.array(lows, float), note=[None if low is not None else f"no interval {i}"
                                                            for i, low in enumerate(lows)])  # fmt: skip

    until_1_s = group("ad", [None, 0.0, 0.0, None, None])  # bins at -0.5, 0, 0.5, 1 and 1.5 s
    assert interval_notes(until_1_s, "happy") == ["From 1 s on, no interval 3"]
    assert interval_notes(until_1_s, "sad") == []
    never, always = group("b", [None, None]), group("c", [0.0, 0.0])
    assert interval_notes(never, "happy") == ["No interval 1"]
    assert interval_notes(pd.concat([until_1_s, never, always]), "happy") == [
        "ad: from 1 s on, no interval 3",
        "b: no interval 1",
    ]


def test_lines_over_time_break_where_there_is_no_data() -> None:
    means = pd.DataFrame({"group": "a", "start_s": [0.0, 1.0, 4.0], "n_videos": [2, 1, 1], "n_people": [4, 2, 1]})
    means["mean_happy"], means["error_happy"], means["n_participants"] = [0.5, 0.25, 1.0], [0.1, None, None], [4, 2, 1]
    rows = timeline_rows(means, "happy")
    assert rows["start_s"].tolist() == [0, 1, 2, 3, 4]
    assert rows["mean"].isna().tolist() == [False, False, True, True, False]
    assert rows["evidence"].dropna().tolist() == [1, 0.5, 0.25]
    runs = rows.dropna(subset="mean")["run"].tolist()
    assert runs[0] == runs[1] != runs[2]  # the last point is not joined with those before the gap


def test_bands_over_time_are_intervals_over_at_least_five_participants() -> None:
    values = np.array([0.2, 0.3, 0.5, 0.6, 0.9])
    means = pd.DataFrame({"group": "a", "start_s": [0.0, 1.0, 2.0], "n_videos": 5, "n_people": 5})
    means = means.assign(mean_happy=values.mean(), error_happy=stats.sem(values), n_participants=[5, 4, 5])
    means.loc[2, "error_happy"] = 0.0  # the values do not vary
    rows = timeline_rows(means, "happy")
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert rows.loc[0, ["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
    assert rows.loc[1:, ["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    "text", ["path,group\na.mp4,odd\n", "\ufeffVideo;Condition\na.mp4;odd\n", "file\tx\tlabel\na.mp4\t1\todd\n"]
)
def test_groups_are_read_from_files_of_spreadsheets(text: str) -> None:
    assert parse_grouping(text.encode(), "groups.csv").groups == {"a.mp4": "odd"}


def test_participants_of_the_file_are_those_of_the_command_line() -> None:
    text = "Video;Condition;Participant\na.mp4;odd;p1\nb.mp4;even;\n"
    assert parse_grouping(text.encode(), "groups.csv").participants == {"a.mp4": "p1"}


def test_an_unknown_video_in_a_file_of_groups_is_reported_with_advice_for_the_dashboard(
    results: Path, page: Page
) -> None:
    shown = page("compare", results)
    content = b"path,group\nin/alice.mp4,odd\nin/nobody_knows.mp4,even\n"
    shown.session_state["groups_of_file"] = GroupFile("groups.csv", parse_grouping(content, "groups.csv"))
    shown.segmented_control[0].set_value("a CSV file").run()
    (warning,) = shown.warning
    said = warning.value.replace("\\", "")
    assert said.startswith("groups.csv: in/nobody_knows.mp4: no such video in the results")
    assert said.endswith("by path, name or id: see page Library")


def test_a_file_without_groups_is_reported_with_its_columns() -> None:
    with pytest.raises(GroupError, match="found a, b"):
        parse_grouping(b"a,b\n1,2\n", "groups.csv")


def test_nothing_to_compare_is_reported(store: Store, page: Page) -> None:
    for video_id, path in ((ALICE, "a/alice.mp4"), (NOBODY, "b/nobody.mp4")):
        store.commit_analysis(row(video_id, path, duration_s=1.0), timeline(np.arange(10) / 10, []))
    shown = page("compare", store.root)
    assert "Hidden people aside, no face in these groups has a label: there is nothing to compare" in words(shown)
    assert not shown.dataframe


def test_still_images_are_compared(store: Store, page: Page) -> None:
    """Two of three images of a are happy, none of b: 67 points more."""
    shown_emotions = {"a": ("happy", "happy", "sad"), "b": ("sad", "sad", "sad")}
    for group, emotions in shown_emotions.items():
        for number, emotion in enumerate(emotions):
            name, image = f"{group}{number}", timeline(np.zeros(1), [Face(0, p=feeling(emotion))])
            store.commit_analysis(row(f"v{name:0>16}", f"{group}/{name}.png", duration_s=0.0), image)
    shown = page("compare", store.root)
    table = shown.dataframe[0].value.set_index("emotion")
    assert table.loc["happy", "difference in points"] == pytest.approx(200 / 3)
    assert shown.dataframe[1].value["videos A, B"].tolist() == ["3, 3"]
    assert "Nothing to show: only still images have labels" in words(shown)


def test_bars_of_a_pair_without_labels_are_valid(results: Path, store: Store, page: Page) -> None:
    other = "v0000000000000004"
    store.commit_analysis(row(other, "in/other.mp4", duration_s=12.0), timeline(np.arange(120) / 10, []))
    shown = page("compare", results)
    shown.multiselect[0].set_value([ALICE, NOBODY, other]).run()
    shown.selectbox(key="compared_pair").set_value("nobody.mp4 − other.mp4").run()
    assert not shown.exception
    spec = json.loads(shown.get("vega_lite_chart")[0].proto.spec, parse_constant=pytest.fail)
    assert '"domain": [0, 0.16' in json.dumps(spec)


def test_a_group_without_labels_is_distinguished_from_one_of_one_video(results: Path, page: Page) -> None:
    shown = page("compare", results)  # alice.mp4 and nobody.mp4
    assert set(shown.dataframe[0].value["95 % interval"]) == {"no labeled face"}


def test_figures_that_are_not_known_are_left_out(results: Path, page: Page) -> None:
    assert "00:12.0 · 3 people" in words(page("timeline", results))


def test_the_timeline_says_which_part_was_analyzed(store: Store) -> None:
    settings = json.dumps({"observe": {"start_s": 0.0, "end_s": 2.0}})
    part = timeline(np.arange(20) / 10, [Face(i) for i in range(20)])
    store.commit_analysis(row(ALICE, "alice.mp4", duration_s=12.0, settings=settings), part)
    line = summary_line(Results(store.root), ALICE)
    assert line.startswith("00:12.0 · only 00:00.0 to 00:02.0 analyzed · 1 person")


def test_the_summary_of_a_video_leaves_out_hidden_people(store: Store) -> None:
    clear = [Face(i, x=150) for i in range(20)]
    dark = [Face(i, x=450, brightness=1) for i in range(20)]
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=2.0), timeline(np.arange(20) / 10, clear + dark))
    opened = Results(store.root)
    assert summary_line(opened, ALICE) == "00:02.0 · 2 people · 50.0\xa0% low-quality faces"
    hide(store.root, ALICE, 1, True)
    opened.reload_notes()
    assert summary_line(opened, ALICE) == "00:02.0 · 1 person · 0.0\xa0% low-quality faces"


def test_the_summary_of_a_video_counts_frames_that_could_not_be_decoded(store: Store) -> None:
    observed = observe(np.arange(20) / 10, [Face(i) for i in range(15)], undecoded=[17, 18, 19])
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=2.0), build_timeline(observed, TimelineConfig()))
    assert summary_line(Results(store.root), ALICE).endswith(" · 3 of 20 frames could not be decoded")


def test_the_summary_of_a_live_session_counts_missing_frames(store: Store) -> None:
    """Frames 3, 6 and 9 of 12 were dropped, and the signal was lost from 1.2 to 3.2 s."""
    seen = [observe([i / 10], [Face(0)], first=i) for i in range(12) if i not in (3, 6, 9)]
    dropped = missing_frames_table(np.array([3, 6, 9]), np.array([0.3, 0.6, 0.9]), "dropped")
    lost = missing_frames_table(np.array([12]), np.array([1.2]), "no_signal")
    after = observe([3.2, 3.3], [Face(0), Face(1)], first=13)
    observed = pa.concat_tables([*seen, dropped, lost, after]).sort_by("frame_index")
    videos = {ALICE: observed, NOBODY: observe(np.arange(20) / 10, [])}
    for known, frames in videos.items():
        about = row(known, "live", live_since=datetime.now(UTC))
        store.commit_analysis(about, build_timeline(frames, TimelineConfig()))
    opened = Results(store.root)
    said = summary_line(opened, ALICE)
    assert said.endswith(" · 3 of 14 frames dropped because processing fell behind · no signal for 2.0 s")
    assert "dropped" not in summary_line(opened, NOBODY)
    shown = [player_data(opened, find_media(opened, known), None, None).video for known in videos]
    assert [video.has_missing_frames for video in shown] == [True, False]


def test_a_still_image_has_faces_but_no_people(store: Store, page: Page) -> None:
    store.commit_analysis(row(ALICE, "alice.png", duration_s=0.0), timeline(np.zeros(1), [Face(0), Face(0, x=400)]))
    shown = page("timeline", store.root)
    said = words(shown)
    assert "still image · 2 faces" in said
    assert "the label of each face is shown in the image" in said
    assert "No face is visible" not in said
    opened = Results(store.root)
    assert player_data(opened, find_media(opened, ALICE), None, None).video.is_image


def test_a_live_session_of_one_frame_is_no_still_image(store: Store) -> None:
    session = row(ALICE, "live", duration_s=0.0, n_frames=1, live_since=datetime.now(UTC), is_running=True)
    store.commit_analysis(session, timeline(np.zeros(1), [Face(0)]))
    opened = Results(store.root)
    found = read_library(opened)
    (cells,) = library.table_rows(opened, found.rows, found.videos)
    assert (cells["duration"], cells["people"], cells["shares"]) == ("00:00.0", "0", [])
    assert summary_line(opened, ALICE).startswith("00:00.0 · 0 people")
    assert opened.answer(queries.gate_note).startswith("0 of 1 faces are")
    assert not len(opened.answer(lambda c: run_sql_for_videos(c, "still_shares", [ALICE], all_faces=False)))
    assert not player_data(opened, find_media(opened, ALICE), None, None).video.is_image


def test_columns_are_charted_whatever_they_are_called(page: Page, results: Path) -> None:
    page("sql", results)
    rows = pd.DataFrame({"min(pts_s)": [0.0, 1.0], "value": [0.1, 0.2], "a.b": [0.3, 0.4]})
    chart = chart_of(rows)
    assert chart is not None
    assert chart.data.to_numpy().tolist() == [[0, "value", 0.1], [1, "value", 0.2], [0, "a.b", 0.3], [1, "a.b", 0.4]]
    assert "aggregate" not in chart.to_dict()["encoding"]["x"]


@pytest.mark.parametrize(
    ("pts_s", "ids", "is_charted"),
    [
        ([0.0, 1.0, 2.0], {"track_id": [1, 1, 1], "frame_index": [0, 1, 2]}, True),
        ([0.0, 1.0, 2.0], {"track_id": [0, 1, 1]}, False),  # one person after another
        ([0.0, 1.0, 2.0], {"track_id": [0, 0, None]}, False),  # the last face belongs to nobody
        ([0.0, 0.0, 1.0], {}, False),  # two people at the same time
        ([1.0, 0.0, 2.0], {}, False),
    ],
)
def test_rows_of_several_people_are_not_charted_as_one_line(
    pts_s: list[float], ids: dict[str, list[int | None]], is_charted: bool
) -> None:
    rows = pd.DataFrame({"pts_s": pts_s, **ids, "smooth_happy": [1.0, 0.0, 1.0]})
    assert (chart_of(rows) is not None) == is_charted


def test_infinite_values_are_not_charted() -> None:
    chart = chart_of(pd.DataFrame({"emotion": ["sad", "happy"], "ratio": [np.inf, 0.25]}))
    assert chart is not None
    assert chart.data["value"].fillna(-1).tolist() == [-1, 0.25]
    chart = chart_of(pd.DataFrame({"a": [0.0, 1.0, np.inf], "b": [-np.inf, 0.5, 0.5]}))
    assert chart is not None
    assert chart.data[["over", "value"]].fillna(-1).to_numpy().tolist() == [[0, -1], [1, 0.5], [-1, 0.5]]


def test_rows_of_the_same_name_have_a_bar_each() -> None:
    rows = pd.DataFrame({"video": ["b.mp4", "b.mp4", 'a "1".mp4'], "peak": [0.5, 0.25, 0.75]})
    chart = chart_of(rows)
    assert chart is not None
    assert chart.data[["row", "value"]].to_numpy().tolist() == [[0, 0.5], [1, 0.25], [2, 0.75]]
    y = chart.to_dict()["encoding"]["y"]
    assert y["field"] == "row"
    assert json.loads(y["axis"]["labelExpr"].removesuffix("[datum.value]")) == ["b.mp4", "b.mp4", 'a "1".mp4']


def test_the_etag_changes_when_results_are_added(results: Path, store: Store) -> None:
    before = results_etag(Results(results))
    assert results_etag(Results(results)) == before
    store.commit_failure(row("v0000000000000008", "in/new.mp4"), "not a video")
    assert results_etag(Results(results)) != before


def test_the_etag_changes_when_a_person_is_renamed_or_hidden(results: Path) -> None:
    seen = {results_etag(Results(results))}
    rename(results, ALICE, 0, "Anna")
    seen.add(results_etag(Results(results)))
    hide(results, ALICE, 0, True)
    assert results_etag(Results(results)) not in seen
    assert len(seen) == 2


def test_a_page_of_a_video_does_not_follow_the_segments_of_others(store: Store, results: Path) -> None:
    opened = Results(results)
    before = results_etag(opened), video_etag(opened, ALICE)
    with mark_in_progress(store.root, "v0000000000000008"):
        opened = Results(results)
        assert (results_etag(opened) != before[0], video_etag(opened, ALICE)) == (True, before[1])
    store.commit_analysis(row("v0000000000000008", "in/new.mp4"), timeline(np.arange(10) / 10, []))
    assert video_etag(opened, ALICE) != before[1]  # the list of videos changes


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("library", "caption", "2 videos"),
        ("moments", "caption", "The 2 strongest episodes"),
        ("compare", "caption", "A − B"),
    ],
)
def test_pages_follow_all_that_they_show(results: Path, page: Page, name: str, kind: str, text: str) -> None:
    assert takes_etag_before(page(name, results), kind, text)


def test_an_open_connection_follows_compaction(results: Path, store: Store) -> None:
    """The second compaction merges the shard of the first with a new one and deletes it."""
    count = "SELECT count(*) AS n FROM faces"
    compact(results, wait_s=0)
    shown = Results(results)
    store.commit_analysis(row("v0000000000000007", "in/new.mp4"), timeline(np.arange(10) / 10, [Face(0), Face(1)]))
    assert shown.ask(count).to_pylist() == [{"n": 122}]
    compact(results, wait_s=0)
    shown.refresh()
    assert shown.ask(count).to_pylist() == [{"n": 122}]


def test_every_table_is_explained(results: Path, page: Page) -> None:
    shown = page("sql", results)
    shown_to_sql = {name for (name,) in connect(results).sql("SHOW TABLES").fetchall()} - {
        "known_faces",
        "known_tracks",
        "known_videos",
        "noted_people",
        "stored_tracks",
    }
    assert {*shown_to_sql, "events", "event_bins"} == set(shown.segmented_control[0].options)
    shown.segmented_control[0].set_value("observations").run()
    assert not shown.exception
    assert {"observation_id", "signature"} <= set(shown.dataframe[0].value["column"])


def test_a_question_of_the_cookbook_is_run(results: Path, page: Page) -> None:
    shown = page("sql", results)
    shown.selectbox[0].set_value("Where are the cuts?").run()
    assert "is_cut" in shown.text_area[0].value
    shown.button[0].click().run()
    assert not shown.exception
    assert "rows" in words(shown)


def test_runs_show_where_the_time_went(results: Path, store: Store, page: Page) -> None:
    times = {
        "n_frames": 300,
        "n_observed": 100,
        "decode_wait_s": 0.5,
        "detect_s": 2.0,
        "crop_s": 0.5,
        "classify_s": 1.0,
    }
    for number, path in ((5, "in/new.mp4"), (6, "in/1/clip.mp4"), (7, "in/2/clip.mp4")):
        store.commit_analysis(row(f"v{number:016}", path, **times), timeline(np.arange(10) / 10, []))
    shown = page("runs", results)
    newest = shown.dataframe[-1].value.set_index("video")
    assert newest.loc["new.mp4", ["n_observed", "detect_per_s", "classify_per_s"]].tolist() == [100, 50, 100]
    assert [heading.value for heading in shown.subheader] == ["Flow runs", "Analyses", "Time per stage"]
    chart = chart_rows(shown)
    assert {row["video"] for row in chart} == {"new.mp4", "1/clip.mp4", "2/clip.mp4"}  # a bar each
    assert sum(row["ms per frame"] or 0 for row in chart if row["video"] == "1/clip.mp4") == 40
    assert "The newest" not in words(shown)
    for number in range(8, 26):
        store.commit_analysis(row(f"v{number:016}", f"in/{number}.mp4", **times), timeline([], []))
    open_results.cache_clear()  # the folder was checked less than a second ago
    shown = page("runs", results)
    assert "The newest 20 analyses. Frames are decoded" in words(shown)
    assert len({row["video"] for row in chart_rows(shown)}) == 20  # of 21


def test_flow_runs_are_found_by_the_path_that_flows_store_and_without_a_proxy(
    results: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"id": "1", "name": "calm-crab", "state_name": "Completed", "start_time": None, "total_run_time": 1.0}
    run |= {"state": {"message": "all done"}, "parameters": {"out": str(results)}}
    failed = {"name": "odd-owl", "state_name": "Failed", "state": {"message": "no space left" + 40 * ", free some"}}
    runs = [run, run | failed, run | {"parameters": {"out": str(results / "other")}}]

    class Prefect(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(runs).encode())

    with http.server.HTTPServer(("127.0.0.1", 0), Prefect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv(ENVIRONMENT, f"{results.parent}/videos/../{results.name}")
        assert [found["name"] for found in flow_runs(current_results().root)] == ["calm-crab", "odd-owl"]
        shown = words(page("runs", results))
        server.shutdown()
    assert f"- **odd-owl**: {failed['state']['message']}" in shown  # the table cuts it off
    assert "**calm-crab**" not in shown


def test_running_trainings_are_shown(
    results: Path, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    progress_file = tmp_path / "fervid" / "models" / "mine" / "checkpoints" / "progress.json"
    progress_file.parent.mkdir(parents=True)
    epochs = [{"train_loss": 1.5, "public_accuracy": 0.4, "seconds": 60}, {"train_loss": 1.2, "public_accuracy": 0.5,
              "seconds": 60}]  # fmt: skip
    progress_file.write_text(json.dumps({"total_epochs": 8, "epochs": epochs}))
    shown = page("models", results)
    assert "In training: mine" in [heading.value for heading in shown.subheader]
    assert "about 6 min left" in words(shown)
    assert "Votes: the emotion with more of the ten votes of FER+ than any other answer" in words(shown)
    assert takes_etag_before(shown, "subheader", "In training")
    before = trainings_etag()
    progress_file.write_text(json.dumps({"total_epochs": 8, "epochs": epochs[:1]}))
    assert trainings_etag() != before
    os.utime(progress_file, (0, 0))
    assert "--resume" in words(page("models", results))
    progress_file.write_text("{")
    assert "mine" not in " ".join(heading.value for heading in page("models", results).subheader)


def test_sql_is_answered_and_errors_are_words(results: Path, page: Page) -> None:
    shown = page("sql", results)
    shown.button[0].click().run()
    assert set(shown.dataframe[0].value["smooth_emotion"]) == {"happy", "sad", "neutral"}
    assert "hidden" not in words(shown)
    shown.text_area[0].set_value("DELETE FROM faces")
    shown.button[0].click().run()
    assert not shown.exception
    assert "only one SELECT at a time" in words(shown)
    shown.text_area[0].set_value("-- nothing")
    shown.button[0].click().run()
    assert "there is no query: enter one SELECT" in words(shown)


def test_uploaded_markers_are_the_events_of_page_sql(results: Path, page: Page) -> None:
    lines = b'start_s,end_s,label,video\n0.123456,3,"a, b",alice.mp4\n8,12,c,\n9,10,d,alice.mp4\n'
    shown = page("sql", results)
    shown.session_state["markers"] = markers.Markers("ads.csv", read_upload(read_events, lines, "ads.csv"))
    shown.text_area[0].set_value("SELECT label, video_id, start_s, end_s FROM Events ORDER BY ALL")
    shown.button[0].click().run()
    expected = [["a, b", ALICE, 0.123456, 3.0], *(["c", video_id, 8.0, 12.0] for video_id in (ALICE, NOBODY, BROKEN))]
    expected.append(["d", ALICE, 9.0, 10.0])
    assert shown.dataframe[0].value.to_numpy().tolist() == expected


def test_the_query_of_page_sql_leaves_out_hidden_people_and_says_so(results: Path, page: Page) -> None:
    for track_id in connect(results).sql(f"SELECT track_id FROM tracks WHERE video_id = '{ALICE}'").fetchall()[:2]:
        hide(results, ALICE, *track_id, True)
    shown = page("sql", results)
    shown.button[0].click().run()
    seconds = dict(zip(*(shown.dataframe[0].value[name] for name in ("smooth_emotion", "seconds")), strict=True))
    expected = (
        connect(results)
        .sql(
            "SELECT smooth_emotion, round(sum(duration_s), 1) FROM faces JOIN people USING "
            "(video_id, track_id) WHERE NOT is_hidden AND smooth_emotion IS NOT NULL GROUP BY ALL"
        )
        .fetchall()
    )
    assert len(seconds) < 3
    assert seconds == dict(expected)
    assert "2 people are hidden: the tables still have their rows" in words(shown)


def test_the_values_of_a_column_have_the_same_number_of_decimals(results: Path, page: Page) -> None:
    shown = page("sql", results)
    shown.text_area[0].set_value("SELECT * FROM (VALUES (7.0::DOUBLE, 1e-4, 2), (8.1, 4.5e-5, 3)) AS _(a, b, n)")
    shown.button[0].click().run()
    columns = json.loads(shown.dataframe[0].proto.columns)
    formats = {name: column["type_config"]["format"] for name, column in columns.items() if "type_config" in column}
    assert formats == {"a": "%.1f", "b": "%.6f"}


def test_answers_with_missing_values_are_charted(results: Path, page: Page) -> None:
    shown = page("sql", results)
    for sql in ("SELECT * FROM videos", "SELECT smooth_emotion, count(*) AS n FROM faces GROUP BY ALL"):
        shown.text_area[0].set_value(sql)
        shown.button[0].click().run()
        assert not shown.exception
        assert len(shown.get("vega_lite_chart")) == 1
    rows = pd.DataFrame({"error": [None, None], "emotion": ["sad", None], "ratio": [0.5, 0.25]})
    chart = chart_of(rows)
    assert chart is not None
    assert chart.data["name"].tolist() == ["sad", "NULL"]
    color = chart.to_dict()["encoding"]["color"]
    assert color["condition"]["field"] == "emotion"  # a column without values holds no emotions
    assert color["value"] == GRAY  # without this, the bar of a row without an emotion would not be drawn


def test_sums_of_integers_and_decimals_are_charted(results: Path, page: Page) -> None:
    """Three people are visible in 40 frames each, one of them happy."""
    shown = page("sql", results)
    sql = "SELECT emotion = 'happy' AS is_happy, sum(n_faces) AS faces, 0.5 AS half FROM tracks GROUP BY ALL ORDER BY 1"
    shown.text_area[0].set_value(sql)
    shown.button[0].click().run()
    assert [one["value"] for one in chart_rows(shown)] == [80, 40]


def test_a_folder_that_is_no_results_folder_is_named(tmp_path: Path, page: Page) -> None:
    assert f"{tmp_path}: not a results folder" in words(page("app", tmp_path))


def test_a_damaged_table_is_named(results: Path, page: Page) -> None:
    damaged = next((results / "tracks" / f"video_id={ALICE}").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    said = words(page("app", results))
    assert str(damaged) in said
    assert f": `fervid analyze in/alice.mp4 --out {results} --overwrite` recreates it" in said


def test_a_damaged_page_of_a_table_is_named(results: Path) -> None:
    (damaged,) = (results / "faces" / f"video_id={ALICE}").iterdir()
    content = bytearray(damaged.read_bytes())
    content[4:200] = b"\xff" * 196  # of the same size, so that only reading it shows the damage
    damaged.write_bytes(content)
    with pytest.raises(StoreError, match=f"{damaged} is damaged .* --overwrite"):
        window(Results(results), ALICE, 0, 12_000, 100, "smooth")


def test_other_sessions_do_not_wait_for_the_search_for_a_damaged_file(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, find_damage = Results(results), verification.find_damage
    threads = ThreadPoolExecutor(1)

    def ask_and_find(root: StoragePath) -> list[Damage]:
        assert len(threads.submit(opened.videos).result(timeout=10)) == 3
        return find_damage(root)

    monkeypatch.setattr(verification, "find_damage", ask_and_find)
    damaged = next((results / "tracks" / f"video_id={ALICE}").iterdir())
    opened.videos()
    damaged.write_bytes(b"")
    for ask in (opened.answer, lambda question: opened.remember("test", question)):
        with pytest.raises(StoreError, match=f"{damaged} is damaged"):
            ask(lambda connection: pq.read_table(damaged))
    threads.shutdown()


def test_names_of_files_are_not_read_as_markdown(results: Path, store: Store, page: Page) -> None:
    hostile = "![a](http://elsewhere.example/a.png) :material/star: $x$ <b>.mp4"
    store.commit_failure(row("v0000000000000007", f"in/{hostile}"), f"{hostile}: not a video")
    (failures,) = (element.value for element in page("library", results).markdown if "elsewhere" in element.value)
    assert "![" not in failures
    assert re.search(r"[^\\](\$|:material|<b>|\]\()", failures) is None


def test_every_page_has_the_disclaimer(results: Path, page: Page) -> None:
    assert DISCLAIMER in words(page("app", results))


def test_a_window_has_the_requested_bins(store: Store) -> None:
    pts_s = np.arange(3600 * 2) / 2
    faces = [Face(i, p=feeling("happy" if i < 3600 else "sad")) for i in range(len(pts_s))]
    store.commit_analysis(row(ALICE, "hour.mp4"), timeline(pts_s, faces))
    shown = window(Results(store.root), ALICE, 0, 3_600_000, 600, "smooth")
    assert shown["bin_ms"] == 6000
    (track,) = shown["tracks"]
    assert track["start_ms"] == [6000 * i for i in range(600)]
    happy, sad = (track["p"][EMOTIONS.index(name)] for name in ("happy", "sad"))
    assert min(happy[:299]) > 990
    assert min(sad[301:]) > 990
    assert track["label"][:299] == [EMOTIONS.index("happy")] * 299


def test_a_window_leaves_out_where_the_face_is_gone(store: Store) -> None:
    faces = [Face(i, p=feeling("happy")) for i in range(20) if not 10 <= i < 13]
    store.commit_analysis(row(ALICE, "a.mp4"), timeline(np.arange(20) / 10, faces))
    (track,) = window(Results(store.root), ALICE, 0, 2000, 1000, "raw")["tracks"]
    assert [i * 100 for i in range(20) if not 10 <= i < 13] == track["start_ms"]
    sums = np.sum([column for column in track["p"]], axis=0)
    np.testing.assert_allclose(sums, 1000, atol=4)  # seven values are rounded


def test_a_frame_counts_in_each_bin_of_a_window_in_which_it_is_shown(store: Store) -> None:
    """A smile in the frame from 0.95 s to 1.85 s only."""
    store.commit_analysis(row(ALICE, "a.mp4"), timeline(LONG_FRAME_S, long_smile()))
    opened = Results(store.root)

    def happy(from_ms: int, to_ms: int, bins: int) -> list[tuple[int, int, int, str]]:
        (track,) = window(opened, ALICE, from_ms, to_ms, bins, "raw")["tracks"]
        shares = track["p"][EMOTIONS.index("happy")]
        labels = [EMOTIONS[label] for label in track["label"]]
        return list(zip(track["start_ms"], track["end_ms"], shares, labels, strict=True))

    assert happy(0, 3000, 3) == [
        (0, 1000, 50, "neutral"),
        (1000, 2000, 850, "happy"),
        (2000, 3000, 0, "neutral"),
    ]
    # Bins that the frame fills by itself are one row.
    assert happy(800, 2100, 13) == [
        (800, 900, 0, "neutral"),
        (900, 1000, 500, "neutral"),
        (1000, 1800, 1000, "happy"),
        (1800, 1900, 500, "neutral"),
        (1900, 2000, 0, "neutral"),
        (2000, 2100, 0, "neutral"),
    ]
    assert happy(1200, 1700, 50) == [(1200, 1700, 1000, "happy")]


@pytest.mark.parametrize("seed", range(3))
def test_windows_are_time_averages(store: Store, seed: int) -> None:
    """Against the mean over single milliseconds: frames of 1 to 700 ms, with bins of many lengths."""
    rng = np.random.default_rng(seed)
    starts_ms = np.cumsum(rng.integers(1, 700, 60))
    shares = rng.integers(0, 5, 60) / 4
    faces = [Face(i, p=feeling("happy", share)) for i, share in enumerate(shares)]
    store.commit_analysis(row(ALICE, "a.mp4"), timeline(starts_ms / 1000, faces))
    opened = Results(store.root)
    of_ms = np.repeat(shares[:-1], np.diff(starts_ms))  # of each millisecond since the first frame
    for bins in (1, 7, 40, 300, 2000):
        from_ms, to_ms = (int(edge) for edge in np.sort(rng.choice(np.arange(starts_ms[1], starts_ms[-2]), 2)))
        shown = window(opened, ALICE, from_ms, to_ms, bins, "raw")
        (track,) = shown["tracks"]
        assert track["start_ms"][1:] == track["end_ms"][:-1]
        assert (track["start_ms"][0], track["end_ms"][-1]) == (from_ms, to_ms)
        found = track["p"][EMOTIONS.index("happy")]
        for start_ms, end_ms, share in zip(track["start_ms"], track["end_ms"], found, strict=True):
            own = of_ms[start_ms - starts_ms[0] : end_ms - starts_ms[0]]
            assert share == pytest.approx(1000 * own.mean(), abs=2)
            assert (start_ms - from_ms) % shown["bin_ms"] == 0
            assert end_ms - start_ms <= shown["bin_ms"] or len(set(own)) == 1


def test_a_window_without_anybody_has_no_tracks(store: Store) -> None:
    assert window(Results(store.root), ALICE, 3_000_000, 3_600_000, 600, "smooth")["tracks"] == []


def test_a_window_has_the_share_of_low_quality_faces(store: Store) -> None:
    dark = [Face(i, brightness=1, blur=0) for i in range(20)]
    store.commit_analysis(row(ALICE, "dark.mp4"), timeline(np.arange(20) / 10, dark))
    (track,) = window(Results(store.root), ALICE, 0, 2000, 10, "smooth")["tracks"]
    assert track["low_quality"] == [1000] * 10
    assert track["p"][0] == [None] * 10


def test_faces_left_out_by_speech_are_counted_apart_from_low_quality(store: Store, page: Page) -> None:
    """Movements are not measured at 10 frames per second, so that `--speech only` leaves out all good faces."""
    faces = [Face(i, brightness=1 if i < 5 else 120) for i in range(20)]
    config = TimelineConfig(quality=QualityConfig(speech="only"))
    store.commit_analysis(row(ALICE, "a.mp4"), build_timeline(observe(np.arange(20) / 10, faces), config))
    opened = Results(store.root)
    (track,) = window(opened, ALICE, 0, 2000, 4, "smooth")["tracks"]
    assert (track["low_quality"], track["left_out"]) == ([1000, 0, 0, 0], [0, 1000, 1000, 1000])
    assert "25.0\xa0% low-quality faces · 75.0\xa0% of the faces left out by --speech" in words(
        page("timeline", store.root)
    )
    (video,) = opened.ask(VIDEOS_SQL).to_pylist()
    assert video["low_quality"] == 0.25
    shown = boxes(opened, ALICE, 0, 2)
    kinds = pd.DataFrame(shown["faces"], columns=shown["columns"])
    assert kinds["is_left_out"].tolist() == [False] * 5 + [True] * 15


def test_the_share_of_low_quality_faces_is_of_all_faces(store: Store) -> None:
    """Of 20 good faces of a person, 2 good and 3 blurred ones of nobody, and 20 blurred ones of a hidden person."""
    lone = [Face(i, x=450 + 150 * (i % 4), blur=0.0 if i >= 44 else 100.0) for i in range(40, 50, 2)]
    hidden = [Face(i, x=900, blur=0.0) for i in range(20)]
    times_s = np.append(np.arange(20) / 10, 10 + 2.0 * np.arange(30))  # the lone faces are 4 s apart
    observed = observe(times_s, [*(Face(i) for i in range(20)), *lone, *hidden])
    store.commit_analysis(row(ALICE, "in/alice.mp4", duration_s=70.0), build_timeline(observed, TimelineConfig()))
    with connect(store.root) as connection:
        ((track_id,),) = connection.sql("SELECT track_id FROM tracks WHERE n_faces_ok = 0").fetchall()
    hide(store.root, ALICE, track_id, True)
    opened = Results(store.root)
    assert opened.ask(VIDEOS_SQL)["low_quality"].to_pylist() == [pytest.approx(3 / 25)]
    assert "1 person · 12.0\xa0% low-quality faces" in summary_line(opened, ALICE)
    with connect(store.root) as connection:
        assert queries.gate_note(connection).startswith("3 of 25 faces (12.0 %) are low-quality faces")


@pytest.mark.parametrize("span", [(5, 5, 10, "smooth"), (0, 10, 0, "smooth"), (0, 10, 10, "cooked")])
def test_windows_of_nothing_are_refused(store: Store, span: tuple[int, int, int, str]) -> None:
    with pytest.raises(ValueError, match="from_ms < to_ms"):
        window(Results(store.root), ALICE, *span)


def test_boxes_come_with_the_times_of_frames(results: Path) -> None:
    shown = boxes(Results(results), ALICE, 3.75, 4.15)
    assert shown["frames_s"] == [3.7, 3.8, 3.9, 4.0, 4.1, 4.2]  # the first and the last one for stepping
    faces = pd.DataFrame(shown["faces"], columns=shown["columns"])
    # The frame at 3.7 s is still shown at 3.75 s, and nobody is there from 4 to 8 s.
    assert faces["pts_s"].tolist() == [3.7, 3.7, 3.8, 3.8, 3.9, 3.9]
    assert set(faces["label"]) == {"happy", "neutral"}
    assert faces["is_trusted"].isna().all()  # these results have no landmarks
    with pytest.raises(ValueError, match="at most 30 s"):
        boxes(Results(results), ALICE, 0, 3600)


@pytest.mark.parametrize(
    ("from_s", "to_s", "frames_s", "faces_s"),
    [
        (0, 8, [0, 20], [0]),
        (8, 16, [0, 20], [0]),
        (16, 24, [0, 20, 40], [0, 20]),
        (24, 32, [20, 40], [20]),
        (40, 48, [20, 40], [40]),
        (72, 80, [40], []),  # the last frame is shown until 60 s
    ],
)
def test_a_frame_is_among_the_boxes_as_long_as_it_is_shown(
    store: Store, from_s: int, to_s: int, frames_s: list[float], faces_s: list[float]
) -> None:
    store.commit_analysis(row(ALICE, "a.mp4", duration_s=80), timeline([0, 20, 40], [Face(i) for i in range(3)]))
    shown = boxes(Results(store.root), ALICE, from_s, to_s)
    assert shown["frames_s"] == frames_s
    faces = pd.DataFrame(shown["faces"], columns=shown["columns"])
    assert faces["pts_s"].tolist() == faces_s


def moving(n: int, **changed: np.ndarray) -> Timeline:
    """One person at 25 frames per second, with landmarks."""
    landmarks = still_landmarks(n, **changed)
    return build_timeline(
        observe(np.arange(n) / 25, [Face(i) for i in range(n)], landmarks=landmarks), TimelineConfig()
    )


def test_boxes_have_landmarks_only_if_requested(store: Store) -> None:
    points_px = np.full((10, 70, 2), 40.5, np.float32)
    score = np.array([0.9] * 9 + [0.4])
    turned = {"head_yaw_deg": np.arange(10.0), "landmark_score": score, "points_px": points_px}
    store.commit_analysis(row(ALICE, "a.mp4"), moving(10, **turned))
    opened = Results(store.root)
    assert "points" not in boxes(opened, ALICE, 0, 1)["columns"]
    shown = boxes(opened, ALICE, 0, 1, with_landmarks=True)
    faces = pd.DataFrame(shown["faces"], columns=shown["columns"])
    assert faces["points"].tolist() == [[40.5] * 140] * 10
    assert faces["yaw_deg"].tolist() == list(range(10))
    assert faces["is_trusted"].tolist() == [True] * 9 + [False]


def test_a_window_says_where_movements_were_measured(store: Store) -> None:
    score = np.repeat([0.9, 0.4], 50)  # trusted for the first 2 s of 4 s
    store.commit_analysis(row(ALICE, "a.mp4"), moving(100, landmark_score=score))
    (track,) = window(Results(store.root), ALICE, 0, 4000, 4, "smooth")["tracks"]
    assert track["measured"] == [1000, 1000, 0, 0]


def test_the_player_gets_movements_and_how_long_they_were_measured(store: Store) -> None:
    closed = np.full(100, 0.3)
    closed[25:29] = 0.05
    timeline_of_alice = moving(100, eye_openness_left=closed, eye_openness_right=closed)
    settings = json.dumps({"observe": {"keep_landmarks": True}})
    store.commit_analysis(row(ALICE, "a.mp4") | {"settings": settings}, timeline_of_alice)
    store.commit_analysis(row(NOBODY, "b.mp4"), timeline(np.arange(100) / 10, [Face(i) for i in range(100)]))
    opened = Results(store.root)
    of_alice, other = (player_data(opened, find_media(opened, video), None, None) for video in (ALICE, NOBODY))
    assert of_alice.movements == [{"track_id": 0, "kind": "blink", "start_s": 1.0, "end_s": pytest.approx(1.16)}]
    assert (of_alice.tracks[0].measured_s, other.tracks[0].measured_s) == (pytest.approx(4.0), 0)
    assert (of_alice.video.has_landmarks, other.video.has_landmarks) == (True, False)


def test_the_player_opens_where_the_analyzed_part_begins(store: Store) -> None:
    """The first frame at or after --start is shown; sound that begins before the frames is played."""
    faces = [Face(i) for i in range(10)]
    settings = json.dumps({"observe": {"start_s": 60.0}})
    store.commit_analysis(
        row(ALICE, "a.mp4", duration_s=90.0, settings=settings), timeline(60.02 + np.arange(10), faces)
    )
    store.commit_analysis(row(NOBODY, "b.mp4", duration_s=90.0), timeline(0.6 + np.arange(10), faces))
    opened = Results(store.root)
    medias = [find_media(opened, video) for video in (ALICE, NOBODY)]
    assert [player_data(opened, media, None, None).at_s for media in medias] == [pytest.approx(60.02), 0]
    assert [player_data(opened, media, None, None, at_s=7.5).at_s for media in medias] == [7.5, 7.5]


@pytest.mark.parametrize(
    ("observe_settings", "analyzed_until_s"),
    [({}, None), ({"start_s": 5.0}, None), ({"start_s": 5.0, "end_s": 6.0}, 6.0), ({"end_s": 90.0}, None)],
)
def test_the_player_knows_where_the_analyzed_part_ends(
    store: Store, observe_settings: dict[str, float], analyzed_until_s: float | None
) -> None:
    """The last frame of a part is shown until its end, and that of a whole video as long as there is sound."""
    settings = json.dumps({"observe": observe_settings})
    about = row(ALICE, "a.mp4", duration_s=90.0, avg_fps=10.0, settings=settings)
    store.commit_analysis(about, timeline(5 + np.arange(10) / 10, [Face(i) for i in range(10)]))
    video = player_data(opened := Results(store.root), find_media(opened, ALICE), None, None).video
    assert (video.analyzed_until_s, video.frame_s) == (analyzed_until_s, pytest.approx(0.1))


def test_new_results_are_seen(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.data.results.CHECK_EVERY_S", -1)
    seen = Results(results)
    assert seen.ask("SELECT count(*) AS n FROM videos")["n"].to_pylist() == [3]
    Store(results).commit_failure(row("v0000000000000004", "in/late.mp4"), "in/late.mp4: not a video")
    assert seen.ask("SELECT count(*) AS n FROM videos")["n"].to_pylist() == [4]


def test_a_preview_is_made_of_what_browsers_cannot_play(store: Store, shared_data: Path) -> None:
    path = shared_data / "videos" / "faces" / "two_heads_turning.gif"
    store.commit_analysis(
        row(ALICE, str(path), width_px=480) | {"codec": "gif", "container": "gif"}, timeline(np.zeros(0), [])
    )
    media = find_media(Results(store.root), ALICE)
    assert media is not None
    media.preview.parent.mkdir(parents=True)
    of_earlier_version = media.preview.with_name("preview.mp4")
    of_earlier_version.write_bytes(b"other times")
    assert media.shown is None
    preview = probe(make_preview(media))
    assert not of_earlier_version.exists()
    original = probe(path)
    assert preview.codec == "h264"
    assert preview.n_frames == original.n_frames
    np.testing.assert_allclose(preview.pts_s, original.pts_s - original.pts_s[0], atol=0.002)


@pytest.mark.parametrize(
    ("name", "exif_orientation", "rotate", "mime"),
    [
        ("a.jpg", 1, 0, "image/jpeg"),
        ("a.jpg", 6, 0, "image/jpeg"),  # browsers rotate it
        ("a.jpg", 2, 0, None),  # mirrored
        ("a.jpg", 1, 90, None),  # analyzed with --rotate 90
        ("a.png", 1, 0, "image/png"),
        ("a.png", 6, 0, None),
        ("a.webp", 1, 0, "image/webp"),
        ("a.bmp", 1, 0, "image/bmp"),
        ("a.tiff", 1, 0, None),
        ("png_named.jpg", 1, 0, "image/png"),
    ],
)
def test_images_that_browsers_show_are_served_and_others_have_a_preview(
    store: Store, client: TestClient, tmp_path: Path, name: str, exif_orientation: int, rotate: int, mime: str | None
) -> None:
    path = tmp_path / name
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = exif_orientation
    kind = "PNG" if name.startswith("png") else None
    Image.new("RGB", (64, 48), "red").save(path, kind, **({} if name.endswith(".bmp") else {"exif": exif}))
    info, known = probe(path, rotate=rotate), content_id(path)
    about = {"codec": info.codec, "container": info.container, "n_frames": 1, "duration_s": info.duration_s}
    about |= {"rotation_deg": info.rotation_deg, "is_mirrored": info.is_mirrored}
    settings = json.dumps({"observe": {"video_stream": None, "rotate": rotate}})
    store.commit_analysis(row(known, str(path), settings=settings, **about), timeline(np.zeros(1), []))
    current_results().refresh()
    served = client.get(f"/fervid/video/{known}")
    assert served.status_code == (404 if mime is None else 200)
    if mime is None:
        media = find_media(current_results(), known)
        assert media is not None
        assert probe(make_preview(media)).width_px == info.width_px
        served, mime = client.get(f"/fervid/video/{known}"), "video/mp4"
    else:
        assert served.content == path.read_bytes()
        path.write_bytes(b"another file")
        assert client.get(f"/fervid/video/{known}").status_code == 409
    assert served.headers["content-type"] == mime


def test_the_analyzed_stream_decides_whether_browsers_play_a_file(store: Store, tmp_path: Path) -> None:
    """The codec of the first of two streams is unknown to FFmpeg, as if it were from the future."""
    path = tmp_path / "two.webm"
    with av.open(str(path), "w", "matroska") as file:
        streams = [file.add_stream("libvpx-vp9", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height = 32, 32
        for stream in streams:
            file.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
            file.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"V_VP9", b"V_VX9", 1))
    playable = []
    for stream in (0, 1, 2, None):
        known = {"codec": "vp9", "container": "matroska,webm", "video_stream": stream}
        store.commit_analysis(row(ALICE, str(path), **known), timeline(np.zeros(0), []))
        media = find_media(Results(store.root), ALICE)
        assert media is not None
        playable.append(media.playable)
    assert playable == [False, True, False, False]


def test_each_stream_has_its_own_preview(store: Store) -> None:
    """The default stream is the second one; it is the same stream if it is chosen by its number."""
    previews = []
    for chosen, read, rotate in [(None, 1, 90), (1, 1, 90), (0, 0, 90), (None, None, 90), (None, 1, 0)]:
        settings = json.dumps({"observe": {"video_stream": chosen, "rotate": rotate}})
        store.commit_analysis(row(ALICE, "a.mp4", video_stream=read, settings=settings), timeline(np.zeros(0), []))
        media = find_media(Results(store.root), ALICE)
        assert media is not None
        previews.append(media.preview.name)
    names = ["preview-1-90", "preview-1-90", "preview-0-90", "preview-default-90", "preview"]
    assert previews == [f"{name}-v{OBSERVE_VERSION}.mp4" for name in names]


def test_a_run_in_progress_is_seen(store: Store) -> None:
    pts_s = np.arange(10) / 10
    os.utime(store.write_segment(ALICE, "o1", 0, observe(pts_s, [Face(0, appearance=90)])), (0, 0))
    assert running(store.root) == []  # a run was interrupted
    with mark_in_progress(store.root, ALICE):
        assert running(store.root) == [Running(ALICE, 1)]
        store.write_segment(ALICE, "o1", 1, observe(pts_s, [Face(0, appearance=90)]))
        assert running(store.root) == [Running(ALICE, 2)]
        store.commit_analysis(row(ALICE, "a.mp4"), timeline(pts_s, []))
        assert running(store.root) == [Running(ALICE, 0)]
    assert running(store.root) == []
    store.commit_analysis(row("v0000000000000003", "b.mp4"), timeline(pts_s, []))
    compact(store.root, wait_s=0, delete_originals=True)
    store.drop_appearance(ALICE, "o1")
    assert unfinished(store.root) == {}  # its row is in a shard, and its observations are as old as before


def test_polls_at_the_same_time_search_for_running_videos_once(store: Store) -> None:
    for number in range(300):
        store.observations_folder(f"v{number:016}", "o1").mkdir(parents=True)
    opened, start = Results(store.root), threading.Barrier(8)

    def poll(_: int) -> list[Running]:
        start.wait()
        return opened.running()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(poll, range(8)))
    assert len({id(one) for one in found}) == 1


def test_command_refuses_a_folder_of_someone_else(tmp_path: Path) -> None:
    done = fervid("dashboard", tmp_path)
    assert done.exit_code == 1
    assert "not a results folder" in done.output


def test_command_without_results_says_how_to_make_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = fervid("dashboard")
    assert done.exit_code == 1
    assert "make demo" in done.output


def test_command_refuses_markers_that_are_none(results: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("a,b\n1,2\n")
    done = fervid("dashboard", results, "--events", tmp_path / "events.csv")
    assert done.exit_code == 1
    assert "no column start_s" in done.output


@pytest.fixture
def client(results: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv(ENVIRONMENT, str(results))
    return TestClient(Starlette(routes=ROUTES, exception_handlers=EXCEPTION_HANDLERS))


@pytest.mark.parametrize(
    "route",
    ["etag/{}", "video/{}", "export/{}/rows.csv", "window/{}?from_ms=0&to_ms=1&bins=1", "boxes/{}?from_s=0&to_s=1"],
)
def test_what_is_no_id_of_a_video_is_not_found(client: TestClient, route: str) -> None:
    for no_id in ("a%00b", "v1", ALICE.upper(), f"{ALICE}0", 300 * "v"):
        found = client.get(f"/fervid/{route.format(no_id)}")
        assert (found.status_code, found.text) == (404, "There is no such video.")


def test_requests_that_cannot_be_computed_are_refused(client: TestClient) -> None:
    times = f"from_ms={-(2**63)}&to_ms={2**63 - 1}&bins=10"
    assert client.get(f"/fervid/window/{ALICE}?{times}").status_code == 400
    nested = 100_000 * "["
    headers = {"content-type": "application/json"}
    assert client.post(f"/fervid/edit/{ALICE}", content=nested, headers=headers).status_code == 400


def test_errors_of_duckdb_are_reported(results: Path) -> None:
    routes = [Route("/failing", lambda request: Results(results).ask("SELECT 1e308::DOUBLE::INTEGER"))]
    found = TestClient(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)).get("/failing")
    assert found.status_code == 503
    assert "out of range" in found.text


def test_the_address_to_listen_on_may_be_opened() -> None:
    local = ["127.0.0.1", "localhost", "[::1]"]
    assert [names_of(address) for address in ("127.0.0.1", "::1", "::")] == [local] * 3
    assert names_of("2001:db8::7") == [*local, "[2001:db8::7]"]
    note = unreachable_note("0.0.0.0", ())
    assert note is not None and "--allowed-host NAME" in note
    assert [unreachable_note("0.0.0.0", ["lab.example"]), unreachable_note("192.0.2.7", ())] == [None, None]


def test_command_serves_the_page_on_this_machine_only(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from flows.cli.app import main; main()",
        "dashboard",
        str(results),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert wait_for_status(f"http://127.0.0.1:{port}/_stcore/health", server) == 200
        assert handshake(port, f"127.0.0.1:{port}") == 101
        # a foreign host name that resolves to this machine (DNS rebinding)
        assert handshake(port, "elsewhere.example") == 400
    finally:
        server.terminate()
        said, _ = server.communicate(timeout=START_S)
    assert f"http://127.0.0.1:{port}" in said
    assert "Network URL" not in said
    assert "Traceback" not in said


def wait_for_status(url: str, server: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """The HTTP status of `url`, once the server answers."""
    until_s = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return int(answer.status)
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer within {START_S} s; exit code of the server: {server.poll()}")


def handshake(port: int, host: str) -> int:
    """The HTTP status of a WebSocket handshake with the dashboard by a page of this host."""
    headers = {"Host": host, "Origin": f"http://{host}", "Upgrade": "websocket", "Connection": "Upgrade"}
    headers |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    with contextlib.closing(connection):
        connection.request("GET", "/_stcore/stream", headers=headers)
        return connection.getresponse().status
