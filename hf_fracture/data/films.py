"""Read films in parallel, once: each chunk that is done stays on disk until the dataset is finished.

May depend on `radiographs`, `fingerprints`, `schema` and `errors`; `pyarrow` is imported when a chunk is written
or read.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from hf_fracture.data.fingerprints import THUMBNAIL_PX, fingerprint_image, perceptual_hash
from hf_fracture.data.radiographs import Radiograph, decode_radiograph
from hf_fracture.data.schema import RawRow
from hf_fracture.errors import DatasetError, UnreadableRadiograph

CHUNK_FILMS: Final = 64
JPEG_QUALITY: Final = 95
_FORMAT: Final = 2  # raise it when a chunk's content changes, so that older unfinished work is not taken up

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done and how much there is in all."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """What reading one file gave.

    Attributes:
        source_path: As in its row.
        error: Why it cannot be read, or None; then all that follows is empty.
        jpeg: The film as it is stored in the dataset.
        width: Of the stored film, px.
        height: Of the stored film, px.
        upright_width: Of the film before it was reduced, px.
        file_width: Of the file, before it was turned upright, px.
        file_height: Of the file, px.
        file_mode: PIL mode of the file, or DICOM photometric interpretation.
        num_bytes: Size of the file.
        has_colour: As in `Radiograph`.
        read_note: As in `Radiograph`.
        modality: From the file's header; likewise the next seven.
        sha256: Of the file.
        perceptual_hash: 16 hexadecimal digits.
        thumbnail: Fingerprint, row by row.
    """

    source_path: str
    error: str | None = None
    jpeg: bytes | None = None
    width: int = 0
    height: int = 0
    upright_width: int = 0
    file_width: int = 0
    file_height: int = 0
    file_mode: str = ""
    num_bytes: int = 0
    has_colour: bool = False
    read_note: str | None = None
    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    patient_id: str | None = None
    study_id: str | None = None
    age_years: float | None = None
    sex: str | None = None
    sha256: str = ""
    perceptual_hash: str = ""
    thumbnail: bytes = b""


def read_film(path: Path, source_path: str, *, long_side_px: int) -> Film:
    """Read one file into the form in which the dataset stores it; a bad file gives a film with an error.

    Args:
        path: The file.
        source_path: What messages and the dataset call it.
        long_side_px: Larger films are reduced to it, smaller ones stay.
    """
    try:
        data = path.read_bytes()
        radiograph = decode_radiograph(data, source_path)
    except UnreadableRadiograph as error:
        return Film(source_path=source_path, error=str(error))
    except OSError as error:
        return Film(source_path=source_path, error=f"{source_path}: the file cannot be opened ({error.strerror}).")
    return _build_film(data, radiograph, source_path, long_side_px)


def _build_film(data: bytes, radiograph: Radiograph, source_path: str, long_side_px: int) -> Film:
    stored = reduce_image(radiograph.image, long_side_px=long_side_px)
    buffer = BytesIO()
    stored.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return Film(
        source_path=source_path,
        jpeg=buffer.getvalue(),
        width=stored.width,
        height=stored.height,
        upright_width=radiograph.image.width,
        file_width=radiograph.original_size[0],
        file_height=radiograph.original_size[1],
        file_mode=radiograph.original_mode,
        num_bytes=len(data),
        has_colour=radiograph.has_colour,
        read_note=radiograph.read_note,
        modality=radiograph.modality,
        body_part=radiograph.body_part,
        view=radiograph.view,
        laterality=radiograph.laterality,
        patient_id=radiograph.patient_id,
        study_id=radiograph.study_id,
        age_years=radiograph.age_years,
        sex=radiograph.sex,
        sha256=hashlib.sha256(data).hexdigest(),
        perceptual_hash=f"{perceptual_hash(radiograph.image):016x}",
        thumbnail=fingerprint_image(radiograph.image).thumbnail.tobytes(),
    )


def reduce_image(image: Image.Image, *, long_side_px: int) -> Image.Image:
    """Reduce an image so that its long side is at most `long_side_px`; never enlarge it, keep at least 1 px.

    >>> reduce_image(Image.new("L", (1000, 250)), long_side_px=512).size
    (512, 128)
    """
    long_side = max(image.size)
    if long_side <= long_side_px:
        return image
    width, height = (max(1, round(side * long_side_px / long_side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


class FilmStore:
    """Chunks of films already read, in a folder of their own next to the dataset that they will become."""

    def __init__(self, work_dir: Path, rows: Sequence[RawRow], *, long_side_px: int) -> None:
        """Take up unfinished work in `work_dir` if it is of the same files and settings, else start afresh.

        Args:
            work_dir: Folder for the chunks.
            rows: What is to be read; the order decides the chunks.
            long_side_px: As in `read_film`.
        """
        self._work_dir = work_dir
        self._long_side_px = long_side_px
        self._chunks = [rows[start : start + CHUNK_FILMS] for start in range(0, len(rows), CHUNK_FILMS)]
        self._num_films = len(rows)
        key = {"listing": _hash_listing(rows), "long_side_px": long_side_px, "thumbnail_px": THUMBNAIL_PX}
        key |= {"format": _FORMAT}
        key_path = work_dir / "work.json"
        if not key_path.is_file() or key_path.read_bytes() != json.dumps(key).encode():
            shutil.rmtree(work_dir, ignore_errors=True)
            work_dir.mkdir(parents=True)
            write_atomically(key_path, json.dumps(key).encode())

    def read_missing(self, *, num_workers: int, report_progress: Progress | None = None) -> None:
        """Read every chunk that is not there yet.

        Args:
            num_workers: Processes; 1 reads in this one.
            report_progress: Called after each chunk.

        Raises:
            OSError: If a chunk cannot be written; those written before stay and are not read again.
            DatasetError: If a process was killed.
        """
        missing = [index for index in range(len(self._chunks)) if not self._path(index).exists()]
        done = self._num_films - sum(len(self._chunks[index]) for index in missing)
        for index, films in self._read(missing, num_workers):
            self._write(index, films)
            done += len(films)
            if report_progress is not None:
                report_progress("reading films", done, self._num_films)

    def _read(self, missing: Sequence[int], num_workers: int) -> Iterator[tuple[int, list[Film]]]:
        if num_workers == 1 or len(missing) < 2:
            for index in missing:
                yield index, read_chunk(*self._describe_task(index))
            return
        pool = ProcessPoolExecutor(min(num_workers, len(missing)), _context(), _ignore_interrupt)
        try:
            futures: dict[Future[list[Film]], int] = {
                pool.submit(read_chunk, *self._describe_task(index)): index for index in missing
            }
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "A process that reads films was stopped from outside, probably for lack of memory. Run the same "
                "command again with --workers 1; films already read are kept."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _describe_task(self, index: int) -> tuple[list[tuple[Path, str]], int]:
        return [(row.path, row.source_path) for row in self._chunks[index]], self._long_side_px

    def _write(self, index: int, films: Sequence[Film]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = BytesIO()
        table = pa.Table.from_pylist([asdict(film) for film in films], schema=_chunk_schema(pa))
        pq.write_table(table, buffer, compression="zstd")
        write_atomically(self._path(index), buffer.getvalue())

    def _path(self, index: int) -> Path:
        return self._work_dir / f"chunk-{index:06d}.parquet"

    def load(self, *, with_pixels: bool) -> Iterator[Film]:
        """Yield every film in the order of the rows, one chunk in memory at a time.

        Args:
            with_pixels: True for the stored JPEG; False for the thumbnail and all the rest, `jpeg` being None.

        Raises:
            DatasetError: If a chunk is damaged; it is removed.
        """
        import pyarrow.parquet as pq

        left_out = "thumbnail" if with_pixels else "jpeg"
        columns = [item.name for item in fields(Film) if item.name != left_out]
        for index in range(len(self._chunks)):
            try:
                records = pq.read_table(self._path(index), columns=columns).to_pylist()
                if len(records) != len(self._chunks[index]):
                    raise ValueError(f"{len(records)} films instead of {len(self._chunks[index])}")
            except (ValueError, OSError) as error:  # the disk lost what was written; Arrow's errors are one of these
                self._path(index).unlink(missing_ok=True)
                raise DatasetError(
                    f"Expected films already read in '{self._path(index)}', but the file is damaged "
                    f"({str(error)[:80]}). It was removed; give the same command again to read its films again."
                ) from error
            for record in records:
                yield Film(**record)

    def rename(self, work_dir: Path) -> None:
        """Give the work folder another name."""
        shutil.rmtree(work_dir, ignore_errors=True)
        self._work_dir.rename(work_dir)
        self._work_dir = work_dir


def read_chunk(files: Sequence[tuple[Path, str]], long_side_px: int) -> list[Film]:
    """Read the files of one chunk; runs in a worker process."""
    return [read_film(path, source_path, long_side_px=long_side_px) for path, source_path in files]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that it is there whole or not at all.

    Raises:
        OSError: If it cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hash_listing(rows: Sequence[RawRow]) -> str:
    """Hash names, sizes and times of the files, so that unfinished work of other files is not taken up."""
    digest = hashlib.sha256()
    for row in rows:
        status = row.path.stat()
        digest.update(f"{row.source_path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _context() -> Any:
    """Fork where that is the platform's way: a caller's script then needs no `if __name__ == "__main__"`."""
    return multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which stops the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunk_schema(pa: Any) -> Any:
    kinds = {"jpeg": pa.binary(), "thumbnail": pa.binary(), "has_colour": pa.bool_(), "age_years": pa.float64()}
    kinds |= dict.fromkeys(("width", "height", "upright_width", "file_width", "file_height", "num_bytes"), pa.int64())
    return pa.schema([(item.name, kinds.get(item.name, pa.string())) for item in fields(Film)])
