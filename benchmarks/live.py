"""Measure the delay from sending a frame of a live stream until its row can be read.

    .venv/bin/python benchmarks/live.py VIDEO [SECONDS] [OPTION OF fervid live …]

One process sends the video over UDP in real time, repeatedly, and records when it sent each frame. A second one,
`fervid live`, analyzes it. This process reads the results every 50 ms, as `fervid query` would, and records when the
row of a frame can first be read: in the view observations, and in the table frames. The delay is the difference of
these times. It includes neither the encoding of a camera nor a network.
"""

import json
import multiprocessing
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import av
import duckdb
import numpy as np

from analytics import connect
from analytics.results.store import StoreError

READ_EVERY_S = 0.05


def send(video: str, address: str, over: Event, sent: Connection) -> None:
    """Send a video repeatedly in real time until `over` is set; then report when each frame was sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the other process, whose end also ends this one
    at_s: list[float] = []
    pts: list[int] = []
    with av.open(address, "w", format="mpegts", options={"flush_packets": "1"}) as out:
        stream, begun_s = None, time.time()
        while not over.is_set():
            with av.open(video) as file:
                source = file.streams.video[0]
                stream = stream or out.add_stream_from_template(source)
                rate = source.average_rate
                assert source.time_base is not None and rate is not None
                step = round(1 / rate / source.time_base)
                for packet in file.demux(source):
                    if packet.pts is None or packet.dts is None:
                        continue
                    shift = len(at_s) * step - packet.dts
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    due_s = begun_s + len(at_s) / float(rate)
                    time.sleep(max(0.0, due_s - time.time()))
                    packet.stream = stream
                    at_s.append(time.time())
                    pts.append(packet.pts)
                    out.mux(packet)
                    if over.is_set():
                        break
    sent.send(np.array(at_s)[np.argsort(pts)].tolist())  # in display order


def wait_until_bound(port: int) -> None:
    """Return once a process listens at a UDP port, so that the first frame that is sent is also received."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return
        time.sleep(READ_EVERY_S)


def watch(results: Path, run: "subprocess.Popen[str]") -> dict[str, dict[int, float]]:
    """Read the results until the run ends: the time at which the row of each (view, frame_index) first appeared."""
    seen: dict[str, dict[int, float]] = {"observations": {}, "frames": {}}
    while run.poll() is None:
        for view, when in seen.items():
            last = max(when, default=-1)
            sql = f"SELECT DISTINCT frame_index FROM {view} WHERE frame_index > {last} AND status IN ('ok', 'no_face')"
            try:
                index = [index for (index,) in connect(results).sql(sql).fetchall()]
            # No table exists yet, or it has just been replaced by a newer one.
            except (StoreError, OSError, duckdb.Error):
                continue
            now_s = time.time()
            when.update((i, now_s) for i in index)
        time.sleep(READ_EVERY_S)
    return seen


def main(video: str, seconds: float, options: list[str]) -> None:
    """Measure and print the delays."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"udp://127.0.0.1:{port}"
    results = Path(tempfile.mkdtemp()) / "results"
    fervid = Path(sys.executable).with_name("fervid")
    command = [fervid, "live", address, "--out", results, "--for", str(seconds), "--json", *options]
    (ours, theirs), over = multiprocessing.Pipe(), multiprocessing.Event()
    sender = multiprocessing.Process(target=send, args=(video, f"{address}?pkt_size=1316", over, theirs), daemon=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        wait_until_bound(port)
        sender.start()
        seen = watch(results, run)
        assert run.stdout is not None
        outcome = json.loads(run.stdout.read())[-1]
    over.set()
    at_s = np.array(ours.recv())
    sender.join()
    print(f"{Path(video).name}, {seconds:g} s; {json.dumps(outcome['counts'])}")
    for view, when in seen.items():
        delays_s = np.array([then - at_s[i] for i, then in when.items()])
        middle, most = np.percentile(delays_s, [50, 95])
        print(f"{view:13} {len(delays_s):6} frames: median {middle:.2f} s, 95 % under {most:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60.0, sys.argv[3:])
