"""Run analyses in processes that can be killed, forked from one that has loaded the models, which takes seconds.

    python tests/forks.py < jobs, a line of JSON each: {"videos", "out", "settings", "runs", "kill": {...} or null}

Each answer is a line of JSON: whether the last process was killed, how many frames it saw, and which file events there
were. A process kills itself (SIGKILL, so nothing of it goes on) after its `frames`th word on progress, or at its
`event`th event of kind "mkdir" (a file is about to be written), "rename" (it is written, and about to get its name) or
"remove" (it just got its name), and `delay_s` after that.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from clips import analyze_clip, context_of

from flows.analysis.progress import Progress, VideoProgress
from flows.settings import AnalyzeSettings

EVENTS = {"os.mkdir": "mkdir", "os.rename": "rename", "os.remove": "remove"}


class Run:
    """One analysis of some videos."""

    def __init__(self, job: dict, report: int) -> None:
        self.job, self.kill, self.report = job, job["kill"] or {}, report
        self.counts = dict.fromkeys(["frames", *EVENTS.values()], 0)

    def tell(self, **what: object) -> None:
        os.write(self.report, json.dumps(what).encode() + b"\n")

    def count(self, kind: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] == self.kill.get(kind):
            if not self.kill["delay_s"]:
                self.die()
            threading.Thread(target=lambda: (time.sleep(self.kill["delay_s"]), self.die())).start()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_file(self, event: str, arguments: tuple) -> None:
        if event in EVENTS and self.job["out"] in str(arguments[0]):
            self.tell(event=EVENTS[event], file=str(arguments[0]))
            self.count(EVENTS[event])

    def on_progress(self, event: object) -> None:
        if isinstance(event, VideoProgress):
            self.tell(path=str(event.path), done=event.done_frames)
            self.count("frames")

    def analyze(self) -> None:
        sys.addaudithook(self.on_file)
        progress = Progress()
        progress.listen(self.on_progress)
        settings = AnalyzeSettings(**self.job["settings"])
        for path in self.job["videos"]:
            outcome = analyze_clip(Path(path), Path(self.job["out"]), settings, progress)
            self.tell(outcome=outcome.status, n_observed=outcome.n_observed)


def start(job: dict) -> tuple[int, int]:
    """Start a process for the job; return its id and the end of the pipe to which it reports."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            Run(job, writing).analyze()
        except BaseException as error:
            os.write(2, repr(error).encode())
        os._exit(0)
    os.close(writing)
    return pid, reading


def finish(pid: int, reading: int) -> dict:
    """Wait for the process to end, and return what it reported."""
    with os.fdopen(reading) as file:
        messages = [json.loads(line) for line in file]
    _, status = os.waitpid(pid, 0)
    return {"killed": os.WIFSIGNALED(status), "messages": messages}


def main() -> None:
    """Run the jobs one after another."""
    context_of(Path())  # models are loaded before forking
    for line in sys.stdin:
        job = json.loads(line)
        runs = [start(job) for _ in range(job["runs"])]
        print(json.dumps([finish(*run) for run in runs]), flush=True)


if __name__ == "__main__":
    main()
