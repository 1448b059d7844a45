"""The folders of a training, outside the checkout: TRAINING_FOLDER, or ~/.cache/toyhub/train."""

import os
from pathlib import Path

FOLDER = Path(os.environ.get("TRAINING_FOLDER", Path.home() / ".cache/toyhub/train"))
ASSETS = FOLDER / "assets"
