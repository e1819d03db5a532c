"""The steps of the pipeline on Ray, and the commands that run them."""

import os

# Ray connects by itself where a call finds no cluster. A thread of Ray Data that outlives its session would so start a
# second cluster in a process that is about to end.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
