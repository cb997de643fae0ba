"""The exceptions of reembed.

Each has the attributes

- ``kind``: the class of failure, such as ``"Data"``;
- ``code``: a word for programs, such as ``"input-data"``, the same in every version;
- ``advice``: what helps, or None;
- ``place``: where it was found, such as ``"sentences[3]"``, or None.
"""

from __future__ import annotations

import builtins
from typing import Any


class ReembedError(Exception):
    """The base of all exceptions of reembed."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "Internal",
        code: str = "internal",
        advice: str | None = None,
        place: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.advice = advice
        self.place = place
        #: Of `run`: what was done, as far as it is known.
        self.result: Any = None

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.advice is None else f"{message} ({self.advice})"

    def __reduce__(self):
        return _restored, (type(self), self.args, self.__dict__.copy())


def _restored(kind_of_error, arguments, attributes):
    error = kind_of_error(*arguments)
    error.__dict__.update(attributes)
    return error


class InvalidInput(ReembedError, ValueError):
    """A text or a table cannot be used. ``place`` says which one."""


class UnsupportedArgument(InvalidInput, TypeError):
    """An argument of sentence-transformers that reembed does not have; the message names it."""


class InvalidConfig(ReembedError, ValueError):
    """An argument, a setting or a variable of the environment is unknown or contradicts another."""


class ModelError(ReembedError):
    """The files of the model are damaged or not supported."""


class ModelUnavailable(ModelError):
    """The model is not on this machine and could not be fetched. Another try may help."""


class ModelMismatch(ReembedError):
    """The vectors would come from another model than those that exist."""


class OutOfMemory(ReembedError, builtins.MemoryError):
    """A single text, or the model, does not fit in memory."""


class EncodeError(ReembedError):
    """The tokenizer or the model failed on a text."""


class OutputError(ReembedError):
    """The output could not be written or published."""


class OutputBusy(OutputError):
    """Another run writes this output."""


class TablesFailed(OutputError):
    """Some tables of a dataset could not be published; the others are in place."""


class CacheError(ReembedError):
    """The vector cache could not be read or written."""


class CacheBusy(CacheError):
    """Another process has the vector cache open."""


class Stopped(ReembedError):
    """The work was asked to stop. Finished work is kept."""


class DeadlineExceeded(Stopped):
    """The deadline passed."""


class InternalError(ReembedError):
    """A bug in reembed or in a library below it."""


# The exception of each code of the encoder.
BY_CODE = {
    "config": InvalidConfig,
    "usage": InvalidConfig,
    "input": InvalidInput,
    "output-path": OutputError,
    "output-locked": OutputBusy,
    "model": ModelError,
    "model-fetch": ModelUnavailable,
    "input-data": InvalidInput,
    "out-of-memory": OutOfMemory,
    "other-vectors": ModelMismatch,
    "encode": EncodeError,
    "output": OutputError,
    "tables-failed": TablesFailed,
    "cache": CacheError,
    "cache-busy": CacheBusy,
    "interrupted": Stopped,
    "terminated": Stopped,
    "deadline": DeadlineExceeded,
    "internal": InternalError,
}


def from_native(
    message: str, kind: str, code: str, advice: str | None, place: str | None
) -> ReembedError:
    """The exception of an error of the native part."""
    known = BY_CODE.get(code, ReembedError)
    return known(message, kind=kind, code=code, advice=advice, place=place)


def from_answer(error: dict[str, Any], result: Any) -> ReembedError:
    """The exception of the error in an answer of the program."""
    place = ": ".join([*([error["file"]] if error.get("file") else []), *error.get("place", [])])
    message = ": ".join([*([place] if place else []), error["message"], *error.get("causes", [])])
    found = from_native(
        message, error.get("kind", "Other"), error.get("code", "failed"), error.get("advice"), place or None
    )
    found.result = result
    return found


def invalid(message: str, advice: str | None = None, place: str | None = None) -> InvalidInput:
    """An `InvalidInput` that is found before the native part sees it."""
    return InvalidInput(message, kind="Input", code="input", advice=advice, place=place)


def unsupported(message: str, advice: str | None = None) -> UnsupportedArgument:
    """An `UnsupportedArgument`."""
    return UnsupportedArgument(message, kind="Config", code="config", advice=advice)


def invalid_config(message: str, advice: str | None = None) -> InvalidConfig:
    """An `InvalidConfig` that is found before the native part sees it."""
    return InvalidConfig(message, kind="Config", code="config", advice=advice)
