"""The registry: every source is complete, and a name that is none is refused."""

from pathlib import Path

import pytest

from hf_fracture.data.sources import SOURCES, find_source, read_rows
from hf_fracture.errors import UsageError

EXPECTED = {"kaggle_multi_region", "wrist", "grazpedwri_dx", "fracatlas", "bone_break", "image_folder"}


def test_registry_holds_the_six_sources() -> None:
    assert set(SOURCES) == EXPECTED
    assert all(info.name == name for name, info in SOURCES.items())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_source_states_where_it_comes_from_and_under_which_terms(name: str) -> None:
    info = SOURCES[name]
    assert info.licence
    assert len(info.citation) > 10
    assert info.homepage.startswith("https://")
    assert (info.download.host == "none") == (info.download.handle == "")
    assert info.redistributable <= (info.licence == "CC-BY-4.0"), "only openly licensed films may be passed on"


def test_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got 'mura'"):
        find_source("mura")
    with pytest.raises(UsageError, match="fracatlas"):
        read_rows("mura", tmp_path)
