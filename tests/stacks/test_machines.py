import pulumi_aws as aws
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.machines import EVERY_NODE, MACHINES


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_machine_is_one_that_aws_has(name: str):
    assert aws.ec2.InstanceType(name)


@given(st.sampled_from(sorted(MACHINES)), st.integers(50, 4000), st.integers(64, 16_384))
def test_pods_fit_beside_those_of_every_node_and_one_more_does_not(name: str, cpu: int, memory: int):
    machine = MACHINES[name]
    count = machine.holds(cpu, memory)

    def fits(pods: int) -> bool:
        return (
            EVERY_NODE.cpu_millicores + pods * cpu <= machine.cpu_millicores
            and EVERY_NODE.memory_mib + pods * memory <= machine.memory_mib
            and EVERY_NODE.pods + pods <= machine.pods
        )

    assert fits(count) or count == 0
    assert not fits(count + 1)
