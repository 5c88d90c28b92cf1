"""With a network that learned where phantoms break: does the map show the break, and only because it was learned?"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_fracture.data.transforms import fit_letterbox, letterbox_pixels
from hf_fracture.explain.attribution import METHODS, Attribution, attribute, build_attribution, build_score_function
from hf_fracture.explain.localization import centre_map, edge_map, score_map
from hf_fracture.explain.sanity import Explainer, compare_maps, randomise_cascading, shrink_map
from tests.explain.conftest import PHANTOM_SIDE_PX, count_hooks, draw_close_up

pytestmark = pytest.mark.slow

LETTERBOX = fit_letterbox(PHANTOM_SIDE_PX, PHANTOM_SIDE_PX, PHANTOM_SIDE_PX)
DEFAULT_METHOD = METHODS[0]


@pytest.fixture(scope="module")
def films() -> list[Any]:
    """Return phantoms that the network has not seen: 40 fractured, ten of them at the edge, and 40 intact."""
    return [draw_close_up(seed) for seed in range(20_000, 20_080)]


@pytest.fixture(scope="module")
def judged(phantom_model: Any, films: list[Any]) -> list[tuple[Any, NDArray[np.float32], float]]:
    """Return each film with its pixels and its log-odds of a fracture."""
    import torch

    preprocessing = phantom_model.preprocessing
    pixels = [letterbox_pixels(film.image, PHANTOM_SIDE_PX, preprocessing.mean, preprocessing.std) for film in films]
    with torch.no_grad():
        scores = build_score_function(phantom_model.model, 1)(torch.from_numpy(np.stack(pixels))).tolist()
    return list(zip(films, pixels, scores, strict=True))


def explain(phantom_model: Any, pixels: NDArray[np.float32]) -> Attribution:
    return attribute(phantom_model.model, pixels, LETTERBOX, method=DEFAULT_METHOD)


def test_peak_lies_in_the_fracture_of_nine_in_ten_detected_ones(phantom_model: Any, judged: list[Any]) -> None:
    detected = [(film, pixels) for film, pixels, score in judged if film.label == 1 and score > 0]
    assert len(detected) >= 0.8 * sum(film.label for film, _, _ in judged), "it has learned to see them"
    hits = [score_map(explain(phantom_model, pixels).values, film.boxes).peak_in_region for film, pixels in detected]
    assert np.mean(hits) >= 0.9
    for baseline in (lambda film: centre_map(*film.size), edge_map):
        guesses = [score_map(baseline(film.image), film.boxes).peak_in_region for film, _ in detected]
        assert np.mean(guesses) < 0.6 * np.mean(hits)
    assert count_hooks(phantom_model.model) == 0


def test_fracture_at_the_very_edge_is_shown_at_the_edge(phantom_model: Any, judged: list[Any]) -> None:
    hits = []
    for (film, pixels, score), seed in zip(judged, range(20_000, 20_080), strict=True):
        if seed % 8 == 0 and score > 0:
            left, top, width, height = film.boxes[0]
            assert min(left, top, film.image.width - left - width, film.image.height - top - height) <= 1
            overlay = np.asarray(explain(phantom_model, pixels).overlay(film.image), dtype=float)
            tint = np.ptp(overlay, axis=2)  # the film itself is grey
            hits.append(score_map(tint, film.boxes).peak_in_region > 0)
    assert len(hits) >= 5
    assert np.mean(hits) >= 0.8


def test_randomising_the_head_destroys_the_map_and_all_layers_leave_nothing(
    phantom_model: Any, judged: list[Any]
) -> None:
    detected = [(film, pixels) for film, pixels, score in judged if film.label == 1 and score > 0][:15]

    def explain_all(model: Any) -> tuple[list[NDArray[np.float32]], float]:
        """Return small maps for comparison, and how often the peak hits."""
        grids = [Explainer(model=model, method=DEFAULT_METHOD)(pixels) for _, pixels in detected]
        shown = [build_attribution(grid, LETTERBOX, method=DEFAULT_METHOD).values for grid in grids]
        hits = [score_map(values, film.boxes).peak_in_region for values, (film, _) in zip(shown, detected, strict=True)]
        return [shrink_map(grid, LETTERBOX) for grid in grids], float(np.mean(hits))

    before, trained_hits = explain_all(phantom_model.model)
    similarities: dict[str, list[float]] = {}
    hits: dict[str, list[float]] = {}
    for seed in range(4):  # by chance a shuffled head can weigh the same channels again
        for name, randomised in randomise_cascading(phantom_model.model, detected[0][1], seed=seed):
            after, found = explain_all(randomised)
            hits.setdefault(name, []).append(found)
            similarities.setdefault(name, []).append(
                float(np.mean([compare_maps(*pair) for pair in zip(before, after, strict=True)]))
            )
    names = list(hits)
    assert trained_hits >= 0.8
    assert np.mean(similarities[names[0]]) < 0.7, similarities
    assert np.mean(hits[names[0]]) < 0.75 * trained_hits, hits
    assert np.mean(similarities[names[-1]]) < 0.5, similarities
    assert np.mean(hits[names[-1]]) < 0.2, hits


def test_intact_film_is_not_painted_where_the_scale_is_known(phantom_model: Any, judged: list[Any]) -> None:
    fractured = [
        explain(phantom_model, pixels).values.max() for film, pixels, score in judged if film.label and score > 0
    ]
    scores = {"full_scale": float(np.median(fractured))}
    intact = [
        explain(phantom_model, pixels).with_scores(scores).heatmap.max()
        for film, pixels, score in judged
        if not film.label and score < 0
    ]
    assert len(intact) >= 20
    assert np.median(intact) < 0.4
