"""Static timelines of a video as PNG or SVG, for papers: a panel for each person."""

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from analytics.exports.annotations import people_of
from analytics.results.video_record import VideoRecord
from analytics.results.videos import file_name
from analytics.tables.arrow_utils import to_float_array
from analytics.time_tolerance import is_longer
from fer_models.labels import EMOTION_COLORS, EMOTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PEOPLE = 8  # maximum number of people in a figure: those with the most good faces
BRIDGED_S = 0.5  # longest time without a label over which lines go on
MAX_POINTS = 1000  # maximum number of points of a line; longer videos are averaged over time bins
# Width of a figure, which is that of two journal columns, and height of the panel of one person.
WIDTH_IN, PANEL_IN = 7.0, 1.4
_LABELED = """
SELECT track_id FROM visible('tracks') WHERE video_id = $video_id AND emotion IS NOT NULL
ORDER BY n_faces_ok DESC, track_id LIMIT $n
"""
_POINTS = f"""
SELECT min(pts_s) AS start_s, max(pts_s + duration_s) AS end_s,
    {", ".join(f"sum(smooth_{e} * duration_s) / sum(duration_s) AS {e}" for e in EMOTIONS)}
FROM faces WHERE video_id = $video_id AND track_id = $track_id AND smooth_emotion IS NOT NULL
GROUP BY floor(round(pts_s * 1000) / $bin_ms) ORDER BY start_s
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
        _draw_person(panel, points, names[track_id])
    if not found:
        reason = "a still image has no timeline" if video.is_still_image else "no person has a label"
        panels[0].text(0.5, 0.5, reason, ha="center", transform=panels[0].transAxes)
    else:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(EMOTIONS), fontsize=7
        )
    panels[-1].set_xlabel("time in the video (s)")
    panels[-1].set_xlim(0, duration_s)
    title = "".join(filter(str.isprintable, file_name(video.path)))  # XML cannot contain control characters
    figure.savefig(path, format=form, metadata={"Title": title})


def _draw_person(panel: "Axes", points: pa.Table, name: str) -> None:
    t_s, probabilities = lines_of(points)
    for emotion, values in zip(EMOTIONS, probabilities.T, strict=True):
        panel.plot(t_s, values, color=EMOTION_COLORS[emotion], linewidth=1.2, label=emotion)
    panel.set_ylim(0, 1)
    panel.set_ylabel(f"{name}\nprobability", fontsize=8, parse_math=False)  # names may contain dollar signs
    panel.spines[["top", "right"]].set_visible(False)


def lines_of(points: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Time (n,) and probabilities (n, 7) of lines that end with the last frame before a time without a label.

    Args:
        points: start_s, end_s and a column per emotion, a row per frame or time bin.

    >>> stretches = {"start_s": [0.0, 1.1, 9.0], "end_s": [0.6, 2.0, 10.0]}
    >>> lines_of(pa.table(stretches | dict.fromkeys(EMOTIONS, [0.1, 0.2, 0.3])))[0].tolist()
    [0.0, 1.1, 2.0, nan, 9.0, 10.0]
    """
    start_s, end_s = to_float_array(points, "start_s", "end_s").T
    probabilities = to_float_array(points, *EMOTIONS)
    first = np.flatnonzero(is_longer(start_s[1:] - end_s[:-1], BRIDGED_S)) + 1  # the rows that begin a new line
    last = np.append(first - 1, len(points) - 1)
    t_s = np.insert(start_s, last + 1, end_s[last])
    values = np.insert(probabilities, last + 1, probabilities[last], axis=0)
    breaks = first + np.arange(1, len(first) + 1)  # after the end of each line that was inserted before it
    return np.insert(t_s, breaks, np.nan), np.insert(values, breaks, np.nan, axis=0)
