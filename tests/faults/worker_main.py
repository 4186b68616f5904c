"""The ordinary command line, with a crash point or a planted bug put in before it is imported. For tests alone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fault_bugs
import fault_points


def run() -> None:
    """Be `mimamori`, with what the environment asks for."""
    fault_bugs.install()
    fault_points.install()
    from fraud.cli import main

    main()


if __name__ == "__main__":
    run()
