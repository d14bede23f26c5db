"""Lower ends of faces that lie where a carton in front of them ends: what is below that line nobody saw.

Where a carton stands a few cm behind a lower one, the step between the two drowns in the noise, and the visible part of its face
ends at the other's outline as it would at an edge of its own. From the boxes alone that can be told.
"""

import numpy as np

from lumper_perception.boxes import Array, Bools

# An end and an outline nearer to each other than this are the same line in the picture, m.
SAME_LINE_M = 0.025
# What hides an end stands out before the face by at least this, and ends no further before it than that, m.
STANDS_OUT_M, BEFORE_M = 0.05, 0.5
# Of an end so much must lie at outlines of cartons in front.
COVERED_SHARE = 0.5
# How far a face is taken to go on below an outline, m.
GOES_ON_M = 0.10


def ends_at_outlines(eye: Array, low: Array, high: Array, doubtful: Bools) -> Bools:
    """(N,) cartons the lower end of whose front is only the outline of cartons in front of it.

    Args:
        eye: (N, 3) where the camera was that showed each carton; NaN = none, nothing is said of its end. low, high: (N, 3) corners
            of the boxes round the cartons. Frame trailer, m.
        doubtful: (N,) whose front was seen and that is known to stand on nothing: the others end where they were seen to end.
    """
    face_x, top = low[:, None, 0], high[None, :, 2]
    eye_x, eye_z = eye[:, None, 0], eye[:, None, 2]
    # [i, j]: carton j stands in front of the face of carton i.
    back_x = np.minimum(high[None, :, 0], face_x)
    front = (low[None, :, 0] < face_x - STANDS_OUT_M) & (face_x - back_x <= BEFORE_M) & (low[None, :, 0] > eye_x)
    # From above, the line of sight that just passes over it meets its back edge, else its front edge.
    edge_x = np.where(eye_z >= top, back_x, low[None, :, 0])
    outline = top - (eye_z - top) / np.maximum(edge_x - eye_x, 1e-6) * (face_x - edge_x)
    hides = front & (np.abs(low[:, None, 2] - outline) < SAME_LINE_M)
    common_m = np.minimum(high[:, None, 1], high[None, :, 1]) - np.maximum(low[:, None, 1], low[None, :, 1])
    covered_m = (np.maximum(common_m, 0.0) * hides).sum(axis=1)
    result: Bools = doubtful & (covered_m > COVERED_SHARE * (high - low)[:, 1])
    return result
