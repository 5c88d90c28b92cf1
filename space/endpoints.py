"""What programs and agents may ask: four named endpoints, which are also the page's MCP tools.

A function's docstring is what a program and an agent read. May depend on `reader`, `texts`, `one_film`, `several_films`
(for their queues), `hf_fracture.explain` and gradio.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gradio as gr
from PIL import Image

import evidence
import panels
import texts
from hf_fracture.explain.attribution import METHODS, Method
from one_film import QUICK, SLOW
from reader import FilmReader
from several_films import MANY, MAX_FILMS

Explained = tuple[Image.Image | None, dict[str, Any]]


def add_endpoints(reader: FilmReader) -> None:
    """Give programs `/predict`, `/explain`, `/predict_many` and `/describe_model`."""
    names = reader.names

    def predict(film: str, model: str | None = names[0]) -> dict[str, Any]:
        """Find out whether a bone radiograph (X-ray film) shows a fracture.

        Research and teaching only; not a medical device: never diagnose or treat anyone on its answer. Pictures that
        are no radiographs are refused with a reason.

        Args:
            film: One radiograph: PNG, JPEG, TIFF, WebP, BMP or DICOM file, at most 64 MB.
            model: Name of the model, one of those that /describe_model knows; the first by default.

        Returns:
            One finding: decision ("fracture", "no fracture", "uncertain", "refused" or "error"), probability
            (calibrated probability of a fracture in [0, 1]; null without an answer), operating_point, reasons (list of
            code and sentence), body_part, view, laterality, study_id, gate_score, read_note, model, revision, seconds.
        """
        return next(reader.predict([film], model or names[0])).to_dict()

    def explain(film: str, method: Method = METHODS[0], model: str | None = names[0]) -> Explained:
        """Show where on a bone radiograph the evidence for a fracture lies: a heat map over the film, and the finding.

        Research and teaching only; not a medical device. A map can be wrong where the answer is right: read
        "map_worth", which says how often its peak lay in the fracture on test films.

        Args:
            film: One radiograph: PNG, JPEG, TIFF, WebP, BMP or DICOM file, at most 64 MB.
            method: How the map is made. "grad_cam" takes a moment, the others seconds.
            model: Name of the model, one of those that /describe_model knows; the first by default.

        Returns:
            The film with the map (null without an answer), and: finding (as of /predict), method, peak_px ([x, y] of
            the strongest evidence in pixels of the film, null without evidence), completeness_gap (logits, null where
            the method promises none), map_worth (a sentence).
        """
        return explain_film(reader, film, model or names[0], method or METHODS[0])

    def predict_many(films: list[str], model: str | None = names[0]) -> list[dict[str, Any]]:
        """Find out which of several bone radiographs show a fracture; a bad file stops none of the others.

        Research and teaching only; not a medical device.

        Args:
            films: At most 60 radiographs, as for /predict.
            model: Name of the model, one of those that /describe_model knows; the first by default.

        Returns:
            One finding per film, in order, as of /predict.
        """
        if len(films) > MAX_FILMS:
            raise gr.Error(texts.TOO_MANY.format(num=len(films), max_films=MAX_FILMS), print_exception=False)
        return [finding.to_dict() for finding in reader.predict(films, model or names[0])]

    def describe_model(model: str | None = names[0]) -> dict[str, Any]:
        """Say what a model was trained on, how often it is wrong, and what it must not be used for.

        Args:
            model: Name of the model; the first by default.

        Returns:
            model, revision, models (all names), trained_on, modality, body_parts, views, operating_points, elsewhere
            (rows on other collections of films: tested_on, num_films, auroc; empty if not measured), evaluation
            (cohort, auroc and rates at each operating point with 95% intervals; null if it was never measured), use,
            not_for (sentences).
        """
        return evidence.describe_model(reader.classifiers[model or names[0]], names)

    film = gr.File(label="film", visible=False)
    films = gr.File(label="films", file_count="multiple", visible=False)
    model = gr.Dropdown(list(names), value=names[0], label="model", visible=False)
    method = gr.Dropdown(list(METHODS), value=METHODS[0], label="method", visible=False)
    overlay = gr.Image(label="overlay", format="png", visible=False)
    answer, explained = gr.JSON(label="finding", visible=False), gr.JSON(label="explanation", visible=False)
    answers, description = gr.JSON(label="findings", visible=False), gr.JSON(label="model", visible=False)
    _publish(predict, [film, model], answer, QUICK)
    _publish(borrow_gpu(explain), [film, method, model], [overlay, explained], SLOW)
    _publish(predict_many, [films, model], answers, MANY)
    _publish(describe_model, [model], description, {})


def borrow_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function run on the GPU that a Space on ZeroGPU lends by the call; elsewhere return it as it is."""
    if find_spec("spaces") is None:
        return function
    lend = import_module("spaces").GPU
    borrowed: Callable[..., Any] = lend(function)
    return borrowed


def explain_film(reader: FilmReader, film: str, model: str, method: Method) -> Explained:
    """Examine a film for a program; see the endpoint `/explain`."""
    examination = reader.look(film, model, method)
    if examination is None:
        raise gr.Error(texts.EXPIRED_SENTENCE, print_exception=False)
    attribution = examination.attribution
    answer: dict[str, Any] = {
        "finding": examination.finding.to_dict(),
        "method": method,
        "peak_px": None,
        "completeness_gap": None,
        "map_worth": None,
    }
    if attribution is None or examination.film is None:
        return None, answer
    scores = reader.classifiers[model].attribution_scores
    answer["map_worth"] = panels.describe_map_worth(method, scores)
    answer["completeness_gap"] = attribution.completeness_gap
    answer["peak_px"] = panels.find_peak(attribution)
    return attribution.overlay(examination.film), answer


def _publish(function: Callable[..., Any], inputs: list[Any], outputs: Any, queue: dict[str, Any]) -> None:
    """Make a function an endpoint of its own name, described by its docstring."""
    summary, _, rest = (inspect.getdoc(function) or "").partition("Args:")
    _, _, returned = rest.partition("Returns:")
    description = " ".join(f"{summary} {texts.AGENTS if 'film' in rest else ''} Returns: {returned}".split())
    name = function.__name__
    button = gr.Button(visible=False)
    button.click(function, inputs, outputs, api_name=name, api_description=description, show_progress="hidden", **queue)
