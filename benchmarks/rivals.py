"""ByteTrack and OC-SORT (from the package `trackers`) on limbwise's poses, for tracking.py.

They follow boxes: those round the keypoints of each pose. Their thresholds of confidence are those
from which limbwise's tracker takes a pose to be a person, since the scores of poses are lower than
those of the detectors that their defaults were made for; a person is shown at once, as limbwise
does, not after two or three pictures; and they are told the true times. Anything else would cost
them recall and say nothing of who confuses whom.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import supervision
from trackers import ByteTrackTracker, OCSORTTracker

from limbwise.pose import Pose

CONFIDENT = 0.2  # limbwise.Tracker's own default


class OnBoxes:
    """A tracker of boxes as a rule of tracking.py."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def update(self, poses: list[Pose], time: float) -> list[Pose]:
        rows = [n for n, pose in enumerate(poses) if pose.found.sum() > 1]
        found = supervision.Detections.empty()
        if rows:
            found = supervision.Detections(
                xyxy=np.array([poses[n].box for n in rows], np.float32),
                confidence=np.array([poses[n].score for n in rows], np.float32),
                class_id=np.zeros(len(rows), int),
                data={"row": np.array(rows)},
            )
        said = self._tracker.update(found, timestamp=time)
        ids = dict(zip(said.data.get("row", ()), said.tracker_id, strict=True)) if rows else {}
        return [
            replace(pose, id=int(ids[n]) if ids.get(n, -1) >= 0 else None)
            for n, pose in enumerate(poses)
        ]


def byte_track() -> Callable[[list[Pose], float], list[Pose]]:
    """Zhang et al. 2022 (arXiv 2110.06864)."""
    how = {"track_activation_threshold": CONFIDENT, "high_conf_det_threshold": CONFIDENT}
    return OnBoxes(ByteTrackTracker(minimum_consecutive_frames=1, **how)).update


def oc_sort() -> Callable[[list[Pose], float], list[Pose]]:
    """Cao et al. 2023 (arXiv 2203.14360)."""
    tracker = OCSORTTracker(minimum_consecutive_frames=1, high_conf_det_threshold=CONFIDENT)
    return OnBoxes(tracker).update
