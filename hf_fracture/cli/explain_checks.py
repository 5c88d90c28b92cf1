"""Whether maps deserve trust apart from where they point: sanity, repeatability and faithfulness, with intervals."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.cli.explain_figures import Film, estimate_mean

if TYPE_CHECKING:
    from hf_fracture.data.transforms import Letterbox, Preprocessing
    from hf_fracture.explain.methods import Method
    from hf_fracture.explain.sanity import Explainer

NUM_RANDOMISATIONS: Final = 3  # a shuffled head can, by chance, weigh the same channels again


@dataclass(frozen=True, kw_only=True)
class CheckedFilm:
    """A film as the network sees it, and its map."""

    pixel_values: NDArray[np.float32]  # (3, S, S)
    letterbox: "Letterbox"
    input_map: NDArray[np.float32]  # (s, s)
    completeness_gap: float | None
    group_id: str


def measure_checks(
    model: Any, preprocessing: "Preprocessing", films: Sequence[Film], *, method: "Method", target: int
) -> dict[str, Any]:
    """Measure one method on some films; the schema is at the top of `explain_eval`.

    Args:
        model: Classifier in eval mode.
        preprocessing: Of the model.
        films: Rows with `image` and `group_id`, at least one.
        method: Name of the method.
        target: Index of the fractured class.
    """
    from hf_fracture.explain.perturbation import measure_sensitivity
    from hf_fracture.explain.sanity import Explainer, measure_seeds, measure_shifts

    start = time.perf_counter()
    explainer = Explainer(model=model, method=method, target=target)
    checked = [_explain(explainer, preprocessing, row) for row in _progress(films, f"{method}, maps")]
    groups = [film.group_id for film in checked]
    seconds = (time.perf_counter() - start) / len(checked)
    shifts = [measure_shifts(explainer, f.pixel_values, f.letterbox) for f in _progress(checked, f"{method}, shifts")]
    seeds = [measure_seeds(explainer, f.pixel_values, f.letterbox) for f in _progress(checked, f"{method}, seeds")]
    noisy = [measure_sensitivity(explainer, f.pixel_values) for f in _progress(checked, f"{method}, noise")]
    gaps = [film.completeness_gap for film in checked if film.completeness_gap is not None]
    return {
        "num_films": len(checked),
        "seconds_per_map": seconds,
        "randomisation": _measure_randomisation(explainer, checked),
        "repeatability": {
            "similarity_over_seeds": estimate_mean(seeds, groups),
            "similarity_over_shifts": estimate_mean([found.similarity for found in shifts], groups),
            "peak_moved_fraction": estimate_mean([found.peak_moved_fraction for found in shifts], groups),
        },
        **_measure_curves(explainer, checked),
        "infidelity": _measure_infidelity(explainer, checked),
        "max_sensitivity": estimate_mean(noisy, groups),
        "completeness_gap_logits": estimate_mean(gaps, groups) if len(gaps) == len(checked) else None,
    }


def choose_films(films: Sequence[Film], num: int) -> list[Film]:
    """Return at most `num` films, spread evenly over their order."""
    if not films:
        return []
    places = np.unique(np.linspace(0, len(films) - 1, min(num, len(films))).round().astype(int))
    return [films[place] for place in places.tolist()]


def _explain(explainer: "Explainer", preprocessing: "Preprocessing", row: Film) -> CheckedFilm:
    from hf_fracture.data.transforms import fit_letterbox, letterbox_pixels
    from hf_fracture.explain.attribution import compute_input_map

    film = row["image"].convert("L")
    pixel_values = letterbox_pixels(film, preprocessing.size_px, preprocessing.mean, preprocessing.std)
    grid, gap = compute_input_map(explainer.model, pixel_values, method=explainer.method, target=explainer.target)
    return CheckedFilm(
        pixel_values=pixel_values,
        letterbox=fit_letterbox(film.width, film.height, preprocessing.size_px),
        input_map=grid,
        completeness_gap=gap,
        group_id=row["group_id"],
    )


def _measure_randomisation(explainer: "Explainer", checked: Sequence[CheckedFilm]) -> list[dict[str, Any]]:
    """Compare the maps of the network with those of one that forgot more and more, in several ways."""
    from hf_fracture.explain.sanity import Explainer, compare_maps, randomise_cascading, shrink_map

    trained = [shrink_map(film.input_map, film.letterbox) for film in checked]
    found: dict[str, list[list[float]]] = {}
    for seed in range(NUM_RANDOMISATIONS):
        for name, randomised in randomise_cascading(explainer.model, checked[0].pixel_values, seed=seed):
            other = Explainer(model=randomised, method=explainer.method, target=explainer.target)
            similarities = [
                compare_maps(before, shrink_map(other(film.pixel_values), film.letterbox))
                for before, film in zip(trained, _progress(checked, f"randomised {name}"), strict=True)
            ]
            found.setdefault(name, []).append(similarities)
    groups = [film.group_id for film in checked]
    return [
        {"layers": name, "similarity": estimate_mean(np.mean(rows, axis=0).tolist(), groups)}
        for name, rows in found.items()
    ]


def _measure_curves(explainer: "Explainer", checked: Sequence[CheckedFilm]) -> dict[str, Any]:
    """Measure deletion and insertion in the order of the map and in random order."""
    from hf_fracture.explain.perturbation import Curves, measure_curves, rank_tiles, shuffle_tiles

    ranked: list[Curves] = []
    shuffled: list[Curves] = []
    for seed, film in enumerate(_progress(checked, f"{explainer.method}, deletion and insertion")):
        orders = (rank_tiles(film.input_map, film.letterbox), shuffle_tiles(film.letterbox, seed=seed))
        for order, curves in zip(orders, (ranked, shuffled), strict=True):
            curves.append(measure_curves(explainer, film.pixel_values, order, film.letterbox))
    groups = [film.group_id for film in checked]
    result: dict[str, Any] = {}
    for kind in ("deletion", "insertion"):
        areas = np.array([getattr(curves, f"{kind}_area") for curves in ranked])
        random = np.array([getattr(curves, f"{kind}_area") for curves in shuffled])
        result[kind] = {
            "area": estimate_mean(areas.tolist(), groups),
            "area_random": estimate_mean(random.tolist(), groups),
            "difference": estimate_mean((areas - random).tolist(), groups),
            "curve": np.mean([getattr(curves, kind) for curves in ranked], axis=0).tolist(),
            "curve_random": np.mean([getattr(curves, kind) for curves in shuffled], axis=0).tolist(),
        }
    return result


def _measure_infidelity(explainer: "Explainer", checked: Sequence[CheckedFilm]) -> Mapping[str, Any]:
    from hf_fracture.explain.perturbation import measure_infidelity

    found = [
        measure_infidelity(explainer, film.pixel_values, film.input_map)
        for film in _progress(checked, f"{explainer.method}, infidelity")
    ]
    groups = [film.group_id for film in checked]
    return {
        "value": estimate_mean([one.value for one in found], groups),
        "of_no_map": estimate_mean([one.of_no_map for one in found], groups),
    }


def _progress(items: Sequence[Any], name: str) -> Any:
    from tqdm import tqdm

    return tqdm(items, desc=name, unit="film", file=sys.stderr, leave=False)
