"""`python -m lumper_core wall.json|bag.mcap [--draw plan.png]`: plan a wall, say why, and draw it."""

import argparse
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import InputError, Outcome, Plan, Planner, Reason, read_wall

COLOURS = {
    None: "#4c9f70",
    Reason.COSTLIER: "#9fd8b4",
    Reason.BLOCKED: "#c9c9c9",
    Reason.UNSTABLE: "#d1495b",
    Reason.STROKE_UNSAFE: "#edae49",
    Reason.UNDECIDED: "#8d6a9f",
}
OTHER = "#7fa6c9"


def corners(box: NDArray[np.void]) -> NDArray[np.float64]:
    """(8, 3) corners of a box, trailer frame."""
    x, y, z, w = box["orientation"]
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    signs = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    return np.asarray(box["position"] + (signs * box["size"]) @ turn.T)


def draw(boxes: NDArray[np.void], plan: Plan, path: str) -> None:
    """Write the wall as seen from the door, coloured by verdict, picks numbered."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    order = {box_id: str(k + 1) for k, pick in enumerate(plan.picks) for box_id in pick.carton_ids}
    reason = {rejection.carton_id: rejection.reason for rejection in plan.rejected}
    figure = pyplot.figure(figsize=(10, 8))
    axes: Any = figure.add_subplot(projection="3d")
    faces = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
    for box in boxes:
        points = corners(box)
        box_id = int(box["id"])
        colour = COLOURS.get(None if box_id in order else reason.get(box_id), OTHER)
        axes.add_collection3d(
            Poly3DCollection([points[list(f)] for f in faces], facecolor=colour, edgecolor="#333333", linewidth=0.4)
        )
        if box_id in order:
            axes.text(
                points[:, 0].min() - 0.05, *box["position"][1:], order[box_id], fontsize=12, weight="bold", zorder=9
            )
    low, high = boxes["position"].min(axis=0) - 0.5, boxes["position"].max(axis=0) + 0.5
    axes.set(
        xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(0, high[2]), xlabel="x m", ylabel="y m", zlabel="z m"
    )
    axes.set_box_aspect(np.maximum(high - [low[0], low[1], 0.0], 0.1))
    axes.view_init(elev=18, azim=205)
    axes.legend(handles=[Patch(color=c, label="pick" if r is None else r.name.lower()) for r, c in COLOURS.items()])
    axes.set_title(plan.text)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: there is a plan; 1: nothing can be taken; 2: the input is bad."""
    parser = argparse.ArgumentParser(prog="python -m lumper_core", description=__doc__)
    parser.add_argument("wall", help="JSON wall, or MCAP bag with lumper_msgs/Wall")
    parser.add_argument("--draw", metavar="PNG", help="write a picture of the wall and the plan")
    parser.add_argument("--base-x", type=float, help="x of base_link in the trailer, m (default: working distance)")
    parser.add_argument("--budget-s", type=float, default=1.0)
    options = parser.parse_args(arguments)
    try:
        boxes, trailer = read_wall(options.wall)
        front = float((boxes["position"][:, 0] - 0.5 * boxes["size"][:, 0]).min()) if len(boxes) else 0.0
        base_x = front - 1.9 if options.base_x is None else options.base_x
        plan = Planner(trailer=trailer).plan(boxes, base=(base_x, 0.0, 0.0), budget_s=options.budget_s)
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{plan.text}  ({plan.planning_s * 1e3:.1f} ms)")
    for number, pick in enumerate(plan.picks, 1):
        print(
            f"{number:3d}. take {pick.carton_ids} by {pick.stroke.name} at {np.round(pick.grasp_position, 3).tolist()}, "
            f"{pick.mass_kg:.1f} kg, {pick.expected_s:.2f} s, proof {pick.certificate:016x}"
        )
    for rejection in plan.rejected:
        print(f"     not {rejection.carton_id}: {rejection.reason.name}: {rejection.text}")
    if options.draw and len(boxes):
        draw(boxes, plan, options.draw)
    return 0 if plan.outcome == Outcome.NONE else 1


if __name__ == "__main__":
    sys.exit(main())
