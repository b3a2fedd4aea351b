"""The table model beside these tests can be imported by its plain name."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
# Models of these tests are too small to be shared by threads.
torch.set_num_threads(1)
