"""A Hugging Face hub of a few kilobytes on 127.0.0.1, for the real client: what it serves, logs, and does wrong.

The hub answers `/OWNER/REPO/resolve/REVISION/FILE` with the headers of the real one. The same server is reachable as
`localhost`, which to the client is another host: there it plays the CDN that the real hub redirects to.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "1111111111111111111111111111111111111111"
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class HubFile:
    """A file as the hub has it; `stated_sha256` and `stated_size` are what the headers say."""

    content: bytes
    stated_sha256: str = ""
    stated_size: int = 0

    def __post_init__(self) -> None:
        self.stated_sha256 = self.stated_sha256 or hashlib.sha256(self.content).hexdigest()
        self.stated_size = self.stated_size or len(self.content)


@dataclass
class Request:
    """One request, with the bytes of the body that were sent."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    host: str
    status: int = 0
    body_bytes: int = 0


@dataclass
class HubState:
    """What is on the hub, what was asked, and the next misbehaviours."""

    files: dict[tuple[str, str], HubFile] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})  # a commit names itself
    requests: list[Request] = field(default_factory=list)
    cut_after_bytes: int | None = None  # close the connection of the next GET there
    get_statuses: list[int] = field(default_factory=list)  # of the next GETs; 0 is a normal one
    refusal: tuple[int, str] | None = None  # status and X-Error-Code of every answer
    ignores_range: bool = False
    is_hub: bool = True  # False: no commit, no etag
    redirects: bool = False
    paused: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)
    pause_after_bytes: int | None = None  # wait there until `resume` is set

    def __post_init__(self) -> None:
        self.resume.set()

    def gets(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET"]


class FakeHub:
    """The running server; `url` is what HF_ENDPOINT must be."""

    def __init__(self) -> None:
        self.state = HubState()
        handler = type("Handler", (_Handler,), {"state": self.state})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, repo: str, file: str, content: bytes, **stated: object) -> HubFile:
        hub_file = HubFile(content, **stated)
        self.state.files[repo, file] = hub_file
        return hub_file

    def close(self) -> None:
        self.state.resume.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was interrupted resets its connection; that is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: HubState

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_CONNECT(self) -> None:
        self._log_request()
        self._refuse(407, "")

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""

    def _log_request(self) -> Request:
        headers = self.headers
        request = Request(self.command, self.path, headers["Range"], headers["Authorization"], headers["Host"] or "")
        self.state.requests.append(request)
        self.request_log = request
        return request

    def _answer(self, *, with_body: bool) -> None:
        self._log_request()
        if self.state.refusal:
            return self._refuse(*self.state.refusal)
        if self.path.startswith("/cdn/"):
            return self._send_file(self._by_sha256(self.path.rpartition("/")[2]), with_body=with_body, headers={})
        match = RESOLVE.fullmatch(unquote(self.path))
        if match is None or match["repo"] not in {repo for repo, _ in self.state.files}:
            return self._refuse(404, "RepoNotFound")
        commits = self.state.revisions | {commit: commit for commit in self.state.revisions.values()}
        if match["revision"] not in commits:
            return self._refuse(404, "RevisionNotFound")
        hub_file = self.state.files.get((match["repo"], match["file"]))
        if hub_file is None:
            return self._refuse(404, "EntryNotFound")
        if with_body and self.state.get_statuses and (status := self.state.get_statuses.pop(0)):
            return self._refuse(status, "")
        headers = {
            "X-Repo-Commit": commits[match["revision"]],
            "X-Linked-Etag": f'"{hub_file.stated_sha256}"',
            "X-Linked-Size": str(hub_file.stated_size),
            "ETag": f'"{hub_file.stated_sha256}"',
        }
        return self._send_file(hub_file, with_body=with_body, headers=headers if self.state.is_hub else {})

    def _by_sha256(self, sha256: str) -> HubFile:
        return next(one for one in self.state.files.values() if one.stated_sha256 == sha256)

    def _send_file(self, hub_file: HubFile, *, with_body: bool, headers: dict[str, str]) -> None:
        if self.state.redirects and not self.path.startswith("/cdn/"):
            port = self.server.server_address[1]
            headers["Location"] = f"http://localhost:{port}/cdn/{hub_file.stated_sha256}"
            return self._start(302, headers | {"Content-Length": "0"})
        content, status = hub_file.content, 200
        asked = self.headers["Range"]
        if asked and not self.state.ignores_range:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        self._start(status, headers | {"Content-Length": str(len(content))})
        if with_body:
            self._send_body(content)

    def _send_body(self, content: bytes) -> None:
        state, request = self.state, self.request_log
        if state.pause_after_bytes is not None:
            stop, state.pause_after_bytes = state.pause_after_bytes, None
            self.wfile.write(content[:stop])
            self.wfile.flush()
            request.body_bytes += stop
            content = content[stop:]
            state.paused.set()
            state.resume.wait(30)
        if state.cut_after_bytes is not None:
            content, state.cut_after_bytes = content[: state.cut_after_bytes], None
            self.close_connection = True
        try:
            self.wfile.write(content)
            request.body_bytes += len(content)
        except OSError:
            self.close_connection = True  # the client was interrupted

    def _refuse(self, status: int, code: str) -> None:
        self._start(status, {"Content-Length": "0"} | ({"X-Error-Code": code} if code else {}))

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.request_log.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Machine:
    """A user's machine: its folders, its environment, and the command line on it in a process of its own."""

    def __init__(self, root: Path, endpoint: str) -> None:
        self.root = root
        self.cache = root / "hf" / "hub"
        self.registry = root / "llamadiv" / "models.toml"
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "LLAMADIV"))
        }
        self.environment = kept | {
            "HOME": str(root),
            "HF_HOME": str(root / "hf"),
            "HF_ENDPOINT": endpoint,
            "LLAMADIV_HOME": str(root / "llamadiv"),
            "NO_PROXY": "",
            "PYTHONWARNINGS": "error",
        }

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        environment = self.environment | options.pop("env", {})
        return subprocess.Popen(
            [sys.executable, "-m", "llama_diversity", "models", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            **options,
        )

    def run(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **options)
        stdout, stderr = process.communicate(timeout=50)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def name(self, alias: str, **fields: str | int) -> None:
        """Write a model into the user's models.toml."""
        self.registry.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{key} = {value if isinstance(value, int) else repr(value)}" for key, value in fields.items()]
        with self.registry.open("a") as file:
            file.write(f"[models.{alias}]\n" + "\n".join(lines) + "\n\n")
