"""The page as a person uses it, in headless Chromium; skipped where there is none.

`make test-browser` installs Chromium and its driver (Debian's packages) and runs this file.
"""

import base64
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from browsing import PROBLEM, SHOWN, Page, browser, camera_file, needs_chromium
from limbwise.estimator import MIN_SCORE
from limbwise.outputs.draw import MIN_CONFIDENCE
from limbwise.server.guard import Limits
from serving import encoded, scene, seeing, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(tmp_path_factory, downloads):
    with browser(camera_file(tmp_path_factory.mktemp("camera") / "room.y4m"), downloads) as driver:
        yield driver


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        yield site


@pytest.fixture
def page(driver, site) -> Iterator[Page]:
    driver.get_log("browser")
    yield Page(driver, site)
    said = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [e for e in said if "Failed to load resource" not in e["message"]] == []


IMAGE = scene(120, (320, 480))


def open_picture(page: Page) -> np.ndarray:
    """Drops a picture of one person; the pixels with the skeleton."""
    page.drop(encoded(IMAGE, ".png"), "pole.png", "image/png")
    page.until(lambda: page.text("people") == "1")
    return page.pixels()


def box(page: Page) -> list[int]:
    return [
        round(v)
        for v in page.site.ask("/v1/poses", encoded(IMAGE, ".png")).json["people"][0]["box"]
    ]


def test_a_dropped_picture_gets_its_skeleton_where_the_person_is(page) -> None:
    drawn = open_picture(page)
    assert drawn.shape == IMAGE.shape
    changed = np.abs(drawn.astype(int) - IMAGE).max(axis=2) > 30
    left, top, right, bottom = box(page)
    assert changed[top : bottom + 1, left : right + 1].mean() > 0.05
    assert not changed[:, : left - 12].any()
    assert not changed[:, right + 12 :].any()
    assert page.text("status") == "One person found."
    server = page.site.ask("/v1/picture", encoded(IMAGE, ".png")).body
    same = cv2.imdecode(np.frombuffer(server, np.uint8), 1).astype(int)
    assert np.abs(drawn.astype(int) - same)[..., 0].mean() < 2  # as the server draws it


def test_the_controls_do_what_they_say(page) -> None:
    drawn = open_picture(page)
    page.click("#mirror")
    mirrored = page.pixels()
    assert np.abs(mirrored[:, ::-1].astype(int) - drawn).max(axis=2).mean() < 3
    page.click("#mirror")
    assert (page.pixels() == drawn).all()
    page.run(
        "const it = document.getElementById('confidence'); it.max = 101; it.value = 101;"
        "it.dispatchEvent(new Event('input'))"
    )
    assert page.text("people") == "0"
    assert (page.pixels() == IMAGE).all()


def test_the_page_begins_with_the_servers_min_score_and_takes_a_higher_one(driver) -> None:
    seen = seeing()
    seen.min_score = MIN_SCORE
    with serving([seen]) as site:
        page = Page(driver, site)
        page.until(lambda: page.text("model"))
        assert page.text("min-score") == f"{100 * MIN_SCORE:.0f} %"
        drawn = open_picture(page)
        page.run(
            "const it = document.getElementById('score'); it.max = 101; it.value = 101;"
            "it.dispatchEvent(new Event('input'))"
        )
        assert page.text("people") == "0"
        assert (page.pixels() == IMAGE).all() != (drawn == IMAGE).all()


def saved(downloads: Path, pattern: str) -> list[Path]:
    """The files that are there whole: Chromium makes an empty one first, and puts what it has
    written as .crdownload in its place at the end."""
    written = [*downloads.glob("*.crdownload")]
    return [file for file in downloads.glob(pattern) if file.stat().st_size and not written]


def test_the_description_is_saved_with_the_token(driver, downloads) -> None:
    with serving(token="open-sesame") as site:
        page = Page(driver, site)
        page.run("sessionStorage.setItem('limbwise.token', 'open-sesame')")
        page.driver.refresh()
        page.until(lambda: page.text("model"))
        page.click("#openapi")
        page.until(lambda: saved(downloads, "limbwise-openapi.json"))
        said = json.loads((downloads / "limbwise-openapi.json").read_text())
        assert said["info"]["title"] == "limbwise"


def test_what_is_shown_can_be_saved(page, downloads) -> None:
    drawn = open_picture(page)
    page.click("#save-picture")
    page.click("#save-json")
    page.until(lambda: len(saved(downloads, "limbwise.*[gn]")) == 2)
    assert (cv2.imread(str(downloads / "limbwise.png")) == drawn).all()
    said = json.loads((downloads / "limbwise.json").read_text())
    assert said == page.site.ask("/v1/poses", encoded(IMAGE, ".png")).json


def test_a_file_that_is_no_picture_gets_a_friendly_line(page) -> None:
    page.drop(b"dear diary", "diary.txt", "text/plain")
    page.until(lambda: page.run(PROBLEM))
    assert "not a picture that can be read" in page.run(PROBLEM)
    page.drop(b"no film", "film.mp4", "video/mp4")
    page.until(lambda: "video cannot be played" in page.run(PROBLEM))
    open_picture(page)
    assert page.run(PROBLEM) == ""


def test_the_camera_gets_a_live_overlay_at_more_than_five_a_second(page) -> None:
    page.click("[data-does=camera]")
    page.until(lambda: page.run(SHOWN) and page.text("fps") not in ("–", ""))
    time.sleep(3)
    assert float(page.text("fps")) > 5
    assert page.text("people") == "1"
    pictures = [page.pixels() for _ in range(2)]
    for picture in pictures:  # dark room, white pole: whatever has a colour was drawn
        assert (picture.max(axis=2).astype(int) - picture.min(axis=2) > 60).sum() > 200
    assert page.run("return document.getElementById('mirror').checked")
    page.click("#stop")
    page.until(lambda: page.site.ask("/healthz").json["streams_free"] == Limits().streams)
    assert page.run("return document.getElementById('video').srcObject") is None


def test_a_stream_that_is_refused_is_told(driver) -> None:
    with serving(limits=Limits(streams=0)) as site:
        page = Page(driver, site)
        page.click("[data-does=camera]")
        page.until(lambda: "All live places" in page.run(PROBLEM))


def test_a_token_is_asked_for_and_opens_pictures_and_streams(driver) -> None:
    with serving(token="open-sesame?") as site:
        page = Page(driver, site)
        page.until(lambda: page.run("return document.getElementById('door').open"))
        for given in ("wrong", "open-sesame?"):
            page.run(
                "document.getElementById('token').value = arguments[0];"
                "document.querySelector('#door button').click()",
                given,
            )
            page.until(lambda: page.text("model") or "not accepted" in page.text("door-problem"))
        page.until(lambda: page.text("model"))
        open_picture(page)
        page.click("[data-does=camera]")
        page.until(lambda: page.text("fps") not in ("–", ""))


def test_a_video_is_played_with_ids(page) -> None:
    page.drop(film(3), "walk.webm", "video/webm")
    page.until(lambda: page.text("people") == "1")
    colour = page.site.ask("/v1/about").json["style"]["ids"][1]
    label = np.array([int(colour[n : n + 2], 16) for n in (5, 3, 1)])  # of the first person

    def labelled() -> int:
        return int((np.abs(page.pixels().astype(int) - label).max(axis=2) < 3).sum())

    page.click("#play")
    assert labelled() > 50
    page.click("#ids")
    assert labelled() < 5
    page.click("#ids")


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(page) -> None:
    open_picture(page)
    nameless = page.run(
        """
        const shown = [...document.querySelectorAll("button, input, canvas")]
          .filter((it) => it.offsetParent !== null);
        return shown.filter((it) => !(it.textContent.trim() || it.ariaLabel || it.labels?.length))
          .map((it) => it.outerHTML);
        """
    )
    assert nameless == []
    hidden = page.run("return [...document.querySelectorAll('[tabindex=\"-1\"]')].length")
    assert hidden == 0


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_cut_off_on_a_narrow_screen(page, width) -> None:
    open_picture(page)
    with page.shown_on(width, 800):
        across = page.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert across[0] <= across[1] == width


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_axe_finds_nothing_wrong(page, width, scheme) -> None:
    with page.shown_on(width, 860, scheme):
        assert page.faults() == []  # nothing is open yet
        open_picture(page)
        page.run("document.querySelector('details').open = true")
        assert page.faults() == []
        page.drop(b"dear diary", "diary.txt", "text/plain")
        page.until(lambda: page.run(PROBLEM))
        assert page.faults() == []


def test_focus_goes_with_the_button_that_was_pressed(page) -> None:
    for control in ("sample", "choose"):
        page.open()
        page.run(f"document.querySelector('#welcome [data-does={control}]').focus()")
        if control == "sample":
            page.click("#welcome [data-does=sample]")
            page.until(lambda: page.run(SHOWN))
        else:
            open_picture(page)
        assert page.run("return document.activeElement.dataset.does") == control
        assert page.run("return document.activeElement.offsetParent !== null")


def test_confidence_begins_at_the_default_and_people_counts_what_is_drawn(driver) -> None:
    seen = seeing()
    person = seen(IMAGE)[0]
    unsure = replace(person, confidence=np.full_like(person.confidence, MIN_CONFIDENCE - 0.1))
    seen.decode = lambda *_: [person, unsure]
    with serving([seen]) as site:
        page = Page(driver, site)
        page.drop(encoded(IMAGE, ".png"), "pole.png", "image/png")
        page.until(lambda: page.run(SHOWN))
        assert page.text("min-confidence") == f"{100 * MIN_CONFIDENCE:.0f} %"
        assert (page.text("people"), page.text("status")) == ("1", "One person found.")
        page.run(
            "const it = document.getElementById('confidence'); it.value = 0;"
            "it.dispatchEvent(new Event('input'))"
        )
        assert (page.text("people"), page.text("status")) == ("2", "2 people shown.")


def test_the_model_that_is_loaded_is_offered_and_the_page_says_so(page) -> None:
    assert page.run("return document.getElementById('pair').value") in page.text("model")
    assert "--model" in page.text("pair-note")


def test_a_picture_is_pasted_by_keys_and_by_the_button(page) -> None:
    copied = """
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        window.copied = new File([bytes], "copied.png", { type: "image/png" });
    """
    page.run(copied, base64.b64encode(encoded(IMAGE, ".png")).decode())
    page.run(
        "const clipboardData = new DataTransfer(); clipboardData.items.add(window.copied);"
        "document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))"
    )
    page.until(lambda: page.text("people") == "1")
    page.open()
    page.run(copied, base64.b64encode(encoded(IMAGE, ".png")).decode())
    page.run(
        "navigator.clipboard.read = async () => "
        "[{ types: ['text/html', 'image/png'], getType: async () => window.copied }]"
    )
    page.click("#welcome [data-does=paste]")
    page.until(lambda: page.text("people") == "1")
    page.run("navigator.clipboard.read = async () => [{ types: ['text/plain'] }]")
    page.click(".again [data-does=paste]")
    page.until(lambda: "no picture in the clipboard" in page.run(PROBLEM))


def test_a_film_is_gone_through_again_and_saved_with_its_poses(page, downloads) -> None:
    page.drop(film(3), "walk.webm", "video/webm")
    page.until(lambda: page.run("return document.getElementById('video').ended"))
    asked = "return performance.getEntriesByType('resource').length"
    before = page.run(asked)
    page.click("#save-video")
    page.until(lambda: saved(downloads, "limbwise.[mw][pe]*"))
    assert page.run(asked) == before
    (video,) = saved(downloads, "limbwise.[mw][pe]*")
    with av.open(video) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(frames) >= 5
    coloured = [(f.max(axis=2).astype(int) - f.min(axis=2) > 60).sum() for f in frames]
    assert min(coloured) > 200  # a dark room, a white pole: what has a colour was drawn
    across = [np.flatnonzero((f.min(axis=2) > 200).any(axis=0)).mean() for f in frames]
    assert across[-1] > across[0] + 60  # and it walks


def film(seconds: int) -> bytes:
    """A pole that wanders to the right, 20 pictures a second, as WebM."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        track = container.add_stream("libvpx", rate=20, options={"deadline": "realtime"})
        track.width, track.height, track.pix_fmt = 480, 320, "yuv420p"
        for step in range(20 * seconds):
            image = scene(120 + 3 * step, (320, 480))
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(track.encode())
    return file.getvalue()
