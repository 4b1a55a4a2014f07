from stacks.config import ROOT
from stacks.plan import plan
from stacks.summary import page

PAGE = ROOT / "docs" / "stacks.md"


def rows(section: str) -> dict[str, list[str]]:
    """The cells of each row by its first one."""
    _, _, rest = page().partition(f"## {section}\n")
    lines = [line.strip("| ").split(" | ") for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return {first: cells for first, *cells in lines}


def test_the_page_is_what_the_stacks_are():
    assert PAGE.read_text() == page(), "run `make docs`"


def test_a_value_that_is_the_same_wherever_it_is_read_is_left_out():
    differing = rows("Values that differ")
    assert differing["`network:nat`"] == ["-", "one", "one", "per-zone"]
    assert "`cluster:version`" not in differing


def test_every_resource_is_counted_once():
    counts = rows("Resources")
    dev = sum(int(cells[1]) for first, cells in counts.items() if first != "component" and cells[1] != "-")
    declared = [each for each in plan("dev").resources if not each.type.startswith("pulumi:providers:")]
    assert dev == len(declared)


def test_the_sum_is_that_of_the_components():
    cost = rows("Cost in USD a month")
    parts = [int(cells[3].replace(",", "")) for first, cells in cost.items() if first.isalpha() and cells[3].isdigit()]
    whole = int(cost["**all**"][3].strip("*").replace(",", ""))
    # Each figure is rounded by itself.
    assert abs(sum(parts) - whole) <= len(parts)
