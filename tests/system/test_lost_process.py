"""If a process is killed or stopped, JAX ends the others within a minute, and says who is lost."""

import signal
import sys
import time

import pytest

from fcn_jax.system.processes import WHO_IS_LOST
from tests.processes import free_address, started

JOINS = """
import sys, time
from fcn_jax.system.processes import gather, join_cluster, wait_for_the_lost
join_cluster(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
gather(0)
print("joined", flush=True)
time.sleep(3)
wait_for_the_lost()  # As before an error is said that may be due to one.
print("all live", flush=True)
"""


def join(number: int) -> list[list[str]]:
    address = free_address()
    return [[sys.executable, "-c", JOINS, address, str(number), str(process)] for process in range(number)]


@pytest.mark.parametrize(
    ("lost", "how", "said_of_it"),
    [
        (0, signal.SIGKILL, "Failed to send RPC to coordination service"),
        (1, signal.SIGKILL, "The following tasks are unhealthy (stopped sending heartbeats):\n1\n"),
        pytest.param(0, signal.SIGSTOP, "RPC: /xla.coordination.CoordinationService/Heartbeat", marks=pytest.mark.full),
        pytest.param(1, signal.SIGSTOP, "The following tasks are unhealthy", marks=pytest.mark.full),
    ],
)
def test_the_others_are_ended_and_told_who_is_lost(lost, how, said_of_it):
    with started(join(3)) as processes:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "joined\n"
        processes[lost].send_signal(how)
        began = time.monotonic()
        for other in (process for number, process in enumerate(processes) if number != lost):
            answer, said = other.communicate()
            assert other.returncode == -signal.SIGABRT
            assert time.monotonic() - began < 60
            assert WHO_IS_LOST in said
            assert said_of_it in said
            assert "all live" not in answer


@pytest.mark.full
def test_where_nobody_is_lost_the_error_is_said():
    with started(join(2)) as processes:
        assert [process.communicate(timeout=90)[0] for process in processes] == ["joined\nall live\n"] * 2
