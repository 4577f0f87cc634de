"""What somebody may ask a production task to be: labels, priorities, groups and datasets of one's own kind."""

from dataclasses import replace

from panda.auth.identity import Identity, Role
from panda.domain.names import bare_name
from panda.domain.work import LooseJobs, TaskRequest
from panda.errors import Forbidden

USER_LABELS = frozenset({"user", "panda"})
USER_PRIORITY = 1000
"""taskPriority that PanDA gives to users' tasks; they may ask for less (wire-protocol.md 7.2)."""

_SPEAKS_FOR_OTHERS = frozenset({Role.OPERATOR})


def permitted(who: Identity, request: TaskRequest) -> TaskRequest:
    """Return the request as this submitter may have it; raises Forbidden that says what it would take.

    Operators ask for anything. Everybody else stays in their VO; who is no production manager submits analysis in the
    own name with at most a user's priority, for a working group of the token, into datasets of the own scope.
    """
    if not who.roles.isdisjoint(_SPEAKS_FOR_OTHERS):
        return request
    if who.vo and request.vo != who.vo:
        raise Forbidden(
            f"you are of VO {who.vo!r}, the task is for {request.vo!r}", hint=f"submit it with vo {who.vo!r}"
        )
    if Role.PRODUCTION_MANAGER in who.roles:
        return request
    _check_of_a_user(who, request)
    build = None if request.build is None else permitted(who, request.build)
    return replace(request, owner=who.name, priority=min(request.priority, USER_PRIORITY), build=build)


def permitted_jobs(who: Identity, wanted: LooseJobs) -> LooseJobs:
    """Return loose jobs as this submitter may have them: no job of a user's gets above a user's priority."""
    request = permitted(who, wanted.request)
    if not who.roles.isdisjoint(_SPEAKS_FOR_OTHERS | {Role.PRODUCTION_MANAGER}):
        return replace(wanted, request=request)
    room = USER_PRIORITY - request.priority
    jobs = tuple(replace(one, priority_offset=min(one.priority_offset, room)) for one in wanted.jobs)
    return LooseJobs(request, jobs)


def _check_of_a_user(who: Identity, request: TaskRequest) -> None:
    production = f"the production role (Origin: {who.vo or '<vo>'}:production)"
    if request.label not in USER_LABELS:
        raise Forbidden(f"label {request.label!r} takes {production}", hint="users' label is 'user'")
    if request.owner != who.name:
        raise Forbidden(f"the task's owner is {request.owner!r}, you are {who.name!r}", hint=f"it takes {production}")
    group = request.working_group
    if group and group not in who.groups:
        raise Forbidden(
            f"you are not in group {group!r}", hint=f"the token's groups: {', '.join(who.groups) or 'none'}"
        )
    prefixes = (f"user.{who.nickname}.", *(f"group.{group}." for group in [group] if group))
    for output in request.outputs:
        if not bare_name(output.dataset).startswith(prefixes):
            raise Forbidden(
                f"dataset {output.dataset!r} is not of your scope", hint=f"a name that begins with {prefixes[0]!r}"
            )
