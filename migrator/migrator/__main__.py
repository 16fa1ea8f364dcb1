"""Entry point of the image: `python -m migrator <verb> ...`."""

import os
import sys

from migrator.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
