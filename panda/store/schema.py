"""PanDA's own tables (design.md section 4); nothing but `panda.store` knows their columns."""

from collections.abc import Collection

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType
from typing_extensions import override

from panda.domain.states import BunchState, JobStatus, TaskStage

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Xid8(UserDefinedType[int]):
    """A transaction id that never wraps (PostgreSQL's xid8): orders events so that no late commit is skipped."""

    cache_ok = True

    @override
    def get_col_spec(self, **_kw: object) -> str:
        """Name the type in DDL."""
        return "xid8"


def _enum(cls: type[JobStatus | BunchState | TaskStage], name: str) -> Enum:
    return Enum(cls, name=name, values_callable=lambda members: [str(one.value) for one in members], metadata=metadata)


job_status = _enum(JobStatus, "job_status")
bunch_state = _enum(BunchState, "bunch_state")
task_stage = _enum(TaskStage, "task_stage")

NOW = func.now()
When = DateTime(timezone=True)


# --- the grid -------------------------------------------------------------------------------------------------------
cloud = Table(
    "cloud",
    metadata,
    Column("name", Text, primary_key=True),
    Column("status", Text, nullable=False, server_default="online"),
    Column("tier1", Text, nullable=False),
    Column("mcshare", Double, nullable=False, server_default="1"),
    Column("weight", Double, nullable=False, server_default="2"),
    Column("validation", Boolean, nullable=False, server_default=text("false")),
    Column("fasttrack", Boolean, nullable=False, server_default=text("true")),
    Column("transfer_time_low_days", Double, nullable=False, server_default="2"),
    Column("transfer_time_high_days", Double, nullable=False, server_default="1"),
)

site = Table(
    "site",
    metadata,
    Column("id", SmallInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("cloud", Text, ForeignKey("cloud.name"), nullable=False),
    Column("tier", SmallInteger, nullable=False),
    Column("status", Text, nullable=False, server_default="online"),
    Column("rse", Text, nullable=False),
    Column("software", Text, nullable=False, server_default=""),
    Column("vos", ARRAY(Text), nullable=False, server_default="{}"),
    Column("labels", ARRAY(Text), nullable=False, server_default="{managed,user,panda,test,prod_test,validation}"),
    Column("memory_mb", Integer, nullable=False, server_default="0"),
    Column("disk_mb", Integer, nullable=False, server_default="0"),
    Column("cores", SmallInteger, nullable=False, server_default="1"),
    Column("max_time_s", Integer, nullable=False, server_default="0"),
    Column("corepower", Double, nullable=False, server_default="10"),
    Column("comment", Text, nullable=False, server_default=""),
    Column("container_runtime", Text, nullable=False, server_default=""),
    Column("status_since", When, nullable=False, server_default=NOW),
)

queue = Table(
    "queue",
    metadata,
    Column("name", Text, primary_key=True),
    Column("site_id", SmallInteger, ForeignKey("site.id"), nullable=False, index=True),
    Column("status", Text, nullable=False, server_default="online"),
    Column("labels", ARRAY(Text), nullable=False, server_default="{managed,user,panda,test,prod_test,validation}"),
    Column("vos", ARRAY(Text), nullable=False, server_default="{}"),
    Column("memory_mb", Integer, nullable=False, server_default="0"),
    Column("disk_mb", Integer, nullable=False, server_default="0"),
    Column("cores", SmallInteger, nullable=False, server_default="1"),
    Column("max_time_s", Integer, nullable=False, server_default="0"),
    Column("corepower", Double, nullable=False, server_default="10"),
    Column("reference_mhz", Double),
    Column("nqueue", Integer, nullable=False, server_default="1"),
    Column("max_pilots", Integer, nullable=False, server_default="2"),
    Column("max_per_cycle", Integer, nullable=False, server_default="4"),
    Column("time_floor_min", Integer, nullable=False, server_default="0"),
    Column("heartbeat_s", Integer),
)

site_release = Table(
    "site_release",
    metadata,
    Column("site_id", SmallInteger, ForeignKey("site.id", ondelete="CASCADE"), primary_key=True),
    Column("release", Text, primary_key=True),
    Column("architecture", Text, primary_key=True, server_default=""),
)

storage = Table(
    "storage",
    metadata,
    Column("rse", Text, primary_key=True),
    Column("cloud", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("space_gb", Double, nullable=False),
    Column("used_gb", Double, nullable=False, server_default="0"),
    Column("measured_at", When),
)

pilot_activity = Table(
    "pilot_activity",
    metadata,
    Column("site_id", SmallInteger, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("last_get_job", When),
    Column("last_update_job", When),
    info={"storage": {"fillfactor": "50"}},
)

worker = Table(
    "worker",
    metadata,
    Column("factory", Text, primary_key=True),
    Column("worker_id", BigInteger, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("batch_id", Text),
    Column("status", Text, nullable=False),
    Column("node", Text),
    Column("cores", SmallInteger, nullable=False, server_default="1"),
    Column("submitted_at", When),
    Column("started_at", When),
    Column("ended_at", When),
    Column("seen_at", When, nullable=False, server_default=NOW),
    Column("n_jobs", Integer, nullable=False, server_default="0"),
    Column("diag", Text),
    Column("computing_element", Text),
    Column("submission_host", Text),
    Column("resource_type", Text),
    Column("details", JSONB, nullable=False, server_default="{}"),
    Index("ix_worker_live", "queue", "status", postgresql_where=text("ended_at IS NULL")),
)

harvester = Table(
    "harvester",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("version", Text),
    Column("started_at", When),
    Column("details", JSONB, nullable=False, server_default="{}"),
    Column("first_heard_at", When, nullable=False, server_default=NOW),
    Column("heard_at", When, nullable=False, server_default=NOW),
)

harvester_command = Table(
    "harvester_command",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("harvester", Text, ForeignKey("harvester.name", ondelete="CASCADE"), nullable=False),
    Column("command", Text, nullable=False),
    Column("arguments", JSONB),
    Column("ack_requested", Boolean, nullable=False, server_default=text("true")),
    Column("who", Text, nullable=False),
    Column("created_at", When, nullable=False, server_default=NOW),
    Column("fetched_at", When),
    Column("acknowledged_at", When),
    Index("ix_harvester_command_new", "harvester", "id", postgresql_where=text("fetched_at IS NULL")),
)

harvester_dialog = Table(
    "harvester_dialog",
    metadata,
    Column("harvester", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("module", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("said_at", When, nullable=False),
    Column("heard_at", When, nullable=False, server_default=NOW, index=True),
)

harvester_metric = Table(
    "harvester_metric",
    metadata,
    Column("harvester", Text, primary_key=True),
    Column("host", Text, primary_key=True),
    Column("at", When, primary_key=True),
    Column("metrics", JSONB, nullable=False),
    Column("heard_at", When, nullable=False, server_default=NOW, index=True),
)

worker_statistic = Table(
    "worker_statistic",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("harvester", Text, primary_key=True),
    Column("job_type", Text, primary_key=True),
    Column("resource_type", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("at", When, nullable=False, server_default=NOW),
)

# --- data -----------------------------------------------------------------------------------------------------------
dataset = Table(
    "dataset",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("scope", Text, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("task_id", BigInteger, index=True),
    Column("state", Text, nullable=False, server_default="open"),
    Column("n_files", Integer, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("continues", Integer),
    Column("created_at", When, nullable=False, server_default=NOW),
    Column("closed_at", When),
)

dataset_file = Table(
    "dataset_file",
    metadata,
    Column("dataset_id", Integer, ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("lfn", Text, nullable=False),
    Column("guid", Text),
    Column("bytes", BigInteger, nullable=False),
    Column("adler32", Text, nullable=False),
    Column("events", Integer),
)

# --- work -----------------------------------------------------------------------------------------------------------
production_task = Table(
    "production_task",
    metadata,
    Column("id", BigInteger, Identity(start=10_000_000), primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("vo", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("working_group", Text),
    Column("label", Text, nullable=False),
    Column("task_type", Text, nullable=False),
    Column("processing_type", Text, nullable=False),
    Column("campaign", Text),
    Column("share", Text, nullable=False),
    Column("transformation", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("wire_parameters", Text),
    Column("release", Text, nullable=False),
    Column("architecture", Text, nullable=False),
    Column("container", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False),
    Column("cores", SmallInteger, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("disk_mb", Integer, nullable=False),
    Column("work_hs23_s", Integer, nullable=False),
    Column("wall_s", Integer, nullable=False),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("bunch_size", SmallInteger, nullable=False),
    Column("events_per_job", Integer),
    Column("files_per_job", Integer),
    Column("bytes_per_job", BigInteger),
    Column("n_jobs", Integer),
    Column("n_events", BigInteger),
    Column("max_files", Integer),
    Column("outputs", JSONB, nullable=False),
    Column("ddm_mode", Text, nullable=False),
    Column("preset_site", Text),
    Column("sites", ARRAY(Text), nullable=False, server_default="{}"),
    Column("excluded_sites", ARRAY(Text), nullable=False, server_default="{}"),
    Column("use_secrets", Boolean, nullable=False, server_default=text("false")),
    Column("seed", BigInteger, nullable=False, server_default="0"),
    Column("implicit", Boolean, nullable=False, server_default=text("false")),
    Column("parent_id", BigInteger, ForeignKey("production_task.id"), index=True),
    Column("proddb_task", BigInteger, unique=True),
    Column("cloud", Text),
    Column("exp_remaining_work", Double, nullable=False, server_default="0"),
    Column("stage", task_stage, nullable=False, server_default=TaskStage.REGISTERED.value),
    Column("stage_since", When, nullable=False, server_default=NOW),
    Column("hold", Text),
    Column("waits_for", Text),
    Column("error", Text),
    Column("next_ordinal", Integer, nullable=False, server_default="0"),
    Column("next_input", Integer, nullable=False, server_default="0"),
    Column("expanded", Boolean, nullable=False, server_default=text("false")),
    Column("closed", Boolean, nullable=False, server_default=text("false")),
    Column("needs_id", Integer, ForeignKey("needs.id")),
    Column("due_at", When, server_default=NOW),
    Column("wake_seq", BigInteger, nullable=False, server_default="0"),
    Column("lease_until", When),
    Column("lease_token", Uuid),
    Column("submitted_at", When, nullable=False, server_default=NOW),
    Column("retried_at", When),
    Column("ended_at", When),
    Column("archived_at", When),
    Index("ix_production_task_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_production_task_stage", "stage"),
    Index(
        "ix_production_task_to_archive", "ended_at",
        postgresql_where=text("archived_at IS NULL AND ended_at IS NOT NULL"),
    ),
)  # fmt: skip

task_input = Table(
    "task_input",
    metadata,
    Column("task_id", BigInteger, ForeignKey("production_task.id", ondelete="CASCADE"), primary_key=True),
    Column("stream", SmallInteger, primary_key=True),
    Column("place", SmallInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("dataset_id", Integer, ForeignKey("dataset.id")),
    Column("first_ordinal", Integer),
    Column("n_files", Integer),
    Column("files_per_job", Integer),
    Column("selection", JSONB(none_as_null=True)),
)

task_file = Table(
    "task_file",
    metadata,
    Column("task_id", BigInteger, ForeignKey("production_task.id", ondelete="CASCADE"), primary_key=True),
    Column("stream", SmallInteger, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("failures", SmallInteger, nullable=False, server_default="0"),
    Column("state", Text, nullable=False, server_default="live"),
    Column("reason", Text),
)

needs = Table(
    "needs",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("label", Text, nullable=False),
    Column("share", Text, nullable=False),
    Column("vo", Text, nullable=False),
    Column("owner", Text, nullable=False, server_default=""),
    Column("working_group", Text, nullable=False, server_default=""),
    Column("processing_type", Text, nullable=False, server_default=""),
    Column("architecture", Text, nullable=False, server_default=""),
    Column("release", Text, nullable=False, server_default=""),
    Column("memory_mb", Integer, nullable=False),
    Column("disk_mb", Integer, nullable=False),
    Column("cores", SmallInteger, nullable=False),
    Column("work_hs23_s", Integer, nullable=False),
    Column("wall_s", Integer, nullable=False),
    Column("in_container", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint(
        "label", "share", "vo", "owner", "working_group", "processing_type", "architecture", "release",
        "memory_mb", "disk_mb", "cores", "work_hs23_s", "wall_s", "in_container", name="uq_needs_vector",
    ),
)  # fmt: skip

bunch = Table(
    "bunch",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("production_task.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("state", bunch_state, nullable=False, server_default=BunchState.DEFINED.value),
    Column("since", When, nullable=False, server_default=NOW),
    Column("site_id", SmallInteger),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("first_ordinal", Integer, nullable=False),
    Column("n_jobs", Integer, nullable=False),
    Column("open", Boolean, nullable=False, server_default=text("true")),
    Column("staged", Boolean, nullable=False, server_default=text("false")),
    Column("decision_id", BigInteger),
    Column("waits_for", Text),
    Index("ix_bunch_open", "task_id", "state", postgresql_where=text("open")),
    Index("ix_bunch_site", "site_id", "state", postgresql_where=text("open")),
)

job = Table(
    "job",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("task_id", BigInteger, nullable=False),
    Column("bunch_id", BigInteger, nullable=False, index=True),
    Column("parent_id", BigInteger),
    Column("first_event", BigInteger),
    Column("ordinal", Integer, nullable=False),
    Column("input_first", Integer),
    Column("input_count", Integer),
    Column("n_events", Integer),
    Column("needs_id", Integer, nullable=False),
    Column("lease", Integer, nullable=False, server_default="0"),
    Column("status", job_status),
    Column("attempt", SmallInteger, nullable=False, server_default="1"),
    Column("site_id", SmallInteger),
    Column("priority_offset", SmallInteger),
    Column("explicit_input", Boolean),
    Column("parameters", Text),
    UniqueConstraint("task_id", "ordinal", "attempt", name="uq_job_task_ordinal_attempt"),
    info={"storage": {"fillfactor": "60"}},
)

# Partitioned by month of `ended_at`; `panda.store.archive` makes the months. The view `job_all` is `job` and this.
job_archive = Table(
    "job_archive",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_id", BigInteger, nullable=False),
    Column("bunch_id", BigInteger, nullable=False, index=True),
    Column("parent_id", BigInteger),
    Column("first_event", BigInteger),
    Column("ended_at", When, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("input_first", Integer),
    Column("input_count", Integer),
    Column("n_events", Integer),
    Column("needs_id", Integer, nullable=False),
    Column("lease", Integer, nullable=False),
    Column("status", job_status, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("site_id", SmallInteger),
    Column("priority_offset", SmallInteger),
    Column("explicit_input", Boolean),
    Column("parameters", Text),
    Index("ix_job_archive_task_id_ordinal", "task_id", "ordinal"),
    postgresql_partition_by="RANGE (ended_at)",
)

job_input = Table(
    "job_input",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("stream", SmallInteger, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
)

requirement_class = Table(
    "requirement_class",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("site_id", SmallInteger, ForeignKey("site.id"), nullable=False),
    Column("needs_id", Integer, ForeignKey("needs.id"), nullable=False),
    Column("max_priority", Integer, nullable=False, server_default="-1"),
    Column("gen", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("site_id", "needs_id"),
    info={"storage": {"fillfactor": "50"}},
)

ready = Table(
    "ready",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("class_id", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Index("ix_ready_class_id", "class_id", text("(-priority)"), "job_id"),
    info={"storage": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"}},
)

in_hand = Table(
    "in_hand",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("lease", Integer, nullable=False),
    Column("site_id", SmallInteger, nullable=False),
    Column("queue", Text, nullable=False),
    Column("since", When, nullable=False, server_default=NOW),
    Column("last_seen", When, nullable=False, server_default=NOW),
    Column("factory", Text),
    Column("worker_id", BigInteger),
    Column("batch_id", Text),
    Column("node", Text),
    Column("command", Text),
    info={
        "storage": {"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0"}
    },
)

pilot_request = Table(
    "pilot_request",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("jobs", ARRAY(BigInteger), nullable=False),
    Column("at", When, nullable=False, server_default=NOW, index=True),
)

job_report = Table(
    "job_report",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("at", When, nullable=False, server_default=NOW),
    Column("verdict", Text, nullable=False),
    Column("outputs", JSONB, nullable=False, server_default="{}"),
    Column("errors", JSONB, nullable=False, server_default="[]"),
    Column("wall_s", Double),
    Column("cpu_s", Double),
    Column("max_rss_kb", BigInteger),
    Column("n_events", BigInteger),
    Column("node", Text),
    Column("started_at", When),
    Column("ended_at", When),
    Column("timing", Text),
    Column("body_hash", Text, nullable=False, server_default=""),
)

job_tail = Table(
    "job_tail",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("at", When, nullable=False, server_default=NOW),
    Column("text", Text, nullable=False),
    comment="The end of what a payload printed, as its pilot told last in debug mode.",
)

to_collect = Table(
    "to_collect",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("state", job_status, nullable=False),
    Column("since", When, nullable=False, server_default=NOW),
    Column("next_at", When, nullable=False, server_default=NOW),
    Index("ix_to_collect_next_at", "state", "next_at"),
)

job_output = Table(
    "job_output",
    metadata,
    Column("job_id", BigInteger, primary_key=True),
    Column("place", SmallInteger, primary_key=True),
    Column("dataset_id", Integer, ForeignKey("dataset.id"), nullable=False),
    Column("scope", Text, nullable=False),
    Column("lfn", Text, nullable=False),
    Column("guid", Text),
    Column("bytes", BigInteger),
    Column("adler32", Text),
    Column("events", Integer),
    Column("rse", Text),
    Column("state", Text, nullable=False),
    Index("ix_job_output_dataset_id", "dataset_id", "job_id"),
    Index("ix_job_output_ready", "dataset_id", "job_id", postgresql_where=text("state = 'ready'")),
)

# --- transfers ------------------------------------------------------------------------------------------------------
block = Table(
    "block",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("task_id", BigInteger, ForeignKey("production_task.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("site_id", SmallInteger, nullable=False),
    Column("rse", Text, nullable=False),
    Column("bunch_id", BigInteger),
    Column("transfer_id", Text, index=True),
    Column("state", Text, nullable=False, server_default="planned"),
    Column("n_files", Integer, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("created_at", When, nullable=False, server_default=NOW),
    Column("since", When, nullable=False, server_default=NOW),
    Column("pinned_until", When),
    Column("error", Text),
    CheckConstraint("kind IN ('dis', 'sub')", name="kind"),
    Index("ix_block_open", "state", "since", postgresql_where=text("state IN ('planned', 'requested', 'stuck')")),
    Index("ix_block_cancelled", "id", postgresql_where=text("state = 'cancelled'")),
)

block_file = Table(
    "block_file",
    metadata,
    Column("block_id", BigInteger, ForeignKey("block.id", ondelete="CASCADE"), primary_key=True),
    Column("dataset_id", Integer, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Index("ix_block_file_dataset_id", "dataset_id", "ordinal"),
)

bunch_block = Table(
    "bunch_block",
    metadata,
    Column("bunch_id", BigInteger, ForeignKey("bunch.id", ondelete="CASCADE"), primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("block_id", BigInteger, ForeignKey("block.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# --- history, counters, decisions -----------------------------------------------------------------------------------
OF_TASK = "to_state IN ('finished', 'failed', 'cancelled', 'closed') OR bunch_id IS NOT NULL"
"""Events that are found by their task: ends of jobs, steps of bunches. The others are found by their job, which has an
end; to find each step of a job by its task, too, cost a tenth of what its hand-out costs the database."""

job_event = Table(
    "job_event",
    metadata,
    Column("id", BigInteger, Identity(), nullable=False),
    Column("at", When, nullable=False, server_default=func.clock_timestamp()),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("task_id", BigInteger, nullable=False),
    Column("job_id", BigInteger),
    Column("bunch_id", BigInteger),
    Column("n", Integer, nullable=False, server_default="1"),
    Column("cores", SmallInteger, nullable=False, server_default="1"),
    Column("from_site", SmallInteger),
    Column("from_state", job_status),
    Column("to_site", SmallInteger),
    Column("to_state", job_status),
    Column("why", Text),
    Column("who", Text),
    Index("ix_job_event_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
    Index("ix_job_event_bunch_id", "bunch_id", postgresql_where=text("bunch_id IS NOT NULL")),
    PrimaryKeyConstraint("xid", "id"),
    Index("ix_job_event_of_task", "task_id", "id", postgresql_where=text(OF_TASK)),
    Index("ix_job_event_sent", "at", postgresql_where=text("to_state = 'sent'")),
    Index("ix_job_event_ended", "at", postgresql_where=text("to_state IN ('failed', 'finished')")),
    Index("ix_job_event_at", "at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
)

job_count = Table(
    "job_count",
    metadata,
    Column("task_id", BigInteger, primary_key=True),
    Column("site_id", SmallInteger, primary_key=True),
    Column("status", job_status, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("cores", BigInteger, nullable=False),
    info={"storage": {"fillfactor": "50"}},
)

fold_watermark = Table(
    "fold_watermark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("below_xid", Xid8, nullable=False),
    Column("folded_at", When, nullable=False, server_default=NOW),
)

feed_cursor = Table(
    "feed_cursor",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("at", When, nullable=False, server_default=NOW),
)

brokerage_round = Table(
    "brokerage_round",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", When, nullable=False, server_default=NOW),
    Column("kind", Text, nullable=False),
    Column("cloud", Text),
    Column("seed", BigInteger, nullable=False),
    Column("snapshot", JSONB, nullable=False),
    Column("thresholds", JSONB, nullable=False),
)

brokerage_decision = Table(
    "brokerage_decision",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("round_id", BigInteger, ForeignKey("brokerage_round.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("task_id", BigInteger, nullable=False),
    Column("bunch_id", BigInteger),
    Column("chosen", Text),
    Column("reason", Text, nullable=False),
    Column("decision", JSONB, nullable=False),
    Column("at", When, nullable=False, server_default=NOW),
    Index("ix_brokerage_decision_task_id", "task_id", "id"),
    Index("ix_brokerage_decision_bunch_id", "bunch_id"),
)

pending_action = Table(
    "pending_action",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("task_id", BigInteger),
    Column("site_id", SmallInteger),
    Column("arguments", JSONB, nullable=False, server_default="{}"),
    Column("who", Text, nullable=False),
    Column("created_at", When, nullable=False, server_default=NOW),
    Column("repeat_at", When, nullable=False, server_default=NOW),
    Column("passes", Integer, nullable=False, server_default="0"),
    Column("done_at", When),
    Column("outcome", Text),
    Index("ix_pending_action_open", "id", postgresql_where=text("done_at IS NULL")),
)

# --- users ----------------------------------------------------------------------------------------------------------
cache_file = Table(
    "cache_file",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("checksum", BigInteger),
    Column("uploaded_at", When, nullable=False, server_default=NOW),
    Column("used_at", When, nullable=False, server_default=NOW, index=True),
    Index("ix_cache_file_contents", "owner", "bytes", "checksum"),
)

user_secret = Table(
    "user_secret",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("sealed", Boolean, nullable=False, server_default=text("false")),
    Column("set_at", When, nullable=False, server_default=NOW),
)

incident = Table(
    "incident",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", When, nullable=False, server_default=NOW, index=True),
    Column("level", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("numbers", JSONB, nullable=False, server_default="{}"),
)

outage = Table(
    "outage",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seen_at", When, nullable=False, server_default=NOW),
    Column("up_since", When, nullable=False, server_default=NOW),
)


@event.listens_for(metadata, "after_create")
def _set_storage(_metadata: MetaData, connection: Connection, tables: Collection[Table], **_others: object) -> None:
    """Set the storage parameters of tables whose rows change most; SQLAlchemy 2.0 has no keyword for them."""
    for one in tables:
        options = ", ".join(f"{name}={value}" for name, value in one.info.get("storage", {}).items())
        if options:
            connection.exec_driver_sql(f"ALTER TABLE {one.name} SET ({options})")
