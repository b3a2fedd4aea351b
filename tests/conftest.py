"""What all tests share: helpers beside the tests import by plain name; hypothesis has no clock."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # tiny_models

# A deadline would be timing in a test, and examples drawn anew each run would not be repeatable.
settings.register_profile("tersor", deadline=None, derandomize=True)
settings.load_profile("tersor")
