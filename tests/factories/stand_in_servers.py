"""Channels to servers that are not there, but take everything."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from alerts import Occasion
from alerts.message import Message
from dicom_node.delivery.channel import Parcel, Receipt


@dataclass
class Servers:
    """A PACS and a mail server that take everything; what came, in its order, and the letters."""

    came: list[str] = field(default_factory=list)
    letters: list[list[Message]] = field(default_factory=list)
    most_together: int = 20

    def deliver(self, _parcel: Parcel) -> Receipt:
        """An object comes."""
        self.came.append("object")
        return Receipt(answer="0x0000")

    def tell(self, _key: str, messages: Sequence[Message]) -> Receipt:
        """A letter comes."""
        self.came.append("letter")
        self.letters.append(list(messages))
        return Receipt(answer="250")

    def check(self) -> str:
        """Somebody asks whether they are there."""
        return "there"

    @property
    def occasions(self) -> list[Occasion]:
        """Why each message came."""
        return [one.occasion for letter in self.letters for one in letter]
