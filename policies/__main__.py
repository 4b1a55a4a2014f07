"""The policy pack, as `--policy-pack policies` runs it in an environment of its own; the engine asks until it is ended."""

import sys
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The engine puts this folder first, where its modules would stand before others' of the same name.
sys.path[:] = [str(HERE.parent), *(each for each in sys.path if Path(each).resolve() != HERE)]

from pulumi_policy import (  # noqa: E402 # pyright: ignore[reportMissingModuleSource] - after the path is right; it is not in the main environment
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyPack,
    ResourceValidationPolicy,
    Severity,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError  # noqa: E402 # pyright: ignore[reportMissingModuleSource] - as above

from policies.crossguard import Pack  # noqa: E402 - as above
from policies.pack import RULES  # noqa: E402 - as above
from policies.rule import EachRule, Rule  # noqa: E402 - as above

# The last day of an exemption is over wherever the pack runs.
pack = Pack(unknown=UnknownValueError, today=date.today())


def policy(rule: Rule) -> Policy:
    """A rule as the engine knows it: what blocks a resource before it is made, or a stack once all of it is known."""
    single = isinstance(rule, EachRule)
    return (ResourceValidationPolicy if single else StackValidationPolicy)(
        name=rule.id,
        description=rule.why,
        validate=pack.asked(rule),
        enforcement_level=EnforcementLevel.MANDATORY,
        severity=Severity(rule.severity),
        framework=PolicyComplianceFramework(name=", ".join(rule.frameworks)),
    )


# Waits for the engine's questions.
PolicyPack(name="churn", policies=[policy(rule) for rule in RULES.values()], enforcement_level=EnforcementLevel.MANDATORY)
