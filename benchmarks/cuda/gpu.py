"""The device under test: synchronization, and sampling of its utilization and memory."""

import threading
import time
from types import TracebackType
from typing import Self

import torch

# Seconds between samples.
EVERY_S = 0.1


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all submitted work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The name of the GPU, or "CPU"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


class GpuMonitor:
    """Sample utilization and memory of a GPU in a background thread; does nothing for a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ended = device, threading.Event()
        # Time of the monotonic clock, utilization in percent, memory in MiB.
        self.samples: list[tuple[float, float, float]] = []
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        if self.thread.ident is not None:
            self.thread.join()

    def _sample(self) -> None:
        while not self.ended.wait(EVERY_S):
            try:
                percent = torch.cuda.utilization(self.device)
            except Exception as error:  # NVML's errors share no other base class; without NVML, the figures stay empty
                print(f"GPU utilization is not known: {error}", flush=True)
                return
            free_bytes, total_bytes = torch.cuda.mem_get_info(self.device)
            self.samples.append((time.monotonic(), float(percent), (total_bytes - free_bytes) / 2**20))

    def since(self, started_s: float) -> dict[str, float | None]:
        """Mean utilization and highest memory since a time of the monotonic clock."""
        samples = [sample for sample in self.samples if sample[0] >= started_s]
        if not samples:
            return {"GPU busy %": None, "GPU MiB": None}
        return {
            "GPU busy %": sum(percent for _, percent, _ in samples) / len(samples),
            "GPU MiB": max(mib for _, _, mib in samples),
        }
