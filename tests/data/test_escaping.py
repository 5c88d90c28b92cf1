"""Names that come with films are shown as text, whatever they spell."""

from pathlib import Path

import pytest

from hf_fracture.cli.main import main
from hf_fracture.data.phantoms import draw_phantom

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / EVIL
    for seed in range(24):
        drawn = seed // 2 if seed < 4 else seed  # two films lie in both classes, which an audit tells
        path = folder / ("fractured" if seed % 2 else "not fractured") / f"{EVIL}{drawn}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_phantom(drawn, fractured=seed % 2 == 1, size_px=(96, 120)).image.save(path)
    (folder / "fractured" / f"{EVIL} broken.png").write_bytes(b"no film")
    return folder


def test_audit_shows_file_names_as_text(films: Path, tmp_path: Path) -> None:
    assert main(["data", "audit", str(films), "--out", str(tmp_path / "audit"), "--workers", "1"]) in (0, 1)
    pages = list((tmp_path / "audit").glob("*.html"))
    assert len(pages) == 2
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "&lt;img src=x" in text, "the names are shown"
        assert "<img src=x" not in text


def test_evaluation_shows_names_of_dataset_and_model_as_text(films: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    import shutil

    prepared, model = tmp_path / f"prepared {EVIL}", tmp_path / f"model {EVIL}"
    shutil.copytree(tiny_model_dir, model)
    source = ["data", "prepare", "image_folder", "--source", str(films), "--out", str(prepared), "--workers", "1"]
    assert main(source) == 1, "one film cannot be read"
    out = tmp_path / "out"
    assert (
        main(["evaluate", str(model), str(prepared), "--split", "train", "--resamples", "20", "--out", str(out)]) == 0
    )
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;img src=x" in text
    assert "<img src=x" not in text
