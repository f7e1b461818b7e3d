"""Who did something: a person, a peer on the network, or a process of the node."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

__all__ = ["Actor", "ActorKind"]


class ActorKind(StrEnum):
    """What an actor is."""

    USER = "user"
    """A person, by the name that was signed in or logged in with."""
    PEER = "peer"
    """An application entity, by its AE title."""
    PROCESS = "process"
    """A part of the node: a worker by its name, or a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who an event is due to."""

    kind: ActorKind
    name: str

    @classmethod
    def user(cls, name: str) -> Self:
        """A person."""
        return cls(kind=ActorKind.USER, name=name)

    @classmethod
    def peer(cls, ae_title: str) -> Self:
        """An application entity."""
        return cls(kind=ActorKind.PEER, name=ae_title)

    @classmethod
    def process(cls, name: str) -> Self:
        """A part of the node."""
        return cls(kind=ActorKind.PROCESS, name=name)

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"
