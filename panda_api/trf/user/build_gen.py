#!/usr/bin/env python3
"""Make a library of a user's sandbox: the program of prun's build step, one file that any pilot downloads.

`buildGen -i SANDBOX -o LIBRARY --sourceURL URL -r DIR [--bexec "COMMAND"]` fetches the sandbox from URL/cache, runs the
url-quoted COMMAND in its subfolder DIR, and packs everything into LIBRARY, which the run jobs read
(wire-protocol.md 7.2).

Exit codes: the command's own; 2 wrong options, 40 the sandbox does not come, 41 it cannot be unpacked.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote

NO_SANDBOX, BAD_SANDBOX = 40, 41
TRIES, PAUSE_S, TIMEOUT_S = 3, 5.0, 120
HOME = Path("workDir")


def options(given: list[str]) -> argparse.Namespace:
    """Read the arguments that prun and the server put together."""
    parser = argparse.ArgumentParser("buildGen", allow_abbrev=False)
    parser.add_argument("-i", dest="sandbox", required=True, help="archive in the server's cache")
    parser.add_argument("-o", dest="library", required=True, help="archive to be made")
    parser.add_argument("-r", dest="folder", default=".", help="where to run, below the sandbox")
    parser.add_argument("--bexec", dest="command", default="", help="url-quoted command")
    parser.add_argument("--sourceURL", dest="source", default="")
    parser.add_argument("--noCompile", action="store_true", help="only pack")
    return parser.parse_args(given)


def fetched(address: str, target: Path) -> bool:
    """Download one file, with some patience for a server that is just away; False with the reason on stderr."""
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer, target.open("wb") as sink:  # noqa: S310 - the job's server
                shutil.copyfileobj(answer, sink)
        except OSError as error:
            lost = isinstance(error, urllib.error.HTTPError) and error.code < 500  # noqa: PLR2004 - not the server's fault
            if lost or not left:
                print(f"buildGen: {address} does not come: {error}", file=sys.stderr)
                return False
            time.sleep(PAUSE_S)
        else:
            return True
    return False


def main(given: list[str]) -> int:
    """Build; the answer is the exit code."""
    asked = options(given)
    if not fetched(f"{asked.source}/cache/{asked.sandbox}", Path(asked.sandbox)):
        return NO_SANDBOX
    try:
        with tarfile.open(asked.sandbox) as content:
            content.extractall(HOME)  # noqa: S202 - into a folder of this job, whose command may write anywhere it likes
    except (OSError, tarfile.TarError) as error:
        print(f"buildGen: {asked.sandbox} cannot be unpacked: {error}", file=sys.stderr)
        return BAD_SANDBOX
    place = HOME / asked.folder
    place.mkdir(parents=True, exist_ok=True)
    words = "" if asked.noCompile else unquote(asked.command)
    if words:
        print(f"buildGen: {words}", flush=True)
        code = subprocess.run(["/bin/sh", "-c", words], cwd=place, check=False).returncode
        if code:
            print(f"buildGen: the command ended with {code}", file=sys.stderr)
            return code if code > 0 else 128 - code
    with tarfile.open(asked.library, "w:gz") as archive:
        archive.add(HOME, arcname=".")
    shutil.rmtree(HOME, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
