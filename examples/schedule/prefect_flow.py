"""A Prefect flow that runs reembed every night. See "On a schedule" in docs/operations.md."""

import json
import subprocess

from prefect import flow, get_run_logger, task
from prefect.schedules import Cron
from prefect.states import Completed


class Refused(Exception):
    """Exits 2 and 3: a person has to fix it, and a retry does not help."""


def is_not_refused(task, task_run, state) -> bool:
    return not isinstance(state.result(raise_on_failure=False), Refused)


@task(retries=2, retry_delay_seconds=300, retry_condition_fn=is_not_refused)
def run_reembed(config: str) -> dict:
    logger = get_run_logger()
    command = ["reembed", "run", "--config", config, "--output-format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            logger.info(line.rstrip())
        stdout, _ = process.communicate()
    except BaseException:  # Prefect ends the flow run
        process.terminate()
        process.communicate()  # reembed is gone within 10 seconds
        raise
    # A process that was killed, by the kernel for example, prints no result.
    result = json.loads(stdout) if stdout else {"error": {"message": "no result"}}
    if process.returncode in (2, 3):
        raise Refused(f"exit {process.returncode}: {result['error']['message']}")
    if process.returncode not in (0, 75):
        raise RuntimeError(f"exit {process.returncode}: {result['error']['message']}")
    return result


@flow
def embed_tasks(config: str = "/srv/tasks/pipeline.toml"):
    result = run_reembed(config)
    if result["exit_code"] == 75:
        return Completed(name="Skipped", message=result["error"]["message"])
    get_run_logger().info("%s", result["counts"])
    return result


if __name__ == "__main__":
    embed_tasks.serve(name="nightly", schedule=Cron("15 2 * * *", timezone="Europe/Berlin"))
