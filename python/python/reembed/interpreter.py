"""Refuses interpreters other than the main one, which neither NumPy nor the native part supports."""

from __future__ import annotations

import importlib


def refuse_subinterpreter() -> None:
    """Raises `ImportError` in a sub-interpreter.

    The native part would notice only the second interpreter of a process, and call that one wrong.
    """
    # The name of CPython 3.13 and later, then that of the versions before.
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            module = importlib.import_module(name)
            # 3.13 gives a tuple: the id, and whence the interpreter is.
            current, main = (_id(found) for found in (module.get_current(), module.get_main()))
        except (ImportError, AttributeError):
            continue
        if current != main:
            raise ImportError(
                f"reembed cannot be imported in a sub-interpreter (this is number {current}); "
                "use threads, since reembed works without the GIL, or processes"
            )
        return


def _id(found) -> int:
    return int(found[0] if isinstance(found, tuple) else found)
