"""A program: `hmsactd` as it must not be, with `synchronous = NORMAL`, by which a commit does not wait for the disk."""

import sqlite3

from hmsactd import cli
from hmsactd.store import sqlite

configure = sqlite._configure


def careless(connection: sqlite3.Connection) -> None:
    configure(connection)
    connection.execute("PRAGMA synchronous = NORMAL").fetchall()


if __name__ == "__main__":
    sqlite._configure = careless
    cli.main()
