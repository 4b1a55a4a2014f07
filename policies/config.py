"""What each stack sets for the rules: `config.<stack>.json`, in the form that `--policy-pack-config` takes as well."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from policies.rule import Exemption, Rule, Settings

FOLDER = Path(__file__).resolve().parent


class PolicyConfigError(ValueError):
    """Settings that cannot be read: every mistake with file, key, value found and value to give."""


def path_of(stack: str) -> Path:
    """The file of a stack."""
    return FOLDER / f"config.{stack}.json"


def load(stack: str, rules: Mapping[str, Rule]) -> dict[str, Settings]:
    """The settings of every rule on a stack. Raises PolicyConfigError."""
    path = path_of(stack)
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise PolicyConfigError(f"{path.name} cannot be read: {exc}; give an object with a rule for each key") from exc
    return read(content, rules, path.name)


def read(content: Any, rules: Mapping[str, Rule], source: str) -> dict[str, Settings]:
    """The settings of every rule; one that is not named has its defaults. Raises PolicyConfigError."""
    if not isinstance(content, dict):
        raise PolicyConfigError(f"{source} is {json.dumps(content)}; give an object with a rule for each key")
    given = cast("dict[str, Any]", content)
    problems = [f"{name} is no rule; take it out, or give one of docs/policies.md" for name in given if name not in rules]
    problems += [each for name, rule in rules.items() for each in mistakes(given.get(name, {}), rule)]
    if problems:
        raise PolicyConfigError("\n".join(f"{source}: {each}" for each in problems))
    return {name: settings_of(given.get(name, {}), rule) for name, rule in rules.items()}


def settings_of(given: Mapping[str, Any], rule: Rule) -> Settings:
    """The settings of one rule that has no mistakes; what is off needs no more than to say so."""
    return msgspec.convert(given, Settings if _is_off(given) else rule.settings)


def mistakes(given: Any, rule: Rule) -> list[str]:
    """What is wrong with the settings of one rule, each with key, value found and value to give."""
    kind = Settings if _is_off(given) else rule.settings
    return [f"{rule.id}.{each}" for each in _mistakes(given, kind)]


def _is_off(given: Any) -> bool:
    return given == {"enforcementLevel": "disabled"}


def _mistakes(given: Any, kind: type[Settings]) -> Iterator[str]:
    """What is wrong with the settings of a rule, each with its place, the value found and one to give."""
    if not isinstance(given, dict):
        yield f"enforcementLevel is {json.dumps(given)} without its name; give an object"
        return
    values = cast("dict[str, Any]", given)
    fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    for name in values.keys() - fields.keys():
        yield f"{name} is {json.dumps(values[name])}, but there is no such setting; give one of {', '.join(sorted(fields))}"
    for name, each in fields.items():
        if name not in values:
            if each.required:
                yield f"{name} is missing; give {_example(each.type)}"
            continue
        try:
            msgspec.convert(values[name], each.type)
        except msgspec.ValidationError as exc:
            reason = str(exc).replace("`", "")
            yield f"{name} is {json.dumps(values[name])}: {reason[0].lower()}{reason[1:]}; give {_example(each.type)}"


def _example(kind: Any) -> str:
    """A value that would do."""
    for part in get_args(kind):
        if isinstance(part, msgspec.Meta) and part.examples:
            return json.dumps(part.examples[0])
    inner = [_example(part) for part in get_args(kind) if part is not Ellipsis]
    if kind is Exemption or Exemption in get_args(kind):
        return '{"resource": "...", "reason": "...", "owner": "...", "lastDay": "2026-12-31"} for each'
    return f"such as {', '.join(inner)}" if inner else "one of the kind that docs/policies.md names"
