"""The OpenAPI 3.1 document, generated from the types of the bodies and the table of routes."""

from http import HTTPStatus
from typing import Any

import msgspec

from app.access import ROLES
from app.api import Accepted, Batch, ModelInUse, Outcomes, Prediction, Predictions, Problem, State
from app.contract import CONTRACT_DIGEST, FIELDS, Customer
from app.protocol import MAX_HEAD_BYTES, READ_SECONDS
from app.web import MAX_BODY_BYTES

Json = dict[str, Any]
_TYPES = (Customer, Prediction, Batch, Predictions, Outcomes, Accepted, ModelInUse, State, Problem)
_MEANING = {
    400: "The body is not JSON.",
    401: "There is no token, or it is not known.",
    403: "The token is of other roles.",
    408: f"The request did not come whole within {READ_SECONDS:g} seconds.",
    413: f"The body is larger than {MAX_BODY_BYTES:,} bytes.",
    415: "The body is not declared as application/json.",
    422: "The body is not as described; `errors` names each place.",
    431: f"What is not the body is larger than {MAX_HEAD_BYTES:,} bytes.",
    503: "There is no room, or no model is ready.",
}
# Any request may come too slowly or with too long a head, and all but the probe of life may find no room.
_LIVEZ_PROBLEMS = (408, 431)
_GET_PROBLEMS = (*_LIVEZ_PROBLEMS, 503)
_BODY_PROBLEMS = (400, 413, 415, 422, *_GET_PROBLEMS)


def document(version: str, *, guarded: bool) -> Json:
    """The document of this code, `guarded` by tokens or open; `version` is that of the service, not of a model."""
    _, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    _add_units(components["Customer"])
    text = {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "The page."}
    paths: Json = {
        "/v1/predict": _post("Score a customer", Customer, 200, Prediction),
        "/v1/predict/batch": _post("Score customers; a bad one is named and none is scored", Batch, 200, Predictions),
        "/v1/outcomes": _post("Report what became of customers", Outcomes, 202, Accepted),
        "/v1/model": _get("The release in use, its evidence and cards", ModelInUse),
        "/livez": _get("Whether the process lives", State, _LIVEZ_PROBLEMS),
        "/readyz": _get("Whether the process takes predictions", State),
        "/openapi.json": {
            "get": {
                "summary": "This document",
                "responses": {"200": _answer(200, {"type": "object"}), **_problems(_GET_PROBLEMS)},
            }
        },
        "/": {"get": {"summary": "A page that asks for one prediction", "responses": {"200": text, **_problems(_GET_PROBLEMS)}}},
    }
    info = {"title": "Churn", "version": version, "description": f"Contract {CONTRACT_DIGEST}."}
    described: Json = {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components}}
    if guarded:
        _add_access(described)
    return described


def _add_access(described: Json) -> None:
    about = "One of a role; each route names the role that it needs."
    described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": about}}
    for path, role in ROLES.items():
        for operation in described["paths"][path].values():
            operation["security"] = [{"token": [role]}]
            operation["responses"] |= _problems((401, 403))
            challenge = {"description": "How to prove who asks.", "schema": {"type": "string"}}
            operation["responses"]["401"]["headers"] = {"WWW-Authenticate": challenge}


def _post(summary: str, body: type, status: int, answer: type) -> Json:
    content = {"application/json": {"schema": _reference(body)}}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": _answers(status, answer, _BODY_PROBLEMS),
        }
    }


def _get(summary: str, answer: type, problems: tuple[int, ...] = _GET_PROBLEMS) -> Json:
    return {"get": {"summary": summary, "responses": _answers(200, answer, problems)}}


def _answers(status: int, answer: type, problems: tuple[int, ...]) -> Json:
    return {str(status): _answer(status, _reference(answer)), **_problems(problems)}


def _problems(statuses: tuple[int, ...]) -> Json:
    problems = {str(each): _answer(each, _reference(Problem), "application/problem+json") for each in statuses}
    if "503" in problems:
        about = {"description": "Seconds until it is worth asking again.", "schema": {"type": "integer"}}
        problems["503"]["headers"] = {"Retry-After": about}
    return problems


def _answer(status: int, schema: Json, media_type: str = "application/json") -> Json:
    return {"description": _MEANING.get(status, HTTPStatus(status).phrase), "content": {media_type: {"schema": schema}}}


def _reference(kind: type) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _add_units(customer: Json) -> None:
    for field in FIELDS:
        if field.unit:
            declared = customer["properties"][field.name]
            for arm in declared.get("anyOf", [declared])[:1]:
                arm["description"] = f"In {field.unit}."
