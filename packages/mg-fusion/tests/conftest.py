"""Make the fabricated stores of ``fusion_toys`` importable, under importlib import mode too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
