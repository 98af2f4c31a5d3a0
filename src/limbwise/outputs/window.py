"""A window that shows pictures as they come, through SDL (pygame)."""

import os
import sys
from pathlib import Path
from typing import Any, Self

import cv2

from ..atomic import failing_to_write, replacing
from ..errors import BadInput
from ..geometry import Image


def display_is_there() -> bool:
    """Whether a window could open: a desktop, or a video driver that SDL is to use."""
    settings = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return sys.platform != "linux" or any(os.environ.get(name) for name in settings)


class Window:
    """Opens with the first picture; Esc, q or its button closes it, p pauses and goes on, space
    shows the next picture only, s saves the one that is shown. BadInput where none opens."""

    def __init__(self, title: str = "limbwise") -> None:
        if not display_is_there():
            raise BadInput("there is no display for a window: use --save instead")
        try:
            os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
            import pygame
        except ImportError as error:
            raise BadInput("windows need pygame: pip install 'limbwise[show]'") from error
        self._pygame: Any = pygame
        try:
            pygame.display.init()
        except pygame.error as error:
            raise BadInput(f"no window can be opened here ({error}): use --save instead") from error
        pygame.display.set_caption(title)
        self._screen: Any = None
        self._paused = False

    def show(self, image: Image) -> bool:
        """Puts (H, W, 3) BGR on the screen; False once the user has closed the window."""
        size = image.shape[1], image.shape[0]
        if self._screen is None:
            self._screen = self._pygame.display.set_mode(size, self._pygame.RESIZABLE)
        room = self._screen.get_size()
        scale = min(room[0] / size[0], room[1] / size[1])
        fitted = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        picture = cv2.resize(image, fitted) if fitted != size else image
        surface = self._pygame.image.frombuffer(picture.tobytes(), fitted, "BGR")
        self._screen.fill((0, 0, 0))
        self._screen.blit(surface, ((room[0] - fitted[0]) // 2, (room[1] - fitted[1]) // 2))
        self._pygame.display.flip()
        return self._go_on(image)

    def _go_on(self, image: Image) -> bool:
        """Answers keys, for as long as it is paused; False once the window is closed."""
        game = self._pygame
        stepped = False
        while True:
            for event in game.event.get():
                key = event.key if event.type == game.KEYDOWN else None
                if event.type == game.QUIT or key in (game.K_ESCAPE, game.K_q):
                    return False
                if key == game.K_s:
                    _save(image)
                stepped |= key == game.K_SPACE
                self._paused = (self._paused ^ (key == game.K_p)) or key == game.K_SPACE
            if stepped or not self._paused:
                return True
            game.time.wait(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pygame.display.quit()


def _save(image: Image) -> None:
    """As limbwise-1.png in the working folder, or the next number that is free."""
    number = 1
    while (path := Path(f"limbwise-{number}.png")).exists():
        number += 1
    with failing_to_write(path), replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())
