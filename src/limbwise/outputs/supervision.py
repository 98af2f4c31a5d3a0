"""People as `supervision.KeyPoints`, for that library's zones, annotators and data sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import BadInput
from ..pose import Pose


def keypoints(poses: Sequence[Pose]) -> Any:
    """P people of K keypoints as KeyPoints: xy (P, K, 2), confidence (P, K), class 0; the ids of
    tracked people in data["tracker_id"], -1 for none. BadInput if it is not installed."""
    try:
        import supervision
    except ImportError:
        raise BadInput("sv.KeyPoints need supervision: pip install supervision") from None
    if not poses:
        return supervision.KeyPoints.empty()
    ids = [-1 if pose.id is None else pose.id for pose in poses]
    values = {
        "xy": np.nan_to_num(np.stack([pose.xy for pose in poses])),
        "class_id": np.zeros(len(poses), int),
        "data": {"tracker_id": np.array(ids)},
        "keypoint_confidence": np.stack([pose.confidence for pose in poses]),
        "detection_confidence": np.array([pose.score for pose in poses], np.float32),
    }
    known = supervision.KeyPoints.__dataclass_fields__
    if "keypoint_confidence" not in known:  # before supervision 0.27
        values["confidence"] = values["keypoint_confidence"]
    return supervision.KeyPoints(**{name: values[name] for name in values if name in known})
