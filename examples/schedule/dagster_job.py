"""A Dagster asset that runs reembed every night. See "On a schedule" in docs/operations.md."""

import json
import subprocess

import dagster as dg


class Pipeline(dg.Config):
    config: str = "/srv/tasks/pipeline.toml"


@dg.asset(
    output_required=False,  # exit 75 makes no asset
    retry_policy=dg.RetryPolicy(max_retries=2, delay=300),
)
def task_vectors(context: dg.AssetExecutionContext, config: Pipeline):
    command = ["reembed", "run", "--config", config.config, "--output-format", "json"]
    # The log on standard error goes to the log of the step.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        stdout, _ = process.communicate()
    except BaseException:  # Dagster ends the step
        process.terminate()
        process.communicate()  # reembed is gone within 10 seconds
        raise
    # A process that was killed, by the kernel for example, prints no result.
    result = json.loads(stdout) if stdout else {"error": {"message": f"reembed ended with {process.returncode}"}}
    if process.returncode == 0:
        yield dg.MaterializeResult(metadata={**result["counts"], "seconds": result["seconds"], "reembed": result})
    elif process.returncode == 75:
        context.log.warning("skipped: %s", result["error"]["message"])
    else:
        raise dg.Failure(
            description=result["error"]["message"],
            metadata={"exit_code": process.returncode, "reembed": result},
            allow_retries=process.returncode not in (2, 3),  # refused: a person has to fix it
        )


nightly = dg.ScheduleDefinition(
    name="nightly",
    target=task_vectors,
    cron_schedule="15 2 * * *",
    execution_timezone="Europe/Berlin",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
defs = dg.Definitions(assets=[task_vectors], schedules=[nightly])
