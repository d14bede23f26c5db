"""Perception's figures: recorded boxes, simulated walls, latency, tracking. Writes build/bench/perception.json.

Run: python benchmark/bench_perception.py [--quick]. Peers are measured in the same run on the same clouds: region growing over
normals and smoothness as the Point Cloud Library does it (written plainly here), and Open3D's patches where it is installed.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import lumper_faces

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src/lumper_perception/test"))

from conftest import Rig, data_folder  # noqa: E402
from lumper_msgs.msg import Carton  # noqa: E402
from pcd import read_pcd  # noqa: E402
from perception_scenes import CAMERA, Load, Picture, Renderer, camera_pose, detect, face_frame, true_faces, wall  # noqa: E402
from plane_peers import open3d_planes, region_growing  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from lumper_perception.boxes import Faces  # noqa: E402
from lumper_perception.cloudfaces import segment  # noqa: E402
from lumper_perception.evidence import fit_intrinsics  # noqa: E402
from lumper_ros import cloud as clouds  # noqa: E402
from lumper_ros.convert import to_time  # noqa: E402

UP = np.array([0.0, 0.0, 1.0])


def packed(colour: np.ndarray) -> np.ndarray:
    c = colour.astype(np.uint32)
    return (c[..., 0] << 16) | (c[..., 1] << 8) | c[..., 2]


def box_ious(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """Best IoU of each labelled box (label >= 20) with a found segment."""
    result = []
    for label in np.unique(truth[truth >= 20]):
        mask = truth == label
        candidates = np.unique(found[mask])
        best = 0.0
        for candidate in candidates[candidates >= 0]:
            other = found == candidate
            best = max(best, float((mask & other).sum() / (mask | other).sum()))
        result.append(best)
    return result


def recorded(figures: dict, quick: bool) -> None:
    files = sorted((data_folder() / "mosd").glob("*.pcd"))
    if not files:
        print("recorded boxes: no data folder, left out")
        return
    ours, growing, open3d = [], [], []
    print("scene     ours (IoU per box)            region growing          open3d            ms")
    for path in files[:3] if quick else files:
        fields = read_pcd(path)
        points = np.stack([fields[name] for name in "xyz"], axis=-1)
        camera = fit_intrinsics(points, 0.3, 6.0)
        start = time.process_time()
        found = lumper_faces.segment(points, (camera.fx, camera.fy, camera.cx, camera.cy))
        elapsed_ms = 1e3 * (time.process_time() - start)
        box = np.where(found["label"] >= 0, found["box_of_plane"][np.clip(found["label"], 0, None)], -1)
        rows = [box_ious(fields["label"], box), box_ious(fields["label"], region_growing(points))]
        theirs = open3d_planes(points)
        rows.append(box_ious(fields["label"], theirs) if theirs is not None else [])
        for total, row in zip((ours, growing, open3d), rows, strict=True):
            total += row
        print(
            path.stem, *(" ".join(f"{v:.2f}" for v in row) or "absent" for row in rows), f"{elapsed_ms:.0f}", sep="   "
        )
    peers = f"region growing {np.mean(growing):.3f}" + (
        f", open3d {np.mean(open3d):.3f}" if open3d else ", open3d not installed"
    )
    figures["perception.mosd_mean_iou"] = {
        "value": float(np.mean(ours)),
        "unit": "1",
        "peer": float(np.mean(growing)),
        "note": peers,
    }
    figures["perception.mosd_found"] = {
        "value": float(np.mean(np.array(ours) > 0.5)),
        "unit": "1",
        "peer": float(np.mean(np.array(growing) > 0.5)),
        "note": "boxes with IoU > 0.5",
    }


class Score:
    """Faces found against faces visible. A face counts as visible when more than half of it, and 300 pixels, are seen steeply."""

    def __init__(self) -> None:
        self.wanted = self.hit = self.found = self.right = 0
        self.centre_mm: list[float] = []
        self.size_mm: list[float] = []
        self.normal_deg: list[float] = []

    def add(self, load: Load, picture: Picture, faces: Faces) -> None:
        pose = picture.pose
        centre = faces.centre @ pose[:3, :3].T + pose[:3, 3]
        axes = pose[:3, :3] @ faces.rotation
        truth = [
            (face, *face_frame(load, face["box"], face["plane"]))
            for face in true_faces(load, picture, CAMERA, least_px=1)
        ]
        matched: dict[int, tuple[float, int, np.ndarray]] = {}
        for i in range(len(faces)):
            best = (0.0, -1, np.zeros(5))
            for k, (_, middle, frame, width, height) in enumerate(truth):
                if frame[:, 2] @ axes[i, :, 2] < 0.9:
                    continue
                d = (centre[i] - middle) @ frame
                if abs(d[2]) > 0.05:
                    continue
                size = np.abs(frame[:, :2].T @ axes[i, :, :2]) @ faces.size[i]
                full = np.array([width, height])
                overlap = np.maximum(
                    np.minimum(d[:2] + size / 2, full / 2) - np.maximum(d[:2] - size / 2, -full / 2), 0.0
                ).prod()
                value = overlap / (size.prod() + full.prod() - overlap)
                # Of a face whose side is said to be hidden, the part found must lie on the face.
                if faces.hidden[i].any():
                    value = max(value, overlap / size.prod() - 0.2)
                if value > best[0]:
                    best = (float(value), k, np.concatenate([d, size - full]))
            self.found += 1
            if best[0] > 0.5:
                self.right += 1
                if best[1] not in matched or matched[best[1]][0] < best[0]:
                    matched[best[1]] = (best[0], i, best[2])
        for k, (face, middle, frame, width, height) in enumerate(truth):
            look = pose[:3, 3] - middle
            steep = float(frame[:, 2] @ look / np.linalg.norm(look)) > 0.3
            if not (face["share"] > 0.5 and face["pixels"] >= 300 and steep and min(width, height) > 0.1):
                continue
            self.wanted += 1
            if k not in matched:
                continue
            self.hit += 1
            _, i, error = matched[k]
            if face["share"] > 0.95 and not faces.hidden[i].any():
                self.centre_mm.append(1e3 * float(np.linalg.norm(error[:3])))
                self.size_mm += (1e3 * error[3:]).tolist()
                cosine = np.clip(frame[:, 2] @ axes[i, :, 2], -1.0, 1.0)
                self.normal_deg.append(float(np.degrees(np.arccos(cosine))))


def simulated(figures: dict, quick: bool) -> None:
    renderer = Renderer()
    scores: dict[bool, Score] = {True: Score(), False: Score()}
    both = Score()
    for ragged in (True, False):
        for noise in (0.001, 0.002):
            one = Score()
            for seed in range(2 if quick else 6):
                rng = np.random.default_rng(seed + 10)
                load = wall(rng, front_x_m=3.4, ragged=ragged)
                pose = camera_pose(2.0)
                picture = renderer.render(load, pose, rng, noise, colour=True)
                faces = segment(picture.cloud, packed(picture.colour), CAMERA, pose[:3, :3].T @ UP)
                for score in (scores[ragged], both, one):
                    score.add(load, picture, faces)
            print(
                f"{'ragged' if ragged else 'flush '} {1e3 * noise:.0f} mm/m2: recall {one.hit / one.wanted:.3f} precision {one.right / one.found:.3f}"
                f" centre {np.median(one.centre_mm):.1f} / p90 {np.percentile(one.centre_mm, 90):.1f} mm"
                f" size bias {np.mean(one.size_mm):+.1f} mm normal p90 {np.percentile(one.normal_deg, 90):.2f} deg"
            )
    seeds = "12 pictures each of ragged and flush walls, 1 and 2 mm/m2, 1.75 m"
    figures["perception.recall_ragged"] = {"value": scores[True].hit / scores[True].wanted, "unit": "1", "note": seeds}
    figures["perception.recall_flush"] = {
        "value": scores[False].hit / scores[False].wanted,
        "unit": "1",
        "note": seeds + ", with colour",
    }
    figures["perception.precision"] = {
        "value": both.right / both.found,
        "unit": "1",
        "note": f"ragged {scores[True].right / scores[True].found:.3f}, flush {scores[False].right / scores[False].found:.3f}",
    }
    figures["perception.centre_median_mm"] = {"value": float(np.median(both.centre_mm)), "unit": "mm"}
    figures["perception.centre_p90_mm"] = {"value": float(np.percentile(both.centre_mm, 90)), "unit": "mm"}
    figures["perception.size_bias_mm"] = {"value": abs(float(np.mean(both.size_mm))), "unit": "mm"}
    figures["perception.normal_p90_deg"] = {"value": float(np.percentile(both.normal_deg, 90)), "unit": "deg"}


def latency(figures: dict, quick: bool) -> None:
    """CPU time of one thread from the PointCloud2 to the wall, 640x480 with colour, tracker and evidence included."""
    rig = Rig(segment=segment, detector="cloud").start()
    rng = np.random.default_rng(5)
    load = wall(rng, front_x_m=3.9, ragged=True)
    pose = camera_pose(rig.base_x)
    renderer = Renderer()
    messages = []
    for _ in range(4):
        picture = renderer.render(load, pose, rng, 0.001, colour=True)
        messages.append(clouds.from_xyz(picture.cloud, Header(frame_id="camera_optical_frame"), picture.colour))
    times_ms = []
    for index in range(30 if quick else 150):
        rig.step(0.1)
        message = messages[index % len(messages)]
        message.header.stamp = to_time(rig.time_s)
        start = time.process_time()
        rig.send("points", message)
        times_ms.append(1e3 * (time.process_time() - start))
    warm = times_ms[5:]
    p99 = float(np.percentile(warm, 99))
    print(f"cloud to wall: median {np.median(warm):.1f} ms, p99 {p99:.1f} ms CPU, {len(rig.wall.cartons)} cartons")
    note = f"CPU time of one thread, median {np.median(warm):.1f} ms; without DDS"
    figures["perception.cloud_to_wall_p99_ms"] = {"value": p99, "unit": "ms", "note": note}


def seen_point(carton: Carton) -> np.ndarray:
    """A point just behind a face that was seen: the rest of the box may be an assumption."""
    point = np.array([carton.pose.position.x, carton.pose.position.y, carton.pose.position.z])
    if carton.visible_faces & Carton.FACE_NEG_X:
        return point - np.array([carton.size_m.x / 2 - 0.03, 0.0, 0.0])
    return point + np.array([0.0, 0.0, carton.size_m.z / 2 - 0.03])


def tracking(figures: dict, quick: bool) -> None:
    """Picks from two-row walls by simulated detections with 3 % misses: ids that change carton, ghosts, versions."""
    renderer = Renderer()
    switches = picks = ghosts = frames = 0
    cpu_ms = []
    for seed in range(1 if quick else 4):
        rng = np.random.default_rng(100 + seed)
        load = wall(rng, front_x_m=4.0, rows=2, top_m=2.0)
        rig = Rig().start()
        names: dict[int, int] = {}
        while len(load.key):
            picture = renderer.render(load, camera_pose(rig.base_x), rng)
            for _ in range(4):
                rig.step()
                message = detect(load, picture, rig.time_s, rng, sigma_m=0.004, dropout=0.03)
                start = time.process_time()
                rig.send("detections", message)
                cpu_ms.append(1e3 * (time.process_time() - start))
                frames += 1
            owner = {}
            for carton in rig.wall.cartons:
                inside = (np.abs(load.centre - seen_point(carton)) < load.size / 2 + 0.03).all(axis=1)
                if not inside.any():
                    ghosts += 1
                    continue
                key = int(load.key[inside][0])
                owner[carton.id] = key
                if names.setdefault(carton.id, key) != key and not (load.key[inside] == names[carton.id]).any():
                    switches += 1
                    names[carton.id] = key
            if not owner:
                break
            shown = {c.id: c.pose.position.z - 0.6 * c.pose.position.x for c in rig.wall.cartons if c.id in owner}
            chosen = max(shown, key=lambda item: shown[item])
            rig.broker(held=[chosen], kind=1, stage=3, state=2)
            load = load.without(owner[chosen])
            rig.broker(kind=2, stage=6, state=2)
            picks += 1
    print(
        f"tracking: {picks} picks, {switches} id switches, {ghosts} ghost cartons in {frames} frames, {np.mean(cpu_ms):.1f} ms CPU per picture"
    )
    figures["perception.id_switches_per_1000"] = {
        "value": 1e3 * switches / picks,
        "unit": "1",
        "note": f"{switches} in {picks} picks",
    }
    figures["perception.ghosts_per_1000_frames"] = {
        "value": 1e3 * ghosts / frames,
        "unit": "1",
        "note": f"{ghosts} in {frames} frames",
    }
    figures["perception.detections_cpu_ms"] = {
        "value": float(np.mean(cpu_ms)),
        "unit": "ms",
        "note": "CPU time per picture of detections",
    }


def disturb(load: Load, rng: np.random.Generator) -> int:
    """Something happens to the highest carton of the first row: slid forward, turned, or fallen on the floor; its row."""
    front = load.centre[:, 0] - load.size[:, 0] / 2
    first = np.flatnonzero(front < front.min() + 0.16)
    index = int(first[np.argmax(load.centre[first, 2])])
    kind = int(rng.integers(3))
    if kind == 0:
        load.centre[index, 0] -= float(rng.uniform(0.06, 0.15))
    elif kind == 1:
        load.rotation[index] = Rotation.from_euler("z", float(rng.choice([-1, 1]) * rng.uniform(0.15, 0.5))).as_matrix()
        load.centre[index, 0] -= 0.08
    else:
        load.rotation[index] = Rotation.from_euler("z", float(rng.uniform(-0.7, 0.7))).as_matrix()
        load.centre[index] = [front.min() - 0.5, float(rng.uniform(-0.5, 0.5)), load.size[index, 2] / 2]
    return index


def collapses(figures: dict, quick: bool) -> None:
    """Pictures until a carton that moved without being touched is reported, from detections and from clouds."""
    renderer, most = Renderer(), 10
    took: list[int] = []
    late: list[str] = []
    for source, count in (("detections", 6 if quick else 30), ("cloud", 3 if quick else 15)):
        for seed in range(count):
            rng = np.random.default_rng(900 + seed)
            load = wall(rng, front_x_m=4.0, rows=1)
            rig = Rig(segment=segment, detector=source).start()

            def see(rig: Rig = rig, load: Load = load, rng: np.random.Generator = rng, source: str = source) -> None:
                rig.step(0.2)
                picture = renderer.render(load, camera_pose(rig.base_x), rng, colour=source == "cloud")
                if source == "detections":
                    rig.send("detections", detect(load, picture, rig.time_s, rng))
                    return
                header = Header(frame_id="camera_optical_frame", stamp=to_time(rig.time_s))
                rig.send("points", clouds.from_xyz(picture.cloud, header, picture.colour))

            for _ in range(8):
                see()
            before, stood = rig.wall.cartons, load.centre.copy()
            index = disturb(load, rng)
            own = np.array([seen_point(carton) for carton in before]) - stood[index]
            ids = {c.id for c, at in zip(before, own, strict=True) if (np.abs(at) < load.size[index] / 2 + 0.03).all()}
            pictures = 0
            while pictures < most and not (pictures and ids & set(rig.wall.moved_ids)):
                see()
                pictures += 1
            took.append(pictures)
            if pictures > 2:
                late.append(f"{source} seed {seed}: {pictures}")
    figures["perception.collapse_frames_max"] = {
        "value": max(took),
        "unit": "1",
        "note": f"pictures until a carton that was slid, turned or has fallen is reported, {len(took)} times, two thirds from "
        f"detections, the others from clouds with colour; {np.mean(np.array(took) <= 2):.0%} within 2; later: {', '.join(late) or 'none'} "
        f"({most}: not at all)",
    }
    print(f"collapses: {np.bincount(took).tolist()} by pictures; {late}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer scenes")
    quick = parser.parse_args().quick
    figures: dict = {}
    for part in (recorded, simulated, latency, tracking, collapses):
        part(figures, quick)
    folder = Path(os.environ.get("LUMPER_BENCH", ROOT / "build/bench"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "perception.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
