"""Agreement of the labels with human codes, over all coded videos."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pandas as pd
import streamlit as st

from analytics.queries.agreement import Agreement, compare_with_codes
from analytics.queries.codes import Code, CodesError
from analytics.queries.groups import persons_of_tracks, resolve_participants
from analytics.results.videos import UnknownVideoError, short_names
from dashboard.data.codes import Codes, comparable_codes
from dashboard.data.results import Results
from dashboard.text import error_text, percent, plain
from fer_models.labels import emotion_named

PERCENT = st.column_config.NumberColumn(format="%.0f %%")
SECONDS = st.column_config.NumberColumn(format="%.1f")
TWO_DIGITS = st.column_config.NumberColumn(format="%.2f")
SUMMARY_COLUMNS = {"compared_s": "compared in s", "share_same": "same emotion", "kappa": "kappa",
                   "n_coded_events": "coded events", "n_label_events": "label events",
                   "event_f1": "F1 of onsets"}  # fmt: skip
EMOTION_COLUMNS = {"emotion": "emotion", "coded_s": "coded in s", "labelled_s": "labeled in s",
                   "precision": "precision", "recall": "recall", "event_f1": "F1 of onsets"}  # fmt: skip
FORMATS = {"compared in s": SECONDS, "same emotion": PERCENT, "kappa": TWO_DIGITS, "F1 of onsets": TWO_DIGITS,
           "coded in s": SECONDS, "labeled in s": SECONDS, "precision": PERCENT, "recall": PERCENT}  # fmt: skip


@dataclass(frozen=True, eq=False)
class LibraryAgreement:
    """Agreement over all coded videos."""

    found: Agreement
    videos: Mapping[str, str]  # the display name of each video
    persons: Mapping[tuple[str, int], str]  # as `persons_of_tracks`
    left_out: list[str]  # coded people and videos that are not compared, each with the reason


def library_agreement(results: Results, codes: Codes) -> LibraryAgreement:
    """Compare the codes of all videos with the labels.

    Raises:
        CodesError: if codes of one person overlap.
        UnknownVideoError: if a code names a video that is not in the results.
    """
    comparable: list[Code] = []
    by_video = codes.by_video(results)
    videos = results.done_videos()
    if len(videos) == 1:
        by_video[videos[0].video_id] = codes.of_video(results, videos[0].video_id)
    shown = short_names(results.videos())
    failed = by_video.keys() - {video.video_id for video in videos}
    left_out = [f"{shown[video_id]}: the analysis failed" for video_id in sorted(failed)]
    for video_id, _ in videos:
        if coded := by_video.get(video_id):
            own, reasons = comparable_codes(results, video_id, coded)
            comparable += own
            left_out += [f"{person or 'no name'} in {shown[video_id]}: {reason}" for person, reason in reasons.items()]

    def compare(connection: duckdb.DuckDBPyConnection) -> LibraryAgreement:
        found = compare_with_codes(connection, comparable, participants=resolve_participants(connection, None))
        return LibraryAgreement(found, shown, persons_of_tracks(connection), left_out)

    return results.answer(compare)


def person_table(agreement: LibraryAgreement) -> pd.DataFrame:
    """A row for each compared person; people of one name in a video have the number of their track behind it."""
    n_tracks = Counter((video_id, person) for (video_id, _), person in agreement.persons.items())
    rows = []
    for (video_id, track_id), row in zip(agreement.found.tracks, agreement.found.summary.to_pylist()[1:], strict=True):
        assert track_id is not None  # only people who have a track are compared
        person = agreement.persons[video_id, track_id]
        number = f" (P{track_id})" if n_tracks[video_id, person] > 1 else ""
        rows.append(
            {"video": agreement.videos[video_id], "person": f"{person}{number}"}
            | {title: row[name] for name, title in SUMMARY_COLUMNS.items()}
            | {"same emotion": 100 * row["share_same"] if row["compared_s"] else None}
        )
    return pd.DataFrame(rows)


def show_agreement(results: Results, codes: Codes) -> None:
    """Kappa with its interval, and the figures of each person and each emotion."""
    st.subheader("Agreement with human codes")
    n_without_video = sum(code.video is None for code in codes.codes)
    if n_without_video and len(results.done_videos()) > 1:
        st.info(f"{n_without_video} codes name no video: a column `video` would compare them here, too.")
    try:
        agreement = library_agreement(results, codes)
    except (CodesError, UnknownVideoError) as error:
        st.warning(f"{plain(codes.name)}: {error_text(error)}")
        return
    if others := sorted({code.code for code in codes.codes if emotion_named(code.code) is None}):
        st.info(plain(f"Codes that name no emotion are not compared: {', '.join(others)}."))
    if agreement.left_out:
        st.warning(plain(f"Not compared: {'; '.join(agreement.left_out)}."))
    found = agreement.found
    overall = found.summary.to_pylist()[0]
    if not overall["compared_s"]:
        st.info(f"No code of {plain(codes.name)} is an emotion of a person who has a label at the same time.")
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        st.metric("Cohen's kappa", _figure(overall["kappa"]), width="content")
        st.metric("same emotion", percent(overall["share_same"]), width="content")
        st.metric("compared", f"{overall['compared_s']:.1f} s", width="content")
        st.metric("F1 of onsets", _figure(overall["event_f1"]), width="content")
    interval = (
        f"95 % interval of kappa: {overall['low']:.2f} to {overall['high']:.2f}. " if overall["low"] is not None else ""
    )
    note = f"{overall['note']}. " if overall["note"] else ""
    st.caption(
        plain(f"{interval}{note}Only time that both codes and labels cover is compared; onsets match within 0.5 s. ")
        + "Methods: docs/statistics.md."
    )
    left, right = st.columns([4, 3])
    people = person_table(agreement)
    left.dataframe(people, hide_index=True, column_config=FORMATS, placeholder="", height="content")
    emotions = found.emotions.to_pandas()[list(EMOTION_COLUMNS)].rename(columns=EMOTION_COLUMNS)
    emotions[["precision", "recall"]] *= 100
    right.dataframe(emotions, hide_index=True, column_config=FORMATS, placeholder="", height="content")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
