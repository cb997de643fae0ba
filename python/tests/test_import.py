"""What an import does: its time, its threads, its imports, and the interpreters that it refuses."""

import os
import statistics
import subprocess
import sys
import sysconfig
import time

import pytest

# Milliseconds that an import may take beyond NumPy's own.
ALLOWED_MS = 50

IN_SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
isolated = sys.argv[1] == "isolated"
if sys.version_info >= (3, 13):
    made = interpreters.create("isolated" if isolated else "legacy")
else:
    made = interpreters.create(isolated=isolated)
code = '''
try:
    import reembed
except ImportError as error:
    import os
    os.write(1, str(error).encode())
'''
failed = interpreters.run_string(made, code)
print()
import reembed
print("the main interpreter has", reembed.__version__)
"""


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 brought interpreters with a GIL of their own")
@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_subinterpreters_are_refused_clearly(kind):
    refused, main = run(IN_SUBINTERPRETER, kind).splitlines()
    assert "sub-interpreter" in refused and "use threads" in refused
    assert main.startswith("the main interpreter has")


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is built with a GIL")
def test_import_leaves_the_gil_off():
    code = "import sys, reembed; reembed.Embedder().encode('a'); print(sys._is_gil_enabled())"
    assert run(code).strip() == "False"


def test_import_is_quick():
    def milliseconds(module):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        return (time.perf_counter() - started) * 1e3

    milliseconds("reembed")
    pairs = [(milliseconds("numpy"), milliseconds("reembed")) for _ in range(9)]
    beyond = sorted(ours - numpy for numpy, ours in pairs)
    # What else the machine does only adds to a time: the least of each is nearest to what an import takes.
    least = min(ours for _, ours in pairs) - min(numpy for numpy, _ in pairs)
    print(f"\nimport: {least:.1f} ms beyond numpy; median of the pairs {statistics.median(beyond):.1f}")
    assert least <= ALLOWED_MS


def test_import_starts_no_thread():
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("there is no /proc")
    code = "import os, numpy; before = len(os.listdir('/proc/self/task')); import reembed, reembed.ray, reembed.spark; "
    code += "print(len(os.listdir('/proc/self/task')) - before)"
    assert run(code) == "0\n"


def test_optional_packages_are_not_imported():
    optional = ["pyarrow", "pandas", "polars", "tqdm", "ray", "pyspark"]
    code = "import sys, numpy; before = set(sys.modules); import reembed, reembed.ray, reembed.spark; "
    code += f"print([name for name in {optional} if name in set(sys.modules) - before])"
    assert run(code) == "[]\n"
