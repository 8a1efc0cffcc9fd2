"""Videos that benchmarks derive from a clip: loops, copies, and frames that show the clip several times."""

import subprocess
from pathlib import Path

# Frames with 8 by 8 copies of a clip, so that faces have the same size in any number.
GRID, TILE_WIDTH, TILE_HEIGHT = 8, 160, 90


def run_ffmpeg(*arguments: object) -> None:
    """Run ffmpeg, quietly."""
    subprocess.run(["ffmpeg", "-y", "-v", "error", *map(str, arguments)], check=True)


def write_grid(clip: Path, target: Path, n: int) -> Path:
    """Show a clip `n` times in each frame of 1280x720, each copy a frame ahead of the one before, for at most 10 s."""
    scale = f"scale={TILE_WIDTH}:{TILE_HEIGHT}:force_original_aspect_ratio=decrease"
    pad = f"pad={TILE_WIDTH}:{TILE_HEIGHT}:-1:-1"
    tile = f"tile={GRID}x{GRID}:nb_frames={n}:overlap={n - 1}"
    run_ffmpeg("-i", clip, "-vf", f"{scale},{pad},format=rgb24,{tile}", "-t", "10", "-pix_fmt", "yuv420p", target)
    return target


def write_copies(clip: Path, folder: Path, n: int) -> None:
    """Write `n` copies of a clip into a new folder; bytes at their ends make their content different."""
    folder.mkdir()
    content = clip.read_bytes()
    for i in range(n):
        (folder / f"{i:05d}.mp4").write_bytes(content + i.to_bytes(8, "big"))


def write_loop(clip: Path, target: Path, duration_s: float) -> Path:
    """Repeat a clip, without decoding it, until it lasts `duration_s`."""
    import av  # imported here: the peak memory that Linux reports for a child process is at least that of its parent

    with av.open(str(clip)) as source, av.open(str(target), "w") as loop:
        stream = source.streams.video[0]
        copy = loop.add_stream_from_template(stream)
        assert stream.time_base is not None
        shift = 0
        while shift * stream.time_base < duration_s:
            source.seek(0)
            end = shift
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                end = max(end, shift + packet.pts + (packet.duration or 0))
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                loop.mux(packet)
            shift = end
    return target
