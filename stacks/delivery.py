"""How changes of the repository reach the account: roles that workflows take by what they run for, without any stored key."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks import roles
from stacks.alarms import Alarms, AlarmsArgs
from stacks.config import AccountConfig, DeliveryConfig
from stacks.documents import Document, policy
from stacks.runner import DEPLOYMENT_MAX_MINUTES
from stacks.tags import component_tags


@dataclass(frozen=True, kw_only=True)
class DeliveryArgs:
    """Whose workflows they are, and what they publish to; `cluster_name` is known to AWS."""

    config: DeliveryConfig
    account: AccountConfig
    account_id: pulumi.Input[str]
    cluster_name: str
    images_arn: pulumi.Input[str]
    artifacts_arn: pulumi.Input[str]
    artifacts_key_arn: pulumi.Input[str]
    alerts_key_arn: pulumi.Input[str]


class Delivery(pulumi.ComponentResource):
    """Roles of workflows by what they do, and where alarms go. The roles' names are known to the workflows."""

    preview_role_arn: pulumi.Output[str]
    deploy_role_arn: pulumi.Output[str]
    release_role_arn: pulumi.Output[str]
    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: DeliveryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:delivery:Delivery", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        stack = pulumi.get_stack()
        after = self._identity_provider()
        # Whoever may run as an environment is decided in the repository's settings, by branch and by approval.
        self.preview_role_arn = self._role("preview", "pull_request", after, lambda scope, _: roles.preview(scope))
        self.deploy_role_arn = self._role(
            "deploy", f"environment:{stack}", after, lambda scope, _: roles.deploy(scope), DEPLOYMENT_MAX_MINUTES
        )
        self.release_role_arn = self._role(
            "release", f"environment:{stack}-release", after, lambda scope, _: roles.release(scope), DEPLOYMENT_MAX_MINUTES
        )
        self._role("publish", "ref:refs/heads/main", after, lambda scope, arns: roles.publish(scope, *arns))
        alarms = Alarms(
            f"{name}-alarms",
            AlarmsArgs(account=args.account, account_id=args.account_id, key_arn=args.alerts_key_arn),
            self._child,
        )
        self.topic_arn = alarms.topic_arn
        self.register_outputs({"deploy_role_arn": self.deploy_role_arn, "topic_arn": self.topic_arn})

    def _identity_provider(self) -> list[pulumi.Resource]:
        """What the roles' trust names; AWS trusts GitHub's certificate by itself, so that no thumbprint has to be kept."""
        if self._args.config.identity_provider == "there-already":
            return []
        name = f"{self._name}-github"
        return [
            aws.iam.OpenIdConnectProvider(
                name,
                url=f"https://{roles.GITHUB}",
                client_id_lists=["sts.amazonaws.com"],
                tags=component_tags("delivery", name),
                opts=self._child,
            )
        ]

    def _role(
        self,
        role: str,
        subject: str,
        after: list[pulumi.Resource],
        rights: Callable[[roles.Scope, tuple[str, str, str]], list[Document]],
        session_max_minutes: int = 60,
    ) -> pulumi.Output[str]:
        args, name = self._args, f"{self._name}-{role}"
        known = pulumi.Output.all(args.account_id, args.images_arn, args.artifacts_arn, args.artifacts_key_arn)
        made = aws.iam.Role(
            name,
            name=f"churn-{pulumi.get_stack()}-{role}",
            max_session_duration=session_max_minutes * 60,
            assume_role_policy=known.apply(lambda each: json.dumps(roles.trust_policy(self._scope(each[0]), subject))),
            tags=component_tags("delivery", name),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )
        aws.iam.RolePolicy(
            name,
            role=made.id,
            policy=known.apply(lambda each: json.dumps(policy(*rights(self._scope(each[0]), (each[1], each[2], each[3]))))),
            opts=self._child,
        )
        return made.arn

    def _scope(self, account_id: str) -> roles.Scope:
        return roles.Scope(
            stack=pulumi.get_stack(),
            region=self._args.account.region,
            account_id=account_id,
            repository=self._args.config.repository,
            cluster_name=self._args.cluster_name,
        )
