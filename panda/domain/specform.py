"""The form of the clients' job specs: which attribute stands at which position, and which are refused when set."""

import re
from collections.abc import Mapping, Sequence

from panda.domain.given import Given, kind_of
from panda.errors import BadRequest, Refused


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# In the order of panda-client 2.2.0; later versions only add some at the end.
ATTRIBUTES = _words("""
    PandaID jobDefinitionID schedulerID pilotID creationTime creationHost modificationTime modificationHost AtlasRelease
    transformation homepackage prodSeriesLabel prodSourceLabel prodUserID assignedPriority currentPriority attemptNr
    maxAttempt jobStatus jobName maxCpuCount maxCpuUnit maxDiskCount maxDiskUnit ipConnectivity minRamCount minRamUnit
    startTime endTime cpuConsumptionTime cpuConsumptionUnit commandToPilot transExitCode pilotErrorCode pilotErrorDiag
    exeErrorCode exeErrorDiag supErrorCode supErrorDiag ddmErrorCode ddmErrorDiag brokerageErrorCode brokerageErrorDiag
    jobDispatcherErrorCode jobDispatcherErrorDiag taskBufferErrorCode taskBufferErrorDiag computingSite computingElement
    jobParameters metadata prodDBlock dispatchDBlock destinationDBlock destinationSE nEvents grid cloud cpuConversion
    sourceSite destinationSite transferType taskID cmtConfig stateChangeTime prodDBUpdateTime lockedby relocationFlag
    jobExecutionID VO pilotTiming workingGroup processingType prodUserName nInputFiles countryGroup batchID parentID
    specialHandling jobsetID coreCount nInputDataFiles inputFileType inputFileProject inputFileBytes nOutputDataFiles
    outputFileBytes jobMetrics workQueue_ID jediTaskID jobSubStatus actualCoreCount reqID maxRSS maxVMEM maxSWAP maxPSS
    avgRSS avgVMEM avgSWAP avgPSS maxWalltime nucleus eventService failedAttempt hs06sec gshare hs06 totRCHAR totWCHAR
    totRBYTES totWBYTES rateRCHAR rateWCHAR rateRBYTES rateWBYTES resource_type diskIO memory_leak memory_leak_x2
    container_name job_label gco2_regional gco2_global cpu_architecture_level outputFileType
""")
FILE_ATTRIBUTES = _words("""
    rowID PandaID GUID lfn type dataset status prodDBlock prodDBlockToken dispatchDBlock dispatchDBlockToken
    destinationDBlock destinationDBlockToken destinationSE fsize md5sum checksum scope
""")

# These would change what is run, or where, or whose it is, and no task of ours can express it. Of the others some are
# read; the rest is what the server or a pilot writes, or describes the job only.
REFUSED = frozenset(
    _words("""
    metadata dispatchDBlock grid sourceSite destinationSite transferType taskID relocationFlag jobExecutionID
    countryGroup parentID workQueue_ID jediTaskID reqID nucleus eventService job_label cpu_architecture_level
    prodDBlockToken dispatchDBlockToken destinationDBlockToken
""")
)

_ABSENT = (None, "", "NULL")
_NOTHING = (0, "0", False)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def named(values: object, names: Sequence[str], where: str) -> Given:
    """Values by position as a mapping; what a client leaves at NULL is absent.

    Raises BadRequest for what is no such list, Refused for an attribute that is not served; both name it.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise BadRequest(f"{where} is {kind_of(values)}", hint="a list of values, as Client.submitJobs sends it")
    if len(values) > len(names):
        raise BadRequest(f"{where} has {len(values)} values", hint=f"{len(names)}, as panda-client 2.2.0 sends them")
    given = {name: value for name, value in zip(names, values, strict=False) if value not in _ABSENT}
    _check(given, where)
    return Given(given, where)


def _check(given: Mapping[str, object], where: str) -> None:
    for name, value in given.items():
        if name in REFUSED and value not in _NOTHING:
            raise Refused(f"{where} attribute {name!r} is not served", hint="leave it out, or submit a task instead")
        if isinstance(value, str) and _CONTROL.search(value):
            raise BadRequest(f"{where} attribute {name!r} holds a control character", hint="plain text")
