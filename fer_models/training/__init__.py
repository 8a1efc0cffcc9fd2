"""Training of emotion classifiers, face detectors and landmark networks."""

import os

# On Linux, PyTorch then asks for pages of 2 MB for large tensors, which saves a tenth to a fifth of a training's time on
# a CPU. It reads the variable when it allocates the first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
