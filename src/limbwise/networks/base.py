"""What every network states of itself, with the values that most of them share."""

from torch import nn

from ..skeleton import Skeleton


class PoseNetwork(nn.Module):
    """A network, and its constants; a class names only what differs.

    Attributes:
        stride: input pixels to a cell of its maps.
        multiple: both sides of an input are whole multiples of it.
        offset: the input pixel of the maps' first cell.
        sigma: of the Gaussians that it learns, in input pixels.
        height: the usual height of its inputs.
        mean: of an input, (BGR - mean) * scale, of all colours alike or of each.
        scale: the same.
        crops: it takes crops of one person, not whole pictures.
        prior: it takes prior keypoints besides.
        keypoints: how many it finds.
        limbs: how many it finds.
        finds: the parts of a skeleton whose numbers its constructor takes.
        people: the only skeleton of people that it can have; None if any.
        boxes: the strides at which it finds people as boxes, if it does.
        fit: as in `Description`.
        float_parts: the submodules that stay in float when the others are rounded to int8.
    """

    stride = 8
    multiple = 8
    offset = 3.5
    sigma = 7.0
    height = 368
    mean: float | tuple[float, float, float] = 127.0
    scale: float | tuple[float, float, float] = 1 / 128
    crops = False
    prior = False
    keypoints = 0
    limbs = 0
    finds: tuple[str, ...] = ("keypoints", "limbs")
    people: Skeleton | None = None
    boxes: tuple[int, ...] = ()
    fit = "height"
    float_parts: tuple[str, ...] = ()
