"""From the findings of a study's films to one answer for the study. May depend on `decision`, `finding` and `config`.

A study is what one examination of a body part left: two or three views of the same bones. A fracture often shows on
one of them only, so the study has the probability of the film that shows most: the maximum. A noisy-or, which treats
the films as independent witnesses, would let a fourth view of a healthy wrist raise the study above a threshold that
none of its films reaches; a mean would let views that cannot show the fracture outvote the one that does. The maximum
needs no fit, so it holds for a model whose training data had no studies. Its price: thresholds were chosen on single
films, and with more films per study more healthy ones are called back. Sensitivity per study is at least that per film.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from hf_fracture.config import FractureRecord
from hf_fracture.data.spreadsheets import neutralise_formula
from hf_fracture.inference.decision import decide
from hf_fracture.inference.finding import Decision, Finding


@dataclass(frozen=True, kw_only=True)
class StudyFinding:
    """What the films of one study say together. The fields, in this order, are the columns of `--studies`.

    Attributes:
        study_id: Salted hash from the headers.
        decision: As for a film; `refused` or `error` only if no film was answered.
        probability: Largest probability of its films, in [0, 1]; None if none was answered.
        operating_point: Whose threshold decided, as for a film.
        film: Path of the film with the largest probability; None if none was answered, or it has no path.
        num_films: Films of the study.
        num_answered: Of these, answered.
        body_parts: Named in the headers, in order of appearance.
        views: Named in the headers, in order of appearance.
        model: As for a film.
        revision: As for a film.
    """

    study_id: str
    decision: Decision
    probability: float | None
    operating_point: str | None
    film: str | None
    num_films: int
    num_answered: int
    body_parts: list[str]
    views: list[str]
    model: str
    revision: str | None

    def to_csv_row(self) -> list[str]:
        """Return the columns in order as text; unknown is empty, lists are joined by `; `."""
        cells = []
        for name in STUDY_COLUMNS:
            value = getattr(self, name)
            if name == "probability" and value is not None:
                cells.append(f"{value:.6f}")
                continue
            text = "; ".join(value) if isinstance(value, list) else "" if value is None else str(value)
            cells.append(neutralise_formula(text))
        return cells


STUDY_COLUMNS: Final[tuple[str, ...]] = tuple(column.name for column in fields(StudyFinding))


def answer_studies(findings: Iterable[Finding], record: FractureRecord | None) -> list[StudyFinding]:
    """Join the findings of films by study.

    Args:
        findings: Of one model, in any order; those without a study id stand for themselves and are left out.
        record: Of that model; its limits decide.

    Returns:
        One answer per study, in the order in which they first appear.
    """
    studies: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.study_id is not None:
            studies.setdefault(finding.study_id, []).append(finding)
    return [_answer_study(study_id, films, record) for study_id, films in studies.items()]


def _answer_study(study_id: str, films: list[Finding], record: FractureRecord | None) -> StudyFinding:
    answered = [film for film in films if film.probability is not None]
    decision: Decision = "refused" if any(film.decision == "refused" for film in films) else "error"
    probability = operating_point = best = None
    if answered:
        best = max(answered, key=lambda film: film.probability or 0.0)
        probability = best.probability or 0.0
        decision, operating_point = decide(probability, record)
    return StudyFinding(
        study_id=study_id,
        decision=decision,
        probability=probability,
        operating_point=operating_point,
        film=best.path if best else None,
        num_films=len(films),
        num_answered=len(answered),
        body_parts=list(dict.fromkeys(film.body_part for film in films if film.body_part)),
        views=list(dict.fromkeys(film.view for film in films if film.view)),
        model=films[0].model,
        revision=films[0].revision,
    )
