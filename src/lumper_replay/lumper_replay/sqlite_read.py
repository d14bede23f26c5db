"""Read the SQLite files that `ros2 bag record` makes with its sqlite3 storage."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lumper_replay.metadata import TopicEntry, parse_qos


class SqliteFile:
    """One .db3 file. `faults`: what is damaged, in sentences that name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []
        self.topics: dict[int, TopicEntry] = {}
        self.texts: dict[str, str] = {}
        self.start_ns = self.end_ns = 0
        try:
            with _open(path) as db:
                columns = {row[1] for row in db.execute("PRAGMA table_info(topics)")}
                hashes = "type_description_hash" if "type_description_hash" in columns else "''"
                for ident, name, kind, qos, digest in db.execute(
                    f"SELECT id, name, type, offered_qos_profiles, {hashes} FROM topics"
                ):
                    self.topics[ident] = TopicEntry(name, kind, digest, parse_qos(qos))
                if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
                    rows = db.execute("SELECT topic_type, encoded_message_definition FROM message_definitions")
                    self.texts = {kind: text for kind, text in rows if text}
                first, last = db.execute("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
                self.start_ns, self.end_ns = first or 0, last or 0
        except sqlite3.Error as error:
            self.faults.append(f"{path.name}: {error}; it is left out")

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """Messages in file order: (topic id, receive stamp in ns, data)."""
        try:
            with _open(self.path) as db:
                yield from db.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
        except sqlite3.Error as error:
            self.faults.append(f"{self.path.name}: {error}; what follows is left out")


class _open:  # noqa: N801 - used like the function it stands for
    """A read-only connection that is closed at the end of the block."""

    def __init__(self, path: Path) -> None:
        # A bag on a read-only medium has no room for SQLite's side files.
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()
