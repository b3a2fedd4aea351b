"""Models of these tests are too small to be shared by threads."""

import torch

torch.set_num_threads(1)
