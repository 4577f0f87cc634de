"""Owns tokens for tests: claims as an issuer writes them, with a signature that nobody made."""

import base64
import json


def a_token(**claims: object) -> str:
    """A JWT of these claims; its signature is three bytes of nothing."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    texts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts]
    return ".".join((*texts, "AAAA"))


def headers_of(name: str, origin: str = "testvo", **claims: object) -> dict[str, str]:
    """What a client of this user sends with every call; the nickname is the first word of the name, small."""
    nickname = name.split(maxsplit=1)[0].lower()
    token = a_token(**{"name": name, "preferred_username": nickname, **claims})
    return {"Authorization": f"Bearer {token}", "Origin": origin}
