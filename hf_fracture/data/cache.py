"""Where the package keeps what it makes for itself on this computer. May depend on nothing."""

import os
from pathlib import Path


def find_cache_dir() -> Path:
    """Return the package's own folder: `HF_HOME/hf_fracture`, else `hf_fracture` under the user's cache folder.

    The folder need not exist.
    """
    if home := os.environ.get("HF_HOME"):
        return Path(home) / "hf_fracture"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hf_fracture"
