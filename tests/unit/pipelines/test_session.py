"""How a run ends that is told to stop."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from pipelines.session import _stop_is_interrupt


@pytest.mark.parametrize("ctrl_c", [signal.SIG_IGN, signal.default_int_handler])
def test_sigterm_interrupts_also_what_ignores_ctrl_c(ctrl_c: Any) -> None:
    before = signal.signal(signal.SIGINT, ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt), _stop_is_interrupt():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
