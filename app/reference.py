"""The reference of the HTTP interface as a page, written from its OpenAPI document: `python -m app.reference`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from app.openapi import document

Json = dict[str, Any]
HEAD = """\
# API reference

Written by `make docs` from the OpenAPI document that every endpoint serves at `/openapi.json`, with access guarded by tokens.
In words: [serve](serving.md), [call it](guides/service-developer.md); each field of a customer: [fields](fields.md).
"""
# Whole records of their own: their page has the fields.
ELSEWHERE = {"Customer": "fields.md"}


def page() -> str:
    """The whole page."""
    described = document("0", guarded=True)
    paths, schemas = described["paths"], described["components"]["schemas"]
    return "\n".join((HEAD, *_routes(paths), *_statuses(paths), *_bodies(schemas))).strip() + "\n"


def _operations(paths: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _routes(paths: Json) -> Iterator[str]:
    yield "## Routes\n"
    yield "| route | does | role of the token | takes | answers | problems |"
    yield "|---|---|---|---|---|---|"
    for route, operation in _operations(paths):
        [role] = operation.get("security", [{"token": ["-"]}])
        taken = operation.get("requestBody")
        answered = [f"{status} {_content(each)}" for status, each in operation["responses"].items() if status < "400"]
        refused = ", ".join(sorted(status for status in operation["responses"] if status >= "400"))
        cells = (f"`{route}`", operation["summary"], *role["token"], _content(taken) if taken else "-", *answered, refused)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _content(body: Json) -> str:
    [(media_type, content)] = body["content"].items()
    return _type(content["schema"]) if "$ref" in content["schema"] else f"`{media_type}`"


def _statuses(paths: Json) -> Iterator[str]:
    yield "## Problems\n"
    yield "Each has a [Problem](#problem) as `application/problem+json`, and the headers beside it.\n"
    yield "| status | means | headers |"
    yield "|---|---|---|"
    found: dict[str, Json] = {}
    for _, operation in _operations(paths):
        for status, answer in operation["responses"].items():
            found[status] = found.get(status, {}) | answer
    for status in sorted(status for status in found if status >= "400"):
        headers = "; ".join(f"`{name}`: {each['description']}" for name, each in found[status].get("headers", {}).items())
        yield f"| {status} | {found[status]['description']} | {headers or '-'} |"
    yield ""


def _bodies(schemas: Json) -> Iterator[str]:
    yield "## Bodies\n"
    for name, schema in schemas.items():
        if name in ELSEWHERE:
            continue
        yield f"### {name}\n"
        refusing = "" if schema.get("additionalProperties", True) else " Any other field is refused."
        yield " ".join(schema["description"].split()) + refusing + "\n"
        yield "| field | is | required | |"
        yield "|---|---|---|---|"
        for field, declared in schema["properties"].items():
            required = "yes" if field in schema["required"] else _default(declared)
            yield f"| `{field}` | {_type(declared)} | {required} | {_described(declared)} |"
        yield ""


def _default(declared: Json) -> str:
    default = declared.get("default")
    return "no" if default is None else f"no, else `{json.dumps(default)}`"


def _described(declared: Json) -> str:
    return next((each["description"] for each in (declared, *declared.get("anyOf", ())) if "description" in each), "")


def _type(declared: Json) -> str:
    """What a value may be, with its limits."""
    if "$ref" in declared:
        name = declared["$ref"].rpartition("/")[2]
        return f"[{name}]({ELSEWHERE.get(name, f'#{name.lower()}')})"
    if "anyOf" in declared:
        return " or ".join(_type(each) for each in declared["anyOf"])
    if "enum" in declared:
        return ", ".join(f"`{each}`" for each in declared["enum"])
    kind = declared["type"]
    if kind == "array":
        return f"list of {_span(declared, 'Items')}{_type(declared['items'])}"
    if kind == "object":
        return f"map to {_type(declared['additionalProperties'])}"
    lengths = f" of {_span(declared, 'Length')}characters" if "minLength" in declared else ""
    return f"{declared.get('format', kind)}{lengths}{_range(declared)}"


def _span(declared: Json, of: str) -> str:
    least, most = declared.get(f"min{of}"), declared.get(f"max{of}")
    if least is None:
        return ""
    return f"{least:,} to {most:,} " if most else f"at least {least:,} "


def _range(declared: Json) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    found = [f"{word} {declared[key]:,}" for key, word in words.items() if key in declared]
    return f", {', '.join(found)}" if found else ""


if __name__ == "__main__":
    sys.stdout.write(page())
