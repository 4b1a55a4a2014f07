"""A small evaluator of resource policies: explicit refusal before permission, refusal by default."""

from fnmatch import fnmatchcase
from typing import Any

OPERATORS = {
    "Bool": lambda given, wanted: given.lower() == wanted,
    "StringEquals": lambda given, wanted: given == wanted,
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


def applies(statement: dict[str, Any], who: str, action: str, resource: str, context: dict[str, str]) -> bool:
    principal = statement["Principal"]
    return (
        (principal == "*" or who in listed(principal["Service"]))
        and any(fnmatchcase(action, each) for each in listed(statement["Action"]))
        and any(fnmatchcase(resource, each) for each in listed(statement["Resource"]))
        and all(holds(operator, tests, context) for operator, tests in statement.get("Condition", {}).items())
    )


def holds(operator: str, tests: dict[str, str], context: dict[str, str]) -> bool:
    given = {key: context.get(key.replace(":", "_")) for key in tests}
    return all(given[key] is not None and OPERATORS[operator](given[key], wanted) for key, wanted in tests.items())


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
