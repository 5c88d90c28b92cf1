"""Captum behind one interface: where on the film the evidence for a fracture lies.

Every map explains what the decision used, the logit of fractured minus the logit of not fractured, and comes back in
the coordinates of the film. Torch and captum are imported inside the functions that need them. May depend on `data`,
`models`, `labels` and `errors`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.transforms import Letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.methods import METHODS, Method
from hf_fracture.labels import FRACTURED

__all__ = ["METHODS", "Attribution", "Method", "attribute", "build_attribution", "build_score_function", "check_method"]

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn
    from transformers import PreTrainedModel

TARGET: Final = "logit of fractured minus logit of not fractured"
MIN_EVIDENCE_LOGITS: Final = 1e-4  # a map whose positive part sums to less cannot have moved a decision: shown empty
INTEGRATION_STEPS: Final = 32
INTERNAL_BATCH_SIZE: Final = 8  # images per forward pass in the methods that need many; bounds their memory
NUM_NOISE_SAMPLES: Final = 16
NOISE_STD: Final = 0.1  # in normalised units, in which a film spans about 4
OCCLUSION_WINDOWS_PER_SIDE: Final = 6  # the window is a sixth of the input's side and moves by half of itself

ScoreFunction = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class _Request:
    """What a method needs to explain one film."""

    model: "PreTrainedModel"
    score: ScoreFunction
    inputs: "Tensor"  # (1, 3, S, S)


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Signed evidence for one film, in the coordinates of the film.

    Attributes:
        values: (H, W) float32; positive speaks for a fracture. The unit is logits per position of the network's own
            map, resampled through the inverse of the letterbox; for `saliency` the size of the gradient.
        method: Name of the method.
        target: What is explained, in words.
        full_scale: The value drawn in full colour; infinite where there is no evidence to draw.
        completeness_gap: |sum of the map - (score of the film - score of the baseline)| in logits, for methods that
            promise 0; None for the others.
        seconds: Wall time of the computation.
        scores: Measured localisation of the method for this model, as read from its `attribution.json`, or None.
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

    def overlay(self, film: "Image.Image", *, opacity: float = 0.6) -> "Image.Image":
        """Lay the heatmap over the film; see `overlay.render_overlay`."""
        from hf_fracture.explain.overlay import render_overlay

        return render_overlay(film, self.heatmap, opacity=opacity)


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
    values = letterbox.map_to_film(input_map).astype(np.float32)
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
    fractured_index: int = FRACTURED,
    full_scale: float = 0.0,
) -> Attribution:
    """Explain one film with Captum.

    Hooks that the method sets are gone afterwards, whether it succeeds or raises. The answer is the same at every
    call: methods that sample draw from a generator of their own seed.

    Args:
        model: Two-class image classifier in eval mode.
        pixel_values: (3, S, S) letterboxed and normalised film.
        letterbox: How the film was placed in that input.
        method: One of `METHODS`.
        fractured_index: Which of the two logits speaks for a fracture.
        full_scale: See `build_attribution`.

    Returns:
        The attribution in film coordinates.

    Raises:
        UsageError: If the method is unknown, the model is in training mode or the input is not (3, S, S).
    """
    import torch

    check_method(method)
    if model.training:
        raise UsageError("model must be in eval mode to be explained, got training mode. Call model.eval() first.")
    if pixel_values.ndim != 3 or pixel_values.shape[0] != 3 or pixel_values.shape[1] != pixel_values.shape[2]:
        raise UsageError(f"pixel_values must be (3, S, S), got {pixel_values.shape}. Letterbox the film first.")
    start = time.perf_counter()
    inputs = torch.from_numpy(np.ascontiguousarray(pixel_values))[None].to(model.device)  # (1, 3, S, S)
    with _hooks_restored(model):
        request = _Request(model, build_score_function(model, fractured_index), inputs)
        grid, gap = _METHOD_FUNCTIONS[method](request)
    return build_attribution(
        grid.detach().float().cpu().numpy(),
        letterbox,
        method=method,
        completeness_gap=gap,
        seconds=time.perf_counter() - start,
        full_scale=full_scale,
    )


def check_method(method: str) -> None:
    """Refuse a name that is not in `METHODS`.

    Raises:
        UsageError: Naming the choices.
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}. Choose one of them.")


def build_score_function(model: "PreTrainedModel", fractured_index: int = FRACTURED) -> ScoreFunction:
    """Wrap a model to the scalar that the decision uses: (N, 3, S, S) to (N,) logit differences."""

    def score(pixel_values: "Tensor") -> "Tensor":
        logits: Tensor = model(pixel_values=pixel_values).logits  # (N, 2)
        return logits[:, fractured_index] - logits[:, 1 - fractured_index]

    return score


def _grad_cam(request: _Request) -> "tuple[Tensor, float | None]":
    """Weigh the last feature map by the mean gradient of the score.

    Source: Selvaraju et al. 2017. Departs from it in keeping the sign: a rectified map of a film without fracture can
    be zero everywhere, and the negative part is evidence too. The positive part is what is drawn.
    """
    from captum.attr import LayerGradCam

    from hf_fracture.models.checkpoint import gradcam_layer

    inputs = request.inputs.clone().requires_grad_()  # frozen parameters leave no other path for the gradient
    explainer = LayerGradCam(request.score, gradcam_layer(request.model))
    values = explainer.attribute(inputs, relu_attributions=False)  # (1, 1, h, w)
    return values[0, 0], None


def _integrated_gradients(request: _Request) -> "tuple[Tensor, float | None]":
    """Integrate the gradient of the score from mean grey to the film.

    Source: Sundararajan et al. 2017. The baseline is 0 in normalised units, the mean grey with which the letterbox
    pads: so no evidence falls on the padding, and none is lost where the map is cut to the film. A black baseline would
    be blind to dark fracture lines.
    """
    import torch
    from captum.attr import IntegratedGradients

    values, gap = IntegratedGradients(request.score).attribute(
        request.inputs,
        baselines=torch.zeros_like(request.inputs),
        n_steps=INTEGRATION_STEPS,
        internal_batch_size=INTERNAL_BATCH_SIZE,
        return_convergence_delta=True,
    )
    return values[0].sum(dim=0), abs(float(gap[0]))


def _gradient_shap(request: _Request) -> "tuple[Tensor, float | None]":
    """Average gradient times difference over random points between mean grey and the slightly noisy film.

    Source: Lundberg and Lee 2017, as in Captum. The gap compares the mean over samples, whose noise Captum counts in.
    """
    import torch
    from captum.attr import GradientShap

    with _seeded():
        values, gaps = GradientShap(request.score).attribute(
            request.inputs,
            baselines=torch.zeros_like(request.inputs),
            n_samples=NUM_NOISE_SAMPLES,
            stdevs=NOISE_STD,
            return_convergence_delta=True,
        )
    return values[0].sum(dim=0), abs(float(gaps.mean()))


def _saliency(request: _Request) -> "tuple[Tensor, float | None]":
    """Measure how strongly the score reacts to the grey level of each pixel, averaged over noise (SmoothGrad).

    Source: Simonyan et al. 2014; Smilkov et al. 2017. The three channels hold one grey level, so their signed
    gradients are summed before the size is taken.
    """
    from captum.attr import NoiseTunnel, Saliency

    with _seeded():
        values = NoiseTunnel(Saliency(request.score)).attribute(
            request.inputs,
            nt_type="smoothgrad",
            nt_samples=NUM_NOISE_SAMPLES,
            nt_samples_batch_size=INTERNAL_BATCH_SIZE,
            stdevs=NOISE_STD,
            abs=False,
        )
    return values[0].sum(dim=0).abs(), None


def _occlusion(request: _Request) -> "tuple[Tensor, float | None]":
    """Cover one window after the other with mean grey, and note how far the score falls.

    Source: Zeiler and Fergus 2014.
    """
    import torch
    from captum.attr import Occlusion

    window = max(1, request.inputs.shape[-1] // OCCLUSION_WINDOWS_PER_SIDE)
    stride = max(1, window // 2)
    with torch.no_grad():
        values = Occlusion(request.score).attribute(
            request.inputs,
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            baselines=0.0,
            perturbations_per_eval=INTERNAL_BATCH_SIZE,
        )
    return values[0].mean(dim=0), None


_METHOD_FUNCTIONS: Final[dict[Method, Callable[[_Request], "tuple[Tensor, float | None]"]]] = {
    "grad_cam": _grad_cam,
    "integrated_gradients": _integrated_gradients,
    "gradient_shap": _gradient_shap,
    "saliency": _saliency,
    "occlusion": _occlusion,
}


@contextmanager
def _hooks_restored(model: "nn.Module") -> Iterator[None]:
    """Remove every hook that was not there before, whatever happens inside."""
    before = {module: {name: set(hooks) for name, hooks in _hook_tables(module)} for module in model.modules()}
    try:
        yield
    finally:
        for module, tables in before.items():
            for name, hooks in _hook_tables(module):
                for key in set(hooks) - tables[name]:
                    del hooks[key]


def _hook_tables(module: "nn.Module") -> Iterator[tuple[str, dict[int, Any]]]:
    """Yield the module's hook registries; torch offers no public list of them."""
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        yield name, getattr(module, name)


@contextmanager
def _seeded(seed: int = 0) -> Iterator[None]:
    """Give Captum's sampling a fixed seed and leave the global generators of torch and NumPy as they were."""
    import torch

    numpy_state = np.random.get_state()  # noqa: NPY002 - Captum draws from NumPy's global generator
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.set_state(np.random.RandomState(seed).get_state())  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
