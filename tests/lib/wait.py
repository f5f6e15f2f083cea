"""Polling of a condition with a deadline."""

import time

from lib import settings


def until(condition, timeout=10.0, what="the condition", interval=0.005):
    """Polls until condition() is true and returns its value; AssertionError when the deadline passes."""
    deadline = time.monotonic() + settings.seconds(timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {settings.seconds(timeout):.1f} s in vain for {what}")
        time.sleep(interval)
