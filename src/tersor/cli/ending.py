"""Ends of a command that somebody else asks for: SIGTERM, as a system sends that shuts down."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TERMINATED = 128 + signal.SIGTERM
_PATIENCE = 1.5


@contextmanager
def ended_by_sigterm(said: str) -> Iterator[None]:
    """While active, SIGTERM ends the process with status 143 within two seconds.

    ``said``: printed on standard error. What is open is closed if that is quick; a product of large
    matrices, say, is not waited for. Only what survives such an end may be inside.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    asked = threading.Event()

    def say() -> None:
        if not asked.is_set():
            asked.set()
            print(f"\n{said}", file=sys.stderr, flush=True)

    def end(*_: object) -> None:
        say()
        raise SystemExit(TERMINATED)

    def watch() -> None:
        # Signals have their handler called between two steps of the main thread, which may be long.
        while number := os.read(reading, 1):
            if number[0] == signal.SIGTERM:
                if not over.wait(_PATIENCE):
                    say()
                    os._exit(TERMINATED)
                return

    over = threading.Event()
    before = signal.signal(signal.SIGTERM, end)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(wakeup)
        with suppress(TypeError):  # a handler that Python did not install
            signal.signal(signal.SIGTERM, before)
        os.close(writing)
        watching.join()
        os.close(reading)
