"""Two busy cores are shared with other tests."""

import torch

torch.set_num_threads(1)
