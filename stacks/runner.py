"""Where workflows run that have to reach the cluster: AWS CodeBuild inside the VPC, as GitHub's own machines cannot."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.config import DeliveryConfig
from stacks.documents import Document, policy
from stacks.grants import allow
from stacks.groups import HTTPS, let_in
from stacks.tags import component_tags

# https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-available.html: AWS keeps it current under this name.
IMAGE = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
# A deployment waits for canaries: as long as its job, its machine and its role's session (.github/workflows/cd.yml).
DEPLOYMENT_MAX_MINUTES = 150
# Statements on any resource, by name, each with the reason why there is no narrower one.
ANY_RESOURCE = {"JoinNetwork": "AWS cannot limit these to a VPC; whom a network interface may be given to is limited below"}


@dataclass(frozen=True, kw_only=True)
class RunnerArgs:
    """Whose workflows run here, and where in the VPC; the groups are of the control plane and of AWS's endpoints.

    `balancer_port` is where the inference service's balancer listens, within `vpc_cidr`; None where there is none.
    """

    config: DeliveryConfig
    region: str
    account_id: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    vpc_cidr: str
    subnet_ids: Sequence[pulumi.Input[str]]
    cluster_security_group_id: pulumi.Input[str]
    endpoints_security_group_id: pulumi.Input[str]
    balancer_port: int | None
    logs_key_arn: pulumi.Input[str]
    logs_retention_days: int


class Runner(pulumi.ComponentResource):
    """A machine for each job that asks for it. By itself it may do nothing in the account: a job takes a role of Delivery."""

    connection_arn: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:runner:Runner", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        self._tags = component_tags("delivery", name)
        connection = aws.codeconnections.Connection(name, provider_type="GitHub", tags=self._tags, opts=self._child)
        self.connection_arn = connection.arn
        # Before somebody has let AWS into GitHub, neither a project of the repository nor its webhook can be made.
        if args.config.github_connection == "confirmed":
            self._project(self._group())
        self.register_outputs({"connection_arn": self.connection_arn})

    def _group(self) -> aws.ec2.SecurityGroup:
        args = self._args
        group = aws.ec2.SecurityGroup(
            self._name, vpc_id=args.vpc_id, description="runner of workflows", tags=self._tags, opts=self._child
        )
        let_in(f"{self._name}-to-cluster", group.id, args.cluster_security_group_id, HTTPS, self._child)
        # Inside the VPC the names of services that have an endpoint lead there and nowhere else.
        let_in(f"{self._name}-to-endpoints", group.id, args.endpoints_security_group_id, HTTPS, self._child)
        # GitHub, package registries and AWS have no group to name; the way there is NAT.
        self._let_out(group, "internet", "0.0.0.0/0", HTTPS, "runner to the internet, HTTPS only")
        if args.balancer_port not in {None, HTTPS}:
            # For smoke tests and traffic. A controller in the cluster makes the balancer, whose group has no name before.
            self._let_out(group, "balancer", args.vpc_cidr, args.balancer_port, "runner to the balancer that speaks plain HTTP")
        return group

    def _let_out(self, group: aws.ec2.SecurityGroup, to: str, cidr: str, port: int | None, description: str) -> None:
        aws.vpc.SecurityGroupEgressRule(
            f"{self._name}-to-{to}",
            security_group_id=group.id,
            cidr_ipv4=cidr,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description=description,
            tags=self._tags,
            opts=self._child,
        )

    def _project(self, group: aws.ec2.SecurityGroup) -> None:
        args, name, child = self._args, self._name, self._child
        logs = aws.cloudwatch.LogGroup(
            name, kms_key_id=args.logs_key_arn, retention_in_days=args.logs_retention_days, tags=self._tags, opts=child
        )
        role, rights = self._role(logs.arn)
        project = aws.codebuild.Project(
            name,
            # Workflows ask for it: runs-on: codebuild-churn-<stack>-runner-${{ github.run_id }}-${{ github.run_attempt }}
            name=f"churn-{pulumi.get_stack()}-runner",
            service_role=role.arn,
            # Its own credential: that of CodeBuild's is one for all projects of an account, and the last stack's would be it.
            source={
                "type": "GITHUB",
                "location": args.config.repository_url,
                "auth": {"type": "CODECONNECTIONS", "resource": self.connection_arn},
            },
            artifacts={"type": "NO_ARTIFACTS"},
            environment={"type": "LINUX_CONTAINER", "compute_type": "BUILD_GENERAL1_SMALL", "image": IMAGE},
            vpc_config={"vpc_id": args.vpc_id, "subnets": args.subnet_ids, "security_group_ids": [group.id]},
            logs_config={"cloudwatch_logs": {"status": "ENABLED", "group_name": logs.name}},
            build_timeout=DEPLOYMENT_MAX_MINUTES,
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights]),
        )
        queued: aws.codebuild.WebhookFilterGroupFilterArgsDict = {"type": "EVENT", "pattern": "WORKFLOW_JOB_QUEUED"}
        aws.codebuild.Webhook(
            name, project_name=project.name, build_type="BUILD", filter_groups=[{"filters": [queued]}], opts=child
        )

    def _role(self, logs_arn: pulumi.Output[str]) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        args, name = self._args, self._name
        trust = {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}
        role = aws.iam.Role(
            name,
            assume_role_policy=pulumi.Output.from_input(args.account_id).apply(
                lambda account: json.dumps(policy(trust | {"Condition": {"StringEquals": {"aws:SourceAccount": account}}}))
            ),
            tags=self._tags,
            opts=self._child,
        )
        known = pulumi.Output.all(args.account_id, logs_arn, self.connection_arn, pulumi.Output.all(*args.subnet_ids))
        rights = known.apply(lambda each: json.dumps(policy(*runs(args.region, each[0], each[1], each[2], each[3]))))
        return role, aws.iam.RolePolicy(name, role=role.id, policy=rights, opts=self._child)


def runs(region: str, account_id: str, logs_arn: str, connection_arn: str, subnet_ids: Sequence[str]) -> list[Document]:
    """Runs in the VPC, writes its log, and listens to GitHub."""
    # https://docs.aws.amazon.com/codebuild/latest/userguide/auth-and-access-control-iam-identity-based-access-control.html
    network = ("CreateNetworkInterface", "DeleteNetworkInterface", "DescribeDhcpOptions", "DescribeNetworkInterfaces")
    places = ("DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs")
    subnets = [f"arn:aws:ec2:{region}:{account_id}:subnet/{each}" for each in subnet_ids]
    given = {"StringEquals": {"ec2:Subnet": subnets, "ec2:AuthorizedService": "codebuild.amazonaws.com"}}
    return [
        allow("JoinNetwork", [f"ec2:{each}" for each in (*network, *places)], ["*"]),
        allow(
            "GiveInterface",
            ["ec2:CreateNetworkInterfacePermission"],
            [f"arn:aws:ec2:{region}:{account_id}:network-interface/*"],
            given,
        ),
        allow("WriteLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{logs_arn}:*"]),
        allow(
            "ListenToGithub",
            [f"codeconnections:{each}" for each in ("GetConnection", "GetConnectionToken", "UseConnection")],
            [connection_arn],
        ),
    ]
