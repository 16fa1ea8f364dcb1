"""Makes the project's root importable, so that tests share their builders as `tests.unit.…`."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)
