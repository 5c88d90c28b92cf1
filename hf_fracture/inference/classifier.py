"""`FractureClassifier`: the one way from a file to a finding, for the command line, the page and other people's code.

May depend on `explain`, `models`, `data` and everything below. Torch is imported when a model is loaded.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.config import FractureRecord
from hf_fracture.data.radiographs import Radiograph, read_radiograph
from hf_fracture.data.transforms import Letterbox, fit_letterbox, letterbox_pixels
from hf_fracture.errors import UnreadableRadiograph
from hf_fracture.explain.attribution import Attribution, Method, build_attribution, check_method
from hf_fracture.explain.closed_form import closed_form_grad_cam
from hf_fracture.inference.appearance import MAX_SCORE, Verdict, judge_appearance
from hf_fracture.inference.decision import decide, find_fractured_index
from hf_fracture.inference.engine import TorchEngine
from hf_fracture.inference.finding import Finding, Reason
from hf_fracture.inference.gate import judge_features, load_gate, merge_verdicts, pool_features
from hf_fracture.inference.streaming import map_in_order
from hf_fracture.models.checkpoint import read_json, read_preprocessing, read_record, resolve_model_dir

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Radiograph

DEFAULT_MODEL_NAME: Final = "hf_fracture/default_model"
UNSUPPORTED_MODALITY: Final = "unsupported_modality"  # also a code of the reader, for ultrasound and the like
NUM_READERS: Final = 2  # threads that decode while the network computes
NUM_AHEAD: Final = 8  # films that are read but not yet judged


@dataclass(frozen=True, kw_only=True)
class Examination:
    """One film with all that was found out about it.

    Attributes:
        finding: The answer, or why there is none.
        film: Upright 8-bit grey film, in whose pixels the attribution is; None if it could not be read.
        attribution: Where the evidence lies; None without an answer.
    """

    finding: Finding
    film: Image.Image | None
    attribution: Attribution | None


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A film that was read, looked at and letterboxed, or the reason why it was not."""

    path: str | None
    radiograph: Radiograph | None = None
    verdict: Verdict | None = None
    pixel_values: NDArray[np.float32] | None = None  # (3, S, S); None where the network is not asked
    error: UnreadableRadiograph | None = None
    seconds: float


@dataclass(frozen=True)
class _Judged:
    """A finding and what an explanation of it needs."""

    finding: Finding
    prepared: _Prepared
    feature_map: NDArray[np.float32] | None = None  # (C, h, w)


class FractureClassifier:
    """A fracture classifier with its preprocessing, its gate and its measured operating points.

    Attributes:
        model_dir: Folder of the model.
        model: Its name in findings: Hub id, folder name, or `hf_fracture/default_model`.
        revision: Commit on the Hub, or hash of the weights of a local folder.
        record: Operating points, triage limits and what the model was trained on; None for a foreign model.
    """

    def __init__(self, model_dir: Path, *, model: str, trust_remote_code: bool = False) -> None:
        """Load a model folder; `from_pretrained` also takes Hub ids and knows the shipped model."""
        self.model_dir = model_dir
        self.model = model
        self.record: FractureRecord | None = read_record(model_dir)
        self.revision = _read_revision(model_dir)
        self._preprocessing = read_preprocessing(model_dir)
        self._gate = load_gate(model_dir)
        fractured_index = find_fractured_index(read_json(model_dir / "config.json").get("id2label", {}))
        self._engine = TorchEngine(model_dir, fractured_index=fractured_index, trust_remote_code=trust_remote_code)

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, *, revision: str | None = None, trust_remote_code: bool = False
    ) -> "FractureClassifier":
        """Load a classifier.

        Args:
            model: A Hub id, a model folder, or None for the shipped model.
            revision: Branch, tag or commit of a Hub repository.
            trust_remote_code: Run modelling code that the repository brings.

        Returns:
            The classifier. One without a record warns: it has no measured operating points and answers by the larger
            of its two probabilities.

        Raises:
            MissingInputError: If there is no such model.
            ModelFolderError: If the folder is incomplete or holds something else than a fracture classifier.
        """
        model_dir = resolve_model_dir(model, revision=revision)
        name = DEFAULT_MODEL_NAME if model is None else _name_model(model)
        classifier = cls(model_dir, model=name, trust_remote_code=trust_remote_code)
        if classifier.record is None:
            warnings.warn(
                f"'{name}' carries no record of operating points: its probabilities may be uncalibrated, and it "
                "answers by the larger of two. Train or evaluate it with hf-fracture to measure them.",
                stacklevel=2,
            )
        return classifier

    @cached_property
    def evaluation(self) -> dict[str, Any] | None:
        """What `evaluate` measured, from `evaluation.json`; None if it was not."""
        return self._read_measurements("evaluation.json")

    @cached_property
    def attribution_scores(self) -> dict[str, Any] | None:
        """How well the maps localise, from `attribution.json`; None if it was not measured."""
        return self._read_measurements("attribution.json")

    def predict(self, source: Source) -> Finding:
        """Judge one film.

        Args:
            source: A path, the bytes of a file, an open binary file, a PIL image, or a `Radiograph`.

        Returns:
            The finding; `refused` if the picture is no radiograph of the kind the model knows.

        Raises:
            UnreadableRadiograph: If the file cannot be read. `predict_many` returns a finding instead.
        """
        return self._judge_one(source).finding

    def predict_many(self, sources: Iterable[Source]) -> Iterator[Finding]:
        """Judge films one after the other, decoding the next while the network computes.

        Args:
            sources: Any number of films; they are taken from the iterable as needed, so memory stays bounded.

        Yields:
            One finding per film, in the order of the sources; `error` for a file that cannot be read.
        """
        yield from (judged.finding for judged in self._stream(sources))

    def explain(self, source: Source, method: Method = "grad_cam") -> Attribution:
        """Show where on a film the evidence for a fracture lies, with Captum.

        Args:
            source: As for `predict`; a refused picture is explained all the same.
            method: One of `explain.attribution.METHODS`.

        Returns:
            The attribution, in pixels of the upright film.

        Raises:
            UnreadableRadiograph: If the file cannot be read.
            UsageError: If the method is unknown.
        """
        check_method(method)
        radiograph = source if isinstance(source, Radiograph) else read_radiograph(source)
        return self._explain(radiograph.image, self._letterbox(radiograph), method)

    def examine(self, source: Source, method: Method = "grad_cam", *, captum: bool = False) -> Examination:
        """Judge and explain one film, reading it once; with `grad_cam` at the price of the judgement alone.

        For networks whose head averages the last feature map, Grad-CAM comes from its closed form, which equals
        Captum's to 1e-5 of the maximum; Captum computes everything else.

        Args:
            source: As for `predict`.
            method: One of `explain.attribution.METHODS`.
            captum: Let Captum compute Grad-CAM too, at the price of a second pass.

        Raises:
            UnreadableRadiograph: If the file cannot be read. `examine_many` returns a finding instead.
            UsageError: If the method is unknown.
        """
        check_method(method)
        return self._finish_examination(self._judge_one(source), method, captum=captum)

    def examine_many(
        self, sources: Iterable[Source], method: Method = "grad_cam", *, captum: bool = False
    ) -> Iterator[Examination]:
        """Judge and explain films in order; like `predict_many`, with `film` and `attribution` beside the finding.

        Args:
            sources: As for `predict_many`.
            method: As for `examine`.
            captum: As for `examine`.

        Yields:
            One examination per film; `error` in its finding for a file that cannot be read.
        """
        check_method(method)
        for judged in self._stream(sources):
            yield self._finish_examination(judged, method, captum=captum)

    def compute_features(self, radiograph: Radiograph) -> NDArray[np.float32] | None:
        """Return the (C,) mean of the network's last feature map, or None where it has none; what the gate looks at."""
        maps = self._engine.compute(self._letterbox(radiograph)[None]).feature_maps
        return None if maps is None else pool_features(maps)[0]

    def _judge_one(self, source: Source) -> _Judged:
        prepared = self._prepare(source)
        judged = self._judge(prepared)
        if prepared.error is not None and judged.finding.decision == "error":
            raise prepared.error
        return judged

    def _stream(self, sources: Iterable[Source]) -> Iterator[_Judged]:
        """Read ahead in threads and judge in order, one by one: on a CPU, films in a batch take longer each."""
        yield from map(self._judge, map_in_order(self._prepare, sources, num_threads=NUM_READERS, num_ahead=NUM_AHEAD))

    def _prepare(self, source: Source) -> _Prepared:
        """Read, look and letterbox: everything before the network; safe in a thread."""
        start = time.perf_counter()
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        try:
            radiograph = source if isinstance(source, Radiograph) else read_radiograph(source)
        except UnreadableRadiograph as error:
            return _Prepared(path=path, error=error, seconds=time.perf_counter() - start)
        verdict = self._judge_modality(radiograph) or judge_appearance(radiograph)
        return _Prepared(
            path=path,
            radiograph=radiograph,
            verdict=verdict,
            pixel_values=None if verdict.is_refused else self._letterbox(radiograph),
            seconds=time.perf_counter() - start,
        )

    def _letterbox(self, radiograph: Radiograph) -> NDArray[np.float32]:
        preprocessing = self._preprocessing
        return letterbox_pixels(radiograph.image, preprocessing.size_px, preprocessing.mean, preprocessing.std)

    def _fit_letterbox(self, film: Image.Image) -> Letterbox:
        return fit_letterbox(film.width, film.height, self._preprocessing.size_px)

    def _judge(self, prepared: _Prepared) -> _Judged:
        """Ask the network, if the film may be shown to it, and make a finding."""
        if prepared.pixel_values is None or prepared.verdict is None:
            return _Judged(self._build_finding(prepared), prepared)
        start = time.perf_counter()
        activations = self._engine.compute(prepared.pixel_values[None])
        verdict, maps = prepared.verdict, activations.feature_maps
        if self._gate is not None and maps is not None:
            verdict = merge_verdicts(verdict, judge_features(self._gate, pool_features(maps))[0])
        seconds = prepared.seconds + time.perf_counter() - start
        finding = self._build_finding(
            replace(prepared, verdict=verdict, seconds=seconds), float(activations.probabilities[0])
        )
        return _Judged(finding, prepared, None if maps is None else maps[0])

    def _build_finding(self, prepared: _Prepared, probability: float | None = None) -> Finding:
        """Turn what is known of one film into its row."""
        if prepared.radiograph is None or prepared.verdict is None:
            code = prepared.error.code if prepared.error else "unreadable"
            decision = "refused" if code == UNSUPPORTED_MODALITY else "error"
            return self._finding(prepared, decision=decision, reasons=[Reason(code=code, sentence=str(prepared.error))])
        known = {
            "body_part": prepared.radiograph.body_part,
            "view": prepared.radiograph.view,
            "study_id": prepared.radiograph.study_id,
            "gate_score": prepared.verdict.score,
            "read_note": prepared.radiograph.read_note,
        }
        if probability is None or prepared.verdict.is_refused:
            return self._finding(prepared, decision="refused", reasons=list(prepared.verdict.reasons), **known)
        answer, operating_point = decide(probability, self.record)
        return self._finding(
            prepared,
            decision=answer,
            probability=probability,
            operating_point=operating_point,
            reasons=self._name_doubts(prepared.radiograph),
            **known,
        )

    def _finding(self, prepared: _Prepared, **answer: Any) -> Finding:
        identity = {"path": prepared.path, "model": self.model, "revision": self.revision, "seconds": prepared.seconds}
        return Finding(**{"probability": None, **identity, **answer})

    def _judge_modality(self, radiograph: Radiograph) -> Verdict | None:
        """Refuse, by name, a modality that the model was not trained on; None where it is the same or unknown."""
        if self.record is None or radiograph.modality in (None, self.record.modality):
            return None
        sentence = (
            f"The file is a {radiograph.modality} image; this model was trained on {self.record.modality} only. "
            f"Use a model trained on {radiograph.modality}."
        )
        return Verdict(MAX_SCORE, (Reason(code=UNSUPPORTED_MODALITY, sentence=sentence),))

    def _name_doubts(self, radiograph: Radiograph) -> list[Reason]:
        """Say what makes an answer less sure than the measured figures."""
        tested = self.record.body_parts if self.record else []
        part = radiograph.body_part
        if not tested or part is None or part.casefold() in {name.casefold() for name in tested}:
            return []
        sentence = (
            f"The model was not tested on this body part ({part}); its measured figures hold for {', '.join(tested)}."
        )
        return [Reason(code="untested_body_part", sentence=sentence)]

    def _finish_examination(self, judged: _Judged, method: Method, *, captum: bool) -> Examination:
        """Add the attribution to an answer."""
        finding, prepared = judged.finding, judged.prepared
        film = prepared.radiograph.image if prepared.radiograph else None
        if film is None or prepared.pixel_values is None or not finding.is_answer:
            return Examination(finding=finding, film=film, attribution=None)
        feature_map = None if captum else judged.feature_map
        attribution = self._explain(film, prepared.pixel_values, method, feature_map)
        total = replace(finding, seconds=finding.seconds + attribution.seconds)
        return Examination(finding=total, film=film, attribution=attribution)

    def _explain(
        self,
        film: Image.Image,
        pixel_values: NDArray[np.float32],
        method: Method,
        feature_map: NDArray[np.float32] | None = None,
    ) -> Attribution:
        """Explain one film: from its feature map where that is given and enough, with Captum otherwise."""
        start = time.perf_counter()
        letterbox, scores = self._fit_letterbox(film), self._method_scores(method)
        full_scale = float((scores or {}).get("full_scale", 0.0))
        if method == "grad_cam" and feature_map is not None and self._engine.head is not None:
            input_map = closed_form_grad_cam(feature_map, self._engine.head)
            attribution = build_attribution(input_map, letterbox, method=method, full_scale=full_scale)
        else:
            attribution = self._engine.attribute(pixel_values, letterbox, method=method, full_scale=full_scale)
        return replace(attribution, scores=scores, seconds=time.perf_counter() - start)

    def _method_scores(self, method: str) -> dict[str, Any] | None:
        scores = (self.attribution_scores or {}).get("methods", {}).get(method)
        return scores if isinstance(scores, dict) else None

    def _read_measurements(self, name: str) -> dict[str, Any] | None:
        path = self.model_dir / name
        return read_json(path) if path.is_file() else None


def _name_model(model: str | Path) -> str:
    """Name a folder by its last part and a Hub repository by its id."""
    return Path(model).resolve().name if Path(model).is_dir() else str(model)


def _read_revision(model_dir: Path) -> str | None:
    """Return the commit of a folder in the Hub's cache, or else the start of the SHA-256 of the weights."""
    if model_dir.parent.name == "snapshots":
        return model_dir.name
    weights = model_dir / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
