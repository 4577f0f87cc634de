"""Owns every setting of the system, with its meaning, unit and range; reads the environment only when `load` is called.

Each setting is a variable with the prefix `PANDA_`;
a setting of a group has two underscores, as in `PANDA_WATCHER__SENT_S=600`.
"""

import contextlib
import difflib
import ipaddress
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from panda.errors import BadSettings

PREFIX = "PANDA_"

# Variables of the ordinary PanDA clients and of `panda` itself, which share our prefix and are no settings.
CLIENT_VARIABLES = frozenset(
    PREFIX + name
    for name in (
        *(
            "URL",
            "URL_SSL",
            "URL_SSL_ALT",
            "API_URL",
            "SERVER_URL",
            "CACHE_URL",
            "MONITOR_URL",
            "AUTH",
            "AUTH_VO",
            "AUTH_ID_TOKEN",
        ),
        *(
            "CONFIG_ROOT",
            "SYS",
            "PYTHONPATH",
            "USE_NATIVE_HTTPLIB",
            "VERIFY_HOST",
            "BEHIND_REAL_LB",
            "CLIENT_LOG_LEVEL",
        ),
        *("DEBUG", "NICKNAME", "JSON_DUMP"),
    )
)


class Group(BaseModel):
    """A group of settings; unknown names are refused, values never change after start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerageSettings(Group):
    """Numbers of cloud assignment and brokerage (domain.md 2.1, 2.2); the fields of brokerage.Thresholds."""

    cloud_space_floor_gb: float = Field(
        default=1024.0, ge=0, description="GB that must stay free at a cloud's T1 (2.1 step 5)."
    )
    gb_per_work_unit: float = Field(
        default=0.2, ge=0, description="GB of output expected per unit of remaining work (2.1 step 5)."
    )
    work_limit_per_mcshare: float = Field(
        default=4000.0, ge=0, description="Remaining work above which a cloud is full, times its mcshare (2.1 step 6)."
    )
    starving_work_per_mcshare: float = Field(
        default=400.0,
        ge=0,
        description="Remaining work below which a cloud is fed first, times its mcshare (2.1 step 8).",
    )
    copy_work_per_mcshare: float = Field(
        default=400.0, ge=0, description="Work up to which data is copied to a cloud, times its mcshare (2.1 step 9)."
    )
    copied_task_types: tuple[str, ...] = Field(
        default=("simul",), description="Task types whose input may be copied to another cloud (2.1 step 9)."
    )
    fasttrack_evgen_priority: int = Field(
        default=700, ge=0, description="Priority from which evgen needs a fast track (2.1 step 3)."
    )
    fasttrack_simul_priority: int = Field(
        default=800, ge=0, description="Priority from which simul needs a fast track (2.1 step 3)."
    )
    t1_direct_priority: int = Field(
        default=950, ge=0, description="Priority from which bunches go to the T1 at once (2.2)."
    )
    t1_direct_input_files_per_job: float = Field(
        default=20.0, ge=0, description="Input files per job from which bunches go to the T1 (2.2)."
    )
    large_input_files_per_job: float = Field(
        default=5.0, ge=0, description="Input files per job above which the cloud's weight counts (2.2)."
    )
    large_input_mb_per_job: float = Field(
        default=500.0, ge=0, description="Input MB per job above which the cloud's weight counts (2.2)."
    )
    t2_space_floor_gb: float = Field(default=200.0, ge=0, description="GB that must stay free at a site (2.2).")
    gb_per_queued_job: float = Field(default=0.25, ge=0, description="GB of output expected per job at a site (2.2).")
    pilot_window_hours: float = Field(
        default=3.0, ge=0, description="Hours within which a site's pilot must have been seen (2.2)."
    )
    bunch_jobs: int = Field(default=20, ge=0, description="Jobs of one bunch (2.2).")
    bunch_input_files: int = Field(default=20, ge=0, description="Input files of one bunch (2.2).")
    sites_kept: int = Field(
        default=2, ge=0, description="Sites with the lowest load among which the choice is made (2.2)."
    )
    second_site_factor: float = Field(
        default=2.0, ge=0, description="The second is dropped if its load is this many times the first's (2.2)."
    )
    window_minimum_jobs: int = Field(default=20, ge=0, description="Least jobs that may wait at a site.")
    window_running_factor: float = Field(default=2.0, ge=0, description="Jobs that may wait at a site per running one.")


class WatcherSettings(Group):
    """How long a state may last before the watcher acts (domain.md 2.9); all in seconds."""

    sent_s: int = Field(
        default=1800, ge=1, description="A job handed out whose pilot never confirmed is closed and replaced."
    )
    starting_s: int = Field(default=7200, ge=1, description="A starting job without any update has lost its pilot.")
    running_s: int = Field(default=7200, ge=1, description="A running job without heartbeat has lost its pilot.")
    holding_s: int = Field(default=172_800, ge=1, description="A job whose outputs could not be collected is given up.")
    holding_urgent_s: int = Field(
        default=10_800, ge=1, description="The same for users' jobs and for priorities above 800."
    )
    transferring_s: int = Field(default=172_800, ge=1, description="A job whose outputs do not arrive is given up.")
    transferring_urgent_s: int = Field(
        default=86_400, ge=1, description="The same for production of priority 900 or more."
    )
    assigned_s: int = Field(default=43_200, ge=1, description="A bunch whose transfers do not end is brokered again.")
    activated_s: int = Field(default=172_800, ge=1, description="A bunch whose jobs no pilot takes is brokered again.")
    queued_s: int = Field(
        default=604_800, ge=1, description="A job that no pilot got since it was made is given up, unless it is held."
    )
    user_lifetime_s: int = Field(
        default=604_800,
        ge=1,
        description="A user's job not final by then, after its task's submission or last retry, is given up.",
    )
    lifetime_s: int = Field(default=1_814_400, ge=1, description="The same for any job.")
    dark_s: int = Field(
        default=86_400, ge=1, description="After the end of an attempt that lost, what it left at its site is deleted."
    )
    snapshot_s: int = Field(
        default=600, ge=1, description="A transaction that sees a state of the database this old is an incident."
    )
    outage_gap_s: int = Field(
        default=120,
        ge=1,
        description="A longer gap without any accepted update is an outage: limits skip it.",
    )


class PilotSettings(Group):
    """What the server tells a pilot."""

    heartbeat_s: int = Field(default=1800, ge=1, le=86_400, description="Time between two heartbeats of a running job.")
    retry_after_s: int = Field(default=30, ge=1, le=3600, description="When a pilot that got no job should ask again.")
    max_jobs: int = Field(default=100, ge=1, le=1000, description="Most jobs in the answer to one request.")
    transforms_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Where stock pilots download transforms; one they trust. Empty = the API's address + /trf/user.",
    )


class DispatchSettings(Group):
    """In which order the kinds of work get the slots."""

    shares: dict[str, float] = Field(
        default={},
        description='Targets of shares and, as "vo:NAME", of organisations, in any unit; none: priority decides.',
    )
    usage_s: float = Field(default=2.0, gt=0, le=3600, description="How old the known use of the shares may be.")


class FactorySettings(Group):
    """How the pilot factory follows the demand (domain.md 2.8); what a queue wants stands in the grid file."""

    name: str = Field(default="local", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Its name.")
    cycle_s: float = Field(default=1.0, gt=0, le=3600, description="Time between two looks at the demand.")
    max_pending: int = Field(default=20, ge=1, le=10_000, description="Most pilots of a queue that wait for a slot.")
    stop_grace_s: float = Field(default=10.0, gt=0, le=3600, description="Time that pilots get to end in panda up.")
    pilot_options: str = Field(default="", description="Further options of every pilot, in one text.")


class DdmSettings(Group):
    """The data management: which one, and the limits of the embedded one's transfer agent."""

    implementation: Literal["embedded"] = Field(default="embedded", description="Which implementation is used.")
    workers: int = Field(default=4, ge=1, le=256, description="Copies the agent makes at the same time.")
    link_limit: int = Field(default=2, ge=1, le=256, description="Copies at the same time from one storage to another.")
    site_limit: int = Field(default=4, ge=1, le=256, description="Copies at the same time into or out of one storage.")
    tries: int = Field(default=5, ge=1, le=100, description="Tries before a transfer is STUCK and waits for repair.")
    backoff_s: float = Field(
        default=2.0, gt=0, description="Wait after the first failed try; doubles with each further one."
    )
    backoff_max_s: float = Field(default=600.0, gt=0, description="Longest wait between two tries.")
    stuck_retry_s: float = Field(
        default=1800.0, gt=0, description="When a STUCK transfer is tried again from the start."
    )
    poll_s: float = Field(
        default=1.0, gt=0, le=3600, description="How often the agent looks for work when nothing woke it."
    )
    expiry_interval_s: float = Field(
        default=60.0, gt=0, description="How often expired datasets are looked for and deleted."
    )


class ConductorSettings(Group):
    """The continuous duties and how often they look for work when nothing woke them."""

    collect_interval_s: float = Field(default=0.2, gt=0, le=3600, description="Final reports into outputs.")
    fold_interval_s: float = Field(default=0.3, gt=0, le=3600, description="Events into counters.")
    story_interval_s: float = Field(default=0.1, gt=0, le=3600, description="Due production tasks.")
    refill_interval_s: float = Field(
        default=5.0, gt=0, le=3600, description="After a start of jobs, tasks whose bunches wait get a new round."
    )
    progress_interval_s: float = Field(default=60.0, gt=0, description="Between two stories for mere progress.")
    sweep_interval_s: float = Field(
        default=60.0, gt=0, le=86_400, description="Repeat what lost messages would have done."
    )
    watch_interval_s: float = Field(default=60.0, gt=0, le=86_400, description="The watcher's round.")
    tidy_interval_s: float = Field(
        default=900.0, gt=0, le=86_400, description="What ended long ago goes into the archive or is deleted."
    )
    feed_interval_s: float = Field(default=5.0, gt=0, le=3600, description="Poll of the DDM's change feed.")
    lease_s: int = Field(
        default=120, ge=10, le=86_400, description="A story's lease on its task; renewed between chunks."
    )
    stories: int = Field(default=2, ge=1, le=64, description="Stories at the same time in one conductor.")


class ExpansionSettings(Group):
    """How a production task becomes jobs (domain.md 2.7)."""

    bunch_size: int = Field(default=20, ge=1, le=10_000, description="Jobs brokered, staged and activated together.")
    chunk_jobs: int = Field(default=20_000, ge=1, le=1_000_000, description="Jobs inserted in one transaction.")
    max_files_per_job: int = Field(default=200, ge=1, le=10_000, description="Most primary inputs of one job.")
    max_input_mb_per_job: int = Field(
        default=20_000, ge=1, description="Most input of one job when nothing else is set, MB."
    )
    max_jobs_per_task: int = Field(default=1_000_000, ge=1, le=100_000_000, description="A larger task is refused.")


class RetentionSettings(Group):
    """How long what has ended stays where it is; in days. Jobs are never deleted, they go into the archive."""

    archive_days: float = Field(
        default=14, ge=0, le=36_500, description="After the end of a task its jobs go into the archive by month."
    )
    event_days: int = Field(
        default=180, ge=1, le=36_500, description="How long archived jobs' history and reports stay."
    )
    brokerage_days: int = Field(default=60, ge=1, le=36_500, description="How long brokerage rounds can be replayed.")
    incident_days: int = Field(default=180, ge=1, le=36_500, description="How long incidents and orders are kept.")
    worker_days: int = Field(default=30, ge=1, le=36_500, description="How long ended workers are kept.")


class Settings(BaseSettings):
    """Everything that can be set, read once at start."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid")

    data_dir: Path = Field(default=Path(".panda"), description="The only folder that is written to; made absolute.")
    database_url: str | None = Field(
        default=None, description="postgresql:// address; unset = the embedded PostgreSQL."
    )
    proddb_url: str | None = Field(default=None, description="ProdDB's address; unset = schema proddb of our database.")
    prefect_database_url: str | None = Field(
        default=None,
        description="postgresql+asyncpg:// address of Prefect's tables; unset = embedded.",
    )
    host: str = Field(
        default="127.0.0.1", description="Address to listen on; only loopback while no identity is set up."
    )
    api_port: int = Field(
        default=25080, ge=0, le=65_535, description="Port of the API; 0 = a free one, chosen by panda up."
    )
    public_url: str | None = Field(
        default=None, description="Address pilots reach the API at; unset = made of host and port."
    )
    prefect_port: int = Field(default=4200, ge=0, le=65_535, description="Port of the Prefect server; 0 = a free one.")
    prefect_url: str | None = Field(
        default=None, description="Address of another Prefect API (ending in /api); unset = ours."
    )
    grid_file: Path = Field(
        default=Path("deployments/grids/demo.yaml"), description="Clouds, sites, queues and storages."
    )
    tls_certificate: Path | None = Field(default=None, description="PEM file; with tls_key the API speaks https.")
    tls_key: Path | None = Field(default=None, description="PEM file of the certificate's private key.")
    tls_ca: Path | None = Field(default=None, description="PEM file that clients trust; unset = tls_certificate.")
    notify_key: SecretStr | None = Field(
        default=None, description="Secret of the DDM's callbacks; unset = a random one in data_dir."
    )
    cache_days: float = Field(
        default=30, gt=0, le=3650, description="Users' files in the cache are dropped after so many days without use."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severity logged."
    )

    brokerage: BrokerageSettings = BrokerageSettings()
    watcher: WatcherSettings = WatcherSettings()
    pilot: PilotSettings = PilotSettings()
    dispatch: DispatchSettings = DispatchSettings()
    factory: FactorySettings = FactorySettings()
    ddm: DdmSettings = DdmSettings()
    conductor: ConductorSettings = ConductorSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    retention: RetentionSettings = RetentionSettings()

    @field_validator("data_dir", "grid_file", "tls_certificate", "tls_key", "tls_ca")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("database_url", "proddb_url")
    @classmethod
    def _postgresql_only(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg2"}:
            raise ValueError("PostgreSQL is the only database: the address has to begin with postgresql://")
        return f"postgresql+psycopg2://{rest}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("PANDA_TLS_CERTIFICATE and PANDA_TLS_KEY belong together: set both or neither")
        if not is_loopback(self.host):
            raise ValueError(
                f"PANDA_HOST={self.host} would open the API to the network, but no identity is configured, so callers"
                " cannot be told apart: only a loopback address is accepted (127.0.0.1, ::1 or localhost)"
            )
        return self

    @property
    def api_url(self) -> str:
        """Address of the API, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        scheme = "https" if self.tls_certificate is not None else "http"
        return f"{scheme}://{_in_url(self.host)}:{self.api_port}"

    @property
    def transforms_url(self) -> str:
        """Address below which stock pilots find the transforms, without a slash at the end."""
        return (self.pilot.transforms_url or f"{self.api_url}/trf/user").rstrip("/")

    @property
    def prefect_api_url(self) -> str:
        """Address of Prefect's API, with `/api` at the end."""
        if self.prefect_url is not None:
            return self.prefect_url.rstrip("/")
        return f"http://{_in_url(self.host)}:{self.prefect_port}/api"

    @property
    def ca_file(self) -> Path | None:
        """What clients check the API's certificate with; None = the usual authorities, or no TLS at all."""
        return self.tls_ca or self.tls_certificate

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.data_dir / "logs"


def is_loopback(host: str) -> bool:
    """Whether only processes of this machine reach `host` (a name or an address)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def load(**overrides: Any) -> Settings:
    """The settings of the environment with `overrides` on top; raises BadSettings that names every wrong variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise BadSettings("; ".join(_sentence(dict(detail)) for detail in error.errors())) from error


def _sentence(detail: Mapping[str, Any]) -> str:
    text = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return text
    name = variable_name(*map(str, detail["loc"]))
    private = name.endswith(("_URL", "_KEY"))  # may hold a password
    return f"{name}: {text}" if private else f"{name}: {text}, not {detail['input']!r}"


def variable_name(*path: str) -> str:
    """The environment variable of a setting: `variable_name("watcher", "sent_s")` is PANDA_WATCHER__SENT_S."""
    return PREFIX + "__".join(path).upper()


def known_variables() -> frozenset[str]:
    """Every environment variable that is a setting."""
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        names.add(variable_name(name))
        group = field.annotation
        if isinstance(group, type) and issubclass(group, Group):
            names.update(variable_name(name, inner) for inner in group.model_fields)
    return frozenset(names)


def unknown_variables(environment: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Variables with our prefix that set nothing (typing errors), each with the nearest setting or None."""
    known = known_variables()
    found = sorted(os.environ if environment is None else environment)
    strange = [name for name in found if name.startswith(PREFIX) and name not in known | CLIENT_VARIABLES]
    return {name: next(iter(difflib.get_close_matches(name, known, n=1)), None) for name in strange}


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that makes `load` in another process return these very settings."""
    values: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, Group):
            values.update({variable_name(name, inner): _text(set_to) for inner, set_to in value.model_dump().items()})
        elif isinstance(value, SecretStr):
            values[variable_name(name)] = value.get_secret_value()
        elif value is not None:
            values[variable_name(name)] = str(value)
    return values


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, (tuple, list)) else str(value)


def notify_secret(settings: Settings) -> str:
    """The secret of the DDM's callbacks: the setting, or the one kept in `data_dir/notify.key`, made at first use."""
    if settings.notify_key is not None:
        return settings.notify_key.get_secret_value()
    kept = settings.data_dir / "notify.key"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"notify.key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32), encoding="ascii")
        with contextlib.suppress(FileExistsError):  # another process was first: its secret counts
            os.link(draft, kept)
        draft.unlink()
    return kept.read_text(encoding="ascii")
