"""Measure memory and open files of `fervid analyze` on one long video and on a folder of many short ones.

    python -m benchmarks.soak --hours 6 --clips 2000

The long video is a clip repeated without encoding it again; the short ones are copies of that clip, each with different
content. While the command runs, its memory and open files are read from /proc and printed. The summary has their values
at the first and the last sample and their maximum. Prefect's temporary server is another process, and not included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.derived_videos import run_ffmpeg, write_copies

# A line is printed for every tenth sample.
SAMPLES_PER_LINE = 10


@dataclass(frozen=True)
class Sample:
    """Memory and open files of a process at one moment."""

    at_s: float
    memory_mib: float
    n_files: int


def make_clip(path: Path, seconds: int, fps: int, size: str) -> None:
    """Write a moving test pattern with many edges and without faces, as H.264."""
    run_ffmpeg("-f", "lavfi", "-i", f"mandelbrot=size={size}:rate={fps}", "-t", seconds, "-pix_fmt", "yuv420p", path)


def watch(command: list[str], results: Path, every_s: float) -> tuple[list[Sample], dict[str, int]]:
    """Run a command; return samples of its process from the first segment on, and its counts."""
    started_s = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        run = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        process, samples = psutil.Process(run.pid), []
        while run.poll() is None:
            time.sleep(every_s)
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    break
                memory_mib, n_files = process.memory_info().rss / 2**20, process.num_fds()
            if next((results / "observations").rglob("segment-*.parquet"), None) is None:
                continue
            samples.append(Sample(time.monotonic() - started_s, memory_mib, n_files))
            if len(samples) % SAMPLES_PER_LINE == 1:
                print(f"{samples[-1].at_s:8.0f} s {memory_mib:8.0f} MiB {n_files:4d} open files", flush=True)
        if run.wait():
            raise SystemExit(f"exit code {run.returncode}")
        output.seek(0)
        done = json.load(output)["videos"]
    return samples, {"videos": len(done), "frames": sum(video["n_frames"] for video in done)}


def soak(name: str, inputs: Path, results: Path, every_s: float, options: list[str]) -> None:
    """Analyze the inputs, and print memory and open files over time."""
    command = [str(Path(sys.executable).with_name("fervid")), "analyze", str(inputs), "--out", str(results), "--json"]
    samples, done = watch([*command, *options], results, every_s)
    memory_mib, n_files = [sample.memory_mib for sample in samples], [sample.n_files for sample in samples]
    print(
        f"{name}: {done['videos']} videos, {done['frames']:,} frames in {samples[-1].at_s:.0f} s: memory "
        f"{memory_mib[0]:.0f} MiB at the start, {max(memory_mib):.0f} at most, {memory_mib[-1]:.0f} at the end; "
        f"open files {n_files[0]} at the start, {max(n_files)} at most, {n_files[-1]} at the end",
        flush=True,
    )


def main() -> None:
    """Make the videos, then analyze them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0, help="of the long video")
    parser.add_argument("--clips", type=int, default=2000, help="short ones")
    parser.add_argument("--fps", type=int, default=5, help="of all of them")
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="sampling interval")
    parser.add_argument("--clip", type=Path, help="use this clip instead of one without faces")
    options, of_fervid = parser.parse_known_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = options.clip or folder / "clip.mp4"
        if options.clip is None:
            make_clip(clip, 4, options.fps, options.size)
        if options.hours:
            long = folder / "long.mp4"
            run_ffmpeg("-stream_loop", -1, "-i", clip, "-t", options.hours * 3600, "-c", "copy", long)
            soak("one long video", long, folder / "long", options.every, of_fervid)
        if options.clips:
            write_copies(clip, folder / "clips", options.clips)
            soak("many short ones", folder / "clips", folder / "short", options.every, of_fervid)


if __name__ == "__main__":
    main()
