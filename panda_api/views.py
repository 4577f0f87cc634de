"""From what is read of tasks and jobs to the objects PanDA's clients show (wire-protocol.md 7; names: domain.md 3)."""

from collections.abc import Iterable, Mapping

from panda.domain.dispatch import ErrorPair
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.views.work import DatasetView, InputView, JobView, OutputView, TaskInputView, TaskView
from panda.domain.work import TaskRequest
from panda_api.render import ANALYSIS_LABELS, numbered

PAUSED = "paused"

# PanDA's word for the stage of a task that is not held; the others are the same.
WORDS: Mapping[TaskStage, str] = {TaskStage.REGISTERED: "registered", TaskStage.ASSIGNED: "ready"}

# domain.md 4: the fields a family of errors fills.
FAMILIES: Mapping[str, tuple[str, str]] = {
    "pilot": ("pilotErrorCode", "pilotErrorDiag"),
    "exe": ("exeErrorCode", "exeErrorDiag"),
    "transform": ("transExitCode", "transExitDiag"),
    "dataservice": ("ddmErrorCode", "ddmErrorDiag"),
    "ddm": ("ddmErrorCode", "ddmErrorDiag"),
    "brokerage": ("brokerageErrorCode", "brokerageErrorDiag"),
    "jobdispatcher": ("jobDispatcherErrorCode", "jobDispatcherErrorDiag"),
    "taskbuffer": ("taskBufferErrorCode", "taskBufferErrorDiag"),
    "supervisor": ("supErrorCode", "supErrorDiag"),
}


def task_status(task: TaskView) -> str:
    """A task's status in PanDA's words; a held one is paused until it ends."""
    if task.hold is not None and task.stage not in FINAL_TASK:
        return PAUSED
    return WORDS.get(task.stage, task.stage.value)


def super_status(stage: TaskStage) -> str:
    """The coarser status that clients sort by: a task that is held or being aborted counts as running."""
    return "running" if stage is TaskStage.ABORTING else WORDS.get(stage, stage.value)


def given_up(task: TaskView) -> int:
    """How many parts of a task have no job any more that could finish: ended ones less those that were tried again."""
    ended = sum(task.jobs.get(one, 0) for one in ("failed", "cancelled", "closed"))
    return max(0, ended - (sum(task.jobs.values()) - task.jobs_made))


def task_object(task: TaskView) -> dict[str, object]:
    """A task with its progress. "Files" are the parts it was cut into, each of which has one job that finishes."""
    made = sum(task.jobs.values())
    finished, failed = task.jobs.get("finished", 0), given_up(task)
    parts = max(1, task.jobs_made)
    return {
        "jediTaskID": task.id,
        "reqID": task.proddb_task or task.id,
        "taskName": task.name,
        "userName": task.owner,
        "workingGroup": task.working_group,
        "vo": task.vo,
        "prodSourceLabel": task.label,
        "taskType": task.task_type,
        "processingType": task.processing_type,
        "campaign": task.campaign,
        "status": task_status(task),
        "superStatus": super_status(task.stage),
        "statusComment": task.error or task.hold or task.waits_for,
        "currentPriority": task.priority,
        "cloud": task.cloud,
        "site": task.preset_site or ",".join(task.sites) or None,
        "excludedSite": task.excluded_sites,
        "transPath": task.transformation,
        "transUses": task.release,
        "architecture": task.architecture,
        "coreCount": task.cores,
        "ramCount": task.memory_mb,
        "parent_tid": task.parent_id,
        "creationDate": task.submitted_at,
        "modificationTime": max(task.stage_since, task.ended_at or task.stage_since),
        "endTime": task.ended_at,
        "njobs": made,
        "njobsByStatus": task.jobs,
        "nfiles": task.jobs_made,
        "nfilesfinished": finished,
        "nfilesfailed": failed,
        "pctfinished": round(100 * finished / parts),
        "pctfailed": round(100 * failed / parts),
    }


def task_details(
    task: TaskView, jobs: Iterable[int], inputs: Iterable[TaskInputView], datasets: Iterable[DatasetView]
) -> dict[str, object]:
    """A task with its jobs and datasets, as `get_details` gives it."""
    return {
        "jediTaskID": task.id,
        "taskName": task.name,
        "userName": task.owner,
        "PandaID": list(jobs),
        "inDS": ",".join(one.dataset for one in inputs),
        "outDS": ",".join(one.name for one in datasets if one.task_id == task.id and one.kind == "output"),
        "logDS": ",".join(one.name for one in datasets if one.task_id == task.id and one.kind == "log"),
    }


def submitted_job(job_id: int, task_id: int, request: TaskRequest, ordinal: int) -> list[object]:
    """A job that was stored just now, as panda-server's `TaskBuffer.storeJobs` answers it: a tuple.

    PandaID, jobDefinitionID (here its task's number, as pilots get it), and the job's name; of users' jobs
    {"jobsetID": ..} stands for that, null here (there are no sets).
    """
    analysis = request.label in ANALYSIS_LABELS
    return [job_id, task_id, {"jobsetID": None} if analysis else numbered(request.name.rstrip("/"), ordinal)]


def job_object(job: JobView) -> dict[str, object]:
    """A job as `get_description` gives it."""
    return {
        "PandaID": job.id,
        "jediTaskID": job.task_id,
        "jobName": numbered(job.task_name.rstrip("/"), job.ordinal),
        "attemptNr": job.attempt,
        "parentID": job.parent_id,
        "jobStatus": job.status.value,
        "stateChangeTime": job.since,
        "commandToPilot": job.command,
        "computingSite": job.site,
        "computingElement": job.queue,
        "cloud": job.cloud,
        "prodUserName": job.owner,
        "VO": job.vo,
        "prodSourceLabel": job.label,
        "currentPriority": job.priority,
        "transformation": job.transformation,
        "jobParameters": job.parameters,
        "homepackage": job.release,
        "coreCount": job.cores,
        "nEvents": job.n_events,
        "modificationHost": job.node,
        "schedulerID": job.factory,
        "batchID": job.batch_id,
        "creationTime": job.created_at,
        "startTime": job.started_at,
        "endTime": job.ended_at,
        "modificationTime": job.last_seen or job.since,
        "cpuConsumptionTime": job.cpu_s,
        "maxRSS": job.max_rss_kb,
        "pilotTiming": job.timing,
        "jobSubStatus": job.why,
        **_errors(job.errors),
    }


def job_metadata(job: JobView) -> dict[str, object]:
    """What is kept of a job that finished, for people who sum up their tasks."""
    return {
        "PandaID": job.id,
        "attemptNr": job.attempt,
        "nEvents": job.n_events,
        "startTime": job.started_at,
        "endTime": job.ended_at,
        "cpuConsumptionTime": job.cpu_s,
        "wallTime": job.wall_s,
        "maxRSS": job.max_rss_kb,
        "computingSite": job.site,
    }


def file_object(job_id: int, kind: str, file: InputView | OutputView) -> dict[str, object]:
    """A file of a job, in the attributes of the clients' FileSpec."""
    return {
        "PandaID": job_id,
        "type": kind,
        "lfn": file.lfn,
        "GUID": file.guid,
        "scope": file.scope,
        "dataset": file.dataset,
        "fsize": file.bytes,
        "checksum": None if file.adler32 is None else f"ad:{file.adler32}",
        "status": file.state if isinstance(file, OutputView) else "ready",
    }


def _errors(pairs: Iterable[ErrorPair]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for pair in pairs:
        code, text = FAMILIES.get(pair.component, (f"{pair.component}ErrorCode", f"{pair.component}ErrorDiag"))
        fields |= {code: pair.code, text: pair.text}
    return fields
