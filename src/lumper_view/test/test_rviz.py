"""config/lumper.rviz shows what the nodes publish: topics, their reliability and durability, and the markers' namespaces."""

from pathlib import Path
from typing import Any

import view_scenario as scenario
import yaml
from lumper_msgs.msg import Carton

from lumper_ros.core import Now, Publish
from lumper_ros.interfaces import TOPICS, Profile
from lumper_ros.robot import Robot, Trailer
from lumper_view.core import MarkersCore
from lumper_view.parameters import MarkersParameters

ROOT = Path(__file__).resolve().parents[3]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config" / "lumper.rviz").read_text())
DISPLAYS = {display["Name"]: display for display in CONFIG["Visualization Manager"]["Displays"]}
_DURABLE = {Profile.LATCHED, Profile.EVENTS, Profile.TF_STATIC}
_BEST_EFFORT = {Profile.SENSOR, Profile.CLOUD, Profile.CLOCK}


def test_topics_and_their_quality_of_service_fit_the_interface_table() -> None:
    found = 0
    for display in DISPLAYS.values():
        topic = display.get("Topic") or display.get("Description Topic")
        if topic is None:
            continue
        entry = TOPICS[topic["Value"]]
        found += 1
        assert topic["Durability Policy"] == ("Transient Local" if entry.profile in _DURABLE else "Volatile"), topic
        assert topic["Reliability Policy"] == ("Best Effort" if entry.profile in _BEST_EFFORT else "Reliable"), topic
    assert found == 5
    assert CONFIG["Visualization Manager"]["Global Options"]["Fixed Frame"] == "trailer"


def test_every_namespace_of_markers_is_switched_on(robot: Robot, trailer: Trailer) -> None:
    core = MarkersCore(MarkersParameters("", ""), robot, trailer)
    now = Now(1.0, 1.0, 1.0)
    messages = scenario.everything(robot, 30, 1.0)
    load = messages["wall"]
    first = messages["plan"].picks[0].carton_ids[0]
    by_id: dict[int, Carton] = {carton.id: carton for carton in load.cartons}
    upper, other = [carton for carton in load.cartons if carton.id != first][:2]
    by_id[first].supports, upper.supported_by = [upper.id], [first, other.id]
    for name, message in messages.items():
        core.message(name, message, now)
    effects = core.tick(now)
    assert isinstance(effects[0], Publish)
    made = {marker.ns for marker in effects[0].message.markers if marker.ns}
    assert made == set(DISPLAYS["Scene"]["Namespaces"])
