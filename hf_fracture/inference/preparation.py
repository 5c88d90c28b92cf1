"""From a source to the network's input: read, judge the modality and the appearance, letterbox. Safe in threads.

May depend on `appearance`, `finding`, `data`, `models`, `evaluation.measured_model` and everything below.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.config import FractureRecord
from hf_fracture.data.radiographs import Radiograph, read_radiograph
from hf_fracture.data.transforms import Letterbox, Preprocessing, fit_letterbox, letterbox_pixels
from hf_fracture.errors import ModelFolderError, UnreadableRadiograph, naming_missing_packages
from hf_fracture.inference.appearance import MAX_SCORE, Verdict, judge_appearance
from hf_fracture.inference.finding import Reason
from hf_fracture.models.checkpoint import read_preprocessing

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Radiograph

UNSUPPORTED_MODALITY: Final = "unsupported_modality"  # also a code of the reader, for ultrasound and the like
FAST_SCALE: Final = 2  # fast decoding keeps so many pixels of the film per pixel of the network's input


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A film that was read, looked at and letterboxed, or the reason why it was not.

    Attributes:
        path: As the source names it; None for bytes and images in memory.
        radiograph: What was read; None if it could not be.
        verdict: Of the appearance and the modality.
        pixel_values: (3, S, S); None where the network is not asked.
        error: Why it could not be read.
        seconds: Wall time so far.
    """

    path: str | None
    radiograph: Radiograph | None = None
    verdict: Verdict | None = None
    pixel_values: NDArray[np.float32] | None = None
    error: UnreadableRadiograph | None = None
    seconds: float


class FilmPreparer:
    """Reads films as one model wants them.

    Attributes:
        preprocessing: The model's letterbox; None for a foreign model that prepares films in another way.
    """

    @naming_missing_packages()
    def __init__(self, model_dir: Path, record: FractureRecord | None, *, fast: bool = False) -> None:
        """Read the model's preprocessing.

        Args:
            model_dir: A model folder.
            record: What it says of its training; without one, another preprocessing than the letterbox is accepted and
                left to transformers.
            fast: Decode large JPEGs at a reduced size.

        Raises:
            ModelFolderError: If a folder with a record describes no letterbox.
        """
        self._record = record
        self.preprocessing: Preprocessing | None
        try:
            self.preprocessing = read_preprocessing(model_dir)
        except ModelFolderError:
            if record is not None:
                raise
            self.preprocessing = None
            from hf_fracture.evaluation.measured_model import load_film_reader

            self._read_foreign = load_film_reader(model_dir)
        self._fast_size_px = FAST_SCALE * self.preprocessing.size_px if fast and self.preprocessing else None

    def prepare(self, source: Source) -> Prepared:
        """Do everything that comes before the network."""
        start = time.perf_counter()
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        try:
            radiograph = self.read(source)
        except UnreadableRadiograph as error:
            return Prepared(path=path, error=error, seconds=time.perf_counter() - start)
        verdict = self._judge_modality(radiograph) or judge_appearance(radiograph)
        return Prepared(
            path=path,
            radiograph=radiograph,
            verdict=verdict,
            pixel_values=None if verdict.is_refused else self.to_pixels(radiograph.image),
            seconds=time.perf_counter() - start,
        )

    def read(self, source: Source) -> Radiograph:
        """Read a film, unless it was.

        Raises:
            UnreadableRadiograph: If it cannot be read.
        """
        if isinstance(source, Radiograph):
            return source
        return read_radiograph(source, fast_size_px=self._fast_size_px)

    def to_pixels(self, film: Image.Image) -> NDArray[np.float32]:
        """Return the network's input (3, S, S) of a grey film."""
        chosen = self.preprocessing
        if chosen is None:
            return self._read_foreign(film)
        return letterbox_pixels(film, chosen.size_px, chosen.mean, chosen.std)

    def fit_letterbox(self, film: Image.Image) -> Letterbox:
        """Say where a film lies in the network's input.

        Raises:
            ModelFolderError: If the model's preprocessing is no letterbox.
        """
        if self.preprocessing is None:
            raise ModelFolderError(
                "Expected a model that letterboxes films to place a heatmap on them, got one with a preprocessing of "
                "its own (a centre crop, say). Ask it for findings only."
            )
        return fit_letterbox(film.width, film.height, self.preprocessing.size_px)

    def _judge_modality(self, radiograph: Radiograph) -> Verdict | None:
        """Refuse, by name, a modality that the model was not trained on; None where it is the same or unknown."""
        if self._record is None or radiograph.modality in (None, self._record.modality):
            return None
        trained = self._record.modality
        sentence = (
            f"The file is a {radiograph.modality} image; this model was trained on {trained} only. "
            f"Use a model trained on {radiograph.modality}."
        )
        return Verdict(MAX_SCORE, (Reason(code=UNSUPPORTED_MODALITY, sentence=sentence),))
