"""The layout: one public endpoint, a chooser only where there is a choice, nothing fetched, metadata that agrees."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import app
import endpoints
import texts
from hf_fracture.inference.classifier import FractureClassifier


def find_component(config: Mapping[str, Any], elem_id: str) -> dict[str, Any]:
    found = [part for part in config["components"] if part["props"].get("elem_id") == elem_id]
    assert len(found) == 1
    props: dict[str, Any] = found[0]["props"]
    return props


ENDPOINTS = {
    "/predict": ["film", "model"],
    "/explain": ["film", "method", "model"],
    "/predict_many": ["films", "model"],
    "/describe_model": ["model"],
}


def test_endpoints_are_four_and_documented(measured: FractureClassifier) -> None:
    info = app.build_page({"measured": measured}).get_api_info()
    assert info is not None
    assert info["unnamed_endpoints"] == {}
    assert set(info["named_endpoints"]) == set(ENDPOINTS) == set(texts.ENDPOINTS)
    for name, parameters in ENDPOINTS.items():
        endpoint = info["named_endpoints"][name]
        assert [parameter["parameter_name"] for parameter in endpoint["parameters"]] == parameters
        assert "Returns:" in endpoint["description"]
    assert "not a medical device" in info["named_endpoints"]["/predict"]["description"]


def test_models_are_a_closed_list_for_programs_too(measured: FractureClassifier) -> None:
    info = app.build_page({"measured": measured}).get_api_info()
    assert info is not None
    model = info["named_endpoints"]["/predict"]["parameters"][1]
    assert model["type"]["enum"] == ["measured"]
    assert model["parameter_default"] == "measured"


def test_models_can_be_chosen_only_where_there_are_several(
    measured: FractureClassifier, unmeasured: FractureClassifier
) -> None:
    alone = app.build_page({"measured": measured}).get_config_file()
    both = app.build_page({"measured": measured, "other": unmeasured}).get_config_file()
    assert find_component(alone, "model")["visible"] is False
    assert find_component(both, "model")["visible"] is True
    assert [value for _, value in find_component(both, "model")["choices"]] == ["measured", "other"]


def test_models_of_a_space_come_from_a_file_or_are_the_shipped_one(tmp_path: Path) -> None:
    assert app.read_models(tmp_path) == [None]
    (tmp_path / "model.txt").write_text("owner/first\n\n  owner/second \n")
    assert app.read_models(tmp_path) == ["owner/first", "owner/second"]


def test_page_keeps_no_record_of_what_visitors_did(
    measured: FractureClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    page = app.build_page({"measured": measured})

    def launch(**options: Any) -> tuple[None, str, None]:
        asked.update(options)
        return None, "http://here", None

    monkeypatch.setattr(page, "launch", launch)
    assert app.launch_page(page) == "http://here"
    assert asked["run_history"] is False
    assert asked["enable_monitoring"] is False
    assert asked["pwa"] is True
    assert asked["max_file_size"] == "64mb"


def test_gpu_is_borrowed_only_where_a_space_lends_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    def ask() -> str:
        return "answer"

    assert endpoints.borrow_gpu(ask) is ask
    lender = types.ModuleType("spaces")
    lender.GPU = lambda function: lambda: f"{function()} from a GPU"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", lender)
    monkeypatch.setattr(endpoints, "find_spec", lambda name: name)
    assert endpoints.borrow_gpu(ask)() == "answer from a GPU"


def test_notice_stands_on_the_page(measured: FractureClassifier) -> None:
    config = app.build_page({"measured": measured}).get_config_file()
    assert "Not a medical device" in find_component(config, "notice")["value"]


def test_uploads_are_deleted_and_the_hint_says_when(measured: FractureClassifier) -> None:
    page = app.build_page({"measured": measured})
    assert page.delete_cache == (60, 900)
    assert "after 16 minutes at the latest" in str(page.get_config_file())


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
