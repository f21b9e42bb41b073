"""SIGTERM: nobody asks, and the process ends; the loop asks, and it waits to be asked."""

import os
import signal
import subprocess
import sys
import time

from fcn_jax.system.stopping import stop_on_sigterm

IN_C = """
import hashlib
from fcn_jax.system.stopping import stop_on_sigterm
with stop_on_sigterm():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # One call in C, as a compilation is.
"""


def test_a_process_that_does_not_come_back_to_python_ends_at_once():
    process = subprocess.Popen([sys.executable, "-c", IN_C], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said == "stopped before the next step: resume with the same command\n"


def test_inside_the_loop_it_is_asked_for():
    earlier = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop, stop.asked_by_loop():
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 30
        while not stop.requested:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert signal.getsignal(signal.SIGTERM) == earlier
