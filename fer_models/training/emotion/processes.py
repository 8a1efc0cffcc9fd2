"""The processes of one training: one, or one a device, as `torchrun` or a cluster's scheduler started them."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processes:
    """Which of a training's processes this one is; they share each batch, and learn the same weights."""

    rank: int = 0  # of all machines
    n: int = 1
    n_here: int = 1  # on this machine

    @classmethod
    def started(cls) -> "Processes":
        """As the variables say that `torchrun` sets."""
        variables = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        return cls(*(int(os.environ.get(name, alone)) for name, alone in variables.items()))

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes, measures and talks."""
        return self.rank == 0

    @property
    def device_index(self) -> int:
        """Which of this machine's devices is its own."""
        return self.rank % self.n_here

    def trainer_options(self) -> dict[str, Any]:
        """What Lightning's trainer must know of them."""
        if self.n == 1:
            return {"devices": 1}
        nodes = self.n // self.n_here
        return {"devices": self.n_here, "num_nodes": nodes, "strategy": "ddp", "use_distributed_sampler": False}


ALONE = Processes()
