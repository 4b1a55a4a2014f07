"""GitHub's interface, as far as workflows need it: pull requests, a comment, an issue, releases, and what was deployed last."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Self

import httpx

_TIMEOUT_SECONDS = 30
_PAGE = 100
# A file of a tree: its path, mode and content, or its hash instead, which is null where the file goes.
# https://docs.github.com/en/rest/git/trees#create-a-tree
Change = Mapping[str, str | None]


def file_change(path: str, text: str) -> Change:
    """The file with this text."""
    return {"path": path, "mode": "100644", "type": "blob", "content": text}


class GitHubError(Exception):
    """GitHub refuses, does not answer, or is not named in the environment."""


class ForbiddenError(GitHubError):
    """The token is known and may not do this."""


@dataclass(frozen=True)
class GitHub:
    """A repository, as whoever the token belongs to."""

    client: httpx.Client

    @classmethod
    def from_environment(cls) -> Self:
        """The repository that a workflow runs for; elsewhere set the same variables."""
        repository, token = os.environ.get("GITHUB_REPOSITORY"), os.environ.get("GH_TOKEN")
        if not repository or not token:
            raise GitHubError("nothing says which repository, as whom; give GITHUB_REPOSITORY=owner/name and GH_TOKEN=<a token>")
        url = f"{os.environ.get('GITHUB_API_URL', 'https://api.github.com')}/repos/{repository}"
        headers = {
            "accept": "application/vnd.github+json",
            "authorization": f"Bearer {token}",
            "x-github-api-version": "2022-11-28",
        }
        return cls(httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS))

    def propose(self, *, branch: str, base_commit: str, tree: str, changes: Sequence[Change], title: str, body: str) -> str:
        """The URL of the one open pull request of `branch`, which becomes `tree` with `changes` on top of `base_commit`.

        Commits that are made through this interface GitHub signs itself. What was on the branch before is given up: it was on
        top of another state of main.
        """
        made = self._ask("POST", "/git/trees", {"base_tree": tree, "tree": changes})["sha"]
        said = {"message": f"{title}\n\n{body}", "tree": made, "parents": [base_commit]}
        commit = self._ask("POST", "/git/commits", said)["sha"]
        ref = f"refs/heads/{branch}"
        if any(each["ref"] == ref for each in self._ask("GET", f"/git/matching-refs/heads/{branch}")):
            self._ask("PATCH", f"/git/{ref}", {"sha": commit, "force": True})
        else:
            self._ask("POST", "/git/refs", {"ref": ref, "sha": commit})
        owner = str(self.client.base_url).rstrip("/").split("/")[-2]
        there = self._ask("GET", f"/pulls?state=open&head={owner}:{branch}")
        if there:
            return self._ask("PATCH", f"/pulls/{there[0]['number']}", {"title": title, "body": body})["html_url"]
        return self._ask("POST", "/pulls", {"title": title, "body": body, "head": branch, "base": "main"})["html_url"]

    def deployed(self, environments: Sequence[str]) -> str | None:
        """The commit of the newest deployment to one of the environments that succeeded; None if none did.

        A job that names an environment makes one. What has succeeded and was followed by another is `inactive` later, but stays
        among its statuses. https://docs.github.com/en/rest/deployments/statuses
        """
        found = [each for name in environments for each in self._ask("GET", f"/deployments?environment={name}&per_page=100")]
        for each in sorted(found, key=itemgetter("created_at", "id"), reverse=True):
            if any(
                status["state"] == "success" for status in self._ask("GET", f"/deployments/{each['id']}/statuses?per_page=100")
            ):
                return each["sha"]
        return None

    def report(self, *, label: str, title: str, body: str) -> str:
        """The URL of the one open issue with the label: made with the body, or with the body as one more comment."""
        there = self._ask("GET", f"/issues?state=open&labels={label}")
        if there:
            return self._ask("POST", f"/issues/{there[0]['number']}/comments", {"body": body})["html_url"]
        return self._ask("POST", "/issues", {"title": title, "body": body, "labels": [label]})["html_url"]

    def comment(self, *, number: int, marker: str, body: str) -> str:
        """The URL of the pull request's one comment that a workflow wrote and that begins with the marker; now it says `body`."""
        for there in self._pages(f"/issues/{number}/comments"):
            # Whoever quotes the marker keeps what they said. Of an account that is gone there is no user.
            if there["user"] and there["user"]["type"] == "Bot" and (there["body"] or "").startswith(marker):
                return self._ask("PATCH", f"/issues/comments/{there['id']}", {"body": body})["html_url"]
        return self._ask("POST", f"/issues/{number}/comments", {"body": body})["html_url"]

    def release(self, *, tag: str, body: str) -> str:
        """The URL of the release that now goes with the tag, which is there."""
        return self._ask("POST", "/releases", {"tag_name": tag, "name": tag, "body": body})["html_url"]

    def _pages(self, path: str) -> Iterator[Any]:
        page, found = 0, [None] * _PAGE
        while len(found) == _PAGE:
            page += 1
            found = self._ask("GET", f"{path}?per_page={_PAGE}&page={page}")
            yield from found

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            return self.client.request(method, path, json=body).raise_for_status().json()
        except httpx.HTTPStatusError as exc:
            kind = ForbiddenError if exc.response.status_code == HTTPStatus.FORBIDDEN else GitHubError
            raise kind(f"{method} {path}: {exc.response.status_code} {exc.response.text[:500]}") from exc
        except httpx.HTTPError as exc:
            raise GitHubError(f"{method} {path}: {exc!r}") from exc
