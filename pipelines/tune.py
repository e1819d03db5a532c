#!/usr/bin/env python3
"""Search for training settings: everything that run.py prepares is prepared once, then many trainings share it.

laptop    python pipelines/tune.py --data_dir DIR --num_samples 12 --model_name bundled --query_backend rules
ranges    --set tune.space.margin="uniform(0.05, 0.5)" --set tune.space.batch_size="choice(16, 32, 64)"
cluster   ray job submit --working-dir . -- python pipelines/tune.py --data_dir DIR --num_samples 32
"""

import sys
from pathlib import Path

# Started as a script, Python looks beside this file; the packages lie one folder up, installed or not.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipelines.cli import program  # noqa: E402

if __name__ == "__main__":
    sys.exit(program(["tune", *sys.argv[1:]]))
