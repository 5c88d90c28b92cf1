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

TAB_ONE: Final = "One film"
TAB_SEVERAL: Final = "Several"
TAB_COMPARE: Final = "Compare"
TAB_EVIDENCE: Final = "Evidence"
TAB_PROGRAM: Final = "API"

DROP_TITLE: Final = "Your film"
DROP_WORDS: Final = {  # replaces Gradio's own words in the drop zone
    "upload_text.drop_file": "Drop or paste here",
    "upload_text.click_to_upload": "Choose from your files",
}
DROP_HINT: Final = (
    "PNG, JPEG, TIFF, WebP or DICOM, 8 or 16 bit, up to {max_size}. Your film is deleted when you leave, after "
    "{minutes} minutes at the latest, and used for nothing else."
)
CAMERA_BUTTON: Final = "Photograph a film"
PHOTOGRAPH_NOTE: Final = (
    "Better the file than a photograph of it: on simulated phone photographs of the test films the area under the ROC "
    "curve was {auroc} instead of {original}, and {flipped} of the answers changed sides."
)
PHOTOGRAPH_UNMEASURED: Final = "Give it the file itself: nobody has measured this model on photographs of films."

DRAWINGS_TITLE: Final = "No film at hand? Try a drawing"
DRAWINGS_NOTE: Final = (
    "Drawn by a program, no patient. They show how the page works; "
    "<strong>an answer on a drawing proves nothing</strong> about real films."
)
FILMS_TITLE: Final = "Or a film from {name}"
FILMS_NOTE: Final = "Real films from the folder that this page was started with."

PART_LABEL: Final = "Body part"
PART_INFO: Final = "Only so that the page can say how the model does on it; the answer does not depend on it."
PART_FROM_FILE: Final = "As the file says"
PART_OTHER_CHOICE: Final = "Another one"
PART_MEASURED: Final = (
    "On {num_films} test films of the {part} it found {found} of the fractures ({found_interval}) and gave a false "
    "alarm on {alarms} of the intact ones, at the balanced point."
)
PART_TOO_FEW: Final = (
    "It was trained on films of the {part}, but nobody knows how often it is wrong on them: there were too few to test."
)
PART_UNTESTED: Final = (
    "It was neither trained nor tested on this body part ({part}): no figure here holds for this film."
)
PART_OTHER: Final = (
    "It was neither trained nor tested on body parts that are not in the list: no figure here holds for this film."
)
PART_UNKNOWN: Final = "The file does not say which body part this is. Choose it below, to see how the model does on it."
VIEW_UNTESTED: Final = "It was not tested on this view ({view})."

MODEL_LABEL: Final = "Model"
METHOD_LABEL: Final = "How the map is made"
METHOD_INFO: Final = "All explain the logit difference that decides. Grad-CAM comes at once, the others take a while."
OPACITY_LABEL: Final = "Opacity of the map (%)"
VIEW_LABEL: Final = "Show"
VIEW_NAMES: Final = {"overlay": "Film with map", "side": "Side by side", "plain": "Film alone"}
ZOOM_LABEL: Final = "Zoom (%)"
WINDOW_TITLE: Final = "Window, for your eyes only"
WINDOW_NOTE: Final = (
    "Changes how the film is shown, not what the model sees: that is the film as its file windows it, here at 50 and "
    "100. Levels are in percent of the grey scale."
)
CENTRE_LABEL: Final = "Window centre (%)"
WIDTH_LABEL: Final = "Window width (%)"
RESET_LABEL: Final = "As the file says"
METHOD_NAMES: Final = {
    "grad_cam": "Grad-CAM",
    "averaged_grad_cam": "Averaged Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
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
REFUSED_KINDS: Final = {"colour_image": "colour photograph", "drawing": "drawing", "document": "text or noise"}
NO_ANSWER: Final = "No answer"
UNREADABLE: Final = "Could not read the file"
WAITING: Final = "Waiting for a film"
WAITING_SENTENCE: Final = "The answer comes first, in words; then how sure the model is, and the film with its map."
EXPIRED_SENTENCE: Final = "There is no film of yours on this server, or no longer. Give it one above."

PROBABILITY: Final = "Calibrated probability of a fracture"
ZONE_NAMES: Final = {"no fracture": "no fracture seen", "uncertain": "uncertain", "fracture": "fracture likely"}
POINTS: Final = "Log-odds scale. Operating points:"
POINT_NAMES: Final = {"screening": "Screening", "balanced": "Balanced", "rule_in": "Rule-in"}
WHY_FRACTURE: Final = "At or above the rule-in point of {rule_in}."
WHY_FRACTURE_MEASURED: Final = (
    "At or above the rule-in point of {rule_in}, as {share} of the test films without a fracture were."
)
WHY_FRACTURE_EARLY: Final = "Below 50% all the same: the alarm is given early, so that few fractures are missed."
WHY_UNCERTAIN: Final = "Between the screening point of {screening} and the rule-in point of {rule_in}."
WHY_NO_FRACTURE: Final = "Below the screening point of {screening}."
WHY_NO_FRACTURE_MEASURED: Final = (
    "Below the screening point of {screening}, as {share} of the fractured test films were."
)
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
FILM_ALONE_ALT: Final = "The same film without the map"
FRAME_LABELS: Final = {
    "with-map": "Film with map; scrolls with the arrow keys when enlarged",
    "alone": "Film alone; scrolls with the arrow keys when enlarged",
}
MAP_ALT: Final = "Heat map of the evidence for a fracture, laid over the film; strongest {place}"
MAP_EMPTY: Final = "The map is empty: nothing on this film spoke for a fracture."
BOX_ALT: Final = "Box around the region that the map points at"
BOX_NOTE: Final = "The box marks the region around the map's peak; dotted where the film needs a look, solid otherwise."
MAP_LEGEND: Final = "evidence for a fracture"
MAP_WORTH_TITLE: Final = "What this map is worth:"
MAP_WORTH: Final = (
    "Its peak lies in the marked fracture in {value} of the fractured test films ({interval}); a guess at the centre: "
    "{centre}."
)
MAP_CAUTION: Final = "A map can be wrong where the answer is right."
MAP_WORTH_UNKNOWN: Final = (
    "It is not known. Nobody has measured how often {method} points at the "
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
EVIDENCE_ELSEWHERE: Final = (
    "On {num_films} films of another collection, {dataset}, which it never saw: <b>{value}</b> ({interval}). Expect no "
    "more for films of your own."
)
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
MIXED_NAME: Final = "several"
MODALITY_NAMES: Final = {"XR": "plain radiographs (XR)", "CT": "CT", "MR": "MRI"}

SEVERAL_TITLE: Final = "Your films"
SEVERAL_NOTE: Final = (
    "Up to {max_films} at once; a folder of any size is for <code>hf-fracture predict</code>. They are deleted as soon "
    "as they have been read."
)
SEVERAL_EMPTY: Final = "Drop films above and press Read. A bad file gets a sentence and stops none of the others."
START_LABEL: Final = "Read"
STOP_LABEL: Final = "Stop"
STOPPED: Final = "Stopped. What was read so far stays below."
PROGRESS: Final = "{done} of {all} films"
PROGRESS_LABEL: Final = "Films read"
DONE: Final = "{num_films} films read, {num_failed} of them without an answer. {left_out}"
LEFT_OUT: Final = "{num} more were left out: {max_films} at once."
TABLE_COLUMNS: Final = ("Film and map", "File", "Answer", "Probability")
SAVE_CSV: Final = "Save findings (CSV)"
SAVE_ZIP: Final = "Save everything (ZIP)"
STUDIES_TITLE: Final = "Studies"
STUDIES_NOTE: Final = (
    "Films whose DICOM headers name the same study are answered together: the study gets the largest probability of "
    "its films, since a fracture often shows in one view only."
)
STUDY_COLUMNS: Final = ("Study", "Films answered", "Answer for the study", "Probability", "Film that decided")

COMPARE_TITLE: Final = "One film, two answers"
COMPARE_NOTE: Final = (
    "Two models, or two ways to make the map, side by side on one film. The models are those that this page was "
    "started with."
)
COMPARE_ONE_MODEL: Final = "This page was started with one model, so the two sides differ in the map alone."
COMPARE_EMPTY: Final = "Give it a film above."
COMPARE_TAKE: Final = "Take the film of the first tab"
SIDE_LABELS: Final = ("Left", "Right")
SAME_ANSWER: Final = "Both sides answer the same. Their probabilities differ by {points} percentage points."
OTHER_ANSWER: Final = "The two sides answer differently. Their probabilities differ by {points} percentage points."
NO_TWO_ANSWERS: Final = "At least one side gave no answer, so there is nothing to compare."
PEAKS_APART: Final = "The peaks of the two maps lie {share} of the film's diagonal apart."
AGENTS: Final = "An agent gives a file as an https address or as a data: URI."
TOO_MANY: Final = "Expected at most {max_films} films at once, got {num}. Send them in parts."

PROOF_TITLE: Final = "How well it does, with 95% intervals"
PROOF_NOTE: Final = (
    "{num_films} films of <b>{dataset}</b> ({split} split), {num_fractured} of them fractured, {num_leaked} of "
    "them with "
    "a copy among the training films. Intervals from {resamples} resamples by patient or group; thresholds were fixed "
    "before these films were looked at."
)
METRIC_NAMES: Final = {"auroc": "Area under the ROC curve", "average_precision": "Average precision"}
RATE_NAMES: Final = {"sensitivity": "sensitivity", "specificity": "specificity"}
CALIBRATION_TITLE: Final = "Does 20% mean 20%?"
CALIBRATION_NOTE: Final = (
    "Films are grouped by the probability they got. On the diagonal, as many were fractured as promised. Expected "
    "calibration error {error}; calibration slope {slope} ({lower} to {upper}), where 1 would be neither too bold "
    "nor too "
    "timid."
)
CALIBRATION_HOW: Final = (
    "Left of the middle the model promised little, right of it much; above the line it promised too little."
)
CALIBRATION_AXES: Final = ("probability given", "share fractured")
GROUPS_TITLE: Final = "Where it does better and worse"
GROUPS_NOTE: Final = "Area under the ROC curve for each kind of film. Wide ranges mean few films, not good ones."
GROUP_COUNT: Final = "{num_films} films, {num_fractured} fractured"
COLUMN_NAMES: Final = {"body_part": "Body part", "view": "View", "hardware": "Metal on the film", "image_size": "Size"}
COPIES_TITLE: Final = "Bad copies of the same films"
COPIES_NOTE: Final = (
    "The test films again, spoilt on purpose: area under the ROC curve, and how many answers changed sides."
)
AS_IT_IS: Final = "as it is"
FLIPPED: Final = "{share} changed sides"
SHORTCUTS_TITLE: Final = "Does it look at the bone?"
SHORTCUTS_NOTE: Final = (
    "Area under the ROC curve when it should not be able to tell, or should not need to. What stays above 0.5 "
    "without the "
    "body was learned from something else than fractures."
)
SHORTCUT_NAMES: Final = {
    "blanked_body": "with the body painted over",
    "masked_marks": "with marks painted over",
    "frame": "another program that sees only size, borders and file size",
}
MAPS_TITLE: Final = "Do the maps point at the fracture?"
MAPS_NOTE: Final = (
    "Share of {num_films} fractured test films on which the peak of the map lies in the region that a radiologist "
    "marked. "
    "The marked region covers {region} of a film on average."
)
BASELINE_NAMES: Final = {"centre": "always the centre of the film", "edges": "the strongest edge in the film"}
GATE_TITLE: Final = "What it refuses"
GATE_NOTE: Final = "Pictures that are no films like those it was trained on get a refusal instead of an answer."
GATE_TITLES: Final = {True: "Films: how many are refused", False: "No films: how many are refused"}
GATE_WORDS: Final = "{num_refused} of {num_films} refused"
GATE_SETS: Final = {
    "validation": "validation films",
    "test": "test films",
    "kaggle_clean": "films of another collection (Kaggle)",
    "bone_break": "films of another collection (Bone Break)",
    "no radiographs: photographs_of_scikit_image": "photographs of scikit-image",
    "phantoms": "drawings, such as those of this page",
    "no radiographs, kinds it was fitted on": "all kinds that the gate was fitted on",
    "no radiographs, kinds it has not seen": "all kinds that it had never seen",
}
EXPORT_TITLE: Final = "The same answers everywhere?"
EXPORT_NOTE: Final = (
    "The network also runs outside this page. How far the probability of a film then moves from the original's, in "
    "percentage points ({films}):"
)
EXPORT_COLUMNS: Final = ("Form", "At most", "On average", "Area under the ROC curve")
EXPORT_EXACT: Final = "original"
EXPORT_UNMEASURED: Final = "not measured"
EXPORT_NAMES: Final = {
    "onnx/model.onnx": "ONNX, exact",
    "onnx/model_int8.onnx": "ONNX in 8 bit, smaller",
    "fast": "Fast mode: smaller decoding and 8 bit",
}
LEAK_TITLE: Final = "Why other pages promise more"
LEAK_NOTE: Final = (
    "Most fracture projects quote the published split of {dataset}. Nearly all of its test films have a copy, "
    "turned or "
    "mirrored, among the training films. Below, the share of test films with such a copy:"
)
LEAK_LABELS: Final = {
    "published, test": "Published split",
    "clean, validation and test": "Clean split, no film on both sides",
}
LEAK_WORDS: Final = "{num_copied} of {num_films} test films"
LEAK_AUROC: Final = "The same small network on both splits: area under the ROC curve"
LEAK_MORAL: Final = (
    "A figure from the first row measures memory as well as skill. No other figure of this page comes from it."
)
DATASET_NAMES: Final = {
    "fracatlas": "FracAtlas",
    "kaggle_multi_region": "Kaggle's multi-region collection",
    "grazpedwri_dx": "GRAZPEDWRI-DX",
    "bone_break": "Bone Break",
}
ELSEWHERE_TITLE: Final = "At home and elsewhere"
ELSEWHERE_NOTE: Final = (
    "Area under the ROC curve on test films of the collection that it was trained on, and of others that it never saw. "
    "Films that two collections share are left out. Expect the lower figure for films of your own."
)
LIMITS_TITLE: Final = "Limits"
LIMITS: Final = (
    "Trained on films of one public dataset. At another hospital, with other machines, it will do worse.",
    "The labels are those of the dataset; some of them are wrong.",
    "The test films hold more fractures than an emergency department sees, so there more alarms are false.",
    "Nobody has compared it with doctors, and nobody has tested it on patients.",
    "A heat map shows where the network looked, not why, and not what it overlooked.",
)

PROGRAM_TITLE: Final = "Ask it from a program"
PROGRAM_NOTE: Final = (
    "Four endpoints, no key. Every answer is a row of <code>hf-fracture predict</code>. "
    "<button type='button' class='link' data-opens='.show-api'>Gradio's own reference</button>"
)
PROGRAM_LIMITS: Final = (
    "At most {max_size} a file, {max_films} films a call, {max_waiting} calls waiting; a queue that is full says "
    "so, and "
    "one that is long says how long."
)
ENDPOINTS: Final = {
    "/predict": ("film: file, model: name", "one finding", "Is there a fracture on this film?"),
    "/explain": ("film: file, method: name, model: name", "film with map (PNG), explanation", "Where does it look?"),
    "/predict_many": (
        "films: list of files, model: name",
        "list of findings",
        "Several films at once; a bad one stops no other.",
    ),
    "/describe_model": (
        "model: name",
        "what the Evidence tab says, as JSON",
        "How often is it wrong, and what is it not for?",
    ),
}
ENDPOINT_COLUMNS: Final = ("Endpoint", "Takes", "Gives", "For")
ENDPOINT_NOTE: Final = (
    "Method and model may be left out. Methods: {methods}. The models are those that /describe_model names."
)
FINDING_TITLE: Final = "A finding"
FINDING_COLUMNS: Final = ("Field", "Type", "Meaning")
FINDING_FIELDS: Final = {
    "path": ("null", "where the film came from; programs know"),
    "decision": ("string", "fracture, no fracture, uncertain, refused or error"),
    "probability": ("number or null", "calibrated probability of a fracture, 0 to 1; null without an answer"),
    "operating_point": ("string or null", "the threshold that decided: screening, balanced or rule_in"),
    "reasons": ("list of {code, sentence}", "why there is no answer, or what to keep in mind"),
    "body_part": ("string or null", "as a DICOM header says"),
    "view": ("string or null", "frontal, lateral or oblique, as a DICOM header says"),
    "laterality": ("string or null", "L or R, as a DICOM header says"),
    "study_id": ("string or null", "salted hash from a DICOM header; never a name"),
    "gate_score": ("number or null", "how far the film is from the training films; refused above 1"),
    "read_note": ("string or null", "what reading had to mend"),
    "model": ("string", "name of the model"),
    "revision": ("string or null", "commit, or hash of the weights"),
    "seconds": ("number", "time for this film"),
}
EXAMPLES_HEADING: Final = "Examples"
EXAMPLES_TITLE: Final = {"python": "Python", "javascript": "JavaScript", "curl": "curl", "mcp": "MCP"}
EXAMPLE_PYTHON: Final = """# pip install gradio_client
from gradio_client import Client, handle_file

client = Client("{url}")
finding = client.predict(film=handle_file("wrist.png"), api_name="/predict")
print(finding["decision"], finding["probability"])"""
EXAMPLE_JAVASCRIPT: Final = """async function predict(file) {{  // a File or Blob, in a browser or in Node 20
  const api = "{url}/gradio_api";
  const form = new FormData();
  form.append("files", file, file.name ?? "film.png");
  const [path] = await (await fetch(`${{api}}/upload`, {{ method: "POST", body: form }})).json();
  const film = {{ path, meta: {{ _type: "gradio.FileData" }} }};
  const call = await fetch(`${{api}}/call/predict`, {{
    method: "POST",
    headers: {{ "Content-Type": "application/json" }},
    body: JSON.stringify({{ data: [film, null] }}),
  }});
  const {{ event_id }} = await call.json();
  const events = await (await fetch(`${{api}}/call/predict/${{event_id}}`)).text();
  return JSON.parse(events.split("event: complete\\ndata: ")[1])[0];
}}"""
EXAMPLE_CURL: Final = """API={url}/gradio_api
FILE=$(curl -s -F "files=@wrist.png" $API/upload | sed 's/[][]//g')
EVENT=$(curl -s -H 'Content-Type: application/json' $API/call/predict \\
  -d "{{\\"data\\": [{{\\"path\\": $FILE, \\"meta\\": {{\\"_type\\": \\"gradio.FileData\\"}}}}, null]}}" \\
  | sed 's/.*: *"//; s/".*//')
curl -sN $API/call/predict/$EVENT"""
EXAMPLE_MCP: Final = """{{ "mcpServers": {{ "fractures": {{ "url": "{url}/gradio_api/mcp/" }} }} }}"""
MCP_OFF: Final = "This server offers no MCP tools: the package mcp is not installed (pip install 'hf-fracture[mcp]')."

# The page that runs in a browser alone (space/browser/), whose build copies these into its model.json.
BROWSER: Final = {
    "tagline": "The whole model runs in this browser. No film leaves your machine, and after the first visit no "
    "network is needed.",
    "drop_title": DROP_TITLE,
    "choose": "Choose a film",
    "camera": CAMERA_BUTTON,
    "drop_hint": "Choose, drop or paste a PNG, JPEG or WebP of 8 bit. DICOM, TIFF and 16-bit files are for the full "
    "page or for hf-fracture predict.",
    "waiting": WAITING,
    "viewer_empty": VIEWER_EMPTY,
    "opacity": OPACITY_LABEL,
    "probability": PROBABILITY,
    "reading": "Reading the film …",
    "map_empty": MAP_EMPTY,
    "empty": "The file is empty. Copy it again.",
    "format": "This page cannot read DICOM and TIFF files. Use the full page, or hf-fracture predict.",
    "deep": "This is a 16-bit PNG, which a browser would cut to 8 bit. Use the full page, or hf-fracture predict.",
    "unreadable": "Expected a PNG, JPEG or WebP picture, got something else or a damaged file. Export the film again.",
    "large": "The picture is too large for a browser. Reduce it, or use hf-fracture predict.",
    "refused": "This is no film that the model can answer.",
    "too_small": "The picture is too small to see a fracture.",
    "extreme_aspect": "The picture is too long and narrow for a film.",
    "blank": "The picture is blank.",
    "low_contrast": "The contrast is too low.",
    "saturated": "Most of the picture is pure white: an overexposed film, a page, or inverted grey levels.",
    "drawing": "Most of the picture is perfectly even, as in drawings, plots and screenshots.",
    "document": "Neighbouring pixels agree too little, as in text and noise.",
    "colour_image": "The picture is coloured; a radiograph is grey. Give it the film itself, not a photograph.",
    "not_a_radiograph": "To the network this does not look like a film that it was trained on.",
}
BROWSER_WORDS: Final = {
    "fracture": FRACTURE,
    "uncertain": UNCERTAIN,
    "no fracture": NO_FRACTURE,
    "refused": NO_ANSWER,
    "error": UNREADABLE,
}
BROWSER_POINTS: Final = "Fracture from {rule_in}, no fracture below {screening}, uncertain between the two."
