"""Names, hidden people, corrections and markers: how they are stored, undone, and shown in the view `people`."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scenes import Face, feeling, observe
from scipy import stats

from analytics import connect, query
from analytics.exports import export_trials, export_videos
from analytics.exports.annotations import write_boris, write_elan, write_subtitles
from analytics.exports.folder_tables import export_table
from analytics.exports.trials import TrialDesign
from analytics.queries import (
    averages,
    compare_events,
    during_events,
    dwell,
    gate_effect,
    gate_note,
    group_timeline,
    library,
    quality,
    rates,
    shares,
    synchrony,
    timeline,
    top_moments,
    totals,
    validity,
)
from analytics.results.notes import (
    Correction,
    Marker,
    Step,
    add_steps,
    hide,
    notes_path,
    read_notes,
    rename,
    undo,
)
from analytics.results.store import Store, StoreError
from analytics.results.videos import all_videos
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.labels import EMOTIONS
from flows.cli.display import people_columns

ALICE, BOB = "v0000000000000001", "v0000000000000002"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two videos of 2 s, each with two people."""
    store = Store(tmp_path / "results")
    for video in (ALICE, BOB):
        faces = [Face(i, x=x, p=feeling("happy")) for x in (100, 400) for i in range(20)]
        row = {"video_id": video, "analysis_id": f"a{video[1:]}", "path": f"in/{video}.mp4"}
        store.commit_analysis(row, build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig()))
    return store.root


def test_steps_are_kept_and_undone_one_by_one(results: Path) -> None:
    rename(results, ALICE, 0, "  Anna ", session="one")
    rename(results, ALICE, 0, "Anne", session="two")
    hide(results, ALICE, 1, True, session="one")
    notes = read_notes(results, ALICE)
    assert (notes.names, notes.hidden) == ({0: "Anne"}, {1})
    assert [step.session for step in notes.steps] == ["one", "two", "one"]
    undo(results, ALICE, notes.steps[1].id)
    undo(results, ALICE, notes.steps[2].id)
    assert read_notes(results, ALICE).names == {0: "Anna"}
    assert read_notes(results, ALICE).hidden == frozenset()
    undo(results, ALICE, notes.steps[2].id)  # the step has already been removed
    assert len(read_notes(results, ALICE).steps) == 1


def test_markers_and_corrections_are_read_back(results: Path) -> None:
    later = {"id": "m2", "label": "ad B", "start_s": 5.0, "end_s": 6.0}
    first = {"id": "m1", "label": "ad A", "start_s": 1.0, "end_s": 2.5}
    steps = [Step("marker", later), Step("marker", first), Step("merge", 0, track_id=2), Step("split", 1.5, track_id=0)]
    add_steps(results, ALICE, steps)
    notes = read_notes(results, ALICE)
    assert notes.markers == (Marker("m1", "ad A", 1.0, 2.5), Marker("m2", "ad B", 5.0, 6.0))
    assert notes.corrections == (Correction("merge", 2, 0.0), Correction("split", 0, 1.5))
    add_steps(results, ALICE, [Step("marker", first | {"label": "ad C"}), Step("delete_marker", "m2")])
    assert read_notes(results, ALICE).markers == (Marker("m1", "ad C", 1.0, 2.5),)


def test_notes_of_version_0_1_are_read(tmp_path: Path) -> None:
    path = notes_path(tmp_path, ALICE)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"steps": [{"kind": "name", "track_id": 0, "value": "Anna", "at": "2026-11-01"}]}))
    notes = read_notes(tmp_path, ALICE)
    assert notes.names == {0: "Anna"}
    undo(tmp_path, ALICE, notes.steps[0].id)
    assert read_notes(tmp_path, ALICE).names == {}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '[{"kind": "spell", "value": 1}]',
        '[{"kind": "marker", "value": {"id": 1}}]',
        r'[{"kind": "name", "value": "A\ud83d", "track_id": 0}]',
        r'[{"kind": "marker", "value": {"id": "m", "label": "\uffff", "start_s": 0, "end_s": 1}}]',
    ],
)
def test_damaged_notes_are_named(tmp_path: Path, content: str) -> None:
    path = notes_path(tmp_path, ALICE)
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"steps": {content}}}')
    with pytest.raises(StoreError, match="the notes are damaged"):
        read_notes(tmp_path, ALICE)


def test_one_name_in_two_videos_is_one_participant(results: Path) -> None:
    rename(results, ALICE, 0, "Anna")
    rename(results, BOB, 1, "Anna")
    hide(results, BOB, 0, True)
    sql = "SELECT video_id, track_id, person, participant, is_named, is_hidden FROM people ORDER BY ALL"
    expected = [
        (ALICE, 0, "Anna", "Anna", True, False),
        (ALICE, 1, "P1", f"{ALICE}/P1", False, False),
        (BOB, 0, "P0", f"{BOB}/P0", False, True),
        (BOB, 1, "Anna", "Anna", True, False),
    ]
    assert connect(results).sql(sql).fetchall() == expected
    assert [tuple(row.values()) for row in query(results, sql).to_pylist()] == expected


def test_people_without_notes_have_the_names_of_their_tracks(results: Path) -> None:
    assert connect(results).sql("SELECT DISTINCT person FROM people ORDER BY 1").fetchall() == [("P0",), ("P1",)]


@pytest.fixture
def edited(results: Path) -> Path:
    """In the first video, P0 is called Anna and P1 is hidden."""
    rename(results, ALICE, 0, "Anna")
    hide(results, ALICE, 1, True)
    return results


def test_names_are_in_exports_and_hidden_people_in_none(edited: Path, tmp_path: Path) -> None:
    connection = connect(edited)
    video = next(video for video in all_videos(connection) if video.video_id == ALICE)
    write_boris(connection, video, tmp_path / "boris.tsv", escape_formulas=True, name="a.mp4")
    write_elan(connection, video, tmp_path / "elan.eaf")
    write_subtitles(connection, video, tmp_path / "subtitles.srt", "srt")
    for name in ("boris.tsv", "elan.eaf", "subtitles.srt"):
        text = (tmp_path / name).read_text()
        assert "Anna" in text
        assert "P1" not in text


def test_names_with_markup_and_control_characters_are_exported(results: Path, tmp_path: Path) -> None:
    """XML cannot contain control characters, and braces and angle brackets are markup in subtitles."""
    rename(results, ALICE, 0, "A\x01nna {b} <i> & co\n")
    connection = connect(results)
    video = next(video for video in all_videos(connection) if video.video_id == ALICE)
    write_elan(connection, video, tmp_path / "elan.eaf")
    assert ElementTree.parse(tmp_path / "elan.eaf").find("TIER").get("TIER_ID") == "Anna {b} <i> & co"
    for form, name in (("srt", "Anna {b} <i> & co"), ("vtt", "Anna {b} &lt;i&gt; &amp; co")):
        write_subtitles(connection, video, tmp_path / f"a.{form}", form)
        assert f"\n{name} happy " in (tmp_path / f"a.{form}").read_text()


def test_the_table_of_a_run_names_people_and_shows_no_hidden_ones(edited: Path) -> None:
    assert people_columns(connect(edited), [ALICE, BOB, "v9"]) == {
        ALICE: (1, "Anna happy 100 %", 0),
        BOB: (2, "P0 happy 100 %; P1 happy 100 %", 0),
        "v9": (0, None, 0),
    }


@pytest.mark.parametrize(("form", "column"), [("csv", "person"), ("fex", "Identity")])
def test_tables_of_faces_have_names_and_no_hidden_people(edited: Path, tmp_path: Path, form: str, column: str) -> None:
    (path,) = export_videos(edited, tmp_path, form, wanted=[ALICE])
    rows = pd.read_csv(path)
    assert rows[column].tolist() == ["Anna"] * 20


@pytest.mark.parametrize("name", ["tracks", "episodes", "frames"])
def test_folder_tables_have_names_and_no_hidden_people(edited: Path, tmp_path: Path, name: str) -> None:
    rows = pd.read_csv(export_table(edited, name, tmp_path / f"{name}.csv"))
    assert set(rows[rows.video == f"{ALICE}.mp4"].person) == {"Anna"}
    assert set(rows[rows.video == f"{BOB}.mp4"].person) == {"P0", "P1"}


def test_trials_have_named_participants_and_no_hidden_people(edited: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(export_trials(edited, tmp_path / "trials.csv", TrialDesign(bin_ms=2000)))
    people = rows[["participant", "person", "track_id"]].drop_duplicates().itertuples(index=False, name=None)
    video = f"in/{BOB}.mp4"
    assert sorted(people) == [("Anna", "Anna", 0), (video, "P0", 0), (video, "P1", 1)]


def test_figures_have_names_and_no_hidden_people(edited: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures are drawn with Matplotlib")
    (path,) = export_videos(edited, tmp_path, "svg", wanted=[ALICE])
    text = path.read_text(encoding="utf-8")
    assert "<!-- Anna -->" in text
    assert "<!-- P1 -->" not in text
    rename(edited, ALICE, 0, "$50% vs $60%")  # no formula
    (path,) = export_videos(edited, tmp_path / "dollars", "svg", wanted=[ALICE])
    assert "<!-- $50% vs $60% -->" in path.read_text(encoding="utf-8")


def test_hidden_people_are_in_no_summary(edited: Path, tmp_path: Path) -> None:
    """Each of the four people is happy for 2 s; one is hidden."""
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0.5,1,a\n1,2,b\n")
    with connect(edited) as connection:
        assert shares(connection)["person"].to_pylist() == ["Anna", "P0", "P1"]
        assert shares(connection, all_faces=True)["person"].to_pylist() == ["Anna", "P0", "P1"]
        assert library(connection)["labelled_s"].to_pylist()[0] == pytest.approx(6)
        (counts,) = totals(connection).to_pylist()
        assert (counts["n_tracks"], counts["n_episodes"]) == (3, 3)
        assert len(set(zip(*(timeline(connection)[n].to_pylist() for n in ("path", "track_id")), strict=True))) == 3
        assert sorted(top_moments(connection, "happy")["person"].to_pylist()) == ["Anna", "P0", "P1"]
        assert dwell(connection)["n_tracks"].to_pylist() == [3]
        assert rates(connection)["n"].to_pylist()[EMOTIONS.index("happy")] == 3
        assert validity(connection)["person"].to_pylist() == ["Anna", "P0", "P1"]
        assert quality(connection)["n_faces"].to_pylist() == [60]
        assert gate_effect(connection)["all_faces_s"].to_pylist() == pytest.approx([6])
        assert gate_note(connection) == "0 of 60 faces are low-quality faces."
        assert during_events(connection, events)["person"].to_pylist() == ["Anna", "Anna", "P0", "P1", "P0", "P1"]
        assert set(compare_events(connection, events)["n_tracks_a"].to_pylist()) == {3}
        assert averages(connection, events, bin_ms=500, before_s=0.5)["n_participants"].to_pylist()[0] == 2
        assert synchrony(connection)["path"].to_pylist() == [f"in/{BOB}.mp4"]


def test_the_mean_timeline_of_a_group_is_over_participants_without_hidden_people(results: Path) -> None:
    """Anna is in both videos: they are one participant, and the other person of the second video is another one."""
    rename(results, ALICE, 0, "Anna")
    hide(results, ALICE, 1, True)
    rename(results, BOB, 0, "Anna")
    spans = pa.table({"group": ["g", "g"], "video_id": [ALICE, BOB], "start_s": [0.0, 0.0], "end_s": [2.0, 2.0]})
    with connect(results) as connection:
        (row,) = group_timeline(connection, spans, bin_ms=2000).to_pylist()
    assert (row["n_videos"], row["n_participants"], row["n_people"]) == (2, 2, 3)
    assert (row["mean_happy"], row["error_happy"]) == (pytest.approx(1, abs=0.01), pytest.approx(0, abs=0.01))


def test_participants_that_are_given_are_those_of_the_mean_timeline(results: Path) -> None:
    rename(results, ALICE, 0, "Anna")
    spans = pa.table({"group": ["g", "g"], "video_id": [ALICE, BOB], "start_s": [0.0, 0.0], "end_s": [2.0, 2.0]})
    with connect(results) as connection:
        (of_names,) = group_timeline(connection, spans, bin_ms=2000).to_pylist()
        (same,) = group_timeline(connection, spans, participants={ALICE: "Cy", BOB: "Cy"}, bin_ms=2000).to_pylist()
        (one,) = group_timeline(connection, spans, participants={ALICE: "Cy"}, bin_ms=2000).to_pylist()
    assert of_names["n_participants"] == 3  # Anna, the other person of the video, and the second video
    assert (same["n_participants"], same["error_happy"]) == (1, None)
    assert one["n_participants"] == 2


def test_the_mean_timeline_of_a_group_is_the_same_in_batches(tmp_path: Path) -> None:
    """Four videos, each a batch of its own: Anna is in all of them, beside others; by hand from the faces."""
    store = Store(tmp_path / "results")
    levels = {1: (0.2, 0.4), 2: (0.6, 0.8), 3: (0.9, 0.3), 4: (0.5, 0.7)}
    for number, of_people in levels.items():
        faces = [
            Face(i, x=x, p=feeling("happy", p)) for i in range(20) for x, p in zip((100, 500), of_people, strict=True)
        ]
        ids = {
            "video_id": f"v{number:016}",
            "analysis_id": f"a{number}",
            "path": f"{number}.mp4",
            "n_frames": 1_000_000,
        }
        store.commit_analysis(ids, build_timeline(observe(np.arange(20) / 10, faces), TimelineConfig()))
        rename(store.root, f"v{number:016}", 0, "Anna")
    ids = [f"v{number:016}" for number in levels]
    spans = pa.table({"group": ["g"] * 4, "video_id": ids, "start_s": [0.0] * 4, "end_s": [2.0] * 4})
    with connect(store.root) as connection:
        (of_names,) = group_timeline(connection, spans, bin_ms=2000).to_pylist()
        (given,) = group_timeline(connection, spans, participants={ids[0]: "p", ids[3]: "p"}, bin_ms=2000).to_pylist()
    means = [np.mean([anna for anna, _ in levels.values()]), *(other for _, other in levels.values())]
    assert (of_names["n_videos"], of_names["n_participants"], of_names["n_people"]) == (4, 5, 8)
    assert of_names["mean_happy"] == pytest.approx(np.mean(means), abs=1e-3)
    assert of_names["error_happy"] == pytest.approx(stats.sem(means), abs=1e-3)
    # p is everybody in the first and the last video; Anna and one more person are in each of the others
    means = [np.mean([0.3, 0.6]), np.mean([0.6, 0.9]), 0.8, 0.3]
    assert (given["n_videos"], given["n_participants"], given["n_people"]) == (4, 4, 8)
    assert given["mean_happy"] == pytest.approx(np.mean(means), abs=1e-3)
    assert given["error_happy"] == pytest.approx(stats.sem(means), abs=1e-3)


def test_the_mean_timeline_of_nobody_is_empty(results: Path) -> None:
    for track_id in (0, 1):
        hide(results, ALICE, track_id, True)
    spans = pa.table({"group": ["g"], "video_id": [ALICE], "start_s": [0.0], "end_s": [2.0]})
    with connect(results) as connection:
        assert group_timeline(connection, spans).num_rows == 0


def test_hidden_people_are_in_no_comparison(results: Path) -> None:
    assert shares(connect(results)).select(["path", "track_id"]).num_rows == 4
    hide(results, ALICE, 1, True)
    shown = shares(connect(results)).select(["path", "track_id"]).to_pylist()
    assert {"path": f"in/{ALICE}.mp4", "track_id": 1} not in shown
    assert len(shown) == 3


def test_sql_can_leave_out_hidden_people(edited: Path) -> None:
    sql = "SELECT count(*) AS n FROM tracks UNION ALL SELECT count(*) FROM visible('tracks')"
    assert query(edited, sql)["n"].to_pylist() == [4, 3]
