"""Lower ends of faces that lie where a carton in front of them ends: what is below that line nobody saw.

Where a carton stands a few cm behind a lower one, the step between the two drowns in the noise, and the visible part of its face
ends at the other's outline as it would at an edge of its own. From the boxes alone that can be told.
"""

import numpy as np

from lumper_perception.boxes import Array, Bools

# An end and an outline nearer to each other than this are the same line in the picture, m.
SAME_LINE_M = 0.025
# A carton in front stands out by at least the first, and no further before the face than the second, m.
FRONT_M = (0.05, 0.5)
# Of an end so much must lie at outlines of cartons in front.
COVERED_SHARE = 0.5
# What bears a carton overlaps it by more than the first, and its top is nearer to the carton's lower end than the second, m.
BEARS_M = (0.05, 0.03)
# How far a face is taken to go on below an outline, m.
GOES_ON_M = 0.10


def ends_at_outlines(eye: Array, low: Array, high: Array, front_seen: Bools) -> Bools:
    """(N,) cartons the lower end of whose front is only the outline of cartons in front of it.

    A carton that is known to stand on another, or on the floor, ends where it was seen to end.

    Args:
        eye: (3,) where the camera is. low, high: (N, 3) corners of the boxes round the cartons. Frame trailer, m.
        front_seen: (N,) whose face towards -x was seen.
    """
    if not len(low):
        return np.zeros(0, dtype=bool)
    face_x, top = low[:, None, 0], high[None, :, 2]
    # [i, j]: carton j stands in front of the face of carton i.
    back_x = np.minimum(high[None, :, 0], face_x)
    front = (low[None, :, 0] < face_x - FRONT_M[0]) & (face_x - back_x <= FRONT_M[1]) & (low[None, :, 0] > eye[0])
    # From above, the line of sight that just passes over it meets its back edge, else its front edge.
    edge_x = np.where(eye[2] >= top, back_x, low[None, :, 0])
    outline = top - (eye[2] - top) / np.maximum(edge_x - eye[0], 1e-6) * (face_x - edge_x)
    hides = front & (np.abs(low[:, None, 2] - outline) < SAME_LINE_M)
    # Few ends lie at an outline: only these are looked at closer.
    rows = np.flatnonzero(front_seen & hides.any(axis=1) & (low[:, 2] > BEARS_M[1]))
    common = np.minimum(high[rows, None, :2], high[None, :, :2]) - np.maximum(low[rows, None, :2], low[None, :, :2])
    covered = (np.maximum(common[..., 1], 0.0) * hides[rows]).sum(axis=1) > COVERED_SHARE * (high - low)[rows, 1]
    bears = (common > BEARS_M[0]).all(axis=2) & (np.abs(low[rows, None, 2] - top) < BEARS_M[1])
    bears[np.arange(len(rows)), rows] = False
    result = np.zeros(len(low), dtype=bool)
    result[rows] = covered & ~bears.any(axis=1)
    return result
