"""The layout: one public endpoint, a chooser only where there is a choice, nothing fetched, metadata that agrees."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import app
import texts
from hf_fracture.inference.classifier import FractureClassifier


def find_component(config: Mapping[str, Any], elem_id: str) -> dict[str, Any]:
    found = [part for part in config["components"] if part["props"].get("elem_id") == elem_id]
    assert len(found) == 1
    props: dict[str, Any] = found[0]["props"]
    return props


def test_predict_is_the_only_public_endpoint(measured: FractureClassifier) -> None:
    info = app.build_page({"measured": measured}).get_api_info()
    assert info is not None
    assert list(info["named_endpoints"]) == ["/predict"]
    assert info["unnamed_endpoints"] == {}
    endpoint = info["named_endpoints"]["/predict"]
    assert [parameter["parameter_name"] for parameter in endpoint["parameters"]] == ["film"]
    assert "not a medical device" in endpoint["description"]


def test_models_can_be_chosen_only_where_there_are_several(
    measured: FractureClassifier, unmeasured: FractureClassifier
) -> None:
    alone = app.build_page({"measured": measured}).get_config_file()
    both = app.build_page({"measured": measured, "other": unmeasured}).get_config_file()
    assert find_component(alone, "model")["visible"] is False
    assert find_component(both, "model")["visible"] is True
    assert [value for _, value in find_component(both, "model")["choices"]] == ["measured", "other"]


def test_notice_stands_on_the_page(measured: FractureClassifier) -> None:
    config = app.build_page({"measured": measured}).get_config_file()
    assert "Not a medical device" in find_component(config, "notice")["value"]


def test_uploads_are_deleted_and_the_hint_says_when(measured: FractureClassifier) -> None:
    page = app.build_page({"measured": measured})
    assert page.delete_cache == (60, 900)
    assert "at most 16 minutes" in str(page.get_config_file())


def test_examples_do_not_carry_their_path_to_the_browser(
    measured: FractureClassifier, film: Image.Image, film_path: Path
) -> None:
    example_set = app.ExampleSet("Drawings", "only drawn", [app.Example(film_path, "Drawn forearm", film)])
    config = str(app.build_page({"measured": measured}, [example_set]).get_config_file())
    assert "Drawn forearm" in config
    assert str(film_path) not in config


def test_drawings_are_read_from_a_folder(film: Image.Image, tmp_path: Path) -> None:
    assert app.read_drawings(tmp_path) is None
    film.save(tmp_path / "Drawn_forearm.png")
    (tmp_path / "notes.txt").write_text("no picture")
    drawings = app.read_drawings(tmp_path)
    assert drawings is not None
    assert [example.caption for example in drawings.examples] == ["Drawn forearm"]
    assert drawings.note == texts.DRAWINGS_NOTE


def test_theme_takes_its_fonts_from_the_system() -> None:
    theme: Any = app.build_theme()
    assert theme._stylesheets == []
    assert re.findall(r"(?:url|@import)[ ('\"]*https?:", theme._get_theme_css()) == []


@pytest.fixture(scope="module")
def front_matter(repository_dir: Path) -> dict[str, Any]:
    text = (repository_dir / "space" / "README.md").read_text(encoding="utf-8")
    front: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return front


def test_space_runs_the_gradio_that_is_tested(front_matter: dict[str, Any], repository_dir: Path) -> None:
    pins = (repository_dir / "constraints.txt").read_text()
    assert f"gradio=={front_matter['sdk_version']}\n" in pins
    assert front_matter["sdk"] == "gradio"
    assert (repository_dir / "space" / front_matter["app_file"]).is_file()


def test_space_card_meets_the_limits_of_the_hub(front_matter: dict[str, Any]) -> None:
    assert len(front_matter["short_description"]) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {front_matter["colorFrom"], front_matter["colorTo"]} <= colours


def test_space_requirements_leave_gradio_to_the_front_matter(repository_dir: Path) -> None:
    pins = (repository_dir / "constraints.txt").read_text()
    requirements = (repository_dir / "space" / "requirements.txt").read_text()
    assert "gradio" not in requirements
    torch_version = re.search(r"^torch==([\d.]+)", requirements, re.MULTILINE)
    assert torch_version is not None
    assert f"torch=={torch_version[1]}\n" in pins
