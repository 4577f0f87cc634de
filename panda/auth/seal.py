"""Texts that lie sealed in the database: the key lies apart from it, in a file that only the server's user reads."""

import json
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

KEY_FILE = "secrets.key"


class BrokenSealError(Exception):
    """A sealed text cannot be opened: the key is another one, or the text belongs elsewhere."""


def key_in(folder: Path) -> bytes:
    """The key in a folder, made at first use (mode 0600); processes that make it at once agree on one."""
    file = folder / KEY_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(Fernet.generate_key())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return file.read_bytes()


def seal(key: bytes, place: tuple[str, ...], text: str) -> str:
    """Seal a text for one place (its owner and name): at another place it cannot be opened."""
    return Fernet(key).encrypt(json.dumps([*place, text]).encode()).decode("ascii")


def opened(key: bytes, place: tuple[str, ...], sealed: str) -> str:
    """Give the text that was sealed for this place; raises BrokenSealError."""
    try:
        *where, text = json.loads(Fernet(key).decrypt(sealed.encode()))
    except InvalidToken as error:
        raise BrokenSealError("the key is not the one it was sealed with") from error
    if tuple(where) != place:
        raise BrokenSealError("it was sealed for another place")
    return str(text)
