"""Write the rows of a prepared dataset as Parquet shards, in one pass and with bounded memory.

May depend on `films`, `grouping`, `schema` and `labels`; `pyarrow` and `datasets` are imported when shards are written.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hf_fracture.data.films import Film
from hf_fracture.data.grouping import Assignment, Grouping
from hf_fracture.data.schema import FEATURES, HELD_OUT, SPLITS, RawRow

SHARD_FILMS: Final = 1000
MIN_SHARDS: Final = 8  # so that eight ranks may read one split side by side
SMALLEST_SHARD: Final = 25
ROW_GROUP_FILMS: Final = 100


def count_shards(num_films: int) -> int:
    """Return how many shards a split gets: enough for several ranks, none needlessly small.

    >>> count_shards(10), count_shards(500), count_shards(20_000)
    (1, 8, 20)
    """
    several = min(MIN_SHARDS, max(1, num_films // SMALLEST_SHARD))
    return max(several, -(-num_films // SHARD_FILMS))


@dataclass
class _SplitWriter:
    """Deals the rows of one split to its shards, in order and evenly."""

    data_dir: Path
    split: str
    num_films: int
    schema: Any
    _num_written: int = 0
    _shard: int = -1
    _writer: Any = None
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Take one row; a row group is written when it is full."""
        shard = self._num_written * count_shards(self.num_films) // self.num_films
        if shard != self._shard:
            self.close()
            self._open(shard)
        self._rows.append(row)
        self._num_written += 1
        if len(self._rows) == ROW_GROUP_FILMS:
            self._flush()

    def _open(self, shard: int) -> None:
        import pyarrow.parquet as pq

        name = f"{self.split}-{shard:05d}-of-{count_shards(self.num_films):05d}.parquet"
        # `cache.load_dataset_folder` looks at the checksums: a film of which the disk lost a part is still a JPEG.
        self._writer = pq.ParquetWriter(self.data_dir / name, self.schema, write_page_checksum=True)
        self._shard = shard

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
            self._rows = []

    def close(self) -> None:
        """Write what is left and close the shard."""
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None


def write_shards(
    data_dir: Path,
    source: str,
    rows: Sequence[RawRow],
    films: Iterable[Film],
    grouping: Grouping,
    assignments: Sequence[Assignment],
) -> None:
    """Write `{split}-{shard}-of-{shards}.parquet` for every split that holds a film.

    Args:
        data_dir: Folder for the shards; must exist.
        source: The dataset's name, for the column `source`.
        rows: What the source knows, N of them.
        films: The same films with their pixels, in the same order; read once.
        grouping: How they hang together.
        assignments: Where each goes.

    Raises:
        OSError: If a shard cannot be written.
    """
    schema = FEATURES().arrow_schema
    counts = Counter(assignment.split for assignment in assignments)
    writers = {split: _SplitWriter(data_dir, split, counts[split], schema) for split in (*SPLITS, HELD_OUT)}
    try:
        for index, (row, film, assignment) in enumerate(zip(rows, films, assignments, strict=True)):
            columns = build_columns(row, film, source=source)
            columns |= {"group_id": grouping.group_ids[index], "label_doubt": grouping.doubts[index]}
            writers[assignment.split].add(columns)
    finally:
        for writer in writers.values():
            writer.close()


def build_columns(row: RawRow, film: Film, *, source: str) -> dict[str, Any]:
    """Join what the source knows of a film with what its file says; boxes and polygons shrink with the film."""
    scale = film.width / film.upright_width
    return {
        "image": {"bytes": film.jpeg, "path": None},
        "label": row.label,
        "fracture_type": row.fracture_type,
        "modality": row.modality or film.modality,
        "body_part": row.body_part or film.body_part,
        "view": row.view or film.view,
        "laterality": row.laterality or film.laterality,
        "patient_id": row.patient_id or film.patient_id,
        "study_id": row.study_id or film.study_id,
        "boxes": [[value * scale for value in box] for box in row.boxes],
        "polygons": [[value * scale for value in polygon] for polygon in row.polygons],
        "hardware": row.hardware,
        "cast": row.cast,
        "age_years": film.age_years if row.age_years is None else row.age_years,
        "sex": row.sex or film.sex,
        "read_note": film.read_note,
        "source": source,
        "source_path": row.source_path,
        "source_split": row.source_split,
        "sha256": film.sha256,
        "perceptual_hash": film.perceptual_hash,
    }
