"""A server on this machine that answers as the Hugging Face hub does, for files in a directory."""

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
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_REPO = r"(?P<repo>[^/]+/[^/]+)"


@dataclass
class Hub:
    """``repos``: name → directory; ``gated`` and ``down`` ones; ``asked``: what was requested.

    ``received``: repository → path → bytes of what was uploaded; ``private``: by repository.
    """

    repos: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    branches: tuple[str, ...] = ("main", "old", COMMIT)
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    received: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    def resolved(self) -> list[str]:
        """Names of the files that were fetched."""
        return sorted(
            {
                one.split("/", 6)[-1]
                for one in self.asked
                if one.startswith("GET") and "/resolve/" in one
            }
        )


@contextmanager
def local_hub(hub: Hub) -> Iterator[str]:
    """Serve it; gives the address for ``HF_ENDPOINT``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._get(body=True)

    def do_HEAD(self) -> None:
        self._get(body=False)

    def _get(self, *, body: bool) -> None:
        path = self._path()
        if self.hub.broken:
            return self._json({"error": "down"}, 503)
        if found := re.fullmatch(rf"/api/models/{_REPO}(/revision/(?P<rev>.+))?", path):
            return self._about(found["repo"], found["rev"] or "main")
        if found := re.fullmatch(rf"/api/models/{_REPO}/tree/(?P<rev>[^/]+)", path):
            return self._tree(found["repo"])
        if found := re.fullmatch(rf"/{_REPO}/resolve/(?P<rev>[^/]+)/(?P<file>.+)", path):
            return self._file(self.hub.repos[found["repo"]] / found["file"], body)
        return self._json({"error": "not found"}, 404)

    def _about(self, repo: str, revision: str) -> None:
        if repo in self.hub.gated:
            return self._json({}, 403, {"X-Error-Code": "GatedRepo"})
        if repo not in self.hub.repos:
            return self._json({}, 401, {"X-Error-Code": "RepoNotFound"})
        if revision not in self.hub.branches:
            return self._json({}, 404, {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name} for name in self._names(repo)]
        return self._json({"id": repo, "sha": COMMIT, "siblings": siblings, "tags": []})

    def _tree(self, repo: str) -> None:
        root = self.hub.repos[repo]
        self._json(
            [
                {
                    "type": "file",
                    "path": n,
                    "size": (root / n).stat().st_size,
                    "oid": _oid(root / n),
                }
                for n in self._names(repo)
            ]
        )

    def _names(self, repo: str) -> list[str]:
        root = self.hub.repos[repo]
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())

    def _file(self, file: Path, body: bool) -> None:
        data = file.read_bytes()
        headers = {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": COMMIT}
        self._send(200, data, headers, body)

    def do_POST(self) -> None:  # noqa: PLR0911 - one answer for each address
        path, data = self._path(), self._body()
        if path == "/api/repos/create":
            wanted = json.loads(data)
            name = f"{wanted['organization']}/{wanted['name']}"
            if self.hub.broken:
                return self._json({"error": "no rights"}, 403)
            private = wanted.get("private") or wanted.get("visibility") == "private"
            self.hub.private.setdefault(name, bool(private))
            return self._json({"url": f"{self.hub.url}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if re.fullmatch(rf"/api/models/{_REPO}/preupload/main", path):
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(data)["files"]
            ]
            return self._json({"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            return self._json(
                {
                    "transfer": "basic",
                    "objects": [
                        {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                        for one in json.loads(data)["objects"]
                    ],
                }
            )
        if found := re.fullmatch(rf"/api/models/{_REPO}/commit/main", path):
            return self._commit(found["repo"], data)
        return self._json({"error": "not found"}, 404)

    def do_PUT(self) -> None:
        self.hub.blobs[self._path().rpartition("/")[2]] = self._body()
        self._json({})

    def _commit(self, repo: str, data: bytes) -> None:
        import base64

        files = self.hub.received.setdefault(repo, {})
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def _path(self) -> str:
        self.hub.asked.append(f"{self.command} {self.path}")
        return unquote(urlsplit(self.path).path)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, said: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(status, json.dumps(said).encode(), {**kind, **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool = True) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(data)


def _oid(file: Path) -> str:
    data = file.read_bytes()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
