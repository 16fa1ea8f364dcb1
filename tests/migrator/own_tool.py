"""A migration tool of an application's own, as small as one can be: a table that says where it stands, and steps that
each commit by themselves. It runs as a program, `own_tool.py state|forward|back [target]`."""

import os
import sys

import psycopg

STEPS = (
    ("r0", "r1", "ALTER TABLE told ADD COLUMN second text", "ALTER TABLE told DROP COLUMN second"),
    ("r1", "r2", "UPDATE told SET second = what", "UPDATE told SET second = NULL"),
    ("r2", "r3", "ALTER TABLE told DROP COLUMN what", "ALTER TABLE told ADD COLUMN what text"),
)


def main(verb: str, target: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS own_tool (at text NOT NULL)")
        row = connection.execute("SELECT at FROM own_tool").fetchone()
        at = str(row[0]) if row else "r0"
        if verb == "state":
            sys.stdout.write(f"connected\nrevision: {at}\n")
            return
        back = [(after, before, undo) for before, after, _, undo in reversed(STEPS)]
        forward = [(before, after, statement) for before, after, statement, _ in STEPS]
        for before, after, statement in forward if verb == "forward" else back:
            if at != before or at == target:
                continue
            with connection.transaction():
                connection.execute(statement.encode())
                connection.execute("DELETE FROM own_tool")
                connection.execute("INSERT INTO own_tool VALUES (%s)", (after,))
            at = after


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
