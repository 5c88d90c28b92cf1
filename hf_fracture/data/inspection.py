"""What can be seen of a file without knowing its label: can it be read, does it show something, is it a film at all.

May depend on `films`, `fingerprints`, `radiographs` and `schema`.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.films import Film
from hf_fracture.data.fingerprints import THUMBNAIL_PX, fingerprint_image, hash_orientations
from hf_fracture.data.radiographs import Radiograph, decode_radiograph
from hf_fracture.data.schema import RawRow
from hf_fracture.errors import UnreadableRadiograph

BLANK_RANGE: Final = 8
LOW_CONTRAST_RANGE: Final = 48
WHITE_PAGE_FRACTION: Final = 0.6
MIN_SIDE_PX: Final = 48
_CHUNK_FILES: Final = 32
_RING_PX: Final = 3
_HIGHLIGHT_WINDOW_PX: Final = 5
_HIGHLIGHT_GREYS: Final = 40

Report = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Figures of one film, measured on its thumbnail.

    Attributes:
        grey_range: Difference of the 99th and the 1st percentile of the grey levels, 0 to 255.
        mean_grey: 0 to 255.
        border_grey: Mean of the outermost ring, 0 to 255.
        border_black_fraction: Share of that ring that is black, in [0, 1].
        white_fraction: Share of the film that is white, in [0, 1].
        outer_highlight_fraction: Share of the outer part that is much brighter than its surroundings: letters, side
            markers, arrows, frames.
        inner_highlight_fraction: The same of the inner part: screws, plates, wires, rings. On FracAtlas it finds the
            films with hardware with an AUROC of 0.78.
    """

    grey_range: float
    mean_grey: float
    border_grey: float
    border_black_fraction: float
    white_fraction: float
    outer_highlight_fraction: float
    inner_highlight_fraction: float


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One file, read once.

    Attributes:
        film: What reading gave; `film.error` says why a file cannot be read. Its pixels are not kept.
        appearance: None for a file that cannot be read.
    """

    film: Film
    appearance: Appearance | None

    def list_issues(self) -> list[str]:
        """Name what is wrong with the file: `unreadable`, `truncated`, `blank`, `low_contrast`, `not_a_radiograph`."""
        if self.appearance is None:
            return ["unreadable"]
        issues = ["truncated"] if "truncated" in (self.film.read_note or "") else []
        if self.appearance.grey_range < BLANK_RANGE:
            issues.append("blank")
        elif self.appearance.grey_range < LOW_CONTRAST_RANGE:
            issues.append("low_contrast")
        if self.doubt_radiograph():
            issues.append("not_a_radiograph")
        return issues

    def doubt_radiograph(self) -> str | None:
        """Say why the file does not look like a radiograph, or return None."""
        if self.appearance is None:
            return None
        if self.film.has_colour:
            return "it has colours"
        if min(self.film.file_width, self.film.file_height) < MIN_SIDE_PX:
            return f"it is only {self.film.file_width} x {self.film.file_height} px"
        if self.appearance.white_fraction > WHITE_PAGE_FRACTION:
            return f"{self.appearance.white_fraction:.0%} of it are white, as on a page"
        return None


def inspect_file(path: Path, source_path: str) -> Inspection:
    """Read and measure one file; a bad file gives an inspection with an error."""
    try:
        data = path.read_bytes()
        radiograph = decode_radiograph(data, source_path)
    except UnreadableRadiograph as error:
        return Inspection(film=Film(source_path=source_path, error=str(error)), appearance=None)
    except OSError as error:
        reason = f"{source_path}: the file cannot be opened ({error.strerror})."
        return Inspection(film=Film(source_path=source_path, error=reason), appearance=None)
    film = _describe_film(data, radiograph, source_path)
    return Inspection(film=film, appearance=measure_appearance(read_thumbnail(film)))


def inspect_files(
    rows: Sequence[RawRow], *, num_workers: int, report_progress: Report | None = None
) -> list[Inspection]:
    """Inspect the files of all rows, in their order.

    Args:
        rows: What a source lists.
        num_workers: Processes; 1 reads in this one.
        report_progress: Called with (files done, files in all).
    """
    chunks = [rows[start : start + _CHUNK_FILES] for start in range(0, len(rows), _CHUNK_FILES)]
    found: list[Inspection] = []
    for inspected in _map_chunks(chunks, num_workers):
        found += inspected
        if report_progress is not None:
            report_progress(len(found), len(rows))
    return found


def _map_chunks(chunks: Sequence[Sequence[RawRow]], num_workers: int) -> Iterator[list[Inspection]]:
    tasks = [[(row.path, row.source_path) for row in chunk] for chunk in chunks]
    if num_workers == 1 or len(tasks) < 2:
        yield from map(_inspect_chunk, tasks)
        return
    with ProcessPoolExecutor(min(num_workers, len(tasks)), mp_context=_context()) as pool:
        yield from pool.map(_inspect_chunk, tasks)


def _context() -> Any:
    import multiprocessing

    return multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")


def _inspect_chunk(files: Sequence[tuple[Path, str]]) -> list[Inspection]:
    return [inspect_file(path, source_path) for path, source_path in files]


def _describe_film(data: bytes, radiograph: Radiograph, source_path: str) -> Film:
    """Describe a film as `films` does, without the pixels that a prepared dataset stores."""
    fingerprint = fingerprint_image(radiograph.image)
    return Film(
        source_path=source_path,
        width=radiograph.image.width,
        height=radiograph.image.height,
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
        perceptual_hash=f"{int(hash_orientations(fingerprint.thumbnail[None])[0, 0]):016x}",
        thumbnail=fingerprint.thumbnail.tobytes(),
    )


def read_thumbnail(film: Film) -> NDArray[np.uint8]:
    """Return the thumbnail (128, 128) that a film carries."""
    return np.frombuffer(film.thumbnail, dtype=np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX)


def measure_appearance(thumbnail: NDArray[np.uint8]) -> Appearance:
    """Measure a thumbnail (128, 128).

    >>> measure_appearance(np.full((128, 128), 7, np.uint8)).grey_range
    0.0
    """
    low, high = np.percentile(thumbnail, (1, 99))
    ring = np.ones(thumbnail.shape, dtype=np.bool_)
    ring[_RING_PX:-_RING_PX, _RING_PX:-_RING_PX] = False
    inner = np.zeros(thumbnail.shape, dtype=np.bool_)
    margin = THUMBNAIL_PX // 5
    inner[margin:-margin, margin:-margin] = True
    highlights = thumbnail > _average(thumbnail, _HIGHLIGHT_WINDOW_PX) + _HIGHLIGHT_GREYS
    return Appearance(
        grey_range=float(high - low),
        mean_grey=float(thumbnail.mean()),
        border_grey=float(thumbnail[ring].mean()),
        border_black_fraction=float((thumbnail[ring] <= 4).mean()),
        white_fraction=float((thumbnail >= 250).mean()),
        outer_highlight_fraction=float(highlights[~inner].mean()),
        inner_highlight_fraction=float(highlights[inner].mean()),
    )


def _average(thumbnail: NDArray[np.uint8], window_px: int) -> NDArray[np.float64]:
    """Return the mean over a square window about each pixel, the edge repeated outwards."""
    padded = np.pad(thumbnail.astype(np.float64), window_px // 2, mode="edge")
    total = np.pad(padded.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    side = window_px
    window = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return np.asarray(window / side**2)
