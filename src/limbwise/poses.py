"""The people of one picture: a list of `Pose` that knows which picture they are in.

    estimate(image) -> Poses -> draw, save, to_dict, to_dataframe, to_supervision, to_coco

The picture itself is not kept, so that the results of a long film stay small: what is remembered is
where it can be had again, a file's path or a weak reference to what the caller holds.
"""

import base64
import html
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, overload

from .errors import BadInput
from .pose import Pose

if TYPE_CHECKING:
    from .geometry import Image
    from .outputs.records import Result

SHOWN = 480  # pixels of the longer side of the picture in a notebook
ENDINGS = ".png .jpg .jpeg .json .jsonl .csv"


class Poses(list[Pose]):
    """The people of one picture, best first: a list of `Pose` with the picture's facts.

    Attributes:
        size: (width, height) of the picture in pixels; (0, 0) if unknown.
        source: where the picture is from, such as a file's name; "" of an array.
        frame: which frame it is, from 0, on over several sources.
        time: seconds since the first frame; None for a still.
    """

    __slots__ = ("_given", "_rgb", "frame", "size", "source", "time")

    def __init__(
        self,
        poses: Iterable[Pose] = (),
        *,
        size: tuple[int, int] = (0, 0),
        source: str = "",
        frame: int = 0,
        time: float | None = None,
        given: Any = None,
        rgb: bool = False,
    ) -> None:
        """`given` is what the picture was given as: a path, bytes, an array ..., `rgb` its colours
        if it is an array."""
        super().__init__(poses)
        self.size, self.source, self.frame, self.time = size, source, frame, time
        self._given, self._rgb = _remembered(given), rgb

    # A list still.

    def like(self, poses: Iterable[Pose]) -> Self:
        """Other people in the same picture."""
        other = type(self)(
            poses, size=self.size, source=self.source, frame=self.frame, time=self.time
        )
        other._given, other._rgb = self._given, self._rgb
        return other

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Pose: ...
    @overload
    def __getitem__(self, place: slice, /) -> Self: ...
    def __getitem__(self, place: Any, /) -> Any:
        taken = super().__getitem__(place)
        return self.like(taken) if isinstance(place, slice) else taken

    def __add__(self, others: list[Any], /) -> Any:
        return self.like([*self, *others])

    def copy(self) -> Self:
        return self.like(self)

    def __copy__(self) -> Self:
        return self.like(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied without the picture, which other processes do not hold."""
        return _again, (type(self), list(self), self.size, self.source, self.frame, self.time)

    def __repr__(self) -> str:
        return f"<Poses: {self._caption()}>"

    def _caption(self) -> str:
        people = "1 person" if len(self) == 1 else f"{len(self)} people"
        facts = [f"{people} in {self.source or 'a picture'}"]
        facts += [f"{self.size[0]} x {self.size[1]}"] if any(self.size) else []
        facts += [f"frame {self.frame}, {self.time:.2f} s"] if self.time is not None else []
        return ", ".join(facts)

    # The picture.

    @property
    def image(self) -> "Image":
        """The picture (H, W, 3) uint8 BGR; ValueError if nobody holds it any more."""
        from .sources.given import as_image

        given = self._given() if self._given else None
        if given is None:
            raise ValueError("the picture is not kept: give it, as in poses.draw(image)")
        return as_image(given, self._rgb)

    def draw(self, image: Any = None, *, rgb: bool = False, **how: Any) -> "Image":
        """The picture with the people on it, (H, W, 3) uint8 BGR.

        Args:
            image: the picture, of any kind that `estimate` takes; if None, the one that the people
                were found in, while somebody holds it.
            rgb: whether `image` is an array in RGB.
            how: ids, boxes, min_confidence of `limbwise.draw`; ids are shown if there are some.

        Raises:
            ValueError: no image is given, and nobody holds the picture any more.
        """
        from .outputs.draw import draw
        from .sources.given import as_image

        picture = self.image if image is None else as_image(image, rgb)
        return draw(picture, self, **{"ids": True, **how})

    # Elsewhere.

    @property
    def result(self) -> "Result":
        """What the writers of files take (`limbwise.outputs.results`)."""
        from .outputs.records import Result

        width, height = self.size
        still = self.time is None
        return Result(self.source, self.frame, self.time, width, height, self, picture=still)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as a JSON line of `limbwise run` has them: source, frame, time, width,
        height and people, each with id, score, box and keypoints {name: [x, y, confidence]}."""
        from .outputs.records import record

        return record(self.result)

    def to_coco(self, image_id: int | None = None, *, category_id: int = 1) -> list[dict[str, Any]]:
        """The people as COCO results (cocodataset.org/#format-results), 17 keypoints each.

        Args:
            image_id: of the picture; if None the number that the file is called by, else the
                frame's.
            category_id: COCO's people are 1.

        Returns:
            A dict for each person of whom a keypoint of COCO was found.
        """
        from .outputs.records import coco_image_id, coco_person

        number = coco_image_id(self.result) if image_id is None else image_id
        people = (coco_person(pose, number, category_id=category_id) for pose in self)
        return [person for person in people if person]

    def to_dataframe(self, library: str | None = None) -> Any:
        """A row per person with the columns of the .csv files, as a DataFrame.

        Args:
            library: "pandas" or "polars"; if None the first of them that is installed.

        Raises:
            BadInput: it is not installed.
        """
        from .outputs.tables import dataframe

        return dataframe([self.result], library)

    def to_supervision(self) -> Any:
        """`supervision.KeyPoints` of the people; a keypoint that was not found lies at (0, 0), as
        supervision has it, and the ids of tracked people are in `data["tracker_id"]`.

        Raises:
            BadInput: supervision is not installed.
        """
        from .outputs.supervision import keypoints

        return keypoints(self)

    def save(self, path: str | Path, image: Any = None) -> Path:
        """Writes what the name's ending says.

        Args:
            path: .png and .jpg are the drawn picture, .json and .jsonl one line with `to_dict()`,
                .csv is a row per person.
            image: for a drawn picture, as for `draw`.

        Returns:
            The path.

        Raises:
            BadInput: another ending, a place that cannot be written to, or the picture's own file.
        """
        from .outputs.recorder import Recorder
        from .outputs.results import open_writer
        from .places import check_places

        path, ending = Path(path), Path(path).suffix.lower()
        if ending not in ENDINGS.split():
            raise BadInput(f"{path} has an unknown ending: use one of {ENDINGS}")
        own = self._given() if self._given else None
        check_places([own if isinstance(own, str | Path) else None], {"save": path})
        if ending in (".png", ".jpg", ".jpeg"):
            drawn = self.draw(image)
            with Recorder(path) as recorder:
                recorder.add(drawn)
            return path
        with open_writer(path, "csv" if ending == ".csv" else "jsonl") as writer:
            writer.add(self.result)
        return path

    def _repr_html_(self) -> str:
        """For notebooks: the drawn picture, made small, and one line."""
        caption = html.escape(self._caption())
        try:
            drawn = _small_jpeg(self.draw())
        except ValueError:  # the picture is gone
            return f"<p>{caption}</p>"
        data = base64.b64encode(drawn).decode()
        return f'<figure><img src="data:image/jpeg;base64,{data}"><p>{caption}</p></figure>'


def found_in(poses: Iterable[Pose], image: "Image", given: Any, rgb: bool = False) -> Poses:
    """The people of an image (H, W, 3), which was given as a path, bytes, an array ..."""
    source = str(given) if isinstance(given, str | Path) else ""
    size = image.shape[1], image.shape[0]
    return Poses(poses, size=size, source=source, given=given, rgb=rgb)


def _remembered(given: Any) -> Callable[[], Any] | None:
    """Gives back what was given, as long as somebody else holds it. Paths, and bytes of a picture
    file, which are few, are kept."""
    if given is None:
        return None
    if isinstance(given, str | Path | bytes):
        return lambda: given
    try:
        return weakref.ref(given)
    except TypeError:
        return None


def _again(
    kind: type[Poses],
    poses: list[Pose],
    size: tuple[int, int],
    source: str,
    frame: int,
    time: float | None,
) -> Poses:
    return kind(poses, size=size, source=source, frame=frame, time=time)


def _small_jpeg(image: "Image") -> bytes:
    import cv2

    scale = min(1.0, SHOWN / max(image.shape[:2]))
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
