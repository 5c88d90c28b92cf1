"""Films against pictures that are none: a linear rule over what the network's last map holds.

The distance to the training films (`gate.FeatureStatistics`) is blind to what lies near them for the network, as soft
grey photographs do. This rule has seen pictures that are no films, of the kinds that `scripts/not_radiographs.py`
draws, beside films altered as other devices and clinics would. NumPy only; fitting imports scikit-learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import UsageError

MAX_DEVIATION: Final = 8.0  # standard deviations; what lies farther counts no more
INVERSE_PENALTY: Final = 0.01
ALTERED_PASSED_FRACTION: Final = 0.98
PASSED_FRACTION: Final = 0.99
_SMALL_FEATURE: Final = 0.01
_PREFIX: Final = "discriminant."


@dataclass(frozen=True, kw_only=True)
class Discriminant:
    """A linear rule over 2 C features: mean and largest value of each channel.

    Attributes:
        centre: (2C,) mean of the films' transformed features.
        scale: (2C,) their standard deviation, positive.
        weight: (2C,) of the standardised features; positive speaks against a film.
        offset: Added to the weighted sum.
        ordinary: Value of an ordinary film, where the score is 0.
        limit: Value at which a picture is refused, above `ordinary`.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    offset: float
    ordinary: float
    limit: float

    def values(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the rule's value (N,) of summaries (N, 2C); larger is less like a film.

        Raises:
            UsageError: If the number of features is another one.
        """
        if features.ndim != 2 or features.shape[1] != len(self.weight):
            raise UsageError(
                f"features must be (N, {len(self.weight)}), got {features.shape}. Use the gate's own model."
            )
        values: NDArray[np.float64] = self._standardise(features) @ self.weight.astype(np.float64) + self.offset
        return values

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (N,) scores: 0 for an ordinary film, refused above 1, at least 0."""
        span = max(self.limit - self.ordinary, 1e-9)
        return np.maximum((self.values(features) - self.ordinary) / span, 0.0)

    def _standardise(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        return _standardise(features, self.centre, self.scale)

    def to_tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return what goes to `gate.safetensors`."""
        return {
            _PREFIX + field.name: np.atleast_1d(np.asarray(getattr(self, field.name), dtype=np.float32))
            for field in fields(self)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> "Discriminant | None":
        """Read it back; None where the gate has none.

        Raises:
            KeyError: If a part of it is missing.
        """
        if not any(name.startswith(_PREFIX) for name in tensors):
            return None
        arrays = {field.name: tensors[_PREFIX + field.name] for field in fields(cls)}
        numbers = {name: float(arrays[name][0]) for name in ("offset", "ordinary", "limit")}
        return cls(centre=arrays["centre"], scale=arrays["scale"], weight=arrays["weight"], **numbers)


def summarise_maps(feature_maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean and largest value of each channel of (N, C, h, w) feature maps; (N, 2C)."""
    return np.concatenate([feature_maps.mean(axis=(2, 3)), feature_maps.max(axis=(2, 3))], axis=1)


def fit_discriminant(
    films: NDArray[np.floating],
    pictures: NDArray[np.floating],
    *,
    validation: NDArray[np.floating],
    altered_validation: NDArray[np.floating],
) -> Discriminant:
    """Fit the rule, and choose its limit on validation.

    Args:
        films: (N, 2C) summaries of training films, altered ones among them, N at least 2.
        pictures: (M, 2C) of pictures that are no films, M at least 2.
        validation: (K, 2C) of validation films; `PASSED_FRACTION` of them pass.
        altered_validation: (L, 2C) of the same, altered; `ALTERED_PASSED_FRACTION` of them pass.

    Raises:
        UsageError: If a set is empty or the widths differ.
    """
    from sklearn.linear_model import LogisticRegression

    sets = (films, pictures, validation, altered_validation)
    if min(map(len, sets)) < 2 or len({features.shape[1:] for features in sets}) != 1:
        raise UsageError(
            "A discriminant needs 2 or more rows of one width in every set, got shapes "
            f"{', '.join(str(features.shape) for features in sets)}."
        )
    transformed = _transform(films)
    centre, scale = transformed.mean(axis=0), np.maximum(transformed.std(axis=0), 1e-3)
    rows = np.concatenate([_standardise(films, centre, scale), _standardise(pictures, centre, scale)])
    is_picture = np.r_[np.zeros(len(films), dtype=np.int64), np.ones(len(pictures), dtype=np.int64)]
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=5000).fit(rows, is_picture)
    rule = Discriminant(
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        weight=np.asarray(model.coef_[0], dtype=np.float32),
        offset=float(model.intercept_[0]),
        ordinary=0.0,
        limit=1.0,
    )
    ordinary = float(np.median(rule.values(validation)))
    limit = max(
        float(np.quantile(rule.values(validation), PASSED_FRACTION)),
        float(np.quantile(rule.values(altered_validation), ALTERED_PASSED_FRACTION)),
    )
    return Discriminant(
        centre=rule.centre,
        scale=rule.scale,
        weight=rule.weight,
        offset=rule.offset,
        ordinary=ordinary,
        limit=max(limit, ordinary + 1e-3),
    )


def _standardise(
    features: NDArray[np.floating], centre: NDArray[np.floating], scale: NDArray[np.floating]
) -> NDArray[np.float64]:
    standardised: NDArray[np.float64] = (_transform(features) - centre) / scale
    return standardised.clip(-MAX_DEVIATION, MAX_DEVIATION)


def _transform(features: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    logarithms: NDArray[np.float64] = np.sign(wide) * np.log1p(np.abs(wide) / _SMALL_FEATURE)
    return logarithms
