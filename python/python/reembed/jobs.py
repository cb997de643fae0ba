"""Tables in, tables out: `run`, `verify`, `status` and `merge`, as functions over the program."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Union

from . import _reembed, child
from .errors import from_answer, invalid_config
from .results import MergeResult, Result, RunResult, StatusResult, VerifyResult

PathLike = Union[str, os.PathLike[str]]

# Flags that the functions themselves decide, or that make no sense in a process without a terminal.
_OWN_FLAGS = {
    *("config", "dry-run", "help", "input", "log-format", "output", "output-format", "print-config"),
    *("progress-interval", "quiet", "stop-at-eof", "verbose", "version"),
}


def run(
    input: PathLike | Iterable[PathLike] | None = None,
    output: PathLike | None = None,
    *,
    text: str | Iterable[str] | None = None,
    id: str | None = None,
    config: PathLike | None = None,
    dry_run: bool = False,
    show_progress_bar: bool | None = None,
    **settings: Any,
) -> RunResult:
    """Embeds every row of a table or dataset and writes the same tables with a vector column.

    It is the program's ``reembed run``, in a process of its own under its supervisor: only rows that changed are
    computed, the output is old or new and never between, and a lack of memory kills a worker and never the caller.

    Parameters
    ----------
    input:
        A Parquet file, a directory, a pattern such as ``"in/dt=2026-11-*/"``, or a list of them.
    output:
        A Parquet file, or a directory for a dataset.
    text:
        The columns that make the text of a row, in their order. Without it and ``text_template``: title, description
        and files.
    id:
        The column with the ids of rows.
    config:
        A TOML file as ``reembed init`` writes it. Without one no file is read; a ``pipeline.toml`` of the current
        directory is read only if it is named here. Arguments override it.
    dry_run:
        Validate inputs, count rows and tokens, estimate cost; write nothing.
    show_progress_bar:
        Show a bar by tqdm. None: in a notebook and at a terminal.
    settings:
        Any flag of ``reembed run``, with ``_`` for ``-``: ``model``, ``precision``, ``column``, ``cache_mode``, ``shard``,
        ``only``, ``rebuild=True``, ... What has no flag is set in the TOML.

    Returns
    -------
    RunResult
        With ``counts``, ``tables``, ``report`` and others; a notebook shows its key figures.

    Raises
    ------
    InvalidConfig
        A setting is unknown or contradicts another.
    InvalidInput
        The input cannot be read; ``place`` names the file, row group and column.
    OutputBusy, CacheBusy
        Another run holds the output or the cache.
    ModelMismatch
        The existing vectors come from another model (``switch_model=True`` replaces them).
    TablesFailed
        Some tables of a dataset failed, the others are in place; ``result`` has the counts.
    DeadlineExceeded, OutOfMemory, ModelError, OutputError, CacheError
        As their names say. Every exception has ``result``, a `RunResult` or None.
    KeyboardInterrupt
        After Ctrl-C, once the run has ended. Finished work is kept: the next run goes on from it.
    """
    arguments = _settings("run", settings)
    arguments += _config(config)
    arguments += [f"--text={_names('text', text)}"] if text is not None else []
    arguments += [f"--id={id}"] if id is not None else []
    arguments += ["--dry-run"] if dry_run else []
    arguments += _paths(input, output)
    with _bar(show_progress_bar) as on_progress:
        found = child.answer("run", arguments, on_progress=on_progress, stops_cleanly=True)
    return _result(found, RunResult)


def verify(
    output: PathLike,
    *,
    input: PathLike | None = None,
    sample: int = 32,
    config: PathLike | None = None,
    **settings: Any,
) -> VerifyResult:
    """Checks an output against its footer, its input and its model.

    ``sample`` rows are embedded again and compared. Further settings are the flags of ``reembed verify``, such as
    ``model``. The result is false if a check found a fault; an exception says that it could not be checked.
    """
    arguments = _settings("verify", settings)
    arguments += _config(config)
    arguments += [f"--input={_path('input', input)}"] if input is not None else []
    arguments += [f"--sample={sample}", "--", _path("output", output)]
    return _result(child.answer("verify", arguments), VerifyResult, failed_checks=True)


def status(output: PathLike | None = None, *, config: PathLike | None = None, **settings: Any) -> StatusResult:
    """Tells what is in place of a dataset, and what the next run would do. Nothing is written.

    Settings are those of the run, by the same names: tables that were published with others count as stale. The inputs
    are those of the manifest, unless a TOML or ``input`` names them.
    """
    arguments = _settings("status", settings, {"input"})
    arguments += _config(config)
    arguments += ["--", _path("output", output)] if output is not None else []
    return _result(child.answer("status", arguments), StatusResult)


def merge(output: PathLike | None = None, *, config: PathLike | None = None, **settings: Any) -> MergeResult:
    """Joins what the shards of a dataset have published (``run(..., shard="1/4")``)."""
    arguments = _settings("merge", settings)
    arguments += _config(config)
    arguments += ["--", _path("output", output)] if output is not None else []
    return _result(child.answer("merge", arguments), MergeResult)


def _result(answer: dict[str, Any], kind: Callable[[dict[str, Any]], Any], failed_checks: bool = False) -> Any:
    error = answer["error"]
    if error is None and (answer["exit_code"] == 0 or failed_checks):
        return kind(answer)
    result = RunResult(answer) if kind is RunResult else None
    raise from_answer(error or {"message": f"the program ended with code {answer['exit_code']}"}, result)


def _settings(command: str, settings: dict[str, Any], also: Iterable[str] = ()) -> list[str]:
    """The flags of settings that are given as keyword arguments."""
    own = _OWN_FLAGS - set(also)
    known = {name.replace("-", "_"): (name, takes) for name, takes in _reembed.flags(command) if name not in own}
    arguments = []
    for keyword, value in settings.items():
        if keyword not in known:
            near = difflib.get_close_matches(keyword, known, 1)
            advice = f"did you mean `{near[0]}`?" if near else f"`reembed {command} --help` lists the flags"
            raise invalid_config(f"`{keyword}` is no setting of `{command}`", advice)
        flag, takes_value = known[keyword]
        if value is None or (value is False and not takes_value):
            continue
        if not takes_value:
            if value is not True:
                raise invalid_config(f"`{keyword}` is {value!r}", "give True or False")
            arguments.append(f"--{flag}")
        else:
            arguments.append(f"--{flag}={_value(keyword, value)}")
    return arguments


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, dict)):
        return _names(name, value)
    raise invalid_config(f"`{name}` is of type {type(value).__name__}", "give a str, a number, a path or a list of str")


def _names(name: str, names: str | Iterable[str]) -> str:
    given = [names] if isinstance(names, str) else list(names)
    for one in given:
        if not isinstance(one, str):
            raise invalid_config(f"`{name}` holds a {type(one).__name__}, not a str")
        if "," in one and not isinstance(names, str):
            raise invalid_config(f"`{name}` holds {one!r}, which has a comma", "name such a column in a TOML, with `config`")
    return ",".join(given)


def _config(config: PathLike | None) -> list[str]:
    # An empty file: what lies in the current directory is none of the caller's business.
    return [f"--config={os.devnull if config is None else _path('config', config)}"]


def _paths(input: PathLike | Iterable[PathLike] | None, output: PathLike | None) -> list[str]:
    if input is None or isinstance(input, (str, os.PathLike)):
        named = [("input", input), ("output", output)]
        return [f"--{name}={_path(name, path)}" for name, path in named if path is not None]
    inputs = [_path("input", path) for path in input]
    if not inputs:
        raise invalid_config("`input` is an empty list", "give at least one path")
    if output is None:
        raise invalid_config("`input` is a list, and `output` is missing", "name the output too")
    return ["--", *inputs, _path("output", output)]


def _path(name: str, path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise invalid_config(f"`{name}` is of type {type(path).__name__}", "give a path")
    return os.fsdecode(path)


@contextmanager
def _bar(shown: bool | None) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """What gets the lines about progress; None if no bar is shown."""
    if shown is None:
        shown = "ipykernel" in sys.modules or sys.stderr is not None and sys.stderr.isatty()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        shown = False
    if not shown:
        yield None
        return
    bar = tqdm(desc="reembed", unit="row")

    def show(line: dict[str, Any]) -> None:
        done, total, more = line.get("rows", 0), line.get("of"), {}
        if tables := line.get("tables"):
            # Rows are counted as tables are opened, so tables tell how far the run is.
            bar.unit = "table"
            more["rows"] = done
            done, total = (int(part) for part in tables.split("/")) if isinstance(tables, str) else (0, tables)
        elif line["message"] == "embedding":
            done, total = 0, line.get("rows")
        if line["message"] == "reading back":
            bar.set_description("reembed: reading back", refresh=False)
        if speed := line.get("tasks_per_s"):
            more["rows/s"] = speed
        bar.total = total
        bar.n = done
        bar.set_postfix(more, refresh=False)
        bar.refresh()

    try:
        yield show
        if bar.total is not None:
            bar.n = bar.total
            bar.refresh()
    finally:
        bar.close()


__all__ = ["MergeResult", "Result", "RunResult", "StatusResult", "VerifyResult", "merge", "run", "status", "verify"]
