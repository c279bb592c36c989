"""A Hugging Face Hub on this computer: the few endpoints that huggingface_hub pushes and reads by.

Text files are git blobs, all others go by Git LFS, as on the Hub.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN, ANOTHERS_TOKEN = "hf_mine", "hf_reader"
ACCOUNTS = {
    TOKEN: {"type": "user", "name": "me", "orgs": [{"name": "lab"}]},
    ANOTHERS_TOKEN: {"type": "user", "name": "reader", "orgs": []},
}
TEXT = (".json", ".jsonl", ".md", ".txt", ".gitattributes", ".gitignore")


@dataclass
class Repository:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b"*"}])
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    @property
    def head(self) -> str:
        return f"{len(self.commits):040x}"

    def commit_of(self, revision: str) -> str | None:
        """None: there is no such revision."""
        if revision == "main":
            return self.head
        commits = {f"{number + 1:040x}" for number in range(len(self.commits))}
        return self.tags.get(revision, revision if revision in commits else None)

    def at(self, commit: str) -> dict[str, bytes]:
        return self.commits[int(commit, 16) - 1]


class Hub(ThreadingHTTPServer):
    """Made as a context; `url` is what HF_ENDPOINT names.

    repositories: by "datasets/owner/name" or "models/owner/name". faults: statuses answered to
    the next requests whose "METHOD path" contains the key; 0: none, the connection ends. seen:
    every request. tokens: what each was sent with. strange: status, content and headers answered
    to requests whose "METHOD path" contains the key. silent: requests whose "METHOD path" contains
    this are taken and not answered. slow: answers to such come in pieces, seconds apart.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, list[int]] = {}
        self.seen: list[str] = []
        self.tokens: list[str | None] = []
        self.strange: dict[str, tuple[int, object, dict[str, str]]] = {}
        self.silent: str | None = None
        self.slow: tuple[str, float] | None = None
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


def point_at(url: str, monkeypatch) -> None:
    """As HF_ENDPOINT would do."""
    _have(monkeypatch, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    _have(monkeypatch, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def go_offline(monkeypatch, offline: bool = True) -> None:
    """As HF_HUB_OFFLINE would do."""
    from huggingface_hub import utils

    _have(monkeypatch, "HF_HUB_OFFLINE", offline)
    if reset := getattr(utils, "reset_sessions", None):  # before 1.0 a session keeps what it was
        reset()


def _have(monkeypatch, name: str, value: object) -> None:
    """A constant of huggingface_hub, also in modules that took it over as they were loaded."""
    import huggingface_hub.constants
    import huggingface_hub.file_download
    import huggingface_hub.hf_api  # noqa: F401

    for called, module in list(sys.modules.items()):
        if called.startswith("huggingface_hub") and module and name in vars(module):
            monkeypatch.setattr(module, name, value)


@contextlib.contextmanager
def logged_in(folder: Path, monkeypatch) -> Iterator[Hub]:
    """A Hub, and this process logged in to it, as HF_ENDPOINT, HF_HOME and HF_TOKEN would do."""
    from armlet import hub

    # A thread of a busy process answers: what is given up after a time is tested by less than that.
    monkeypatch.setattr(hub, "_ANSWER_S", 120.0)
    monkeypatch.setattr(hub, "_STALLED_S", 120.0)
    with Hub() as server:
        point_at(server.url, monkeypatch)
        go_offline(monkeypatch, False)
        _have(monkeypatch, "HF_HUB_DISABLE_XET", True)
        _have(monkeypatch, "HF_TOKEN_PATH", str(folder / "no-token"))
        _have(monkeypatch, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def is_lfs(path: str) -> bool:
    return not path.endswith(TEXT)


def described(path: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if is_lfs(path):
        sha = hashlib.sha256(content).hexdigest()
        pointer = hashlib.sha1(sha.encode()).hexdigest()
        entry |= {"oid": pointer, "lfs": {"oid": sha, "size": len(content), "pointerSize": 130}}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments: object) -> None:
        """Nothing is printed."""

    def answer(self, status: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.write(body)

    def write(self, body: bytes) -> None:
        slow = self.server.slow
        if slow is None or slow[0] not in self.server.seen[-1]:
            self.wfile.write(body)
            return
        for at in range(0, len(body), max(1, len(body) // 20)):
            self.server.ended.wait(slow[1])
            self.wfile.write(body[at : at + max(1, len(body) // 20)])

    def refuse(self, status: int, code: str = "", said: str = "") -> None:
        headers = {"X_Error_Code": code, "X_Error_Message": said}
        self.answer(status, {"error": said}, **{k: v for k, v in headers.items() if v})

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append(f"{self.command} {path}")
        self.server.tokens.append(self.headers.get("Authorization"))
        if self.server.silent is not None and self.server.silent in self.server.seen[-1]:
            self.server.ended.wait()
            self.close_connection = True
            return
        for key, statuses in self.server.faults.items():
            if key in self.server.seen[-1] and statuses:
                status = statuses.pop(0)
                if status:
                    self.refuse(status, said="out of order")
                else:
                    self.close_connection = True
                return
        for key, (status, content, headers) in self.server.strange.items():
            if key in self.server.seen[-1]:
                self.answer(status, content, **headers)
                return
        self.route(path)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    @property
    def account(self) -> dict | None:
        return ACCOUNTS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def route(self, path: str) -> None:
        if path == "/api/whoami-v2":
            self.answer(200, self.account) if self.account else self.refuse(401, said="bad token")
        elif path == "/api/repos/create":
            self.create(json.loads(self.body))
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif path.startswith("/lfs/"):
            self.server.objects[path.removeprefix("/lfs/")] = self.body
            self.answer(200)
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self.batch(json.loads(self.body))
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name = (found[1] or "models/") + found[2]
            self.of_repository(name, f"/resolve/{found[3]}/{found[4]}")
        elif found := re.fullmatch(r"/api/((?:datasets|models)/[^/]+/[^/]+)(/.*)?", path):
            self.of_repository(found[1], found[2] or "")
        else:
            self.refuse(404, said=f"no such endpoint: {path}")

    def create(self, asked: dict) -> None:
        account = self.account
        owner = asked.get("organization") or (account or {}).get("name")
        if account is None or owner not in {account["name"], *(o["name"] for o in account["orgs"])}:
            self.refuse(403, said=f'You don\'t have the rights to create under "{owner}"')
            return
        private = asked.get("visibility") == "private" or asked.get("private") is True
        name = f"{asked.get('type', 'model')}s/{owner}/{asked['name']}"
        if name in self.server.repositories:
            self.refuse(409, said="You already created this repo")
            return
        self.server.repositories[name] = Repository(private)
        self.answer(200, {"url": f"{self.server.url}/{name.removeprefix('models/')}"})

    def batch(self, asked: dict) -> None:
        objects = []
        for one in asked["objects"]:
            there = one["oid"] in self.server.objects
            upload = {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}", "header": {}}}
            objects.append({**one} if there else {**one, "actions": upload})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def of_repository(self, name: str, rest: str) -> None:
        repository = self.server.repositories.get(name)
        owner, account = name.split("/")[1], self.account
        owners = {account["name"], *(o["name"] for o in account["orgs"])} if account else set()
        if repository is None or (repository.private and owner not in owners):
            self.refuse(404, "RepoNotFound", "Repository not found")
        elif self.command in ("POST", "PUT", "DELETE") and owner not in owners:
            self.refuse(403, said="Forbidden: you may not write here")
        else:
            self.serve(repository, name, rest)

    def serve(self, repository: Repository, name: str, rest: str) -> None:
        _, verb, revision, *place = [*rest.split("/", 3), "", "", ""][: 3 + rest.count("/")]
        revision = revision or "main"
        commit = repository.commit_of(revision)
        if verb in ("", "revision", "tree", "resolve") and commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif verb in ("", "revision"):
            about = {"id": name.partition("/")[2], "private": repository.private, "siblings": []}
            self.answer(200, {**about, "sha": commit, "tags": []})
        elif verb == "refs":
            tags = [
                {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
                for tag, commit in repository.tags.items()
            ]
            self.answer(200, {"branches": [], "converts": [], "tags": tags})
        elif verb == "tree":
            files = repository.at(commit)
            self.answer(200, [described(path, files[path]) for path in sorted(files)])
        elif verb == "preupload":
            self.preupload(repository)
        elif verb == "commit":
            self.commit(repository, name)
        elif verb == "tag" and self.command == "DELETE":
            del repository.tags[revision]
            self.answer(200)
        elif verb == "tag":
            repository.tags[json.loads(self.body)["tag"]] = commit
            self.answer(200)
        elif verb == "resolve":
            self.resolve(repository, commit, place[0])
        else:
            self.refuse(404, said=f"no such endpoint: {rest}")

    def preupload(self, repository: Repository) -> None:
        ignored = repository.files.get(".gitignore", b"").decode().split()
        answers = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if is_lfs(one["path"]) else "regular",
                "shouldIgnore": one["path"] in ignored,
            }
            for one in json.loads(self.body)["files"]
        ]
        self.answer(200, {"files": answers})

    def commit(self, repository: Repository, name: str) -> None:
        files = dict(repository.files)
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if value.get("parentCommit", repository.head) != repository.head:
                self.refuse(412, said="a commit has happened since")
                return
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        repository.commits.append(files)
        url = f"{self.server.url}/{name.removeprefix('models/')}/commit/{repository.head}"
        self.answer(200, {"success": True, "commitOid": repository.head, "commitUrl": url})

    def resolve(self, repository: Repository, commit: str, path: str) -> None:
        files = repository.at(commit)
        if path not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        etag = described(path, files[path])["oid"]
        self.answer(200, files[path], ETag=f'"{etag}"', X_Repo_Commit=commit)
