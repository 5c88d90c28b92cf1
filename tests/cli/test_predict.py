"""`hf-fracture predict`: what goes where, what fails how, and what is never overwritten."""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from hf_fracture.cli.main import main
from hf_fracture.cli.predict import parse_shard, read_launched_shard
from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.errors import UsageError
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.dicom_result import SECONDARY_CAPTURE
from hf_fracture.inference.finding import COLUMNS

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def good_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for seed, name in enumerate(["a.png", "b.jpg", "sub/c.png"]):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        draw_phantom(seed, fractured=seed == 1, size_px=(240, 320)).image.save(path)
    return folder


@pytest.fixture
def mixed_dir(tmp_path: Path) -> Path:
    """A good film, a truncated JPEG, a text file named .png and a 12-bit film in a 16-bit PNG."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    film = draw_phantom(0, fractured=True).image
    film.save(folder / "good.png")
    film.save(folder / "truncated.jpg", quality=95)
    data = (folder / "truncated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) - 200])
    (folder / "text.png").write_text("This is a text.")
    Image.fromarray(np.asarray(film).astype(np.uint16) * 16).save(folder / "deep.png")
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_folder_with_a_bad_file_answers_the_rest_names_it_and_exits_1(
    mixed_dir: Path, tiny_model_dir: Path, capsys: Captured
) -> None:
    assert main(["predict", str(mixed_dir), "--model", str(tiny_model_dir), "--json"]) == 1
    captured = capsys.readouterr()
    rows = {Path(row["path"]).name: row for row in map(json.loads, captured.out.splitlines())}
    assert list(rows) == ["deep.png", "good.png", "text.png", "truncated.jpg"]
    assert {name for name, row in rows.items() if row["probability"] is not None} == set(rows) - {"text.png"}
    assert rows["text.png"]["decision"] == "error"
    assert [reason["code"] for reason in rows["text.png"]["reasons"]] == ["unreadable"]
    assert "truncated" in rows["truncated.jpg"]["read_note"]
    assert rows["deep.png"]["read_note"] == "scaled from 12 bit"
    # the 16-bit film is the same film, not one that was clipped to white
    assert rows["deep.png"]["probability"] == pytest.approx(rows["good.png"]["probability"], abs=0.01)
    assert captured.err.count("text.png") == 1
    assert "4 films" in captured.err
    assert "1 error" in captured.err


def test_table_has_the_documented_columns_and_one_row_per_film(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    table = tmp_path / "findings.csv"
    assert main(["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(table)]) == 0
    rows = read_csv(table)
    assert tuple(rows[0]) == COLUMNS
    assert [Path(row["path"]).relative_to(good_dir).as_posix() for row in rows] == ["a.png", "b.jpg", "sub/c.png"]
    classifier = FractureClassifier.from_pretrained(tiny_model_dir)
    for row in rows:
        assert float(row["probability"]) == pytest.approx(classifier.predict(row["path"]).probability, abs=1e-6)
    assert capsys.readouterr().out == ""  # data went to the file, words to stderr
    assert not list(tmp_path.glob("findings*.partial"))


def test_plain_output_is_one_line_per_film_for_a_person(
    mixed_dir: Path, tiny_model_dir: Path, capsys: Captured
) -> None:
    main(["predict", str(mixed_dir), "--model", str(tiny_model_dir)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["error", str(mixed_dir / "text.png")]
    assert lines[1].split()[-1] == str(mixed_dir / "good.png")


def test_formula_in_a_file_name_arrives_as_text(tiny_model_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    name = "=HYPERLINK(1).png"
    draw_phantom(0, fractured=True).image.save(tmp_path / name)
    cwd = Path.cwd()
    try:
        os.chdir(tmp_path)
        assert main(["predict", name, "--model", str(tiny_model_dir), "--csv", "out.csv"]) == 0
    finally:
        os.chdir(cwd)
    assert read_csv(tmp_path / "out.csv")[0]["path"] == "'" + name


def test_existing_table_is_left_alone_unless_overwriting_is_asked_for(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    table = tmp_path / "findings.csv"
    table.write_text("precious")
    arguments = ["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(table)]
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert table.read_text() == "precious"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(read_csv(table)) == 3


def test_interrupted_run_leaves_the_old_table_and_its_own_rows_to_go_on_from(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def interrupt(self: FractureClassifier, sources: object) -> Iterator[Any]:
        yield self.predict(good_dir / "a.png")
        raise KeyboardInterrupt

    table = tmp_path / "findings.csv"
    table.write_text("old")
    arguments = ["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(table)]
    with monkeypatch.context() as patched:
        patched.setattr(FractureClassifier, "predict_many", interrupt)
        assert main([*arguments, "--overwrite"]) == 130
    assert table.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["findings.csv", "findings.csv.partial", "good"]
    assert "--resume" in capsys.readouterr().err

    partial = tmp_path / "findings.csv.partial"
    partial.write_bytes(partial.read_bytes() + (str(good_dir / "b.jpg") + ",fract").encode())  # cut off in a row
    judged: list[str] = []
    predict_many = FractureClassifier.predict_many

    def watch(self: FractureClassifier, sources: list[Path]) -> Iterator[Any]:
        judged.extend(path.name for path in sources)
        return predict_many(self, sources)

    monkeypatch.setattr(FractureClassifier, "predict_many", watch)
    assert main([*arguments, "--resume"]) == 0
    assert judged == ["b.jpg", "c.png"]
    assert [Path(row["path"]).name for row in read_csv(table)] == ["a.png", "b.jpg", "c.png"]
    assert not partial.exists()
    draw_phantom(9, fractured=True).image.save(good_dir / "z.png")  # a whole table takes what came later
    assert main([*arguments, "--resume"]) == 0
    assert judged == ["b.jpg", "c.png", "z.png"]
    assert len(read_csv(table)) == 4


def test_json_lines_are_written_at_once_and_gone_on_with(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def interrupt(self: FractureClassifier, sources: object) -> Iterator[Any]:
        yield self.predict(good_dir / "a.png")
        raise KeyboardInterrupt

    lines = tmp_path / "findings.jsonl"
    arguments = ["predict", str(good_dir), "--model", str(tiny_model_dir), "--jsonl", str(lines)]
    with monkeypatch.context() as patched:
        patched.setattr(FractureClassifier, "predict_many", interrupt)
        assert main(arguments) == 130
    partial = tmp_path / "findings.jsonl.partial"
    first = partial.read_bytes()
    assert json.loads(first)["path"] == str(good_dir / "a.png")
    partial.write_bytes(first + first[:40])  # cut off in a row
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.jpg", "c.png"]
    assert lines.read_bytes().startswith(first)
    assert all(tuple(row) == COLUMNS for row in rows)
    assert not partial.exists()
    assert main([*arguments, "--resume"]) == 0  # nothing left to do
    assert [json.loads(line) for line in lines.read_text().splitlines()] == rows
    lines.write_text(lines.read_text().replace(rows[0]["revision"], "0" * 12))
    assert main([*arguments, "--resume"]) == 2
    lines.write_text("[1]\n")
    assert main([*arguments, "--resume"]) == 2
    assert "table of findings" in " ".join(capsys.readouterr().err.split())


def test_half_written_table_is_not_started_again_by_mistake(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    partial = tmp_path / "findings.csv.partial"
    partial.write_text("precious")
    arguments = ["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(tmp_path / "findings.csv")]
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert partial.read_text() == "precious"
    assert main([*arguments, "--resume"]) == 2  # no table of findings
    assert main([*arguments, "--overwrite"]) == 0


def test_table_of_another_model_is_not_gone_on_with(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    table = tmp_path / "findings.csv"
    arguments = ["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(table)]
    assert main(arguments) == 0
    table.write_text(table.read_text().replace(read_csv(table)[0]["revision"], "0" * 12))
    assert main([*arguments, "--resume"]) == 2
    assert "another table" in " ".join(capsys.readouterr().err.split())


def test_launched_processes_share_the_films_and_write_tables_of_their_own(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        arguments = ["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(tmp_path / "all.csv")]
        assert main(arguments) == 0
    names = ["all-00001-of-00002.csv", "all-00002-of-00002.csv"]
    found = [[Path(row["path"]).name for row in read_csv(tmp_path / name)] for name in names]
    assert found == [["a.png", "c.png"], ["b.jpg"]]


@pytest.mark.parametrize(("rank", "world_size"), [("2", "2"), ("-1", "2"), ("x", "2")])
def test_launcher_that_contradicts_itself_is_refused(
    rank: str, world_size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world_size)
    with pytest.raises(UsageError, match="RANK"):
        read_launched_shard()


@pytest.mark.parametrize("extra", [["--overwrite"], ["--studies", "s.csv"]])
def test_resume_refuses_what_contradicts_it(extra: list[str], tmp_path: Path, capsys: Captured) -> None:
    assert main(["predict", str(tmp_path), "--csv", "x.csv", "--resume", *extra]) == 2
    assert main(["predict", str(tmp_path), "--resume"]) == 2
    assert "--csv" in capsys.readouterr().err


def test_studies_and_dicom_results_come_from_the_headers_and_leave_the_films_as_they_are(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for seed, (study, view) in enumerate([("1.2.3", "PA"), ("1.2.3", "LL"), ("1.2.4", "PA")]):
        write_dicom(films / f"{seed}.dcm", study=study, view=view, seed=seed)
    before = {path: path.read_bytes() for path in films.iterdir()}
    arguments = ["predict", str(films), "--model", str(tiny_model_dir), "--csv", str(tmp_path / "films.csv")]
    out = tmp_path / "results"
    assert main([*arguments, "--studies", str(tmp_path / "studies.csv"), "--dicom-out", str(out)]) == 0
    assert {path: path.read_bytes() for path in films.iterdir()} == before
    rows, studies = read_csv(tmp_path / "films.csv"), read_csv(tmp_path / "studies.csv")
    assert [row["laterality"] for row in rows] == ["L"] * 3
    assert [int(study["num_films"]) for study in studies] == [2, 1]
    assert studies[0]["views"] == "frontal; lateral"
    assert studies[0]["probability"] == max(row["probability"] for row in rows[:2])
    text = (tmp_path / "films.csv").read_text() + (tmp_path / "studies.csv").read_text()
    assert "Doe" not in text
    assert "1.2.3" not in text

    capture, original = pydicom.dcmread(out / "0.dcm.dcm"), pydicom.dcmread(films / "0.dcm")
    assert capture.SOPClassUID == SECONDARY_CAPTURE
    assert (capture.StudyInstanceUID, capture.PatientName) == (original.StudyInstanceUID, original.PatientName)
    assert capture.SeriesInstanceUID != original.SeriesInstanceUID
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert capture.pixel_array.shape == (original.Rows, original.Columns, 3)
    assert "not for diagnosis" in capture.DerivationDescription
    facts = json.loads((out / "0.dcm.json").read_text())
    assert facts["film_sop_instance_uid"] == original.SOPInstanceUID
    assert facts["overlay_sop_instance_uid"] == capture.SOPInstanceUID
    assert f"{facts['probability']:.6f}" == rows[0]["probability"]


def write_dicom(path: Path, *, study: str, view: str, seed: int) -> None:
    pixels = np.asarray(draw_phantom(seed, fractured=False, size_px=(240, 320)).image)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.1")
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"1.9.{seed}")
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    film = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.PatientName, film.PatientID, film.Modality = "Doe^Jane", "PID-471", "DX"
    film.StudyInstanceUID, film.SeriesInstanceUID = study, f"{study}.1"
    film.ViewPosition, film.ImageLaterality, film.BodyPartExamined = view, "L", "WRIST"
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit, film.PixelRepresentation = 7, 0
    film.WindowCenter, film.WindowWidth = 128, 256
    film.PixelData = pixels.tobytes()
    film.save_as(path, enforce_file_format=True)


def test_rows_are_written_as_they_come(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def watch(self: FractureClassifier, sources: list[Path]) -> Iterator[Any]:
        for source in sources:
            seen.append(sum(len(path.read_text().splitlines()) for path in tmp_path.glob("findings*.partial")))
            yield self.predict(source)

    monkeypatch.setattr(FractureClassifier, "predict_many", watch)
    table = tmp_path / "findings.csv"
    assert main(["predict", str(good_dir), "--model", str(tiny_model_dir), "--csv", str(table)]) == 0
    assert seen[1:] == [2, 3]  # the header and the rows before


def test_maps_are_written_beside_each_other_with_the_film_in_them(
    mixed_dir: Path, good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    maps = tmp_path / "maps"
    arguments = ["predict", str(mixed_dir), str(good_dir), "--model", str(tiny_model_dir), "--json"]
    assert main([*arguments, "--explain", str(maps)]) == 1
    written = sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*") if path.is_file())
    assert written == [
        *("a.png.grad_cam.png", "b.jpg.grad_cam.png", "deep.png.grad_cam.png", "good.png.grad_cam.png"),
        *("sub/c.png.grad_cam.png", "truncated.jpg.grad_cam.png"),
    ]
    plain = capsys.readouterr().out
    picture = Image.open(maps / "good.png.grad_cam.png")
    film = Image.open(mixed_dir / "good.png")
    assert picture.mode == "RGB"
    assert picture.width == film.width
    assert picture.height > film.height  # the colour bar
    attribution = FractureClassifier.from_pretrained(tiny_model_dir).explain(mixed_dir / "good.png")
    expected = np.asarray(attribution.overlay(film)).astype(int)
    drawn = np.asarray(picture.crop((0, 0, *film.size))).astype(int)
    assert np.abs(drawn - expected).max() <= 1

    main(arguments)
    without = {row["path"]: row["probability"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    for row in map(json.loads, plain.splitlines()):
        assert row["probability"] == pytest.approx(without[row["path"]], abs=1e-6)


def test_existing_map_is_left_alone_before_any_work(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    maps = tmp_path / "maps"
    (maps / "sub").mkdir(parents=True)
    (maps / "sub" / "c.png.saliency.png").write_text("mine")
    arguments = [
        "predict",
        str(good_dir),
        "--model",
        str(tiny_model_dir),
        "--explain",
        str(maps),
        "--method",
        "saliency",
    ]
    assert main(arguments) == 2
    assert "c.png.saliency.png" in capsys.readouterr().err
    assert len([path for path in maps.rglob("*") if path.is_file()]) == 1
    assert main([*arguments, "--overwrite"]) == 0
    assert Image.open(maps / "sub" / "c.png.saliency.png").format == "PNG"


def test_shards_together_are_the_whole(good_dir: Path, tiny_model_dir: Path, capsys: Captured) -> None:
    found = []
    for shard in ("1/2", "2/2"):
        main(["predict", str(good_dir), "--model", str(tiny_model_dir), "--json", "--shard", shard])
        found.append([Path(json.loads(line)["path"]).name for line in capsys.readouterr().out.splitlines()])
    assert found == [["a.png", "c.png"], ["b.jpg"]]


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/", "/4", "-1/4", "a/b", "1/4/5", "1.0/4", "²/4"])
def test_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="I/N"):
        parse_shard(text)


def test_refused_picture_is_an_answer_and_not_a_failure(tiny_model_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    Image.new("L", (300, 300), 255).save(tmp_path / "blank.png")
    assert main(["predict", str(tmp_path / "blank.png"), "--model", str(tiny_model_dir)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("refused")
    assert "blank" in captured.out
    assert "1 film: 1 refused." in captured.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere.png"], "nowhere.png"),
        (["nothing/*.png"], "nothing/*.png"),
        (["{film}", "--model", "no-such-model"], "no-such-model"),
        (["{film}", "--csv", "no-such-folder/out.csv"], "no-such-folder"),
        (["{film}", "--csv", "."], "folder"),
        (["{film}", "--csv", "a.csv", "--json"], "not allowed with"),
        (["{film}", "--method", "magic"], "magic"),
        (["{film}", "--shard", "3/2"], "3/2"),
        ([], "PATH"),
    ],
)
def test_mistake_is_one_line_and_status_2(
    arguments: list[str], named: str, good_dir: Path, tiny_model_dir: Path, capsys: Captured
) -> None:
    filled = [argument.format(film=good_dir / "a.png") for argument in arguments]
    model = [] if "--model" in filled else ["--model", str(tiny_model_dir)]
    assert main(["predict", *filled, *model]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert named in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_model_without_a_record_is_announced_in_one_line(
    good_dir: Path, tiny_model_dir: Path, tmp_path: Path, capsys: Captured
) -> None:
    foreign = Path(shutil.copytree(tiny_model_dir, tmp_path / "foreign"))
    config = json.loads((foreign / "config.json").read_text())
    del config["fracture"]
    (foreign / "config.json").write_text(json.dumps(config))
    assert main(["predict", str(good_dir / "a.png"), "--model", str(foreign), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["operating_point"] is None
    assert sum(line.startswith("Warning: 'foreign' carries no record") for line in captured.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["lösung 左.png", "line\nbreak.png", "tab\t.png"])
def test_odd_file_name_survives(name: str, tiny_model_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    draw_phantom(0, fractured=True).image.save(tmp_path / name)
    table = tmp_path / "out.csv"
    assert main(["predict", str(tmp_path), "--model", str(tiny_model_dir), "--csv", str(table)]) == 0
    assert read_csv(table)[0]["path"] == str(tmp_path / name)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / name), "--model", str(tiny_model_dir)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_file_name_of_a_broken_encoding_survives(tiny_model_dir: Path, tmp_path: Path, capfd: Captured) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/film\xff.png")
    draw_phantom(0, fractured=True).image.save(path, format="PNG")
    for form in (["--csv", str(tmp_path / "out.csv")], ["--json"], []):
        assert main(["predict", str(tmp_path), "--model", str(tiny_model_dir), *form]) == 0
    assert "film\\udcff.png" in (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert capfd.readouterr().out.count("film\\udcff.png") == 2


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom hf_fracture.cli.main import main\n"
        "assert main(['predict', '--help']) == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'captum', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--explain" in done.stdout
