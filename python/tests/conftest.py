"""The embedder of the tests: the default model, found as the program finds it."""

import pytest

from reembed import Embedder


@pytest.fixture(scope="session")
def embedder():
    return Embedder(precision="f32")


@pytest.fixture(scope="session")
def texts():
    words = ["fix", "login", "loop", "dark", "theme", "rotate", "credentials"]
    return [" ".join(words[: 1 + row % 7]) + f" {row}" for row in range(64)]
