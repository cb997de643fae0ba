#!/usr/bin/env python3
"""Checks that reembed carries columns of every type and layout unchanged.

    carry.py REEMBED WORK_DIRECTORY [--model DIRECTORY] [--only PATTERN] [--spark] [--tables DIRECTORY ...]

It writes tables with `make_tables.py`, adds those of `tables/`, runs `REEMBED run` over each and compares the
results with `judge.py`. Without --model the program's default model is used.

It prints a line for each run that failed and for each difference, then the counts. It exits with 0 if every table
was written and is equal, otherwise with 1.
"""

import argparse
import fnmatch
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# These may end with the exit code given. Others have to be carried.
MAY_END_WITH = {
    "g_encrypted_carried": 2,  # a correct copy of an encrypted column may be impossible
    "g_encrypted_title": 2,  # reembed has no keys
    "g_interval_java": 2,  # two annotations of one column contradict each other
    "g_not_utf8_title": 1,  # a title that is not UTF-8 stops a run by default
    "g_old_list_type": 2,  # it has no title
}

# Two vector columns of the same texts.
SEVERAL = """
[[embedding]]
column = "embedding"
[[embedding]]
column = "second"
vector.layout = "list"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=pathlib.Path, help="the program")
    parser.add_argument("work", type=pathlib.Path, help="a directory for tables and outputs; it is made")
    parser.add_argument("--model", type=pathlib.Path, help="a model directory; a small one is quick")
    parser.add_argument("--only", default="*", help="tables to check, as a pattern of names")
    parser.add_argument("--spark", action="store_true", help="write and read with Spark, too")
    parser.add_argument("--tables", type=pathlib.Path, action="append", default=[HERE / "tables"],
                        help="another directory with tables")
    options = parser.parse_args()

    tables = options.work / "tables"
    outputs = options.work / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    spark = ["--spark"] if options.spark else []
    subprocess.run([sys.executable, HERE / "make_tables.py", tables, *spark], check=True)
    # An empty configuration: a pipeline.toml of the current directory says nothing here.
    config = options.work / "empty.toml"
    config.write_text("")

    several = options.work / "several.toml"
    several.write_text(SEVERAL)

    pairs, pairs_of_several, failed, refused = [], [], 0, 0
    for table in sorted(path for place in [tables, *options.tables] for path in place.glob("*.parquet")):
        if not fnmatch.fnmatch(table.stem, options.only):
            continue
        output = outputs / table.name
        output.unlink(missing_ok=True)
        run = subprocess.run(command(options, config, table, output), capture_output=True, text=True)
        if run.returncode == 0:
            pairs += [table, output]
            # The same with two vector columns: a list follows what another column made of the footer.
            output = outputs / f"several-{table.name}"
            output.unlink(missing_ok=True)
            run = subprocess.run(command(options, several, table, output), capture_output=True, text=True)
            if run.returncode == 0:
                pairs_of_several += [table, output]
            else:
                failed += 1
                print(f"{table.stem}: two columns: it failed with {run.returncode}: {last_line(run.stderr)}", flush=True)
        elif run.returncode == MAY_END_WITH.get(table.stem):
            refused += 1
            print(f"refused: {table.stem}: {last_line(run.stderr)}", flush=True)
        else:
            failed += 1
            print(f"{table.stem}: the run failed with {run.returncode}: {last_line(run.stderr)}", flush=True)
    differ = False
    if pairs:
        judge = [sys.executable, HERE / "judge.py"]
        differ = subprocess.run([*judge, *pairs, *spark]).returncode != 0
    if pairs_of_several:
        columns = ["--column", "embedding", "--column", "second"]
        differ |= subprocess.run([*judge, *columns, *pairs_of_several]).returncode != 0
    print(f"carry.py: {len(pairs) // 2} tables carried, {refused} refused as they may be, {failed} runs failed")
    return 1 if failed or differ or not pairs else 0


def command(options, config: pathlib.Path, table: pathlib.Path, output: pathlib.Path) -> list:
    model = ["--model-path", options.model] if options.model else []
    return [options.reembed.resolve(), "run", "--quiet", "--config", config, "--input", table, "--output", output, *model]


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "(no message)"


if __name__ == "__main__":
    sys.exit(main())
