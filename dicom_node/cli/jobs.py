"""``jobs``: what waits, runs, ended, and went to the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json, Limit, chosen, this_user
from dicom_node.cli.output import fields_of, print_fields, print_json, print_table, say, text
from dicom_node.cli.trail import recorded
from dicom_node.cli.uids import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import Job, Store

app = typer.Typer(no_args_is_help=True, help="The queue: what waits, runs and ended, and why something failed.")

_Id = Annotated[int, typer.Argument(metavar="JOB", help="The job's number, as `jobs list` shows it.")]


@app.command("list", epilog=epilog("lungsentry jobs list --state failed", "lungsentry jobs list --json"))
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only this state: queued, running, succeeded, failed, cancelled. Repeatable."),
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first; `failed` are the dead letters."""
    from db import JobState

    states = chosen(JobState, state)
    with Invocation.of(ctx).store() as store:
        jobs = store.jobs.list(states, limit)
    if as_json:
        print_json({"jobs": jobs})
    else:
        _print(jobs)


@app.command(epilog=epilog("lungsentry jobs show 17"))
def show(ctx: typer.Context, job_id: _Id, *, as_json: Json = False) -> None:
    """Show one job: its series, attempts, times and, where it failed, the cause."""
    with Invocation.of(ctx).store() as store:
        job = _get(store, job_id)
    if as_json:
        print_json(job)
        return
    print_fields(fields_of(job), title=f"job {job.id}")


@app.command(
    epilog=epilog("lungsentry jobs cancel 17", codes={ExitCode.FAILED: "the job has ended already, or there is none"})
)
def cancel(ctx: typer.Context, job_id: _Id) -> None:
    """Cancel a job that waits or runs; `requeue` starts its series anew."""
    with Invocation.of(ctx).store() as store:
        _get(store, job_id)
        with recorded(store, "job cancelled", f"job {job_id}"):
            store.jobs.cancel(job_id, this_user())
    say(f"job {job_id} is cancelled")


def _get(store: Store, job_id: int) -> Job:
    job = store.jobs.get(job_id)
    if job is None:
        raise CommandError(f"there is no job {job_id}; `lungsentry jobs list` shows what there is")
    return job


def _print(jobs: Sequence[Job]) -> None:
    names = shortened([job.series_instance_uid for job in jobs])
    print_table(
        ("job", "state", "series", "revision", "attempt", "asked by", "created", "finished", "cause"),
        [
            (
                str(job.id),
                text(job.state),
                names[job.series_instance_uid],
                str(job.revision),
                f"{job.attempt}/{job.max_attempts}",
                text(job.requested_by),
                text(job.created_at),
                text(job.finished_at),
                text(job.cause),
            )
            for job in jobs
        ],
        numeric=("job", "revision"),
        empty="no job",
    )
