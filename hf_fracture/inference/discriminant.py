"""Films against pictures that are none: a kernel rule over what the network's last map holds.

The distance to the training films (`gate.FeatureStatistics`) is blind to what lies near them for the network, as soft
grey photographs do. This rule has seen pictures that are no films, of the kinds that `scripts/not_radiographs.py`
draws, beside films altered as other devices and clinics would. It is a support vector machine with a radial kernel: a
linear rule over the same features misses twice as many pictures of kinds that it has not seen. NumPy only; fitting
imports scikit-learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import UsageError

STEP: Final = 1 / 16  # standard deviations; support vectors are stored in such steps, in 8 bit
MAX_DEVIATION: Final = 127 * STEP  # what lies farther counts no more
INVERSE_PENALTY: Final = 3.0
ALTERED_PASSED_FRACTION: Final = 0.96
PASSED_FRACTION: Final = 0.99
_SMALL_FEATURE: Final = 0.01
_PREFIX: Final = "discriminant."


@dataclass(frozen=True, kw_only=True)
class Discriminant:
    """A sum of radial kernels over 2 C features: mean and largest value of each channel.

    Attributes:
        centre: (2C,) mean of the films' transformed features.
        scale: (2C,) their standard deviation, positive.
        supports: (M, 2C) int8: standardised features of films and pictures, in steps of `STEP`.
        weights: (M,) of their kernels; positive speaks against a film.
        width: Factor of the squared distance in the kernels' exponent, positive.
        offset: Added to the weighted sum.
        ordinary: Value of an ordinary film, where the score is 0.
        limit: Value at which a picture is refused, above `ordinary`.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    supports: NDArray[np.int8]
    weights: NDArray[np.float32]
    width: float
    offset: float
    ordinary: float
    limit: float

    def values(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the rule's value (N,) of summaries (N, 2C); larger is less like a film.

        Raises:
            UsageError: If the number of features is another one.
        """
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise UsageError(
                f"features must be (N, {len(self.centre)}), got {features.shape}. Use the gate's own model."
            )
        rows = _standardise(features, self.centre, self.scale)
        squares = (rows**2).sum(axis=1)[:, None] + self._support_squares - 2 * rows @ self._support_rows.T  # (N, M)
        kernels = np.exp(-self.width * np.maximum(squares, 0.0))
        values: NDArray[np.float64] = kernels @ self.weights.astype(np.float64) + self.offset
        return values

    @cached_property
    def _support_rows(self) -> NDArray[np.float64]:
        return self.supports.astype(np.float64) * STEP

    @cached_property
    def _support_squares(self) -> NDArray[np.float64]:
        squares: NDArray[np.float64] = (self._support_rows**2).sum(axis=1)
        return squares

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (N,) scores: 0 for an ordinary film, refused above 1, at least 0."""
        span = max(self.limit - self.ordinary, 1e-9)
        return np.maximum((self.values(features) - self.ordinary) / span, 0.0)

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Return what goes to `gate.safetensors`."""
        return {
            _PREFIX + field.name: value if value.dtype == np.int8 else np.atleast_1d(value.astype(np.float32))
            for field in fields(self)
            for value in (np.asarray(getattr(self, field.name)),)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> "Discriminant | None":
        """Read it back; None where the gate has none.

        Raises:
            KeyError: If a part of it is missing.
            ValueError: If its parts do not fit together.
        """
        if not any(name.startswith(_PREFIX) for name in tensors):
            return None
        arrays = {field.name: tensors[_PREFIX + field.name] for field in fields(cls)}
        centre, scale, supports, weights = (arrays[name] for name in ("centre", "scale", "supports", "weights"))
        fits = scale.shape == centre.shape and supports.shape == (len(weights), len(centre))
        if not fits or (scale <= 0).any():
            raise ValueError("the parts of the discriminant do not fit together")
        return cls(
            centre=centre,
            scale=scale,
            supports=supports,
            weights=weights,
            width=float(arrays["width"][0]),
            offset=float(arrays["offset"][0]),
            ordinary=float(arrays["ordinary"][0]),
            limit=float(arrays["limit"][0]),
        )


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
    from sklearn.svm import SVC

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
    rows = np.rint(rows / STEP) * STEP  # as they will be stored
    model = SVC(C=INVERSE_PENALTY, class_weight="balanced").fit(rows, is_picture)
    rule = Discriminant(
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        supports=np.rint(model.support_vectors_ / STEP).astype(np.int8),
        weights=np.asarray(model.dual_coef_[0], dtype=np.float32),
        width=float(1 / (rows.shape[1] * rows.var())),  # what scikit-learn calls "scale"
        offset=float(model.intercept_[0]),
        ordinary=0.0,
        limit=1.0,
    )
    ordinary = float(np.median(rule.values(validation)))
    limit = max(
        float(np.quantile(rule.values(validation), PASSED_FRACTION)),
        float(np.quantile(rule.values(altered_validation), ALTERED_PASSED_FRACTION)),
    )
    return replace(rule, ordinary=ordinary, limit=max(limit, ordinary + 1e-3))


def _standardise(
    features: NDArray[np.floating], centre: NDArray[np.floating], scale: NDArray[np.floating]
) -> NDArray[np.float64]:
    standardised: NDArray[np.float64] = (_transform(features) - centre) / scale
    return standardised.clip(-MAX_DEVIATION, MAX_DEVIATION)


def _transform(features: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    logarithms: NDArray[np.float64] = np.sign(wide) * np.log1p(np.abs(wide) / _SMALL_FEATURE)
    return logarithms
