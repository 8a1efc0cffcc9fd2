"""Static timelines of a video as PNG or SVG, for papers: a panel for each person."""

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from analytics.exports.annotations import people_of
from analytics.results.video_record import VideoRecord
from analytics.tables.arrow_utils import to_float_array
from fer_models.labels import EMOTION_COLORS, EMOTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PEOPLE = 8  # maximum number of people in a figure: those with the most good faces
MAX_POINTS = 1000  # maximum number of points of a line; longer videos are averaged over time bins
# Width of a figure, which is that of two journal columns, and height of the panel of one person.
WIDTH_IN, PANEL_IN = 7.0, 1.4
_LABELED = """
SELECT track_id FROM visible('tracks') WHERE video_id = $video_id AND emotion IS NOT NULL
ORDER BY n_faces_ok DESC, track_id LIMIT $n
"""
_POINTS = f"""
WITH shown AS (
    SELECT *, unnest(time_bins(pts_s, pts_s + duration_s, $bin_ms)) AS bin,
        seconds_in_bin(pts_s, pts_s + duration_s, bin, $bin_ms) AS shown_s
    FROM faces WHERE video_id = $video_id AND track_id = $track_id AND smooth_emotion IS NOT NULL
)
SELECT bin * $bin_ms / 1000 AS t_s, {", ".join(f"sum(smooth_{e} * shown_s) / sum(shown_s) AS {e}" for e in EMOTIONS)}
FROM shown WHERE shown_s > 0 GROUP BY bin ORDER BY bin
"""


def write_figure(connection: duckdb.DuckDBPyConnection, video: VideoRecord, path: Path, form: str) -> None:
    """Draw the smoothed probabilities of each person of a video over time, without hidden people.

    Args:
        connection: the results.
        video: the row of the table `videos`.
        path: the file to write.
        form: "png" or "svg".
    """
    from matplotlib.figure import Figure  # imported here because matplotlib is an optional dependency

    duration_s = max(float(video.duration_s or 0), 1e-3)
    values = {"video_id": video.video_id}
    found = connection.execute(_LABELED, values | {"n": MAX_PEOPLE}).fetchall()
    names = people_of(connection, video.video_id)
    bin_ms = max(1.0, duration_s * 1000 / MAX_POINTS)
    figure = Figure(figsize=(WIDTH_IN, 0.9 + PANEL_IN * max(1, len(found))), dpi=200, layout="constrained")
    panels = figure.subplots(max(1, len(found)), sharex=True, squeeze=False)[:, 0]
    for panel, (track_id,) in zip(panels, found, strict=False):
        points = connection.sql(_POINTS, params=values | {"track_id": track_id, "bin_ms": bin_ms}).to_arrow_table()
        _draw_person(panel, points, names[track_id], bin_ms / 1000)
    if not found:
        panels[0].text(0.5, 0.5, "no person has a label", ha="center", transform=panels[0].transAxes)
    else:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(EMOTIONS), fontsize=7
        )
    panels[-1].set_xlabel("time in the video (s)")
    panels[-1].set_xlim(0, duration_s)
    figure.savefig(path, format=form, metadata={"Title": Path(video.path).name})


def _draw_person(panel: "Axes", points: pa.Table, name: str, bin_s: float) -> None:
    t_s = to_float_array(points, "t_s").ravel()
    probabilities = to_float_array(points, *EMOTIONS)
    # Break the lines at times without a label.
    gaps = np.flatnonzero(np.diff(t_s) > max(0.5, 3 * bin_s)) + 1
    t_s, probabilities = np.insert(t_s, gaps, np.nan), np.insert(probabilities, gaps, np.nan, axis=0)
    for emotion, values in zip(EMOTIONS, probabilities.T, strict=True):
        panel.plot(t_s, values, color=EMOTION_COLORS[emotion], linewidth=1.2, label=emotion)
    panel.set_ylim(0, 1)
    panel.set_ylabel(f"{name}\nprobability", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
