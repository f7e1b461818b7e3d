"""The statements that reach a database while something runs, and which of their plans read a growing table whole."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url

from db.rows import Row

SMALL = {
    "verdict_counts",
    "peers",
    "paused_destinations",
    "audit_forward",
    "model_assignments",
    "failing_units",
    "heartbeats",
    "state_counts",
    "schema_floor",
    "users",
    "sign_in_links",
    "resent_versions",
}
"""Tables that grow with the hospital's staff and equipment, or that a sweep keeps small."""
GROWING = frozenset(set(Row.metadata.tables) - SMALL)
_PLANNED = ("SELECT", "UPDATE", "DELETE", "WITH")
Statements = dict[str, Any]


@contextmanager
def recorded() -> Iterator[Statements]:
    """Every statement of every engine of this process, with the last parameters it was given."""
    seen: Statements = {}

    def note(_connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, many: bool) -> None:
        if statement.lstrip("( \n").upper().startswith(_PLANNED):
            seen[statement] = given[0] if many else given

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def scans(url: str, statements: Statements) -> list[str]:
    """The statements whose plan reads all rows of a growing table, each with what it does.

    Rows read in the order of an index until a page is full are no scan.
    """
    engine = create_engine(make_url(url))
    found: list[str] = []
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if engine.dialect.name == "postgresql":
            for way in ("seqscan", "hashjoin", "mergejoin"):  # they suit tables as small as a test's
                driver.execute(f"SET enable_{way} = off")
        for statement, given in statements.items():
            if engine.dialect.name == "postgresql":
                (plan,) = driver.execute(f"EXPLAIN (FORMAT JSON) {statement}", given).fetchone()
                tree = plan if isinstance(plan, list) else json.loads(plan)
                reads = list(_postgresql_scans(tree[0]["Plan"], limited=False))
            else:
                steps = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
                reads = [step for step in steps if _scans_sqlite(step, statement)]
            found += [f"{read}: {statement}" for read in reads]
    engine.dispose()
    return found


def _scans_sqlite(step: str, statement: str) -> bool:
    words = step.split()
    if words[0] != "SCAN" or words[1] not in _names():
        return False
    by_row_number = f"FROM {words[1]} ORDER BY {words[1]}.id" in statement
    partial = any(name in words for name in _PARTIAL)
    return not (partial or ("LIMIT" in statement and ("INDEX" in words or by_row_number)))


def _names() -> set[str]:
    """Tables, and what SQLAlchemy calls a second look at one."""
    return {name for table in GROWING for name in (table, *(f"{table}_{number}" for number in range(1, 4)))}


def _postgresql_scans(plan: dict[str, Any], *, limited: bool) -> Iterator[str]:
    limited = limited or plan["Node Type"] == "Limit"
    table = plan.get("Relation Name")
    if table in GROWING:
        whole = plan["Node Type"] == "Seq Scan"
        unbounded = "Index" in plan["Node Type"] and "Index Cond" not in plan and not limited
        partial = plan.get("Index Name") in _PARTIAL
        if whole or (unbounded and not partial and plan["Node Type"] != "Bitmap Heap Scan"):
            yield f"{plan['Node Type']} of {table}"
    for child in plan.get("Plans", ()):
        yield from _postgresql_scans(child, limited=limited)


_PARTIAL = {
    index.name
    for table in Row.metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["postgresql"]["where"] is not None and index.name != "uq_results_in_force"
}
"""Indices that hold what waits or is young, and not all rows."""
