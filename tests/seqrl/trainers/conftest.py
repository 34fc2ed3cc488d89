from __future__ import annotations

import sys
from pathlib import Path

# So that the tests beside this file can import `toy_tokens`.
sys.path.insert(0, str(Path(__file__).resolve().parent))
