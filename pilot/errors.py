"""What can go wrong on a worker node, and the code under which PanDA knows it (domain.md section 4, pilot family)."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """Values of `pilot_error_code`; 0 means no error."""

    NO_LOCAL_SPACE = 1098
    STAGE_IN_FAILED = 1099
    NO_SUCH_FILE = 1103
    WORKDIR_TOO_LARGE = 1104
    STDOUT_TOO_LARGE = 1106
    SETUP_FAILED = 1110
    NO_STORAGE = 1133
    STAGE_OUT_FAILED = 1137
    KILLED_BY_SERVER = 1144
    MD5_MISMATCH_IN = 1145
    LOOPING = 1150
    OUTPUT_MISSING = 1165
    ADLER32_MISMATCH_IN = 1171
    ADLER32_MISMATCH_OUT = 1172
    NO_SOFTWARE_FOLDER = 1186
    UNKNOWN_KILL = 1200
    SIGTERM = 1201
    SIGQUIT = 1202
    SIGXCPU = 1204
    SIGUSR1 = 1207
    SIGINT = 1208
    RELEASE_MISSING = 1211
    WALL_TIME_LIMIT = 1213
    MEMORY_EXCEEDED = 1235
    PAYLOAD_FAILED = 1305
    SERVER_LOST = 1318
    ALREADY_RUNNING = 1336
    TRANSFORMATION_MISSING = 1346
    OUTPUT_EMPTY = 1350
    CONTAINER_MISSING = 1360


class PilotError(Exception):
    """The root of everything the pilot raises on purpose."""


class JobError(PilotError):
    """The job in hand has failed for a reason that is reported with a code."""

    def __init__(self, code: ErrorCode, diagnosis: str) -> None:
        super().__init__(f"{int(code)} {diagnosis}")
        self.code = code
        self.diagnosis = diagnosis


class StorageAwayError(JobError):
    """The storage did not take a file now; the same file may pass later, so outputs are kept."""

    def __init__(self, diagnosis: str) -> None:
        super().__init__(ErrorCode.STAGE_OUT_FAILED, diagnosis)


class ServerAwayError(PilotError):
    """The server gave no usable answer; the same call may succeed later."""


class ServerRefusedError(PilotError):
    """The server answered and said no; repeating the call cannot help."""


class JobReportError(PilotError):
    """A payload wrote a job report that cannot be used."""


class SettingsError(PilotError):
    """A setting of the pilot or factory cannot work; the text says what would."""
