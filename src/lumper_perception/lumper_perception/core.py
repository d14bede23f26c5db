"""Logic of perception_intake: messages in, one tracked and versioned Wall out."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from lumper_msgs.msg import Wall

from lumper_perception.arm import ArmHistory
from lumper_perception.boxes import Array, Bools, Boxes, Faces
from lumper_perception.evidence import Cloud, behind_robot, face_evidence, fit_intrinsics, free_of_robot
from lumper_perception.hold import GripperStory
from lumper_perception.hypotheses import boxes_of
from lumper_perception.inputs import Inputs, Taken
from lumper_perception.parameters import PerceptionParameters
from lumper_perception.space import SpaceMap
from lumper_perception.tracker import Report, Tracker, TrackerLimits
from lumper_perception.validate import Fault
from lumper_perception.view import Intrinsics, View
from lumper_perception.wall import Picture, WallBook, WallLimits, picture
from lumper_ros.convert import inverse
from lumper_ros.core import NOTHING, Compute, Core, Diagnose, Effect, Effects, Emit, Now, Persist, Publish, Severity
from lumper_ros.robot import Robot, Trailer
from lumper_ros.tf import TransformBuffer, TransformError

# Clouds given to the worker at a time: it goes on with the next while this thread tracks what it found in the last.
AHEAD = 2
IDS_RESERVED = 1000
VERSIONS_RESERVED = 100_000
# A face that the robot cuts holds pixels of the robot: its plane is known no better (standard deviations).
PART_SIGMA_M = 0.01
PART_SIGMA_RAD = 0.05

Segmenter = Callable[[Cloud, Any, Intrinsics, Array], Faces]


@dataclass(frozen=True, slots=True)
class _Shot:
    """A cloud to be segmented, with the poses (4x4, trailer) of its camera and of the base when it was taken."""

    item: Taken
    camera: Array
    base: Array


class PerceptionIntake(Core):
    """One wall from detections and clouds.

    Args:
        segment: finds carton faces in an organised cloud (optical frame); needed when `detector` is cloud or both.
    """

    def __init__(
        self, parameters: PerceptionParameters, robot: Robot, trailer: Trailer, segment: Segmenter | None = None
    ) -> None:
        p = self._p = parameters
        self._robot, self._trailer, self._segment = robot, trailer, segment
        self._frames = TransformBuffer(history_s=3.0, extrapolation_s=0.03)
        self._arm = ArmHistory(robot)
        self._story = GripperStory()
        self._space = SpaceMap(trailer.length_m, trailer.width_m, trailer.height_m)
        self._inputs = Inputs(p)
        self._cameras: dict[str, Intrinsics] = {}
        self._pending: list[Taken] = []
        self._tracker = Tracker(
            TrackerLimits(
                confirm_hits=p.confirm_hits,
                gone_misses=p.gone_misses,
                moved_m=p.moved_m,
                moved_rad=p.moved_rad,
                assumed_size_m=p.assumed_size_m,
                min_size_m=p.min_size_m,
                max_size_m=p.max_size_m,
                back_x_m=trailer.length_m,
            )
        )
        self._book = WallBook(
            WallLimits(
                p.pose_change_m, p.pose_change_rad, p.size_change_m, p.density_kgpm3, p.density_sigma, p.friction
            )
        )
        self._picture: Picture | None = None
        self._job_id = ""
        self._reserved_id = 0
        self._reserved_version = 0
        self._evidence_s: dict[str, float] = {}
        self._published_s = -np.inf
        self._published_evidence_s = -np.inf
        self._looked_s = -np.inf
        self._segmenting: deque[_Shot] = deque()
        self._waiting: dict[str, _Shot] = {}
        self._base_x = 0.0
        self._skipped = 0
        self._faults: dict[str, int] = {}
        self._last_fault = ""
        self._diagnosed_s = -np.inf
        self._coverage_seen = 0.0
        self._status = Wall.STATUS_UNKNOWN
        self._removed: list[int] = []
        self._moved: list[int] = []
        self._active = False

    # Life

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: Now) -> Effects:
        reserved = records.get("wall", {}).get("reserved")
        if reserved is not None:
            self._tracker.next_id = int(reserved["id"])
            self._book.version = int(reserved["version"])
        return NOTHING

    def activate(self, now: Now) -> Effects:
        self._active = True
        self._segmenting.clear()
        return [*self._reserve(), *self._publish(now, force=True)]

    def deactivate(self, now: Now) -> Effects:
        self._active = False
        self._pending.clear()
        self._waiting.clear()
        return NOTHING

    def _reserve(self) -> list[Effect]:
        """After a restart no id and no version may come again: both are reserved in blocks before they are used."""
        if self._tracker.next_id + 200 < self._reserved_id and self._book.version + 1000 < self._reserved_version:
            return []
        self._reserved_id = self._tracker.next_id + IDS_RESERVED
        self._reserved_version = self._book.version + VERSIONS_RESERVED
        return [Persist("wall", "reserved", {"id": self._reserved_id, "version": self._reserved_version})]

    # Inputs

    def message(self, name: str, message: Any, now: Now) -> Effects:
        handler = {
            "joint_states": self._on_joints,
            "/tf": self._on_tf,
            "/tf_static": self._on_tf_static,
            "detections": self._on_detections,
            "points": self._on_points,
            "motion/state": self._on_motion,
            "job/state": self._on_job,
        }.get(name)
        return NOTHING if handler is None else handler(message, now)

    def _on_joints(self, message: Any, now: Now) -> Effects:
        fault = self._arm.add(message)
        if fault:
            self._count("joints", fault)
        return NOTHING

    def _on_tf(self, message: Any, now: Now) -> Effects:
        for fault in self._frames.add(message.transforms):
            self._count("transform", fault)
        return self._drain(now) if self._pending else NOTHING

    def _on_tf_static(self, message: Any, now: Now) -> Effects:
        for fault in self._frames.add(message.transforms, static=True):
            self._count("transform", fault)
        return self._drain(now) if self._pending else NOTHING

    def _on_job(self, message: Any, now: Now) -> Effects:
        self._job_id = message.job_id
        return NOTHING

    def _on_motion(self, message: Any, now: Now) -> Effects:
        tool = self._tool(now.ros_s)
        if tool is not None:
            self._tracker.carry(tool)
        delivered, lost = self._story.follow(message, self._tracker, tool, now.ros_s)
        effects: list[Effect] = [
            self._event("perception.removed", f"carton {one} was delivered", one) for one in delivered
        ]
        for carton_id in lost:
            text = f"carton {carton_id} left the gripper elsewhere than on the conveyor; looking for it"
            if not self._can_be_found(carton_id):
                # No picture would ever show that place empty: it would stand in the arm's way for good.
                self._tracker.forget(carton_id)
                text = f"carton {carton_id} left the gripper over the conveyor, or beside the robot, where no load is looked for"
            effects.append(self._event("perception.lost", text, carton_id, Severity.WARN))
        if delivered or lost:
            self._removed += delivered + lost
            self._picture = None
        return [*effects, *self._publish(now)]

    def _on_detections(self, message: Any, now: Now) -> Effects:
        if self._p.detector == "cloud":
            return NOTHING
        item = self._inputs.detections(message, now)
        if item is None:
            return NOTHING
        self._pending.append(item)
        return self._drain(now)

    def _on_points(self, message: Any, now: Now) -> Effects:
        item = self._inputs.points(message, now)
        if item is None:
            return NOTHING
        self._pending.append(item)
        return self._drain(now)

    # Pictures, once their transform is there

    def _drain(self, now: Now) -> Effects:
        effects: list[Effect] = []
        waiting = []
        for item in self._pending:
            try:
                camera = self._frames.lookup("trailer", item.frame, item.stamp_s)
                base = self._frames.lookup("trailer", "base_link", item.stamp_s)
            except TransformError as error:
                if now.steady_s < item.give_up_s:
                    waiting.append(item)
                else:
                    self._inputs.drop(item.key, Fault("no_transform", str(error)), now.ros_s)
                continue
            speed_mps = self._camera_speed(item.frame, item.stamp_s, camera)
            if speed_mps > self._p.max_camera_speed_mps:
                self._inputs.drop(item.key, Fault("blur", f"the camera moves at {speed_mps:.2f} m/s"), now.ros_s)
                continue
            if item.cloud is not None:
                effects += self._take_cloud(item, camera, base, now)
            elif item.faces is not None:
                effects += self._take_faces(item.faces, item.coverage, item.frame, item.stamp_s, camera, base, now)
        self._pending = waiting
        return effects

    def _camera_speed(self, frame: str, stamp_s: float, camera: Array) -> float:
        try:
            before = self._frames.lookup("trailer", frame, stamp_s - 0.1)
        except TransformError:
            return 0.0
        return float(np.linalg.norm(camera[:3, 3] - before[:3, 3])) / 0.1

    def _intrinsics(self, frame: str) -> Intrinsics:
        known = self._cameras.get(frame)
        if known is not None:
            return known
        camera = self._robot.raw["camera"]
        return Intrinsics.of_field_of_view(
            float(camera["hfov_rad"]),
            int(camera["width_px"]),
            int(camera["height_px"]),
            float(camera["range_min_m"]),
            float(camera["range_max_m"]),
        )

    def _take_faces(
        self,
        faces: Faces,
        coverage: float,
        frame: str,
        stamp_s: float,
        camera: Array,
        base: Array,
        now: Now,
        self_found: bool = False,
    ) -> Effects:
        arm, tool = self._arm.at(stamp_s, base)
        view = View(camera, self._intrinsics(frame), arm)
        faces = faces.transformed(camera)
        if self_found:
            # A plane found in a cloud may be the robot's own; an upstream detector knows cartons.
            faces = faces.take(free_of_robot(faces.centre, arm, None))
        if tool is not None:
            self._tracker.carry(tool)
        if self_found:
            faces = self._beside_robot(faces, view)
        boxes = boxes_of(faces)
        boxes = boxes.take(self._of_interest(boxes, base))
        before = self._now_picture()
        touched = self._story.explain(
            before,
            tool,
            self._p.touched_reach_m,
            self._p.touched_neighbour_m,
            stamp_s + self._p.touched_memory_s,
            stamp_s,
        )
        shows_absence = coverage >= self._p.min_view_coverage
        report = Report()
        if shows_absence or len(boxes):
            report = self._tracker.observe(boxes, view, stamp_s, touched, from_cloud=self_found)
        if self._story.touching and tool is not None:
            self._tracker.drop_near(tool[:3, 3] + 0.25 * tool[:3, 2], 0.75)
        self._looked_s = max(self._looked_s, stamp_s)
        self._coverage_seen = coverage
        self._picture = None
        return [*self._reported(report, now), *self._publish(now)]

    def _beside_robot(self, faces: Faces, view: View) -> Faces:
        """Faces found in a cloud, those that the robot's outline cuts taken for what they are: parts of cartons known."""
        cut = behind_robot(faces, view, self._tracker.held_boxes())
        part = cut.any(axis=1)
        known = self._tracker.part_of_known(faces.centre, faces.rotation[:, :, 2])
        faces = replace(
            faces,
            hidden=faces.hidden | cut,
            position_sigma=np.where(part, np.maximum(faces.position_sigma, PART_SIGMA_M), faces.position_sigma),
            rotation_sigma=np.where(part, np.maximum(faces.rotation_sigma, PART_SIGMA_RAD), faces.rotation_sigma),
        )
        return faces.take(~part | known)

    def _of_interest(self, boxes: Boxes, base: Array) -> Bools:
        """Boxes inside the trailer and not on the robot's own conveyor."""
        return self._load_may_stand(boxes.face_centre() - 0.1 * boxes.normal(), base)

    def _can_be_found(self, carton_id: int) -> bool:
        """Whether pictures are judged where this carton is."""
        try:
            base = self._frames.lookup("trailer", "base_link")
        except TransformError:
            return True
        assumed = self._tracker.assumed_depth()
        places = [track.centre(assumed) for track in self._tracker.tracks if track.id == carton_id]
        return bool(self._load_may_stand(np.array(places).reshape(-1, 3), base).all())

    def _load_may_stand(self, centre: Array, base: Array) -> Bools:
        """(N,) of places (N, 3) in trailer."""
        margin = self._p.trailer_margin_m
        t = self._trailer
        good = (
            (np.abs(centre[:, 1]) < t.width_m / 2.0 + margin)
            & (centre[:, 2] > -margin)
            & (centre[:, 2] < t.height_m + margin)
        )
        good &= (centre[:, 0] > -t.dock_length_m) & (centre[:, 0] < t.length_m + margin)
        to_base = inverse(base)
        local = centre @ to_base[:3, :3].T + to_base[:3, 3]
        belt = self._robot.conveyor
        on_belt = (local[:, 0] < belt.front_x_m + 0.15) & (local[:, 0] > belt.end_x_m - 1.0)
        on_belt &= (np.abs(local[:, 1] - belt.center_y_m) < belt.width_m / 2.0 + 0.1) & (
            local[:, 2] > belt.surface_z_m - 0.1
        )
        # Nothing that stands beside or behind the robot is load to be planned.
        return np.asarray(good & ~on_belt & (local[:, 0] > 0.6))

    def _take_cloud(self, item: Taken, camera: Array, base: Array, now: Now) -> Effects:
        assert item.cloud is not None
        near_m, far_m = float(self._robot.raw["camera"]["range_min_m"]), float(self._robot.raw["camera"]["range_max_m"])
        if item.frame not in self._cameras or self._cameras[item.frame].width != item.cloud.shape[1]:
            fitted = fit_intrinsics(item.cloud, near_m, far_m)
            if fitted is not None:
                self._cameras[item.frame] = fitted
        effects: list[Effect] = []
        if item.stamp_s - self._evidence_s.get(item.key, -np.inf) >= self._p.evidence_period_s * 0.9:
            self._evidence_s[item.key] = item.stamp_s
            effects += self._look_around(item.cloud, item.frame, item.stamp_s, camera, base, now)
        if self._p.detector == "detections" or self._segment is None:
            return effects
        shot = _Shot(item, camera, base)
        if len(self._segmenting) < AHEAD:
            return [*effects, self._segmented(shot)]
        # The newest of each camera waits, and the cameras take turns in the order in which they began to wait.
        self._skipped += item.key in self._waiting
        self._waiting[item.key] = shot
        return effects

    def _segmented(self, shot: "_Shot") -> Compute:
        self._segmenting.append(shot)
        item = shot.item
        assert self._segment is not None and item.cloud is not None
        up = shot.camera[:3, :3].T[:, 2]
        return Compute("segment", partial(self._segment, item.cloud, item.colour, self._intrinsics(item.frame), up))

    def computed(self, tag: str, result: Any, now: Now) -> Effects:
        shot = self._segmenting.popleft()
        effects: list[Effect] = []
        if self._waiting:
            effects.append(self._segmented(self._waiting.pop(next(iter(self._waiting)))))
        item = shot.item
        if isinstance(result, Exception):
            self._inputs.drop(item.key, Fault("segmentation", f"{type(result).__name__}: {result}"), now.ros_s)
            return effects
        faces = self._take_faces(result, 1.0, item.frame, item.stamp_s, shot.camera, shot.base, now, self_found=True)
        return [*effects, *faces]

    def _look_around(self, cloud: Cloud, frame: str, stamp_s: float, camera: Array, base: Array, now: Now) -> Effects:
        """Free floor, back wall, and faces that are still there or not, from one cloud."""
        arm, tool = self._arm.at(stamp_s, base)
        stride = max(1, cloud.shape[1] // self._p.evidence_columns)
        local = cloud[::stride, ::stride].reshape(-1, 3).astype(float)
        local = local[np.isfinite(local).all(axis=1)]
        points = local @ camera[:3, :3].T + camera[:3, 3]
        to_base = inverse(base)
        ahead = points @ to_base[0, :3] + to_base[0, 3] > self._robot.conveyor.front_x_m + 0.05
        local, points = local[ahead], points[ahead]
        held_at = tool[:3, 3] + 0.2 * tool[:3, 2] if tool is not None and self._story.held else None
        good = free_of_robot(points, arm, held_at)
        self._space.update(points[good], np.linalg.norm(local[good], axis=1), stamp_s)
        self._base_x = float(base[0, 3])
        view = View(camera, self._intrinsics(frame), arm)
        removed: list[int] = []
        assumed, trailer = self._tracker.assumed_depth(), self._trailer
        for evidence in face_evidence(cloud, view, self._tracker.tracks, assumed, trailer.length_m, trailer.width_m):
            removed += self._tracker.depth_evidence(evidence.carton_id, evidence.agrees, evidence.beyond, stamp_s)
        if removed:
            self._picture = None
        return [*self._reported(Report(removed=removed), now), *self._publish(now)]

    # Output

    def _tool(self, stamp_s: float) -> Array | None:
        try:
            base = self._frames.lookup("trailer", "base_link")
        except TransformError:
            return None
        return self._arm.at(stamp_s, base)[1]

    def _now_picture(self) -> Picture:
        if self._picture is None:
            self._picture = picture(self._tracker.confirmed(), self._tracker.assumed_depth())
        return self._picture

    def _reported(self, report: Report, now: Now) -> list[Effect]:
        effects: list[Effect] = [
            self._event("perception.gone", f"carton {one} is no longer where it was", one) for one in report.removed
        ]
        for carton_id in report.moved:
            text = f"carton {carton_id} moved without being touched"
            effects.append(self._event("perception.moved_untouched", text, carton_id, Severity.WARN))
        self._removed += report.removed
        self._moved += report.moved
        return effects

    def _event(self, code: str, text: str, carton_id: int, severity: Severity = Severity.INFO) -> Emit:
        return Emit(
            code,
            text,
            severity,
            job_id=self._job_id,
            values={"carton_id": carton_id, "wall_version": self._book.version},
        )

    def _evidence_stamp(self) -> float:
        return self._looked_s

    def _judge(self, now: Now) -> tuple[int, str]:
        """Status of the wall, and why."""
        stamp_s = self._evidence_stamp()
        if not np.isfinite(stamp_s):
            return Wall.STATUS_UNKNOWN, "nothing has been seen yet"
        age_s = now.ros_s - stamp_s
        if age_s > self._p.wall_max_age_s:
            return (
                Wall.STATUS_STALE,
                f"the newest evidence is {age_s:.1f} s old, {self._p.wall_max_age_s} s are allowed",
            )
        count = len(self._tracker.confirmed())
        if count:
            return Wall.STATUS_OK, f"{count} cartons"
        if self._tracker.tracks:
            return Wall.STATUS_OK, "something was seen that is not sure to be a carton yet"
        if self._space.updates == 0:
            return Wall.STATUS_OK, "no carton seen; without clouds nothing proves the trailer empty"
        proof = self._space.emptiness(max(0.0, self._base_x + self._p.floor_view_from_m), now.ros_s)
        if proof.empty() and self._coverage_seen >= self._p.min_view_coverage:
            return Wall.STATUS_EMPTY, f"no carton; {proof.text()}"
        return Wall.STATUS_OK, f"no carton seen, but not proved empty: {proof.text()}"

    def _publish(self, now: Now, force: bool = False) -> Effects:
        if not self._active:
            return NOTHING
        shown = self._now_picture()
        status, text = self._judge(now)
        changed = self._book.changed(shown, status, self._removed, self._moved)
        due = now.steady_s - self._published_s >= self._p.publish_period_s
        fresh = self._evidence_stamp() > self._published_evidence_s
        if not (changed or force or (due and (fresh or now.steady_s - self._published_s >= 0.95))):
            return NOTHING
        self._removed, self._moved = [], []
        self._published_s = now.steady_s
        self._published_evidence_s = self._evidence_stamp()
        low, high = shown.extents()
        seen = np.array([track.last_seen_s >= self._published_evidence_s for track in shown.tracks], dtype=bool)
        self._space.mark_looked(low[seen], high[seen], now.ros_s)
        proof = self._space.emptiness(0.0, now.ros_s)
        message = self._book.message(
            shown,
            status,
            text,
            self._evidence_stamp() if np.isfinite(self._evidence_stamp()) else 0.0,
            now.ros_s,
            self._space.unknown(low, high, now.ros_s),
            self._space.coverage(now.ros_s),
            proof.back_wall_x_m,
        )
        effects: list[Effect] = self._reserve()
        effects.append(Publish("wall", message))
        if status != self._status:
            self._status = status
            effects.append(Emit("perception.status", text, job_id=self._job_id, values={"status": status}))
        return effects

    # Health

    def _count(self, what: str, fault: str) -> None:
        self._faults[what] = self._faults.get(what, 0) + 1
        self._last_fault = fault

    def tick(self, now: Now) -> Effects:
        effects: list[Effect] = list(self._drain(now)) if self._pending else []
        effects += self._publish(now)
        if now.steady_s - self._diagnosed_s >= 1.0:
            self._diagnosed_s = now.steady_s
            effects += self._diagnoses(now)
        return effects

    def _diagnoses(self, now: Now) -> list[Effect]:
        status, text = self._judge(now)
        level = {Wall.STATUS_OK: 0, Wall.STATUS_EMPTY: 0, Wall.STATUS_STALE: 3}.get(status, 1)
        figures: dict[str, str | float | int | bool] = {
            "version": self._book.version,
            "cartons": len(self._tracker.confirmed()),
            "skipped_busy": self._skipped,
        }
        figures |= {f"dropped.{what}": count for what, count in sorted(self._faults.items())}
        if self._last_fault:
            figures["last_fault"] = self._last_fault
        return [*self._inputs.diagnoses(now), Diagnose("wall", level, text, figures)]
