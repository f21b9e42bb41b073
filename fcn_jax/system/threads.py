"""Threads that work off a list of jobs in its order, while the rest of the program goes on.

A job is one long call that cannot be interrupted, such as a compilation. So a program that ends early ends after the
jobs that have begun: a thread that is cut off inside such a call aborts the process.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class JobsInThreads(Generic[Job, Result]):
    """Jobs that threads do in the given order.

    After the first error no other job begins, and each of these has the same error in place of a result.

    Args:
        work: the function that does a job.
        on_done: function that is called in the job's thread, just before its result can be read.
    """

    def __init__(
        self,
        work: Callable[[Job], Result],
        jobs: Sequence[Job],
        *,
        num_threads: int,
        on_done: Callable[[Job, Result], None] = lambda _job, _result: None,
    ):
        self._work, self._on_done = work, on_done
        self.results: list[Future[Result]] = [Future() for _ in jobs]
        """The result of every job, in the order of `jobs`."""
        self._left = deque(zip(jobs, self.results, strict=True))
        for number in range(min(num_threads, len(jobs))):
            threading.Thread(target=self._work_off, name=f"job {number}").start()

    def _work_off(self) -> None:
        while self._left:
            try:
                job, result = self._left.popleft()
            except IndexError:  # Another thread took the last one.
                return
            try:
                done = self._work(job)
                self._on_done(job, done)
            except BaseException as error:
                result.set_exception(error)
                self._give_up(error)
            else:
                result.set_result(done)

    def _give_up(self, error: BaseException) -> None:
        while self._left:
            try:
                self._left.popleft()[1].set_exception(error)
            except IndexError:
                return

    @property
    def are_over(self) -> bool:
        """True once every job is done, or one has failed."""
        done = [result for result in self.results if result.done()]
        return len(done) == len(self.results) or any(result.exception() for result in done)

    def wait(self) -> list[Result]:
        """Return all results, once there are all; raise the first error at once."""
        for result in wait(self.results, return_when=FIRST_EXCEPTION).done:
            if error := result.exception():
                raise error
        return [result.result() for result in self.results]

    def cancel(self) -> int:
        """Let no other job begin; return how many have begun and go on."""
        self._give_up(RuntimeError("the jobs were cancelled"))
        return sum(not result.done() for result in self.results)
