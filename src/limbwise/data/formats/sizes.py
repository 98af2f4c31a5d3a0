"""The size of a picture whose labels do not tell it, read from its header."""

from pathlib import Path

from ...errors import BadInput
from ...sources.image import PICTURES, opened

_ORIENTATION = 0x0112  # EXIF's; 5 to 8 are a quarter turn


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright as viewers show it; BadInput if it is no picture."""
    with opened(path, str(path)) as picture:
        width, height = picture.size
        turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def picture_of(folder: Path | None, stem: str) -> Path:
    """The picture in a folder by its name without the ending; BadInput if there is none."""
    if folder is None:
        raise BadInput(
            "these labels do not tell the sizes of their pictures: name the folder with --images"
        )
    for suffix in PICTURES.split():
        for name in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
            if name.is_file():
                return name
    raise BadInput(f"{folder} holds no picture called {stem}: --images names their folder")
