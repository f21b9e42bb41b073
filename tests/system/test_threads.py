"""Jobs in threads: in order, all of them, at the same time, and one error for all that did not begin."""

import threading

import pytest

from fcn_jax.system.threads import JobsInThreads

SECONDS = 30


def test_one_thread_does_all_jobs_in_their_order():
    begun: list[int] = []
    jobs = JobsInThreads(lambda job: begun.append(job) or 10 * job, [3, 1, 2], num_threads=1)
    assert jobs.wait() == [30, 10, 20]
    assert begun == [3, 1, 2]
    assert jobs.are_over


def test_threads_work_at_the_same_time():
    meet = threading.Barrier(3)
    jobs = JobsInThreads(lambda _: meet.wait(SECONDS), range(6), num_threads=3)
    assert sorted(jobs.wait()) == [0, 0, 1, 1, 2, 2]


def test_an_error_is_raised_at_once_and_no_other_job_begins():
    go_on, begun = threading.Event(), []

    def work(job: str) -> str:
        begun.append(job)
        if job == "fails":
            raise ValueError("it fails")
        go_on.wait(SECONDS)
        return job

    jobs = JobsInThreads(work, ["slow", "fails", "later"], num_threads=2)
    try:
        with pytest.raises(ValueError, match="it fails"):
            jobs.wait()
        assert jobs.are_over
        assert not jobs.results[0].done()
        with pytest.raises(ValueError, match="it fails"):
            jobs.results[2].result(SECONDS)
        assert sorted(begun) == ["fails", "slow"]
    finally:
        go_on.set()
    assert jobs.results[0].result(SECONDS) == "slow"


def test_cancelled_jobs_do_not_begin():
    go_on, has_begun = threading.Event(), threading.Event()

    def work(job: int) -> int:
        has_begun.set()
        go_on.wait(SECONDS)
        return job

    jobs = JobsInThreads(work, [1, 2], num_threads=1)
    has_begun.wait(SECONDS)
    assert jobs.cancel() == 1
    go_on.set()
    assert jobs.results[0].result(SECONDS) == 1
    with pytest.raises(RuntimeError, match="cancelled"):
        jobs.results[1].result(SECONDS)


def test_what_is_told_of_a_job_is_told_before_its_result():
    told: list[tuple[int, int]] = []
    jobs = JobsInThreads(lambda job: -job, [1, 2], num_threads=2, on_done=lambda *pair: told.append(pair))
    jobs.wait()
    assert sorted(told) == [(1, -1), (2, -2)]
