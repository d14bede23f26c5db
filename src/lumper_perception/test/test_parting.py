"""Faces that run over two cartons, and how their neighbours part them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lumper_perception.boxes import Faces
from lumper_perception.hypotheses import MergeLimits, boxes_of
from lumper_perception.parting import STEP_M, parted

LIMITS = MergeLimits()


def face(centre: list[float], rotation: np.ndarray, size: tuple[float, float], hidden: tuple[int, ...] = ()) -> Faces:
    sides = np.zeros((1, 4), dtype=bool)
    sides[0, list(hidden)] = True
    one = np.ones(1)
    return Faces(
        np.array([centre]), rotation[None], np.array([size]), np.array([np.nan]), 0.002 * one, 0.002 * one, 0.003 * one,
        0.9 * one, np.array([np.nan]), sides,
    )  # fmt: skip


def together(*faces: Faces) -> Faces:
    return Faces(*(np.concatenate([getattr(each, name) for each in faces]) for name in Faces.__slots__))


def row(widths: list[float], out: list[float], height: float, depth: float, top_out: float) -> Faces:
    """Cartons in a row from y = 0 to the right, fronts at x = 4 - out, of which only one top is told, from `top_out` to the back."""
    front, left = [], 0.0
    for width, by in zip(widths, out, strict=True):
        rotation = np.column_stack([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
        front.append(face([4.0 - by, left - width / 2.0, height / 2.0], rotation, (width, height)))
        left -= width
    rotation = np.column_stack([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    top = face([4.0 + (depth - top_out) / 2.0, left / 2.0, height], rotation, (-left, depth + top_out))
    return together(*front, top)


def turned(faces: Faces, yaw: float) -> Faces:
    turn = Rotation.from_euler("z", yaw).as_matrix()
    kept = {name: getattr(faces, name) for name in Faces.__slots__}
    return Faces(**(kept | {"centre": faces.centre @ turn.T, "rotation": turn @ faces.rotation}))


@given(
    st.lists(st.floats(0.15, 0.5), min_size=2, max_size=4),
    st.floats(STEP_M + 0.015, 0.12),
    st.floats(0.2, 0.5),
    st.floats(0.25, 0.6),
    st.floats(0.0, 1.0),
    st.floats(-0.6, 0.6),
)
def test_a_top_over_fronts_that_stand_out_by_turns_is_as_many_tops(
    widths: list[float], step: float, height: float, depth: float, share: float, yaw: float
) -> None:
    assume(max(widths) < 0.8 * sum(widths))
    out = [step * (k % 2) for k in range(len(widths))]
    faces = turned(row(widths, out, height, depth, share * step), yaw)
    cut = parted(faces, LIMITS.edge_m, LIMITS.perpendicular)
    assert len(cut) == 2 * len(widths)
    boxes = boxes_of(faces)
    assert len(boxes) == len(widths)
    by_place = np.argsort(-(boxes.anchor @ Rotation.from_euler("z", yaw).as_matrix())[:, 1])
    size = (boxes.offset[:, 3:] - boxes.offset[:, :3])[by_place]
    assert size[:, 1] == pytest.approx(np.array(widths), abs=0.005)
    assert size[:, 0] == pytest.approx(np.array([depth + by for by in out]), abs=0.01)
    assert size[:, 2] == pytest.approx(height, abs=0.005)


@given(
    st.lists(st.floats(0.15, 0.5), min_size=1, max_size=4),
    st.floats(0.0, STEP_M),
    st.floats(0.2, 0.5),
    st.floats(0.25, 0.6),
)
def test_a_top_over_flush_fronts_or_its_own_front_stays_one(
    widths: list[float], step: float, height: float, depth: float
) -> None:
    faces = row(widths, [step * (k % 2) for k in range(len(widths))], height, depth, 0.0)
    assert len(parted(faces, LIMITS.edge_m, LIMITS.perpendicular)) == len(faces)


def test_what_stands_in_front_of_a_carton_below_its_top_parts_nothing() -> None:
    whole = row([0.5], [0.0], 0.4, 0.3, 0.0)
    before = row([0.2, 0.25], [0.3, 0.5], 0.25, 0.2, 0.5)
    assert (
        len(parted(together(whole, before.take(np.array([0, 1]))), LIMITS.edge_m, LIMITS.perpendicular))
        == len(whole) + 2
    )
