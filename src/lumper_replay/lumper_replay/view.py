"""A recording in rerun: arm, cartons, plan, cloud, scans, safety mode and events on one timeline, arranged by a blueprint."""

import signal
from pathlib import Path
from typing import Any

import numpy as np

from lumper_replay.names import Names
from lumper_replay.reader import Bag, open_bag
from lumper_replay.redo import topic_class
from lumper_replay.scene import MODES, Scene, boxes, grasp, robot_of
from lumper_replay.writer import BagError

TIMELINE = "recording"
_TOPICS = (
    "/tf", "/tf_static", "joint_states", "wall", "plan", "safety/state", "job/state", "scan/front", "scan/rear", "points",
    "events", "gripper/state",
)  # fmt: skip
# The arm is drawn this often; joint_states come faster than a picture can.
_ARM_PERIOD_NS = 50_000_000
_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "CRITICAL"}


def _rerun() -> Any:
    try:
        import rerun
    except ImportError as error:
        raise BagError(
            "rerun-sdk is not installed: pip install rerun-sdk, or draw still pictures with --stills FOLDER"
        ) from error
    return rerun


def blueprint() -> Any:
    """How the viewer is arranged."""
    import rerun.blueprint as rrb

    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Spatial3DView(name="trailer", origin="/trailer"),
            rrb.Vertical(
                rrb.TextDocumentView(name="plan", origin="/plan"),
                rrb.TimeSeriesView(name="safety mode, speed", origin="/safety"),
                rrb.TimeSeriesView(name="vacuum", origin="/gripper"),
                rrb.TextLogView(name="events", origin="/events"),
                row_shares=[3, 2, 1, 3],
            ),
            column_shares=[3, 2],
        ),
        collapse_panels=True,
    )


class Converter:
    """Feeds a rerun recording with the messages of a bag."""

    def __init__(self, rerun: Any, bag: Bag) -> None:
        self._rr = rerun
        self._bag = bag
        self._names = Names(bag)
        self._scene = Scene(robot_of(bag))
        self._arm_ns = 0
        self.logged = 0

    def run(self) -> None:
        """All messages."""
        rr = self._rr
        rr.log("trailer", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        first_ns, _ = self._bag.span_ns()
        wanted = {absolute for absolute, name in self._names.known.items() if name in _TOPICS}
        for message in self._bag.by_stamp(wanted):
            name = self._names.known[message.topic]
            decoded = self._bag.decoded(message.topic, message.data, topic_class(name))
            if decoded is None:
                continue
            rr.set_time(TIMELINE, duration=(message.stamp_ns - first_ns) * 1e-9)
            self._scene.take(name, decoded)
            self._log(name, decoded, message.stamp_ns)

    def _log(self, name: str, message: Any, stamp_ns: int) -> None:
        match name:
            case "joint_states":
                if stamp_ns - self._arm_ns >= _ARM_PERIOD_NS:
                    self._arm_ns = stamp_ns
                    self._arm()
            case "wall":
                self._wall()
            case "plan":
                self._plan(message)
                self._wall()
            case "safety/state":
                self._put("safety/mode", self._rr.Scalars(float(message.mode)))
                self._put("safety/speed_scale", self._rr.Scalars(float(message.speed_scale)))
                text = "; ".join(cause.text for cause in message.causes)
                self._put("trailer/safety", self._rr.TextDocument(f"{MODES.get(message.mode, '?')} {text}"))
            case "gripper/state":
                self._put("gripper/vacuum_kpa", self._rr.Scalars(float(getattr(message, "vacuum_kpa", np.nan))))
            case "scan/front" | "scan/rear":
                self._points(f"trailer/{name}", self._scene.scan(message), (255, 235, 59), 0.012)
            case "points":
                self._points("trailer/cloud", self._scene.cloud(message), (120, 144, 156), 0.006)
            case "events":
                level = _LEVELS.get(message.severity, "INFO")
                self._put(f"events/{message.node}", self._rr.TextLog(f"{message.code}: {message.text}", level=level))

    def _put(self, path: str, what: Any) -> None:
        self._rr.log(path, what)
        self.logged += 1

    def _points(self, path: str, points: Any, colour: tuple[int, int, int], radius_m: float) -> None:
        if points is not None:
            self._put(path, self._rr.Points3D(points, colors=[colour], radii=[radius_m]))

    def _arm(self) -> None:
        arm = self._scene.arm()
        if arm is not None:
            strips = [np.array([a, b]) for a, b in zip(arm[0], arm[1], strict=True)]
            self._put("trailer/arm", self._rr.LineStrips3D(strips, radii=arm[2], colors=[(239, 108, 0)]))

    def _wall(self) -> None:
        if self._scene.wall is None:
            return
        drawn = boxes(self._scene.wall, self._scene.picked())
        from scipy.spatial.transform import Rotation

        turned = [Rotation.from_matrix(box.rotation).as_quat() for box in drawn]
        self._put(
            "trailer/cartons",
            self._rr.Boxes3D(
                centers=[box.centre for box in drawn],
                half_sizes=[box.half for box in drawn],
                quaternions=[self._rr.Quaternion(xyzw=each) for each in turned],
                colors=[box.colour for box in drawn],
                labels=[f"{box.ident} {box.state}" for box in drawn],
                show_labels=False,
                fill_mode="solid",
            ),
        )

    def _plan(self, plan: Any) -> None:
        ends = [grasp(pick) for pick in plan.picks]
        self._put(
            "trailer/plan",
            self._rr.Arrows3D(
                origins=[start for start, _ in ends],
                vectors=[end - start for start, end in ends],
                colors=[(25, 118, 210)],
                radii=[0.015],
            ),
        )
        lines = [f"**{plan.text}** (wall {plan.wall_version}, {plan.expected_s:.1f} s expected)", ""]
        lines += [f"- not {row.carton_id}: {row.text}" for row in plan.rejected]
        self._put("plan", self._rr.TextDocument("\n".join(lines), media_type="text/markdown"))


def run(path: Path, stills: Path | None, save: Path | None, serve: bool) -> int:
    """Show a recording; returns the exit code.

    Args:
        stills: folder for one PNG for each plan. save: .rrd file instead of a viewer. serve: web page on 127.0.0.1.

    Raises:
        BagError: the recording or rerun cannot be used.
    """
    bag = open_bag(path)
    if stills is not None:
        from lumper_replay.stills import write

        made = write(bag, stills)
        print(f"{len(made)} pictures in {stills}")
        if save is None and not serve:
            return 0
    rr = _rerun()
    rr.init("lumper_replay", recording_id=path.name)
    if save is not None:
        rr.save(str(save), default_blueprint=blueprint())
    elif serve:
        address = rr.serve_grpc(default_blueprint=blueprint())
        rr.serve_web_viewer(open_browser=False, connect_to=address)
        print(f"viewer: http://127.0.0.1:9090/?url={address}")
    else:
        rr.spawn(default_blueprint=blueprint())
    converter = Converter(rr, bag)
    converter.run()
    for fault in bag.faults_now():
        print(f"! {fault}")
    print(f"{converter.logged} entries")
    if serve:
        print("Ctrl-C ends the viewer")
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    rr.disconnect()
    return 0
