"""`python -m bench.plan`: what planning prod takes of the processor beside the mere import of the SDK modules it uses."""

import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 5
# Whoever plans waits for the SDKs; of what is ours nothing is to be felt beside them.
AT_MOST = 1.6
RESULT = Path(__file__).parent / "results" / "plan.md"
PLAN = """
import sys
from stacks.plan import main
main(["prod", "--json"])
sdks = ("pulumi", "pulumi_aws", "pulumi_eks", "pulumi_kubernetes")
print(*sorted(each for each in sys.modules if each.partition(".")[0] in sdks), file=sys.stderr)
"""
SOME = "import importlib, sys; [importlib.import_module(each) for each in sys.stdin.read().split()]"


def processor_seconds(code: str, given: str = "") -> tuple[float, str]:
    """What a Python process takes of the processor, however busy that is, and what it says on the side."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def main() -> int:
    """Write the result; 1 if a plan takes too long."""
    rounds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        planned, modules = processor_seconds(PLAN)
        imported, _ = processor_seconds(SOME, modules)
        rounds.append((planned, imported))
    ratios = sorted(planned / imported for planned, imported in rounds)
    ratio = statistics.median(ratios)
    text = (
        f"`make plan STACK=prod`, rules included, against the import of the SDK modules that it uses: {ratio:.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} paired rounds of processor time; at most {AT_MOST}). "
        "`make bench` writes this.\n"
    )
    RESULT.write_text(text)
    sys.stdout.write(text)
    return int(ratio > AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
