"""As much of GitHub's interface as workflows write to, on loopback."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_of_an_app"  # noqa: S105 - of nothing but this server


@dataclass
class Repository:
    """What the repository holds: commits and trees by number, and what people see."""

    url: str = ""
    objects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    branches: dict[str, str] = field(default_factory=dict[str, str])
    pulls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    issues: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    releases: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    deployments: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    comments: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    # As for what a fork's pull request starts.
    reads_only: bool = False

    def environment(self) -> dict[str, str]:
        return {"GITHUB_API_URL": self.url, "GITHUB_REPOSITORY": "ada/churn", "GH_TOKEN": TOKEN}

    def commit_of(self, branch: str) -> dict[str, Any]:
        return self.objects[int(self.branches[branch])]

    def tree_of(self, branch: str) -> tuple[str, list[dict[str, Any]]]:
        """The tree that the branch's commit starts from, and how files change in it."""
        made = self.objects[int(self.commit_of(branch)["tree"])]
        return made["base_tree"], made["tree"]

    def deploy(self, environment: str, sha: str, *states: str) -> None:
        """A deployment, newer than those before, and what became of it, the last first."""
        number = len(self.deployments) + 1
        made = {"id": number, "created_at": f"2026-01-{number:02}T00:00:00Z", "environment": environment, "sha": sha}
        self.deployments.append(made | {"states": states})

    def say(self, number: int, body: str, kind: str) -> dict[str, Any]:
        """A comment by somebody of that kind, as GitHub tells of it."""
        name = len(self.comments)
        url = f"https://github.example/issues/{number}#{name}"
        self.comments.append({"id": name, "number": number, "body": body, "user": {"type": kind}, "html_url": url})
        return self.comments[-1]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, Any]:  # noqa: C901, PLR0911 - a route each
        match method, path.removeprefix("/repos/ada/churn/").split("/"):
            case "POST", ["git", "trees" | "commits"]:
                self.objects.append(body)
                return 201, {"sha": str(len(self.objects) - 1)}
            case "GET", ["git", "matching-refs", "heads", *name]:
                return 200, [{"ref": f"refs/heads/{each}"} for each in self.branches if each.startswith("/".join(name))]
            case "POST", ["git", "refs"]:
                self.branches[body["ref"].removeprefix("refs/heads/")] = body["sha"]
                return 201, {}
            case "PATCH", ["git", "refs", "heads", *name] if body["force"]:
                self.branches["/".join(name)] = body["sha"]
                return 200, {}
            case "GET", ["deployments"]:
                return 200, [each for each in reversed(self.deployments) if [each["environment"]] == query["environment"]]
            case "GET", ["deployments", number, "statuses"]:
                return 200, [{"state": each} for each in self.deployments[int(number) - 1]["states"]]
            case "GET", ["pulls"]:
                return 200, [each for each in self.pulls if query["head"] == [f"ada:{each['head']}"]]
            case "GET", ["issues"]:
                return 200, [each for each in self.issues if query["labels"] == each["labels"]]
            case "POST", ["pulls" | "issues" | "releases" as kind]:
                kept: list[dict[str, Any]] = getattr(self, kind)
                kept.append(body | {"number": len(kept) + 1, "html_url": f"https://github.example/{kind}/{len(kept) + 1}"})
                return 201, kept[-1]
            case "PATCH", ["pulls", number]:
                self.pulls[int(number) - 1] |= body
                return 200, self.pulls[int(number) - 1]
            case _, ["issues", *place] if "comments" in place:
                return self.answer_comments(method, place, query, body)
            case _:
                return 404, {"message": "Not Found"}

    def answer_comments(
        self, method: str, place: list[str], query: dict[str, list[str]], body: dict[str, Any]
    ) -> tuple[int, Any]:
        match method, place:
            case "POST", [number, "comments"]:
                return 201, self.say(int(number), body["body"], "Bot")
            case "GET", [number, "comments"]:
                said = [each for each in self.comments if each["number"] == int(number)]
                size, page = (int(query[name][0]) for name in ("per_page", "page"))
                return 200, said[(page - 1) * size : page * size]
            case "PATCH", ["comments", name]:
                self.comments[int(name)] |= body
                return 200, self.comments[int(name)]
            case _:
                return 404, {"message": "Not Found"}


@contextmanager
def github() -> Iterator[Repository]:
    repository = Repository()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            if self.headers["authorization"] != f"Bearer {TOKEN}":
                status, answer = 401, {"message": "Bad credentials"}
            elif repository.reads_only and self.command != "GET":
                status, answer = 403, {"message": "Resource not accessible by integration"}
            else:
                status, answer = repository.answer(self.command, asked.path, parse_qs(asked.query), body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - the names that http.server asks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
            """Nothing: who fails says so."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        repository.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield repository
        finally:
            server.shutdown()
            thread.join()
