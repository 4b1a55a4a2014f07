"""What a PromQL expression reads: metrics, and which of their series."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

WORDS = {"and", "or", "unless", "by", "on", "ignoring", "group_left", "bool"}


@dataclass(frozen=True)
class Selector:
    """A metric and its matchers: label, operator and text."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, labels: dict[str, str]) -> bool:
        """Whether a series with these labels is read."""
        return all(_matches(labels.get(label, ""), operator, text) for label, operator, text in self.matchers)


def selectors(expr: str) -> Iterator[Selector]:
    """Every selector of the expression."""
    # Lists of labels, as in `sum by (le) (...)`, and ranges are no metrics.
    plain = re.sub(r"\b(by|on|ignoring|group_left)\s*\([^)]*\)|\[\w+\]", " ", expr)
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", plain):
        yield Selector(name, tuple(re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers)))
    bare = re.sub(r"[a-zA-Z_:][\w:]*\{[^}]*\}", " ", plain)
    for name in re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?![\w:]*\s*\()", bare):
        if name not in WORDS:
            yield Selector(name, ())


def _matches(value: str, operator: str, text: str) -> bool:
    equal = bool(re.fullmatch(text, value)) if "~" in operator else value == text
    return equal != operator.startswith("!")
