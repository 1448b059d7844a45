"""Where everything of a training lies, outside the checkout: TOYHUB_TRAIN, or ~/.cache/toyhub/train."""

import os
from pathlib import Path

FOLDER = Path(os.environ.get("TOYHUB_TRAIN", Path.home() / ".cache/toyhub/train"))
ASSETS = FOLDER / "assets"
