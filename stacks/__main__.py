"""The Pulumi program: what one stack consists of."""

from stacks.config import load
from stacks.foundation import on_aws

config = load()
if config.aws:
    on_aws(config, config.aws)
