"""Draw the figure of the README: frames of an analyzed video with its faces, above each person's emotion timeline.

.venv/bin/python docs/timeline_image.py demo/results demo/videos/hopper_cut.mp4 docs/timeline.png
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analytics import connect
from fer_models import EMOTIONS, read_frames
from fer_models.labels import EMOTION_COLORS

N_FRAMES = 5


def draw(results: Path, video: Path, out: Path) -> None:
    """Write the figure of one video of the results as PNG."""
    connection = connect(results)
    of_video = "video_id = (SELECT video_id FROM videos WHERE path LIKE ?)"
    faces = connection.execute(f"SELECT * FROM faces WHERE {of_video} ORDER BY pts_s", [f"%{video.name}"]).df()
    tracks = sorted(faces.track_id.dropna().unique())
    figure = plt.figure(figsize=(13, 3.2 + 1.3 * len(tracks)), layout="constrained")
    grid = figure.add_gridspec(1 + len(tracks), N_FRAMES, height_ratios=[2.2, *[1.0] * len(tracks)])
    index = np.concatenate([batch.frame_index for batch in read_frames(video)])
    wanted = index[np.linspace(0, len(index) - 1, N_FRAMES + 2).astype(int)[1:-1]]
    place = 0
    for batch in read_frames(video):
        for pixels, frame_index, pts_s in zip(batch.pixels, batch.frame_index, batch.pts_s, strict=True):
            if frame_index in wanted:
                draw_frame(figure.add_subplot(grid[0, place]), pixels, pts_s, faces[faces.frame_index == frame_index])
                place += 1
    for row, track in enumerate(tracks, 1):
        draw_timeline(figure.add_subplot(grid[row, :]), faces[faces.track_id == track], int(track), faces.pts_s.max())
    handles = [Rectangle((0, 0), 1, 1, color=EMOTION_COLORS[emotion]) for emotion in EMOTIONS]
    figure.legend(handles, EMOTIONS, ncols=7, loc="outside lower center", frameon=False)
    figure.savefig(out, dpi=90)


def draw_frame(axes: Axes, pixels: np.ndarray, pts_s: float, faces: object) -> None:
    """One frame with a box and a label for each face."""
    axes.imshow(pixels)
    axes.set_title(f"{pts_s:.2f} s", fontsize=9)
    axes.axis("off")
    for face in faces.itertuples():  # type: ignore[attr-defined]
        color = EMOTION_COLORS[face.emotion]
        corner, size = (face.x1_px, face.y1_px), (face.x2_px - face.x1_px, face.y2_px - face.y1_px)
        axes.add_patch(Rectangle(corner, *size, fill=False, color=color, linewidth=2))
        label = f"P{face.track_id:.0f} {face.emotion} {face.p_max:.2f}"
        style = {"facecolor": color, "edgecolor": "none", "pad": 1.5}
        axes.text(face.x1_px, face.y1_px - 8, label, fontsize=8, color="white", bbox=style)


def draw_timeline(axes: Axes, faces: object, track: int, end_s: float) -> None:
    """The smoothed probabilities of one person over time, stacked on neutral."""
    upwards = EMOTIONS[::-1]
    smooth = [faces[f"smooth_{emotion}"] for emotion in upwards]  # type: ignore[index]
    axes.stackplot(faces.pts_s, smooth, colors=[EMOTION_COLORS[emotion] for emotion in upwards])  # type: ignore[attr-defined]
    axes.set(xlim=(0, end_s), ylim=(0, 1), ylabel=f"P{track}", xlabel="time (s)", yticks=[0, 1])


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:4]))
