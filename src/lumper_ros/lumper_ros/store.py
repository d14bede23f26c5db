"""What must survive a death: a key-value store on SQLite, one writer."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Store:
    """Records by kind and key in one SQLite file (write-ahead log, synchronous FULL: on disk when `write` returns).

    Raises:
        sqlite3.Error, OSError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        # Read once, at the start: what is written need not stay in memory. The default keeps two megabytes of it.
        self._db.execute("PRAGMA cache_size=-256")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS records (kind TEXT, key TEXT, record TEXT NOT NULL, PRIMARY KEY (kind, key))"
        )

    def write(self, records: Iterable[tuple[str, str, Mapping[str, Any] | None]]) -> None:
        """Write all records in one transaction; None deletes."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for kind, key, record in records:
                if record is None:
                    self._db.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
                else:
                    self._db.execute(
                        "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
                        (kind, key, json.dumps(record, sort_keys=True)),
                    )
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself where the disk failed.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def read(self) -> dict[str, dict[str, Any]]:
        """All records: kind -> key -> record."""
        result: dict[str, dict[str, Any]] = {}
        for kind, key, record in self._db.execute("SELECT kind, key, record FROM records"):
            result.setdefault(kind, {})[key] = json.loads(record)
        return result

    def close(self) -> None:
        self._db.close()


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Records of a store that another process may be writing.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no store at {path}")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        result: dict[str, dict[str, Any]] = {}
        for kind, key, record in connection.execute("SELECT kind, key, record FROM records"):
            result.setdefault(kind, {})[key] = json.loads(record)
        return result
    finally:
        connection.close()
