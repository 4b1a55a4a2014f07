"""A stack's values as the engine hands them to a program, from its file and from options."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from stacks.config import ROOT, stacks


class PlanError(ValueError):
    """A file or an option that cannot be read as what it should be."""


# The key that the roles of workflows may use, and that is nobody's passphrase: docs/infrastructure.md.
STATE_KEY = "awskms://alias/churn-state"


class StackFile(msgspec.Struct):
    """What a program reads of Pulumi.<stack>.yaml, and how Pulumi encrypts secrets in state, which it writes beside it."""

    config: dict[str, object] = {}
    secretsprovider: str = ""
    encryptionsalt: str = ""

    @property
    def sealed_by(self) -> str:
        """What secrets in the state of a stack on AWS are encrypted by, if it is not the account's key."""
        if self.config.get("churn:platform") != "aws" or self.secretsprovider.partition("?")[0] == STATE_KEY:
            return ""
        return self.secretsprovider or ("a passphrase" if self.encryptionsalt else "")


def values_of(stack: str) -> dict[str, str]:
    """The values in Pulumi.<stack>.yaml as the engine hands them to a program: strings, all else as JSON. None without a file.

    Raises PlanError for a file that cannot be read, and for a stack on AWS whose secrets are not encrypted by the account's key.
    """
    if stack not in stacks():
        return {}
    path = ROOT / f"Pulumi.{stack}.yaml"
    try:
        content = msgspec.convert(yaml.safe_load(path.read_text()), StackFile)
    except (yaml.YAMLError, msgspec.ValidationError) as exc:
        raise PlanError(f"{path.name} cannot be read: {exc}; give `config:` with one value for each key below it") from exc
    if content.sealed_by:
        key = f"{STATE_KEY}?region={content.config.get('account:region', '<region>')}"
        raise PlanError(
            f"{path.name}: secrets in the state are encrypted by {content.sealed_by}, of which no role of workflows knows; "
            f'run `pulumi stack change-secrets-provider --stack {stack} "{key}"` and commit the file'
        )
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.config.items()}


def changes_of(release: Path | None, settings: Sequence[str]) -> dict[str, str]:
    """The values that options give, as `values_of` has them; a list or map is written as in the file. Raises PlanError."""
    changes = {"churn:release": str(release.resolve())} if release else {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        try:
            changes[key] = json.dumps(yaml.safe_load(text)) if text.startswith(("[", "{")) else text
        except yaml.YAMLError as exc:
            # Without spaces, as make parts what it is given at them.
            raise PlanError(f"--set {setting} is no list or map; give one such as [eu-west-1a,eu-west-1b]") from exc
        if not (key and separator):
            raise PlanError(f"--set {setting} has no {'value' if key else 'key'}; give KEY=VALUE, such as network:nat=one")
    return changes
