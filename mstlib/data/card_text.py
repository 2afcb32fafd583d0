"""What the data cards of generated data have in common: a table of facts, and one of knobs."""

from collections.abc import Mapping
from dataclasses import asdict


def fact_table(facts: Mapping[str, Mapping[str, str]]) -> str:
    """Facts by split and name as markdown: a row a fact, a column a split."""
    lines = ["", f"| | {' | '.join(facts)} |", "|---|" + "---:|" * len(facts)]
    lines += [f"| {name} | {' | '.join(of[name] for of in facts.values())} |"
              for name in next(iter(facts.values()))]
    return "\n".join(lines) + "\n"


def knob_rows(knobs: object) -> str:
    """The fields of a dataclass as rows of a markdown table."""
    return "".join(f"| {name} | {value} |\n" for name, value in asdict(knobs).items())
