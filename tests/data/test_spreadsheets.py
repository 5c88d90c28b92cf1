import csv
from pathlib import Path

import pytest

from hf_fracture.data.ledger import LedgerEntry, read_ledger, write_ledger
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.prepare import PrepareOptions, prepare_dataset
from hf_fracture.data.spreadsheets import neutralise_formula, restore_formula

CELLS = ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", " =1", "wrist.png", "", "'quoted", "a=b"]


@pytest.mark.parametrize("cell", CELLS)
def test_no_cell_runs_and_every_cell_comes_back(cell: str) -> None:
    written = neutralise_formula(cell)
    assert not written.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert restore_formula(written) == cell


@pytest.mark.parametrize("name", ["ledger.csv", "ledger.csv.gz"])
def test_ledger_runs_nothing_and_is_read_back(name: str, tmp_path: Path) -> None:
    fields = {"perceptual_hash": "0" * 16, "detail_hash": "0" * 64, "split": "train", "relation": ""}
    entry = LedgerEntry(source_path="=1+1.png", sha256="a" * 64, group_id="-g", reason="+x", **fields)
    write_ledger(tmp_path / name, [entry])
    assert read_ledger(tmp_path / name) == [entry]
    if name == "ledger.csv":
        assert "\n'=1+1.png," in (tmp_path / name).read_text()


def test_split_table_of_films_named_as_formulas_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    rows = ["file_name,label"]
    for seed in range(4):
        draw_phantom(seed, fractured=seed % 2 == 1, size_px=(64, 80)).image.save(folder / f"=cmd{seed}.png")
        rows.append(f"=cmd{seed}.png,{seed % 2}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    out = prepare_dataset("image_folder", folder, tmp_path / "out", options=PrepareOptions(num_workers=1))
    with (out / "splits.csv").open(newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert [cell for cell in cells if neutralise_formula(cell) != cell] == []
    assert "'=cmd0.png" in cells
