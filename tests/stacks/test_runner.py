import msgspec
import pytest

from stacks.config import AwsConfig
from stacks.runner import Runner, RunnerArgs, runs
from tests.stacks.access import may
from tests.stacks.conftest import Engine

SUBNETS = ("subnet-a", "subnet-b")


def build(
    engine: Engine,
    own: AwsConfig,
    connection: str = "confirmed",
    repository: str = "retention-team/churn",
    balancer_port: int | None = None,
) -> None:
    args = RunnerArgs(
        config=msgspec.structs.replace(own.delivery, github_connection=connection, repository=repository),
        region="eu-west-1",
        account_id="1",
        vpc_id="vpc",
        vpc_cidr="10.1.0.0/16",
        subnet_ids=SUBNETS,
        cluster_security_group_id="sg-cluster",
        endpoints_security_group_id="sg-endpoints",
        balancer_port=balancer_port,
        logs_key_arn="arn:key",
        logs_retention_days=30,
    )
    engine.run(lambda: Runner("runner", args))


def test_before_the_connection_is_confirmed_nothing_depends_on_it(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws, "unconfirmed")
    assert {each.type for each in engine.plan.resources} == {
        "churn:runner:Runner",
        "aws:codeconnections/connection:Connection",
    }


def test_a_job_of_the_repository_runs_in_the_private_subnets(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws, "confirmed")
    [project] = engine.inputs("Project")
    assert project["vpcConfig"] == {
        "vpcId": "vpc",
        "subnets": list(SUBNETS),
        "securityGroupIds": ["${securityGroup/runner.id}"],
    }
    assert project["source"]["location"] == "https://github.com/retention-team/churn.git"
    # An account has one credential of CodeBuild's own for GitHub; with it, one stack would take another's.
    assert project["source"]["auth"] == {"type": "CODECONNECTIONS", "resource": "${connection/runner.arn}"}
    assert not engine.resources("SourceCredential")
    [webhook] = engine.inputs("Webhook")
    assert webhook["filterGroups"] == [{"filters": [{"pattern": "WORKFLOW_JOB_QUEUED", "type": "EVENT"}]}]


def test_a_repositorys_immutable_numbers_are_no_part_of_its_address(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws, "confirmed", "retention-team@12/churn@34")
    [project] = engine.inputs("Project")
    assert project["source"]["location"] == "https://github.com/retention-team/churn.git"


def test_the_runner_reaches_control_plane_and_endpoints_by_name_and_is_reached_by_nobody(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws, "confirmed")
    group = "${securityGroup/runner.id}"
    into = {each["securityGroupId"]: each["referencedSecurityGroupId"] for each in engine.inputs("SecurityGroupIngressRule")}
    assert into == {"sg-cluster": group, "sg-endpoints": group}
    [out] = engine.inputs("SecurityGroupEgressRule")
    assert (out["securityGroupId"], out["fromPort"], out["toPort"]) == (group, 443, 443)


@pytest.mark.parametrize(("port", "opened"), [(None, False), (443, False), (80, True)])
def test_the_runner_reaches_a_balancer_that_has_no_certificate_yet(
    engine: Engine, prod_aws: AwsConfig, port: int | None, *, opened: bool
):
    build(engine, prod_aws, balancer_port=port)
    ways_out = {(each["cidrIpv4"], each["fromPort"], each["toPort"]) for each in engine.inputs("SecurityGroupEgressRule")}
    assert ways_out == {("0.0.0.0/0", 443, 443)} | ({("10.1.0.0/16", 80, 80)} if opened else set())


def test_the_runners_log_ends_and_is_encrypted(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws, "confirmed")
    [log] = engine.inputs("LogGroup")
    assert (log["kmsKeyId"], log["retentionInDays"]) == ("arn:key", 30)


def test_the_runner_gives_its_network_interface_to_nobody_else():
    statements = runs("eu-west-1", "1", "arn:log", "arn:connection", SUBNETS)
    interface, subnet = "arn:aws:ec2:eu-west-1:1:network-interface/x", "arn:aws:ec2:eu-west-1:1:subnet/subnet-a"
    given = {"ec2:AuthorizedService": "codebuild.amazonaws.com", "ec2:Subnet": subnet}
    assert may(statements, "ec2:CreateNetworkInterfacePermission", interface, given)
    assert not may(statements, "ec2:CreateNetworkInterfacePermission", interface, given | {"ec2:AuthorizedService": "other"})
    assert not may(statements, "ec2:CreateNetworkInterfacePermission", interface, given | {"ec2:Subnet": "arn:other"})
    assert not may(statements, "sts:AssumeRole", "*")
