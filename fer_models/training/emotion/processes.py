"""Processes of a distributed training, started by `torchrun` or a cluster scheduler."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processes:
    """Rank of this process; the processes of a training divide each batch and learn the same weights."""

    rank: int = 0  # index of this process among the processes of all machines
    n: int = 1
    n_here: int = 1  # number of processes on this machine

    @classmethod
    def started(cls) -> "Processes":
        """Read the environment variables that `torchrun` sets."""
        variables = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        return cls(*(int(os.environ.get(name, alone)) for name, alone in variables.items()))

    @property
    def is_first(self) -> bool:
        """Whether this process writes files, evaluates and reports."""
        return self.rank == 0

    @property
    def device_index(self) -> int:
        """Index of this process's device on this machine."""
        return self.rank % self.n_here

    def trainer_options(self) -> dict[str, Any]:
        """Return arguments for Lightning's trainer."""
        if self.n == 1:
            return {"devices": 1}
        nodes = self.n // self.n_here
        return {"devices": self.n_here, "num_nodes": nodes, "strategy": "ddp", "use_distributed_sampler": False}


ALONE = Processes()
