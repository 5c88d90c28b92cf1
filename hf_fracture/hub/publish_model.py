"""What of a model folder goes to the Hub, once nothing in it contradicts anything else.

May depend on every room below `hub`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hf_fracture.errors import FractureError, PublishError
from hf_fracture.evaluation.measured_model import hash_weights
from hf_fracture.hub.card import EVAL_RESULTS_PATH, REQUIRED_SECTIONS, render_card, render_eval_results
from hf_fracture.hub.publish_plan import (
    CARD_NAME,
    PlannedFile,
    UploadPlan,
    check_folder,
    check_images,
    check_sections,
    gate_access,
    read_front_matter,
    select_files,
    settle_licence,
    write_front_matter,
)
from hf_fracture.models.checkpoint import WEIGHTS_NAME, read_json, read_preprocessing, read_record

FIGURE_PATTERNS: Final = ("figures/*",)
_OWNED: Final = (
    *("*.json", "*.safetensors", "*.py", ".eval_results/*.yaml", "onnx/*", "LICENSE", CARD_NAME),
    *(*FIGURE_PATTERNS, "examples/*"),
)
_INSTEAD: Final[dict[str, str]] = {
    "config.json": "hf-fracture train writes it",
    "preprocessor_config.json": "hf-fracture train writes it",
    "run.json": "hf-fracture train writes it",
    "evaluation.json": "run hf-fracture evaluate with --record",
    CARD_NAME: "run hf-fracture card",
}
_WELCOME: Final[dict[str, str]] = {
    "attribution.json": "hf-fracture explain-eval --record",
    "gate.safetensors": "scripts/fit_gate.py",
    "export.json": "hf-fracture export",
}
_USAGE: Final = """\
from hf_fracture import FractureClassifier
classifier = FractureClassifier.from_pretrained("{repo_id}", revision="{revision}")
print(classifier.predict("wrist.png"))
"""


def plan_model(folder: Path, *, licence: str | None = None, gated: bool = False) -> UploadPlan:
    """Check a model folder and say what of it would go.

    Args:
        folder: Written by `hf-fracture train`, measured and with a card.
        licence: For weights whose card names none.
        gated: Say in the card what visitors have to accept.

    Raises:
        PublishError: If something is missing, contradicts the weights, is a pickle, too large, or a picture without a
            licence.
        UsageError: If a licence has to be named.
        MissingInputError: If there is no such folder.
        ModelFolderError: If a file of it is damaged.
    """
    check_folder(folder)
    files, left_out = select_files(folder, _OWNED)
    names = [file.path for file in files]
    _check_complete(folder, names)
    _check_weights(folder, names)
    check_images(folder, names, plots=FIGURE_PATTERNS)
    card = PlannedFile(path=CARD_NAME, content=_finish_card(folder, licence=licence, gated=gated).encode())
    return UploadPlan(
        kind="model",
        files=[card if file.path == CARD_NAME else file for file in files],
        owned=_OWNED,
        usage=_USAGE,
        left_out=left_out,
        notes=[f"Without {name}; {how} writes it." for name, how in _WELCOME.items() if name not in names],
    )


def _check_complete(folder: Path, names: list[str]) -> None:
    for name, remedy in _INSTEAD.items():
        if name not in names:
            raise PublishError(f"Expected {name} in '{folder}', found none: {remedy}.")
    if WEIGHTS_NAME not in names and f"{WEIGHTS_NAME}.index.json" not in names:
        raise PublishError(f"Expected {WEIGHTS_NAME} in '{folder}', found none: hf-fracture train writes it.")
    if read_record(folder) is None:
        raise PublishError(
            f"Expected config.json of '{folder}' to hold the key 'fracture' (operating points), found none. Train it "
            "with hf-fracture train, or publish another's model with hf upload."
        )
    read_preprocessing(folder)


def _check_weights(folder: Path, names: list[str]) -> None:
    """Refuse a measurement, an export or a gate of other weights, and an export that does not say of which it is."""
    present = hash_weights(folder)
    if "export.json" not in names and any(name.startswith("onnx/") for name in names):
        raise PublishError(
            f"Expected export.json in '{folder}', beside onnx/, to say of which weights it is, found none. Run "
            "hf-fracture export again, or remove onnx/."
        )
    for name in names:
        if not name.endswith(".json"):
            continue
        measured = _find_hash(read_json(folder / name))
        if measured is not None and measured != present:
            raise PublishError(
                f"Expected {name} to belong to the weights in '{folder}' (sha256 {present[:12]}), but it belongs to "
                f"others ({measured[:12]}). Make it again, or remove it."
            )


def _find_hash(content: Mapping[str, Any]) -> str | None:
    model = content.get("model")
    found = content.get("model_sha256") or (model.get("sha256") if isinstance(model, Mapping) else None)
    return None if found is None else str(found)


def _finish_card(folder: Path, *, licence: str | None, gated: bool) -> str:
    """Return the card as it goes: what the measurements render must be in it, and a licence."""
    remedy = "Run hf-fracture card with --overwrite."
    card = (folder / CARD_NAME).read_text(encoding="utf-8")
    front, body = read_front_matter(card, where=CARD_NAME)
    try:
        rendered, figures = render_card(folder), render_eval_results(folder)
    except FractureError as error:
        raise PublishError(f"The card of '{folder}' cannot be rendered: {error}") from error
    check_sections(body, REQUIRED_SECTIONS, where=CARD_NAME, remedy=remedy)
    lines = set(card.splitlines())
    stale = [line for line in rendered.splitlines() if line not in lines]
    if stale:
        raise PublishError(
            f"Expected {CARD_NAME} to say what the measurements of '{folder}' say, but {len(stale)} line(s) differ, "
            f"the first: {stale[0][:100]!r}. {remedy}"
        )
    published = folder / EVAL_RESULTS_PATH
    if figures is not None and (not published.is_file() or published.read_text(encoding="utf-8") != figures):
        raise PublishError(
            f"Expected {EVAL_RESULTS_PATH} to hold the figures of evaluation.json, found others. {remedy}"
        )
    before = dict(front)
    settle_licence(front, licence, why_missing=_WHY_LICENCE)
    if gated:
        gate_access(front, what="model")
    return card if front == before else write_front_matter(front, body)


_WHY_LICENCE: Final = (
    "The weights were trained on films that may not be passed on, so no licence is implied. Name one with --license, "
    "for example --license other, if you may."
)
