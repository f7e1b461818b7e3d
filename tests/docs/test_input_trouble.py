"""The table of input trouble is that of the rules."""

from pathlib import Path

from analysis.series import Rule
from analysis.series.catalogue import TROUBLE, document

TABLE = Path(__file__).resolve().parents[2] / "deploy" / "input-trouble.md"


def test_the_table_is_current() -> None:
    """``python -m analysis.series.catalogue > deploy/input-trouble.md`` was run since the rules changed."""
    assert TABLE.read_text(encoding="utf-8") == document()


def test_every_rule_tells_what_comes_of_it() -> None:
    """No rule is without its line."""
    assert set(TROUBLE) == set(Rule)
