import resource
import subprocess
import sys

# Whoever plans waits for the providers' SDKs; of what is ours nothing is to be felt beside that.
AT_MOST = 1.6
PLAN = """
import sys
from stacks.plan import main
main(["prod", "--json"])
sdks = ("pulumi", "pulumi_aws", "pulumi_eks", "pulumi_kubernetes")
print(*sorted(each for each in sys.modules if each.partition(".")[0] in sdks), file=sys.stderr)
"""
IMPORT = "import importlib, sys; [importlib.import_module(each) for each in sys.stdin.read().split()]"


def processor_seconds(code: str, given: str = "") -> tuple[float, str]:
    """What a Python process takes of the processor, however busy that is, and what it says on the side."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def test_a_plan_takes_little_longer_than_the_import_of_what_it_uses():
    planned, modules = processor_seconds(PLAN)
    imported, _ = processor_seconds(IMPORT, modules)
    assert planned <= AT_MOST * imported
