"""Runs the program in a process of its own: its answer, its log, its progress, and Ctrl-C.

::

    this process                        python -m reembed run …
      stdin   ── stays open ──────────►   stops cleanly when it is closed, as by the death of this process
      main thread ◄── queue ◄─ stderr ─   log lines and progress, a JSON object each
      answer  ◄────────────── stdout ──   one JSON object, after a failure too

So a run that needs more memory than there is never takes the caller with it, and every promise of the program holds.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

from .__main__ import words
from .errors import InternalError

LOGGER = logging.getLogger("reembed")

# Seconds between two lines about progress.
_INTERVAL = 0.2
# The program ends itself this many seconds after a request to stop, at the latest; then it is killed.
_GRACE = 12.0
_LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO, "DEBUG": logging.DEBUG}
# How many of the last lines are told if the program ends without an answer.
_LAST_LINES = 5


def answer(
    command: str,
    arguments: Sequence[str | bytes],
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    stops_cleanly: bool = False,
) -> dict[str, Any]:
    """The answer of a command of the program, as ``docs/schemas.md`` describes it.

    ``on_progress`` gets the fields of each line about progress; without it they are logged as the others are.
    ``stops_cleanly``: the command watches its standard input, and handles Ctrl-C.

    Raises `KeyboardInterrupt` once the program has ended after Ctrl-C.
    """
    options = ["--output-format=json", "--log-format=json"]
    if on_progress is not None:
        options.append(f"--progress-interval={_INTERVAL}")
    if LOGGER.isEnabledFor(logging.DEBUG):
        options.append("--verbose")
    if stops_cleanly:
        options.append("--stop-at-eof")
    process = subprocess.Popen(
        [*words(), command, *options, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        # Ctrl-C at a terminal reaches this process alone, which then decides.
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr
    with process.stdin, process.stdout, process.stderr:
        lines = _Lines(process.stderr, on_progress)
        printed: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(process.stdout, printed), daemon=True)
        reader.start()
        try:
            lines.handle()
            process.wait()
        except BaseException:
            _stop(process, lines)
            raise
        reader.join()
        return _parsed(b"".join(printed), process.returncode, lines.last)


class _Lines:
    """The lines of standard error, which the calling thread handles: loggers and bars may want that thread."""

    def __init__(self, stderr: IO[bytes], on_progress: Callable[[dict[str, Any]], None] | None) -> None:
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._on_progress = on_progress
        self.last: list[str] = []
        threading.Thread(target=_pump, args=(stderr, self._queue), daemon=True).start()

    def handle(self) -> None:
        """Handles lines until standard error is closed."""
        while (line := self._queue.get()) is not None:
            self._handle(line.decode(errors="replace").rstrip("\n"))

    def _handle(self, line: str) -> None:
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            # Something below the program wrote it, such as the dynamic linker.
            self.last = [*self.last, line][-_LAST_LINES:]
            LOGGER.warning("%s", line)
            return
        message = str(fields.pop("message", ""))
        level = _LEVELS.get(fields.pop("level", ""), logging.DEBUG)
        fields.pop("timestamp", None)
        if self._on_progress is not None and message in ("dataset", "embedding", "progress", "reading back"):
            self._on_progress({"message": message, **fields})
            if message in ("progress", "reading back"):
                return
        shown = {name: value for name, value in fields.items() if name != "run_id"}
        text = " ".join([message, *(f"{name}={value}" for name, value in shown.items())])
        if level >= logging.ERROR:
            self.last = [*self.last, text][-_LAST_LINES:]
            if "table" not in fields:
                # The failure of the command is raised; the exception is where it is told.
                level = logging.DEBUG
        LOGGER.log(level, "%s", text, extra={"reembed": fields})


def _pump(stderr: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    try:
        for line in stderr:
            lines.put(line)
    except (OSError, ValueError):
        # Closed by `answer`, which needs no more of it.
        pass
    finally:
        lines.put(None)


def _read_all(stdout: IO[bytes], printed: list[bytes]) -> None:
    try:
        printed.append(stdout.read())
    except (OSError, ValueError):
        pass


def _stop(process: subprocess.Popen[bytes], lines: _Lines) -> None:
    """Asks the program to stop and waits for its end; another Ctrl-C ends it at once."""
    try:
        process.send_signal(signal.SIGINT)
        process.wait(_GRACE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        # The worker dies with its supervisor.
        process.kill()
        process.wait()
    lines.last.clear()


def _parsed(printed: bytes, code: int, last: list[str]) -> dict[str, Any]:
    try:
        parsed = json.loads(printed)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    told = "; ".join(last) or "it wrote nothing"
    raise InternalError(
        f"the program {how} without an answer: {told}",
        advice="what was finished is kept: start it again, and report this as a bug if it happens again",
    )


def _environment() -> dict[str, str]:
    """This environment, in which the program finds this package even if `sys.path` was changed."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, others] if others else [package])}
