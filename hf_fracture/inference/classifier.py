"""`FractureClassifier`: the one way from a file to a finding, for the command line, the page and other people's code.

May depend on `explain`, `models`, `data` and everything below. Torch is imported where no export answers, and for the
methods of Captum.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.config import FractureRecord
from hf_fracture.data.radiographs import Radiograph
from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.explain.attribution import Attribution, Method, Watch, build_attribution, check_method
from hf_fracture.explain.closed_form import closed_form_grad_cam
from hf_fracture.inference.activations import Activations
from hf_fracture.inference.backends import Backend, Engine, load_onnx_engine
from hf_fracture.inference.decision import decide, find_fractured_index
from hf_fracture.inference.discriminant import summarise_maps
from hf_fracture.inference.engine import TorchEngine
from hf_fracture.inference.finding import Finding, Reason
from hf_fracture.inference.gate import judge_maps, load_gate, merge_verdicts, pool_features
from hf_fracture.inference.onnx_engine import OnnxEngine, count_cores
from hf_fracture.inference.preparation import UNSUPPORTED_MODALITY, FilmPreparer, Prepared, Source
from hf_fracture.inference.streaming import map_in_order
from hf_fracture.models.checkpoint import read_json, read_record, resolve_model_dir

__all__ = ["DEFAULT_MODEL_NAME", "Examination", "FractureClassifier", "Source"]

Result = TypeVar("Result")

DEFAULT_MODEL_NAME: Final = "hf_fracture/default_model"
NUM_READERS: Final = 2  # threads that decode while torch computes
NUM_AHEAD: Final = 8  # films that are under way or wait to be yielded


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


@dataclass(frozen=True)
class _Judged:
    """A finding and what an explanation of it needs."""

    finding: Finding
    prepared: Prepared
    feature_map: NDArray[np.float32] | None = None  # (C, h, w)


class FractureClassifier:
    """A fracture classifier with its preprocessing, its gate and its measured operating points.

    Attributes:
        model_dir: Folder of the model.
        model: Its name in findings: Hub id, folder name, or `hf_fracture/default_model`.
        revision: Commit on the Hub, or hash of the weights of a local folder.
        record: Operating points, triage limits and what the model was trained on; None for a foreign model.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        model: str,
        backend: Backend = "auto",
        fast: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        """Load a model folder; `from_pretrained` also takes Hub ids and knows the shipped model."""
        self.model_dir = model_dir
        self.model = model
        self.record: FractureRecord | None = read_record(model_dir)
        _check_label_kind(self.record, model)
        self._trust_remote_code = trust_remote_code
        self._fractured_index = find_fractured_index(read_json(model_dir / "config.json").get("id2label", {}))
        self._films = FilmPreparer(model_dir, self.record, fast=fast)
        self._gate = load_gate(model_dir)
        onnx_engine = load_onnx_engine(model_dir, backend=backend, fast=fast)
        if onnx_engine is not None:
            self._check_export(onnx_engine)
        self._engine: Engine = onnx_engine or self._torch_engine
        self.backend: str = "torch" if onnx_engine is None else "onnx"
        self.revision = _read_revision(model_dir, onnx_engine)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        revision: str | None = None,
        backend: Backend = "auto",
        fast: bool = False,
        trust_remote_code: bool = False,
    ) -> "FractureClassifier":
        """Load a classifier.

        Args:
            model: A Hub id, a model folder, or None for the shipped model.
            revision: Branch, tag or commit of a Hub repository.
            backend: What computes: `onnx` (onnxruntime on the folder's export), `torch`, or `auto`: onnx where the
                folder holds an export of its own weights, torch otherwise. Both give the same findings.
            fast: Decode large JPEGs at a reduced size and compute in 8 bit. Not exact: `export.json` says by how much
                probabilities move.
            trust_remote_code: Run modelling code that the repository brings.

        Returns:
            The classifier. One without a record warns: it has no measured operating points and answers by the larger
            of its two probabilities.

        Raises:
            MissingInputError: If there is no such model.
            ModelFolderError: If the folder is incomplete or holds something else than a fracture classifier.
            UsageError: If the backend cannot do what is asked.
        """
        model_dir = resolve_model_dir(model, revision=revision)
        name = DEFAULT_MODEL_NAME if model is None else _name_model(model)
        classifier = cls(model_dir, model=name, backend=backend, fast=fast, trust_remote_code=trust_remote_code)
        if classifier.record is None:
            warnings.warn(
                f"'{name}' carries no record of operating points: its probabilities may be uncalibrated, and it "
                "answers by the larger of two. Train or evaluate it with hf-fracture to measure them.",
                stacklevel=2,
            )
        return classifier

    @cached_property
    def _torch_engine(self) -> TorchEngine:
        """The folder run by torch; loaded when nothing else answers or Captum is asked for."""
        return TorchEngine(
            self.model_dir, fractured_index=self._fractured_index, trust_remote_code=self._trust_remote_code
        )

    @cached_property
    def _bulk_engine(self) -> Engine:
        """The engine for many films: one thread per film, as many films at once as there are cores."""
        if isinstance(self._engine, OnnxEngine) and count_cores() > 1:
            return OnnxEngine(self._engine.path, num_threads=1)
        return self._engine

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
        yield from self._stream(sources, lambda judged: judged.finding)

    def explain(
        self,
        source: Source,
        method: Method = "grad_cam",
        *,
        target: str | None = None,
        watch: Watch | None = None,
    ) -> Attribution:
        """Show where on a film the evidence for a fracture lies, with Captum.

        Args:
            source: As for `predict`; a refused picture is explained all the same.
            method: One of `explain.attribution.METHODS`.
            target: Label whose log-odds are explained; None for `fractured`, whose log-odds the decision uses.
            watch: Is told of the progress and may stop it.

        Returns:
            The attribution, in pixels of the upright film.

        Raises:
            UnreadableRadiograph: If the file cannot be read.
            UsageError: If the method or the label is unknown.
            ExplanationCancelled: If the watch says so.
        """
        check_method(method)
        index = self._find_target(target)
        film = self._films.read(source).image
        if index == self._fractured_index:
            return self._explain(film, self._films.to_pixels(film), method, watch=watch)
        return self._torch_engine.attribute(
            self._films.to_pixels(film), self._films.fit_letterbox(film), method=method, target=index, watch=watch
        )

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
        yield from self._stream(sources, partial(self._finish_examination, method=method, captum=captum))

    def read(self, source: Source) -> Radiograph:
        """Read a film as this classifier does before it judges.

        Raises:
            UnreadableRadiograph: If the file cannot be read.
        """
        return self._films.read(source)

    def compute(self, radiograph: Radiograph) -> Activations:
        """Run the network on one film, whatever the gate thinks of it; N is 1 in what comes back."""
        return self._engine.compute(self._films.to_pixels(radiograph.image)[None])

    def compute_summary(self, radiograph: Radiograph) -> NDArray[np.float32] | None:
        """Return the (2C,) mean and largest values of the last feature map, or None where the network has none."""
        maps = self.compute(radiograph).feature_maps
        return None if maps is None else summarise_maps(maps)[0]

    def compute_features(self, radiograph: Radiograph) -> NDArray[np.float32] | None:
        """Return the (C,) mean of the network's last feature map, or None where it has none; what the gate looks at."""
        maps = self.compute(radiograph).feature_maps
        return None if maps is None else pool_features(maps)[0]

    def _check_export(self, engine: OnnxEngine) -> None:
        """Refuse an export that reads films or names answers in another way than the folder says."""
        stated = engine.metadata
        if stated.fractured_index != self._fractured_index or stated.preprocessing != self._films.preprocessing:
            raise ModelFolderError(
                f"Expected '{engine.path}' to name its answers and to prepare films as the folder's config.json and "
                "preprocessor_config.json do, got an export that does not. Export the model again: hf-fracture export."
            )

    def _judge_one(self, source: Source) -> _Judged:
        prepared = self._films.prepare(source)
        judged = self._judge(prepared, self._engine)
        if prepared.error is not None and judged.finding.decision == "error":
            raise prepared.error
        return judged

    def _stream(self, sources: Iterable[Source], finish: Callable[[_Judged], Result]) -> Iterator[Result]:
        """Read ahead in threads and judge in order, one by one: on a CPU, films in a batch take longer each.

        With onnxruntime, which computes several films at once, a thread takes a film all the way, so that no core
        waits for another. Torch computes one film at a time while the threads decode the next.
        """
        engine = self._bulk_engine
        if isinstance(engine, OnnxEngine):

            def judge(source: Source) -> Result:
                return finish(self._judge(self._films.prepare(source), engine))

            num_threads = count_cores()
            yield from map_in_order(judge, sources, num_threads=num_threads, num_ahead=max(NUM_AHEAD, 2 * num_threads))
            return
        for prepared in map_in_order(self._films.prepare, sources, num_threads=NUM_READERS, num_ahead=NUM_AHEAD):
            yield finish(self._judge(prepared, engine))

    def _judge(self, prepared: Prepared, engine: Engine) -> _Judged:
        """Ask the network, if the film may be shown to it, and make a finding."""
        if prepared.pixel_values is None or prepared.verdict is None:
            return _Judged(self._build_finding(prepared), prepared)
        start = time.perf_counter()
        activations = engine.compute(prepared.pixel_values[None])
        if not np.isfinite(activations.probabilities).all():
            raise ModelFolderError(
                f"Expected a probability from '{self.model}', got {activations.probabilities[0]}: its weights are "
                "damaged. Download or train it again."
            )
        verdict, maps = prepared.verdict, activations.feature_maps
        if self._gate is not None and maps is not None:
            verdict = merge_verdicts(verdict, judge_maps(self._gate, maps)[0])
        seconds = prepared.seconds + time.perf_counter() - start
        finding = self._build_finding(
            replace(prepared, verdict=verdict, seconds=seconds), float(activations.probabilities[0])
        )
        return _Judged(finding, prepared, None if maps is None else maps[0])

    def _build_finding(self, prepared: Prepared, probability: float | None = None) -> Finding:
        """Turn what is known of one film into its row."""
        if prepared.radiograph is None or prepared.verdict is None:
            code = prepared.error.code if prepared.error else "unreadable"
            decision = "refused" if code == UNSUPPORTED_MODALITY else "error"
            return self._finding(prepared, decision=decision, reasons=[Reason(code=code, sentence=str(prepared.error))])
        known = {
            "body_part": prepared.radiograph.body_part,
            "view": prepared.radiograph.view,
            "laterality": prepared.radiograph.laterality,
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

    def _finding(self, prepared: Prepared, **answer: Any) -> Finding:
        identity = {"path": prepared.path, "model": self.model, "revision": self.revision, "seconds": prepared.seconds}
        return Finding(**{"probability": None, **identity, **answer})

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
        *,
        watch: Watch | None = None,
    ) -> Attribution:
        """Explain one film: from its feature map where that is given and enough, with Captum otherwise."""
        start = time.perf_counter()
        letterbox = self._films.fit_letterbox(film)
        if method == "grad_cam" and feature_map is not None and self._engine.head is not None:
            input_map = closed_form_grad_cam(feature_map, self._engine.head)
            attribution = build_attribution(input_map, letterbox, method=method)
        else:
            attribution = self._torch_engine.attribute(pixel_values, letterbox, method=method, watch=watch)
        return replace(attribution.with_scores(self._method_scores(method)), seconds=time.perf_counter() - start)

    def _find_target(self, label: str | None) -> int:
        """Return the index of a label.

        Raises:
            UsageError: If the model has no such label.
        """
        if label is None:
            return self._fractured_index
        labels = {name: int(index) for index, name in read_json(self.model_dir / "config.json")["id2label"].items()}
        if label not in labels:
            raise UsageError(f"target must be one of {', '.join(labels)}, got {label!r}. Choose one of them.")
        return labels[label]

    def _method_scores(self, method: str) -> dict[str, Any] | None:
        scores = (self.attribution_scores or {}).get("methods", {}).get(method)
        return scores if isinstance(scores, dict) else None

    def _read_measurements(self, name: str) -> dict[str, Any] | None:
        path = self.model_dir / name
        return read_json(path) if path.is_file() else None


def _name_model(model: str | Path) -> str:
    """Name a folder by its last part and a Hub repository by its id."""
    return Path(model).resolve().name if Path(model).is_dir() else str(model)


def _check_label_kind(record: FractureRecord | None, model: str) -> None:
    """Refuse a model that names kinds of fractures: there is no fracture to find or to deny in its answer."""
    if record is not None and record.label_kind != "fracture":
        raise ModelFolderError(
            f"Expected a model that tells fractured from not fractured, got '{model}', which names the type of a "
            "fracture. Ask it through transformers: pipeline('image-classification', model=...)."
        )


def _read_revision(model_dir: Path, onnx_engine: OnnxEngine | None) -> str | None:
    """Return the commit of a folder in the Hub's cache, or else the start of the SHA-256 of the weights."""
    if model_dir.parent.name == "snapshots":
        return model_dir.name
    if onnx_engine is not None:
        return onnx_engine.metadata.model_sha256[:12]
    weights = model_dir / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
