"""Whatever happens in whatever order, the job ends or waits for a named reason, and its counts add up."""

from fake_world import GOAL, FakeWorld, parameters, pile, stop_cause
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lumper_msgs.msg import JobState, OutcomeCode, SafetyState
from lumper_msgs.srv import JobCommand

CODES = [
    OutcomeCode.MALFORMED,
    OutcomeCode.UNKNOWN_WALL_VERSION,
    OutcomeCode.NOT_PERMITTED,
    OutcomeCode.DEADLINE_PAST,
    OutcomeCode.UNREACHABLE,
    OutcomeCode.IN_COLLISION,
    OutcomeCode.STOPPED_BY_SAFETY,
    OutcomeCode.PREEMPTED,
    OutcomeCode.CONTROLLER_FAULT,
    OutcomeCode.TOLERANCE_VIOLATED,
    OutcomeCode.GRASP_NOT_MADE,
    OutcomeCode.CARTON_LOST,
    OutcomeCode.CONVEYOR_NOT_READY,
    OutcomeCode.UNKNOWN_AFTER_RESTART,
    OutcomeCode.INTERNAL,
]
ANSWERS = [
    "take",
    "skip",
    "treat_as_one",
    "treat_as_two",
    "i_moved_it",
    "drive_back",
    "look_again",
    "nonsense",
]


class Life(RuleBasedStateMachine):
    """A job among failing motions, stops, silences, deaths, and people who say anything."""

    @initialize(
        rows=st.integers(1, 2),
        columns=st.integers(2, 4),
        stuck=st.integers(0, 2),
        picks=st.lists(st.one_of(st.just(0), st.sampled_from(CODES)), max_size=8),
        places=st.lists(st.one_of(st.just(0), st.sampled_from(CODES)), max_size=8),
        begin_s=st.sampled_from([0.0, 10.0, 40.0]),
    )
    def begin(self, rows: int, columns: int, stuck: int, picks: list[int], places: list[int], begin_s: float) -> None:
        cartons = pile(rows=rows, columns=columns, layers=1)
        cartons |= {900 + k: [1.9, 0.9 + 0.5 * k, 0.15] for k in range(stuck)}
        self.world = FakeWorld(
            cartons, parameters(question_limit_s=60.0), script={GOAL.PICK: picks, GOAL.PLACE: places}
        )
        self.world.loses_in_place = rows == 2
        self.world.twins = {1, 2} if columns == 3 else set()
        self.goal = self.world.unload("life")
        self.world.pass_time(begin_s)

    @rule(duration_s=st.sampled_from([0.05, 0.7, 3.0, 11.0, 40.0]))
    def wait(self, duration_s: float) -> None:
        self.world.pass_time(duration_s)

    @rule(
        kind=st.sampled_from(sorted({GOAL.PICK, GOAL.PLACE, GOAL.PROBE, GOAL.SCAN, GOAL.RETREAT, GOAL.HOME})),
        code=st.sampled_from(CODES),
    )
    def fail_next(self, kind: int, code: int) -> None:
        if code == OutcomeCode.CARTON_LOST and kind not in (GOAL.PICK, GOAL.PLACE, GOAL.PROBE):
            return
        self.world.script.setdefault(kind, []).append(code)

    @rule(latched=st.booleans(), emergency=st.booleans())
    def stop(self, latched: bool, emergency: bool) -> None:
        world = self.world
        world.mode = SafetyState.EMERGENCY_STOP if emergency else SafetyState.PROTECTIVE_STOP
        world.causes = [stop_cause(latched=latched)]
        world._safety()
        world._broker()
        world.stop_motion()

    @rule()
    def clear(self) -> None:
        self.world.mode, self.world.causes = SafetyState.RUN, []
        self.world.camera = self.world.conveyor_ready = True
        self.world.jammed = False
        self.world.pass_time(1.0)
        self.world.command(JobCommand.Request.RESUME)
        self.world.pass_time(8.0)

    @rule(camera=st.booleans(), ready=st.booleans(), jammed=st.booleans(), base_fails=st.booleans())
    def surroundings(self, camera: bool, ready: bool, jammed: bool, base_fails: bool) -> None:
        self.world.camera, self.world.conveyor_ready, self.world.jammed = camera, ready, jammed
        self.world.base_code = OutcomeCode.CONTROLLER_FAULT if base_fails else 0

    @rule(pick=st.integers(0, 9))
    def collapse(self, pick: int) -> None:
        standing = [carton for carton in sorted(self.world.cartons) if carton not in self.world.held]
        if standing:
            self.world.collapse(standing[pick % len(standing)])

    @rule(away_s=st.sampled_from([0.0, 0.5, 4.0]))
    def die(self, away_s: float) -> None:
        self.world.kill()
        self.world.pass_time(away_s)
        self.world.restart()

    @precondition(lambda self: self.world.active is not None and hasattr(self.world.active[1], "kind"))
    @rule()
    def lose_broker(self) -> None:
        self.world.lose_broker()

    @rule(command=st.sampled_from([1, 2, 2, 2, 4, 77]))
    def command(self, command: int) -> None:
        response = self.world.command(command)
        assert response.accepted or response.text

    @precondition(lambda self: self.world.belt > 3)
    @rule()
    def cancel(self) -> None:
        self.world.command(JobCommand.Request.CANCEL)

    @rule(key=st.sampled_from(ANSWERS), pick=st.integers(0, 9), offered=st.booleans())
    def answer(self, key: str, pick: int, offered: bool) -> None:
        if not self.world.questions:
            return
        options = [list(option.carton_ids) for option in self.world.questions[-1].options if option.key == key]
        ids = options[pick % len(options)] if options and offered else [pick]
        response = self.world.answer(key, ids)
        assert response.accepted or response.text

    @rule()
    def send_again(self) -> None:
        goal = self.world.unload("life")
        if goal not in self.world.finished or self.world.finished[goal][1].outcome.code != OutcomeCode.BUSY:
            self.goal = goal

    @invariant()
    def counts_add_up(self) -> None:
        u = self.world.core.unloading
        job = u.job or u.ended
        if job is None:
            return
        held = len(job.load["carton_ids"]) if job.load is not None else 0
        assert job.picked == job.done + job.dropped + held
        assert job.done <= self.world.belt
        assert job.assists >= len([q for q in job.questions() if q.open and q is job.question])

    @invariant()
    def it_says_what_it_does(self) -> None:
        state = self.world.state()
        assert state.text
        assert self.world.ros_s - (state.stamp.sec + state.stamp.nanosec * 1e-9) <= 1.0 + 1e-6

    def teardown(self) -> None:
        """When everything is well again and people do their part, the job comes to its end."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.script.clear()
        world.mode, world.causes, world.base_code = SafetyState.RUN, [], 0
        world.camera = world.conveyor_ready = True
        world.jammed = False
        world.pass_time(2.0)
        self.send_again()
        for _ in range(60):
            phase = world.state().phase
            if phase in (JobState.DONE, JobState.FAILED, JobState.IDLE):
                break
            if phase == JobState.PAUSED or "resume" in world.state().text:
                world.command(JobCommand.Request.RESUME)
            if world.asked():
                world.answer("give_up")
            world.pass_time(30.0)
        assert world.state().phase in (JobState.DONE, JobState.FAILED, JobState.IDLE), world.state().text
        job = world.core.unloading.ended
        if job is not None and job.job_id == "life":
            assert job.picked == job.done + job.dropped + (len(job.load["carton_ids"]) if job.load else 0)
            assert self.goal in world.finished or job.origin == "person"


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
