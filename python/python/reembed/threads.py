"""How many threads an `Embedder` takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from .errors import invalid_config

# As in the program.
MOST_THREADS = 1024


def resolve_threads(argument: int | None) -> int | None:
    """The threads of an `Embedder` in this process; None: as many as CPU affinity and cgroup allow."""
    return choose_threads(argument, os.environ, engine_grant)


def choose_threads(
    argument: int | None, environment: Mapping[str, str], grant: Callable[[], int | None]
) -> int | None:
    """The first that says a number: the argument, ``REEMBED_COMPUTE_THREADS``, the grant, ``OMP_NUM_THREADS``."""
    if argument is not None:
        try:
            number = argument.__index__()
        except AttributeError:
            number = 0
        if isinstance(argument, bool) or not 1 <= number <= MOST_THREADS:
            raise invalid_config(f"`threads` is {argument!r}", f"give a whole number from 1 to {MOST_THREADS}")
        return number
    own = environment.get("REEMBED_COMPUTE_THREADS", "")
    if own and own != "auto":
        if not own.isdecimal() or not 1 <= int(own) <= MOST_THREADS:
            raise invalid_config(
                f"REEMBED_COMPUTE_THREADS is {own!r}", f"set it to a number of threads from 1 to {MOST_THREADS}"
            )
        return int(own)
    granted = grant()
    if granted is not None:
        return min(granted, MOST_THREADS)
    # OpenMP allows a list, one number for each level; what it cannot read, it ignores.
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isdecimal() and int(first) > 0 else None


def engine_grant() -> int | None:
    """The CPUs that Ray or Spark grants to this worker; None in any other process.

    An engine that this process has not imported did not start it, so none is imported here.
    """
    for module, read in (("ray", _ray_cpus), ("pyspark.taskcontext", _spark_cpus)):
        if module in sys.modules:
            cpus = read(sys.modules[module])
            if cpus is not None:
                # A share of a CPU, or none at all, still needs a thread.
                return max(1, int(cpus))
    return None


def _ray_cpus(ray) -> float | None:
    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE:
        return None
    return context.get_assigned_resources().get("CPU", 0)


def _spark_cpus(taskcontext) -> int | None:
    # There is a context in a task only, and not on the driver.
    context = taskcontext.TaskContext.get()
    return None if context is None else context.cpus()
