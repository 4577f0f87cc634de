"""Owns the form of a notification: a JSON body `{"events": [...]}` and its signature, for sender and receiver.

The receiver answers 200 only when it has kept the events; anything else brings them again. They may come twice, and the
feed (`DataManager.changes`) has them all: a receiver remembers the seq it has seen.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime

from panda.ddm.errors import Inconsistent
from panda.ddm.port import DdmEvent, Did, EventKind

SIGNATURE_HEADER = "X-Panda-Ddm-Signature"
_MOST_EVENTS = 10_000


def body_of(events: Sequence[DdmEvent]) -> bytes:
    """The body that tells these events."""
    told = [
        {
            "seq": event.seq,
            "at": event.at.isoformat(),
            "kind": event.kind.value,
            "transfer_id": event.transfer_id,
            "scope": event.did.scope,
            "name": event.did.name,
            "rse": event.rse,
            "detail": event.detail,
        }
        for event in events
    ]
    return json.dumps({"events": told}, separators=(",", ":")).encode()


def events_of(body: bytes) -> list[DdmEvent]:
    """The events that a body tells; raises Inconsistent when it is none."""
    try:
        told = json.loads(body)["events"]
        if len(told) > _MOST_EVENTS:
            raise Inconsistent(f"{len(told)} events in one notification", f"At most {_MOST_EVENTS} are accepted.")
        return [
            DdmEvent(
                seq=int(item["seq"]),
                at=datetime.fromisoformat(item["at"]),
                kind=EventKind(item["kind"]),
                transfer_id=str(item["transfer_id"]),
                did=Did(str(item["scope"]), str(item["name"])),
                rse=str(item["rse"]),
                detail=str(item["detail"]),
            )
            for item in told
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise Inconsistent(f"not a notification of the DDM: {error}", 'Send {"events": [...]}.') from error


def sign(secret: str, body: bytes) -> str:
    """The value of the signature header: HMAC-SHA256 of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    """Whether the signature is this body's, compared in constant time."""
    return hmac.compare_digest(sign(secret, body).encode(), signature.encode())
