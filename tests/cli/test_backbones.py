import json
import subprocess
import sys

import pytest

from hf_fracture.cli.main import main
from hf_fracture.config import RecipeConfig, find_recipe, list_recipes
from hf_fracture.errors import MissingInputError
from hf_fracture.models.backbone_table import BACKBONES


def test_table_names_source_licence_and_map_of_every_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 1 + len(BACKBONES)
    for line, (name, row) in zip(lines[1:], BACKBONES.items(), strict=True):
        assert line.startswith(f"{name} ")
        assert row.licence in line
        assert line.endswith(row.gradcam_layer)
        assert (row.hub_id or "starts random") in line
    assert "main-line" in err


def test_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["name"]: row["num_parameters"] for row in rows} == {
        name: row.num_parameters for name, row in BACKBONES.items()
    }
    assert all({"revision", "licence", "input_size_px", "gradcam_layer"} <= set(row) for row in rows)


def test_listing_loads_no_torch() -> None:
    probe = "import sys; from hf_fracture.cli.main import main; main(['backbones']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", list_recipes())
def test_recipe_holds_known_fields_only_and_says_what_it_reproduces(name: str) -> None:
    import yaml

    from hf_fracture.training.arguments import FractureTrainingArguments

    text = find_recipe(name).read_text(encoding="utf-8")
    assert text.startswith("# ")
    fields = yaml.safe_load(text)
    own = {key: value for key, value in fields.items() if key in RecipeConfig.__dataclass_fields__}
    rest = set(fields) - set(own)
    assert rest <= set(FractureTrainingArguments.__dataclass_fields__)
    assert RecipeConfig(**{"backbone": "resnet-18", **own}).backbone in BACKBONES


def test_recipes_cover_the_systems_of_the_field() -> None:
    assert {"main-line", "wrist", "edges-resnet-50", "edges-deepconvnet", "global-health"} <= set(list_recipes())
    assert {"comparison-vgg16", "comparison-resnet-50", "comparison-cnn"} <= set(list_recipes())


def test_misspelt_recipe_gets_the_nearest() -> None:
    with pytest.raises(MissingInputError, match="Did you mean global-health"):
        find_recipe("globalhealth")
