"""One pass of dbt-labels as a Dagster asset, every quarter of an hour: `dagster dev -f labels.py`.

The asset's key is that of the dbt source, so the models that dagster-dbt makes of your project and that read the labels
come after it. DBT_PROJECT_DIR names the project; dbt-labels is found on PATH, in an environment of its own if you like.
"""

import json
import signal
import subprocess

import dagster as dg

OVER_BUDGET = 4
LABELS = dg.AssetKey(["labels", "comment_labels"])
PENDING = dg.AssetKey(["comments_to_label"])


def label_once() -> tuple[int, str]:
    """Run one pass; return its exit code and its JSON. What it says meanwhile is in the step's log."""
    command = ["dbt-labels", "run", "--once", "--yes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            # the step is being ended: so is the pass, which writes down where it stands
            process.send_signal(signal.SIGINT)
            raise
    return process.returncode, said


@dg.asset(
    key=LABELS,
    deps=[PENDING],
    check_specs=[dg.AssetCheckSpec("within_budget", asset=LABELS)],
    # one run at a time sends and loads: set this pool's limit to 1
    pool="dbt_labels",
)
def comment_labels(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Labels of the comments; what is in flight at the provider comes with a later pass."""
    code, said = label_once()
    if code not in (0, OVER_BUDGET):
        # 1: a person is needed; 2: the command does not fit; 130: interrupted, safely. The next pass goes on by itself.
        raise dg.Failure(f"dbt-labels ended with {code}; its words are in the step's log", allow_retries=False)
    result = json.loads(said)
    [task] = [task for task in result["tasks"] if task["table"] == "comment_labels"]
    return dg.MaterializeResult(
        metadata={
            "labelled": task["labelled"],
            "rejected": task["rejected"],
            "in flight": task["in_flight"],
            "pending": sum(task["pending"].values()),
            "labelled by this pass": result["run"]["labelled"],
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="within_budget",
                passed=code != OVER_BUDGET,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"said": "\n".join(result["run"]["over_budget"]) or "nothing"},
            )
        ],
    )


label_job = dg.define_asset_job("label", selection=dg.AssetSelection.assets(LABELS))

defs = dg.Definitions(
    assets=[comment_labels],
    jobs=[label_job],
    schedules=[dg.ScheduleDefinition(job=label_job, cron_schedule="*/15 * * * *")],
)
