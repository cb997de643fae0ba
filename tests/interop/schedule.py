#!/usr/bin/env python3
"""Runs the recipes of examples/schedule: the Dagster asset, the Prefect flow, the manifest of the CronJob.

    schedule.py REEMBED WORK_DIRECTORY [--model DIRECTORY]

Dagster and Prefect run REEMBED to each of its ends: done (0), failed (1, tried again), refused (2 and 3, not tried
again), another run is writing the output (75), and a run that is cancelled. The manifest is validated against the
schemas of Kubernetes, and its command and variables are given to REEMBED. There is no cluster. Without --model the
program's default model is used.

One line for each case. It exits with 1 if a recipe does something else than docs/operations.md says.
"""

import argparse
import contextlib
import copy
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

RECIPES = pathlib.Path(__file__).resolve().parents[2] / "examples/schedule"
# A run over these is caught while it writes, also on a fast machine.
MANY_ROWS = 30_000
failed = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=pathlib.Path, help="the program")
    parser.add_argument("work", type=pathlib.Path, help="a directory for tables; it is made anew")
    parser.add_argument("--model", type=pathlib.Path, help="a model directory; a small one is quick")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    work = options.work.resolve()
    (work / "bin").mkdir(parents=True)
    # The recipes take `reembed` from the PATH.
    (work / "bin/reembed").symlink_to(options.reembed.resolve())
    os.environ["PATH"] = f"{work}/bin{os.pathsep}{os.environ['PATH']}"
    # No usage statistics; what they keep goes to the work directory. Set before the schedulers are imported.
    for scheduler in ("dagster", "prefect"):
        (work / scheduler).mkdir()
    (work / "dagster/dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ |= {"DAGSTER_HOME": str(work / "dagster"), "DAGSTER_DISABLE_TELEMETRY": "1"}
    os.environ |= {"PREFECT_HOME": str(work / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    os.environ |= {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}

    configurations = write_configurations(work, options.model and options.model.resolve())
    for part in (check_manifest, check_dagster, check_prefect):
        part(work, configurations)
    print(f"schedule.py: {failed} cases failed")
    return 1 if failed else 0


def report(name: str, case: str, found: str, right: bool):
    global failed
    failed += not right
    print(f"{'ok' if right else 'WRONG':<5}  {name:<28}  {case:<22}  {' '.join(found.split())[:160]}", flush=True)


def write_configurations(work: pathlib.Path, model) -> dict[str, pathlib.Path]:
    """A configuration for each exit code, and one of a long run."""
    subprocess.run(["reembed", "sample", work / "few.parquet", "--rows", "50"], check=True, stdout=subprocess.DEVNULL)
    many = ["reembed", "sample", work / "many.parquet", "--rows", str(MANY_ROWS)]
    subprocess.run(many, check=True, stdout=subprocess.DEVNULL)
    configurations = {}
    for name, rows, output, more in (
        ("done", "few", "done", ""),
        ("failed", "few", "failed", '[batch]\nmemory_limit = "1 KiB"\n'),
        ("refused", "few", "done", "[publish]\nno_such_key = 1\n"),
        ("other-texts", "few", "done", '[text]\ncolumns = ["title"]\n'),
        ("another-run", "many", "another-run", ""),
        ("dagster-long", "many", "dagster-long", ""),
        ("prefect-long", "many", "prefect-long", ""),
    ):
        text = f'[input]\npath = "{rows}.parquet"\n[output]\npath = "{output}/out.parquet"\n{more}'
        if model:
            text += f'[model]\npath = "{model}"\n'
        configurations[name] = work / f"{name}.toml"
        configurations[name].write_text(text)
        (work / output).mkdir(exist_ok=True)
    return configurations


@contextlib.contextmanager
def another_run(work: pathlib.Path, configuration: pathlib.Path):
    """A run that holds its lock, stopped while it writes."""
    shutil.rmtree(work / configuration.stem)  # a killed run leaves its temporary file
    (work / configuration.stem).mkdir()
    run = subprocess.Popen(
        ["reembed", "run", "--quiet", "--no-supervise", "--config", configuration], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: is_writing(work / configuration.stem), "the run to write", run)
        run.send_signal(signal.SIGSTOP)
        yield
    finally:
        run.kill()
        run.wait()


def is_writing(directory: pathlib.Path) -> bool:
    return any(directory.glob("_reembed/*.tmp"))


def wait_until(condition, what: str, process=None, seconds: float = 90):
    end = time.monotonic() + seconds
    while not condition():
        if process and process.poll() is not None:
            sys.exit(f"waited for {what}, but the process ended with {process.returncode}")
        if time.monotonic() > end:
            sys.exit(f"waited for {what}: not within {seconds} seconds")
        time.sleep(0.05)


def stopped_cleanly(directory: pathlib.Path) -> bool:
    """Whether the last run left its report, and nothing that the next run has to remove."""
    path = directory / "_reembed/reports/out.parquet/report.json"
    error = path.is_file() and json.loads(path.read_text())["error"]
    return bool(error) and error["kind"] == "Stopped(Terminated)" and not is_writing(directory)


def import_recipe(work: pathlib.Path, name: str, pause: str):
    """The recipe, with a pause of a second before a retry."""
    source = (RECIPES / f"{name}.py").read_text()
    if source.count(f"{pause}=300") != 1:
        sys.exit(f"{name}.py: where is {pause}=300?")
    path = work / f"{name}.py"
    path.write_text(source.replace(f"{pause}=300", f"{pause}=1"))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def check_dagster(work: pathlib.Path, configurations: dict):
    import dagster as dg

    recipe = import_recipe(work, "dagster_job", "delay")
    name = f"Dagster {importlib.metadata.version('dagster')}"
    dg.Definitions.validate_loadable(recipe.defs)
    retried = dg.DagsterEventType.STEP_RESTARTED

    def run_config(case):
        quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
        return {"ops": {"task_vectors": {"config": {"config": str(configurations[case])}}}, "loggers": quiet}

    def run(case):
        """Whether it succeeded, how often it was tried again, what it made, and why it failed."""
        with stderr_to(work / "dagster/steps.log"):
            result = recipe.defs.resolve_implicit_global_asset_job_def().execute_in_process(
                run_config=run_config(case), raise_on_error=False
            )
        made = result.asset_materializations_for_node("task_vectors") if result.success else []
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        why = failures[-1].user_failure_data.description if failures else ""
        retries = sum(event.event_type == retried for event in result.all_events)
        return result.success, retries, made, why

    success, retries, made, why = run("done")
    metadata = made[0].metadata if made else {}
    rows = metadata["rows"].value if "rows" in metadata else None
    report(name, "done", f"materialized, {len(metadata)} metadata, rows {rows} {why}", success and rows == 50 and retries == 0)
    success, retries, made, why = run("failed")
    report(name, "failed (1)", f"{retries} retries: {why}", not success and retries == 2)
    for case, code in (("refused", 2), ("other-texts", 3)):
        success, retries, made, why = run(case)
        report(name, f"refused ({code})", f"{retries} retries: {why}", not success and retries == 0 and bool(why))
    with another_run(work, configurations["another-run"]):
        success, retries, made, why = run("another-run")
    right = success and not made and retries == 0
    report(name, "another run (75)", f"success {success}, {len(made)} assets, {retries} retries {why}", right)

    # A process for the run and one for the step, as the daemon starts them.
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "asset", "materialize", "-f", str(work / "dagster_job.py")]
    command += ["--select", "task_vectors", "--config-json", json.dumps(run_config("dagster-long"))]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # A shell makes its background jobs ignore SIGINT, and Dagster copies that to SIGTERM.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, preexec_fn=heed, **quiet)
    wait_until(lambda: is_writing(work / "dagster-long"), "the run to write", process)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    process.wait()
    seconds = time.monotonic() - asked
    clean = stopped_cleanly(work / "dagster-long")
    report(name, "cancelled", f"ended {seconds:.1f} s after SIGTERM; reembed stopped cleanly: {clean}", clean)


@contextlib.contextmanager
def stderr_to(path: pathlib.Path):
    """Also that of processes that are started meanwhile: what Dagster keeps as the log of a step."""
    before = os.dup(2)
    with open(path, "a") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def check_prefect(work: pathlib.Path, configurations: dict):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    name = f"Prefect {importlib.metadata.version('prefect')}"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with open(work / "prefect/server.log", "w") as log, ended(subprocess.Popen(command, stdout=log, stderr=log)) as server:
        wait_until(lambda: answers(port), "Prefect's server", server)
        check_prefect_flow(work, configurations, name)


def check_prefect_flow(work: pathlib.Path, configurations: dict, name: str):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.deployments import run_deployment

    recipe = import_recipe(work, "prefect_flow", "retry_delay_seconds")
    client = get_client(sync_client=True)

    def run(case):
        """The state of the flow run, and how often its task was tried again."""
        state = recipe.embed_tasks(str(configurations[case]), return_state=True)
        only = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
        tasks = client.read_task_runs(flow_run_filter=only)
        return state, sum(task.run_count for task in tasks) - 1

    state, retries = run("done")
    rows = state.result()["counts"]["rows"] if state.is_completed() else None
    report(name, "done", f"{state.name}, rows {rows}", rows == 50 and retries == 0)
    state, retries = run("failed")
    report(name, "failed (1)", f"{state.name}, {retries} retries: {state.message}", state.is_failed() and retries == 2)
    for case, code in (("refused", 2), ("other-texts", 3)):
        state, retries = run(case)
        right = state.is_failed() and retries == 0 and f"exit {code}" in state.message
        report(name, f"refused ({code})", f"{state.name}, {retries} retries: {state.message}", right)
    with another_run(work, configurations["another-run"]):
        state, retries = run("another-run")
    right = state.is_completed() and state.name == "Skipped" and retries == 0
    report(name, "another run (75)", f"{state.name}: {state.message}", right)

    # The process that waits for the schedule, which starts one for each flow run.
    with open(work / "prefect/serve.log", "w") as log:
        serve = [sys.executable, str(work / "prefect_flow.py")]
        with ended(subprocess.Popen(serve, stdout=log, stderr=log)) as process:
            wait_until(lambda: client.read_deployments(), "the deployment", process)
            schedule = client.read_deployments()[0].schedules[0]
            parameters = {"config": str(configurations["prefect-long"])}
            flow_run = run_deployment("embed-tasks/nightly", parameters=parameters, timeout=0)
            wait_until(lambda: is_writing(work / "prefect-long"), "the run to write", process)
            cancel = [sys.executable, "-m", "prefect", "flow-run", "cancel", str(flow_run.id)]
            subprocess.run(cancel, check=True, stdout=subprocess.DEVNULL)
            asked = time.monotonic()
            wait_until(lambda: client.read_flow_run(flow_run.id).state.is_final(), "the cancellation", process)
            seconds = time.monotonic() - asked
            state = client.read_flow_run(flow_run.id).state
    clean = stopped_cleanly(work / "prefect-long")
    found = f"{state.name} after {seconds:.1f} s; reembed stopped cleanly: {clean}"
    report(name, "cancelled", found, state.is_cancelled() and clean)
    report(name, "schedule", f"{schedule.schedule.cron} {schedule.schedule.timezone}", schedule.active)


@contextlib.contextmanager
def ended(process: subprocess.Popen):
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2).status == 200
    except OSError:
        return False


def check_manifest(work: pathlib.Path, configurations: dict):
    import kubernetes_validate
    import yaml

    manifest = yaml.safe_load((RECIPES / "cronjob.yaml").read_text())
    # podFailurePolicy is stable from 1.31 on.
    known = sorted(set(kubernetes_validate.utils.all_versions()), key=lambda version: int(version.split(".")[1]))
    for version in known[known.index("1.31.0") :]:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
            found = None
        except kubernetes_validate.ValidationError as error:
            found = error.message
        report("CronJob", f"schema of {version}", found or "valid", found is None)
    wrong = copy.deepcopy(manifest)
    wrong["spec"]["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriod"] = 15
    try:
        kubernetes_validate.validate(wrong, "1.31", strict=True)
        report("CronJob", "a misspelt key", "valid", False)
    except kubernetes_validate.ValidationError as error:
        report("CronJob", "a misspelt key", error.message.splitlines()[0], True)

    # What the schema leaves to the API server, and what docs/operations.md says of the numbers.
    job = manifest["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    deadline = int(variables["REEMBED_RUN_DEADLINE"].removesuffix("h")) * 3600
    actions = {
        code: rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {"values": []})["values"]
    }
    names = {rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule}
    for what, right in {
        "a failure policy needs restartPolicy Never": pod["restartPolicy"] == "Never",
        "the policy names the container": names == {container["name"]},
        "2, 3 and 124 fail the job, 75 does not count": actions
        == {2: "FailJob", 3: "FailJob", 124: "FailJob", 75: "Ignore"},
        "the grace period is 10 seconds and some": pod["terminationGracePeriodSeconds"] >= 15,
        "run.deadline comes first": deadline < job["activeDeadlineSeconds"],
        "request = limit": container["resources"]["requests"] == container["resources"]["limits"],
        "each volume is mounted": {volume["name"] for volume in pod["volumes"]}
        == {mount["name"] for mount in container["volumeMounts"]},
    }.items():
        report("CronJob", "rule", what, right)

    # reembed takes the command and the variables.
    command = [part.replace("/data/pipeline.toml", str(configurations["done"])) for part in container["command"]]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REEMBED_")} | variables
    printed = subprocess.run([*command, "--print-config"], env=environment, capture_output=True, text=True)
    found = [line for line in printed.stdout.splitlines() if "REEMBED_" in line]
    report("CronJob", "command", "; ".join(found) or printed.stderr, printed.returncode == 0 and len(found) == len(variables))


if __name__ == "__main__":
    sys.exit(main())
