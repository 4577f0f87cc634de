"""Owns pushing of events: subscriptions, and their delivery by HTTP in order, at least once.

A subscription remembers the last seq that its receiver acknowledged with 200. Several agents may deliver at the same
time: the cursor only moves on from where the sender read it, so the worst is that events come twice.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import requests
from sqlalchemy import Connection, Engine, text

from panda.ddm.embedded import events
from panda.ddm.embedded.faults import ActiveFaults, FaultKind
from panda.ddm.embedded.transactions import run
from panda.ddm.notification import SIGNATURE_HEADER, body_of, sign
from panda.ddm.port import DdmEvent

log = logging.getLogger(__name__)

_BATCH = 500
_TIMEOUT_S = (5.0, 30.0)
_OK = 200
_LONGEST_WAIT_S = 10.0

_SUBSCRIBE = text("""
    INSERT INTO ddm.subscription (name, url) VALUES (:name, :url)
    ON CONFLICT (name) DO UPDATE SET url = excluded.url, tries = 0, not_before = now()
""")
_UNSUBSCRIBE = text("DELETE FROM ddm.subscription WHERE name = :name")
_DUE = text("""
    SELECT name, url, delivered FROM ddm.subscription s
     WHERE not_before <= now() AND EXISTS (SELECT FROM ddm.event e WHERE e.seq > s.delivered) ORDER BY name
""")
_ACKNOWLEDGED = text("""
    UPDATE ddm.subscription SET delivered = :to, tries = 0, error = '', not_before = now()
     WHERE name = :name AND delivered = :since
""")
_REFUSED = text("""
    UPDATE ddm.subscription SET tries = tries + 1, error = :error,
           not_before = now() + least(0.2 * power(2, least(tries, 10)), :longest) * interval '1 second'
     WHERE name = :name
""")


@dataclass(frozen=True, slots=True)
class _Due:
    """A subscription with news."""

    name: str
    url: str
    since: int
    news: list[DdmEvent]
    times: int


def subscribe(engine: Engine, name: str, url: str) -> None:
    """Tell a receiver of all events from the beginning of the feed; a known name goes on where it was."""
    run(engine, lambda connection: connection.execute(_SUBSCRIBE, {"name": name, "url": url}))


def unsubscribe(engine: Engine, name: str) -> None:
    """Stop telling a receiver."""
    run(engine, lambda connection: connection.execute(_UNSUBSCRIBE, {"name": name}))


class Courier:
    """Delivers news to all subscriptions."""

    def __init__(self, engine: Engine, secret: str | None, ca_file: str | None, *, with_faults: bool) -> None:
        self._engine = engine
        self._secret = secret
        self._with_faults = with_faults
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = ca_file or True

    def deliver(self) -> int:
        """Send what is due, one batch per subscription; returns how many events were acknowledged."""
        return sum(self._send(due) for due in run(self._engine, self._due))

    def _due(self, connection: Connection) -> list[_Due]:
        faults = ActiveFaults(connection) if self._with_faults else None
        found = []
        for row in connection.execute(_DUE).all():
            news = events.read(connection, row.delivered, _BATCH)
            found.append(_Due(row.name, row.url, row.delivered, news, _times(faults)))
        return found

    def _send(self, due: _Due) -> int:
        try:
            for _ in range(due.times):
                self._post(due.url, due.news)
        except requests.RequestException as error:
            values = {"name": due.name, "error": str(error)[:500], "longest": _LONGEST_WAIT_S}
            run(self._engine, lambda connection: connection.execute(_REFUSED, values))
            log.warning("%d events are not accepted by %s: %s", len(due.news), due.url, error)
            return 0
        done = {"name": due.name, "since": due.since, "to": due.news[-1].seq}
        run(self._engine, lambda connection: connection.execute(_ACKNOWLEDGED, done))
        return len(due.news)

    def _post(self, url: str, news: Sequence[DdmEvent]) -> None:
        body = body_of(news)
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            headers[SIGNATURE_HEADER] = sign(self._secret, body)
        answer = self._session.post(url, data=body, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False)
        if answer.status_code != _OK:
            raise requests.HTTPError(f"answer {answer.status_code} {answer.text[:200]}")


def _times(faults: ActiveFaults | None) -> int:
    """How often a batch is sent: once, unless a fault doubles or loses it."""
    kinds = {fault.kind for fault in faults.of_events()} if faults else set()
    if FaultKind.LOST_EVENT in kinds:
        return 0
    return 2 if FaultKind.DUPLICATE_EVENT in kinds else 1
