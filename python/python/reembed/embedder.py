"""The class `Embedder`: arguments as sentence-transformers has them, checked, and handed to the native part."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _reembed
from .errors import (
    InvalidConfig,
    ModelMismatch,
    invalid,
    invalid_config,
    unsupported,
)
from .threads import resolve_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# The names of prompts that sentence-transformers looks for, in its order.
_QUERY = ("query",)
_DOCUMENT = ("document", "passage", "corpus")


class Embedder:
    """A loaded sentence model that makes vectors of texts.

    Parameters
    ----------
    model:
        An id such as ``"sentence-transformers/all-MiniLM-L6-v2"`` (a name without ``/`` is one of
        sentence-transformers), or a directory in the layout of sentence-transformers. An id is looked for in the
        model cache of reembed and in that of Hugging Face, then fetched.
    precision:
        ``"f32"``, ``"bf16x3"``, ``"bf16"`` or ``"bf16-avx512"``; None: the program's own choice on this machine.
    threads:
        Threads of the work; None: ``REEMBED_COMPUTE_THREADS``, else the CPUs that Ray or Spark grants to this worker,
        else ``OMP_NUM_THREADS``, else as many as CPU affinity and cgroup allow.
    fingerprint:
        The model must have this fingerprint.

    Raises
    ------
    ModelError
        Its files are damaged or not supported; `ModelUnavailable` if it could not be fetched.
    InvalidConfig
        An argument is not possible.
    ModelMismatch
        The model has another fingerprint.

    One `Embedder` may be used from several threads at once. It can be pickled, which keeps its model's name, and not
    its weights. A forked process loads the model again when it first needs it.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        precision: str | None = None,
        threads: int | None = None,
        *,
        fingerprint: str | None = None,
    ) -> None:
        directory, name = _source(model)
        self._source = directory if name is None else name
        self._threads = threads
        # Texts of prompts, by the names that were looked for and by the name that was asked for.
        self._prompts: dict[tuple[str, ...], str] = {}
        self._named: dict[str, str] = {}
        self._checked: set[str] = set()
        self._model = _reembed.Model(
            directory=directory,
            id=name,
            precision=precision,
            threads=resolve_threads(None if threads is None else _positive("threads", threads)),
            python=sys.executable or "python3",
        )
        if fingerprint is not None and fingerprint != self.fingerprint:
            raise ModelMismatch(
                f"the model {self._source} has the fingerprint {self.fingerprint}, expected {fingerprint}",
                kind="OtherModel",
                code="other-vectors",
                advice="open the model, the version and the precision that made the other vectors",
            )

    @property
    def dimension(self) -> int:
        """Components of a vector of the model."""
        return self._model.dimension

    @property
    def max_seq_length(self) -> int:
        """Tokens to which a text is cut, special tokens included."""
        return self._model.max_seq_length

    @property
    def fingerprint(self) -> str:
        """What vectors depend on, as a hash: two vectors may be compared if theirs are equal.

        It is the one that the program writes, for the model's default prompt.
        """
        return self._model.fingerprint

    @property
    def precision(self) -> str:
        """The precision of the factors of matrix products."""
        return self._model.precision

    def __repr__(self) -> str:
        return f"Embedder({self._source!r}, precision={self.precision!r}, threads={self._threads!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "precision": self.precision,
            "threads": self._threads,
            "fingerprint": self.fingerprint,
        }
        return _restored, (type(self), self._source, options)

    def encode(
        self,
        sentences: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool | None = None,
        *,
        truncate_dim: int | None = None,
    ) -> NDArray[np.float32]:
        """Makes vectors of texts, in order.

        Parameters
        ----------
        sentences:
            A str, or a list, tuple, generator, NumPy array, pandas, Polars or pyarrow column of str. ``""`` has a
            vector too.
        prompt_name, prompt:
            The name of a prompt of the model, or a text, to be written before each text. ``prompt`` wins.
        batch_size:
            Texts of a batch at the start; None: the encoder's default, which is in tokens. Vectors do not depend on it.
        show_progress_bar:
            Whether tqdm shows the progress.
        normalize_embeddings:
            Scales the vectors to length 1; False or None: they stay as the model makes them.
        truncate_dim:
            Keeps the first components only, before they are scaled.

        Returns
        -------
        float32 array of shape ``(dim,)`` for a str, else ``(N, dim)``, C-contiguous.

        Raises
        ------
        InvalidInput
            (a `ValueError`) An element is no str or has a lone surrogate; ``place`` names it, from 0.
        UnsupportedArgument
            (a `TypeError` and a `ValueError`) An argument asks for what reembed does not have.
        """
        if output_value != "sentence_embedding":
            raise unsupported(f"`output_value={output_value!r}` is not supported", "leave it out")
        if precision != "float32":
            raise unsupported(
                f"`precision={precision!r}` of `encode` is not supported",
                "leave it out and quantize the result; the precision of the arithmetic is an argument of `Embedder`",
            )
        if convert_to_tensor:
            raise unsupported(
                "`convert_to_tensor=True` is not supported", "use `torch.from_numpy` of the result"
            )
        if not convert_to_numpy:
            raise unsupported("`convert_to_numpy=False` is not supported", "leave it out")
        if device not in (None, "cpu"):
            raise unsupported(
                f"`device={device!r}` is not supported", "a GPU needs the program, built from source"
            )
        text = self._prompt(prompt_name, prompt)
        return self._encode(
            sentences, text, batch_size, show_progress_bar, normalize_embeddings, truncate_dim
        )

    def encode_query(self, sentences: Any, prompt_name: str | None = None, **arguments: Any) -> NDArray[np.float32]:
        """As `encode`, with the model's prompt ``query`` if it has one."""
        return self._encode_as(_QUERY, sentences, prompt_name, arguments)

    def encode_document(self, sentences: Any, prompt_name: str | None = None, **arguments: Any) -> NDArray[np.float32]:
        """As `encode`, with the model's prompt ``document``, ``passage`` or ``corpus`` if it has one."""
        return self._encode_as(_DOCUMENT, sentences, prompt_name, arguments)

    def compute_embedding(
        self, title: str | None, description: str | None = None, files: Iterable[str] | None = None
    ) -> NDArray[np.float32]:
        """The vector of a task, shape ``(dim,)``: its title, description and the line ``Files: a, b`` are its text."""
        return self.encode(_task_text(title, description, files, "task"))

    def compute_embeddings_batch(
        self, tasks: Iterable[Any], batch_size: int | None = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """The vectors of tasks, shape ``(N, dim)``.

        A task is a mapping with the keys ``title``, ``description`` and ``files``, or an object with such attributes.
        What is missing, None or empty has no line in the text.

        Raises `InvalidInput` if a field has another type; ``place`` names the task, from 0.
        """
        if isinstance(tasks, Mapping):
            raise invalid("`tasks` is one mapping", "give a list of tasks")
        texts = [_text_of(task, f"tasks[{row}]") for row, task in enumerate(tasks)]
        return self.encode(texts, batch_size=batch_size, show_progress_bar=show_progress)

    def _encode_as(
        self, names: tuple[str, ...], sentences: Any, prompt_name: str | None, arguments: dict[str, Any]
    ) -> NDArray[np.float32]:
        if prompt_name is None and arguments.get("prompt") is None:
            arguments["prompt"] = self._first_prompt(names)
        return self.encode(sentences, prompt_name=prompt_name, **arguments)

    def _first_prompt(self, names: tuple[str, ...]) -> str:
        """The first declared prompt of these names, else the model's default."""
        if names not in self._prompts:
            found = self._model.default_prompt
            for name in names:
                try:
                    found = self._model.named_prompt(name)
                    break
                except InvalidConfig:
                    continue
            self._prompts[names] = found
        return self._prompts[names]

    def _prompt(self, name: str | None, text: str | None) -> str:
        if text is not None:
            if not isinstance(text, str):
                raise invalid_config(f"`prompt` is of type {type(text).__name__}, not a str")
            if text and text != self._model.default_prompt and text not in self._checked:
                self._model.check_prompt(text)
                self._checked.add(text)
            return text
        if name is None:
            return self._model.default_prompt
        if name not in self._named:
            self._named[name] = self._model.named_prompt(name)
        return self._named[name]

    def _encode(
        self,
        sentences: Any,
        prompt: str,
        batch_size: int | None,
        show_progress_bar: bool | None,
        normalize: bool | None,
        truncate_dim: int | None,
    ) -> NDArray[np.float32]:
        if batch_size is not None:
            batch_size = _positive("batch_size", batch_size)
        kept = self._model.default_dims
        if truncate_dim is not None:
            kept = min(_positive("truncate_dim", truncate_dim), self.dimension)
        sentences = _column(sentences)
        is_one = isinstance(sentences, str)
        with _progress(show_progress_bar) as on_tick:
            vectors = self._model.encode(
                [sentences] if is_one else sentences,
                prompt=prompt,
                batch_size=batch_size,
                on_tick=on_tick,
            )
        if kept < self.dimension:
            vectors = vectors[:, :kept].copy()
        # A whole vector that the model has scaled has length 1: scaling it again would change its last bits.
        if normalize and not (kept == self.dimension and self._model.normalizes):
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
            vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        return vectors[0] if is_one else vectors


def _restored(kind_of_embedder: type[Embedder], source: str, options: dict[str, Any]) -> Embedder:
    return kind_of_embedder(source, **options)


def _source(model: str | os.PathLike[str]) -> tuple[str | None, str | None]:
    """The directory, or the id."""
    if not isinstance(model, (str, os.PathLike)):
        raise invalid_config(f"`model` is of type {type(model).__name__}, expected an id or a directory")
    path = os.fspath(model)
    looks_like_path = not isinstance(model, str) or os.path.isabs(path) or path.startswith((".", "~"))
    if looks_like_path or os.path.isdir(path):
        return os.path.abspath(os.path.expanduser(path)), None
    return None, path if "/" in path else f"sentence-transformers/{path}"


def _positive(name: str, number: int) -> int:
    try:
        value = number.__index__()
    except AttributeError:
        value = 0
    if isinstance(number, bool) or value < 1:
        raise invalid_config(f"`{name}` is {number!r}", "give a whole number from 1")
    return value


def _column(sentences: Any) -> Any:
    """The texts as a str or an iterable of str; columns of other libraries become lists."""
    if isinstance(sentences, (str, list, tuple)):
        return sentences
    if isinstance(sentences, (bytes, bytearray)):
        raise invalid("`sentences` is bytes, not a str", "decode it: `sentences.decode()`")
    if isinstance(sentences, Mapping) or hasattr(sentences, "columns") or hasattr(sentences, "column_names"):
        raise invalid("`sentences` is a table or a mapping", "give one column of it")
    # pyarrow, then Polars and pandas, then NumPy.
    for method in ("to_pylist", "to_list", "tolist"):
        if callable(convert := getattr(sentences, method, None)):
            return convert()
    if not isinstance(sentences, Iterable):
        raise invalid(
            f"`sentences` is of type {type(sentences).__name__}", "give a str or an iterable of str"
        )
    return sentences


def _text_of(task: Any, place: str) -> str:
    if isinstance(task, Mapping):
        fields = [task.get(name) for name in ("title", "description", "files")]
    else:
        missing = object()
        found = [getattr(task, name, missing) for name in ("title", "description", "files")]
        if all(field is missing for field in found):
            raise invalid(
                f"{place}: a {type(task).__name__} has no title, description or files",
                "give mappings, or objects with such attributes",
                place,
            )
        fields = [None if field is missing else field for field in found]
    return _task_text(fields[0], fields[1], fields[2], place)


def _task_text(title: Any, description: Any, files: Any, place: str) -> str:
    """The text of a task: the recipe of `TextTemplate` in the encoder, which a test compares."""
    lines = []
    for name, field in (("title", title), ("description", description)):
        if field is None:
            continue
        if not isinstance(field, str):
            raise invalid(f"{place}: its {name} is of type {type(field).__name__}, not a str", None, place)
        if field:
            lines.append(field)
    if files is not None:
        if isinstance(files, (str, bytes)) or not isinstance(files, Iterable):
            raise invalid(f"{place}: its files are of type {type(files).__name__}", "give a list of str", place)
        paths = list(files)
        for path in paths:
            if not isinstance(path, str):
                raise invalid(f"{place}: a file is of type {type(path).__name__}, not a str", None, place)
        if paths:
            lines.append("Files: " + ", ".join(paths))
    return "\n".join(lines)


@contextmanager
def _progress(shown: bool | None) -> Iterator[Any]:
    """What the native part calls with the texts done and of all; None if nothing is shown."""
    if not shown:
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    bar = tqdm(desc="Texts", unit="text")

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
        if bar.total is not None:
            bar.update(bar.total - bar.n)
    finally:
        bar.close()
