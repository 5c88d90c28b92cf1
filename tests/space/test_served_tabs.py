"""The other tabs of the served page, and what every tab owes to eyes, hands and ears."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import texts
from hf_fracture.inference.finding import COLUMNS

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.space.conftest import ServedPage, Visit

pytestmark = [pytest.mark.slow, pytest.mark.browser]

TABS = (texts.TAB_ONE, texts.TAB_SEVERAL, texts.TAB_COMPARE, texts.TAB_EVIDENCE, texts.TAB_PROGRAM)


@pytest.fixture
def films(film: Image.Image, no_film_path: Path, tmp_path: Path) -> list[str]:
    """Return three films of falling brightness, and a bad file between them."""
    paths = []
    for index in range(3):
        path = tmp_path / f"film_{index}.png"
        film.point([level * (10 - 3 * index) // 10 for level in range(256)]).save(path)
        paths.append(str(path))
    return [paths[0], str(no_film_path), *paths[1:]]


def read_films(tab: "Visit", films: list[str]) -> None:
    tab.open_tab(texts.TAB_SEVERAL)
    tab.page.set_input_files("#films input[type=file]", films)
    tab.page.wait_for_selector("#films .file-preview", timeout=30_000)
    tab.page.locator("#start").click()
    tab.page.wait_for_selector("button[data-download='findings.zip']", timeout=120_000)


def save(tab: "Visit", name: str) -> bytes:
    with tab.page.expect_download() as download:
        tab.page.locator(f"button[data-download='{name}']").click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def test_several_films_are_read_sorted_and_saved_around_a_bad_one(
    visit: Callable[..., "Visit"], films: list[str]
) -> None:
    tab = visit()
    read_films(tab, films)
    rows = tab.page.locator("table.films tbody tr")
    assert rows.count() == 4
    assert texts.UNREADABLE in rows.nth(1).inner_text()
    assert "4 films read, 1 of them without an answer" in tab.page.inner_text("#progress")
    tab.page.get_by_role("button", name="Probability").click()
    shown = [float(rows.nth(index).get_attribute("data-probability") or "nan") for index in range(4)]
    assert shown == sorted(shown, reverse=True)
    assert tab.page.locator("th[aria-sort=descending]").inner_text().startswith("Probability")
    table = list(csv.DictReader(io.StringIO(save(tab, "findings.csv").decode("utf-8-sig"))))
    assert tuple(table[0]) == COLUMNS
    assert [row["path"] for row in table] == [Path(path).name for path in films]
    with zipfile.ZipFile(io.BytesIO(save(tab, "findings.zip"))) as archive:
        assert len([name for name in archive.namelist() if name.startswith("pictures/")]) == 3
        assert len(archive.read("findings.jsonl").splitlines()) == 4


def test_films_of_a_batch_are_deleted_once_read(
    visit: Callable[..., "Visit"], films: list[str], served_page: "ServedPage"
) -> None:
    tab = visit()
    read_films(tab, films)
    tab.page.wait_for_timeout(500)
    assert [path for path in served_page.temporary_dir.rglob("film_?.png") if path.is_file()] == []


def test_reading_can_be_stopped_and_keeps_what_there_is(
    visit: Callable[..., "Visit"], film: Image.Image, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"  # takes the reader a while, so that stopping comes long before the end
    film.resize((3000, 4000)).save(large, quality=60)
    tab = visit()
    tab.open_tab(texts.TAB_SEVERAL)
    tab.page.set_input_files("#films input[type=file]", [str(large)] * 48)
    tab.page.wait_for_selector("#films .file-preview", timeout=60_000)
    tab.page.locator("#start").click()
    tab.page.wait_for_selector("#progress progress", timeout=60_000)
    tab.page.locator("#stop").click()
    tab.page.wait_for_function(
        f"document.querySelector('#progress').innerText.includes({json.dumps(texts.STOPPED)})", timeout=30_000
    )
    tab.page.wait_for_timeout(1500)
    assert texts.STOPPED in tab.page.inner_text("#progress")
    assert tab.page.locator("button[data-download='findings.zip']").count() == 0


def test_comparison_shows_two_answers_to_one_film(visit: Callable[..., "Visit"], film_path: Path) -> None:
    tab = visit()
    tab.open_tab(texts.TAB_COMPARE)
    tab.page.set_input_files("#compared input[type=file]", str(film_path))
    for side in range(2):
        tab.page.wait_for_selector(f"#side-{side} .viewer img.film", timeout=120_000)
    assert "Both sides answer the same" in tab.page.inner_text("#verdict")


def test_film_of_the_first_tab_can_be_compared_and_stays_there(
    visit: Callable[..., "Visit"], film: Image.Image, film_path: Path, tmp_path: Path
) -> None:
    tab = visit()
    tab.upload(film_path)
    tab.open_tab(texts.TAB_COMPARE)
    tab.page.get_by_role("button", name=texts.COMPARE_TAKE).click()
    tab.page.wait_for_selector("#side-1 .viewer img.film", timeout=120_000)
    film.rotate(5).save(tmp_path / "other.png")
    tab.page.set_input_files("#compared input[type=file]", str(tmp_path / "other.png"))
    tab.page.wait_for_function("document.querySelector('#side-1').innerText.includes('other.png')", timeout=120_000)
    tab.open_tab(texts.TAB_ONE)
    tab.page.locator("#part input").click()  # has the film judged again
    tab.page.get_by_role("option", name="hand").click()
    tab.page.wait_for_function("document.querySelector('#answer').innerText.includes('test films of the hand')")


def test_evidence_is_drawn_with_words_beside_every_plot(visit: Callable[..., "Visit"]) -> None:
    tab = visit()
    tab.open_tab(texts.TAB_EVIDENCE)
    tab.page.wait_for_selector("#leaks .share", timeout=30_000)
    text = tab.page.inner_text("#proof") + tab.page.inner_text("#leaks")
    for title in (texts.PROOF_TITLE, texts.CALIBRATION_TITLE, texts.LEAK_TITLE, texts.LIMITS_TITLE):
        assert title in text
    assert tab.page.locator("#proof [title], #leaks [title]").count() == 0  # nothing waits for a mouse


def slide_until(page: "Page", value: str, condition: str) -> None:
    """Move the slider of the window; a panel that has just opened may not listen to the first move yet."""
    from playwright.sync_api import TimeoutError as NotYet

    for other in ("90", "80", "70", "60", "50"):
        page.locator("#width input[type=range]").fill(value)
        try:
            page.wait_for_function(condition, timeout=3_000)
        except NotYet:
            page.locator("#width input[type=range]").fill(other)
        else:
            return
    pytest.fail(f"The slider was moved five times, and never came true: {condition}")


def test_view_of_the_film_changes_in_the_browser_alone(visit: Callable[..., "Visit"], film_path: Path) -> None:
    tab = visit()
    tab.upload(film_path)
    before = len(tab.requested)
    tab.page.get_by_label(texts.VIEW_NAMES["side"]).check()
    alone = tab.page.locator("#viewer .frame.alone img.film")
    alone.wait_for(state="visible", timeout=10_000)
    assert alone.get_attribute("src") == tab.page.locator("#viewer .frame.with-map img.film").get_attribute("src")
    tab.page.locator("#zoom input[type=range]").fill("300")
    tab.page.wait_for_function(
        "(() => { const f = document.querySelector('#viewer .frame'); return f.scrollWidth > 2 * f.clientWidth; })()",
        timeout=10_000,
    )
    tab.page.get_by_role("button", name=texts.WINDOW_TITLE).click()
    slide_until(tab.page, "25", "document.querySelector('#film-window feFuncR').getAttribute('slope') === '4'")
    assert "film-window" in tab.page.evaluate("getComputedStyle(document.querySelector('#viewer img.film')).filter")
    assert [url for url in tab.requested[before:] if not url.startswith("data:")] == []


def test_body_part_that_the_visitor_names_is_answered_with_its_figures(
    visit: Callable[..., "Visit"], film_path: Path
) -> None:
    tab = visit()
    tab.upload(film_path)
    assert texts.PART_UNKNOWN in tab.page.inner_text("#answer")
    tab.page.locator("#part input").click()
    tab.page.get_by_role("option", name="hand").click()
    tab.page.wait_for_function("document.querySelector('#answer').innerText.includes('test films of the hand')")


def test_camera_of_a_phone_can_be_used(visit: Callable[..., "Visit"], film_path: Path) -> None:
    tab = visit(width=390, height=740, touch=True)
    with tab.page.expect_file_chooser() as chooser:
        tab.page.get_by_role("button", name=texts.CAMERA_BUTTON).click()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files(str(film_path))
    assert tab.read_answer()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False)])
def test_no_tab_fails_the_rules_of_accessibility(
    visit: Callable[..., "Visit"], film_path: Path, axe_source: str, width: int, dark: bool
) -> None:
    tab = visit(width=width, dark=dark)
    tab.upload(film_path)
    tab.page.evaluate(axe_source)
    found: list[str] = []
    for name in TABS:
        tab.open_tab(name)
        tab.page.wait_for_timeout(400)
        options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
        result: dict[str, Any] = tab.page.evaluate("(options) => axe.run(document, options)", options)
        found += [
            f"{name}: {rule['id']} {node['html'][:140]}"
            for rule in result["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
    assert found == []


def test_every_tab_fits_a_phone(visit: Callable[..., "Visit"], films: list[str]) -> None:
    tab = visit(width=360, height=740, dark=True, touch=True)
    assert all(tab.page.get_by_role("tab", name=name, exact=True).first.is_visible() for name in TABS)
    read_films(tab, films)
    assert tab.width_beyond_screen() == 0
    for name in (texts.TAB_COMPARE, texts.TAB_EVIDENCE, texts.TAB_PROGRAM):
        tab.open_tab(name)
        tab.page.wait_for_timeout(300)
        assert tab.width_beyond_screen() == 0, name


def test_tabs_and_a_batch_need_no_mouse(visit: Callable[..., "Visit"], films: list[str]) -> None:
    tab = visit()
    tab.page.get_by_role("tab", name=texts.TAB_ONE).focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#start", timeout=10_000)
    tab.page.set_input_files("#films input[type=file]", films[:1])  # the dialogue of the system is not the page's
    tab.page.wait_for_selector("#films .file-preview", timeout=30_000)
    tab.page.locator("#start").focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("button[data-download='findings.csv']", timeout=60_000)
    tab.page.get_by_role("button", name="Probability").focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("th[aria-sort=descending]").count() == 1


def test_page_can_be_installed(visit: Callable[..., "Visit"], served_page: "ServedPage") -> None:
    tab = visit()
    manifest = tab.page.evaluate("fetch('manifest.json').then((response) => response.json())")
    assert manifest["name"] == texts.TITLE
    assert manifest["display"] == "standalone"
    icon = tab.page.evaluate("(src) => fetch(src).then((response) => response.status)", manifest["icons"][0]["src"])
    assert icon == 200
