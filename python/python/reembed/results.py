"""What `run`, `verify`, `status` and `merge` return."""

from __future__ import annotations

import copy
import html
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Counts:
    """Rows, and where their vectors come from. With several vector columns all but ``rows`` and ``input_rows`` are sums."""

    #: Rows of the output.
    rows: int
    #: Rows of the input that were read.
    input_rows: int
    #: Vectors that the model computed.
    embedded: int
    #: Vectors of earlier runs.
    reused: int
    #: Rows with the text of an earlier row.
    duplicates: int
    #: Rows without text.
    empty: int
    #: Rows whose text was truncated.
    truncated: int


@dataclass(frozen=True)
class Tables:
    """The tables of a dataset."""

    listed: int
    taken: int
    published: int
    same_bytes: int
    unchanged: int
    failed: int
    not_tried: int
    under_way: int
    gone: int
    deleted: int


@dataclass(frozen=True)
class Estimate:
    """What a run would cost."""

    #: Tokens that the models would compute.
    tokens: int
    #: The time of the models.
    seconds: float
    #: Bytes of the new vectors, before compression.
    vector_bytes: int
    #: Bytes of the output.
    output_bytes: int
    #: Bytes by which the vector cache may grow.
    cache_growth: int


@dataclass(frozen=True)
class Check:
    """One check of `verify`."""

    what: str
    #: The vector column, if there are several.
    column: str | None
    #: ``"ok"``, ``"wrong"`` or ``"skipped"``.
    verdict: str
    found: str


@dataclass(frozen=True)
class NamedTable:
    """A table and why it is named."""

    table: str
    reason: str


@dataclass(frozen=True)
class TableUnderWay:
    """A table that shards embed together: how many of its ranges have a part."""

    table: str
    parts: int
    ranges: int


class Result:
    """The answer of the program. Its parts are attributes; `to_dict` has it whole."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer
        #: The name of this run in logs and reports.
        self.run_id: str = answer["run_id"]
        #: Seconds from start to end.
        self.seconds: float = answer["seconds"]
        #: Warnings, one sentence each.
        self.warnings: list[str] = list(answer["warnings"])
        #: The fingerprint of the model of the first vector column, if it is known.
        self.fingerprint: str | None = answer["fingerprint"]
        paths = answer["paths"]
        #: What was read.
        self.input: Path | None = _path(paths["input"])
        #: What was written or checked.
        self.output: Path | None = _path(paths["output"])

    def to_dict(self) -> dict[str, Any]:
        """The program's answer as docs/schemas.md describes it."""
        return copy.deepcopy(self._answer)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self._key_figures())
        return f"{type(self).__name__}({told})"

    def _repr_html_(self) -> str:
        """The key figures as a table, for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{_text(name)}</th><td style='text-align:left'>{_text(value)}</td></tr>"
            for name, value in self._key_figures()
        )
        title = f"reembed {_text(self._answer['command'])}"
        return f"<table><caption>{title}</caption><tbody>{rows}{self._more_rows()}</tbody></table>"

    def _key_figures(self) -> list[tuple[str, Any]]:
        raise NotImplementedError

    def _more_rows(self) -> str:
        return ""


class RunResult(Result):
    """What a run did, or, of a dry run, what it would cost."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer)
        #: Rows; of a dry run those that are expected. None if the run failed before they were counted.
        self.counts: Counts | None = _made(Counts, answer["counts"])
        #: The tables of a dataset; None for one table.
        self.tables: Tables | None = _made(Tables, answer["tables"])
        #: What a dry run expects; None otherwise.
        self.estimate: Estimate | None = _made(Estimate, answer["estimate"])
        #: Whether the output is as it was before, byte for byte.
        self.output_unchanged: bool | None = answer["output_unchanged"]
        #: The page of the report.
        self.report: Path | None = _path(answer["paths"]["report"])
        #: The vector cache.
        self.cache: Path | None = _path(answer["paths"]["cache"])

    def _key_figures(self) -> list[tuple[str, Any]]:
        figures: list[tuple[str, Any]] = [("output", self.output)]
        if self.tables is not None:
            tables = self.tables
            figures += [("tables", tables.taken), ("published", tables.published), ("unchanged", tables.unchanged)]
            figures += [("failed", tables.failed)] if tables.failed else []
        if self.counts is not None:
            figures += [(name.name, getattr(self.counts, name.name)) for name in fields(Counts)]
        if self.estimate is not None:
            return [*figures, ("tokens", self.estimate.tokens), ("expected_seconds", round(self.estimate.seconds, 1))]
        figures.append(("seconds", round(self.seconds, 1)))
        if self.counts is not None and self.seconds > 0:
            figures.append(("rows_per_second", round(self.counts.input_rows / self.seconds, 1)))
        return figures

    def _more_rows(self) -> str:
        rows = "".join(f"<tr><th style='text-align:left'>warning</th><td>{_text(one)}</td></tr>" for one in self.warnings)
        if self.report is not None:
            link = html.escape(self.report.absolute().as_uri(), quote=True)
            rows += f"<tr><th style='text-align:left'>report</th><td><a href=\"{link}\">{_text(self.report)}</a></td></tr>"
        return rows


class VerifyResult(Result):
    """What `verify` found. It is true if no check found a fault."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer)
        self.checks: list[Check] = [Check(**check) for check in answer["checks"]]

    @property
    def ok(self) -> bool:
        """Whether no check found a fault."""
        return all(check.verdict != "wrong" for check in self.checks)

    def __bool__(self) -> bool:
        return self.ok

    def _key_figures(self) -> list[tuple[str, Any]]:
        named = [(f"{one.what} ({one.column})" if one.column else one.what, one) for one in self.checks]
        return [("output", self.output), *((name, f"{one.verdict}: {one.found}") for name, one in named)]


class StatusResult(Result):
    """What is in place of a dataset, and what the next run would do."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer)
        status = answer["status"]
        #: Tables that are in place, and their rows.
        self.in_place: int = status["in_place"]
        self.rows: int = status["rows"]
        #: Tables that the next run would publish.
        self.to_publish: list[NamedTable] = [NamedTable(**one) for one in status["to_publish"]]
        #: Those that shards embed together.
        self.under_way: list[TableUnderWay] = [TableUnderWay(**one) for one in status["under_way"]]
        #: Tables that failed in the last run.
        self.failed: list[NamedTable] = [NamedTable(**one) for one in status["failed"]]
        #: Published tables whose input is gone.
        self.gone: list[str] = list(status["gone"])
        #: Published tables that the run does not take, and whose output is not as it was published.
        self.elsewhere_wrong: list[str] = list(status["elsewhere_wrong"])
        #: Whether a run has begun and not finished.
        self.unfinished: bool = status["unfinished"]

    def _key_figures(self) -> list[tuple[str, Any]]:
        return [
            ("output", self.output),
            ("in_place", self.in_place),
            ("rows", self.rows),
            ("to_publish", len(self.to_publish)),
            ("failed", len(self.failed)),
            ("gone", len(self.gone)),
            ("unfinished", self.unfinished),
        ]


class MergeResult(Result):
    """What a merge of shards did."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer)
        merge = answer["merge"]
        self.shards: int = merge["shards"]
        #: Tables in place, and their rows.
        self.tables: int = merge["tables"]
        self.rows: int = merge["rows"]
        #: Tables that could not be published.
        self.failed: list[NamedTable] = [NamedTable(**one) for one in merge["failed"]]
        #: Vectors from the caches of the shards.
        self.cached: int = merge["cached"]
        #: Outputs without an input that were deleted.
        self.deleted: int = merge["deleted"]

    def _key_figures(self) -> list[tuple[str, Any]]:
        return [
            ("output", self.output),
            ("shards", self.shards),
            ("tables", self.tables),
            ("rows", self.rows),
            ("failed", len(self.failed)),
        ]


def _made(kind: type[_T], found: dict[str, Any] | None) -> _T | None:
    return None if found is None else kind(**found)


def _path(found: str | None) -> Path | None:
    return None if found is None else Path(found)


def _text(value: Any) -> str:
    return html.escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
