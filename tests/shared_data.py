"""Real data that a developer may have beside the repository; tests skip where it is absent."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MST_SHARED", Path(__file__).parents[2] / "shared" / "data"))

needs_davis = pytest.mark.skipif(
    not (SHARED / "DAVIS" / "JPEGImages").is_dir(),
    reason=f"DAVIS is not at {SHARED / 'DAVIS'}; set MST_SHARED to the folder that holds it",
)
