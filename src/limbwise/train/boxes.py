"""How wrong boxes are: which cells are to find whom, and what their scores and edges cost.

Both from RTMDet (Lyu et al. 2022, arXiv 2212.07784, section 3.3): each person takes the cells that
already say the best of them (dynamic soft label assignment, after SimOTA, Ge et al. 2021, arXiv
2107.08430); a score is to say how well the cell's box fits (quality focal loss, Li et al. 2020,
arXiv 2006.04388), and the box is to fit (generalised IoU, Rezatofighi et al. 2019, arXiv
1902.09630). Cells within ignored regions are nobody's, and wrong whatever they say by nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.detector import decoded, points

CANDIDATES = 13  # cells of which a person takes as many as their overlaps add up to
_EDGES, _CENTRE = 3.0, 1.0  # what the terms of the assignment's cost count, the score's being 1
_BASE, _FREE = 10.0, 3.0  # the price of a cell's distance from a person's centre, 10^(cells - 3)
_GIOU = 2.0  # what edges count beside scores


@dataclass(frozen=True, eq=False)
class BoxTargets:
    """People (N, P, 4) and ignored regions (N, R, 4) as left, top, right, bottom in pixels of the
    input, nan where a picture has fewer; the strides at which they are to be found."""

    people: Tensor
    ignored: Tensor
    strides: tuple[int, ...]


def box_loss(maps: Sequence[Tensor], targets: BoxTargets) -> dict[str, Tensor]:
    """`scores` and `edges` of maps (N, 5, h, w) of each stride (`Head`), and their sum, `boxes`.

    Each is the sum over cells divided by the number of those that found somebody, a cell counting
    as its box fits.
    """
    maps = [each.float() for each in maps]
    logits = torch.cat([each[:, 0].flatten(1) for each in maps], dim=1)
    boxes = decoded(maps, targets.strides)[..., :4]
    places = torch.cat([_places(m, s) for m, s in zip(maps, targets.strides, strict=True)])
    person, quality = assigned(logits, boxes, places, targets.people)
    found = person >= 0
    total = quality.sum().clamp(min=1)
    counts = found | ~_inside(places, targets.ignored).any(dim=2)
    cost = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    scores = (cost * (quality - logits.sigmoid()).square() * counts).sum() / total
    n, cell = found.nonzero(as_tuple=True)
    apart = 1 - giou(boxes[n, cell], targets.people[n, person[n, cell]])
    edges = (apart * quality[n, cell]).sum() / total
    return {"boxes": scores + _GIOU * edges, "scores": scores, "edges": edges}


def _places(maps: Tensor, stride: int) -> Tensor:
    """(h * w, 3): x and y from which cells measure, and their stride."""
    x, y = points(maps, stride)
    size = y.shape[0], x.shape[1]
    both = torch.stack([x.expand(size), y.expand(size)], dim=2).flatten(0, 1)
    return F.pad(both, (0, 1), value=float(stride))


def _inside(places: Tensor, boxes: Tensor) -> Tensor:
    """(N, A, B): which of places (A, 3) lie in which of boxes (N, B, 4); none in nan."""
    x, y = places[:, 0, None], places[:, 1, None]
    left, top, right, bottom = boxes[:, None].unbind(3)
    return (x > left) & (x < right) & (y > top) & (y < bottom)


@torch.no_grad()
def assigned(
    logits: Tensor, boxes: Tensor, places: Tensor, people: Tensor
) -> tuple[Tensor, Tensor]:
    """For each cell (N, A) the row of the person it is to find, -1 for nobody, and how well its box
    fits (IoU), 0 for nobody.

    logits (N, A) and boxes (N, A, 4) are what the cells say, places (A, 3) where they are. A cell
    may find whom it lies in. It costs what its score lacks, what its box lacks and how far from the
    person's centre it is (equations 1 to 4); each person takes the cheapest, as many as the
    overlaps of the best 13 add up to, and a cell that several would take goes to whom it
    costs least.
    """
    if not people.shape[1]:
        return torch.full_like(logits, -1, dtype=torch.long), torch.zeros_like(logits)
    inside = _inside(places, people)
    overlap = torch.where(inside, _ious(boxes[:, :, None], people[:, None]), 0)
    score = logits.sigmoid()[:, :, None]
    entropy = F.binary_cross_entropy_with_logits(
        logits[:, :, None].expand_as(overlap), overlap, reduction="none"
    )
    centre = ((people[..., :2] + people[..., 2:]) / 2)[:, None]
    away = torch.linalg.vector_norm(places[:, None, :2] - centre, dim=3) / places[:, 2, None]
    cost = entropy * (overlap - score).square() - _EDGES * overlap.clamp(min=1e-7).log()
    cost = cost + _CENTRE * torch.pow(_BASE, away - _FREE)
    cost = torch.where(inside, cost, math.inf)
    count = min(CANDIDATES, len(places))
    counts = overlap.topk(count, dim=1).values.sum(dim=1).int().clamp(min=1)
    cheapest = cost.topk(count, dim=1, largest=False)
    taken = torch.arange(count, device=cost.device)[:, None] < counts[:, None]
    taken &= cheapest.values < math.inf
    mine = torch.zeros_like(inside).scatter(1, cheapest.indices, taken)
    cheapest_cost, person = torch.where(mine, cost, math.inf).min(dim=2)
    found = cheapest_cost < math.inf
    quality = overlap.gather(2, person[..., None])[..., 0]
    return torch.where(found, person, -1), torch.where(found, quality, 0)


def _ious(boxes: Tensor, others: Tensor) -> Tensor:
    inner, union, _ = _areas(boxes, others)
    return inner / union.clamp(min=1e-6)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """(M,) of boxes (M, 4) each: IoU less the share of the box round both that neither covers."""
    inner, union, hull = _areas(boxes, others)
    hull = hull.clamp(min=1e-6)
    return inner / union.clamp(min=1e-6) - (hull - union) / hull


def _areas(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of what boxes (..., 4) have in common, of both together, and of the box round both."""
    low, high, its_low, its_high = boxes[..., :2], boxes[..., 2:], others[..., :2], others[..., 2:]
    inner = (high.minimum(its_high) - low.maximum(its_low)).clamp(min=0).prod(dim=-1)
    hull = (high.maximum(its_high) - low.minimum(its_low)).clamp(min=0).prod(dim=-1)
    own, theirs = ((b - a).clamp(min=0).prod(dim=-1) for a, b in ((low, high), (its_low, its_high)))
    return inner, own + theirs - inner, hull
