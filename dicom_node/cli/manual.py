"""What the help of every command has in common: the research-use statement, examples, exit codes."""

from collections.abc import Mapping
from enum import IntEnum

from rich.markup import escape

RESEARCH_USE = "Research use only. Not a medical device."


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3


ALL_EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the work failed or was refused",
    ExitCode.USAGE: "usage or settings error",
    ExitCode.UNREACHABLE: "peer or database not reachable",
}


def epilog(*examples: str, codes: Mapping[ExitCode, str] | None = None) -> str:
    """The end of a command's help: examples, then what its exit codes mean (default: as for every command)."""
    said = {**ALL_EXIT_CODES, **(codes or {})}
    lines = [f"Example: {line}" for line in examples]
    lines.append("Exit codes: " + " · ".join(f"{int(code)} {meaning}" for code, meaning in said.items()))
    return "\n\n".join(escape(line) for line in lines)
