"""What the journal keeps in memory."""

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
