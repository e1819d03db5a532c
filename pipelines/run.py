#!/usr/bin/env python3
"""Fine-tune an embedding model for patent retrieval: a folder of patent JSON in, a measured model out.

laptop    python pipelines/run.py --data_dir DIR --quick_test
one GPU   python pipelines/run.py --data_dir DIR --recommended
cluster   ray job submit --working-dir . -- python pipelines/run.py --data_dir DIR --recommended
"""

import sys
from pathlib import Path

# Started as a script, Python looks beside this file; the packages lie one folder up, installed or not.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipelines.cli import program  # noqa: E402

if __name__ == "__main__":
    sys.exit(program(["run", *sys.argv[1:]]))
