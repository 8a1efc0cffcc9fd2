"""Training of emotion classifiers, face detectors and landmark networks."""

import os

# On Linux, PyTorch then asks for pages of 2 MB for large tensors: training on a CPU takes a tenth to a fifth less time.
# It reads the variable when it allocates the first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
