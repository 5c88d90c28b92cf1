"""Train one small CNN on the published Kaggle split and on the clean one, and write what each seems to reach.

    python scripts/measure_inflation.py PUBLISHED_DIR CLEAN_DIR

Both folders come from `hf-fracture data prepare kaggle_multi_region`, the first with `--split published`. The recipe is
that of the Global Health Medical Center project: convolutions, pooling, dropout, Adam, a falling learning rate,
augmentation, cross-entropy. Seed and number of steps are the same for both; nothing is chosen on the measured films, so
the clean split is measured on validation and test together. Beside it stands what a forest makes of the frames of the
same films. Writes scripts/results/inflation.json. Compute: about ten minutes on two cores.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import concatenate_datasets
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import trange

from hf_fracture.config import RecipeConfig
from hf_fracture.data.augmentation import augment_films
from hf_fracture.data.transforms import letterbox_image
from hf_fracture.evaluation.bootstrap import bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.cross_dataset import measure_frames
from hf_fracture.evaluation.films import hash_assignment, load_splits
from hf_fracture.evaluation.metrics import auroc
from hf_fracture.models.checkpoint import write_json

RESULT_PATH = Path(__file__).resolve().parent / "results" / "inflation.json"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What both trainings get."""

    size_px: int = 96
    batch_size: int = 64
    num_steps: int = 1200
    learning_rate: float = 1e-3
    dropout: float = 0.5
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Films:
    """Letterboxed films in memory: (N, S, S) uint8, labels (N,), groups (N,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.intp]
    groups: NDArray[np.str_]


def load_films(parts: list[Any], size_px: int) -> Films:
    """Read one or more splits."""
    rows = [row for part in parts for row in part.select_columns(["image", "label", "group_id"])]
    return Films(
        pixels=np.stack([letterbox_image(row["image"].convert("L"), size_px)[0] for row in rows]),
        labels=np.array([row["label"] for row in rows]),
        groups=np.array([row["group_id"] for row in rows]),
    )


def build_network(dropout: float) -> nn.Module:
    """Return three blocks of convolution and pooling, a dense layer with dropout, and two outputs."""
    blocks: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128 * 16, 128), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*blocks, *head, nn.Linear(128, 2))


def to_batch(films: Films, index: NDArray[np.intp]) -> Tensor:
    """Return (N, 1, S, S) in [0, 1]."""
    return torch.from_numpy(films.pixels[index]).unsqueeze(1).float() / 255


def train(films: Films, budget: Budget, name: str) -> nn.Module:
    """Train for the budget's steps; the rate falls to 0 as a cosine."""
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng(budget.seed)
    recipe = RecipeConfig(backbone="small CNN")
    network = build_network(budget.dropout)
    optimizer = torch.optim.Adam(network.parameters(), lr=budget.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.num_steps)
    for _ in trange(budget.num_steps, desc=name, unit="step", file=sys.stderr):
        index = rng.integers(0, len(films.labels), budget.batch_size)
        batch = to_batch(films, index)
        batch, _, _ = augment_films(batch, torch.ones_like(batch), torch.zeros_like(batch), recipe)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits.float(), torch.from_numpy(films.labels[index]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def predict(network: nn.Module, films: Films) -> NDArray[np.float64]:
    """Return the probability of fracture of every film."""
    parts = np.array_split(np.arange(len(films.labels)), max(1, len(films.labels) // 64))
    logits = torch.cat([network(to_batch(films, part)) for part in parts])
    return logits.double().softmax(dim=1)[:, 1].numpy()


def measure(protocol: str, train_films: Films, test_films: Films, budget: Budget) -> dict[str, Any]:
    """Train, predict, and return one row with intervals over groups."""
    prob = predict(train(train_films, budget, protocol), test_films)
    true, groups = test_films.labels, test_films.groups
    correct = ((prob >= 0.5) == (true == 1)).astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        areas = [_weighted_auroc(true, prob, row) for row in np.atleast_2d(weights)]
        return {"auroc": np.array(areas), "accuracy": np.atleast_2d(weights) @ correct / weights.sum(axis=-1)}

    resampled = bootstrap(statistic, groups)
    return {
        "protocol": protocol,
        "num_train_films": len(train_films.labels),
        "num_films": len(true),
        "num_groups": len(np.unique(groups)),
        "num_fractured": int(true.sum()),
        "num_copied": int(np.isin(groups, train_films.groups).sum()),
        "auroc": estimate(auroc(true, prob), resampled["auroc"], num_groups=count_rarer_groups(groups, true)).to_dict(),
        "accuracy": estimate(
            float(correct.mean()), resampled["accuracy"], num_groups=len(np.unique(groups)), is_share=True
        ).to_dict(),
    }


def _weighted_auroc(true: NDArray[np.intp], prob: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    kept = weights > 0
    if len(np.unique(true[kept])) < 2:
        return float("nan")
    return float(roc_auc_score(true[kept], prob[kept], sample_weight=weights[kept]))


def main(published_dir: str, clean_dir: str) -> None:
    """Measure both protocols and write the file from which the README's table is rendered."""
    budget = Budget()
    published, clean = load_splits(published_dir), load_splits(clean_dir)
    protocols = {
        "published, test": (published["train"], [published["test"]]),
        "clean, validation and test": (clean["train"], [clean["validation"], clean["test"]]),
    }
    rows = [
        measure(name, load_films([train_films], budget.size_px), load_films(test_films, budget.size_px), budget)
        | {"frames": measure_frames([(train_films, concatenate_datasets(test_films))], set())}
        for name, (train_films, test_films) in protocols.items()
    ]
    RESULT_PATH.parent.mkdir(exist_ok=True)
    hashes = {"published": hash_assignment(published), "clean": hash_assignment(clean)}
    write_json(
        RESULT_PATH,
        {"dataset": "kaggle_multi_region", "recipe": asdict(budget), "split_sha256": hashes, "rows": rows},
    )
    for row in rows:
        print(row)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
