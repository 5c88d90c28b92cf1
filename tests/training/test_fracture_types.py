from typing import Any

import numpy as np
import pytest
import torch

from hf_fracture.errors import TrainingError
from hf_fracture.training.fracture_types import adjust_class_head, choose_target, fit_class_temperature


def dataset_of(types: dict[str, list[str | None]]) -> Any:
    from datasets import Dataset, DatasetDict

    return DatasetDict(
        {
            name: Dataset.from_dict({"label": [1] * len(kinds), "fracture_type": kinds, "n": list(range(len(kinds)))})
            for name, kinds in types.items()
        }
    )


def test_types_become_labels_in_alphabetical_order_and_held_out_films_stay_out() -> None:
    dataset = dataset_of({"train": ["spiral", "oblique"], "test": ["oblique"], "held_out": ["avulsion", None]})
    labelled, names = choose_target(dataset, "fracture_type")
    assert names == ("oblique", "spiral")
    assert {name: films["label"][:] for name, films in labelled.items()} == {"train": [1, 0], "test": [0]}
    assert labelled["train"].features["label"].names == ["oblique", "spiral"]


def test_fracture_leaves_the_dataset_as_it_is() -> None:
    dataset = dataset_of({"train": [None]})
    assert choose_target(dataset, "fracture") == (dataset, ("not fractured", "fractured"))


def test_film_without_type_is_refused_by_number() -> None:
    with pytest.raises(TrainingError, match="found none for 2 of 3 in split 'train'"):
        choose_target(dataset_of({"train": ["spiral", None, None]}), "fracture_type")


def test_dataset_without_the_column_is_refused() -> None:
    with pytest.raises(TrainingError, match="found none for 1 of 1"):
        choose_target(dataset_of({"train": ["spiral"]}).remove_columns("fracture_type"), "fracture_type")


def test_one_type_is_not_enough() -> None:
    with pytest.raises(TrainingError, match="at least two fracture types"):
        choose_target(dataset_of({"train": ["spiral", "spiral"]}), "fracture_type")


def test_temperature_of_two_classes_agrees_with_the_closed_answer() -> None:
    # One logit difference d throughout, right in a share p of many films: the best temperature is d / logit(p).
    labels = [0] * 8000 + [1] * 2000
    assert fit_class_temperature([[3.0, 0.0]] * 10_000, labels) == pytest.approx(3 / np.log(4), rel=1e-3)


def test_temperature_undoes_a_scale_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 5))
    labels = np.array([rng.choice(5, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    once, tripled = fit_class_temperature(logits, labels), fit_class_temperature(3 * logits, labels)
    assert tripled == pytest.approx(3 * once, rel=1e-3)


@pytest.mark.parametrize(("logits", "labels"), [([[1.0, float("nan")]], [0]), ([[1.0, 2.0]], [0, 1]), ([1.0], [0])])
def test_logits_that_cannot_be_calibrated_are_refused(logits: Any, labels: list[int]) -> None:
    with pytest.raises(TrainingError, match="finite logits"):
        fit_class_temperature(logits, labels)


def test_head_gives_shifted_and_divided_logits() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    config.num_labels = 3
    model: Any = ResNetForImageClassification(config)
    model.eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model(pixel_values=pixels).logits
        adjust_class_head(model, temperature=2.0, shifts=[1.0, 0.0, -1.0])
        after = model(pixel_values=pixels).logits
    torch.testing.assert_close(after, (before + torch.tensor([1.0, 0.0, -1.0])) / 2)
