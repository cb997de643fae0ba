"""The program `reembed`: `python -m reembed`, and the command that the wheel installs."""

from __future__ import annotations

import os
import signal
import sys

from . import _reembed


def words() -> list[str]:
    """What starts the program in another process, before its arguments."""
    # Without -P the current directory comes first in the path of modules; 3.10 has no such option.
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safe_path, "-m", "reembed"]


def main() -> None:
    """Runs the program with the arguments of this process, and ends the process."""
    # The program handles Ctrl-C itself. A signal that is ignored, as of a job in the background, stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = _reembed.program(words(), ["reembed", *sys.argv[1:]])
    # Python has nothing to clean up, and must not wait for threads of the program.
    os._exit(code)


if __name__ == "__main__":
    main()
