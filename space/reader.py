"""What the page does when something happens: from a file on this server's disk to the panels' HTML.

May depend on `panels`, `evidence` and `hf_fracture.inference`; knows nothing of gradio.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evidence
import panels
from hf_fracture.explain.attribution import Method
from hf_fracture.inference.classifier import FractureClassifier


@dataclass(frozen=True)
class FilmReader:
    """The handlers of one page.

    Attributes:
        classifiers: The models that a visitor may choose from, by the name shown; at least one.
    """

    classifiers: Mapping[str, FractureClassifier]

    @property
    def names(self) -> list[str]:
        """Names of the models; the first is preset."""
        return list(self.classifiers)

    def examine(self, path: str | None, model: str, method: Method) -> tuple[str, str, str]:
        """Examine a film.

        Args:
            path: The film; None before there is one.
            model: One of `names`.
            method: How the map is made.

        Returns:
            HTML of the answer, of the viewer, and of what the map is worth.
        """
        if path is None:
            return panels.render_waiting(), panels.render_viewer(None), ""
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:  # deleted since it was uploaded
            return panels.render_expired(), panels.render_viewer(None), ""
        classifier = self.classifiers[model]
        examination = next(classifier.examine_many([data], method=method, captum=True))
        worth = ""
        if examination.attribution is not None:
            worth = panels.render_map_worth(method, examination.attribution, classifier.attribution_scores)
        viewer = panels.render_viewer(examination, Path(path).name)
        return panels.render_answer(examination.finding, classifier), viewer, worth

    def take(self, path: str | None, model: str, method: Method) -> tuple[str | None, None, str, str, str]:
        """Examine a film that was just uploaded; the None empties the drop zone for the next one."""
        return path, None, *self.examine(path, model, method)

    def change_model(self, path: str | None, model: str, method: Method) -> tuple[str, str, str, str, str]:
        """Examine again with another model, and show that model's measurements and uses."""
        classifier = self.classifiers[model]
        panes = evidence.render_evidence(classifier), evidence.render_use(classifier)
        return *self.examine(path, model, method), *panes

    def predict(self, film: str) -> dict[str, Any]:
        """Find out whether a radiograph shows a fracture. Research and teaching only; not a medical device.

        Args:
            film: One radiograph: PNG, JPEG, TIFF, WebP, BMP or DICOM file, at most 64 MB.

        Returns:
            One finding: path (null here), decision (fracture, no fracture, uncertain, refused or error), probability
            (calibrated probability of a fracture in [0, 1]; null without an answer), operating_point, reasons (list
            of code and sentence), body_part, view, study_id, gate_score, read_note, model, revision, seconds.
        """
        return next(self.classifiers[self.names[0]].predict_many([Path(film).read_bytes()])).to_dict()

    def warm_up(self) -> None:
        """Run every model once, so that the first visitor does not wait for it."""
        for classifier in self.classifiers.values():
            for _ in classifier.predict_many([panels.draw_warm_up_film()]):
                pass
