from stacks.names import BATCH_PRIORITY, INFERENCE_PRIORITY
from stacks.priorities import Priorities
from tests.stacks.conftest import Engine

# A pod without a class has this one; below the second the cluster autoscaler makes no node for it.
DEFAULT, EXPENDABLE = 0, -10


def test_what_answers_customers_goes_before_everything_and_training_after_it(engine: Engine):
    engine.run(lambda: Priorities("priorities"))
    values = {each["metadata"]["name"]: each["value"] for each in engine.inputs("PriorityClass")}
    assert values[INFERENCE_PRIORITY] > DEFAULT > values[BATCH_PRIORITY] > EXPENDABLE


def test_training_pushes_nobody_aside(engine: Engine):
    engine.run(lambda: Priorities("priorities"))
    assert engine.one("PriorityClass", "priorities-batch")["preemptionPolicy"] == "Never"
