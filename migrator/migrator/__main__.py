"""Entry point of the image: `python -m migrator <verb> ...`; `lint` looks at files and touches no release."""

import os
import sys

from migrator.lint.command import main as lint
from migrator.run import main

if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(lint(arguments[1:]) if arguments[:1] == ["lint"] else main(arguments, os.environ))
