"""Create a large synthetic results folder and time typical queries on it.

    .venv/bin/python benchmarks/library.py make FOLDER --videos 1000 --faces 10_000_000
    .venv/bin/python benchmarks/library.py time FOLDER

The rows come from Fervid's pass 2 over simulated observations (faces that move, turn away, blink, speak and change
their emotion), and are written by its store. Only a few different videos are simulated; each is written under many ids.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from analytics import connect, queries
from analytics.results.store import Store
from analytics.results.video_rows import ROWS_CACHE
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.timeline.observations import observations_table
from fer_models.frame_batch import FaceBatch, FaceLandmarks
from fer_models.labels import EMOTIONS
from fer_models.observation import Observation

FPS = 25
N_DIFFERENT = 2  # number of different videos, which the library repeats under other ids
WIDTH_PX, HEIGHT_PX = 1280, 720
REPEATS = 3
# Measures of landmarks: mean, standard deviation of slow changes, and noise from frame to frame, as in real videos of a
# person who faces the camera. Blinks and speech are added.
MEASURES = {
    "landmark_score": (0.95, 0.02, 0.002),
    "eye_openness_left": (0.3, 0.03, 0.006),
    "eye_openness_right": (0.3, 0.03, 0.006),
    "mouth_opening": (0.03, 0.02, 0.005),
    "mouth_width": (0.6, 0.05, 0.007),
    "mouth_corner_height": (0.03, 0.02, 0.003),
    "brow_height": (0.24, 0.01, 0.003),
    "head_yaw_deg": (0.0, 8.0, 0.5),
    "head_pitch_deg": (3.0, 4.0, 0.4),
    "head_roll_deg": (0.0, 5.0, 0.3),
}


def simulated_timeline(n_faces: int, rng: np.random.Generator) -> Timeline:
    """Build the tables of a simulated video of two moving people with `n_faces` rows of faces."""
    n_frames = -(-n_faces // 2)
    frame = np.repeat(np.arange(n_frames), 2)[:n_faces]
    person = np.arange(n_faces) % 2
    drift_px = 60 * np.sin(frame / 200 + person) + rng.normal(0, 1, n_faces)
    center = np.stack([320 + 640 * person + drift_px, 360 + rng.normal(0, 1, n_faces)], axis=1)
    half = 50 + 10 * np.sin(frame / 900)[:, None] + rng.normal(0, 0.5, (n_faces, 1))
    eyes_and_mouth = np.array([(-0.4, -0.4), (0.4, -0.4), (0, 0), (-0.4, 0.4), (0.4, 0.4)])
    # For 5 % of the faces, the nose is far to one side, so that the quality filter rejects them.
    turned = 0.6 * (rng.random(n_faces) < 0.05)
    landmarks = center[:, None] + half[:, None] * eyes_and_mouth + rng.normal(0, 1, (n_faces, 5, 2))
    landmarks[:, 2, 0] += turned * half[:, 0]
    return build_timeline(
        observations_table(
            Observation(
                frame_index=np.arange(n_frames),
                pts_s=np.arange(n_frames) / FPS,
                decoded=np.ones(n_frames, bool),
                thumbnail_rgb=np.full((n_frames, 48), 90, np.uint8),
                faces=FaceBatch(
                    frame,
                    np.concatenate([center - half, center + half], axis=1).astype(np.float32),
                    landmarks.astype(np.float32),
                    rng.uniform(0.6, 1, n_faces).astype(np.float32),
                ),
                probabilities=_moods(frame, rng),
                blur=rng.gamma(4, 60, n_faces),
                brightness=rng.normal(120, 15, n_faces),
                cut_off=np.zeros(n_faces),
                landmarks=_landmark_measures(frame, person, rng),
            )
        ),
        TimelineConfig(),
    )


def _moods(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate probabilities `(m, 7)` whose most likely emotion changes every few seconds."""
    mood = rng.choice(len(EMOTIONS), (frame.max() // (3 * FPS) + 1, 2), p=[0.05, 0.02, 0.03, 0.3, 0.1, 0.05, 0.45])
    score = rng.normal(0, 1, (len(frame), len(EMOTIONS)))
    score[np.arange(len(frame)), mood[frame // (3 * FPS), np.arange(len(frame)) % 2]] += 4
    odds = np.exp(score)
    return odds / odds.sum(1, keepdims=True)


def _landmark_measures(frame: np.ndarray, person: np.ndarray, rng: np.random.Generator) -> FaceLandmarks:
    """Simulate the movements of faces `(m,)`: a blink every 4 s, and speech in 5 of every 10 s."""
    time_s = frame / FPS + 5 * person
    measures = {}
    for name, (mean, slow, noise) in MEASURES.items():
        period_s = rng.uniform(3, 20, 2)[person]
        change = slow * np.sqrt(2) * np.sin(2 * np.pi * time_s / period_s)
        measures[name] = mean + change + rng.normal(0, noise, len(frame))
    speech = np.where(time_s % 10 < 5, 0.08 * (1 - np.cos(2 * np.pi * 3 * time_s)), 0)
    measures["mouth_opening"] = np.maximum(measures["mouth_opening"], 0) + speech
    is_blink = time_s % 4 < 0.16
    for side in ("left", "right"):
        measures[f"eye_openness_{side}"][is_blink] = 0.05
    return FaceLandmarks(**{name: values.astype(np.float32) for name, values in measures.items()})


def make_library(root: Path, n_videos: int, n_faces: int) -> None:
    """Write a results folder of `n_videos` videos with about `n_faces` face rows in all."""
    store, rng = Store(root), np.random.default_rng(0)
    timelines = [simulated_timeline(n_faces // n_videos, rng) for _ in range(min(N_DIFFERENT, n_videos))]
    for video in range(n_videos):
        row = {
            "video_id": f"v{video:016x}",
            "analysis_id": f"a{video:016x}",
            "observation_id": f"o{video:016x}",
            "path": f"/library/{video % 20:02d}/video-{video:06d}.mp4",
            "duration_s": n_faces / n_videos / 2 / FPS,
            "n_frames": n_faces // n_videos // 2,
            "started_at": datetime.now(UTC),
        }
        store.commit_analysis(row, timelines[video % len(timelines)])


def measure(root: Path) -> None:
    """Print the wall time and the CPU time of each query: the best of some repeats, in seconds."""
    connection = connect(root)
    (n_faces,) = connection.sql("SELECT sum(n_faces) FROM tracks").fetchall()[0]
    videos = connection.sql("SELECT video_id, path FROM videos ORDER BY video_id").fetchall()
    video_id, path = videos[len(videos) // 2]
    files = list((root / "faces").rglob("*.parquet")) or list((root / "compacted").rglob("faces.parquet"))
    size_bytes = sum(file.stat().st_size for file in files)
    print(f"{len(videos)} videos, {n_faces} faces, {size_bytes / n_faces:.0f} bytes per face in table faces")
    one = f"WHERE video_id = '{video_id}'"

    def ask(sql: str) -> Callable[[], object]:
        return lambda: connection.sql(sql).to_arrow_table()

    questions: dict[str, Callable[[], object]] = {
        "connect, nothing remembered": lambda: ((root / ROWS_CACHE).unlink(missing_ok=True), connect(root)),
        "connect": lambda: connect(root),
        "list of videos, first page": ask("SELECT path, status, duration_s FROM videos ORDER BY path LIMIT 50"),
        "one video: its tracks": ask(f"SELECT * FROM tracks {one}"),
        "one video: a curve, one point per s": ask(f"SELECT pts_s // 1, avg(smooth_happy) FROM faces {one} GROUP BY 1"),
        "one video: a minute of it": ask(f"SELECT * FROM faces {one} AND pts_s BETWEEN 60 AND 120"),
        "one video: all its faces": ask(f"SELECT * FROM faces {one}"),
        "one video: timeline, by path": lambda: queries.timeline(connect(root, video=path)),
        "library: time per emotion, of tracks": lambda: queries.library(connection),
        "library: faces per emotion": ask("SELECT smooth_emotion, count(*) FROM faces GROUP BY 1"),
        "library: time per emotion, of faces": ask("SELECT smooth_emotion, sum(duration_s) FROM faces GROUP BY 1"),
        "library: top moments": lambda: queries.top_moments(connection, "happy"),
        "library: shares of all people": lambda: queries.shares(connection),
        "library: quality": lambda: queries.quality(connection),
    }
    for name, question in questions.items():
        seconds = []
        for _ in range(REPEATS):
            started_s, started_cpu_s = time.perf_counter(), time.process_time()
            question()
            seconds.append((time.perf_counter() - started_s, time.process_time() - started_cpu_s))
        print(f"{name:40} {min(s for s, _ in seconds):8.3f} s, {min(s for _, s in seconds):8.3f} s of all cores")


def main() -> None:
    """Create a library, or time queries on one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("folder", type=Path)
    make.add_argument("--videos", type=int, default=1000)
    make.add_argument("--faces", type=int, default=10_000_000)
    commands.add_parser("time").add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make_library(given.folder, given.videos, given.faces)
    else:
        measure(given.folder)


if __name__ == "__main__":
    main()
