"""Questions to a deployed endpoint: `python -m pipelines.smoke URL`, with a token in SMOKE_TOKEN where one is needed.

One line for each check. Exit code 0 if all pass, 1 if one fails, 2 if nobody answers there.
"""

import argparse
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from app.api import ModelInUse, Prediction
from app.decide import decide, expected_value_usd
from app.release import ReleaseError, Variant, decode_release

TYPICAL = {"tenure_months": 2, "monthly_charges_usd": 70.7, "contract": "month-to-month", "payment_method": "electronic-check"}
# Answers are rounded to the sixth digit, so that at the threshold itself either decision is right.
_ROUNDING = 1e-6
_TIMEOUT_SECONDS = 10


class FailedError(Exception):
    """An answer that is not as it should be."""


def expect(holds: bool, message: str) -> None:
    """Raise FailedError unless it holds."""
    if not holds:
        raise FailedError(message)


@dataclass
class Smoke:
    """The checks, in the order in which they make sense."""

    client: httpx.Client
    live: str | None
    found: list[ModelInUse] = field(default_factory=list[ModelInUse])

    def ready(self) -> str:
        """It says that it is ready."""
        return f"{self._asked('GET', '/readyz').status_code}"

    def openapi(self) -> str:
        """Its document names the route that clients use."""
        document = self._asked("GET", "/openapi.json").json()
        expect(document["openapi"].startswith("3.1"), f"it is OpenAPI {document['openapi']}, not 3.1")
        expect("/v1/predict" in document["paths"], "it names no /v1/predict")
        return f"OpenAPI {document['openapi']}, routes: {len(document['paths'])}"

    def model(self) -> str:
        """It serves one release, and the one that git says if a file was given."""
        using = _decoded(self._asked("GET", "/v1/model"), ModelInUse)
        expect(self.live in {None, using.release.digest}, f"it serves release {using.release.digest}, git says {self.live}")
        self.found.append(using)
        return f"release {str(using.release.digest)[:12]}, champion {using.release.champion.version}"

    def prediction(self) -> str:
        """Its decision and money follow from its own probability, threshold and business case."""
        answer = _decoded(self._asked("POST", "/v1/predict", TYPICAL), Prediction)
        for using in self.found:
            [variant] = [each for each in using.release.variants if each.role == answer.variant] or [None]
            expect(variant is not None, f"a {answer.variant} answered, of which the release knows nothing")
            self._agrees(answer, using, variant)
        return f"probability {answer.churn_probability}, {answer.decision}, {answer.expected_value_usd} USD by {answer.version}"

    def _agrees(self, answer: Prediction, using: ModelInUse, variant: Variant | None) -> None:
        if variant is None:
            return
        near = (answer.churn_probability - _ROUNDING, answer.churn_probability + _ROUNDING)
        expect(answer.version == variant.version, f"version {answer.version} answered, the release has {variant.version}")
        expect(
            answer.decision in {decide(variant.threshold, each) for each in near},
            f"{answer.decision} at probability {answer.churn_probability}, but the threshold is {variant.threshold}",
        )
        low, high = sorted(expected_value_usd(using.release.business_case, each) for each in near)
        expect(
            low - _ROUNDING <= answer.expected_value_usd <= high + _ROUNDING,
            f"{answer.expected_value_usd} USD, but the business case says {low:.6f} to {high:.6f}",
        )

    def refusal(self) -> str:
        """It says of a bad body what is wrong with it, and where."""
        problem = self._asked("POST", "/v1/predict", TYPICAL | {"tenure_months": -1}, status=422).json()
        pointers = [each["pointer"] for each in problem["errors"]]
        expect(pointers == ["/tenure_months"], f"it names {pointers}, not /tenure_months")
        return "422, at /tenure_months"

    def _asked(self, method: str, path: str, body: object = None, status: int = 200) -> httpx.Response:
        answer = self.client.request(method, path, json=body)
        hint = "; give a token with the roles predict and operate in SMOKE_TOKEN" if answer.status_code in {401, 403} else ""
        expect(answer.status_code == status, f"{method} {path} gave {answer.status_code}, not {status}{hint}")
        return answer


def _decoded(answer: httpx.Response, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as exc:
        raise FailedError(f"{answer.url.path} is no {kind.__name__}: {exc}") from exc


def run(smoke: Smoke) -> bool:
    """Whether every check passes; each is printed. Raises httpx.TransportError if nobody answers."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("ready", smoke.ready),
        ("openapi", smoke.openapi),
        ("model", smoke.model),
        ("prediction", smoke.prediction),
        ("refusal", smoke.refusal),
    ]
    # Each is asked, so that one run tells all that is wrong.
    passed = [_said(name, check) for name, check in checks]
    return all(passed)


def _said(name: str, check: Callable[[], str]) -> bool:
    try:
        sys.stdout.write(f"pass  {name:<11} {check()}\n")
    except (FailedError, KeyError, ValueError, TypeError) as exc:
        sys.stdout.write(f"FAIL  {name:<11} {exc if isinstance(exc, FailedError) else repr(exc)}\n")
        return False
    return True


@contextmanager
def _connected(url: str) -> Generator[httpx.Client]:
    token = os.environ.get("SMOKE_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS) as client:
        yield client


def main() -> None:
    """Ask, print, exit."""
    parser = argparse.ArgumentParser(description="Ask a deployed endpoint whether it does what it says.")
    parser.add_argument("url", help="such as http://localhost:8080")
    parser.add_argument("--release", type=Path, help="the file whose release it must serve")
    given = parser.parse_args()
    try:
        live = decode_release(given.release.read_bytes(), str(given.release)).digest if given.release else None
        with _connected(given.url) as client:
            passed = run(Smoke(client, live))
    except (OSError, ReleaseError, httpx.TransportError, httpx.InvalidURL) as exc:
        sys.stderr.write(f"{given.url}: {exc}; give the address of an endpoint that is up and can be reached from here\n")
        sys.exit(2)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
