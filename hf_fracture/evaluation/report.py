"""The evaluation of one model on one split, and the file `evaluation.json` from which cards and tables are rendered.

May depend on every other module of this room except `plots`, `page` and `comparison`.

Schema of `evaluation.json` (version 2). E stands for `{"value", "lower", "upper", "method"}`; `value` is null where a
figure does not exist, the limits are null where no interval can be given (`method` is then `none`; see
`bootstrap.Estimate`). Shares lie in [0, 1].

- `schema_version`: 2. `kind`: `fracture` (for `fracture_type` see `type_report`).
- `model`: `name`, `sha256` (of model.safetensors), `trained_on` (list, or null for a foreign model).
- `dataset`: `name`, `revision`, `split`, `content_sha256` (films, labels, groups), `split_sha256` (films, splits),
  `num_leaked_films` (measured films whose group has a film in another split of the dataset; 0 where it is clean),
  `used_in_development` (true where the split trains or chooses and holds films of a source the model was trained on).
- `software`: version by package name; `python`.
- `bootstrap`: `num_resamples`, `confidence_level`, `seed`, `unit` (`group_id`).
- `cohort`: `num_films`, `num_groups`, `num_fractured`, `prevalence`.
- `metrics`: `auroc`, `average_precision`, `log_loss`, `brier_score`, each E.
- `operating_points`: `chosen_on` (in words) and `points`: by name (`screening`, `balanced`, `rule_in`) `threshold`,
  `chosen_sensitivity` and `chosen_specificity` (what the point achieved where it was chosen), `confusion`
  (`true_positives`, `false_positives`, `false_negatives`, `true_negatives`), `metrics` (`sensitivity`, `specificity`,
  `ppv`, `npv`, `f1`, `balanced_accuracy`, `mcc`, `kappa`, `accuracy`, each E), `predictive_values` (list of
  `prevalence`, `ppv` E, `npv` E). All figures of one point are at its one threshold.
- `calibration`: `temperature` and `shift` (logit difference -> (difference + shift) / temperature), `in_model` (true if
  the model's probabilities are those of `after`), `num_bins`, `before` and `after`: `brier_score`, `log_loss`,
  `expected_calibration_error`, `slope` E, `intercept` E, `bins` (list of `num_films`, `mean_probability`,
  `fractured_fraction`). `temperature`, `shift` and `after` are null for a foreign model whose validation films nothing
  calibrates.
- `selective`: `screening`, `rule_in` (limits), `guarantee` (what they promise, chosen on validation, as in
  `guarantees.TriageGuarantee`; null where a model does not carry it), `metrics` (`coverage`, `error_among_decided`,
  `missed_among_cleared`, `false_alarms_among_called`, `missed_fraction`, `false_alarm_fraction`,
  `sensitivity_among_decided`, `specificity_among_decided`, each E), `risk_coverage_area`, `risk_at_coverage` (list of
  `coverage`, `risk`, at the nearest coverage that the films allow).
- `subgroups`: `operating_point`, `min_films_per_class`, `rows`: list of `column`, `value`, `num_films`, `num_groups`,
  `num_fractured`, `too_few`, and `auroc`, `sensitivity`, `specificity` (each E, or null where there are too few).
- `shortcuts`: null where not measured, else `frame` (what a forest makes of size, borders and compression: `auroc` E,
  `num_training_films`, `above_limit`, `importances`; null without a training split), `blanked_body` and `masked_marks`
  (rows as in `robustness`).
- `robustness`: null where not measured, else a list of `name`, `auroc` E, `auroc_change` E (altered minus original),
  `flipped_fraction` E (films whose call at the balanced point changes), `mean_probability_shift`.
"""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from hf_fracture.config import FractureRecord
from hf_fracture.errors import EvaluationError, NoTemperatureError
from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.calibration import (
    NUM_BINS,
    CalibrationBin,
    calibration_bins,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    fit_temperature_and_shift,
    probability_of,
)
from hf_fracture.evaluation.figures import (
    SUBGROUP_POINT,
    Decisions,
    FigureTable,
    Resampling,
    measure_figures,
    prevalence_key,
)
from hf_fracture.evaluation.guarantees import measure_guarantee
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.metrics import PREVALENCES, brier_score, count_confusion, log_loss
from hf_fracture.evaluation.predictions import Predictions
from hf_fracture.evaluation.robustness import AlterationEffect
from hf_fracture.evaluation.selective import risk_coverage_curve
from hf_fracture.evaluation.shortcuts import FrameProbe
from hf_fracture.evaluation.subgroups import MIN_FILMS_PER_CLASS, Subgroup, find_subgroups
from hf_fracture.evaluation.thresholds import choose_operating_points, choose_triage
from hf_fracture.labels import OPERATING_POINT_NAMES
from hf_fracture.models.checkpoint import write_json

SCHEMA_VERSION: Final = 2
FILE_NAME: Final = "evaluation.json"
POINT_FIGURES: Final[tuple[str, ...]] = (
    *("sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy", "mcc", "kappa", "accuracy"),
)
COVERAGES: Final[tuple[float, ...]] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_PACKAGES: Final[tuple[str, ...]] = (
    "hf-fracture",
    "torch",
    "transformers",
    "datasets",
    "numpy",
    "scikit-learn",
    "scipy",
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What was measured on what.

    Attributes:
        model: The section `model` of the schema.
        dataset: The section `dataset` of the schema.
    """

    model: Mapping[str, Any]
    dataset: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CalibrationFigures:
    """How well one set of probabilities means what it says.

    Attributes:
        y_prob: (N,) the probabilities, for the reliability diagram.
        brier_score: In [0, 1].
        log_loss: In nats.
        expected_calibration_error: Over 15 bins of equal mass, in [0, 1].
        slope: 1 is right.
        intercept: 0 is right.
        bins: The bins of the error.
    """

    y_prob: Floats
    brier_score: float
    log_loss: float
    expected_calibration_error: float
    slope: Estimate
    intercept: Estimate
    bins: list[CalibrationBin]

    def to_dict(self) -> dict[str, Any]:
        """Return the section of the schema."""
        return {name: value for name, value in asdict(self).items() if name != "y_prob"}


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What was measured beyond the films as they are; each part only where it was asked for.

    Attributes:
        robustness: Effects of worse copies of the films.
        frame: AUROC of a forest that sees the films' frames only.
        blanked_body: Effect of painting over the body; an AUROC far above one half is a shortcut.
        masked_marks: Effect of painting over letters, markers and metal.
    """

    robustness: list[AlterationEffect] | None = None
    frame: FrameProbe | None = None
    blanked_body: AlterationEffect | None = None
    masked_marks: AlterationEffect | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the sections `shortcuts` and `robustness` of the schema."""
        shortcuts = {"frame": self.frame, "blanked_body": self.blanked_body, "masked_marks": self.masked_marks}
        measured = any(part is not None for part in shortcuts.values())
        return {
            "shortcuts": {name: part and part.to_dict() for name, part in shortcuts.items()} if measured else None,
            "robustness": None if self.robustness is None else [effect.to_dict() for effect in self.robustness],
        }


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Everything measured of one model on one split.

    Attributes:
        predictions: The films it was measured on.
        provenance: What was measured on what.
        resampling: How intervals were obtained.
        decisions: Operating points and limits, and where they were chosen.
        figures: Every figure with its interval, and the bands of the curves.
        temperature: By which the shifted logits are divided; None where no calibration helps.
        shift: Added to the logits before the division; None where no calibration helps.
        calibration_in_model: True if the model's own probabilities are the calibrated ones.
        guarantee: What the limits of the three-way rule promise, or None.
        before: Calibration figures of the network as it was trained.
        after: Those of the calibrated logits, or None.
        subgroups: The parts that were looked at, those with too few films included.
        probes: Shortcuts and robustness, where they were asked for.
    """

    predictions: Predictions
    provenance: Provenance
    resampling: Resampling
    decisions: Decisions
    figures: FigureTable
    temperature: float | None
    shift: float | None
    calibration_in_model: bool
    guarantee: Mapping[str, Any] | None
    before: CalibrationFigures
    after: CalibrationFigures | None
    subgroups: list[Subgroup]
    probes: Probes

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`; see the module's docstring."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "fracture",
            "model": dict(self.provenance.model),
            "dataset": dict(self.provenance.dataset),
            "software": read_versions(),
            "bootstrap": {**asdict(self.resampling), "unit": "group_id"},
            "cohort": describe_cohort(self.predictions),
            "metrics": {
                name: self.figures[name].to_dict() for name in ("auroc", "average_precision", "log_loss", "brier_score")
            },
            "operating_points": {
                "chosen_on": self.decisions.chosen_on,
                "points": {name: self._describe_point(name) for name in self.decisions.points},
            },
            "calibration": {
                "temperature": self.temperature,
                "shift": self.shift,
                "in_model": self.calibration_in_model,
                "num_bins": NUM_BINS,
                "before": self.before.to_dict(),
                "after": None if self.after is None else self.after.to_dict(),
            },
            "selective": self._describe_selective(),
            "subgroups": {
                "operating_point": SUBGROUP_POINT,
                "min_films_per_class": MIN_FILMS_PER_CLASS,
                "rows": [self._describe_subgroup(subgroup) for subgroup in self.subgroups],
            },
            **self.probes.to_dict(),
        }

    def _describe_point(self, name: str) -> dict[str, Any]:
        point = self.decisions.points[name]
        counts = count_confusion(self.predictions.y_true, self.predictions.y_prob, threshold=point.threshold)
        return {
            "threshold": point.threshold,
            "chosen_sensitivity": point.sensitivity,
            "chosen_specificity": point.specificity,
            "confusion": counts.to_dict(),
            "metrics": {figure: self.figures[f"{name}/{figure}"].to_dict() for figure in POINT_FIGURES},
            "predictive_values": [
                {
                    "prevalence": prevalence,
                    "ppv": self.figures[f"{name}/{prevalence_key('ppv', prevalence)}"].to_dict(),
                    "npv": self.figures[f"{name}/{prevalence_key('npv', prevalence)}"].to_dict(),
                }
                for prevalence in PREVALENCES
            ],
        }

    def _describe_selective(self) -> dict[str, Any]:
        threshold = self.decisions.points[SUBGROUP_POINT].threshold
        curve = risk_coverage_curve(self.predictions.y_true, self.predictions.y_prob, threshold=threshold)
        nearest = [int(np.abs(curve.coverage - coverage).argmin()) for coverage in COVERAGES]
        return {
            "screening": self.decisions.triage.screening,
            "rule_in": self.decisions.triage.rule_in,
            "guarantee": None if self.guarantee is None else dict(self.guarantee),
            "metrics": {name: figure.to_dict() for name, figure in self.figures.section("selective").items()},
            "risk_coverage_area": curve.area,
            "risk_at_coverage": [
                {"coverage": float(curve.coverage[index]), "risk": float(curve.risk[index])} for index in nearest
            ],
        }

    def _describe_subgroup(self, subgroup: Subgroup) -> dict[str, Any]:
        figures = ("auroc", "sensitivity", "specificity")
        return {
            "column": subgroup.column,
            "value": subgroup.value,
            "num_films": len(subgroup.indices),
            "num_groups": subgroup.num_groups,
            "num_fractured": subgroup.num_fractured,
            "too_few": subgroup.is_too_few,
            **{
                name: None if subgroup.is_too_few else self.figures[f"{subgroup.name}/{name}"].to_dict()
                for name in figures
            },
        }


def evaluate_predictions(
    validation: Predictions | None,
    test: Predictions,
    *,
    record: FractureRecord | None,
    provenance: Provenance,
    resampling: Resampling | None = None,
    probes: Probes | None = None,
) -> EvaluationReport:
    """Measure a model's answers on one split, with everything that was to be chosen chosen elsewhere.

    A model of this package brings its calibration and operating points in its record. For any other, both are taken
    from `validation`; its probabilities stay as they are, and the calibrated ones are measured beside them.

    Args:
        validation: Answers on films of the same kind on which a foreign model may be tuned; None if there is a record.
        test: Answers on the films that are measured.
        record: What the model carries, or None for a foreign model.
        provenance: What is measured on what.
        resampling: How intervals are obtained; None takes the defaults.
        probes: What else was measured.

    Raises:
        EvaluationError: If a foreign model comes without validation films, or both splits share a film or group.
    """
    if validation is not None:
        check_separate(validation, test)
    decisions, calibration = choose_decisions(validation, record), choose_calibration(validation, record)
    temperature, shift = calibration or (None, None)
    raw = test.logit_difference * record.temperature - record.shift if record else test.logit_difference
    subgroups = find_subgroups(test)
    return EvaluationReport(
        predictions=test,
        provenance=provenance,
        resampling=resampling or Resampling(),
        decisions=decisions,
        figures=measure_figures(test, decisions, subgroups=subgroups, resampling=resampling),
        temperature=temperature,
        shift=shift,
        calibration_in_model=record is not None,
        guarantee=choose_guarantee(validation, record, decisions),
        before=measure_calibration(test, raw),
        after=None if calibration is None else measure_calibration(test, (raw + calibration[1]) / calibration[0]),
        subgroups=subgroups,
        probes=probes or Probes(),
    )


def measure_calibration(predictions: Predictions, logit_difference: Floats) -> CalibrationFigures:
    """Measure the calibration that given logits would have on the films of `predictions`.

    Args:
        predictions: Labels and groups.
        logit_difference: (N,) logits of the same films, with or without a temperature.
    """
    y_true, prob = predictions.y_true, probability_of(logit_difference)
    return CalibrationFigures(
        y_prob=prob,
        brier_score=brier_score(y_true, prob),
        log_loss=log_loss(y_true, prob),
        expected_calibration_error=expected_calibration_error(y_true, prob),
        slope=calibration_slope(logit_difference, y_true, predictions.group_ids),
        intercept=calibration_intercept(logit_difference, y_true, predictions.group_ids),
        bins=calibration_bins(y_true, prob),
    )


def check_separate(validation: Predictions, test: Predictions) -> None:
    """Refuse to measure on films, or groups of films, on which something was chosen.

    Raises:
        EvaluationError: Naming how many are shared, and one of them.
    """
    for kind, chosen, measured in (
        ("film(s)", validation.ids, test.ids),
        ("group(s)", validation.group_ids, test.group_ids),
    ):
        shared = np.intersect1d(chosen, measured)
        if len(shared):
            raise EvaluationError(
                f"Thresholds must be chosen on other films than those that are measured, but {len(shared)} {kind} "
                f"occur in both, such as '{shared[0]}'. Name another split with --validation-split."
            )


def write_evaluation(report: EvaluationReport, path: Path) -> None:
    """Write `evaluation.json` under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report.to_dict())


def warn_of_optimism(dataset: Mapping[str, Any]) -> list[str]:
    """Say in sentences why figures on these films may be too good; nothing where there is no reason.

    Args:
        dataset: The section `dataset` of the schema.

    >>> warn_of_optimism({"split": "test", "num_leaked_films": 0, "used_in_development": False})
    []
    """
    sentences = []
    if dataset.get("used_in_development"):
        sentences.append(
            f"The split '{dataset['split']}' took part in training this model or in choosing its operating points: "
            "these figures are too good."
        )
    if num_leaked := dataset.get("num_leaked_films"):
        sentences.append(
            f"{num_leaked} of these films have a relative in another split of the dataset; a model trained there may "
            "have memorised them."
        )
    return sentences


def read_versions() -> dict[str, str]:
    """Return the versions of the packages that a figure can depend on; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def choose_decisions(validation: Predictions | None, record: FractureRecord | None) -> Decisions:
    """Take the operating points and limits that a model carries, or choose them on validation films.

    Args:
        validation: Answers on films that are not measured; None if there is a record.
        record: What the model carries, or None for a foreign model.

    Raises:
        EvaluationError: If there is neither, the record lacks a point, or a target cannot be reached.
    """
    if record is not None:
        _check_points(record)
        source = ", ".join(record.trained_on) or "not recorded"
        chosen_on = f"the validation split of the model's training data ({source})"
        return Decisions(points=record.operating_points, triage=record.triage, chosen_on=chosen_on)
    if validation is None:
        raise EvaluationError(
            "A model without operating points of its own needs a validation split on which they can be chosen, got "
            "none. Name one with --validation-split."
        )
    points = choose_operating_points(validation.y_true, validation.y_prob)
    return Decisions(points=points, triage=choose_triage(points), chosen_on="the validation split of this dataset")


def choose_calibration(validation: Predictions | None, record: FractureRecord | None) -> tuple[float, float] | None:
    """Take the temperature and shift that a model carries, or fit them on validation films; None where none helps.

    Args:
        validation: Answers on films that are not measured.
        record: What the model carries, or None for a foreign model.
    """
    if record is not None:
        return record.temperature, record.shift
    if validation is None:
        return None
    try:
        return fit_temperature_and_shift(validation.y_true, validation.logit_difference)
    except NoTemperatureError:
        return None


def choose_guarantee(
    validation: Predictions | None, record: FractureRecord | None, decisions: Decisions
) -> Mapping[str, Any] | None:
    """Take what the limits promise from a model's record, or work it out on the films on which they were chosen.

    Args:
        validation: Answers on films that are not measured.
        record: What the model carries, or None for a foreign model.
        decisions: The limits.
    """
    if record is not None or validation is None:
        return None if record is None else record.triage_guarantee
    return measure_guarantee(validation.y_true, validation.y_prob, validation.group_ids, decisions.triage).to_dict()


def _check_points(record: FractureRecord) -> None:
    missing = [name for name in OPERATING_POINT_NAMES if name not in record.operating_points]
    if missing:
        raise EvaluationError(
            f"The model's record must hold the operating points {', '.join(OPERATING_POINT_NAMES)}, got no "
            f"{', '.join(missing)}. Save the model again with hf-fracture train."
        )


def describe_cohort(predictions: Predictions) -> dict[str, Any]:
    """Return the section `cohort` of the schema."""
    return {
        "num_films": len(predictions),
        "num_groups": len(np.unique(predictions.group_ids)),
        "num_fractured": int(predictions.y_true.sum()),
        "prevalence": float(predictions.y_true.mean()),
    }
