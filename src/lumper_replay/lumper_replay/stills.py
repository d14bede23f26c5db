"""Still pictures for reports: one PNG for each plan, with the cartons, the arm, and why each other carton was not chosen."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from lumper_replay.names import Names
from lumper_replay.reader import Bag
from lumper_replay.redo import topic_class
from lumper_replay.scene import MODES, STATES, Scene, boxes, grasp, robot_of

_FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
_TOPICS = ("/tf", "/tf_static", "joint_states", "wall", "plan", "safety/state", "job/state")
_REASONS = 14


def write(bag: Bag, folder: Path) -> list[Path]:
    """Draw every plan of a recording; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = Names(bag)
    scene = Scene(robot_of(bag))
    wanted = {absolute for absolute, name in names.known.items() if name in _TOPICS}
    made: list[Path] = []
    for message in bag.messages(wanted):
        name = names.known[message.topic]
        decoded = bag.decoded(message.topic, message.data, topic_class(name))
        if decoded is None:
            continue
        scene.take(name, decoded)
        if name == "plan" and scene.wall is not None:
            path = folder / f"plan_{len(made):03d}.png"
            _draw(scene, path)
            made.append(path)
    return made


def _draw(scene: Scene, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    plan = scene.plan
    figure = Figure(figsize=(12, 6.5), dpi=100)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0.0, 0.02, 0.62, 0.88), projection="3d")
    reach: list[Any] = []
    for box in boxes(scene.wall, scene.picked()):
        corners = box.corners()
        reach.append(corners)
        colour = tuple(value / 255 for value in box.colour)
        faces = [corners[list(face)] for face in _FACES]
        axes.add_collection3d(Poly3DCollection(faces, facecolors=(*colour, 0.75), edgecolors="#333333", linewidths=0.5))
        axes.text(*(box.centre - [box.half[0], 0, 0]), str(box.ident), fontsize=7, ha="center")
    for number, pick in enumerate(plan.picks):
        start, end = grasp(pick)
        axes.plot(*np.array([start, end]).T, color="#1976d2", linewidth=2)
        axes.text(*end, f"pick {number + 1}", color="#1976d2", fontsize=8)
    arm = scene.arm()
    if arm is not None:
        for a, b, radius in zip(*arm, strict=True):
            axes.plot(*np.array([a, b]).T, color="#ef6c00", linewidth=max(2.0, radius * 60), solid_capstyle="round")
        reach += [arm[0], arm[1]]
    if reach:
        every = np.concatenate(reach)
        low, high = every.min(axis=0), every.max(axis=0)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.set_zlim(low[2], high[2])
        axes.set_box_aspect(np.maximum(high - low, 0.3))
    axes.view_init(elev=22, azim=205)
    axes.set_xlabel("x, m")
    axes.set_ylabel("y, m")
    axes.set_zlabel("z, m")
    stamp = plan.header.stamp
    mode = "unknown" if scene.safety is None else MODES.get(scene.safety.mode, str(scene.safety.mode))
    figure.text(
        0.02, 0.96, f"{stamp.sec + stamp.nanosec * 1e-9:.2f} s   plan {plan.plan_id[:8]}   wall {plan.wall_version}"
    )
    figure.text(0.02, 0.925, f"safety: {mode}   {plan.text}"[:110], fontsize=9)
    lines = [f"takes {', '.join(str(list(pick.carton_ids)) for pick in plan.picks) or 'nothing'}", ""]
    for row in plan.rejected[:_REASONS]:
        lines += textwrap.wrap(f"{row.carton_id}: {row.text}", 58, subsequent_indent="    ")
    if len(plan.rejected) > _REASONS:
        lines.append(f"… {len(plan.rejected) - _REASONS} more")
    figure.text(0.63, 0.9, "\n".join(lines), fontsize=8, va="top", family="monospace")
    legend = "   ".join(name for name, _ in STATES.values())
    figure.text(0.02, 0.01, f"blue: chosen; brown, grey, green, red, violet: {legend}", fontsize=8)
    figure.savefig(path)
