from stacks.config import AwsConfig
from stacks.database import Database, DatabaseArgs
from stacks.record import Resource
from tests.stacks.conftest import Engine


def instance(engine: Engine, config: AwsConfig) -> Resource:
    args = DatabaseArgs(config=config.database, subnet_ids=["one", "two"], security_group_id="group", kms_key_arn="key")
    engine.run(lambda: Database("database", args))
    [found] = engine.resources("Instance")
    return found


def test_the_database_is_private_and_behind_its_group(engine: Engine, prod_aws: AwsConfig):
    inputs = instance(engine, prod_aws).inputs
    assert inputs["publiclyAccessible"] is False
    assert inputs["vpcSecurityGroupIds"] == ["group"]
    assert engine.inputs("SubnetGroup")[0]["subnetIds"] == ["one", "two"]


def test_disk_and_password_are_encrypted_with_the_callers_key(engine: Engine, prod_aws: AwsConfig):
    inputs = instance(engine, prod_aws).inputs
    assert (inputs["storageEncrypted"], inputs["kmsKeyId"], inputs["masterUserSecretKmsKeyId"]) == (True, "key", "key")


def test_rds_makes_the_password_and_the_program_never_sees_it(engine: Engine, prod_aws: AwsConfig):
    inputs = instance(engine, prod_aws).inputs
    assert inputs["manageMasterUserPassword"] is True
    assert not {"password", "passwordWo"} & inputs.keys()


def test_connections_without_tls_are_refused(engine: Engine, prod_aws: AwsConfig):
    instance(engine, prod_aws)
    [parameters] = engine.inputs("ParameterGroup")
    assert parameters["family"] == "postgres17"
    assert parameters["parameters"] == [{"name": "rds.force_ssl", "value": "1"}]


def test_prod_survives_a_zone_and_a_mistake(engine: Engine, prod_aws: AwsConfig):
    found = instance(engine, prod_aws)
    assert found.inputs["multiAz"] is True
    assert found.inputs["deletionProtection"] is True
    assert found.inputs["skipFinalSnapshot"] is False
    assert found.protect
    assert found.inputs["backupRetentionPeriod"] == 30


def test_dev_is_small_and_goes_with_the_stack(engine: Engine, dev_aws: AwsConfig):
    found = instance(engine, dev_aws)
    assert found.inputs["instanceClass"] == "db.t4g.micro"
    assert found.inputs["multiAz"] is False
    assert found.inputs["skipFinalSnapshot"] is True
    assert not found.protect
