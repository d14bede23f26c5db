"""What the journal keeps in memory."""

import tracemalloc
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from lumper_msgs.msg import OutcomeCode

from lumper_motion.journal import Journal, Record


def record(number: int, outcome: int | None = 0) -> Record:
    return Record(
        number, 0, "job", "plan", [number], 0, 1.0 * number, outcome, load={"pick": {"at": number}, "out": True}
    )


def loads(journal: Journal, names: str) -> dict[str, bool]:
    return {name: (found := journal.find(name)) is not None and found.load is not None for name in names}


def test_only_the_newest_request_and_one_not_ended_keep_what_was_picked() -> None:
    journal = Journal(100, 100)
    written = [journal.write(name, record(number)) for number, name in enumerate("abc", 1)]
    assert loads(journal, "abc") == {"a": False, "b": False, "c": True}
    assert all(effects[0].record["load"] is not None for effects in written), "the disk keeps them"
    newest = journal.newest()
    assert newest is not None and newest.load == {"pick": {"at": 3}, "out": True}

    life = Journal(100, 100)
    on_disk = {effects[0].key: effects[0].record for effects in written} | {
        "d": {**written[0][0].record, "number": 4, "outcome": None},
        "e": {**written[0][0].record, "number": 5},
    }
    life.restore(on_disk, {})
    assert loads(life, "abcde") == {"a": False, "b": False, "c": False, "d": True, "e": True}


def test_an_outcome_that_the_disk_did_not_take_keeps_what_was_picked() -> None:
    journal = Journal(100, 100)
    journal.write("a", record(1))
    assert journal.failed("a") is not None
    journal.write("b", record(2))
    assert loads(journal, "ab") == {"a": True, "b": True}
    (again,) = journal.again()
    assert again.record["load"] is not None


@given(
    text=st.text(max_size=40),
    stages=st.lists(st.tuples(st.sampled_from(("approach", "carry")), st.floats(0.0, 100.0))),
    outcome=st.sampled_from((OutcomeCode.NONE, OutcomeCode.IN_COLLISION)),
)
def test_an_ended_request_is_told_as_it_was_however_many_came_after_it(
    text: str, stages: list[tuple[str, float]], outcome: int
) -> None:
    journal, asked = Journal(100, 100), replace(record(1, outcome), text=text, stages=stages, holding=True, ended_s=3.5)
    journal.write("asked", asked)
    assert journal.find("asked") == asked
    for number in range(2, 5):
        journal.write(str(number), record(number))
    assert journal.find("asked") == replace(asked, load=None)
    assert journal.latest(2) == [("4", OutcomeCode.NONE), ("3", OutcomeCode.NONE)]
    assert journal.latest(9)[-1] == ("asked", outcome)


def test_a_journal_that_is_full_takes_less_than_a_megabyte_and_a_half() -> None:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    journal = Journal(2000, 100)
    for number in range(3000):
        begun = replace(record(number, None), plan_id=f"{number:032x}")
        journal.write(f"{number:032x}", begun)
        stages = [(name, number / 7.0) for name in ("approach", "grasp", "extract", "carry", "place", "retreat")]
        journal.write(f"{number:032x}", replace(begun, outcome=0, text="done", stages=stages, ended_s=number / 3.0))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(journal) == 2000 and journal.find(f"{999:032x}") is None and journal.find(f"{1000:032x}") is not None
    assert (after - before) / 2**20 < 1.5
