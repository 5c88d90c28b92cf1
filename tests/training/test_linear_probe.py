from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_fracture.config import RecipeConfig
from hf_fracture.models.backbones import build_recipe_model
from hf_fracture.training import trainer as trainer_module
from hf_fracture.training.linear_probe import STILL_FIELDS, can_cache_features, find_head

PROBE: dict[str, Any] = {**STILL_FIELDS, "freeze_epochs": -1, "evidence_weight": 0.0, "head_dropout": 0.0}


def test_probe_on_cached_features_takes_the_steps_of_one_that_runs_the_backbone_every_time(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = train(tmp_path / "cached", PROBE)
    monkeypatch.setattr(trainer_module, "can_cache_features", lambda recipe: False)
    run_every_time = train(tmp_path / "run", PROBE)
    for name, tensor in run_every_time.model.state_dict().items():
        torch.testing.assert_close(cached.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_frozen_backbone_stays_as_it_was(train: Callable[..., Any], tiny_backbone_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    before = load_file(tiny_backbone_dir / "model.safetensors")
    after = train(tmp_path, {**PROBE, "gamma": 1.5}, num_train_epochs=1).model.state_dict()
    for name, tensor in before.items():
        if not name.startswith("classifier"):
            assert torch.equal(after[name], tensor), f"{name} moved, statistics of BatchNorm included"
    assert not torch.equal(after["classifier.1.weight"], before["classifier.1.weight"])


@pytest.mark.parametrize(("name", "value"), [*(("gamma", 1.1), ("mixup_alpha", 0.1), ("freeze_epochs", 3))])
def test_features_are_not_kept_where_something_before_the_head_changes(name: str, value: float) -> None:
    assert can_cache_features(RecipeConfig(backbone="x", **PROBE))
    assert not can_cache_features(RecipeConfig(backbone="x", **{**PROBE, name: value}))


@pytest.mark.parametrize("head", [{}, {"head_units": 8, "head_dropout": 0.5}])
@pytest.mark.parametrize("backbone", ["tiny_backbone_dir", "tiny_convnext_dir"])
def test_head_applied_to_its_input_gives_the_logits(
    head: dict[str, Any], backbone: str, request: pytest.FixtureRequest
) -> None:
    recipe = RecipeConfig(backbone=str(request.getfixturevalue(backbone)), evidence_weight=0, **head)
    model: Any = build_recipe_model(recipe)
    model.eval()
    module, inputs = find_head(model), []
    module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        logits = model(pixel_values=torch.randn(2, 3, 64, 64)).logits
        torch.testing.assert_close(module(inputs[0]), logits)
    if head:
        assert any(isinstance(part, torch.nn.Dropout) for part in module.modules())


def test_packaged_recipe_is_one_whose_features_are_kept() -> None:
    import yaml

    from hf_fracture.config import find_recipe

    fields = yaml.safe_load(find_recipe("linear-probe").read_text())
    known = {name: value for name, value in fields.items() if name in RecipeConfig.__dataclass_fields__}
    assert can_cache_features(RecipeConfig(backbone="x", **known))
