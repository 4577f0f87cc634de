"""Owns the running of the unmodified panda-client: its own environment, its commands, a user with a token."""

import json
import os
import subprocess
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.clients.index import CLIENTS, alone, pip
from tests.support.tokens import a_token

VERSION = "2.2.0"
LIMIT_S = 120


def installed() -> Path:
    """The client's virtual environment, made when it is not there yet."""
    folder = CLIENTS / f"panda-client-{VERSION}"
    with alone():
        if not (folder / "done").is_file():
            venv.create(folder, clear=True, symlinks=True)
            (purelib,) = (folder / "lib").glob("python*/site-packages")
            pip("--python", str(folder / "bin" / "python"), "install", "--quiet", f"panda-client=={VERSION}")
            assert (purelib / "pandaclient").is_dir()
            (folder / "done").touch()
    return folder


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said: its exit code and everything it printed."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with the client, a token and a folder of their own; `tester` of VO `testvo` unless it is said."""

    server: str
    folder: Path
    client: Path = field(default_factory=installed)
    name: str = "Ann Tester"
    nickname: str = "tester"
    vo: str = "testvo"
    more: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """wire-protocol.md 7.1, and nothing of the test's own environment."""
        (packages,) = (self.client / "lib").glob("python*/site-packages")
        base = f"{self.server}/server/panda"
        claims = {"name": self.name, "preferred_username": self.nickname, "groups": [f"{self.vo}/user"]}
        return {
            "PATH": os.pathsep.join((str(self.client / "bin"), "/usr/local/bin", "/usr/bin", "/bin")),
            "HOME": str(self.folder / "home"),
            "PANDA_URL": base, "PANDA_URL_SSL": base, "PANDACACHE_URL": base, "PANDA_BEHIND_REAL_LB": "1",
            "PANDA_AUTH": "oidc", "PANDA_AUTH_VO": self.vo,
            "PANDA_AUTH_ID_TOKEN": a_token(**claims, exp=time.time() + 86_400),
            "PANDA_CONFIG_ROOT": str(self.folder / "home" / ".panda"),
            "PANDA_SYS": str(self.client), "PANDA_PYTHONPATH": str(packages),
            "PANDA_PYTHON_EXEC": str(self.client / "bin" / "python"),
            "no_proxy": "*", "COLUMNS": "240", "LANG": "C.UTF-8", **self.more,
        }  # fmt: skip

    def run(self, *words: str, said_first: str = "") -> Said:
        """One command of the client in the user's folder; `said_first` goes to its standard input."""
        for one in (self.folder, self.folder / "home"):
            one.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(), input=said_first, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout)

    def prun(self, *words: str) -> Said:
        """`prun` with the options every run here needs."""
        return self.run("prun", *words, "--vo", self.vo)

    def submitted(self, *words: str) -> int:
        """The id of the task that `prun` submitted; AssertionError with its words if it did not."""
        record = self.folder / "prun.json"
        record.unlink(missing_ok=True)
        said = self.prun(*words, "--dumpJson", str(record))
        assert said.code == 0, said.text
        (entry,) = json.loads(record.read_text(encoding="utf-8"))
        assert entry["returnCode"] == 0
        return int(entry["jediTaskID"])

    def outputs(self, task_id: int) -> dict[str, str]:
        """The outputs of a task as its owner lists and fetches them: LFN -> contents."""
        status, datasets = self.call("get_files_in_datasets", task_id, "output")
        assert status == 0
        headers = {"Authorization": f"Bearer {self.environment()['PANDA_AUTH_ID_TOKEN']}", "Origin": self.vo}
        found = {}
        for one in (file for dataset in datasets for file in dataset["files"]):
            asked = {"task_id": str(task_id), "lfn": one["lfn"]}
            answer = requests.get(f"{self.server}/api/v1/task/get_output_file", asked, headers=headers, timeout=30)
            assert answer.status_code == 200
            found[one["lfn"]] = answer.text
        return found

    def pbook(self, *words: str) -> Said:
        """`pbook` in batch mode."""
        return self.run("pbook", *words)

    def call(self, function: str, *arguments: object, **named: object) -> Any:
        """What a function of `pandaclient.Client` returns, as JSON brings it over."""
        program = (
            "import json, sys\nfrom pandaclient import Client\n"
            "name, arguments, named = json.loads(sys.stdin.read())\n"
            "answer = getattr(Client, name)(*arguments, **named)\n"
            "plain = lambda one: one.to_dict() if hasattr(one, 'to_dict') else str(one)\n"
            "print('\\n' + json.dumps(answer, default=plain))\n"
        )
        return self._answer(program, [function, arguments, named])

    def submit_jobs(self, *specs: tuple[Mapping[str, object], Sequence[Mapping[str, object]]]) -> Any:
        """What `Client.submitJobs` returns for a JobSpec each of these attributes and files."""
        program = (
            "import json, sys\nfrom pandaclient import Client\nfrom pandaclient.FileSpec import FileSpec\n"
            "from pandaclient.JobSpec import JobSpec\n"
            "def made(spec, attributes):\n"
            "    for name, value in attributes.items():\n        setattr(spec, name, value)\n"
            "    return spec\n"
            "jobs = []\n"
            "for attributes, files in json.loads(sys.stdin.read()):\n"
            "    jobs.append(made(JobSpec(), attributes))\n"
            "    for one in files:\n        jobs[-1].addFile(made(FileSpec(), one))\n"
            "print('\\n' + json.dumps(Client.submitJobs(jobs)))\n"
        )
        return self._answer(program, specs)

    def _answer(self, program: str, said_first: object) -> Any:
        """What a program in the client's environment prints last, as JSON."""
        said = self.run(str(self.client / "bin" / "python"), "-c", program, said_first=json.dumps(said_first))
        assert said.code == 0, said.text
        return json.loads(said.text.splitlines()[-1])


def write(folder: Path, files: Mapping[str, str]) -> None:
    """The files of a sandbox."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
