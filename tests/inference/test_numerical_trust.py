"""One question asked in many ways, on a small network; scripts/numerical_trust.py asks the shipped one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def script(repository_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("numerical_trust", repository_dir / "scripts" / "numerical_trust.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["numerical_trust"] = module
    spec.loader.exec_module(module)
    return module


def test_threads_and_batch_sizes_give_one_answer(script: ModuleType, tiny_model_dir: Path) -> None:
    ways = script.compare_ways(tiny_model_dir, 6, processes=False)
    assert len(ways) == 7
    assert {name: way for name, way in ways.items() if way["max_difference"] > way["tolerance"]} == {}


def test_byte_order_of_the_file_changes_no_grey_level(script: ModuleType) -> None:
    forms = script.compare_forms()
    assert {name.rpartition(", ")[2] for name in forms} >= {"little-endian", "big-endian", "implicit"}
    assert {name: form["max_difference"] for name, form in forms.items() if form["max_difference"]} == {}


def test_forms_differ_in_their_bytes(script: ModuleType) -> None:
    forms = script.write_forms()
    assert len({data[:200] + data[-2000:] for data in forms.values()}) == len(forms)
