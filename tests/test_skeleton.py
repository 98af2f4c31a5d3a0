import json

import pytest

from limbwise.skeleton import BODY, BODY_25, COCO, Skeleton

ALL = pytest.mark.parametrize("skeleton", [BODY, COCO, BODY_25], ids=["BODY", "COCO", "BODY_25"])


@ALL
def test_a_mirror_of_a_mirror_is_the_thing_itself(skeleton: Skeleton) -> None:
    twins = skeleton.mirror
    assert [twins[twin] for twin in twins] == list(range(len(skeleton.keypoints)))
    limbs = skeleton.mirrored_limbs
    assert [limbs[twin][0] for twin, _ in limbs] == list(range(len(skeleton.limbs)))


@ALL
def test_mirroring_swaps_left_and_right_and_nothing_else(skeleton: Skeleton) -> None:
    for name, twin in zip(skeleton.keypoints, skeleton.mirror, strict=True):
        swapped = {"left": "right", "right": "left"}
        side, _, rest = name.partition("_")
        expected = f"{swapped[side]}_{rest}" if side in swapped else name
        assert skeleton.keypoints[twin] == expected


@ALL
def test_a_mirrored_limb_joins_the_mirrored_keypoints(skeleton: Skeleton) -> None:
    for (a, b), (twin, sign) in zip(skeleton.pairs, skeleton.mirrored_limbs, strict=True):
        expected = skeleton.mirror[a], skeleton.mirror[b]
        assert skeleton.pairs[twin] == (expected if sign == 1 else expected[::-1])


@ALL
def test_json_gives_the_same_skeleton_back(skeleton: Skeleton) -> None:
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton


def test_body_holds_all_of_coco_with_its_sigmas() -> None:
    for name, sigma in zip(COCO.keypoints, COCO.sigmas, strict=True):
        assert BODY.sigmas[BODY.index[name]] == sigma
    assert set(BODY.keypoints) - set(COCO.keypoints) == {"neck"}


def test_coco_sigmas_are_those_of_pycocotools() -> None:
    from pycocotools.cocoeval import Params

    assert pytest.approx(Params("keypoints").kpt_oks_sigmas) == COCO.sigmas


@pytest.mark.parametrize(
    ("keypoints", "limbs", "sigmas"),
    [
        (("a", "a"), (), (0.1, 0.1)),
        (("a", "b"), (("a", "c"),), (0.1, 0.1)),
        (("a", "b"), (), (0.1,)),
    ],
)
def test_a_contradictory_skeleton_is_refused(keypoints, limbs, sigmas) -> None:
    with pytest.raises(ValueError, match="keypoint|sigmas"):
        Skeleton(keypoints, limbs, sigmas)
