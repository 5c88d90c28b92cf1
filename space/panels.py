"""The page's panels as HTML: the answer with its scale, the film with its map, the measurements.

Pure functions from findings and measurements to text; everything that comes from a file is escaped. May depend on
`texts`, `hf_fracture.inference` and `hf_fracture.explain`.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import texts
from hf_fracture.explain.attribution import Attribution
from hf_fracture.explain.candidate import choose_box_style
from hf_fracture.explain.methods import WARNINGS
from hf_fracture.explain.overlay import colour_table
from hf_fracture.inference.classifier import Examination, FractureClassifier
from hf_fracture.inference.finding import Finding

MAX_FILM_PX: Final = 1400  # longest side of the film on the page; the network sees less
MAX_MAP_PX: Final = 640  # longest side of the map, which is smooth
MAX_THUMBNAIL_PX: Final = 240
SCALE_MARKS: Final = (0.01, 0.1, 0.5, 0.9, 0.99)  # labelled probabilities; the first and last are the scale's ends

# What the gate refuses because it is no radiograph at all; its other codes concern films that cannot be answered.
MIXED: Final = "mixed"  # a dataset's word for several body parts on one film
OTHER_PART: Final = "another"  # the visitor's choice for what no model here was trained on
UNTESTED_CODE: Final = "untested_body_part"  # the classifier's doubt, which the page states with figures
NO_RADIOGRAPH_CODES: Final = frozenset({"not_a_radiograph", "colour_image", "drawing", "document", "saturated"})

CLASS_OF_DECISION: Final = {
    "fracture": "fracture",
    "uncertain": "uncertain",
    "no fracture": "none",
    "refused": "refused",
    "error": "refused",
}


def render_waiting() -> str:
    """Return the answer panel before there is a film."""
    return _answer_sheet("waiting", texts.WAITING, texts.WAITING_SENTENCE)


def render_expired() -> str:
    """Return the answer panel for a film that was deleted meanwhile."""
    return _answer_sheet("refused", texts.NO_ANSWER, texts.EXPIRED_SENTENCE)


def render_answer(finding: Finding, classifier: FractureClassifier, *, body_part: str | None = "") -> str:
    """Return the answer panel: words, probability on the scale of operating points, what such an answer is worth.

    Args:
        finding: The answer.
        classifier: Who gave it.
        body_part: What the visitor says that the film shows; empty to go by the file, None to say nothing of it.
    """
    if finding.probability is None:
        return _render_refusal(finding)
    word = {"fracture": texts.FRACTURE, "uncertain": texts.UNCERTAIN}.get(finding.decision, texts.NO_FRACTURE)
    limits = read_limits(classifier)
    parts = [
        f"<p class='probability'>{texts.PROBABILITY} <b>{format_probability(finding.probability)}</b></p>",
        render_scale(finding.probability, limits, classifier),
        _render_notes(finding),
        _render_worth(finding, classifier.evaluation),
        "" if body_part is None else render_part(finding, classifier, body_part=body_part),
        _render_source(finding),
    ]
    return _answer_sheet(
        CLASS_OF_DECISION[finding.decision], word, _explain_decision(finding, limits, classifier.evaluation), *parts
    )


def render_scale(probability: float, limits: tuple[float, float], classifier: FractureClassifier) -> str:
    """Draw the probability over the zones of the three answers and the operating points, on a log-odds scale.

    Args:
        probability: Calibrated probability of a fracture, in [0, 1].
        limits: Where "uncertain" begins and where "fracture" begins, in [0, 1].
        classifier: Brings the operating points.
    """
    low, high = (place_on_scale(limit) for limit in limits)
    zones = [("none", low), ("uncertain", high - low), ("fracture", 1.0 - high)]
    bar = "".join(f"<span class='zone {name}' style='flex:{width:.4f}'></span>" for name, width in zones if width > 0)
    points = classifier.record.operating_points if classifier.record else {}
    names = [f"{texts.POINT_NAMES.get(name, name)} {format_probability(p.threshold)}" for name, p in points.items()]
    ticks = "".join(
        f"<span class='tick' style='left:{place_on_scale(p.threshold):.2%}'></span>" for p in points.values()
    )
    marks = "".join(
        f"<span class='mark' style='left:{place_on_scale(mark):.2%}'>{mark:.0%}</span>" for mark in SCALE_MARKS
    )
    label = f"{texts.PROBABILITY}: {format_probability(probability)}. {', '.join(names)}."
    return (
        f"<div class='scale' role='img' aria-label='{escape(label)}'><div class='zones'>{bar}</div>{ticks}{marks}"
        f"<span class='needle' style='left:{place_on_scale(probability):.2%}'></span></div>"
        f"<ul class='points'>{_render_zone_key(low, high)}</ul>"
        f"<p class='soft'>{texts.POINTS} {escape(', '.join(names).lower())}</p>"
    )


def render_part(finding: Finding, classifier: FractureClassifier, *, body_part: str) -> str:
    """Say what is known about films of this body part and view, as measured for this model.

    Args:
        finding: Brings what the file's header says.
        classifier: Brings the measurements.
        body_part: What the visitor says, which goes before what the file says; empty if nothing.
    """
    part = (body_part or finding.body_part or "").casefold()
    sentences = [_describe_part(part, classifier)]
    views = classifier.record.views if classifier.record else []
    if finding.view and views and finding.view not in views:
        sentences.append(texts.VIEW_UNTESTED.format(view=finding.view))
    return "".join(f"<p class='part'>{escape(sentence)}</p>" for sentence in sentences if sentence)


def _describe_part(part: str, classifier: FractureClassifier) -> str:
    """Return one sentence on a body part, in lower case; empty if unknown."""
    if not part:
        return texts.PART_UNKNOWN if classifier.record else ""
    if part == OTHER_PART:
        return texts.PART_OTHER
    rows = (classifier.evaluation or {}).get("subgroups", {}).get("rows", [])
    row = next((row for row in rows if row["column"] == "body_part" and str(row["value"]).casefold() == part), None)
    if row is not None and not row["too_few"]:
        return texts.PART_MEASURED.format(
            part=part,
            num_films=row["num_films"],
            found=format_share(row["sensitivity"]["value"]),
            found_interval=format_interval(row["sensitivity"]),
            alarms=format_share(1 - row["specificity"]["value"]),
        )
    trained = {name.casefold() for name in classifier.record.body_parts} if classifier.record else set()
    return (texts.PART_TOO_FEW if part in trained else texts.PART_UNTESTED).format(part=part)


def render_photograph_note(evaluation: Mapping[str, Any] | None) -> str:
    """Say what photographs of films cost, from the measured robustness; empty if it was not measured."""
    rows = (evaluation or {}).get("robustness") or []
    row = next((row for row in rows if row["name"] == "phone photograph"), None)
    if row is None:
        return texts.PHOTOGRAPH_UNMEASURED
    auroc = (evaluation or {})["metrics"]["auroc"]["value"]
    return texts.PHOTOGRAPH_NOTE.format(
        auroc=f"{row['auroc']['value']:.3f}",
        original=f"{auroc:.3f}",
        flipped=format_share(row["flipped_fraction"]["value"]),
    )


def place_on_scale(probability: float) -> float:
    """Return where a probability stands between the ends of the scale, by its log-odds; in [0, 1].

    Thresholds of screening lie at a few percent, where a linear scale shows nothing.

    >>> [round(place_on_scale(p), 2) for p in (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)]
    [0.0, 0.0, 0.26, 0.5, 0.74, 1.0]
    """
    low, high = SCALE_MARKS[0], SCALE_MARKS[-1]
    clipped = min(max(probability, low), high)
    return (_log_odds(clipped) - _log_odds(low)) / (_log_odds(high) - _log_odds(low))


def read_limits(classifier: FractureClassifier) -> tuple[float, float]:
    """Return where "uncertain" and where "fracture" begin; both 0.5 for a model without a record."""
    if classifier.record is None:
        return 0.5, 0.5
    return classifier.record.triage.screening, classifier.record.triage.rule_in


def render_viewer(examination: Examination | None, name: str | None = None) -> str:
    """Return the film with its map above it; the page's slider sets the map's opacity.

    Args:
        examination: What the classifier found; None before there is a film.
        name: The file's own name.
    """
    if examination is None or examination.film is None:
        return f"<div class='viewer'><div class='empty-film'>{texts.VIEWER_EMPTY}</div></div>"
    film = fit_image(examination.film, MAX_FILM_PX)
    width, height = film.size
    source = encode_image(film, "JPEG")
    layers = _render_map_layer(examination.attribution) + _render_candidate(examination)
    size_px = f"{examination.film.width} x {examination.film.height} px"
    caption = f"<p class='soft name'>{escape(name)}, {size_px}</p>" if name else ""
    size = f"aspect-ratio:{width}/{height};max-width:calc(var(--film-height)*{width / height:.4f}*var(--zoom))"
    frames = _render_frame("with-map", size, source, layers, texts.FILM_ALT)
    frames += _render_frame("alone", size, "", "", texts.FILM_ALONE_ALT)
    legend = _render_legend(examination.attribution)
    if "class='box'" in layers:
        legend += f"<p class='soft'>{texts.BOX_NOTE}</p>"
    return f"<div class='viewer'><div class='frames'>{frames}</div>{legend}{caption}</div>"


def render_map(attribution: Attribution) -> Image.Image:
    """Return the map as a picture whose alpha is the strength of the evidence, at most `MAX_MAP_PX` long.

    Drawn over the film with opacity o, it gives what `Attribution.overlay(film, opacity=o)` gives.
    """
    heatmap = np.asarray(fit_image(Image.fromarray(attribution.heatmap), MAX_MAP_PX)).clip(0.0, 1.0)
    levels = np.round(heatmap * 255).astype(np.uint8)
    return Image.fromarray(np.dstack([colour_table()[levels], levels]))


def render_map_worth(method: str, attribution: Attribution | None, scores: Mapping[str, Any] | None) -> str:
    """Say how often the peak of such a map lies in the fracture, as measured for this model.

    Args:
        method: Name of the method.
        attribution: The map of this film, or None.
        scores: `FractureClassifier.attribution_scores`.
    """
    sentence = escape(f"{describe_map_worth(method, scores)} {WARNINGS.get(method, '')}".strip())
    if attribution is not None and attribution.completeness_gap is not None:
        sentence += " " + texts.MAP_GAP.format(gap=f"{attribution.completeness_gap:.3f}")
    return f"<p class='soft'><strong>{texts.MAP_WORTH_TITLE}</strong> {sentence}</p>"


def describe_map_worth(method: str, scores: Mapping[str, Any] | None) -> str:
    """Say in one sentence how often the peak of such a map lies in the fracture, or that nobody knows."""
    scored = (scores or {}).get("methods", {}).get(method, {})
    measured = scored.get("peak_in_region")
    if not measured or measured.get("value") is None:
        return texts.MAP_WORTH_UNKNOWN.format(method=name_method(method))
    if scored.get("sentence"):  # brings the baselines along
        return f"{scored['sentence']} {texts.MAP_CAUTION}"
    centre = (scores or {}).get("baselines", {}).get("centre", {}).get("peak_in_region", {}).get("value")
    sentence = texts.MAP_WORTH.format(
        value=format_share(measured["value"]),
        interval=format_interval(measured),
        centre="not measured" if centre is None else format_share(centre),
    )
    return f"{sentence} {texts.MAP_CAUTION}"


def name_method(method: str) -> str:
    """Return a method's name for people.

    >>> [name_method(name) for name in ("grad_cam", "new_method")]
    ['Grad-CAM', 'New method']
    """
    return texts.METHOD_NAMES.get(method, method.replace("_", " ").capitalize())


def find_peak(attribution: Attribution) -> list[int] | None:
    """Return [x, y] of the strongest evidence in pixels of the film; None for an empty map."""
    if attribution.is_empty:
        return None
    row, column = np.unravel_index(int(attribution.values.argmax()), attribution.values.shape)
    return [int(column), int(row)]


def describe_place(heatmap: NDArray[np.float32]) -> str:
    """Say in which ninth of the film the map (H, W) has its peak.

    >>> describe_place(np.eye(9, dtype=np.float32)[::-1] * np.arange(9))
    'in the upper right'
    """
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    vertical = ("upper", "", "lower")[min(2, int(3 * row / heatmap.shape[0]))]
    horizontal = ("left", "", "right")[min(2, int(3 * column / heatmap.shape[1]))]
    return f"in the {' '.join(part for part in (vertical, horizontal) if part) or 'middle'}"


def render_examples(title: str, note: str, films: Sequence[tuple[Image.Image, str]]) -> str:
    """Return a strip of buttons, one per film; each carries its index.

    Args:
        title: Heading.
        note: What must be said about the films, as HTML.
        films: Thumbnail and caption of each.
    """
    buttons = "".join(_render_example(index, film, caption) for index, (film, caption) in enumerate(films))
    heading = f"<h2>{escape(title)}</h2><p class='soft'>{note}</p>"
    return f"<section class='sheet'>{heading}<div class='strip'>{buttons}</div></section>"


def fit_image(image: Image.Image, max_side_px: int) -> Image.Image:
    """Reduce an image to a longest side of `max_side_px`; a smaller one stays as it is."""
    factor = max_side_px / max(image.size)
    if factor >= 1.0:
        return image
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def draw_warm_up_film() -> Image.Image:
    """Return a grey ramp of the size of a film: enough to run a network once."""
    return Image.fromarray(np.tile(np.arange(512, dtype=np.uint16) // 2, (640, 1)).astype(np.uint8))


def encode_image(image: Image.Image, image_format: str) -> str:
    """Return an image as a data URI, so that it is never written to disk."""
    buffer = BytesIO()
    image.save(buffer, image_format, quality=90)
    return f"data:image/{image_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def format_probability(probability: float) -> str:
    """Write a probability as a percentage that is never rounded to certainty.

    >>> [format_probability(p) for p in (0.0, 0.0123, 0.5, 0.9996)]
    ['below 0.1%', '1.2%', '50%', 'above 99.9%']
    """
    if probability < 0.001:
        return "below 0.1%"
    if probability > 0.999:
        return "above 99.9%"
    return f"{probability:.1%}" if probability < 0.0995 or probability > 0.9905 else f"{probability:.0%}"


def format_share(share: float) -> str:
    """Write a share in [0, 1] as a percentage.

    >>> [format_share(share) for share in (0.0, 0.034, 0.6)]
    ['0%', '3.4%', '60%']
    """
    return f"{share:.1%}" if 0.0 < share < 0.0995 else f"{share:.0%}"


def format_interval(estimate: Mapping[str, Any]) -> str:
    """Write the interval of an estimate (`value`, `lower`, `upper`)."""
    if estimate.get("lower") is None or estimate.get("upper") is None:
        return "no interval can be given"
    return f"{format_share(estimate['lower'])} to {format_share(estimate['upper'])}"


def _answer_sheet(tone: str, word: str, sentence: str, *parts: str) -> str:
    return (
        f"<section class='sheet answer {tone}'><h2 class='word'>{escape(word)}</h2>"
        f"<p class='why'>{escape(sentence)}</p>{''.join(parts)}</section>"
    )


def _render_refusal(finding: Finding) -> str:
    """Return the answer panel of a file that was not answered: which kind of no, and each reason as a sentence."""
    sentences = [strip_subject(reason.sentence) for reason in finding.reasons]
    codes = {reason.code for reason in finding.reasons}
    word = texts.UNREADABLE if finding.decision == "error" else _name_refusal(codes)
    further = "".join(f"<p class='why'>{escape(sentence)}</p>" for sentence in sentences[1:])
    first = sentences[0] if sentences else ""
    return _answer_sheet("refused", word, first, further, _render_notes(finding, reasons=False))


def _name_refusal(codes: set[str]) -> str:
    """Return the heading of a refusal: that it is no radiograph, and what it is instead where that is known."""
    if not codes & NO_RADIOGRAPH_CODES:
        return texts.NO_ANSWER
    kind = next((name for code, name in texts.REFUSED_KINDS.items() if code in codes), None)
    return texts.NOT_A_RADIOGRAPH if kind is None else f"{texts.NOT_A_RADIOGRAPH}: {kind}"


def _render_example(index: int, film: Image.Image, caption: str) -> str:
    picture = encode_image(fit_image(film, MAX_THUMBNAIL_PX), "JPEG")
    label = escape(caption)
    content = f"<img src='{picture}' alt=''><span>{label}</span>"
    return f"<button type='button' data-index='{index}' title='{label}'>{content}</button>"


def strip_subject(sentence: str) -> str:
    """Drop the reader's "The file: " before a complaint; the panel's heading says it."""
    rest = sentence.removeprefix("The file: ")
    return rest[:1].upper() + rest[1:]


def _log_odds(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


def _explain_decision(finding: Finding, limits: tuple[float, float], evaluation: Mapping[str, Any] | None) -> str:
    """Say which threshold decided and how many test films of the other kind it let pass."""
    if finding.operating_point is None:
        return texts.WHY_LARGER
    is_fracture = finding.decision == "fracture"
    share = None
    if limits[0] == limits[1]:
        template = texts.WHY_BALANCED_ABOVE if is_fracture else texts.WHY_BALANCED_BELOW
    elif finding.decision == "uncertain":
        template = texts.WHY_UNCERTAIN
    else:
        share = _read_error(evaluation, "false_alarm_fraction" if is_fracture else "missed_fraction")
        template = _WHY[is_fracture, share is not None]
    low, high = (format_probability(limit) for limit in limits)
    sentence = template.format(screening=low, rule_in=high, share="" if share is None else format_share(share))
    is_early = is_fracture and (finding.probability or 0.0) < 0.5
    return f"{sentence} {texts.WHY_FRACTURE_EARLY}" if is_early else sentence


_WHY: Final = {  # by: is it a fracture, was the share measured
    (True, True): texts.WHY_FRACTURE_MEASURED,
    (True, False): texts.WHY_FRACTURE,
    (False, True): texts.WHY_NO_FRACTURE_MEASURED,
    (False, False): texts.WHY_NO_FRACTURE,
}


def _read_error(evaluation: Mapping[str, Any] | None, name: str) -> float | None:
    """Return a share of test films that the two thresholds of the three answers got wrong; None if unmeasured."""
    value = (evaluation or {}).get("selective", {}).get("metrics", {}).get(name, {}).get("value")
    return None if value is None else float(value)


def _render_zone_key(low: float, high: float) -> str:
    zones = [("none", "no fracture", low), ("uncertain", "uncertain", high - low), ("fracture", "fracture", 1.0 - high)]
    return "".join(
        f"<li><span class='swatch {css}'></span>{texts.ZONE_NAMES[name]}</li>"
        for css, name, width in zones
        if width > 0
    )


def _render_notes(finding: Finding, *, reasons: bool = True) -> str:
    is_said = finding.body_part is not None  # then the page says it itself, with figures
    shown = [reason for reason in finding.reasons if not (is_said and reason.code == UNTESTED_CODE)]
    notes = [reason.sentence for reason in shown] if reasons else []
    if finding.read_note:
        notes.append(texts.READ_NOTE.format(note=finding.read_note))
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<ul class='notes'>{items}</ul>" if items else ""


def _render_worth(finding: Finding, evaluation: Mapping[str, Any] | None) -> str:
    """Say how often such an answer was wrong on the test films."""
    key, template = {
        "fracture": ("false_alarms_among_called", texts.WORTH_FRACTURE),
        "no fracture": ("missed_among_cleared", texts.WORTH_NO_FRACTURE),
        "uncertain": ("coverage", texts.WORTH_UNCERTAIN),
    }[finding.decision]
    figure = (evaluation or {}).get("selective", {}).get("metrics", {}).get(key)
    if not evaluation or not figure or figure.get("value") is None:
        return ""
    sentence = template.format(value=format_share(figure["value"]), interval=format_interval(figure))
    prevalence = texts.PREVALENCE.format(prevalence=format_share(evaluation["cohort"]["prevalence"]))
    return f"<p class='worth'>{sentence} <span class='soft'>{prevalence}</span></p>"


def _render_source(finding: Finding) -> str:
    line = texts.ANSWERED_BY.format(
        model=finding.model, revision=(finding.revision or "unknown revision")[:12], seconds=f"{finding.seconds:.1f}"
    )
    return f"<p class='by'>{escape(line)}</p>"


def _render_frame(kind: str, size: str, source: str, layers: str, alt: str) -> str:
    """Return one picture in a frame that scrolls when it is enlarged.

    The page's script gives the second frame the film of the first, so that it travels once.
    """
    content = f" src='{source}'" if source else ""
    film = f"<img class='film'{content} alt='{escape(alt)}'>"
    label = escape(texts.FRAME_LABELS[kind])
    return (
        f"<div class='frame {kind}' tabindex='0' role='region' aria-label='{label}'>"
        f"<div class='stack' style='{size}'>{film}{layers}</div></div>"
    )


def _render_map_layer(attribution: Attribution | None) -> str:
    if attribution is None or attribution.is_empty:
        return ""
    alt = texts.MAP_ALT.format(place=describe_place(attribution.heatmap))
    return f"<img class='map' src='{encode_image(render_map(attribution), 'PNG')}' alt='{escape(alt)}'>"


def _render_candidate(examination: Examination) -> str:
    """Return the outline of the region that the map points at, where its measurements support one."""
    attribution, style = examination.attribution, choose_box_style(examination.finding.decision)
    box = None if attribution is None else attribution.candidate
    if examination.film is None or box is None or style is None:
        return ""
    place = " ".join(f"{name}='{side:.1f}'" for name, side in zip(("x", "y", "width", "height"), box, strict=True))
    rects = "".join(f"<rect class='{layer}' {place}/>" for layer in ("under", f"over {style}"))
    size = f"0 0 {examination.film.width} {examination.film.height}"
    return f"<svg class='box' viewBox='{size}' role='img' aria-label='{escape(texts.BOX_ALT)}'>{rects}</svg>"


def _render_legend(attribution: Attribution | None) -> str:
    if attribution is None:
        return ""
    if attribution.is_empty:
        return f"<p class='soft'>{texts.MAP_EMPTY}</p>"
    ramp = f"<span>0</span><i style='--ramp:{_draw_ramp()}'></i><span>1</span>"
    return f"<div class='legend'>{ramp}{texts.MAP_LEGEND}</div>"


def _draw_ramp() -> str:
    """Return the map's colours as a CSS gradient from nothing to full."""
    table = colour_table()
    stops = [f"rgba({','.join(str(int(c)) for c in table[i])},{i / 255:.2f})" for i in range(0, 256, 51)]
    return f"linear-gradient(90deg,{','.join(stops)})"
