"""A Dockerfile as its stages: as much of the language as ours uses; any other instruction is an error."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Copy", "Run", "Stage", "stages_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command of a shell, in a folder."""

    command: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files from the repository, or from an earlier stage, to a place in the image."""

    sources: tuple[str, ...]
    target: str
    stage: str | None
    folder: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """What makes an image, and what it runs as whom."""

    base: str
    name: str = ""
    steps: list[Run | Copy] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def take(self, instruction: str, rest: str) -> None:
        """Add one instruction."""
        if instruction == "RUN":
            self.steps.append(Run(command=rest, folder=self.folder))
        elif instruction == "COPY":
            options = re.match(r"--from=(\S+)\s+", rest)
            *sources, target = shlex.split(rest[options.end() :] if options else rest)
            stage = options[1] if options else None
            self.steps.append(Copy(sources=tuple(sources), target=target, stage=stage, folder=self.folder))
        elif instruction == "WORKDIR":
            self.folder = rest
        elif instruction == "ENV":
            self.environment |= dict(one.split("=", 1) for one in shlex.split(rest))
        elif instruction == "USER":
            self.user = rest
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        elif instruction == "CMD":
            self.command = json.loads(rest)
        elif instruction == "HEALTHCHECK":
            self.health = json.loads(rest[rest.index("[") :])
        elif instruction not in {"VOLUME", "EXPOSE", "STOPSIGNAL"}:
            raise ValueError(f"{instruction} is not understood here")


def stages_of(file: Path) -> list[Stage]:
    """The stages, in order.

    Raises:
        ValueError: an instruction that is not understood here.
    """
    text = re.sub(r"\\\n", " ", file.read_text(encoding="utf-8"))
    stages: list[Stage] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base=base, name=name))
        else:
            stages[-1].take(instruction, rest.strip())
    return stages
