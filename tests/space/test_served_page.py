"""The page as `hf-fracture demo` serves it: through its endpoint, and in Chromium as a visitor sees it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from PIL import Image

import texts
from hf_fracture.inference.classifier import FractureClassifier

if TYPE_CHECKING:
    from tests.space.conftest import ServedPage, Visit

WORDS = (texts.FRACTURE, texts.UNCERTAIN, texts.NO_FRACTURE)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(served_page: "ServedPage") -> Any:
    from gradio_client import Client

    return Client(served_page.url, verbose=False)


def test_endpoint_gives_a_program_the_classifier_s_answer(
    client: Any, film_path: Path, film: Image.Image, measured: FractureClassifier
) -> None:
    from gradio_client import handle_file

    finding = client.predict(film=handle_file(film_path), api_name="/predict")
    assert finding["probability"] == pytest.approx(measured.predict(film).probability, abs=1e-6)
    assert finding["decision"] == measured.predict(film).decision


def test_endpoint_gives_a_bad_file_a_sentence(client: Any, no_film_path: Path) -> None:
    from gradio_client import handle_file

    finding = client.predict(film=handle_file(no_film_path), api_name="/predict")
    assert finding["decision"] == "error"
    assert finding["reasons"][0]["sentence"].endswith("Export the film again.")


def test_endpoint_reads_no_file_of_the_server(served_page: "ServedPage", film_path: Path) -> None:
    film = {"path": str(film_path), "meta": {"_type": "gradio.FileData"}}  # exists, but was never uploaded
    call = f"{served_page.url}gradio_api/call/predict"
    request = Request(call, json.dumps({"data": [film]}).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        event_id = json.load(response)["event_id"]
    with urlopen(f"{call}/{event_id}", timeout=60) as response:
        answer = response.read().decode()
    assert "event: error" in answer
    assert "decision" not in answer


def test_terminated_page_leaves_no_upload(
    serve: "Callable[[Path], ServedPage]", measured_model_dir: Path, film_path: Path
) -> None:
    from gradio_client import Client, handle_file

    page = serve(measured_model_dir)
    Client(page.url, verbose=False).predict(film=handle_file(film_path), api_name="/predict")
    assert any(path.is_file() for path in page.temporary_dir.rglob("forearm.png"))
    assert page.stop() == 130
    assert [path for path in page.temporary_dir.rglob("*") if path.is_file()] == []
    assert "Traceback" not in page.log
    assert "forearm" not in page.log


@contextmanager
def counting(visit: "Visit") -> Iterator[list[str]]:
    """Yield a list that holds the addresses asked for inside the block, once it is left."""
    before = len(visit.requested)
    asked: list[str] = []
    yield asked
    asked += visit.requested[before:]


@pytest.mark.browser
def test_uploaded_film_is_answered_in_words_with_its_map(visit: Callable[..., "Visit"], film_path: Path) -> None:
    tab = visit()
    assert "Not a medical device" in tab.page.inner_text("#notice")
    assert tab.upload(film_path) in WORDS
    assert tab.page.locator("#answer").get_attribute("aria-live") == "polite"
    assert "%" in tab.page.inner_text("#answer .probability")
    assert tab.page.locator("#viewer .frame.with-map img.film").get_attribute("alt") == texts.FILM_ALT
    assert "forearm.png, 480 x 640 px" in tab.page.inner_text("#viewer")
    assert "What this map is worth" in tab.page.inner_text("#worth")


@pytest.mark.browser
def test_text_named_png_gets_a_sentence_and_the_next_film_is_answered(
    visit: Callable[..., "Visit"], no_film_path: Path, film_path: Path
) -> None:
    no_film_path.write_text("${document.title='taken'}{{value}}")  # the page's templates must not run it
    tab = visit()
    assert tab.upload(no_film_path) == texts.UNREADABLE
    said = tab.page.inner_text("#answer")
    assert "Expected a PNG" in said
    assert "'${document.title='ta" in said
    assert tab.page.title() == texts.TITLE
    assert "Traceback" not in tab.page.content()
    tab.page.set_input_files("#film input[type=file]", str(film_path))
    tab.page.wait_for_selector("#viewer img.film", timeout=60_000)
    assert tab.page.inner_text("#answer .word") in WORDS


@pytest.mark.browser
def test_example_is_answered_by_keyboard_alone(visit: Callable[..., "Visit"]) -> None:
    tab = visit()
    tab.page.locator("body").press("Tab")
    for _ in range(40):
        if tab.page.evaluate("document.activeElement.dataset.index ?? ''") == "0":
            break
        tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.innerText").startswith("Drawn")
    tab.page.keyboard.press("Enter")
    assert tab.read_answer() in WORDS
    assert "proves nothing" in tab.page.inner_text(".examples")


@pytest.mark.browser
def test_opacity_changes_the_picture_without_asking_the_server(visit: Callable[..., "Visit"], film_path: Path) -> None:
    tab = visit()
    tab.upload(film_path)
    layer = tab.page.locator("#viewer .frame.with-map .stack")
    layer.evaluate("node => { node.innerHTML += \"<img class='map' alt=''>\"; }")  # a film without evidence has none
    opacity = "getComputedStyle(document.querySelector('#viewer img.map')).opacity"
    assert float(tab.page.evaluate(opacity)) == pytest.approx(0.6)
    with counting(tab) as asked:
        slider = tab.page.locator("#opacity input[type=range]")
        slider.fill("20")
        tab.page.wait_for_function(f"Math.abs({opacity} - 0.2) < 0.001", timeout=10_000)
    assert asked == []


@pytest.mark.browser
def test_other_method_gives_another_account_of_its_worth(visit: Callable[..., "Visit"], film_path: Path) -> None:
    tab = visit()
    tab.upload(film_path)
    tab.page.get_by_label(texts.METHOD_NAMES["integrated_gradients"]).check()
    tab.page.wait_for_function(
        "document.querySelector('#worth').innerText.includes('Completeness gap')", timeout=60_000
    )
    assert "not known" in tab.page.inner_text("#worth")


@pytest.mark.browser
def test_film_can_be_pasted(visit: Callable[..., "Visit"], film_path: Path) -> None:
    import base64

    tab = visit()
    tab.page.evaluate(
        """(data) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        base64.b64encode(film_path.read_bytes()).decode(),
    )
    assert tab.read_answer() in WORDS
    assert "pasted.png" in tab.page.inner_text("#viewer")


@pytest.mark.browser
def test_reference_of_the_endpoint_opens(visit: Callable[..., "Visit"]) -> None:
    tab = visit()
    tab.open_tab(texts.TAB_PROGRAM)
    tab.page.get_by_role("button", name="Gradio's own reference").click()
    tab.page.wait_for_function(
        "document.querySelector('.api-docs')?.innerText.includes('/predict') ?? false", timeout=30_000
    )
    tab.complaints.clear()  # Gradio's panel asks its own server for MCP and monitoring, which are off


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (360, True)])
def test_page_fits_a_phone(visit: Callable[..., "Visit"], film_path: Path, width: int, dark: bool) -> None:
    tab = visit(width=width, height=740, dark=dark)
    assert tab.width_beyond_screen() == 0
    assert tab.upload(film_path) in WORDS
    assert tab.width_beyond_screen() == 0
    word = tab.page.locator("#answer .word")
    word.wait_for(state="visible")
    tab.page.wait_for_function(
        "document.querySelector('#answer .word').getBoundingClientRect().top < window.innerHeight", timeout=10_000
    )
    notice = tab.page.locator("#notice").bounding_box()
    assert notice is not None
    assert notice["y"] == 0


@pytest.mark.browser
def test_dark_mode_is_dark(visit: Callable[..., "Visit"]) -> None:
    colours = []
    for dark in (False, True):
        tab = visit(dark=dark)
        colour = tab.page.evaluate("getComputedStyle(document.querySelector('.sheet')).backgroundColor")
        colours.append(sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]))
    assert colours[0] > 700 > 100 > colours[1]
