"""What programs, agents and intruders get from the served page."""

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from PIL import Image

import program
from hf_fracture.inference.classifier import FractureClassifier

if TYPE_CHECKING:
    from tests.space.conftest import ServedPage, Visit

pytestmark = pytest.mark.slow

TOOLS = ("predict", "explain", "predict_many", "describe_model")


@pytest.fixture(scope="module")
def client(served_page: "ServedPage") -> Any:
    from gradio_client import Client

    return Client(served_page.url, verbose=False)


@pytest.fixture
def wrist_dir(film: Image.Image, tmp_path: Path) -> Path:
    """Return a folder with the file that the examples name."""
    film.save(tmp_path / "wrist.png")
    return tmp_path


def fetch(url: str) -> int:
    """Return the status of an address."""
    try:
        with urlopen(url, timeout=60) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def upload(page: "ServedPage", path: Path) -> str:
    """Upload a file as a browser does and return its path on the server."""
    command = ["curl", "-s", "-F", f"files=@{path}", f"{page.url}gradio_api/upload"]
    answer: list[str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answer[0]


def test_many_films_come_back_in_order_around_a_bad_one(client: Any, film_path: Path, no_film_path: Path) -> None:
    from gradio_client import handle_file

    films = [handle_file(path) for path in (film_path, no_film_path, film_path)]
    findings = client.predict(films=films, api_name="/predict_many")
    assert [finding["decision"] == "error" for finding in findings] == [False, True, False]
    assert findings[0]["probability"] == findings[2]["probability"]


def test_too_many_films_are_refused_in_a_sentence(client: Any, film_path: Path) -> None:
    from gradio_client import handle_file

    with pytest.raises(Exception, match="at most 60 films at once, got 61"):
        client.predict(films=[handle_file(film_path)] * 61, api_name="/predict_many")


def test_explanation_is_a_picture_with_its_worth(
    client: Any, film_path: Path, film: Image.Image, measured: FractureClassifier
) -> None:
    from gradio_client import handle_file

    picture, answer = client.predict(film=handle_file(film_path), api_name="/explain")
    with Image.open(picture) as overlay:
        assert overlay.size == film.size
    assert answer["finding"]["probability"] == pytest.approx(measured.predict(film).probability, abs=1e-4)
    assert answer["method"] == "grad_cam"
    assert answer["map_worth"]


def test_model_describes_itself(client: Any, measured: FractureClassifier) -> None:
    answer = client.predict(api_name="/describe_model")
    assert measured.evaluation is not None
    assert answer["evaluation"]["auroc"] == measured.evaluation["metrics"]["auroc"]
    assert any("Diagnosis" in line for line in answer["not_for"])


def test_unknown_model_is_refused(client: Any, film_path: Path) -> None:
    from gradio_client import handle_file

    with pytest.raises(Exception, match=r"choices|not in"):
        client.predict(film=handle_file(film_path), model="../../etc", api_name="/predict")


def test_python_example_runs(served_page: "ServedPage", wrist_dir: Path) -> None:
    code = program.write_example("python", served_page.url.rstrip("/"))
    process = subprocess.run([sys.executable, "-c", code], cwd=wrist_dir, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert float(process.stdout.split()[-1]) >= 0


def test_curl_example_runs(served_page: "ServedPage", wrist_dir: Path) -> None:
    code = program.write_example("curl", served_page.url.rstrip("/"))
    process = subprocess.run(["bash", "-c", code], cwd=wrist_dir, capture_output=True, text=True, check=False)
    assert "event: complete" in process.stdout, process.stderr
    finding = json.loads(process.stdout.split("data: ")[-1])[0]
    assert finding["probability"] is not None


@pytest.mark.browser
def test_javascript_example_runs(visit: "Callable[..., Visit]", served_page: "ServedPage", film_path: Path) -> None:
    tab = visit()
    code = program.write_example("javascript", served_page.url.rstrip("/"))
    run = f"""async (data) => {{
      {code}
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      return predict(new Blob([bytes]));
    }}"""
    finding = tab.page.evaluate(run, base64.b64encode(film_path.read_bytes()).decode())
    assert finding["probability"] is not None


def test_agents_find_four_tools_and_get_an_answer(served_page: "ServedPage", film_path: Path) -> None:
    pytest.importorskip("mcp", reason="The package mcp is not installed; pip install 'hf-fracture[mcp]' brings it.")
    url = f"data:image/png;base64,{base64.b64encode(film_path.read_bytes()).decode('ascii')}"

    async def ask() -> tuple[list[Any], Any, Any]:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with (
            streamablehttp_client(f"{served_page.url}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            model = next(tool.name for tool in tools if tool.name.endswith("describe_model"))
            film = next(tool.name for tool in tools if tool.name.endswith("predict"))
            return tools, await session.call_tool(model, {}), await session.call_tool(film, {"film": url})

    with ThreadPoolExecutor(1) as pool:  # Playwright's own loop may be running in this thread
        tools, description, finding = pool.submit(asyncio.run, ask()).result(timeout=120)
    assert {name for name in TOOLS for tool in tools if tool.name.endswith(name)} == set(TOOLS)
    assert len(tools) == len(TOOLS)
    assert all("medical device" in tool.description or "not be used" in tool.description for tool in tools)
    assert "'auroc'" in description.content[0].text
    assert "probability" in finding.content[0].text


def test_upload_is_given_back_to_nobody(served_page: "ServedPage", film_path: Path) -> None:
    path = upload(served_page, film_path)
    assert Path(path).is_file()
    for name in (path, quote(path, safe=""), path.replace("/", "//"), f"{Path(path).parent}/./{Path(path).name}"):
        assert fetch(f"{served_page.url}gradio_api/file={name}") == 403


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../../../../etc/passwd", "..%2F..%2Fetc%2Fpasswd", "space/app.py", "http://127.0.0.1:1/film"],
)
def test_file_of_the_server_or_of_another_is_not_served(served_page: "ServedPage", name: str) -> None:
    assert fetch(f"{served_page.url}gradio_api/file={name}") in (403, 404)


def test_file_that_is_too_large_is_refused(served_page: "ServedPage", tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as stream:
        stream.truncate(65 << 20)
    command = [
        "curl",
        "-s",
        "-o",
        "-",
        "-w",
        "%{http_code}",
        "-F",
        f"files=@{large}",
        f"{served_page.url}gradio_api/upload",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert answer.endswith("413")


def test_picture_that_unpacks_to_gigapixels_is_refused_before_it_is_decoded(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    finding = client.predict(film=handle_file(bomb), api_name="/predict")
    assert finding["reasons"][0]["code"] == "too_large"
    assert finding["seconds"] < 5


def test_header_of_a_dicom_file_gives_no_name_away(client: Any, served_page: "ServedPage", tmp_path: Path) -> None:
    from gradio_client import handle_file

    path = write_dicom(tmp_path / "film.dcm")
    finding = client.predict(film=handle_file(path), api_name="/predict")
    assert finding["body_part"] == "hand"
    assert finding["study_id"]
    said = json.dumps(finding) + served_page.log
    assert "Bloggs" not in said
    assert "PID-471" not in said


@pytest.mark.browser
def test_film_is_deleted_when_its_visitor_leaves(
    visit: "Callable[..., Visit]", served_page: "ServedPage", film: Image.Image, tmp_path: Path
) -> None:
    film.rotate(3).save(tmp_path / "leaving.png")
    tab = visit()
    tab.upload(tmp_path / "leaving.png")
    assert list(served_page.temporary_dir.rglob("leaving.png"))
    tab.page.close()
    end = time.monotonic() + 60
    while list(served_page.temporary_dir.rglob("leaving.png")) and time.monotonic() < end:
        time.sleep(0.5)
    assert list(served_page.temporary_dir.rglob("leaving.png")) == []
    assert "leaving" not in served_page.log


def test_slow_map_does_not_hold_up_a_film(served_page: "ServedPage", film_path: Path) -> None:
    from gradio_client import Client, handle_file

    slow, quick = (Client(served_page.url, verbose=False) for _ in range(2))
    jobs = [slow.submit(film=handle_file(film_path), method="occlusion", api_name="/explain") for _ in range(6)]
    finding = quick.predict(film=handle_file(film_path), api_name="/predict")
    still_waiting = sum(not job.done() for job in jobs)
    assert finding["probability"] is not None
    assert still_waiting >= 1
    for job in jobs:
        job.result(timeout=120)


def write_dicom(path: Path) -> Path:
    """Write a small film whose header names a patient."""
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    from hf_fracture.data.phantoms import draw_phantom

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    pixels = np.asarray(draw_phantom(2, fractured=False).image).astype(np.uint16) * 16
    header.PatientName, header.PatientID, header.StudyInstanceUID = "Bloggs^Jo", "PID-471", generate_uid()
    header.Modality, header.BodyPartExamined = "DX", "HAND"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.WindowCenter, header.WindowWidth = 2048, 4096
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)
    return path
