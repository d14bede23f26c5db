"""Damaged files at everything that reads one: parameters, robot, trailer and cause table, launch files, bags.

Structure-aware: a file is parsed, some of its values, keys or elements made wrong, and written again; one in four is damaged as
bytes instead. What a reader may raise is what its contract names; anything else is a crash.

python test/faultsim/fuzz_files.py 2000 --seed 1         so many files for each reader
"""

import argparse
import contextlib
import copy
import math
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from fuzz import show
from robot_graph import CONFIG, FILES, ROOT

from lumper_bringup.launch_plan import Plan
from lumper_bringup.launch_source import LaunchError
from lumper_motion.parameters import MotionParameters
from lumper_perception.parameters import PerceptionParameters
from lumper_planner.parameters import PlannerParameters
from lumper_replay import steps
from lumper_replay.check import check_nodes
from lumper_replay.reader import open_bag
from lumper_replay.writer import BagError, BagWriter, Limits
from lumper_ros.interfaces import BROKER, PERCEPTION, PLANNER, SAFETY
from lumper_ros.parameters import ParameterError, from_mapping
from lumper_ros.robot import RobotError, load_robot, load_trailer
from lumper_safety.node import load_table
from lumper_safety.parameters import Parameters as SafetyParameters

sys.path.insert(0, str(ROOT / "src" / "lumper_replay" / "test"))

NODES = {
    SAFETY: SafetyParameters,
    BROKER: MotionParameters,
    PLANNER: PlannerParameters,
    PERCEPTION: PerceptionParameters,
}
_VALUES: tuple[Any, ...] = (
    None, True, "", "text", "é" * 40, "../../etc/passwd", 0, -1, 10**30, 1e308, -1e-300, math.nan, math.inf, -math.inf, [], {},
    [None], [[1.0]], {"x": 1}, "2026-11-26", 0.5,
)  # fmt: skip
_ATTRIBUTES = (
    "",
    " ",
    "$(",
    "$(var nothing)",
    "$(env NOTHING)",
    "$(dirname",
    "true",
    "-1",
    "a b",
    "é",
    "$(var robot)",
    "\\",
    "'",
)
# A whole bag is decided again once for so many damaged messages, which are tried one by one.
CHECK_EVERY = 100


@dataclass(slots=True)
class Report:
    """What came of a run. crashes: where -> traceback."""

    inputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    crashes: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def trying(self, what: str, *allowed: type[Exception]) -> Iterator[None]:
        self.inputs[what] += 1
        try:
            yield
        except allowed as error:
            self.refused[what] += 1
            if not str(error).strip():
                self.crashes.setdefault(f"{what}: refused without a word", traceback.format_exc())
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{what}: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            self.crashes.setdefault(where, traceback.format_exc())


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below a parsed document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in list(items):
        yield value, key
        yield from _places(below)


def wrong(document: Any, rng: random.Random) -> Any:
    """A copy of a parsed document with one to three values, keys or entries made wrong."""
    made = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(made))
        if not places or rng.random() < 0.02:
            return rng.choice(_VALUES)
        container, key = rng.choice(places)
        how = rng.randrange(5)
        if how == 0:
            del container[key]
        elif how == 1 and isinstance(container, dict):
            container[rng.choice(("", "x", key if isinstance(key, int) else f"{key} ", 3))] = container.pop(key)
        elif how == 2 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(rng.choice(_VALUES))
    return made


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, or put in twice."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(made)) if made else 0
        how = rng.randrange(4)
        if how == 0:
            del made[at:]
        elif how == 1:
            made[at : at + rng.randrange(1, 40)] = b""
        elif how == 2:
            made[at:at] = made[at : at + rng.randrange(1, 200)]
        elif made:
            made[at % len(made)] = rng.randrange(256)
    return bytes(made)


class Files:
    """Writes damaged copies of the real files into a folder and has them read."""

    def __init__(self, folder: Path, seed: int, report: Report) -> None:
        self._folder, self._rng, self._report = folder, random.Random(seed), report
        # Where the launch file expects it: beside config/.
        self._launch_file = folder / "launch" / "unload.launch.xml"
        self._launch_file.parent.mkdir()
        (folder / "config").symlink_to(CONFIG)
        sources = (CONFIG / "trailer.yaml", CONFIG / "safety_causes.yaml", CONFIG / "robot" / "arm.yaml")
        self._yaml = {path: yaml.safe_load(path.read_text()) for path in sources}

    def _write(self, source: Path, target: Path) -> None:
        if self._rng.random() < 0.25:
            target.write_bytes(damaged(source.read_bytes(), self._rng))
        else:
            target.write_text(yaml.safe_dump(wrong(self._yaml[source], self._rng), allow_unicode=True))

    def parameters(self) -> None:
        node = self._rng.choice(list(NODES))
        values = asdict(from_mapping(NODES[node], FILES))
        made = wrong(
            {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}, self._rng
        )
        with self._report.trying("parameters", ParameterError):
            from_mapping(NODES[node], made if isinstance(made, dict) else {})

    def robot(self) -> None:
        folder = self._folder / "robot"
        folder.mkdir(exist_ok=True)
        urdf = (CONFIG / "robot" / "lumper_arm.urdf").read_bytes()
        spoil_urdf = self._rng.random() < 0.4
        (folder / "arm.urdf").write_bytes(self._xml(urdf) if spoil_urdf else urdf)
        if spoil_urdf:
            (folder / "arm.yaml").write_text((CONFIG / "robot" / "arm.yaml").read_text())
        else:
            self._write(CONFIG / "robot" / "arm.yaml", folder / "arm.yaml")
        with self._report.trying("robot", RobotError):
            load_robot(folder)

    def trailer(self) -> None:
        path = self._folder / "trailer.yaml"
        self._write(CONFIG / "trailer.yaml", path)
        with self._report.trying("trailer", RobotError):
            load_trailer(path)

    def causes(self) -> None:
        path = self._folder / "causes.yaml"
        self._write(CONFIG / "safety_causes.yaml", path)
        with self._report.trying("causes", ParameterError):
            load_table(path)

    def launch(self) -> None:
        path = self._launch_file
        path.write_bytes(self._xml((ROOT / "launch" / "unload.launch.xml").read_bytes()))
        with self._report.trying("launch", LaunchError):
            Plan(os.environ, self._folder).build(path, {"sim": "true"})

    def _xml(self, data: bytes) -> bytes:
        rng = self._rng
        if rng.random() < 0.25:
            return damaged(data, rng)
        root = ElementTree.fromstring(data)
        for _ in range(rng.randint(1, 3)):
            elements = [element for element in root.iter() if element is not root]
            element = rng.choice(elements)
            how = rng.randrange(5)
            if how == 0:
                element.tag = rng.choice([other.tag for other in elements] + ["thing"])
            elif how == 1:
                element.append(copy.deepcopy(rng.choice(elements)))
            elif how == 2 and element.attrib:
                del element.attrib[rng.choice(list(element.attrib))]
            else:
                names = [*element.attrib, "name", "if", "thing"]
                other = rng.choice(elements)
                values = [*_ATTRIBUTES, *other.attrib.values()]
                element.set(rng.choice(names), rng.choice(values))
        return ElementTree.tostring(root)


class Bags:
    """Damaged recordings of a real job."""

    def __init__(self, folder: Path, seed: int, report: Report) -> None:
        from virtual_jobs import record_job

        self._rng, self._report, self._folder = random.Random(seed), report, folder
        record_job(folder / "job", cartons=3, seed=3, limit_s=2.0)
        bag = open_bag(folder / "job")
        self._messages = list(bag.messages())
        self._topics = dict(bag.topics)
        self._journal = [message.data for message in self._messages if message.topic.endswith("/decisions")]
        self._small = folder / "small"
        writer = BagWriter(self._small, Limits())
        for message in self._messages[:40]:
            writer.add_topic(message.topic, self._topics[message.topic].type, [])
            writer.write(message.topic, message.stamp_ns, message.data)
        writer.close()
        self._file = next(self._small.glob("*.mcap"))
        self._whole = self._file.read_bytes()
        self._count = 0

    def journal(self) -> None:
        """The journal's own reader, one message; now and then a whole bag with such messages in it."""
        with self._report.trying("journal", ValueError):
            steps.batch(damaged(self._rng.choice(self._journal), self._rng))
        self._count += 1
        if self._count % CHECK_EVERY == 0:
            self._decide_again()

    def _decide_again(self) -> None:
        path = self._folder / f"damaged_{self._count}"
        writer = BagWriter(path, Limits())
        share = self._rng.choice((0.002, 0.02, 0.2))
        for message in self._messages:
            writer.add_topic(message.topic, self._topics[message.topic].type, [])
            data = damaged(message.data, self._rng) if self._rng.random() < share else message.data
            writer.write(message.topic, message.stamp_ns, data)
        writer.close()
        with self._report.trying("bag decided again", BagError):
            check_nodes(str(path), list(NODES), {}, "")

    def file(self) -> None:
        self._file.write_bytes(damaged(self._whole, self._rng))
        with self._report.trying("bag", BagError):
            bag = open_bag(self._small)
            for _ in bag.messages():
                pass
            for _ in bag.by_stamp():
                pass
            bag.faults_now()


def fuzz(count: int, seed: int) -> Report:
    """`count` damaged files for each reader."""
    report, begun = Report(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="lumper_fuzz_") as name:
        folder = Path(name)
        files, bags = Files(folder, seed, report), Bags(folder, seed + 1, report)
        readers: tuple[Callable[[], None], ...] = (
            files.parameters, files.robot, files.trailer, files.causes, files.launch, bags.journal, bags.file,
        )  # fmt: skip
        for _ in range(count):
            for read in readers:
                read()
    report.seconds = time.process_time() - begun
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = fuzz(options.count, options.seed)
    show(report.crashes)
    print(
        f"seed {options.seed}: {report.inputs.total()} files {dict(report.inputs)}, refused {dict(report.refused)}, in "
        f"{report.seconds:.0f} s CPU: {len(report.crashes)} kinds of crash"
    )
    return 1 if report.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
