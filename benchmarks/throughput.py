"""Measure speed: whole commands, pass 1 alone, each stage alone, growth with the input, and another program.

    python -m benchmarks.throughput CLIP... [--base TREE] [--peer PYTHON] [--page docs/performance.md]

`--base` is a checkout of another commit, measured in the same run, because only ratios within one run are meaningful.
`--peer` is the Python of an environment with `fer==25.10.3` (and opencv-contrib-python<5, tensorflow<2.20,
tf-keras<2.20, numpy<2.2, setuptools<81). The tables replace the generated part of the page.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.derived_videos import TILE_HEIGHT, TILE_WIDTH, run_ffmpeg, write_copies, write_grid, write_loop
from benchmarks.tables import Row, markdown_table

TREE = Path(__file__).resolve().parents[1]
CHILD = TREE / "benchmarks" / "throughput_child.py"
BEGIN, END = "<!-- throughput: begin -->", "<!-- throughput: end -->"
MIB = 2**20


@dataclass(frozen=True)
class Usage:
    """Time and memory that a process and its children used."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


@dataclass(frozen=True)
class Growth:
    """A section of the page about growth: its text, its rows, and the columns that its plot shows."""

    text: str
    size: str
    rate: str
    rows: list[Row]


def run(command: Sequence[str | Path], tree: Path) -> Usage:
    """Run a command with the packages of a checkout.

    Raises:
        RuntimeError: if it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    environment.pop("PREFECT_API_URL", None)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled modules are kept, as on users' machines
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, cwd=tree)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} failed in {tree}: {errors.read()[-2000:]}")
        return Usage(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MIB, output.read())


def fervid(tree: Path) -> list[str]:
    """The command that runs Fervid from a checkout, whatever its entry point is called."""
    scripts = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, function = scripts["fervid"].split(":")
    return [sys.executable, "-c", f"import sys; sys.argv[0] = 'fervid'; from {module} import {function}; {function}()"]


PEER = """
import json, sys, time, cv2
from fer.fer import FER
video = cv2.VideoCapture(sys.argv[1])
frames = []
while len(frames) < int(sys.argv[2]):
    ok, frame = video.read()
    if not ok:
        break
    frames.append(frame)
detector = FER(mtcnn=False)
detector.detect_emotions(frames[0])
started_s = time.perf_counter()
for frame in frames:
    detector.detect_emotions(frame)
print(json.dumps(len(frames) / (time.perf_counter() - started_s)))
"""


def in_child(tree: Path, what: str, *arguments: str | Path) -> tuple[Row, Usage]:
    """Measure something in a new process that imports the packages of a checkout."""
    usage = run([sys.executable, CHILD, what, *arguments], tree)
    return json.loads(usage.output.splitlines()[-1]), usage


def analysis_table(clips: Sequence[Path], base: Path | None, peer: Path | None, repeats: int) -> list[Row]:
    """Tabulate pass 1 alone: rate, efficiency and memory, compared with the base and the peer."""
    rows = []
    for clip in clips:
        now, usage = in_child(TREE, "analysis", clip, str(repeats))
        rate = now["frames"] / now["wall_s"]
        row = {
            "clip": clip.name,
            "faces per frame": f"{now['faces'] / now['frames']:.1f}",
            "frames/s": f"{rate:.0f}",
            "CPU s per wall s": f"{now['cpu_s'] / now['wall_s']:.2f}",
            "of the limit": f"{now['cpu_s'] / (os.cpu_count() or 1) / now['wall_s']:.0%}",
            "peak memory": f"{usage.peak_mib:.0f} MiB",
        }
        if base is not None:
            before, usage = in_child(base, "analysis", clip, str(repeats))
            row["before"] = f"{before['frames'] / before['wall_s']:.0f}"
            row["ratio, wall"] = f"{before['wall_s'] / now['wall_s']:.2f}"
            row["ratio, CPU"] = f"{before['cpu_s'] / now['cpu_s']:.2f}"
            row["memory before"] = f"{usage.peak_mib:.0f} MiB"
        if peer is not None and clip.suffix == ".mp4":
            found = run([peer, "-c", PEER, clip, "60"], clip.parent)
            row["times `fer`"] = f"{rate / json.loads(found.output.splitlines()[-1]):.1f}"
        rows.append(row)
    return rows


def stages_table(clips: Sequence[Path]) -> list[Row]:
    """Tabulate the CPU time of each stage alone."""
    rows = []
    for clip in clips:
        alone, _ = in_child(TREE, "stages", clip)
        faces = alone.pop("faces")
        rows.append({"clip": clip.name, **{f"{name} (ms)": f"{value:.2f}" for name, value in alone.items()}})
        if faces and "crop and appearance" in alone:
            rows[-1]["crops/s per core"] = f"{1000 * faces / alone['crop and appearance']:.0f}"
    return rows


def commands_table(clip: Path, base: Path | None, repeats: int) -> list[Row]:
    """Tabulate whole commands: wall time, CPU time and memory of the fastest of some repeats."""
    trees = {"now": TREE} if base is None else {"before": base, "now": TREE}
    best: dict[tuple[str, str], Usage] = {}
    for _ in range(repeats):
        for when, tree in trees.items():
            for name, usage in run_commands(clip, tree).items():
                known = best.get((name, when))
                best[name, when] = usage if known is None or usage.wall_s < known.wall_s else known
    rows: dict[str, Row] = {}
    for (name, when), usage in best.items():
        row = rows.setdefault(name, {"command": name})
        row[f"wall, {when}"] = f"{usage.wall_s:.2f} s"
        row[f"CPU, {when}"] = f"{usage.cpu_s:.2f} s"
        row[f"memory, {when}"] = f"{usage.peak_mib:.0f} MiB"
    if base is not None:
        for name, row in rows.items():
            row["ratio, wall"] = f"{best[name, 'now'].wall_s / best[name, 'before'].wall_s:.0%}"
    return list(rows.values())


def run_commands(clip: Path, tree: Path) -> dict[str, Usage]:
    """Run the commands of a checkout in a new results folder; return the time and memory of each."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "results")
        commands: dict[str, list[str | Path]] = {
            "--help": ["--help"],
            "analyze": ["analyze", clip, "--out", out],
            "analyze, nothing to do": ["analyze", clip, "--out", out],
            "status": ["status", out],
            "summary": ["summary", out],
            "query": ["query", out, "SELECT count(*) FROM faces"],
        }
        return {name: run([*fervid(tree), *arguments], tree) for name, arguments in commands.items()}


def growth_with_length(clip: Path, minutes: Sequence[float]) -> list[Row]:
    """Tabulate the rate and memory of pass 1 for videos of several lengths, made by repeating a clip."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for length in minutes:
            loop = write_loop(clip, Path(folder, f"{length:g}.mp4"), length * 60)
            seen, usage = in_child(TREE, "analysis", loop, "1")
            rate, peak = seen["frames"] / seen["wall_s"], f"{usage.peak_mib:.0f} MiB"
            rows.append({"minutes": f"{length:g}", "frames/s": f"{rate:.0f}", "peak memory": peak})
    return rows


def growth_with_faces(clip: Path, copies: Sequence[int]) -> list[Row]:
    """Tabulate the rates and memory of pass 1 for frames that show several copies of a clip of one face."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n in copies:
            seen, usage = in_child(TREE, "analysis", write_grid(clip, Path(folder, f"{n}.mp4"), n), "1")
            rows.append(
                {
                    "copies": n,
                    "faces per frame": f"{seen['faces'] / seen['frames']:.1f}",
                    "frames/s": f"{seen['frames'] / seen['wall_s']:.1f}",
                    "faces/s": f"{seen['faces'] / seen['wall_s']:.0f}",
                    "peak memory": f"{usage.peak_mib:.0f} MiB",
                }
            )
    return rows


def growth_with_videos(clip: Path, counts: Sequence[int]) -> list[Row]:
    """Tabulate the time and memory of `fervid analyze` on folders of copies of 2 s of a clip."""
    rows = []
    for n in counts:
        with tempfile.TemporaryDirectory() as folder:
            short, inputs = Path(folder, "short.mp4"), Path(folder, "videos")
            run_ffmpeg("-i", clip, "-t", 2, "-an", "-c", "copy", short)
            write_copies(short, inputs, n)
            usage = run([*fervid(TREE), "analyze", inputs, "--out", Path(folder, "results")], TREE)
        row = {"videos": n, "wall": f"{usage.wall_s:.1f} s", "videos/s": f"{n / usage.wall_s:.2f}"}
        rows.append({**row, "peak memory": f"{usage.peak_mib:.0f} MiB"})
    return rows


def measure_growth(clip: Path, options: argparse.Namespace) -> Iterator[Growth]:
    """Measure the kinds of growth that the options select."""
    if options.loop_minutes:
        rows = growth_with_length(clip, options.loop_minutes)
        yield Growth("## Growth with length\n\nLoops of the first clip, analysis alone.\n", "minutes", "frames/s", rows)
    if options.faces:
        rows = growth_with_faces(clip, options.faces)
        text = (
            "## Growth with faces\n\nFrames of 1280x720 that show the first clip several times, at "
            f"{TILE_WIDTH}x{TILE_HEIGHT} each, and are black elsewhere; at most 10 s, analysis alone.\n"
        )
        yield Growth(text, "faces per frame", "faces/s", rows)
    if options.videos:
        rows = growth_with_videos(clip, options.videos)
        text = (
            "## Growth with videos\n\n`fervid analyze`, start-up included, on folders of copies of 2 s of the first "
            "clip. `benchmarks/soak.py` measures the [memory](#memory) of more.\n"
        )
        yield Growth(text, "videos", "videos/s", rows)


def plot_growth(growths: Sequence[Growth], target: Path) -> None:
    """Draw rate and memory, one row of panels for each kind of growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.5 * len(growths)), layout="constrained")
    panels = figure.subplots(len(growths), 2, squeeze=False)
    for growth, pair in zip(growths, panels, strict=True):
        sizes = [float(row[growth.size]) for row in growth.rows]
        for axes, name in zip(pair, (growth.rate, "peak memory"), strict=True):
            values = [float(row[name].split()[0]) for row in growth.rows]
            axes.plot(sizes, values, "o-")
            axes.set(xlabel=growth.size, ylabel=name if name == growth.rate else f"{name} (MiB)")
            axes.set_ylim(0, 1.1 * max(values))
    figure.savefig(target, dpi=120)


def machine() -> str:
    """The processor and the number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    bf16 = " with AVX512-BF16" if "avx512_bf16" in flags else ""
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor()}{bf16}"


def write_page(page: Path, text: str) -> None:
    """Replace the generated part of a page, or insert it after the title."""
    old = page.read_text(encoding="utf-8") if page.exists() else "# Performance\n"
    if BEGIN not in old:
        title, _, rest = old.partition("\n")
        old = f"{title}\n\n{BEGIN}\n{END}\n{rest}"
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--base", type=Path, help="checkout of another commit, measured side by side")
    parser.add_argument("--peer", type=Path, help="Python of an environment with fer==25.10.3")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--loop-minutes", type=float, nargs="*", default=[1, 10], help="lengths of loops of the first clip"
    )
    parser.add_argument(
        "--faces", type=int, nargs="*", default=[1, 5, 10, 25, 50], help="copies of the first clip in each frame"
    )
    parser.add_argument(
        "--videos",
        type=int,
        nargs="*",
        default=[1, 10, 100],
        help="videos in a folder, each 2 s of the first clip",
    )
    parser.add_argument("--no-commands", action="store_true", help="leave out whole commands")
    parser.add_argument("--page", type=Path, help="Markdown page whose generated part is replaced")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write the page."""
    options = parse_options()
    clips = [clip.resolve() for clip in options.clips]
    sections = [
        f"Measured on {machine()}, everything in one run, with `python -m benchmarks.throughput CLIP… --base TREE "
        "--peer PYTHON`: a checkout of another commit, *before* in the tables, and an environment with `fer`. Speed "
        "differs between machines and between runs on shared ones; ratios within a run do not.",
        f"## The analysis alone\n\nPass 1 without start-up, best of {options.repeats}; the limit is all cores busy.\n",
    ]

    def add(rows: list[Row]) -> None:
        sections[-1] += "\n" + markdown_table(rows)
        print(sections[-1], flush=True)

    add(analysis_table(clips, options.base, options.peer, options.repeats))
    sections.append("## Each stage alone\n\nProcessor time per frame, in milliseconds.\n")
    add(stages_table(clips))
    if not options.no_commands:
        sections.append("## Whole commands\n\nOf the first clip, with Prefect's server where a command starts one.\n")
        add(commands_table(clips[0], options.base, options.repeats))
    growths = []
    for growth in measure_growth(clips[0], options):
        sections.append(growth.text)
        add(growth.rows)
        if len(growth.rows) > 1:
            growths.append(growth)
    if options.page and growths:
        plot_growth(growths, options.page.with_name("performance_growth.png"))
        sections.append("![Rate and memory by length, faces and videos](performance_growth.png)")
    if options.page:
        write_page(options.page, "\n\n".join(sections))


if __name__ == "__main__":
    main()
