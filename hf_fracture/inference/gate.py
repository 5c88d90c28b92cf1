"""Whether a film lies among those the model was trained on: by its appearance, and by the network's own features.

`gate.safetensors` in the model folder holds the statistics of the features; a folder without it is guarded by the
appearance alone. NumPy and safetensors only.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import ModelFolderError, UsageError
from hf_fracture.inference.appearance import MAX_SCORE, Verdict
from hf_fracture.inference.discriminant import Discriminant, summarise_maps
from hf_fracture.inference.finding import Reason

GATE_FILE: Final = "gate.safetensors"
MAX_COMPONENTS: Final = 64
MAX_REFUSED_FRACTION: Final = 0.01  # of validation films, when the limit is chosen
TOLERANCE: Final = 1.5  # films of other clinics lie up to 1.5 times as far as those at hand, most photographs farther

_SMALL_FEATURE: Final = 0.01  # features below this count as nearly silent
_TENSORS: Final = ("mean", "components", "variances", "residual_variance", "limit")


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """A Gaussian around the pooled features of the training films, with a limit chosen on validation.

    Attributes:
        mean: (C,) mean of the transformed features.
        components: (K, C) orthonormal directions in which the films differ most.
        variances: (K,) positive variance along each.
        residual_variance: Mean variance along the other C - K directions, positive.
        limit: Distance at which a film is refused, positive.
        discriminant: Rule against pictures that lie near the films all the same; None in older folders.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float32]
    residual_variance: float
    limit: float
    discriminant: Discriminant | None = None

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mahalanobis distance per direction of each film from the training films.

        Args:
            features: (N, C) mean of the last feature map over its positions.

        Returns:
            (N,) root mean square of the standardised deviations; about 1 for a training film.

        Raises:
            UsageError: If the number of channels is another one.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise UsageError(f"features must be (N, {len(self.mean)}), got {features.shape}. Use the gate's own model.")
        deviations = transform_features(features) - self.mean  # (N, C)
        projected = deviations @ self.components.T  # (N, K)
        residual = np.maximum((deviations**2).sum(axis=1) - (projected**2).sum(axis=1), 0.0)
        total = (projected**2 / self.variances).sum(axis=1) + residual / self.residual_variance
        distances: NDArray[np.float64] = np.sqrt(total / len(self.mean))
        return distances


def pool_features(feature_maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average (N, C, h, w) feature maps over their positions; (N, C)."""
    pooled: NDArray[np.float32] = feature_maps.mean(axis=(2, 3))
    return pooled


def transform_features(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Take a logarithm that keeps the sign: rectified features are skewed, and a Gaussian fits their logarithms better.

    >>> transform_features(np.array([[0.0, 0.99, -0.99]])).round(3).tolist()
    [[0.0, 4.605, -4.605]]
    """
    wide = features.astype(np.float64)
    logarithms: NDArray[np.float64] = np.sign(wide) * np.log1p(np.abs(wide) / _SMALL_FEATURE)
    return logarithms


def fit_gate(
    train_features: NDArray[np.floating],
    validation_features: NDArray[np.floating],
    *,
    max_refused_fraction: float = MAX_REFUSED_FRACTION,
    tolerance: float = TOLERANCE,
) -> FeatureStatistics:
    """Describe the training films, and choose the limit on validation.

    Source: Lee et al. 2018 (Mahalanobis distance to the training features); here with one class, and with the small
    variances pooled as in probabilistic principal components, so that directions without data cannot dominate.

    Args:
        train_features: (N, C) pooled features of training films, N at least 2.
        validation_features: (M, C) of validation films, M at least 1.
        max_refused_fraction: Share of the validation films passed over in finding the farthest, in [0, 1).
        tolerance: The limit lies so many times beyond that farthest film, at least 1.

    Returns:
        The statistics. At most `max_refused_fraction` of the validation films lie beyond the limit.

    Raises:
        UsageError: If shapes do not fit, a value is not finite, there are too few films, or a number leaves its range.
    """
    if not 0.0 <= max_refused_fraction < 1.0:
        raise UsageError(f"max_refused_fraction must lie in [0, 1), got {max_refused_fraction!r}. Write 0.01 for 1 %.")
    if not 1.0 <= tolerance < float("inf"):
        raise UsageError(
            f"tolerance must be finite and at least 1, got {tolerance!r}. Write 1.5 for half as far again."
        )
    _check_features(train_features, validation_features)
    transformed = transform_features(train_features)
    mean = transformed.mean(axis=0)
    _, singular, directions = np.linalg.svd(transformed - mean, full_matrices=False)
    variances = singular**2 / (len(transformed) - 1)
    num_channels = transformed.shape[1]
    num_kept = min(MAX_COMPONENTS, len(variances) - 1, num_channels - 1)
    floor = max(1e-6 * float(variances.sum()) / num_channels, 1e-12)
    residual_variance = max(float(variances[num_kept:].sum()) / (num_channels - num_kept), floor)
    statistics = FeatureStatistics(
        mean=mean.astype(np.float32),
        components=directions[:num_kept].astype(np.float32),
        variances=np.maximum(variances[:num_kept], residual_variance).astype(np.float32),
        residual_variance=residual_variance,
        limit=1.0,
    )
    distances = np.sort(statistics.distances(validation_features))
    num_refused = int(max_refused_fraction * len(distances))
    return replace(statistics, limit=tolerance * float(distances[len(distances) - 1 - num_refused]))


def judge_features(statistics: FeatureStatistics, features: NDArray[np.float32]) -> list[Verdict]:
    """Judge films by the features of the network.

    Args:
        statistics: What `fit_gate` returned for the same network.
        features: (N, C) pooled features.

    Returns:
        One verdict per film; its score is the distance divided by the limit.
    """
    verdicts = []
    for distance in statistics.distances(features):
        score = min(float(distance) / statistics.limit, MAX_SCORE)
        reason = Reason(
            code="not_a_radiograph",
            sentence=f"To the network this does not look like a film it was trained on ({score:.1f} times the limit).",
        )
        verdicts.append(Verdict(score, (reason,) if score > 1.0 else ()))
    return verdicts


def judge_maps(statistics: FeatureStatistics, feature_maps: NDArray[np.float32]) -> list[Verdict]:
    """Judge films by the network's last feature maps: by their distance, and by the rule where the gate has one.

    Args:
        statistics: Of the same network.
        feature_maps: (N, C, h, w).

    Returns:
        One verdict per film: the larger score of the two, and its reason above 1.
    """
    verdicts = judge_features(statistics, pool_features(feature_maps))
    if statistics.discriminant is None:
        return verdicts
    scores = statistics.discriminant.scores(summarise_maps(feature_maps))
    return [
        max(verdict, _refuse_picture(min(float(score), MAX_SCORE)), key=lambda candidate: candidate.score)
        for verdict, score in zip(verdicts, scores, strict=True)
    ]


def _refuse_picture(score: float) -> Verdict:
    reason = Reason(
        code="not_a_radiograph",
        sentence=f"To the network this looks more like a photograph or a drawing than a film ({score:.1f} times the "
        "limit).",
    )
    return Verdict(score, (reason,) if score > 1.0 else ())


def merge_verdicts(first: Verdict, second: Verdict) -> Verdict:
    """Join two verdicts: the larger score, all reasons."""
    return Verdict(max(first.score, second.score), (*first.reasons, *second.reasons))


def save_gate(statistics: FeatureStatistics, model_dir: Path) -> Path:
    """Write `gate.safetensors` into a model folder, to a temporary name first.

    Returns:
        The file's path.
    """
    from safetensors.numpy import save

    tensors = {name: np.atleast_1d(np.asarray(getattr(statistics, name), dtype=np.float32)) for name in _TENSORS}
    if statistics.discriminant is not None:
        tensors |= statistics.discriminant.to_tensors()
    path = model_dir / GATE_FILE
    partial = path.with_name(f".{GATE_FILE}.partial")
    partial.write_bytes(save(tensors))
    partial.replace(path)
    return path


def load_gate(model_dir: Path) -> FeatureStatistics | None:
    """Read `gate.safetensors` of a model folder; None where there is none.

    Raises:
        ModelFolderError: If the file is damaged.
    """
    path = model_dir / GATE_FILE
    if not path.is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
        _check_tensors(tensors)
        statistics = FeatureStatistics(
            mean=tensors["mean"],
            components=tensors["components"],
            variances=tensors["variances"],
            residual_variance=float(tensors["residual_variance"][0]),
            limit=float(tensors["limit"][0]),
            discriminant=Discriminant.from_tensors(tensors),
        )
        statistics.distances(statistics.mean[None])
    except (SafetensorError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ModelFolderError(
            f"Expected '{path}' to hold the tensors {', '.join(_TENSORS)}, but {str(error)[:200]}. Fit the gate again."
        ) from error
    return statistics


def _check_tensors(tensors: dict[str, NDArray[np.float32]]) -> None:
    """Refuse numbers with which a gate would let everything pass.

    Raises:
        ValueError: If one is not finite, or a variance or the limit not positive.
    """
    positive = (tensors[name] for name in ("variances", "residual_variance", "limit"))
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()) or any((t <= 0).any() for t in positive):
        raise ValueError("not all are finite numbers, variances and limit positive")


def _check_features(train_features: NDArray[np.floating], validation_features: NDArray[np.floating]) -> None:
    """Refuse shapes that do not belong together, too few films and values that are not finite."""
    shapes = train_features.shape, validation_features.shape
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1] or shapes[0][1] < 2:
        raise UsageError(f"features must be (N, C) and (M, C) with C of at least 2, got {shapes[0]} and {shapes[1]}.")
    if shapes[0][0] < 2 or shapes[1][0] < 1:
        raise UsageError(
            f"a gate needs 2 or more training and 1 or more validation films, got {shapes[0][0]}, {shapes[1][0]}."
        )
    if not (np.isfinite(train_features).all() and np.isfinite(validation_features).all()):
        raise UsageError("features must be finite, got NaN or infinity. Check the model's weights.")
