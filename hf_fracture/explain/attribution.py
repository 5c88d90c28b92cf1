"""Captum behind one interface: where on the film the evidence for a fracture lies.

Every map explains what the decision used, the logit of fractured minus the logit of not fractured (for more classes:
the log-odds of one against all others), and comes back in the coordinates of the film. Torch and captum are imported
inside functions. May depend on `data`, `models`, `labels`, `errors` and the other modules of this room.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.candidate import FilmBox, find_candidate
from hf_fracture.explain.captum_methods import FUNCTIONS, Request, build_score_function, hooks_restored, out_of_place
from hf_fracture.explain.methods import METHODS, WARNINGS, Method
from hf_fracture.explain.watch import Meter, Watch
from hf_fracture.labels import FRACTURED

__all__ = [
    "METHODS",
    "Attribution",
    "Method",
    "Watch",
    "attribute",
    "build_attribution",
    "build_score_function",
    "check_method",
    "compute_input_map",
]

if TYPE_CHECKING:
    from PIL import Image
    from transformers import PreTrainedModel

TARGET: Final = "logit of fractured minus logit of not fractured"
MIN_EVIDENCE_LOGITS: Final = 1e-4  # a map whose positive part sums to less cannot have moved a decision: shown empty


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Signed evidence for one film, in the coordinates of the film.

    Attributes:
        values: (H, W) float32; positive speaks for the target. The unit is logits per position of the network's own
            map, resampled through the inverse of the letterbox; for `saliency` the size of the gradient.
        method: Name of the method.
        target: What is explained, in words.
        full_scale: The value drawn in full colour; infinite where there is no evidence to draw.
        completeness_gap: |sum of the map - (score of the film - score of the baseline)| in logits, for methods that
            promise 0; None for the others.
        seconds: Wall time of the computation.
        scores: What was measured of the method for this model, as read from its `attribution.json`, or None.
    """

    values: NDArray[np.float32]
    method: str
    target: str = TARGET
    full_scale: float
    completeness_gap: float | None = None
    seconds: float = 0.0
    scores: dict[str, Any] | None = field(default=None, compare=False)

    @cached_property
    def heatmap(self) -> NDArray[np.float32]:
        """Positive part as (H, W) float32 in [0, 1], for display only; all zero where there is no evidence."""
        return (np.maximum(self.values, 0.0) / self.full_scale).clip(0.0, 1.0).astype(np.float32)

    @property
    def is_empty(self) -> bool:
        """Whether the map holds no evidence for a fracture worth drawing."""
        return not np.isfinite(self.full_scale)

    @property
    def warning(self) -> str | None:
        """What must be said beside a map of this method, or None."""
        return WARNINGS.get(self.method)

    @property
    def worth(self) -> str | None:
        """One sentence on how often such a map was right, as measured; None if it was not."""
        sentence = (self.scores or {}).get("sentence")
        return None if sentence is None else str(sentence)

    @cached_property
    def candidate(self) -> FilmBox | None:
        """The region that the map points at, in film pixels; None where the measurements do not support drawing one."""
        measured = (self.scores or {}).get("candidate") or {}
        if self.is_empty or not measured.get("is_supported"):
            return None
        return find_candidate(self.values, threshold_fraction=float(measured["threshold_fraction"]))

    def with_scores(self, scores: Mapping[str, Any] | None) -> "Attribution":
        """Attach what was measured of the method, and take the colours' scale from it.

        Args:
            scores: The method's entry in `attribution.json`, or None. Its `full_scale` is the least value that
                deserves full colour; without one the peak of every map is drawn in full colour.
        """
        scale = float((scores or {}).get("full_scale", 0.0))
        return replace(self, scores=None if scores is None else dict(scores), full_scale=max(self.full_scale, scale))

    def overlay(self, film: "Image.Image", *, opacity: float = 0.6, decision: str = "") -> "Image.Image":
        """Lay the heatmap over the film, with the candidate region where decision and measurements call for it.

        Args:
            film: The radiograph that was explained.
            opacity: Opacity where the heatmap is 1, in [0, 1].
            decision: Of the film's `Finding`: a candidate is dotted for `uncertain`, solid for `fracture`, and left
                out for every other decision.

        Returns:
            RGB image of the film's size; `overlay.add_colour_bar` sets the scale below it.
        """
        from hf_fracture.explain.overlay import draw_candidate, render_overlay

        return draw_candidate(render_overlay(film, self.heatmap, opacity=opacity), self, decision)


def build_attribution(
    input_map: NDArray[np.float32],
    letterbox: Letterbox,
    *,
    method: Method,
    completeness_gap: float | None = None,
    seconds: float = 0.0,
    full_scale: float = 0.0,
) -> Attribution:
    """Bring a map of the padded network input into film coordinates.

    A map coarser than the input is read with a spline, so that its peak can lie between two positions.

    Args:
        input_map: (s, s) signed map over the whole padded input, of any side s.
        letterbox: How the film was placed in that input.
        method: Name of the method that made the map.
        completeness_gap: See `Attribution`.
        seconds: See `Attribution`.
        full_scale: Least value that deserves full colour, where it is known what strong evidence is. At 0 the peak of
            every map is drawn in full colour.

    Returns:
        The attribution; empty if its positive part sums to less than `MIN_EVIDENCE_LOGITS`.
    """
    values = letterbox.map_to_film(input_map, kernel="spline" if len(input_map) < letterbox.size_px else "linear")
    has_evidence = float(np.maximum(input_map, 0.0).sum()) >= MIN_EVIDENCE_LOGITS and float(values.max()) > 0.0
    return Attribution(
        values=values,
        method=method,
        full_scale=max(full_scale, float(values.max())) if has_evidence else float("inf"),
        completeness_gap=completeness_gap,
        seconds=seconds,
    )


def attribute(
    model: "PreTrainedModel",
    pixel_values: NDArray[np.float32],
    letterbox: Letterbox,
    *,
    method: Method = "grad_cam",
    target: int = FRACTURED,
    watch: Watch | None = None,
) -> Attribution:
    """Explain one film with Captum.

    Hooks that the method sets are gone afterwards, whether it succeeds or raises. The answer is the same at every
    call: methods that sample draw from a generator of their own seed.

    Args:
        model: Image classifier in eval mode.
        pixel_values: (3, S, S) letterboxed and normalised film.
        letterbox: How the film was placed in that input.
        method: One of `METHODS`.
        target: Index of the class whose log-odds are explained.
        watch: Whom to tell of the progress, and who may stop it.

    Returns:
        The attribution in film coordinates.

    Raises:
        UsageError: If method or target is unknown, the model is in training mode or the input is not (3, S, S).
        ExplanationCancelled: If the watch says so.
    """
    start = time.perf_counter()
    grid, gap = compute_input_map(model, pixel_values, method=method, target=target, watch=watch)
    attribution = build_attribution(grid, letterbox, method=method, completeness_gap=gap)
    return replace(attribution, target=describe_target(model, target), seconds=time.perf_counter() - start)


def compute_input_map(
    model: "PreTrainedModel",
    pixel_values: NDArray[np.float32],
    *,
    method: Method = "grad_cam",
    target: int = FRACTURED,
    seed: int = 0,
    watch: Watch | None = None,
) -> tuple[NDArray[np.float32], float | None]:
    """Compute a map over the padded input, before it is brought to the film; see `attribute`.

    Args:
        model: Image classifier in eval mode.
        pixel_values: (3, S, S) letterboxed and normalised film.
        method: One of `METHODS`.
        target: Index of the class whose log-odds are explained.
        seed: Of the methods that sample; others ignore it.
        watch: Whom to tell of the progress, and who may stop it.

    Returns:
        The (s, s) signed map, and the completeness gap in logits where the method promises 0.

    Raises:
        UsageError: If method or target is unknown, the model is in training mode or the input is not (3, S, S).
        ExplanationCancelled: If the watch says so.
    """
    import torch

    check_method(method)
    if model.training:
        raise UsageError("model must be in eval mode to be explained, got training mode. Call model.eval() first.")
    if pixel_values.ndim != 3 or pixel_values.shape[0] != 3 or pixel_values.shape[1] != pixel_values.shape[2]:
        raise UsageError(f"pixel_values must be (3, S, S), got {pixel_values.shape}. Letterbox the film first.")
    describe_target(model, target)
    inputs = torch.from_numpy(np.ascontiguousarray(pixel_values))[None].to(model.device)  # (1, 3, S, S)
    meter = Meter(watch)
    with hooks_restored(model), out_of_place(model):
        score = build_score_function(model, target, meter)
        grid, gap = FUNCTIONS[method](Request(model, score, inputs, seed, meter))
    meter.finish()
    return grid.detach().float().cpu().numpy(), gap


def describe_target(model: "PreTrainedModel", target: int) -> str:
    """Say what is explained.

    Raises:
        UsageError: If the model has no such class, or only one.
    """
    labels = cast(dict[int, str], model.config.id2label or {})
    if len(labels) < 2 or target not in labels:
        raise UsageError(
            f"target must be the index of one of two or more classes ({labels}), got {target!r}. Choose one of them."
        )
    if len(labels) > 2:
        return f"log-odds of {labels[target]} against the other {len(labels) - 1} classes"
    other = next(name for index, name in labels.items() if index != target)
    return f"logit of {labels[target]} minus logit of {other}"


def check_method(method: str) -> None:
    """Refuse a name that is not in `METHODS`.

    Raises:
        UsageError: Naming the choices.
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}. Choose one of them.")
