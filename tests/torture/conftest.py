"""The small tests here use the machines of tests/create."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "create"))
