"""Pilots' requests with an id of their own: the same id gets the same answer, however often it is asked."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from panda.store.prepared import Prepared, numbers, texts

_BOOK = Prepared(
    "panda_book",
    """
    INSERT INTO pilot_request (id, jobs) SELECT u.id, '{}' FROM unnest(CAST(:ids AS uuid[])) AS u (id) ORDER BY u.id
    ON CONFLICT DO NOTHING RETURNING id
""",
)
_KNOWN = Prepared(
    "panda_known", "SELECT id, jobs FROM pilot_request WHERE id = ANY(CAST(:ids AS uuid[])) AND jobs <> '{}'"
)
_ANSWER = Prepared(
    "panda_answer",
    """
    UPDATE pilot_request p SET jobs = CAST(u.jobs AS bigint[])
    FROM unnest(CAST(:ids AS uuid[]), CAST(:jobs AS text[])) AS u (id, jobs) WHERE p.id = u.id
""",
)
_FORGET = Prepared("panda_forget", "DELETE FROM pilot_request WHERE id = ANY(CAST(:ids AS uuid[])) AND jobs = '{}'")


def book(connection: Connection, ids: Collection[UUID]) -> dict[UUID, list[int]]:
    """Book requests; returns those that were there with the jobs they were answered with.

    A retry that overtakes the first waits here for the first one's commit. Ids are booked in order, so that two
    batches never wait for each other.
    """
    if not ids:
        return {}
    new = {UUID(str(row[0])) for row in _BOOK.run(connection, ids=texts(map(str, ids)))}
    return known(connection, [one for one in ids if one not in new])


def known(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[int]]:
    """With which jobs were these requests answered? One that got none is not among them."""
    if not ids:
        return {}
    return {UUID(str(row[0])): list(row[1]) for row in _KNOWN.run(connection, ids=texts(map(str, ids)))}


def settle(connection: Connection, answers: Mapping[UUID, Sequence[int]]) -> None:
    """Store the answers to booked requests; one that got nothing is forgotten: an idle pilot leaves no rows."""
    good = {one: jobs for one, jobs in answers.items() if jobs}
    if good:
        _ANSWER.run(connection, ids=texts(map(str, good)), jobs=texts(map(numbers, good.values())))
    empty = [str(one) for one, jobs in answers.items() if not jobs]
    if empty:
        _FORGET.run(connection, ids=texts(empty))
