"""The behaviour tree of the job (py_trees), ticked by the core on inputs. Its shape is the order of what matters."""

from collections.abc import Callable, Sequence

import py_trees
from py_trees.common import Status

from lumper_planner import holds, steps
from lumper_planner.unloading import Unloading

Step = Callable[[Unloading], Status]
# More changes than this at one instant mean that two steps undo each other.
MOST_STEPS = 50


class Leaf(py_trees.behaviour.Behaviour):
    """A step of `steps` as a behaviour. Stateless: all state is the job's."""

    def __init__(self, step: Step, unloading: Unloading) -> None:
        super().__init__(step.__name__)
        self._step = step
        self._unloading = unloading

    def update(self) -> Status:
        return self._step(self._unloading)


def _branch(name: str, unloading: Unloading, branch: Sequence[Step]) -> py_trees.composites.Selector:
    return py_trees.composites.Selector(name, memory=False, children=[Leaf(step, unloading) for step in branch])


def build_tree(unloading: Unloading) -> py_trees.composites.Selector:
    """Always asked from the top, so that what matters more always wins:

    ended or not begun, cancelled, under way, held up (by safety, or by not knowing what the gripper holds),
    the load in hand, people, then the next carton: rest, look, empty?, plan, take, advance, ask.
    """
    return py_trees.composites.Selector(
        "unload",
        memory=False,
        children=[
            _branch("job", unloading, (holds.no_job, holds.store_broken, holds.awaiting_client, holds.cancelled)),
            _branch("motion", unloading, (steps.under_way,)),
            _branch("hold", unloading, (holds.stop_pending, holds.reconciling, holds.forbidden)),
            _branch("load", unloading, (steps.load_in_hand,)),
            _branch("people", unloading, (steps.paused, steps.collapsing, steps.asking, steps.counted)),
            _branch("ready", unloading, (steps.resting, steps.recovering, steps.driving_back, steps.looking)),
            _branch(
                "next",
                unloading,
                (steps.empty, steps.ordered, steps.planning, steps.taking, steps.advancing, steps.stuck),
            ),
        ],
    )


def run_tree(tree: py_trees.composites.Selector) -> None:
    """Tick until the tree is content with what happens now.

    Raises:
        RuntimeError: it never is: a defect in the steps.
    """
    for _ in range(MOST_STEPS):
        tree.tick_once()
        if tree.status == Status.RUNNING:
            return
    raise RuntimeError(
        f"the behaviour tree does not come to rest: {py_trees.display.unicode_tree(tree, show_status=True)}"
    )
