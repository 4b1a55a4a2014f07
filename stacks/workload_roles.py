"""What our workloads may do in AWS: a role for each, given to the pods of its service account."""

from dataclasses import dataclass

import pulumi

from stacks import grants
from stacks.database import Database
from stacks.documents import Document
from stacks.identity import PodIdentity, PodIdentityArgs
from stacks.names import INFERENCE, NAMESPACE, TRACKING, TRAINING, Workload
from stacks.storage import Storage


@dataclass(frozen=True, kw_only=True)
class WorkloadRolesArgs:
    """The cluster, and the data that its pods may come to."""

    cluster_name: pulumi.Input[str]
    region: str
    storage: Storage
    database: Database


class WorkloadRoles(pulumi.ComponentResource):
    """One narrow role for each workload; a service account's name is known once pods that use it get the role."""

    inference_account: pulumi.Output[str]
    tracking_account: pulumi.Output[str]

    def __init__(self, name: str, args: WorkloadRolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:workload_roles:WorkloadRoles", name, None, opts)
        self._cluster_name, self._child = args.cluster_name, pulumi.ResourceOptions(parent=self)
        storage, region = args.storage, args.region
        data = pulumi.Output.all(
            artifacts_arn=storage.artifacts.bucket_arn,
            artifacts_key_arn=storage.key_arns["artifacts"],
            lake_arn=storage.lake.bucket_arn,
            lake_key_arn=storage.key_arns["lake"],
        )
        kept = pulumi.Output.all(
            artifacts_arn=storage.artifacts.bucket_arn,
            artifacts_key_arn=storage.key_arns["artifacts"],
            secret_arn=args.database.secret_arn,
            secret_key_arn=storage.key_arns["database"],
        )
        inference = data.apply(lambda known: grants.inference(region=region, **known))
        tracking = kept.apply(lambda known: grants.tracking(region=region, **known))
        training = data.apply(lambda known: grants.training(region=region, **known))
        self.inference_account = self._role(name, INFERENCE, inference)
        self.tracking_account = self._role(name, TRACKING, tracking)
        self._role(name, TRAINING, training)
        self.register_outputs({})

    def _role(self, name: str, workload: Workload, statements: pulumi.Output[list[Document]]) -> pulumi.Output[str]:
        identity = PodIdentity(
            f"{name}-{workload.name}",
            PodIdentityArgs(
                cluster_name=self._cluster_name,
                namespace=NAMESPACE,
                service_account=workload.name,
                statements=statements,
            ),
            self._child,
        )
        return identity.service_account
