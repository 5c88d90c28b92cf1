"""The third tab: two models or two methods on one film, among the models that the page was started with.

May depend on `panels`, `reader`, `texts`, `sessions`, `one_film` (for its queues) and gradio.
"""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import panels
import texts
from hf_fracture.explain.attribution import METHODS, Attribution, Method
from hf_fracture.inference.classifier import Examination
from one_film import PRIVATE, SLOW
from reader import FilmReader
from sessions import SessionFilms

Shown = tuple[str, str, str]


def add_comparison(reader: FilmReader, sessions: SessionFilms, on_desk: gr.State) -> None:
    """Lay out the tab and connect it.

    Args:
        reader: Answers.
        sessions: Notes whose film is whose.
        on_desk: Path of the film of the first tab, which can be taken over.
    """
    names, current = reader.names, gr.State(None)
    with gr.Column(elem_classes="sheet"):
        alone = f"<p class='soft'>{texts.COMPARE_ONE_MODEL}</p>" if len(names) == 1 else ""
        gr.HTML(f"<h2>{texts.COMPARE_TITLE}</h2><p class='soft'>{texts.COMPARE_NOTE}</p>{alone}")
        film = gr.File(label=texts.COMPARE_TITLE, show_label=False, elem_id="compared", elem_classes="drop", height=140)
        take_over = gr.Button(texts.COMPARE_TAKE, size="sm", elem_id="take-over")
    verdict = gr.HTML("", elem_id="verdict")
    with gr.Row(equal_height=False):
        sides = [_add_side(reader, index) for index in range(2)]
    choosers = [chooser for side in sides for chooser in side[:2]]
    controls = [current, *choosers]
    shown = [verdict, *(side[2] for side in sides)]
    busy: dict[str, Any] = {**PRIVATE, **SLOW, "show_progress_on": shown[1:], "trigger_mode": "always_last"}

    def compare(path: str | None, *choices: str) -> Shown:
        """Answer twice."""
        return compare_answers(reader, path, choices[0], choices[1], choices[2], choices[3])  # type: ignore[arg-type]

    def take(
        path: str | None, before: str | None, desk_path: str | None, request: gr.Request
    ) -> tuple[str | None, None]:
        """Keep the new film, and delete the one before, unless the first tab still shows it."""
        sessions.hold(request.session_hash, [path] if path else [])
        sessions.release(request.session_hash, [before] if before and before not in (path, desk_path) else [])
        return path, None

    taken = film.upload(take, [film, current, on_desk], [current, film], queue=False, **PRIVATE)
    taken.then(compare, controls, shown, **busy)
    taken_over = take_over.click(lambda path: path, on_desk, current, queue=False, **PRIVATE)
    taken_over.then(compare, controls, shown, **busy)
    for chooser in choosers:
        chooser.input(compare, controls, shown, **busy)


def compare_answers(
    reader: FilmReader, path: str | None, left_model: str, left_method: Method, right_model: str, right_method: Method
) -> Shown:
    """Examine one film twice.

    Returns:
        HTML of what the two answers have in common, of the left and of the right one.
    """
    if path is None:
        return "", *(f"<p class='soft'>{texts.COMPARE_EMPTY}</p>" for _ in range(2))  # type: ignore[return-value]
    choices = ((left_model, left_method), (right_model, right_method))
    looks = [reader.look(path, model, method) for model, method in choices]
    if looks[0] is None or looks[1] is None:
        expired = panels.render_expired()
        return "", expired, expired
    sides = [
        _render_side(reader, look, model, method, Path(path).name)
        for look, (model, method) in zip(looks, choices, strict=True)
        if look is not None
    ]
    return f"<section class='sheet'>{render_verdict(looks[0], looks[1])}</section>", sides[0], sides[1]


def render_verdict(left: Examination, right: Examination) -> str:
    """Say in what two answers to one film agree."""
    if left.finding.probability is None or right.finding.probability is None:
        return f"<p>{texts.NO_TWO_ANSWERS}</p>"
    points = f"{100 * abs(left.finding.probability - right.finding.probability):.1f}"
    same = left.finding.decision == right.finding.decision
    sentence = (texts.SAME_ANSWER if same else texts.OTHER_ANSWER).format(points=points)
    distance = peak_distance(left.attribution, right.attribution)
    apart = "" if distance is None else " " + texts.PEAKS_APART.format(share=panels.format_share(distance))
    return f"<p>{sentence}{apart}</p>"


def peak_distance(left: Attribution | None, right: Attribution | None) -> float | None:
    """Return how far apart the peaks of two maps of one film lie, as a share of its diagonal; None without a peak."""
    if left is None or right is None or left.is_empty or right.is_empty:
        return None
    peaks = [np.unravel_index(int(part.values.argmax()), part.values.shape) for part in (left, right)]
    down, across = (float(a) - float(b) for a, b in zip(*peaks, strict=True))
    return float(np.hypot(down, across) / np.hypot(*left.values.shape))


def _add_side(reader: FilmReader, index: int) -> tuple[gr.Dropdown, gr.Dropdown, gr.HTML]:
    """Add one half: its model, its method and its answer; the two halves differ from the start."""
    names = reader.names
    label = texts.SIDE_LABELS[index]
    with gr.Column(min_width=280, elem_classes="sheet"):
        model = gr.Dropdown(
            list(names),
            value=names[min(index, len(names) - 1)],
            label=f"{label}: {texts.MODEL_LABEL}",
            visible=len(names) > 1,
            elem_id=f"model-{index}",
        )
        methods = [(panels.name_method(name), name) for name in METHODS]
        preset = METHODS[index] if len(names) == 1 else METHODS[0]
        method = gr.Dropdown(methods, value=preset, label=f"{label}: {texts.METHOD_LABEL}", elem_id=f"method-{index}")
        answer = gr.HTML(f"<p class='soft'>{texts.COMPARE_EMPTY}</p>", elem_id=f"side-{index}")
    return model, method, answer


def _render_side(reader: FilmReader, look: Examination, model: str, method: Method, name: str) -> str:
    classifier = reader.classifiers[model]
    worth = ""
    if look.attribution is not None:
        worth = panels.render_map_worth(method, look.attribution, classifier.attribution_scores)
    answer = panels.render_answer(look.finding, classifier, body_part=None)
    return f"{answer}{panels.render_viewer(look, name)}{worth}"
