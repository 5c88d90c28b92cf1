"""Where the package keeps what it makes for itself on this computer, and how it reads dataset folders through a cache.

May depend on `errors`; imports `datasets` only inside functions.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hf_fracture.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def find_cache_dir() -> Path:
    """Return the package's own folder: `HF_HOME/hf_fracture`, else `hf_fracture` under the user's cache folder.

    The folder need not exist.
    """
    if home := os.environ.get("HF_HOME"):
        return Path(home) / "hf_fracture"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hf_fracture"


def load_dataset_folder(folder: str | os.PathLike[str]) -> "DatasetDict | Dataset":
    """Load a dataset from a local folder, and never the films of another one.

    `datasets.load_dataset` keeps what it read under the folder's name and the `configs` of its card; a second folder of
    the same name, or the same folder prepared again, would be answered with the films of the first. Here the place in
    the cache also holds the folder's path and its files' names, sizes and times.

    Raises:
        DatasetError: If a shard is damaged.
        Exception: Whatever `datasets.load_dataset` raises.
    """
    from datasets import config, load_dataset

    root = Path(folder).resolve()
    state = hashlib.sha256(str(root).encode())
    for path in sorted(root.rglob("*")):
        if path.is_file():
            known = path.stat()
            state.update(f"\0{path.relative_to(root)}\0{known.st_size}\0{known.st_mtime_ns}".encode())
    place = Path(config.HF_DATASETS_CACHE) / f"hf_fracture-{state.hexdigest()[:16]}"
    if not place.exists():
        for path in sorted(root.rglob("*.parquet")):
            _check_shard(path)
    return load_dataset(str(root), cache_dir=str(place))


def _check_shard(path: Path) -> None:
    """Compare the content of a shard with the checksums that `shards` wrote beside it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        for _ in file.iter_batches(batch_size=64):
            continue
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"Expected '{path}' as it was written, but it is damaged ({str(error).strip().splitlines()[0][:120]}). "
            "Prepare or download the dataset again."
        ) from error
