from collections.abc import Callable, Sequence
from enum import Enum

class EnforcementLevel(Enum):
    MANDATORY = "mandatory"

class Severity(Enum):
    LOW = "low"

class PolicyComplianceFramework:
    def __init__(self, *, name: str) -> None: ...

class Policy: ...

class ResourceValidationPolicy(Policy):
    def __init__(
        self,
        *,
        name: str,
        description: str,
        validate: Callable[..., None],
        enforcement_level: EnforcementLevel,
        severity: Severity,
        framework: PolicyComplianceFramework,
    ) -> None: ...

class StackValidationPolicy(ResourceValidationPolicy): ...

class PolicyPack:
    def __init__(self, *, name: str, policies: Sequence[Policy], enforcement_level: EnforcementLevel) -> None: ...
