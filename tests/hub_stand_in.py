"""A Hugging Face Hub of one's own: the part of its HTTP API that huggingface_hub and transformers use, on localhost.

Repositories have real commits, branches and pull requests, all in memory; large files travel by Git LFS, as they do
wherever Xet is switched off. What a client asks for is recorded, and one without the right token is refused in the
Hub's own terms.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants
from transformers.utils import hub as transformers_hub

Files = dict[str, bytes]


@dataclass(frozen=True)
class Commit:
    oid: str
    files: Files
    message: str
    description: str = ""


@dataclass
class Repository:
    """Attributes:
    private: not even its name is told to strangers.
    gated: who may read the files; None for everybody.
    heads: the commits that branches and pull requests ("refs/pr/1") point to.
    """

    private: bool = False
    gated: set[str] | None = None
    heads: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def commit(self, ref: str, files: Files, message: str, description: str = "") -> Commit:
        text = json.dumps([len(self.commits), message, sorted((path, git_oid(data)) for path, data in files.items())])
        commit = Commit(hashlib.sha1(text.encode()).hexdigest(), files, message, description)
        self.commits[commit.oid] = self.heads[ref] = commit
        return commit

    def at(self, revision: str) -> Commit | None:
        return self.heads.get(revision) or self.commits.get(revision)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    user: str | None

    def __str__(self) -> str:
        return f"{self.method:4} {self.path}  ({self.user or 'anonymous'})"


class Refusal(Exception):
    """An answer that is an error, as the Hub words it: a status, its code and its message."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code


class HubStandIn:
    """Attributes:
    repositories: by "owner/name".
    users: by token; every user owns the namespace of that name.
    requests: all that was asked, in order.
    refuse_uploads_after: how many large files are taken before uploads break off; None for no end.
    """

    def __init__(self, users: dict[str, str]) -> None:
        self.users = users
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.refuse_uploads_after: int | None = None
        self.lock = threading.Lock()
        self.endpoint = ""

    @contextmanager
    def serving(self) -> Iterator[HubStandIn]:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def be_the_hub(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        """Sends all clients in this process here; nobody is logged in. What they download is kept in `directory`."""
        for name, value in {
            "ENDPOINT": self.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(directory / "cache"),
            "HF_TOKEN_PATH": str(directory / "no-token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", self.endpoint)
        monkeypatch.setattr(transformers_hub, "_hf_api", None, raising=False)
        monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "1")
        for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(variable, raising=False)

    def create(self, repo_id: str, files: Files | None = None, **kwargs: Any) -> Repository:
        repository = self.repositories[repo_id] = Repository(**kwargs)
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n", **(files or {})}, "initial commit")
        return repository

    def files(self, repo_id: str, revision: str = "main") -> Files:
        """What the repository holds, without the Hub's own .gitattributes."""
        commit = self.repositories[repo_id].at(revision)
        assert commit is not None, f"{repo_id} has no {revision}"
        return {path: data for path, data in commit.files.items() if path != ".gitattributes"}

    def asked(self, pattern: str) -> list[Request]:
        return [request for request in self.requests if re.search(pattern, f"{request.method} {request.path}")]


def is_large(path: str, size: int) -> bool:
    return path.endswith(".safetensors") or size > 10_000_000


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _oid(path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if is_large(path, len(data)) else git_oid(data)


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(iter(self._chunk, b""))
        else:
            self.body = self.rfile.read(length)
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.user = self.hub.users.get(token)
        path = "/".join(unquote(part) for part in url.path.split("/"))
        with self.hub.lock:
            self.hub.requests.append(Request(self.command, path, self.user))
        try:
            if token and self.user is None:
                raise Refusal(401, "", "Invalid credentials in Authorization header")
            self.answer(url.path)
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self.reply({"error": refusal.message}, refusal.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().strip(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def reply(self, content: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # -- who may do what

    def repository(self, repo_id: str, write: bool = False, files: bool = False) -> Repository:
        repository = self.hub.repositories.get(repo_id)
        owns = self.user is not None and repo_id.startswith(f"{self.user}/")
        if repository is None or (repository.private and not owns):
            raise Refusal(404 if self.user else 401, "RepoNotFound", "Repository not found")
        if write and not owns and "create_pr" not in self.query:
            raise Refusal(403 if self.user else 401, "", "You have no write access to this repository")
        if files and repository.gated is not None and self.user not in repository.gated and not owns:
            raise Refusal(403 if self.user else 401, "GatedRepo", "Access to this model is restricted")
        return repository

    def commit_at(self, repository: Repository, revision: str) -> Commit:
        commit = repository.at(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # -- the routes

    ROUTES = (
        ("POST", r"/api/repos/create", "create_repo"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", "create_branch"),
        ("POST", r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
        ("POST", r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", "make_commit"),
        ("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", "tree"),
        ("GET", r"/api/models/([^/]+/[^/]+)/refs", "refs"),
        ("GET", r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", "model_info"),
        ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/([0-9a-f]{64})", "lfs_upload"),
        ("POST", r"/lfs/verify", "lfs_verify"),
        ("HEAD|GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    )

    def answer(self, path: str) -> None:
        for methods, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in methods.split("|"):
                return getattr(self, name)(*(None if part is None else unquote(part) for part in match.groups()))
        raise Refusal(404, "", f"No such page: {path}")

    def whoami(self) -> None:
        if self.user is None:
            raise Refusal(401, "", "Log in first")
        self.reply({"name": self.user, "type": "user", "orgs": []})

    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        metadata = yaml.safe_load(content.split("---\n")[1]) if content.startswith("---\n") else {}
        relation = metadata.get("base_model_relation")
        allowed = {None, "adapter", "finetune", "merge", "quantized"}
        errors = [] if relation in allowed else [{"message": f"base_model_relation must not be {relation!r}"}]
        self.reply({"errors": errors, "warnings": []}, 400 if errors else 200)

    def create_repo(self) -> None:
        wanted = json.loads(self.body)
        if self.user is None:
            raise Refusal(401, "", "Log in first")
        owner = wanted.get("organization") or self.user
        if owner != self.user:
            raise Refusal(403, "", f"You have no rights to create a model under the namespace {owner!r}")
        repo_id = f"{owner}/{wanted['name']}"
        url = {"url": f"{self.hub.endpoint}/{repo_id}"}
        if repo_id in self.hub.repositories:
            return self.reply({"error": "You already created this model repo", **url}, 409)
        self.hub.create(repo_id, private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        self.reply(url)

    def create_branch(self, repo_id: str, branch: str) -> None:
        repository = self.repository(repo_id, write=True)
        if branch in repository.heads:
            raise Refusal(409, "", "Reference already exists")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        repository.heads[branch] = self.commit_at(repository, start)
        self.reply({})

    def model_info(self, repo_id: str, revision: str | None) -> None:
        repository = self.repository(repo_id)
        commit = self.commit_at(repository, revision or "main")
        card = commit.files.get("README.md", b"").decode()
        metadata = yaml.safe_load(card.split("---\n")[1]) if card.startswith("---\n") else {}
        self.reply(
            {
                "id": repo_id,
                "sha": commit.oid,
                "private": repository.private,
                "gated": "manual" if repository.gated is not None else False,
                "tags": metadata.get("tags", []),
                "pipeline_tag": metadata.get("pipeline_tag"),
                "library_name": metadata.get("library_name"),
                "cardData": metadata,
                "siblings": [{"rfilename": path} for path in sorted(commit.files)],
            }
        )

    def refs(self, repo_id: str) -> None:
        heads = self.repository(repo_id).heads
        listed = [{"name": name, "ref": name, "targetCommit": commit.oid} for name, commit in heads.items()]
        pulls = [ref for ref in listed if ref["name"].startswith("refs/pr/")]
        self.reply({"branches": [ref for ref in listed if ref not in pulls], "tags": [], "pullRequests": pulls})

    def tree(self, repo_id: str, revision: str, folder: str | None) -> None:
        commit = self.commit_at(self.repository(repo_id, files=True), revision)
        inside = {path: data for path, data in commit.files.items() if path.startswith(f"{folder}/" if folder else "")}
        if folder and not inside:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist")
        entries: list[dict[str, Any]] = []
        for path, data in sorted(inside.items()):
            rest = path.removeprefix(f"{folder}/" if folder else "")
            if "/" in rest and self.query.get("recursive", "false").lower() not in ("1", "true"):
                continue
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
            if is_large(path, len(data)):
                entry["lfs"] = {"oid": _oid(path, data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self.reply(entries)

    # -- uploading

    def preupload(self, repo_id: str, revision: str) -> None:
        repository = self.repository(repo_id, write=True)
        there = self.commit_at(repository, revision).files
        self.reply(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if is_large(file["path"], file["size"]) else "regular",
                        "shouldIgnore": False,
                        "oid": _oid(file["path"], there[file["path"]]) if file["path"] in there else None,
                    }
                    for file in json.loads(self.body)["files"]
                ]
            }
        )

    def lfs_batch(self, repo_id: str) -> None:
        if self.user is None:
            raise Refusal(401, "", "Log in first")
        self.repository(repo_id)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.blobs:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.endpoint}/lfs/{wanted['oid']}"},
                    "verify": {"href": f"{self.hub.endpoint}/lfs/verify"},
                }
            objects.append(answer)
        self.reply({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        with self.hub.lock:
            left = self.hub.refuse_uploads_after
            if left is not None:
                if left <= 0:
                    raise Refusal(400, "", "The connection has broken off")  # a status that is not tried again
                self.hub.refuse_uploads_after = left - 1
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "", "The content is not what was announced")
        self.hub.blobs[oid] = self.body
        self.reply({})

    def lfs_verify(self) -> None:
        wanted = json.loads(self.body)
        if len(self.hub.blobs.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refusal(404, "", "Not uploaded")
        self.reply({})

    def make_commit(self, repo_id: str, revision: str) -> None:
        repository = self.repository(repo_id, write=True)
        files = dict(self.commit_at(repository, revision).files)
        header: dict[str, str] = {}
        for line in self.body.splitlines():
            kind, value = (item := json.loads(line))["key"], item["value"]
            if kind == "header":
                header = value
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    raise Refusal(400, "", f"{value['path']} was not uploaded")
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif kind == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
            else:
                raise Refusal(400, "", f"Unknown operation {kind}")
        answer = {}
        if "create_pr" in self.query:
            number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.heads)
            revision = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{self.hub.endpoint}/{repo_id}/discussions/{number}"
        commit = repository.commit(revision, files, header["summary"], header["description"])
        self.reply(
            {
                "success": True,
                "commitOid": commit.oid,
                "commitUrl": f"{self.hub.endpoint}/{repo_id}/commit/{commit.oid}",
            }
            | answer
        )

    # -- downloading

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        commit = self.commit_at(self.repository(repo_id, files=True), revision)
        if path not in commit.files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.reply({"error": "Entry not found"}, 404, headers | {"X-Repo-Commit": commit.oid})
        data = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{_oid(path, data)}"', "Accept-Ranges": "bytes"}
        if is_large(path, len(data)):
            headers |= {"X-Linked-ETag": f'"{_oid(path, data)}"', "X-Linked-Size": str(len(data))}
        self.reply(data, headers=headers)
