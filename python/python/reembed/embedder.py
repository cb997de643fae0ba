"""The class `Embedder`: arguments as sentence-transformers has them, checked, and handed to the native part."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _reembed, table as tables
from .errors import (
    ModelMismatch,
    invalid,
    invalid_config,
    unsupported,
)
from .threads import resolve_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._reembed import VectorColumn

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# The prompts that every model of sentence-transformers has: empty, where its files do not declare them.
_ALWAYS = ("query", "document")

_MISSING: Any = object()


class Embedder:
    """A loaded sentence model that makes vectors of texts.

    Parameters
    ----------
    model:
        An id such as ``"sentence-transformers/all-MiniLM-L6-v2"`` (a name without ``/`` is one of
        sentence-transformers), or a directory in the layout of sentence-transformers. An id is looked for in the
        model cache of reembed and in that of Hugging Face, then fetched.
    precision:
        ``"f32"``, ``"bf16x3"``, ``"bf16"``, ``"bf16-avx512"``, ``"int16"`` or ``"int8"``; None: the program's own
        choice on this machine, or on one that has no more than ``REEMBED_COMPUTE_ISA``.
    threads:
        Threads of the work; None: ``REEMBED_COMPUTE_THREADS``, else the CPUs that Ray or Spark grants to this worker,
        else ``OMP_NUM_THREADS``, else as many as CPU affinity and cgroup allow.
    fingerprint:
        The model must have this fingerprint.
    device:
        ``"cpu"`` or None. A GPU needs the program, built from source with its feature ``cuda``.

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
        device: str | None = None,
    ) -> None:
        _check_device(device)
        directory, name = _source(model)
        self._source = directory if name is None else name
        self._threads = threads
        self._model = _reembed.Model(
            directory=directory,
            id=name,
            precision=precision,
            threads=resolve_threads(threads),
            python=sys.executable or "python3",
        )
        self._prompt_note = self._model.prompt_note
        if fingerprint is not None and fingerprint != self.fingerprint:
            raise ModelMismatch(
                f"the model {self._source} has the fingerprint {self.fingerprint}, expected {fingerprint}",
                kind="OtherModel",
                code="other-vectors",
                advice="open the model, the version and the precision that made the other vectors",
            )

    @property
    def source(self) -> str:
        """The id of the model, or the absolute path of its directory."""
        return self._source

    @property
    def dimension(self) -> int:
        """Components of a vector, where a call does not say ``truncate_dim``: as many as the model's files declare."""
        return self._model.default_dims

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

    @property
    def prompts(self) -> dict[str, str]:
        """The texts of the model's prompts by their names: those that its files declare, and ``"query"`` and
        ``"document"``, which are empty where they do not.
        """
        return dict.fromkeys(_ALWAYS, "") | self._model.prompts

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
        sentences: Any = _MISSING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        *,
        inputs: Any = _MISSING,
    ) -> NDArray[np.float32]:
        """Makes vectors of texts, in order.

        Parameters
        ----------
        sentences:
            A str, or a list, tuple, generator, NumPy array, or a column of str of pandas, Polars, pyarrow or another
            library that offers Arrow data. Arrow strings are read where they lie. ``""`` has a vector too. ``inputs``
            is another name of it, as in sentence-transformers 6.
        prompt_name, prompt:
            The name of a prompt of the model, or a text, to be written before each text. ``prompt`` wins. The names
            ``"query"`` and ``"document"`` are always there, empty unless the model declares them.
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
            (a `ValueError`) An element is no str, null or has a lone surrogate; ``place`` names it, from 0.
        UnsupportedArgument
            (a `TypeError` and a `ValueError`) An argument asks for what reembed does not have.
        """
        sentences = _given(sentences, inputs)
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
        _check_device(device)
        text = self._prompt(prompt_name, prompt)
        return self._encode(
            sentences, text, batch_size, show_progress_bar, normalize_embeddings, truncate_dim
        )

    def encode_arrow(
        self,
        array: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
    ) -> Any:
        """Makes vectors of a column of texts, as an Arrow array in which nulls stay null.

        Parameters
        ----------
        array:
            A column of str of pyarrow, Polars, pandas or another library that offers Arrow data: strings of any Arrow
            type, dictionaries of them, in chunks or not. Or an iterable of str and None. ``""`` has a vector; a null
            has none and costs nothing. In pandas, NaN and ``NA`` are nulls.

        The other arguments are those of `encode`.

        Returns
        -------
        ``FixedSizeList<float32, dim>`` of the same length: a ``pyarrow.FixedSizeListArray`` for a pyarrow array, a
        ``pyarrow.ChunkedArray`` for one, a ``polars.Series`` of type ``Array(Float32, dim)`` for one, and a
        `reembed.VectorColumn` for anything else. No vector is copied.

        Raises
        ------
        InvalidInput
            (a `ValueError`) The column holds something else than strings, or is a table.
        """
        vectors = self._vectors_of(
            self._model.encode_arrow,
            tables.texts_of(array),
            self._prompt(prompt_name, prompt),
            (batch_size, show_progress_bar, normalize_embeddings, truncate_dim),
        )
        return tables.like_input(vectors, array)

    def embed_table(
        self,
        table: Any,
        text: str | list[str] | tuple[str, ...] | None = None,
        template: str | None = None,
        column: str = "embedding",
        *,
        overwrite: bool = False,
        cache: str | os.PathLike[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
    ) -> Any:
        """Adds a column of vectors to a table: the vectors that ``reembed run`` writes for the same table.

        Parameters
        ----------
        table:
            A ``Table`` or ``RecordBatch`` of pyarrow, a ``DataFrame`` of Polars or pandas, or an object that offers
            Arrow data.
        text:
            The columns that make the text, a line each. A name with dots leads into a struct. One column is taken
            unchanged.
        template:
            The text with columns in braces, such as ``"title: {title}\\nbody: {body}"``, instead of ``text``. Without
            both, the text is the columns ``title``, ``description`` and, if it is there, ``files``.
        column:
            The name of the new column, the last one.
        overwrite:
            Whether a column of that name is replaced, where it is. Without it, such a table is refused.
        cache:
            The path of a vector cache of the program. Vectors that it has are not computed, and new ones are added.
            One process may have it open.

        The other arguments are those of `encode`. A model that expects a prompt, and gets none, is told about once, to
        ``logging``.

        Returns
        -------
        The table, of the kind that was given (`reembed.ArrowTable` for an object of another library), with the column
        ``FixedSizeList<float32, dim>`` at its end; in pandas an array of float32 in each row. Rows keep their order and
        other columns their memory. A row whose columns of the text are all null or empty has a null, as in the program.

        Raises
        ------
        InvalidInput
            (a `ValueError`) A column is missing (the message names the nearest) or cannot be text; ``place`` names a
            row as ``rows[6]``, from 0.
        InvalidConfig
            (a `ValueError`) The recipe is not one, or the table has the new column already.
        CacheBusy, CacheError
            Another process has the cache open, or it cannot be used. What was computed before is in it.
        """
        if isinstance(text, str):
            text = [text]
        if text is not None and not (isinstance(text, (list, tuple)) and all(isinstance(name, str) for name in text)):
            raise invalid_config(f"`text` is of type {type(text).__name__}", "give a name, a list of names, or None")
        if template is not None and not isinstance(template, str):
            raise invalid_config(f"`template` is of type {type(template).__name__}, not a str")
        recipe = {"columns": None if text is None else list(text), "template": template}
        read = tables.read_table(table, **recipe)
        # An object that can be read once has been read now.
        given = table if tables.library_of(table) in tables.LIBRARIES else read
        tables.check_name(given, column, overwrite)
        if prompt_name is None and prompt is None:
            self._tell_about_prompts()
        vectors, notes = self._vectors_of(
            self._model.embed_table,
            read,
            self._prompt(prompt_name, prompt),
            (batch_size, show_progress_bar, normalize_embeddings, truncate_dim),
            cache=None if cache is None else os.path.abspath(os.fspath(cache)),
            **recipe,
        )
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return tables.with_column(given, column, vectors)

    def tokenize_lengths(
        self, sentences: Any, *, prompt_name: str | None = None, prompt: str | None = None
    ) -> NDArray[np.int64]:
        """Counts the tokens of each text before it is cut, shape ``(N,)``, int64.

        Prompt and special tokens are counted, so that ``(lengths > embedder.max_seq_length).sum()`` is the number of
        texts that are cut. A null has 0. ``sentences`` is what `encode_arrow` takes; nothing is embedded.

        Raises `InvalidInput` as `encode_arrow`.
        """
        if isinstance(sentences, str):
            raise invalid("`sentences` is a str", "give a list of str")
        return self._model.token_lengths(tables.texts_of(sentences), prompt=self._prompt(prompt_name, prompt))

    # Both are written out, so that `help` and type checkers show the arguments of `encode`.

    def encode_query(
        self,
        sentences: Any = _MISSING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        *,
        inputs: Any = _MISSING,
    ) -> NDArray[np.float32]:
        """As `encode`, with the model's prompt ``query``, and without one if it declares none."""
        return self.encode(
            _given(sentences, inputs),
            "query" if prompt_name is None else prompt_name,
            prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            precision=precision,
            convert_to_numpy=convert_to_numpy,
            convert_to_tensor=convert_to_tensor,
            device=device,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
        )

    def encode_document(
        self,
        sentences: Any = _MISSING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        *,
        inputs: Any = _MISSING,
    ) -> NDArray[np.float32]:
        """As `encode`, with the model's prompt ``document``, and without one if it declares none."""
        return self.encode(
            _given(sentences, inputs),
            "document" if prompt_name is None else prompt_name,
            prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            precision=precision,
            convert_to_numpy=convert_to_numpy,
            convert_to_tensor=convert_to_tensor,
            device=device,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
        )

    def compute_embedding(
        self, title: str | None, description: str | None = None, files: Iterable[str] | None = None
    ) -> NDArray[np.float32]:
        """The vector of a task, shape ``(dim,)``: its title, description and the line ``Files: a, b`` are its text."""
        return self.encode(_task_text(title, description, files, "task"))

    def compute_embeddings_batch(
        self, tasks: Iterable[Any], batch_size: int | None = 32, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """The vectors of tasks, shape ``(N, dim)``.

        A task is a mapping with the keys ``title``, ``description`` and ``files``, or an object with such attributes;
        in a frame or table of pandas, Polars or pyarrow it is a row. What is missing, null or empty has no line in the
        text.

        Raises `InvalidInput` if a field has another type; ``place`` names the task, from 0.
        """
        if isinstance(tasks, (Mapping, str, bytes)):
            raise invalid(f"`tasks` is one {type(tasks).__name__}", "give a list of tasks")
        try:
            rows = iter(tables.task_rows(tasks))
        except TypeError:
            raise invalid(f"`tasks` is of type {type(tasks).__name__}, not a list", "give a list of tasks") from None
        texts = [_text_of(task, f"tasks[{row}]") for row, task in enumerate(rows)]
        return self.encode(texts, batch_size=batch_size, show_progress_bar=show_progress)

    def _tell_about_prompts(self) -> None:
        """Says once, as the program does, that the model may need a prompt which it does not get."""
        note, self._prompt_note = self._prompt_note, None
        if note is not None:
            # The settings of the program are arguments here.
            logging.getLogger("reembed").warning("%s", note.replace("`model.prompt", "`prompt"))

    def _prompt(self, name: str | None, text: str | None) -> str:
        if text is not None:
            if not isinstance(text, str):
                raise invalid_config(f"`prompt` is of type {type(text).__name__}, not a str")
            return _encodable("prompt", text)
        if name is None:
            return self._model.default_prompt
        prompts = self.prompts
        if name not in prompts:
            raise invalid_config(
                f"`prompt_name` is {name!r}, a prompt that the model does not have; it has {_listed(prompts)}",
                "give one of these names, or the text itself as `prompt`",
            )
        return prompts[name]

    def _encode(
        self,
        sentences: Any,
        prompt: str,
        batch_size: int | None,
        show_progress_bar: bool | None,
        normalize: bool | None,
        truncate_dim: int | None,
    ) -> NDArray[np.float32]:
        # NumPy makes an array without dimensions of a str.
        if isinstance(sentences, np.ndarray) and sentences.ndim == 0:
            sentences = sentences.item()
        is_one = isinstance(sentences, str)
        vectors = self._vectors_of(
            self._model.encode,
            [sentences] if is_one else tables.texts_of(sentences),
            prompt,
            (batch_size, show_progress_bar, normalize, truncate_dim),
        )
        return vectors[0] if is_one else vectors

    def _vectors_of(
        self,
        call: Any,
        given: Any,
        prompt: str,
        options: tuple[int | None, bool | None, bool | None, int | None],
        **others: Any,
    ) -> Any:
        """Calls the native part with what all of its calls take."""
        batch_size, show_progress_bar, normalize, truncate_dim = options
        if batch_size is not None:
            batch_size = _positive("batch_size", batch_size)
        kept = self._model.default_dims
        if truncate_dim is not None:
            kept = min(_positive("truncate_dim", truncate_dim), self._model.dimension)
        with _progress(show_progress_bar) as on_tick:
            return call(
                given,
                prompt=prompt,
                batch_size=batch_size,
                kept=kept,
                normalize=bool(normalize),
                on_tick=on_tick,
                **others,
            )


def _check_device(device: Any) -> None:
    # A device of torch is called so by its str.
    if device is not None and str(device) != "cpu":
        raise unsupported(
            f"`device={device!r}` is not supported",
            "this package computes on the CPU; a GPU needs the program, built from source: "
            "`cargo install --path crates/cli --locked --features cuda`, then `reembed run --device cuda:0`",
        )


def _given(sentences: Any, inputs: Any) -> Any:
    """The argument that was given under one of its names."""
    if (sentences is _MISSING) == (inputs is _MISSING):
        raise TypeError("give `sentences`, or `inputs`, which is the same")
    return inputs if sentences is _MISSING else sentences


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _restored(kind_of_embedder: type[Embedder], source: str, options: dict[str, Any]) -> Embedder:
    return kind_of_embedder(source, **options)


def _source(model: str | os.PathLike[str]) -> tuple[str | None, str | None]:
    """The directory, or the id."""
    if not isinstance(model, (str, os.PathLike)):
        raise invalid_config(f"`model` is of type {type(model).__name__}, expected an id or a directory")
    path = os.fspath(model)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not path:
        raise invalid_config("`model` is empty", "give an id or a directory, or leave it out for the default model")
    looks_like_path = not isinstance(model, str) or os.path.isabs(path) or path.startswith((".", "~"))
    if looks_like_path or os.path.isdir(path):
        return os.path.abspath(os.path.expanduser(path)), None
    _encodable("model", path)
    return None, path if "/" in path else f"sentence-transformers/{path}"


def _positive(name: str, number: int) -> int:
    try:
        value = number.__index__()
    except AttributeError:
        value = 0
    if isinstance(number, bool) or not 1 <= value <= sys.maxsize:
        raise invalid_config(f"`{name}` is {number!r}", "give a whole number from 1")
    return value


def _encodable(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid_config(
            f"`{name}` has a lone surrogate, which is no character", "decode the bytes that it was made of"
        ) from None
    return text


def _text_of(task: Any, place: str) -> str:
    if isinstance(task, Mapping):
        fields = [task.get(name) for name in ("title", "description", "files")]
    elif isinstance(task, (str, bytes)):
        raise invalid(f"{place}: it is a {type(task).__name__}, not a task", "give mappings or objects", place)
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
        if tables.is_null(field):
            continue
        if not isinstance(field, str):
            raise invalid(f"{place}: its {name} is of type {type(field).__name__}, not a str", None, place)
        if field:
            lines.append(field)
    if not tables.is_null(files):
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
