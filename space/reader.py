"""What the page does when something happens: from files on this server's disk to the panels' HTML.

May depend on `panels`, `evidence` and `hf_fracture.inference`; knows nothing of gradio.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import evidence
import panels
from hf_fracture.explain.attribution import METHODS, Method
from hf_fracture.inference.classifier import Examination, FractureClassifier
from hf_fracture.inference.finding import Finding

QUICK_METHOD: Method = METHODS[0]  # the map of every answer; the other methods take seconds


@dataclass(frozen=True)
class FilmReader:
    """The handlers of one page.

    Attributes:
        classifiers: The models that a visitor may choose from, by the name shown; at least one.
    """

    classifiers: Mapping[str, FractureClassifier]
    _patient: dict[str, FractureClassifier] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def names(self) -> list[str]:
        """Names of the models; the first is preset."""
        return list(self.classifiers)

    @property
    def body_parts(self) -> list[str]:
        """Body parts that any of the models was trained on, sorted."""
        records = [classifier.record for classifier in self.classifiers.values() if classifier.record]
        return sorted({part for record in records for part in record.body_parts} - {panels.MIXED})

    def examine(self, path: str | None, model: str, method: Method, body_part: str = "") -> tuple[str, str, str]:
        """Examine a film.

        Args:
            path: The film; None without one, or where the connection was lost and the film was deleted.
            model: One of `names`.
            method: How the map is made.
            body_part: What the visitor says that it shows; empty to take it from the file.

        Returns:
            HTML of the answer, of the viewer, and of what the map is worth.
        """
        examination = None if path is None else self.look(path, model, method)
        if path is None or examination is None:
            return panels.render_expired(), panels.render_viewer(None), ""
        classifier = self.classifiers[model]
        worth = ""
        if examination.attribution is not None:
            worth = panels.render_map_worth(method, examination.attribution, classifier.attribution_scores)
        viewer = panels.render_viewer(examination, Path(path).name)
        return panels.render_answer(examination.finding, classifier, body_part=body_part), viewer, worth

    def look(self, path: str, model: str, method: Method) -> Examination | None:
        """Read, judge and explain one film; None if it was deleted since it was uploaded."""
        data = _read_upload(path)
        if data is None:
            return None
        return next(self._choose(model, method).examine_many([data], method=method, captum=True))

    def judge(self, path: str | None, model: str, body_part: str) -> str:
        """Give the answer again, with what is known about another body part."""
        data = None if path is None else _read_upload(path)
        if data is None:
            return panels.render_expired()
        classifier = self.classifiers[model]
        return panels.render_answer(next(classifier.predict_many([data])), classifier, body_part=body_part)

    def change_model(self, path: str | None, model: str, body_part: str) -> tuple[Method, str, str, str, str, str]:
        """Examine again with another model and the quick map, and show that model's measurements and uses."""
        classifier = self.classifiers[model]
        panes = evidence.render_summary(classifier), evidence.render_use(classifier)
        return QUICK_METHOD, *self.examine(path, model, QUICK_METHOD, body_part), *panes

    def look_at_many(self, paths: Sequence[str], model: str) -> Iterator[Examination]:
        """Judge and explain films in order, quickly; a file that is bad or gone is a finding with an error."""
        films = (_read_upload(path) or b"" for path in paths)
        yield from self.classifiers[model].examine_many(films, method=QUICK_METHOD)

    def predict(self, paths: Sequence[str], model: str) -> Iterator[Finding]:
        """Judge films in order."""
        films = (_read_upload(path) or b"" for path in paths)
        yield from self.classifiers[model].predict_many(films)

    def warm_up(self) -> None:
        """Run every model once, so that the first visitor does not wait for it."""
        for classifier in self.classifiers.values():
            for _ in classifier.examine_many([panels.draw_warm_up_film()], method=QUICK_METHOD, captum=True):
                pass

    def _choose(self, model: str, method: Method) -> FractureClassifier:
        """Return a second copy of the model for what takes seconds: a network answers one question at a time."""
        if method == QUICK_METHOD:
            return self.classifiers[model]
        with self._lock:
            if model not in self._patient:
                original = self.classifiers[model]
                self._patient[model] = FractureClassifier(original.model_dir, model=original.model)
            return self._patient[model]


def _read_upload(path: str) -> bytes | None:
    """Return the bytes of an upload; None if it was deleted meanwhile."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
