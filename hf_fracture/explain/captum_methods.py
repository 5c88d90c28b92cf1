"""The attribution methods, each a few lines over Captum: one film in, one map over the padded input out.

Every pass through the network goes by the request's score function, which counts it and ends a cancelled explanation.
Torch and captum are imported inside functions. May depend on `methods`, `layers`, `memory`, `watch` and `errors`.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hf_fracture.explain.layers import find_map_layer, trace_forward
from hf_fracture.explain.memory import choose_films_per_pass, read_available_bytes
from hf_fracture.explain.methods import Method
from hf_fracture.explain.watch import Meter

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

INTEGRATION_STEPS: Final = 32
NUM_NOISE_SAMPLES: Final = 16
NOISE_STD: Final = 0.1  # in normalised units, in which a film spans about 4
OCCLUSION_WINDOWS_PER_SIDE: Final = 6  # the window is a sixth of the input's side and moves by half of itself
SHIFTS_PER_CELL: Final = 2  # along each axis, for `averaged_grad_cam`

ScoreFunction = Callable[["Tensor"], "Tensor"]
MapAndGap = tuple["Tensor", float | None]


@dataclass(frozen=True)
class Request:
    """What a method needs to explain one film.

    Attributes:
        model: Image classifier in eval mode.
        score: (N, 3, S, S) to (N,), the number that is explained.
        inputs: (1, 3, S, S).
        seed: Of the methods that sample.
        meter: Counts the passes.
    """

    model: "PreTrainedModel"
    score: ScoreFunction
    inputs: "Tensor"
    seed: int
    meter: Meter

    @cached_property
    def map_layer(self) -> "nn.Module":
        """The module whose output is the last feature map."""
        return find_map_layer(self.model, self.inputs)

    @cached_property
    def films_per_pass(self) -> int:
        """How many films may go through the network at once here."""
        bytes_per_film = trace_forward(self.model, self.inputs).bytes_per_film
        return choose_films_per_pass(bytes_per_film, read_available_bytes(self.inputs.device))


def build_score_function(model: "PreTrainedModel", target: int, meter: Meter | None = None) -> ScoreFunction:
    """Wrap a model to the log-odds of one class against all others: (N, 3, S, S) to (N,).

    For two classes that is the difference of the two logits, by which a finding is decided.

    Args:
        model: Image classifier.
        target: Index of the class.
        meter: Counts the films and ends a cancelled explanation.
    """
    import torch

    def score(pixel_values: "Tensor") -> "Tensor":
        if meter is not None:
            meter.before_pass()
        logits: Tensor = model(pixel_values=pixel_values).logits  # (N, classes)
        if meter is not None:
            meter.after_pass(len(pixel_values))
        others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
        return logits[:, target] - torch.logsumexp(others, dim=1)

    return score


def grad_cam(request: Request) -> MapAndGap:
    """Weigh the last feature map by the mean gradient of the score.

    Source: Selvaraju et al. 2017. Departs from it in keeping the sign: a rectified map of a film without fracture can
    be zero everywhere, and the negative part is evidence too. The positive part is what is drawn.
    """
    return _grad_cam_of(request, request.inputs), None


def averaged_grad_cam(request: Request) -> MapAndGap:
    """Average Grad-CAM over copies of the film, shifted by parts of a cell and mirrored, on a finer grid.

    A position of the last feature map is many pixels wide; where the copies lie differently under that grid, their mean
    tells finer places apart, and what only one of them shows fades.

    Source: Morbidelli et al. 2020 (Augmented Grad-CAM). Departs from it in averaging aligned maps instead of solving
    for a sharper one.
    """
    import torch

    side, parts = request.inputs.shape[-1], SHIFTS_PER_CELL
    request.meter.planned = 2 * parts**2
    plain = _grad_cam_of(request, request.inputs)
    cells = plain.shape[-1]
    step = max(1, side // (cells * parts))  # input pixels of a fine cell
    total = request.inputs.new_zeros(1, cells * parts, cells * parts)
    covered = torch.zeros_like(total)
    for (down, across), mirrored in product(product(range(parts), repeat=2), (False, True)):
        copy = request.inputs.flip(-1) if mirrored else request.inputs
        moved = bool(down or across or mirrored)
        coarse = (_grad_cam_of(request, _shift(copy, down * step, across * step)) if moved else plain)[None]
        for values, target in ((coarse, total), (torch.ones_like(coarse), covered)):
            fine = values.repeat_interleave(parts, dim=-1).repeat_interleave(parts, dim=-2)
            aligned = _shift(fine, -down, -across)
            target += aligned.flip(-1) if mirrored else aligned
    return (total / covered.clamp_min(1.0))[0], None


def guided_grad_cam(request: Request) -> MapAndGap:
    """Multiply Grad-CAM, rectified and enlarged, by the gradient that passes rectifiers only where it is positive.

    Source: Selvaraju et al. 2017; Springenberg et al. 2015. Networks without ReLU (ConvNeXt) have nothing to guide:
    there the second factor is the plain gradient. See `methods.WARNINGS`.
    """
    from captum.attr import GuidedGradCam

    request.meter.planned = 2
    explainer = GuidedGradCam(_as_module(request), request.map_layer)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        values = explainer.attribute(request.inputs.clone().requires_grad_(), interpolate_mode="bilinear")
    return values[0].sum(dim=0), None


def integrated_gradients(request: Request) -> MapAndGap:
    """Integrate the gradient of the score from mean grey to the film.

    Source: Sundararajan et al. 2017. The baseline is 0 in normalised units, the mean grey with which the letterbox
    pads: so no evidence falls on the padding, and none is lost where the map is cut to the film. A black baseline would
    be blind to dark fracture lines.
    """
    import torch
    from captum.attr import IntegratedGradients

    request.meter.planned = INTEGRATION_STEPS + 2
    values, gap = IntegratedGradients(request.score).attribute(
        request.inputs,
        baselines=torch.zeros_like(request.inputs),
        n_steps=INTEGRATION_STEPS,
        internal_batch_size=request.films_per_pass,
        return_convergence_delta=True,
    )
    return values[0].sum(dim=0), abs(float(gap[0]))


def gradient_shap(request: Request) -> MapAndGap:
    """Average gradient times difference over random points between mean grey and the slightly noisy film.

    Source: Lundberg and Lee 2017, as in Captum, which knows no batch size here: it is asked in portions. The gap
    compares the mean over samples, whose noise Captum counts in.
    """
    import torch
    from captum.attr import GradientShap

    explainer = GradientShap(request.score)
    request.meter.planned = 3 * NUM_NOISE_SAMPLES
    total = torch.zeros_like(request.inputs[0, 0])
    gaps: list[float] = []
    with seeded(request.seed):
        for start in range(0, NUM_NOISE_SAMPLES, request.films_per_pass):
            num = min(request.films_per_pass, NUM_NOISE_SAMPLES - start)
            values, deltas = explainer.attribute(
                request.inputs,
                baselines=torch.zeros_like(request.inputs),
                n_samples=num,
                stdevs=NOISE_STD,
                return_convergence_delta=True,
            )
            total += values[0].sum(dim=0) * (num / NUM_NOISE_SAMPLES)
            gaps += deltas.tolist()
    return total, abs(float(np.mean(gaps)))


def saliency(request: Request) -> MapAndGap:
    """Measure how strongly the score reacts to the grey level of each pixel, averaged over noise (SmoothGrad).

    Source: Simonyan et al. 2014; Smilkov et al. 2017. The three channels hold one grey level, so their signed
    gradients are summed before the size is taken.
    """
    from captum.attr import NoiseTunnel, Saliency

    request.meter.planned = NUM_NOISE_SAMPLES
    with seeded(request.seed):
        values = NoiseTunnel(Saliency(request.score)).attribute(
            request.inputs,
            nt_type="smoothgrad",
            nt_samples=NUM_NOISE_SAMPLES,
            nt_samples_batch_size=request.films_per_pass,
            stdevs=NOISE_STD,
            abs=False,
        )
    return values[0].sum(dim=0).abs(), None


def occlusion(request: Request) -> MapAndGap:
    """Cover one window after the other with mean grey, and note how far the score falls.

    Source: Zeiler and Fergus 2014.
    """
    import torch
    from captum.attr import Occlusion

    side = request.inputs.shape[-1]
    window = max(1, side // OCCLUSION_WINDOWS_PER_SIDE)
    stride = max(1, window // 2)
    request.meter.planned = (-(-(side - window) // stride) + 1) ** 2 + 1
    with torch.no_grad():
        values = Occlusion(request.score).attribute(
            request.inputs,
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            baselines=0.0,
            perturbations_per_eval=request.films_per_pass,
        )
    return values[0].mean(dim=0), None


FUNCTIONS: Final[dict[Method, Callable[[Request], MapAndGap]]] = {
    "grad_cam": grad_cam,
    "averaged_grad_cam": averaged_grad_cam,
    "guided_grad_cam": guided_grad_cam,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "saliency": saliency,
    "occlusion": occlusion,
}


@contextmanager
def hooks_restored(model: "nn.Module") -> Iterator[None]:
    """Remove every hook that was not there before, whatever happens inside."""
    before = {module: {name: set(hooks) for name, hooks in _hook_tables(module)} for module in model.modules()}
    try:
        yield
    finally:
        for module, tables in before.items():
            for name, hooks in _hook_tables(module):
                for key in set(hooks) - tables[name]:
                    del hooks[key]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
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


def _grad_cam_of(request: Request, inputs: "Tensor") -> "Tensor":
    """Return the signed Grad-CAM of one input (1, 3, S, S) as (h, w)."""
    from captum.attr import LayerGradCam

    explainer = LayerGradCam(request.score, request.map_layer)
    copy = inputs.clone().requires_grad_()  # frozen parameters leave no other path for the gradient
    values: Tensor = explainer.attribute(copy, relu_attributions=False)  # (1, 1, h, w)
    return values[0, 0].detach()


def _shift(values: "Tensor", down: int, across: int) -> "Tensor":
    """Move the last two axes, filling with 0 what comes in; negative shifts move up and to the left."""
    import torch

    height, width = values.shape[-2:]
    moved = torch.zeros_like(values)
    source = values[..., max(0, -down) : height - max(0, down), max(0, -across) : width - max(0, across)]
    moved[..., max(0, down) : height - max(0, -down), max(0, across) : width - max(0, -across)] = source
    return moved


def _as_module(request: Request) -> "nn.Module":
    """Wrap the score to a module, as the methods that hook activations ask for."""
    from torch import nn

    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = request.model

        def forward(self, pixel_values: "Tensor") -> "Tensor":
            return request.score(pixel_values)

    return Score().eval()


@contextmanager
def out_of_place(model: "nn.Module") -> Iterator[None]:
    """Let activations leave their input alone: torch refuses backward hooks on those that overwrite it."""
    overwriting: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    for module in overwriting:
        module.inplace = False
    try:
        yield
    finally:
        for module in overwriting:
            module.inplace = True


def _hook_tables(module: "nn.Module") -> Iterator[tuple[str, dict[int, Any]]]:
    """Yield the module's hook registries; torch offers no public list of them."""
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        yield name, getattr(module, name)
