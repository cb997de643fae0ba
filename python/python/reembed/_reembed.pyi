from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

__version__: str
ERROR_KINDS: list[tuple[str, str]]

def program(words: list[str], arguments: list[str]) -> int: ...
def flags(command: str) -> list[tuple[str, bool]]: ...

class Model:
    def __new__(
        cls,
        *,
        directory: str | None,
        id: str | None,
        precision: str | None,
        threads: int | None,
        python: str,
    ) -> Model: ...
    @property
    def dimension(self) -> int: ...
    @property
    def default_dims(self) -> int: ...
    @property
    def max_seq_length(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def default_prompt(self) -> str: ...
    @property
    def normalizes(self) -> bool: ...
    @property
    def runs_on(self) -> str: ...
    def named_prompt(self, name: str) -> str: ...
    def check_prompt(self, text: str) -> None: ...
    def encode(
        self,
        sentences: Iterable[str],
        *,
        prompt: str,
        batch_size: int | None,
        on_tick: Callable[[int, int], object] | None,
    ) -> NDArray[np.float32]: ...
