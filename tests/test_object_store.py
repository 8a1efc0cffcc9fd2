"""Videos and results in an object store: a real S3 server that runs on this machine."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest
from clips import analyze_clip
from commands import fervid
from moto.server import ThreadedMotoServer
from scenes import Face, feeling, observe

from analytics import connect, query
from analytics.errors import QueryError
from analytics.results.atomic_write import write_atomic
from analytics.results.compaction import compact
from analytics.results.purge import PurgeError, is_unfinished, plan_purge, purge
from analytics.results.segments import read_segment
from analytics.results.status import status
from analytics.results.storage_paths import StorageError, file_version, filesystem_of, is_remote, resolve_path
from analytics.results.store import Store, StoreError
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.observe_version import OBSERVE_VERSION
from flows.analysis.failures import VideoFailed
from flows.analysis.inputs import InputError, find_files, local_copy
from flows.analysis.rebuild_timeline import rebuild_timelines
from flows.live.timeline import LiveWork, make_timeline
from flows.settings import AnalyzeSettings, TimelineSettings

pytestmark = pytest.mark.slow

SETTINGS = AnalyzeSettings(device="cpu")
FERVID = Path(sys.executable).with_name("fervid")


@pytest.fixture(scope="module", autouse=True)
def object_store():
    """An S3 server on loopback, which is found through environment variables, as a user's server would be."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # hides the line that the server logs for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(request) -> Path:
    """An empty bucket."""
    bucket = resolve_path(f"s3://{request.node.name.replace('_', '-').lower()[:60].strip('-')}")
    filesystem_of(bucket)[0].mkdir(filesystem_of(bucket)[1])
    return bucket


@pytest.fixture
def requests(monkeypatch) -> Counter:
    """A counter of the requests to the store, by kind, that counts from the start of the test."""
    from s3fs import S3FileSystem

    counts: Counter = Counter()
    ask = S3FileSystem._call_s3

    async def count(self, method, *args, **kwargs):
        counts[method] += 1
        return await ask(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", count)
    return counts


def put(target: Path, source: Path) -> Path:
    target.fs.put_file(str(source), target.path)
    return target


def timeline(emotion="happy", n_frames=10):
    faces = [Face(i, p=feeling(emotion)) for i in range(n_frames)]
    return build_timeline(observe(np.arange(n_frames) / 10, faces), TimelineConfig())


def row(video=1, analysis=1, path="a.mp4"):
    return {"video_id": f"v{video:016}", "analysis_id": f"a{analysis:016}", "path": path}


def assert_same_rows(results: Path, expected: Path) -> None:
    """Compare all tables in this process; `query` would start one for each."""
    with connect(results) as connection, connect(expected) as other:
        for name in ("frames", "faces", "tracks", "episodes", "transitions", "observations"):
            sql = f"SELECT * FROM {name} ORDER BY ALL"
            assert connection.sql(sql).to_arrow_table().equals(other.sql(sql).to_arrow_table()), name


def objects(root: Path) -> set[str]:
    fs, name = filesystem_of(root)
    return set(fs.find(name))


def test_user_input_becomes_a_path_or_an_address(tmp_path):
    assert resolve_path(tmp_path) == tmp_path
    assert resolve_path("clips/a b.mp4") == Path("clips/a b.mp4")
    assert resolve_path(f"file://{tmp_path}") == tmp_path
    assert is_remote(resolve_path("s3://bucket/x")) and not is_remote(resolve_path("x"))
    with pytest.raises(StorageError, match="nowhere://x"):
        resolve_path("nowhere://x")


def test_a_missing_package_is_one_line_with_the_install_command(tmp_path):
    """In a process that cannot import s3fs."""
    (tmp_path / "s3fs.py").write_text("raise ImportError('no s3fs here')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(
        [FERVID, "query", "s3://bucket/x", "SELECT 1"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "pip install" in ended.stderr and "s3fs" in ended.stderr and "Traceback" not in ended.stderr


def test_an_unreachable_store_is_reported(bucket, monkeypatch):
    result = fervid("query", "s3://no-such-bucket/x", "SELECT 1")
    assert result.exit_code == 1 and "not a results folder" in result.output
    with pytest.raises(StoreError, match="cannot be written to"):
        Store(resolve_path("s3://no-such-bucket/x"))
    with pytest.raises(StoreError, match="give another one"):
        Store(bucket / "res*")
    with pytest.raises(InputError, match="no such file or folder"):
        find_files([str(bucket / "nothing.mp4")])


def test_a_store_that_does_not_answer_is_one_line(tmp_path, face_clip):
    environment = os.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for arguments in (
        ["s3://far/videos", "--out", tmp_path / "out"],
        [face_clip, "--out", "s3://far/out", "--dry-run"],
    ):
        ended = subprocess.run([FERVID, "analyze", *arguments], env=environment, capture_output=True, text=True)
        assert ended.returncode == 1
        assert "cannot be reached" in ended.stderr and "Traceback" not in ended.stderr


def test_from_store_to_store_as_from_disk_to_disk(bucket, server, tmp_path, face_clip, empty_clip, requests):
    """Run the command on two clips and a broken file; then repeat the analysis in this process."""
    videos = bucket / "videos"
    for source in (face_clip, empty_clip):
        put(videos / "deep" / source.name, source)
    videos.fs.pipe_file((videos / "broken.mp4").path, b"not a video")
    results = bucket / "results"
    command = [FERVID, "analyze", str(videos), "--out", str(results), "--device", "cpu"]
    environment = os.environ | {"PREFECT_API_URL": server}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert f"{videos}/broken.mp4" in ended.stdout + ended.stderr and "Traceback" not in ended.stderr
    for source in (face_clip, empty_clip):
        analyze_clip(source, tmp_path / "local", SETTINGS)
    assert_same_rows(results, tmp_path / "local")
    failed = query(results, "SELECT path, error FROM videos WHERE status = 'failed'").to_pylist()
    assert [Path(video["path"]).name for video in failed] == ["broken.mp4"] and "fervid-" not in failed[0]["error"]

    before, address = objects(results), videos / "deep" / face_clip.name
    requests.clear()
    outcome = analyze_clip(address, results, SETTINGS)
    assert outcome.status == "unchanged" and outcome.n_frames == 50
    assert objects(results) == before
    put(address, empty_clip)  # the object gets another content under the same name
    assert analyze_clip(address, results, SETTINGS).n_frames == 12


def test_segments_without_appearance_are_not_read_again(bucket, requests):
    store, ids = Store(bucket / "results"), ("v0000000000000001", "o0000000000000001")

    def write(index: int) -> None:
        store.write_segment(*ids, index, observe([float(index)], [Face(0, appearance=40)]))

    def n_signed() -> int:
        seen = store.read_observations(*ids, 5)["signature"]
        return len(seen) - seen.null_count

    for index in range(5):
        write(index)
    assert n_signed() == 5
    store.drop_appearance(*ids)
    assert n_signed() == 0
    before = objects(bucket)
    requests.clear()
    store.drop_appearance(*ids)
    assert sum(requests.values()) <= 3, requests  # a listing, and the recorded versions of segments
    assert objects(bucket) == before
    write(3)
    store.drop_appearance(*ids)
    assert n_signed() == 0


def test_an_object_of_another_version_gives_its_address_up(bucket):
    """Its content is not downloaded to be compared: it may be as large as the former one, and still be another."""
    first, second, results = bucket / "a.mp4", bucket / "b.mp4", Store(bucket / "results")
    first.write_bytes(b"first")
    version = file_version(first)
    results.commit_analysis(row(path=str(first)) | {"size_bytes": 5, "object_version": version}, timeline())
    ids = row()["video_id"], row()["analysis_id"]
    second.write_bytes(b"first")
    assert results.mark_as_current(*ids, str(second)) == str(first)  # a copy
    first.write_bytes(b"other")
    assert results.mark_as_current(*ids, str(second), object_version=version) == str(second)


def test_every_command_takes_the_address(bucket, tmp_path, face_clip):
    video = put(bucket / "clips" / "collins.mp4", face_clip)
    results = bucket / "results"
    analyze_clip(video, results, SETTINGS)

    def output_of(*words: object) -> str:
        result = fervid(*words)
        assert result.exit_code == 0, result.output
        return result.output

    rows = json.loads(output_of("query", results, "SELECT path FROM videos", "--format", "json"))
    assert rows == [{"path": str(video)}]
    assert "1 video, 0 of them failed" in output_of("summary", results)
    output_of("summary", results, "timeline", "--video", video)
    output_of("export", results, "--format", "csv", "--out", tmp_path / "csv")
    output_of("export", results, "--format", "elan", "--out", tmp_path / "elan")
    assert f'MEDIA_URL="{video}"' in (tmp_path / "elan" / "collins.eaf").read_text()
    output_of("report", results, "--out", tmp_path / "report.html")
    assert "collins.mp4" in (tmp_path / "report.html").read_text()
    output_of("render", video, "--results", results, "--out", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].frames == 50
    output_of("timeline", results, "--time-constant", 1)
    assert len(query(results, "SELECT DISTINCT analysis_id FROM faces")) == 1
    output_of("purge", results, "--video", "collins.mp4", "--yes")
    assert objects(results) == {f"{filesystem_of(results)[1]}/fervid.json"}
    assert "collins.mp4" in str(objects(bucket))


def test_the_dashboard_reads_the_address(bucket, monkeypatch):
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from analytics.results import notes
    from dashboard.data.results import ENVIRONMENT
    from dashboard.server import ROUTES

    store = Store(bucket / "results")
    store.commit_analysis(row(), timeline())
    monkeypatch.setenv(ENVIRONMENT, str(store.root))
    notes.rename(store.root, row()["video_id"], 0, "Anna")
    assert notes.read_notes(store.root, row()["video_id"]).names == {0: "Anna"}
    client = TestClient(Starlette(routes=ROUTES))
    found = client.get(f"/fervid/window/{row()['video_id']}?from_ms=0&to_ms=1000&bins=10")
    assert found.status_code == 200
    assert client.get(f"/fervid/video/{row()['video_id']}").status_code == 404


def test_the_dashboard_says_that_the_store_cannot_be_reached(monkeypatch):
    from s3fs import S3FileSystem
    from starlette.applications import Starlette
    from starlette.testclient import TestClient
    from streamlit.testing.v1 import AppTest

    from dashboard import app
    from dashboard.data.results import ENVIRONMENT
    from dashboard.server import EXCEPTION_HANDLERS, ROUTES

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv(ENVIRONMENT, "s3://far/out")
    S3FileSystem.clear_instance_cache()  # they have the address of the server of the other tests
    try:
        client = TestClient(Starlette(routes=ROUTES, exception_handlers=EXCEPTION_HANDLERS))
        response = client.get("/fervid/etag")
        page = AppTest.from_file(app.__file__, default_timeout=300).run()
    finally:
        S3FileSystem.clear_instance_cache()
    assert response.status_code == 503
    assert not page.exception
    (error,) = page.error
    for message in (response.text, error.value):
        assert "cannot be reached" in message.replace("\\", "")


def test_changes_of_people_change_the_comparisons_that_the_dashboard_keeps(bucket):
    from dashboard.data.comparison import comparison_of
    from dashboard.data.edits import store_edit
    from dashboard.data.media import find_media
    from dashboard.data.player_data import player_data
    from dashboard.data.results import Results

    store = Store(bucket / "results")
    for video in (1, 2):
        store.commit_analysis(row(video, video, f"{video}.mp4"), timeline())
    opened = Results(store.root)
    groups = {row(video)["video_id"]: f"group {video}" for video in (1, 2)}

    def n_labeled() -> list[int]:
        compared = comparison_of(opened, (opened.etag(), opened.notes_etag()), groups, {})
        return [] if compared.empty else compared.loc[0, ["n_a", "n_b"]].tolist()

    assert n_labeled() == [1, 1]
    video = row(1)["video_id"]
    known = player_data(opened, find_media(opened, video), None, None).numbering_id
    store_edit(opened, video, {"kind": "hidden", "track_id": 0, "value": True, "numbering_id": known})
    assert n_labeled() == [0, 1]


def test_copies_of_videos_are_deleted_also_after_a_failure(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken = bucket / "broken.mp4"
    broken.fs.pipe_file(broken.path, b"x" * 1000)
    with local_copy(broken) as file:
        assert file.read_bytes() == b"x" * 1000
        assert file.parent.stat().st_mode & 0o077 == 0
    with pytest.raises(VideoFailed, match=f"^{broken}: "):
        analyze_clip(broken, bucket / "results", SETTINGS)
    with pytest.raises(ZeroDivisionError), local_copy(broken):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_upload_leaves_nothing_to_see(bucket, tmp_path):
    """The file is uploaded in several parts; the process is killed when all have been sent, but not joined."""
    store = Store(bucket / "results")
    store.commit_analysis(row(), timeline())
    before = objects(bucket)
    target = bucket / "results" / "faces" / "video_id=v0000000000000001" / "a0000000000000002.parquet"
    code = f"""
        import os, signal
        from s3fs import S3FileSystem
        from analytics.results.atomic_write import write_atomic
        from analytics.results.storage_paths import resolve_path

        ask = S3FileSystem._call_s3

        async def ask_or_die(self, method, *args, **kwargs):
            if method == "complete_multipart_upload":
                os.kill(os.getpid(), signal.SIGKILL)
            return await ask(self, method, *args, **kwargs)

        S3FileSystem._call_s3 = ask_or_die
        write_atomic(resolve_path({str(target)!r}), lambda part: part.write_bytes(bytes(120 << 20)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    ended = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert ended.returncode == -signal.SIGKILL
    fs, name = filesystem_of(bucket)
    assert fs.call_s3("list_multipart_uploads", Bucket=name.rstrip("/"))["Uploads"]
    assert objects(bucket) == before
    assert query(store.root, "SELECT count(*) AS n FROM faces").to_pylist() == [{"n": 10}]
    write_atomic(target, lambda part: part.write_bytes(b"whole"))
    assert target.read_bytes() == b"whole"


def test_a_run_killed_before_its_row_is_ignored_and_resumed(bucket, face_clip):
    store = Store(bucket / "results")
    video = put(bucket / "collins.mp4", face_clip)

    def faces() -> list[tuple]:
        with connect(store.root) as connection:
            return connection.sql("SELECT * FROM faces ORDER BY ALL").fetchall()

    done = analyze_clip(video, store.root, SETTINGS)
    whole = faces()
    last = store.root / "videos" / f"video_id={done.video_id}" / f"{done.analysis_id}.parquet"
    last.unlink()
    assert faces() == []
    again = analyze_clip(video, store.root, SETTINGS)
    assert (again.status, again.n_observed) == ("done", 0)
    assert faces() == whole


def test_two_simultaneous_runs_lose_and_repeat_nothing(bucket, tmp_path, face_clip, empty_clip):
    videos = [put(bucket / clip.name, clip) for clip in (face_clip, empty_clip)]
    results = bucket / "results"

    def run(paths):
        return [analyze_clip(path, results, SETTINGS).status for path in paths]

    with ThreadPoolExecutor(2) as both:
        statuses = [status for of_run in both.map(run, [videos, videos[::-1]]) for status in of_run]
    assert len(statuses) == 4 and set(statuses) <= {"done", "unchanged"}
    for clip in (face_clip, empty_clip):
        analyze_clip(clip, tmp_path / "local", SETTINGS)
    assert_same_rows(results, tmp_path / "local")


def test_a_live_session_in_a_bucket(bucket, face_clip, tmp_path):
    with face_clip.open("rb") as stdin:
        command = [FERVID, "live", "-", "--out", str(bucket / "results"), "--device", "cpu"]
        ended = subprocess.run(command, stdin=stdin, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    with connect(bucket / "results") as connection:
        assert connection.sql("SELECT is_running FROM videos").fetchall() == [(False,)]
        assert connection.sql("SELECT count(*) > 0 FROM frames").fetchall() == [(True,)]
    assert not list(tmp_path.iterdir())


def test_a_session_that_was_killed_in_a_bucket_is_completed_once_it_has_been_silent(bucket, monkeypatch):
    store, config = Store(bucket / "results"), TimelineConfig()
    ids = {"video_id": "v0000000000000001", "observation_id": "o0000000000000001", "analysis_id": "a0000000000000001"}
    observed = {"detector_score_threshold": config.quality.min_det_score, "observe_version": OBSERVE_VERSION}
    session = {"path": "cam.live", "live_since": datetime.now(UTC), "settings": json.dumps({"observe": observed})}
    segment = observe(np.arange(10) / 10, [Face(i, appearance=40) for i in range(10)])
    path = store.write_segment(ids["video_id"], ids["observation_id"], 0, segment)
    make_timeline(LiveWork(store.root, ids | session, 1, config, is_last=False, number=0, keep_appearance=False))

    def state():
        (rebuilt,) = rebuild_timelines(store.root, TimelineSettings())
        (video,) = status(store.root)
        return rebuilt.status, video.state, read_segment(path)["signature"].null_count

    assert state() == ("unchanged", "running", 0)
    with pytest.raises(PurgeError, match=r"cam\.live: an analysis or live session is running"):
        plan_purge(store.root, wanted=["cam.live"])
    monkeypatch.setattr("analytics.results.in_progress.RECENT_S", 0.0)
    assert [one.state for one in status(store.root)] == ["pending"]
    assert plan_purge(store.root, wanted=["cam.live"]).video_ids == [ids["video_id"]]
    assert state() == ("done", "done", 10)


def test_an_interrupted_purge_is_finished_by_the_next(bucket):
    store = Store(bucket / "results")
    for video in (1, 2):
        store.commit_analysis(row(video, video, f"{video}.mp4"), timeline())
    plan = plan_purge(store.root, wanted=["1.mp4"])
    assert (plan.n_rows["faces"], plan.n_files) == (10, 6)
    # The state after a purge was killed once it had deleted the rows of the table `videos`.
    mark = store.root / ".purging" / f"begun.video_id={plan.video_ids[0]}"
    mark.fs.pipe_file(mark.path, datetime.now(UTC).isoformat().encode())
    store.root.fs.rm((store.root / "videos" / "video_id=v0000000000000001").path, recursive=True)
    assert is_unfinished(store.root)
    purge(store.root, [])
    assert not is_unfinished(store.root)
    assert not any("v0000000000000001" in name for name in objects(store.root))
    assert query(store.root, "SELECT DISTINCT path FROM videos").to_pylist() == [{"path": "2.mp4"}]


def test_a_question_over_many_videos_takes_few_requests(bucket, requests, tmp_path):
    local, shown = Store(tmp_path / "results"), timeline()
    for video in range(8):
        local.commit_analysis(row(video, video, f"{video}.mp4"), shown)
    results = bucket / "results"
    results.fs.put(f"{local.root}/", results.path, recursive=True)
    store = Store(results)
    sql = "SELECT count(*) AS n FROM faces WHERE video_id = 'v0000000000000007'"
    query(store.root, "SELECT 1 AS one")  # caches the rows of table videos
    requests.clear()
    assert query(store.root, sql).to_pylist() == [{"n": 10}]
    assert sum(requests.values()) <= 12, requests
    with connect(store.root) as connection:
        requests.clear()
        assert connection.sql("SELECT count(*) FROM faces").fetchall() == [(80,)]
        assert requests["get_object"] == 8
    compact(store.root, wait_s=0, delete_originals=True)
    requests.clear()
    assert query(store.root, "SELECT count(*) AS n FROM faces").to_pylist() == [{"n": 80}]
    assert sum(requests.values()) <= 25, requests  # three requests for each table
    purge(store.root, plan_purge(store.root, wanted=["7.mp4"]).video_ids)
    assert query(store.root, sql).to_pylist() == [{"n": 0}]
    assert query(store.root, "SELECT count(*) AS n FROM faces").to_pylist() == [{"n": 70}]


def test_sql_reaches_nothing_but_the_results(bucket):
    store = Store(bucket / "results")
    store.commit_analysis(row(), timeline())
    with pytest.raises(QueryError, match="disabled"):
        query(store.root, f"SELECT * FROM read_text('{bucket}/results/fervid.json')")
