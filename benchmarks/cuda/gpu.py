"""The device under test: waiting for it, and how busy it is."""

import subprocess
import threading
import time
from types import TracebackType
from typing import Self

import torch

QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "100")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The name of the card, or "CPU"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


class GpuMonitor:
    """Samples utilization and memory of the first GPU ten times a second; nothing without nvidia-smi."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, float]] = []  # seconds of the monotonic clock, percent, MiB

    def __enter__(self) -> Self:
        try:
            self.process = subprocess.Popen(QUERY, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            self.process = None
            return self
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            self.thread.join()
            self.process.wait()

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            values = [value.strip() for value in line.split(",")]
            if len(values) == 2 and all(value.isdigit() for value in values):  # a value may be "[N/A]"
                self.samples.append((time.monotonic(), float(values[0]), float(values[1])))

    def since(self, started_s: float) -> dict[str, float | None]:
        """Mean utilization and highest memory since a moment of the monotonic clock."""
        samples = [sample for sample in self.samples if sample[0] >= started_s]
        if not samples:
            return {"GPU busy %": None, "GPU MiB": None}
        return {
            "GPU busy %": sum(percent for _, percent, _ in samples) / len(samples),
            "GPU MiB": max(mib for _, _, mib in samples),
        }
