"""Purging: all data of the video are removed, others stay, and a crash does no harm."""

import json
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from commands import fervid, interrupt_at_prompt
from scenes import Face, feeling, observe

from analytics import connect
from analytics.queries.groups import GroupError, videos_of_participant
from analytics.results.ids import file_sha256, unread_video_id, video_id
from analytics.results.in_progress import mark_in_progress
from analytics.results.notes import rename
from analytics.results.purge import PurgeError, is_unfinished, plan_purge, purge
from analytics.results.storage_paths import file_version
from analytics.results.store import Store, StoreError
from analytics.results.video_lock import hold_video
from analytics.results.videos import UnknownVideoError
from analytics.tables.schema import TABLES, TIMELINE_TABLES
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.analysis.context import AnalysisContext
from flows.analysis.fingerprints import request_fingerprint
from flows.analysis.finished_work import FinishedIndex
from flows.analysis.skipping import skip_outcome
from flows.settings import AnalyzeSettings

ALICE, BOB = "v00000000000000aa", "v00000000000000bb"
ALICE_PATH, BOB_PATH = "/clips/interview_alice.mp4", "/clips/bob.mp4"
OBSERVED = observe(np.arange(10) / 10, [Face(i, p=feeling("happy")) for i in range(10)])


@pytest.fixture
def store(tmp_path) -> Store:
    """Bob, and Alice: analyzed twice and failed once, with an unreadable copy, notes and files of a killed run."""
    store = Store(tmp_path / "my results")
    timeline = build_timeline(OBSERVED, TimelineConfig())
    for video, path in ((ALICE, ALICE_PATH), (BOB, BOB_PATH)):
        part = store.write_segment(video, "o0000000000000001", 0, OBSERVED)
        store.write_identities(video, "o0000000000000001", "i0000000000000001", timeline.identities)
        for name in ("notes", "previews"):  # as the dashboard keeps them
            folder = store.root / name / f"video_id={video}"
            folder.mkdir(parents=True)
            folder.joinpath("file").write_bytes(path.encode())
        part.with_name(".segment-000001.parquet.1-abcd.part").write_bytes(path.encode())
        for analysis in ("a0000000000000001", "a0000000000000002"):
            store.commit_analysis({"video_id": video, "analysis_id": analysis, "path": path}, timeline)
        failed = {"video_id": video, "analysis_id": "a0000000000000003", "path": path}
        store.commit_failure(failed, f"{path}: broken")
        unread = {"video_id": unread_video_id(Path(path)), "analysis_id": "a0000000000000004", "path": path}
        store.commit_failure(unread, "permission denied")
    return store


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def counts(store: Store, video: str) -> set[int]:
    """The numbers of rows of a video in all views but `videos`, as a set."""
    with connect(store.root) as connection:
        tables = [name for name in TIMELINE_TABLES if name != "transitions"]
        sql = "SELECT count(*) FROM {} WHERE video_id = '{}'"
        return {bool(connection.sql(sql.format(name, video)).fetchall()[0][0]) for name in ("videos", *tables)}


def assert_nothing_of_alice(root: Path) -> None:
    ids = (ALICE, unread_video_id(Path(ALICE_PATH)))
    for path in root.rglob("*"):
        assert not any(word in str(path.relative_to(root)) for word in (*ids, "alice"))
        if path.is_file():
            content = path.read_bytes()
            assert not any(word.encode() in content for word in (*ids, ALICE_PATH, "interview_alice")), path


def test_nothing_of_the_video_is_left_and_others_are_untouched(store):
    before = files(store.root)
    assert any(b"interview_alice" in content for content in before.values())
    plan = plan_purge(store.root, wanted=["interview_alice.mp4"])
    assert files(store.root) == before
    assert set(plan.video_ids) == {ALICE, unread_video_id(Path(ALICE_PATH))}
    assert (plan.paths, plan.n_videos) == ({ALICE_PATH: 1}, 1)
    purge(store.root, plan.video_ids)
    after = files(store.root)
    assert_nothing_of_alice(store.root)
    gone = {name: content for name, content in before.items() if name not in after}
    assert all(before[name] == content for name, content in after.items())
    assert (plan.n_files, plan.size_bytes) == (len(gone), sum(map(len, gone.values())))
    assert plan.n_rows == {"observations": 10, "frames": 20, "faces": 20, "tracks": 2, "episodes": 2, "videos": 4} | {
        "transitions": 0,
        "identities": 10,
    }
    assert counts(store, BOB) == {True}
    assert counts(store, ALICE) == {False}


def test_temporary_files_of_a_killed_reader_are_purged(store):
    store.root.joinpath("videos", ".rows.arrow.1-abcd.part").write_bytes(ALICE_PATH.encode())
    purge(store.root, plan_purge(store.root, wanted=[ALICE_PATH]).video_ids)
    assert_nothing_of_alice(store.root)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(12))
def test_an_interrupted_purge_shows_all_or_nothing_and_is_completed(store, monkeypatch, step):
    """Simulate a crash at each move and each removal in turn."""
    left = iter([True] * step)

    def or_crash(do):
        def done(*arguments, **options):
            if not next(left, False):
                raise KeyboardInterrupt
            return do(*arguments, **options)

        return done

    plan = plan_purge(store.root, wanted=[ALICE_PATH])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", or_crash(Path.rename))
        patch.setattr(shutil, "rmtree", or_crash(shutil.rmtree))
        purge(store.root, plan.video_ids)
    assert len(counts(store, ALICE)) == 1  # the video is in all views or in none
    assert is_unfinished(store.root)
    again = purge_command(store.root, "--video", ALICE_PATH, "--yes")
    assert "an interrupted purge has been completed" in again.output
    assert again.exit_code == 0 or "no such video" in again.output  # if all of its data had already been moved
    assert_nothing_of_alice(store.root)
    assert not is_unfinished(store.root)
    assert counts(store, BOB) == {True}


def test_a_purge_interrupted_before_the_first_move_is_completed(store, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("analytics.results.purge.drop_from_shards", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        purge(store.root, plan_purge(store.root, wanted=[ALICE_PATH]).video_ids)
    purge(store.root, [])
    assert_nothing_of_alice(store.root)
    assert counts(store, BOB) == {True}


def test_an_analysis_made_after_a_crash_is_kept(store, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        purge(store.root, [ALICE])
    again = {"video_id": ALICE, "analysis_id": "a0000000000000001", "path": ALICE_PATH}
    store.commit_analysis(again, build_timeline(OBSERVED, TimelineConfig()))
    kept = shutil.copytree(store.root, store.root.with_name("copy"))
    assert purge(store.root, []) == [ALICE]
    assert counts(store, ALICE) == {True}
    assert not is_unfinished(store.root)
    run = purge_command(kept, "--video", "nobody.mp4", "--yes")
    assert f"except for videos that were analyzed again since then: {ALICE}. Older data" in run.stderr


def test_an_interrupted_purge_whose_marker_is_empty_is_completed(store, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("analytics.results.purge.drop_from_shards", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        purge(store.root, plan_purge(store.root, wanted=[ALICE_PATH]).video_ids)
    for mark in (store.root / ".purging").iterdir():
        mark.write_bytes(b"")
    assert purge(store.root, []) == []
    assert_nothing_of_alice(store.root)


def analyze_carol(store: Store, file: Path) -> None:
    """Write a file, and its analysis with default settings."""
    file.write_bytes(b"video")
    models = ("detector", "detector_reason", "detector_size_px", "detector_precision", "model", "landmarks", "device")
    used = dict.fromkeys([*models, "precision"], "any") | {"detector_score_threshold": 0.5}
    stored = json.dumps({"observe": used, "run": {"request": request_fingerprint(AnalyzeSettings())}})
    of_file = {"path": str(file), "object_version": file_version(file), "sha256": file_sha256(file), "size_bytes": 5}
    ids = {"video_id": "vcarol", "observation_id": "o1", "analysis_id": "a1"}
    store.commit_analysis(ids | of_file | {"settings": stored}, build_timeline(OBSERVED, TimelineConfig()))


def skip_carol(store: Store, file: Path) -> None:
    """Find the file analyzed, as a second run does."""
    context = AnalysisContext(store.root, AnalyzeSettings())
    assert (work := context.finished.find(file)) is not None
    assert skip_outcome(file, work, context).video_id == "vcarol"
    row = store.video_row("vcarol", "a1")
    assert (row.path, row.object_version) == (str(file), file_version(file))


def test_a_purged_video_is_not_found_by_an_index_that_was_read_before(store, tmp_path):
    file = tmp_path / "carol.mp4"
    analyze_carol(store, file)
    index = FinishedIndex.read(store.root, AnalyzeSettings())
    assert index.find(file) is not None
    purge(store.root, ["vcarol"])
    assert index.find(file) is None


def test_a_video_without_a_row_can_be_purged_by_its_id(store):
    shutil.rmtree(store.root / "videos" / f"video_id={ALICE}")
    for segment in store.root.glob(f"observations/video_id={ALICE}/*/segment-*"):
        os.utime(segment, (0, 0))  # as of a run that was killed long ago
    assert plan_purge(store.root, wanted=[ALICE]).video_ids == [ALICE]
    with pytest.raises(UnknownVideoError, match=r"carol\.mp4: no such video"):
        plan_purge(store.root, wanted=["carol.mp4"])
    with pytest.raises(StoreError, match="not a results folder"):
        plan_purge(store.root.parent, wanted=[ALICE])


def test_a_purged_video_gets_no_notes(store):
    purge(store.root, [ALICE])
    with pytest.raises(StoreError, match="not in the results anymore"):
        rename(store.root, ALICE, 0, "Anna")
    assert not (store.root / "notes" / f"video_id={ALICE}").exists()


def test_a_purge_waits_for_an_edit_and_removes_what_it_wrote(store):
    plan = plan_purge(store.root, wanted=[ALICE_PATH])
    purging = threading.Thread(target=purge, args=(store.root, plan.video_ids))
    with hold_video(store.root, ALICE):
        purging.start()
        purging.join(0.5)  # a purge that does not wait is over by then
        rename(store.root, ALICE, 0, "Anna")
    purging.join()
    assert_nothing_of_alice(store.root)


def test_old_videos_are_those_with_nothing_newer(store):
    now = datetime.now(UTC)
    assert plan_purge(store.root, finished_before=now - timedelta(days=1)).video_ids == []
    both = plan_purge(store.root, finished_before=now + timedelta(seconds=1))
    assert {ALICE, BOB} < set(both.video_ids)
    purge(store.root, both.video_ids)
    assert set(files(store.root)) == {"fervid.json"}
    with connect(store.root) as connection:
        assert [connection.sql(f"SELECT count(*) FROM {name}").fetchall() for name in TABLES] == [[(0,)]] * len(TABLES)


@pytest.mark.parametrize("change", [os.utime, lambda file: file.chmod(0o600)], ids=["touched", "other mode"])
def test_results_do_not_become_newer_with_their_file(store, tmp_path, change):
    file, moved = tmp_path / "carol.mp4", tmp_path / "moved.mp4"
    analyze_carol(store, file)
    analyzed = datetime.now(UTC)
    change(file)
    skip_carol(store, file)
    skip_carol(store, file.rename(moved))
    assert "vcarol" in plan_purge(store.root, finished_before=analyzed).video_ids


def test_results_of_a_restored_file_are_newer_than_those_of_what_replaced_it(store, tmp_path):
    """The file is broken for a while; its failure is reported until the next run finds the first content again."""
    file = tmp_path / "carol.mp4"
    analyze_carol(store, file)
    shown = f"SELECT status FROM videos WHERE path = '{file}' ORDER BY status"
    store.commit_failure({"video_id": "vbroken", "analysis_id": "a2", "path": str(file)}, "truncated")
    assert connect(store.root).sql(shown).fetchall() == [("done",), ("failed",)]
    replaced = datetime.now(UTC)
    os.utime(file)
    skip_carol(store, file)
    assert connect(store.root).sql(shown).fetchall() == [("done",)]
    assert "vcarol" in plan_purge(store.root, finished_before=replaced).video_ids


def purge_command(*arguments, **options):
    return fervid("purge", *arguments, **options)


def test_the_command_asks_and_says_what_it_removed(store, monkeypatch, capsys):
    before = files(store.root)
    assert purge_command(store.root).exit_code == 2
    assert purge_command(store.root, "--video", ALICE, "--older-than", "3d").exit_code == 2
    tried = purge_command(store.root, "--video", ALICE_PATH, "--dry-run")
    assert (tried.exit_code, "1 video would be removed" in tried.output) == (0, True)
    assert purge_command(store.root, "--video", ALICE_PATH, input="n\n").exit_code == 1
    assert interrupt_at_prompt(monkeypatch, "purge", store.root, "--video", ALICE_PATH) == 130
    assert "stopped: nothing was removed" in capsys.readouterr().err
    assert files(store.root) == before
    done = purge_command(store.root, "--video", ALICE_PATH, "--yes")
    assert done.exit_code == 0, done.output
    assert "1 video removed" in done.output
    assert "rows, over all analyses and failures: " in done.output
    assert "20 in faces" in done.output
    assert "10 in identities" in done.output
    assert "delete or move them, or the next analysis of their folder adds them again" in done.output
    assert_nothing_of_alice(store.root)
    assert "no such video" in purge_command(store.root, "--video", ALICE_PATH, "--yes").output
    assert "no video matches: nothing was removed" in purge_command(store.root, "--older-than", "1d").output


def test_all_videos_of_a_participant_are_removed(tmp_path):
    """Anna is named in two videos, in another spelling in one of them, and given as the participant of a third."""
    store = Store(tmp_path / "results")
    timeline = build_timeline(OBSERVED, TimelineConfig())
    for number in range(5):
        ids = {"video_id": f"v{number:016}", "analysis_id": f"a{number:016}", "path": f"/clips/{number}.mp4"}
        store.commit_analysis(ids, timeline)
    for number, name in ((0, "Anna"), (1, "anna "), (3, "Annabel")):
        rename(store.root, f"v{number:016}", 0, name)
    participants = tmp_path / "participants.csv"
    participants.write_text("path,participant\n2.mp4,Anna\n4.mp4,Ben\n")
    assert fervid("purge", store.root, "--participants", participants, "--video", "4.mp4").exit_code == 2
    unknown = fervid("purge", store.root, "--participant", "Zoe", "--yes")
    assert (unknown.exit_code, "no video of Zoe" in unknown.stderr) == (1, True)
    options = ["--participant", "Anna", "--participants", participants]
    planned = fervid("purge", store.root, *options, "--dry-run")
    assert "3 videos would be removed" in planned.output
    run = fervid("purge", store.root, *options, "--yes")
    assert (run.exit_code, "3 videos removed" in run.output) == (0, True)
    with connect(store.root) as connection:
        rest = connection.sql("SELECT path FROM videos ORDER BY path").fetchall()
    assert rest == [("/clips/3.mp4",), ("/clips/4.mp4",)]
    assert not any('Anna"' in path.read_text() for path in store.root.glob("notes/*/notes.json"))
    again = fervid("purge", store.root, *options, "--yes")
    assert (again.exit_code, "2.mp4 is not in the results" in again.stderr) == (1, True)
    assert "no video of Anna" in again.output


def test_earlier_contents_of_a_file_are_counted(store):
    """Alice's file was replaced twice, the second time by a video that had another path before."""
    for video, path in (("v2", ALICE_PATH), ("v3", "/clips/old.mp4"), ("v3", ALICE_PATH)):
        ids = {"video_id": video, "analysis_id": f"a{Path(path).stem}", "path": path}
        store.commit_analysis(ids, build_timeline(OBSERVED, TimelineConfig()))
    run = purge_command(store.root, "--video", ALICE_PATH, "--dry-run")
    lines = [f"{ALICE_PATH}: 3 videos, of which 2 had this path earlier", "/clips/old.mp4"]
    assert run.output.splitlines()[:2] == lines
    assert "3 videos would be removed" in run.output
    purge(store.root, ["v2"])
    run = purge_command(store.root, "--video", "v3", "--dry-run")
    assert run.output.splitlines()[:2] == [ALICE_PATH, "/clips/old.mp4"]
    assert "1 video would be removed" in run.output


def test_the_video_of_a_participant_is_that_which_has_the_path_now(tmp_path):
    """The first video was renamed and analyzed again before another one took its path."""
    store, timeline = Store(tmp_path / "results"), build_timeline(OBSERVED, TimelineConfig())
    for video, analysis, path in (("v1", "a1", "camera.mp4"), ("v1", "a2", "old.mp4"), ("v2", "a3", "camera.mp4")):
        store.commit_analysis({"video_id": video, "analysis_id": analysis, "path": f"/clips/{path}"}, timeline)
    participants = tmp_path / "participants.csv"
    participants.write_text("path,participant\ncamera.mp4,Anna\nold.mp4,Ben\n")
    assert videos_of_participant(store.root, "Anna", participants) == (["v2"], [])
    assert videos_of_participant(store.root, "Ben", participants) == (["v1"], [])
    store.commit_analysis({"video_id": "v3", "analysis_id": "a4", "path": "/more/old.mp4"}, timeline)
    with pytest.raises(GroupError, match=r"old\.mp4: 2 videos have this name, give a path: /clips/old"):
        videos_of_participant(store.root, "Ben", participants)
    participants.write_text("path,participant\nclips/old.mp4,Ben\n")  # a path from here, not the end of one
    assert videos_of_participant(store.root, "Ben", participants) == ([], ["clips/old.mp4"])


def test_failed_earlier_contents_of_the_file_of_a_participant_are_removed(store):
    rename(store.root, ALICE, 0, "Anna")
    broken = {"video_id": "vbroken", "observation_id": "o1", "analysis_id": "a1"}
    store.commit_failure(broken | {"path": ALICE_PATH}, "broken")
    store.commit_failure(broken | {"video_id": "vother", "path": "/clips/other.mp4"}, "broken")
    # Later, the file is replaced by one that can be analyzed.
    store.commit_analysis(
        {"video_id": ALICE, "analysis_id": "a5", "path": ALICE_PATH}, build_timeline(OBSERVED, TimelineConfig())
    )
    found = [unread_video_id(Path(ALICE_PATH)), ALICE, "vbroken"]
    assert videos_of_participant(store.root, "Anna") == (sorted(found), [])


def test_interrupted_analyses_of_the_files_of_a_participant_are_removed(store, tmp_path):
    """Without a row, they are found by the content: of a file in the table, and of one with an earlier analysis."""
    assigned, named = tmp_path / "assigned.mp4", tmp_path / "named.mp4"
    store.commit_analysis(
        {"video_id": "vearlier", "analysis_id": "a1", "path": str(named)}, build_timeline(OBSERVED, TimelineConfig())
    )
    rename(store.root, "vearlier", 0, "Anna")
    for file, content in ((assigned, b"first"), (named, b"second")):
        file.write_bytes(content)
        os.utime(store.write_segment(video_id(file_sha256(file)), "o0000000000000001", 0, OBSERVED), (0, 0))
    participants = tmp_path / "participants.csv"
    participants.write_text(f"path,participant\n{assigned},Anna\nnowhere.mp4,Anna\n")
    found, missing = videos_of_participant(store.root, "Anna", participants)
    assert found == sorted(["vearlier", *(video_id(file_sha256(file)) for file in (assigned, named))])
    assert missing == ["nowhere.mp4"]
    run = purge_command(store.root, "--participant", "Anna", "--participants", participants, "--yes")
    assert (run.exit_code, "3 videos removed" in run.output) == (0, True)


@pytest.mark.parametrize("kind", ["new", "again", "live"])
def test_a_video_that_is_being_analyzed_is_rejected_and_unchanged(store, kind):
    """Its first analysis, another one after it had finished, or a live session; nothing was written for long."""
    video, named = {"new": ("vnew", "vnew"), "again": (ALICE, ALICE_PATH), "live": ("vlive", "tcp://here@now.live")}[
        kind
    ]
    os.utime(store.write_segment(video, "o0000000000000001", 1, OBSERVED), (0, 0))
    if kind == "live":
        session = {"video_id": video, "observation_id": "o0000000000000001", "path": named, "is_running": True}
        store.commit_analysis(session | {"analysis_id": "alive"}, build_timeline(OBSERVED, TimelineConfig()))
    plan = plan_purge(store.root, wanted=[video])
    with mark_in_progress(store.root, video):
        before = files(store.root)
        run = purge_command(store.root, "--video", video, "--yes")
        assert (run.exit_code, f"{named}: an analysis or live session is running" in run.output) == (1, True)
        with pytest.raises(PurgeError, match=f"{named}: an analysis or live session is running"):
            purge(store.root, plan.video_ids)  # planned before the analysis was started
        assert files(store.root) == before
        everything = plan_purge(store.root, finished_before=datetime.now(UTC) + timedelta(days=1))
        assert video not in everything.video_ids and everything.video_ids
    purge(store.root, plan.video_ids)
    assert not any(video in path for path in files(store.root))
