"""Tables and columns of other libraries: how their texts are read, and how vectors go back into them.

pyarrow, Polars and pandas are looked for among the types of what is given and never imported: whoever gives a table of
theirs has imported them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _reembed
from .errors import InvalidInput, invalid, invalid_config

if TYPE_CHECKING:
    from ._reembed import ArrowTable, VectorColumn


# Their own tables come out as they went in.
LIBRARIES = ("pyarrow", "polars", "pandas")


def library_of(thing: Any) -> str:
    """The library that an object is of, by its type: ``"pyarrow"``, ``"polars"``, ``"pandas"`` or another module."""
    return type(thing).__module__.partition(".")[0]


def texts_of(sentences: Any) -> Any:
    """The texts as the native part reads them: Arrow data, characters of NumPy, or an iterable."""
    if isinstance(sentences, (list, tuple)):
        return sentences
    if isinstance(sentences, str):
        raise invalid("`sentences` is a str", "give a list of str")
    if isinstance(sentences, (bytes, bytearray)):
        raise invalid("`sentences` is bytes, not a str", "decode it: `sentences.decode()`")
    if isinstance(sentences, Mapping) or _is_table(sentences):
        raise invalid(f"`sentences` is a table or a mapping{_names(sentences)}", "give one column of it")
    if isinstance(sentences, np.ndarray):
        return _texts_of_array(sentences)
    if library_of(sentences) == "pandas":
        return _texts_of_series(sentences)
    if _offers_arrow(sentences):
        return sentences
    # Libraries without capsules, such as an older pyarrow or Polars.
    for method in ("to_pylist", "to_list", "tolist"):
        if callable(convert := getattr(sentences, method, None)):
            return convert()
    if not isinstance(sentences, Iterable):
        raise invalid(f"`sentences` is of type {type(sentences).__name__}", "give a str or an iterable of str")
    return sentences


def task_rows(tasks: Any) -> Any:
    """The rows of a frame or table as mappings of the columns of a task; other tasks as they are."""
    if not _is_table(tasks):
        return tasks
    names = [name for name in ("title", "description", "files") if name in _column_names(tasks)]
    if not names:
        raise invalid("`tasks` is a table without a column title, description or files", "rename its columns")
    library = library_of(tasks)
    if library == "pandas":
        return tasks[names].to_dict("records")
    if library == "polars":
        return tasks.select(names).to_dicts()
    if library == "pyarrow":
        return tasks.select(names).to_pylist()
    raise invalid(f"`tasks` is a table of {library}", "give one of pandas, Polars or pyarrow, or a list of mappings")


def is_null(field: Any) -> bool:
    """Whether a field of a row is null: None, NaN, ``pandas.NA`` or ``NaT``."""
    is_nan = isinstance(field, (float, np.floating)) and bool(field != field)
    return field is None or is_nan or type(field).__name__ in ("NAType", "NaTType")


def like_input(vectors: VectorColumn, column: Any) -> Any:
    """The vectors as the library of ``column`` has them; the column itself for any other."""
    library = library_of(column)
    if library == "pyarrow":
        import pyarrow as pa

        array = pa.array(vectors)
        return pa.chunked_array([array]) if isinstance(column, pa.ChunkedArray) else array
    if library == "polars":
        import polars as pl

        return pl.Series(vectors).alias(column.name)
    return vectors


def read_table(table: Any, columns: list[str] | None, template: str | None) -> ArrowTable:
    """The columns of a table that the recipe of a text needs, or all of them where the library cannot choose."""
    library = library_of(table)
    if library == "polars" and not hasattr(table, "get_column"):
        raise invalid(
            f"`table` is a polars.{type(table).__name__}, not a table",
            "collect it: `frame.collect()`" if hasattr(table, "collect") else "give a DataFrame",
        )
    is_own = library in LIBRARIES
    if isinstance(table, (str, bytes, Mapping)) or not (_is_table(table) or not is_own and _offers_arrow(table)):
        raise invalid(
            f"`table` is of type {type(table).__name__}",
            "give a table of pyarrow, Polars or pandas, or an object with `__arrow_c_stream__`",
        )
    if not is_own:
        return _reembed.ArrowTable.read(table)
    names = _column_names(table)
    strings = [name for name in names if isinstance(name, str)]
    needed, is_complete = _reembed.needed_columns(strings, columns=columns, template=template)
    # A name that is there twice cannot be chosen: the native part refuses it by name.
    chosen = [name for name in dict.fromkeys(needed) if names.count(name) == 1]
    if is_complete and len(chosen) < len(needed):
        twice = next(name for name in needed if names.count(name) > 1)
        raise invalid(f"there are two columns `{twice}`", "rename one of them")
    if library == "pandas":
        if not is_complete:
            chosen = [name for name in chosen if _can_be_text(table[name])]
        return _reembed.ArrowTable.from_columns([(name, _pandas_column(table[name])) for name in chosen])
    return _reembed.ArrowTable.read(table.select(chosen))


def _can_be_text(series: Any) -> bool:
    """Whether a column can be read at all: where another one is missing, that is the error to tell."""
    try:
        _reembed.ArrowTable.from_columns([(series.name, _pandas_column(series))])
    except InvalidInput:
        return False
    return True


def check_name(table: Any, column: str, overwrite: bool) -> None:
    """Raises `InvalidConfig` if a table has a column of that name and it may not be replaced."""
    if not isinstance(column, str) or not column:
        raise invalid_config(f"`column` is {column!r}", "give the name of the new column")
    names = _column_names(table)
    if names.count(column) > 1:
        raise invalid(f"there are two columns `{column}`", "rename one of them")
    if column in names and not overwrite:
        raise invalid_config(
            f"the table has a column `{column}` already", "say another `column`, or `overwrite=True` to replace it"
        )


def with_column(table: Any, column: str, vectors: VectorColumn) -> Any:
    """The table of its own kind with a column of vectors at its end, or in the place of the column of that name."""
    library = library_of(table)
    if library == "pyarrow":
        return _pyarrow_with_column(table, column, vectors)
    if library == "polars":
        import polars as pl

        return table.with_columns(pl.Series(vectors).alias(column))
    if library == "pandas":
        return _pandas_with_column(table, column, vectors)
    return table.with_column(column, vectors)


def _is_table(thing: Any) -> bool:
    # A Series of pandas has neither; NumPy's record arrays have names of another kind.
    return hasattr(thing, "column_names") or hasattr(thing, "columns")


def _offers_arrow(thing: Any) -> bool:
    return hasattr(thing, "__arrow_c_stream__") or hasattr(thing, "__arrow_c_array__")


def _column_names(table: Any) -> list[Any]:
    if library_of(table) == "pyarrow":
        return list(table.schema.names)
    names = getattr(table, "column_names", None)
    return list(table.columns if names is None else names)


def _names(table: Any) -> str:
    """The first names of its columns, for a message."""
    try:
        names = list(table) if isinstance(table, Mapping) else _column_names(table)
    except TypeError:
        return ""
    shown = ", ".join(f"`{name}`" for name in names[:20])
    return f" with the columns {shown}" if shown else ""


def _texts_of_array(array: np.ndarray[Any, Any]) -> Any:
    if array.ndim == 1 and array.dtype.kind == "U" and array.dtype.itemsize > 0:
        # Four bytes a character, in the order of this machine.
        native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        return native.view(np.uint32).reshape(len(array), array.dtype.itemsize // 4)
    return array.tolist()


def _texts_of_series(series: Any) -> Any:
    """A Series of pandas: its strings where they lie if pyarrow holds them, else its objects."""
    # A Series of objects would be converted as a whole, and an error would name no position.
    is_object = getattr(series.dtype, "kind", "O") == "O" and str(series.dtype) == "object"
    if not is_object and hasattr(series, "__arrow_c_stream__"):
        try:
            # pandas itself needs pyarrow for this.
            return _Capsule(series.__arrow_c_stream__())
        except ImportError:
            pass
    return series.tolist()


class _Capsule:
    """A stream that was asked for already."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._stream


def _pandas_column(series: Any) -> Any:
    """A column of a DataFrame for `ArrowTable.from_columns`."""
    if str(series.dtype) in ("object", "str", "string", "category") or str(series.dtype).startswith("string"):
        return _texts_of_series(series)
    frame = series.to_frame()
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            # As pandas writes it to Parquet, for which it needs pyarrow: numbers and times keep their types.
            return _reembed.ArrowTable.read(_Capsule(frame.__arrow_c_stream__()))
        except ImportError:
            pass
    if series.dtype == np.float32:
        return series.to_numpy()
    if getattr(series.dtype, "kind", "") in "biuf":
        return series.tolist()
    raise invalid(
        f"column `{series.name}`: its type {series.dtype} can be read with pyarrow only",
        "install pyarrow, or convert the column to strings",
    )


def _pyarrow_with_column(table: Any, column: str, vectors: VectorColumn) -> Any:
    import pyarrow as pa

    array = pa.array(vectors)
    field = pa.field(column, array.type)
    at = table.schema.get_field_index(column)
    if isinstance(table, pa.Table):
        values = pa.chunked_array([array])
        return table.append_column(field, values) if at < 0 else table.set_column(at, field, values)
    columns, schema = list(table.columns), table.schema
    if at < 0:
        return pa.RecordBatch.from_arrays([*columns, array], schema=schema.append(field))
    columns[at] = array
    return pa.RecordBatch.from_arrays(columns, schema=schema.set(at, field))


def _pandas_with_column(frame: Any, column: str, vectors: VectorColumn) -> Any:
    """An array of float32 in each row, as pandas reads a list from Parquet; None where there is none."""
    rows = np.empty(len(vectors), dtype=object)
    values = vectors.to_numpy()
    missing = np.isnan(values[:, 0]) if vectors.null_count else None
    for row in range(len(rows)):
        rows[row] = None if missing is not None and missing[row] else values[row]
    copy = frame.copy(deep=False)
    copy[column] = rows
    return copy
