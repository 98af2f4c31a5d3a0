"""A window answers its keys. SDL's dummy driver stands in for a screen."""

import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from limbwise.outputs.window import Window

pygame = pytest.importorskip("pygame")
PICTURE = np.full((48, 64, 3), (10, 20, 30), np.uint8)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with Window() as opened:
        assert opened.show(PICTURE)
        yield opened


def press(key: int, seconds: float = 0.0) -> None:
    """Now, or in a while."""
    event = pygame.event.Event(pygame.KEYDOWN, key=key)
    if seconds:
        threading.Timer(seconds, pygame.event.post, (event,)).start()
    else:
        pygame.event.post(event)


def seconds_shown(window: Window) -> float:
    began = time.monotonic()
    assert window.show(PICTURE)
    return time.monotonic() - began


@pytest.mark.parametrize("key", ["K_ESCAPE", "K_q"])
def test_escape_and_q_close(window: Window, key: str) -> None:
    press(getattr(pygame, key))
    assert not window.show(PICTURE)


def test_its_button_closes_it(window: Window) -> None:
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not window.show(PICTURE)


def test_p_holds_a_picture_until_it_is_pressed_again(window: Window) -> None:
    press(pygame.K_p)
    press(pygame.K_p, 0.3)
    assert seconds_shown(window) >= 0.25
    assert seconds_shown(window) < 0.2


def test_space_shows_one_picture_and_holds(window: Window) -> None:
    press(pygame.K_p)
    press(pygame.K_SPACE, 0.2)
    assert seconds_shown(window) >= 0.15
    press(pygame.K_SPACE, 0.2)  # still held
    assert seconds_shown(window) >= 0.15
    press(pygame.K_p)
    assert seconds_shown(window) < 0.15


def test_a_held_window_can_be_closed(window: Window) -> None:
    press(pygame.K_p)
    press(pygame.K_ESCAPE, 0.2)
    assert not window.show(PICTURE)


def test_s_saves_what_is_shown_and_overwrites_nothing(window, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "limbwise-1.png").write_bytes(b"mine")
    press(pygame.K_s)
    assert window.show(PICTURE)
    assert (tmp_path / "limbwise-1.png").read_bytes() == b"mine"
    assert np.array_equal(cv2.imread(str(tmp_path / "limbwise-2.png")), PICTURE)
