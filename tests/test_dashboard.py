"""The page over real results, and the command that serves it."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scenes import Face, feeling, observe
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from analytics import connect
from analytics.store import Store
from analytics.timeline import Timeline, TimelineConfig, build_timeline
from dashboard.app import DISCLAIMER, MAX_BINS, track_probabilities
from fer_models.labels import EMOTIONS
from flows.cli import app

ROOT = Path(__file__).parents[1]
ALICE, NOBODY, BROKEN = "v0000000000000001", "v0000000000000002", "v0000000000000003"


def timeline(pts_s: np.ndarray, faces: list[Face]) -> Timeline:
    return build_timeline(observe(pts_s, faces), TimelineConfig())


def row(video_id: str, path: str, **known: float) -> dict[str, str | float]:
    return {"video_id": video_id, "analysis_id": f"a{video_id[1:]}", "path": path, **known}


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
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], AppTest]:
    """The page over a results folder, after its first run."""

    def run(results: Path) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", str(results)])
        shown = AppTest.from_file(ROOT / "dashboard" / "app.py", default_timeout=30).run()
        assert not shown.exception
        return shown

    return run


def charts(shown: AppTest) -> list[dict]:
    """The Vega-Lite specification of each chart."""
    return [json.loads(chart.proto.spec) for chart in shown.get("vega_lite_chart")]


def area_charts(shown: AppTest) -> list[dict]:
    return [spec for spec in charts(shown) if "layer" not in spec and spec["mark"]["type"] == "area"]


def words(shown: AppTest) -> str:
    return "\n".join(element.value for kind in ("info", "error", "caption", "markdown") for element in shown.get(kind))


def test_every_video_is_listed_with_what_became_of_it(results: Path, page: Callable[[Path], AppTest]) -> None:
    videos = page(results).dataframe[0].value.set_index("name")
    assert videos["status"].to_dict() == {"alice.mp4": "done", "broken.mp4": "failed", "nobody.mp4": "done"}
    assert videos.loc["broken.mp4", "error"] == "in/broken.mp4: not a video"
    assert videos.loc["alice.mp4", ["duration_s", "n_frames", "n_tracks"]].tolist() == [12, 120, 3]
    assert videos.loc["nobody.mp4", "n_tracks"] == 0
    assert videos["emotion"].dropna().index.tolist() == ["alice.mp4"]


def test_only_videos_that_are_done_can_be_chosen(results: Path, page: Callable[[Path], AppTest]) -> None:
    assert page(results).selectbox[0].options == ["in/alice.mp4", "in/nobody.mp4"]


def test_each_chosen_track_has_its_chart_and_episodes(results: Path, page: Callable[[Path], AppTest]) -> None:
    shown = page(results)
    assert shown.multiselect[0].options == ["0", "1", "2"]
    assert len(area_charts(shown)) == 3
    assert DISCLAIMER in words(shown)
    emotions = [table.value["emotion"].tolist() for table in shown.dataframe[1:]]
    assert sorted(emotions) == [["happy"], ["neutral"], ["sad"]]

    shown.multiselect[0].set_value([2]).run()
    assert len(area_charts(shown)) == 1
    assert [table.value["emotion"].tolist() for table in shown.dataframe[1:]] == [["sad"]]

    shown.multiselect[0].set_value([]).run()
    assert not shown.exception
    assert charts(shown) == []


def test_charts_name_every_emotion_in_its_colour(results: Path, page: Callable[[Path], AppTest]) -> None:
    scales = re.findall(r'"scale": ?(\{"domain": ?\["angry".*?\})', json.dumps(charts(page(results))))
    assert len(scales) == 5  # episodes, shares and three tracks
    assert all(tuple(json.loads(scale)["domain"]) == EMOTIONS for scale in scales)


def test_a_video_without_faces_says_so(results: Path, page: Callable[[Path], AppTest]) -> None:
    shown = page(results)
    shown.selectbox[0].set_value(NOBODY).run()
    assert not shown.exception
    assert "No face was seen long enough" in words(shown)
    assert charts(shown) == []


def test_results_without_videos_say_so(store: Store, page: Callable[[Path], AppTest]) -> None:
    assert "There are no videos here yet" in words(page(store.root))


def test_results_with_failures_only_list_them(store: Store, page: Callable[[Path], AppTest]) -> None:
    store.commit_failure(row(BROKEN, "in/broken.mp4"), "in/broken.mp4: not a video")
    shown = page(store.root)
    assert shown.dataframe[0].value["name"].tolist() == ["broken.mp4"]
    assert "None of these videos could be analysed" in words(shown)


def test_a_folder_that_is_no_results_folder_is_named(tmp_path: Path, page: Callable[[Path], AppTest]) -> None:
    assert f"{tmp_path}: not a results folder" in words(page(tmp_path))


def test_a_damaged_table_is_named(results: Path, page: Callable[[Path], AppTest]) -> None:
    damaged = next((results / "tracks" / f"video_id={ALICE}").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    shown = page(results)
    assert "A table cannot be read" in words(shown)
    assert str(damaged) in words(shown)


def test_a_track_without_a_good_face_says_so(store: Store, page: Callable[[Path], AppTest]) -> None:
    dark = [Face(i, brightness=1, blur=0) for i in range(20)]
    store.commit_analysis(row(ALICE, "dark.mp4"), timeline(np.arange(20) / 10, dark))
    shown = page(store.root)
    assert "None of its faces is good enough" in words(shown)
    assert area_charts(shown) == []


def test_probabilities_end_where_the_face_is_gone(store: Store) -> None:
    pts_s = np.arange(20) / 10
    faces = [Face(i, p=feeling("happy")) for i in range(20) if not 10 <= i < 13]
    store.commit_analysis(row(ALICE, "a.mp4"), timeline(pts_s, faces))
    with connect(store.root) as connection:
        shown = track_probabilities(connection, ALICE, 0)
    expected_s = [*range(11), *range(13, 21)]  # a row of zeros at 1.0 and at 2.0 s
    assert shown["start_s"].tolist() == [i / 10 for i in expected_s]
    np.testing.assert_allclose(
        shown[list(EMOTIONS)].sum(axis=1), [float(i not in (10, 20)) for i in expected_s], atol=1e-5
    )
    assert shown["happy"].max() == pytest.approx(1, abs=1e-3)


def test_an_hour_is_drawn_with_few_rows(store: Store) -> None:
    pts_s = np.arange(3600 * 2) / 2
    faces = [Face(i, p=feeling("happy" if i < 3600 else "sad")) for i in range(len(pts_s))]
    store.commit_analysis(row(ALICE, "hour.mp4"), timeline(pts_s, faces))
    with connect(store.root) as connection:
        shown = track_probabilities(connection, ALICE, 0)
    assert len(shown) == MAX_BINS + 1  # and the row that ends it
    assert shown["start_s"].tolist() == [6.0 * i for i in range(MAX_BINS + 1)]
    assert shown["happy"][:299].min() > 0.99
    assert shown["sad"][301:600].min() > 0.99


def test_command_refuses_a_folder_of_someone_else(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dashboard", str(tmp_path)])
    assert done.exit_code == 1
    assert "not a results folder" in done.output


def test_command_serves_the_page_on_this_machine_only(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from flows.cli import main; main()",
        "dashboard",
        str(results),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert wait_for_status(f"http://127.0.0.1:{port}/_stcore/health", server) == 200
        assert handshake(port, f"127.0.0.1:{port}") == 101
        assert handshake(port, "elsewhere.example") == 403  # a site that points its own name at this machine
    finally:
        server.terminate()
        said, _ = server.communicate(timeout=30)
    assert f"http://127.0.0.1:{port}" in said
    assert "Network URL" not in said
    assert "Traceback" not in said


def wait_for_status(url: str, server: subprocess.Popen[str]) -> int:
    """The HTTP status of `url` as soon as the server answers at all."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server ended with exit code {server.returncode}")


def handshake(port: int, host: str) -> int:
    """The HTTP status that a page of this host gets when it asks for the WebSocket behind the dashboard."""
    headers = {"Host": host, "Origin": f"http://{host}", "Upgrade": "websocket", "Connection": "Upgrade"}
    headers |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/_stcore/stream", headers=headers)
        return connection.getresponse().status
