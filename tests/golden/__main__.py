"""Write the golden numbers anew: ``python -m tests.golden``, when a change of theirs is meant.

Prints what moved, for the changelog. Features are computed afresh, in a folder of their own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

from golden.numbers import measure, moved, read, write


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["LAYERBOOK_HOME"] = home
        found = measure()
    print("\n".join(moved(read(), found)) or "nothing moved")
    write(found)


if __name__ == "__main__":
    main()
