"""A hub on this machine: the parts of the Hugging Face hub's API that pulling and pushing ask for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandIn:
    """Repositories in memory.

    Attributes:
        address: Of the server.
        files: By repository, then by commit, then by name.
        requests: Methods and paths.
        declared_size: What is said of the size of files; None for the truth.
    """

    address: str = ""
    files: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    declared_size: int | None = None

    def commit(self, repository: str, changes: dict[str, bytes]) -> str:
        """Add files, and give the commit."""
        commits = self.files.setdefault(repository, {})
        files = {**next(reversed(commits.values()), {}), **changes}
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        commits[oid] = files
        return oid


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve until the context is left."""
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            hub.requests.append(f"{self.command} {self.path}")

        def _answer(self, code: int, content: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            if "Content-Length" not in headers:
                headers["Content-Length"] = str(len(content))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _json(self, content: object) -> None:
            self._answer(200, json.dumps(content).encode(), Content_Type="application/json")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            owner, name, _, revision, file = (*self.path.strip("/").split("/", 4), "")[:5]
            commits = hub.files.get(f"{owner}/{name}")
            if commits is None:
                return self._answer(404, X_Error_Code="RepoNotFound")
            oid = next(reversed(commits)) if revision == "main" else revision
            if oid not in commits:
                return self._answer(404, X_Error_Code="RevisionNotFound")
            if file not in commits[oid]:
                return self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
            content = commits[oid][file]
            etag = hashlib.sha256(content).hexdigest()
            size = len(content) if hub.declared_size is None else hub.declared_size
            headers = {"ETag": f'"{etag}"', "X_Repo_Commit": oid, "Content-Length": str(size)}
            return self._answer(200, content, **headers)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[:3] == ["api", "repos", "create"]:
                asked = json.loads(body)
                repository = f"{asked.get('organization')}/{asked['name']}"
                hub.files.setdefault(repository, {})
                return self._json(
                    {"url": f"{hub.address}/{repository}", "name": repository, "id": repository}
                )
            if parts == ["api", "validate-yaml"]:
                return self._json({"errors": [], "warnings": []})
            if parts[4:5] == ["preupload"]:
                files = json.loads(body)["files"]
                modes = [
                    {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files
                ]
                return self._json({"files": modes})
            if parts[4:5] == ["commit"]:
                lines = [json.loads(line) for line in body.splitlines()]
                changes = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"])
                    for line in lines
                    if line["key"] == "file"
                }
                repository = f"{parts[2]}/{parts[3]}"
                oid = hub.commit(repository, changes)
                url = f"{hub.address}/{repository}/commit/{oid}"
                return self._json({"success": True, "commitOid": oid, "commitUrl": url})
            return self._answer(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
