"""Page Moments: the strongest episodes of each emotion across the library."""

from typing import Any

import streamlit as st

from dashboard.data.results import current_results
from dashboard.widgets.charts import clock
from dashboard.widgets.tables import choose_row
from fer_models.labels import EMOTIONS

MOST = 200
MOMENTS_SQL = """
    SELECT video_id, parse_filename(path) AS video, track_id, emotion, start_s, end_s, apex_s, duration_s, peak, mean,
        n_faces_ok / nullif(n_faces, 0) AS good
    FROM (
        SELECT episodes.*, videos.path, tracks.n_faces, tracks.n_faces_ok
        FROM episodes JOIN videos USING (video_id) JOIN tracks USING (video_id, track_id)
    )
    WHERE list_contains($emotions, emotion) AND duration_s >= $shortest_s
        AND coalesce(n_faces_ok / nullif(n_faces, 0), 0) >= $good
        AND contains(lower(path), lower($search))
    ORDER BY peak DESC, duration_s DESC LIMIT $most
"""


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Moments")
    left, middle, right, far = st.columns(4)
    emotions = left.multiselect("Emotions", EMOTIONS, default=[name for name in EMOTIONS if name != "neutral"])
    search = middle.text_input("Video", placeholder="part of a file's name or folder")
    shortest_s = right.slider("At least this long, in s", 0.0, 10.0, 0.5, 0.1)
    good = far.slider("At least this share of the person's faces good", 0.0, 1.0, 0.5, 0.05)
    rows = results.ask(
        MOMENTS_SQL, emotions=emotions, search=search, shortest_s=shortest_s, good=good, most=MOST
    ).to_pandas()
    if rows.empty:
        st.info("No episode fits; ask for shorter ones, or for more emotions.")
        return
    found = "One episode fits" if len(rows) == 1 else f"The {len(rows)} strongest by peak probability"
    st.caption(f"{found}. Choose one to see it.")
    rows["person"] = [f"P{track_id}" for track_id in rows["track_id"]]
    rows["at"] = rows["apex_s"].map(clock)
    columns: dict[str, Any] = {
        "emotion": "emotion",
        "peak": st.column_config.ProgressColumn("peak probability", min_value=0, max_value=1, format="%.2f"),
        "video": "video",
        "person": "person",
        "at": "peak at",
        "duration_s": st.column_config.NumberColumn("duration in s", format="%.2f"),
        "good": st.column_config.NumberColumn("good faces", format="percent"),
    }
    row = choose_row(rows, columns, "moments_table")
    if row is not None:
        before_s = max(0.0, row["apex_s"] - 1)
        st.switch_page("views/timeline.py", query_params={"video": row["video_id"], "t": f"{before_s:.2f}"})


if __name__ == "__main__":
    main()
