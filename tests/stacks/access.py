"""A small evaluator of resource policies: explicit refusal before permission, refusal by default."""

from fnmatch import fnmatchcase
from typing import Any

OPERATORS = {
    "ArnEquals": lambda given, wanted: any(fnmatchcase(given, each) for each in listed(wanted)),
    "ArnLike": lambda given, wanted: any(fnmatchcase(given, each) for each in listed(wanted)),
    "Bool": lambda given, wanted: given.lower() == wanted,
    "ForAnyValue:StringEquals": lambda given, wanted: given in listed(wanted),
    "StringEquals": lambda given, wanted: given in listed(wanted),
    "StringNotEquals": lambda given, wanted: given not in listed(wanted),
    "StringLike": lambda given, wanted: any(fnmatchcase(given, each) for each in listed(wanted)),
    "NumericLessThan": lambda given, wanted: float(given) < float(wanted),
}


def allowed(policy: dict[str, Any], who: str, action: str, resource: str, **context: str) -> bool:
    """Whether the policy lets the service `who` do `action`; `context` is by condition key, `aws_SourceAccount`."""
    effects = {statement["Effect"] for statement in policy["Statement"] if applies(statement, who, action, resource, context)}
    return effects == {"Allow"}


def refused(policy: dict[str, Any], who: str, action: str, resource: str, **context: str) -> bool:
    """Whether the policy refuses it even to somebody whom another policy allows it."""
    return any(
        statement["Effect"] == "Deny" and applies(statement, who, action, resource, context) for statement in policy["Statement"]
    )


def may(statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, str] | None = None) -> bool:
    """Whether a role with these statements may do it; `context` is by condition key, `aws:ResourceTag/project`."""
    return allowed({"Statement": statements}, "the role", action, resource, **(context or {}))


def applies(statement: dict[str, Any], who: str, action: str, resource: str, context: dict[str, str]) -> bool:
    # A role's policy names nobody.
    principal = statement.get("Principal", "*")
    return (
        (principal == "*" or any(each in {"*", who} for given in principal.values() for each in listed(given)))
        and any(fnmatchcase(action, each) for each in listed(statement["Action"]))
        and any(fnmatchcase(resource, each) for each in listed(statement.get("Resource", "*")))
        and all(holds(operator, tests, context) for operator, tests in statement.get("Condition", {}).items())
    )


def holds(operator: str, tests: dict[str, Any], context: dict[str, str]) -> bool:
    given = {key: context.get(key, context.get(key.replace(":", "_"))) for key in tests}
    if operator == "Null":
        return all((given[key] is None) is (wanted == "true") for key, wanted in tests.items())
    return all(given[key] is not None and OPERATORS[operator](given[key], wanted) for key, wanted in tests.items())


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
