"""A migration tool of an application's own, as small as one can be: a table that says where it stands, and steps that
each commit by themselves. It runs as a program, `own_tool.py state|forward|back [target]`; the environment may say
what a step does instead."""

import os
import sys

import psycopg

EXPAND = os.environ.get("OWN_TOOL_EXPAND", "ALTER TABLE told ADD COLUMN second text")
MIGRATE = os.environ.get("OWN_TOOL_MIGRATE", "UPDATE told SET second = what")
CONTRACT = os.environ.get("OWN_TOOL_CONTRACT", "ALTER TABLE told DROP COLUMN what")
STEPS = (
    ("r0", "r1", EXPAND, "ALTER TABLE told DROP COLUMN IF EXISTS second"),
    ("r1", "r2", MIGRATE, "UPDATE told SET second = NULL"),
    ("r2", "r3", CONTRACT, "ALTER TABLE told ADD COLUMN what text"),
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
