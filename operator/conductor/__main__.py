"""`python -m conductor`: `run` starts the operator, every other verb is the command line's."""

from __future__ import annotations

import sys


def main() -> int:
    if sys.argv[1:2] == ["run"]:
        # Imported here: a person's `status` shall not wait for the operator's libraries.
        from conductor.runtime.main import main as run

        return run(sys.argv[2:])
    from conductor.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
