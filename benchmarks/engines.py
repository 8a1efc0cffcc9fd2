"""Compare the throughput of threads with one and two worker processes of Ray and Dask.

    python -m benchmarks.engines CLIP [--clips 8]

Each run is a whole command into an empty folder. The time of the tasks excludes what comes before, such as starting the
cluster, but includes that the workers import modules and load models. Threads use all cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.derived_videos import write_copies

RUNS = [("threads", 2), ("ray", 1), ("ray", 2), ("dask", 1), ("dask", 2)]


def measure(engine: str, workers: int, videos: Path, out: Path, options: list[str]) -> tuple[float, float, int]:
    """Run an analysis; return seconds of the command, seconds of its tasks, and frames."""
    fervid = Path(sys.executable).with_name("fervid")
    started_s = time.monotonic()
    done = subprocess.run(
        [fervid, "analyze", videos, "--out", out, "--engine", engine, "--json", *options],
        env={**os.environ, "FERVID_WORKERS": str(workers)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    summary = json.loads(done.stdout)
    return time.monotonic() - started_s, summary["seconds"], sum(video["n_observed"] for video in summary["videos"])


def main() -> None:
    """Measure all engines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--clips", type=int, default=8, help="copies of it")
    options, of_fervid = parser.parse_known_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| engine | workers | command | of it, work | frames/s of the work | against threads |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        write_copies(options.clip, videos, options.clips)
        of_threads = 0.0
        for engine, workers in RUNS:
            all_s, work_s, n_frames = measure(engine, workers, videos, Path(folder) / f"{engine}{workers}", of_fervid)
            of_threads = of_threads or n_frames / work_s
            share = n_frames / work_s / of_threads
            print(
                f"| {engine} | {workers} | {all_s:.0f} s | {work_s:.0f} s | {n_frames / work_s:.0f} | {share:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
