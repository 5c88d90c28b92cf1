"""Every sentence of the page, in one place, so that they can be read together and translated.

Names in braces are filled in by `panels`. May depend on nothing.
"""

from typing import Final

TITLE: Final = "Fracture reader"
TAGLINE: Final = "Is there a fracture on this radiograph, how sure is the model, and where did it look?"
NOTICE: Final = (
    "<strong>Research and teaching only. Not a medical device.</strong>"
    "<span> No one may be diagnosed or treated on its answer.</span>"
)

DROP_TITLE: Final = "Your film"
DROP_WORDS: Final = {  # replaces Gradio's own words in the drop zone
    "upload_text.drop_file": "Drop or paste a film here",
    "upload_text.click_to_upload": "Choose a file",
}
DROP_HINT: Final = (
    "PNG, JPEG, TIFF, WebP or DICOM, 8 or 16 bit, up to {max_size}. Give it the film itself: no figure on this "
    "page holds for photographs of a screen. Files stay on this server for at most {minutes} minutes and are used for "
    "nothing else."
)

DRAWINGS_TITLE: Final = "No film at hand? Try a drawing"
DRAWINGS_NOTE: Final = (
    "Drawn by a program, no patient. They show how the page works; "
    "<strong>an answer on a drawing proves nothing</strong> about real films."
)
FILMS_TITLE: Final = "Or a film from {name}"
FILMS_NOTE: Final = "Real films from the folder that this page was started with."

MODEL_LABEL: Final = "Model"
METHOD_LABEL: Final = "How the map is made"
METHOD_INFO: Final = "All explain the logit difference that decides. Grad-CAM comes at once, the others take seconds."
OPACITY_LABEL: Final = "Opacity of the map (%)"
METHOD_NAMES: Final = {
    "grad_cam": "Grad-CAM",
    "integrated_gradients": "Integrated gradients",
    "gradient_shap": "GradientSHAP",
    "saliency": "Saliency",
    "occlusion": "Occlusion",
}

# The answer, in words first.
FRACTURE: Final = "Fracture likely"
UNCERTAIN: Final = "Uncertain: have it read"
NO_FRACTURE: Final = "No fracture seen"
NOT_A_RADIOGRAPH: Final = "Not a radiograph"
NO_ANSWER: Final = "No answer"
UNREADABLE: Final = "Could not read the file"
WAITING: Final = "Waiting for a film"
WAITING_SENTENCE: Final = "The answer comes first, in words; then how sure the model is, and the film with its map."
EXPIRED_SENTENCE: Final = "The film is no longer on this server. Upload it again."

PROBABILITY: Final = "Calibrated probability of a fracture"
ZONE_NAMES: Final = {"no fracture": "no fracture seen", "uncertain": "uncertain", "fracture": "fracture likely"}
POINTS: Final = "Log-odds scale. Operating points:"
POINT_NAMES: Final = {"screening": "Screening", "balanced": "Balanced", "rule_in": "Rule-in"}
WHY_FRACTURE: Final = "At or above the rule-in point of {rule_in}, which few films without a fracture reach."
WHY_UNCERTAIN: Final = "Between the screening point of {screening} and the rule-in point of {rule_in}."
WHY_NO_FRACTURE: Final = "Below the screening point of {screening}, below which few fractures fall."
WHY_BALANCED_ABOVE: Final = "At or above the one threshold of this model, {rule_in}."
WHY_BALANCED_BELOW: Final = "Below the one threshold of this model, {screening}."
WHY_LARGER: Final = "The larger of the model's two probabilities; it carries no measured operating points."
WORTH_FRACTURE: Final = "Of the test films that got this answer, {value} had no fracture ({interval})."
WORTH_NO_FRACTURE: Final = "Of the test films that got this answer, {value} were fractured all the same ({interval})."
WORTH_UNCERTAIN: Final = (
    "The model decides {value} of the test films ({interval}) and leaves the rest, like this one, to a reader."
)
PREVALENCE: Final = (
    "Counted on test films of which {prevalence} were fractured; where fractures are rarer, more alarms are false."
)
READ_NOTE: Final = "Reading the file: {note}."
ANSWERED_BY: Final = "{model} ({revision}), {seconds} s"

# The film and its map.
VIEWER_EMPTY: Final = "Here the film appears, with the map of the evidence over it."
FILM_ALT: Final = "The film as the model was given it, upright and grey"
MAP_ALT: Final = "Heat map of the evidence for a fracture, laid over the film; strongest {place}"
MAP_EMPTY: Final = "The map is empty: nothing on this film spoke for a fracture."
MAP_LEGEND: Final = "evidence for a fracture"
MAP_WORTH: Final = (
    "<strong>What this map is worth:</strong> its peak lies in the marked fracture in {value} of the fractured test "
    "films ({interval}); a guess at the centre: {centre}. A map can be wrong where the answer is right."
)
MAP_WORTH_UNKNOWN: Final = (
    "<strong>What this map is worth is not known:</strong> nobody has measured how often {method} points at the "
    "fracture with this model. Take it as a hint where to look, not as a finding."
)
MAP_GAP: Final = "Completeness gap: {gap} logits (0 would be exact)."

# How often it is wrong.
EVIDENCE_TITLE: Final = "How often is it wrong?"
EVIDENCE_COHORT: Final = (
    "Measured on {num_films} films of <b>{dataset}</b> ({split} split), {num_fractured} of them fractured. "
    "Ranges are 95% intervals; thresholds were chosen on {chosen_on}."
)
EVIDENCE_AUROC: Final = "Area under the ROC curve: <b>{value}</b> ({interval}). 0.5 is guessing, 1 is perfect."
EVIDENCE_COLUMNS: Final = ("Point", "Says fracture from", "Sensitivity", "Specificity", "In 100 films of each kind")
EVIDENCE_COUNTS: Final = "misses {missed} fractures, {alarms} false alarms"
EVIDENCE_TRIAGE: Final = (
    "The three answers together: it decides {coverage} of the films ({coverage_interval}) and is wrong in {error} of "
    "those ({error_interval}); the rest it calls uncertain."
)
EVIDENCE_PARTS: Final = "By body part, at the balanced point"
EVIDENCE_PART_COLUMNS: Final = ("Body part", "Films", "Sensitivity", "Specificity")
EVIDENCE_TOO_FEW: Final = "too few films"
EVIDENCE_NONE: Final = (
    "<b>Nobody knows.</b> This model carries no measurements (evaluation.json). Measure it with "
    "<code>hf-fracture evaluate</code> before you believe any answer of it."
)

USE_TITLE: Final = "What it is for, and what it is not for"
FOR_TITLE: Final = "For"
FOR: Final = (
    "Seeing how a fracture classifier answers, doubts and refuses.",
    "Research on such models, and teaching what they can and cannot do.",
)
FOR_PARTS: Final = "Plain radiographs of {body_parts}: the body parts that it was trained on and measured on."
NOT_FOR_TITLE: Final = "Not for"
NOT_FOR: Final = (
    "Diagnosis, triage or treatment of anyone, yourself included.",
    "CT, MRI and ultrasound. It is trained on {modality} only.",
    "Other body parts. It may answer all the same, and no figure here holds for them.",
    "Ruling a fracture out. It misses some, as the table above says, and no map shows what was missed.",
    "Anything but fractures: it was never shown what a dislocation, a tumour or an infection is.",
)
NOT_FOR_PARTS: Final = "Films of {body_parts}: it was trained on some, but nobody knows how often it is wrong on them."
MIXED: Final = "mixed"  # a dataset's word for several body parts on one film
MIXED_NAME: Final = "several"
MODALITY_NAMES: Final = {"XR": "plain radiographs (XR)", "CT": "CT", "MR": "MRI"}

PROGRAM_TITLE: Final = "From a program"
PROGRAM_NOTE: Final = (
    "The same answer, as one row of <code>hf-fracture predict</code>. "
    "<button type='button' class='link' data-opens='.show-api'>All parameters and clients</button>"
)
PROGRAM_EXAMPLE: Final = """from gradio_client import Client, handle_file

finding = Client("{url}").predict(film=handle_file("wrist.png"), api_name="/predict")
print(finding["decision"], finding["probability"])"""
