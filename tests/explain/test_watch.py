"""Progress, cancelling and the memory that an explanation may take."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.errors import ExplanationCancelled
from hf_fracture.explain import captum_methods, memory
from hf_fracture.explain.attribution import METHODS, Method, Watch, compute_input_map
from hf_fracture.explain.memory import choose_films_per_pass, read_available_bytes
from tests.explain.conftest import build_tiny, count_hooks


@pytest.mark.parametrize("method", METHODS)
def test_progress_rises_to_one_at_the_end_and_not_before(method: Method, noise_pixels: NDArray[np.float32]) -> None:
    shares: list[float] = []
    compute_input_map(build_tiny("resnet"), noise_pixels, method=method, watch=Watch(on_progress=shares.append))
    assert len(shares) >= 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert max(shares[:-1]) < 1.0
    assert max(shares[:-1]) > 0.4, "the plan is about what is done"


@pytest.mark.parametrize("method", [method for method in METHODS if method != "grad_cam"])  # it needs one pass only
def test_cancelled_explanation_ends_before_the_next_pass(method: Method, noise_pixels: NDArray[np.float32]) -> None:
    model, stop, passes = build_tiny("resnet"), threading.Event(), list[float]()

    def note(share: float) -> None:
        passes.append(share)
        stop.set()

    watch = Watch(on_progress=note, is_cancelled=stop.is_set)
    with pytest.raises(ExplanationCancelled, match="Ask again"):
        compute_input_map(model, noise_pixels, method=method, watch=watch)
    assert len(passes) == 1
    assert count_hooks(model) == 0


def test_explanation_cancelled_from_the_start_asks_the_network_nothing(noise_pixels: NDArray[np.float32]) -> None:
    model, shares = build_tiny("resnet"), list[float]()
    watch = Watch(on_progress=shares.append, is_cancelled=lambda: True)
    with pytest.raises(ExplanationCancelled):
        compute_input_map(model, noise_pixels, watch=watch)
    assert shares == []


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_shap", "saliency", "occlusion"])
def test_map_does_not_depend_on_the_memory_and_no_pass_exceeds_it(
    method: Method, noise_pixels: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = build_tiny("resnet")
    sizes: list[int] = []
    model.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    maps = []
    for available in (0, 1 << 40):
        monkeypatch.setattr(captum_methods, "read_available_bytes", lambda _place, n=available: n)
        sizes.clear()
        maps.append(compute_input_map(model, noise_pixels, method=method)[0])
        # Captum's own check of completeness looks at all samples of a portion at once, but keeps nothing of them.
        assert max(sizes) <= (1 if available == 0 else memory.MAX_FILMS_PER_PASS)
    if method in ("integrated_gradients", "occlusion"):  # the others draw other noise in other portions
        np.testing.assert_allclose(maps[0], maps[1], atol=1e-4 * np.abs(maps[1]).max())


def test_films_per_pass_follow_the_memory_and_never_reach_zero() -> None:
    assert choose_films_per_pass(1 << 20, 0) == 1
    assert choose_films_per_pass(1 << 20, 1 << 50) == memory.MAX_FILMS_PER_PASS
    assert choose_films_per_pass(100 << 20, 2 << 30) == 1
    assert choose_films_per_pass(100 << 20, 3 << 30) == 2


def test_container_counts_its_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for name, text in (("max", "1000"), ("current", "900"), ("stat", "anon 1\ninactive_file 300\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert read_available_bytes(torch.device("cpu")) == 400
    (tmp_path / "memory.max").write_text("max")
    assert read_available_bytes(torch.device("cpu")) > 1 << 20, "no limit: the machine's"
