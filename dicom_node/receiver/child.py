"""A process of the receiver, started with a descriptor, and the settings on standard input.

It serves the connections that come over the descriptor, and ends when its parent says so, or is gone.
"""

import gc
import signal
import socket
import sys
import threading
import time

from db import Store
from dicom_node.logs import configure, log_uncaught
from dicom_node.metrics import count_events
from dicom_node.receiver.control import Control, Verb
from dicom_node.receiver.engine import Engine, share_the_interpreter
from dicom_node.receiver.services import BuildServices
from dicom_node.settings import Settings
from dicom_node.supervisor import BEAT_S

__all__ = ["run_child"]


class _Slots:
    """Asks the parent, which counts for all processes."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._answers: dict[int, tuple[threading.Event, list[bool]]] = {}
        self._speaking = threading.Lock()

    def judge(self, number: int) -> None:
        """The connection's request is being judged."""
        self.say(Verb.JUDGE, number)

    def turn_down(self, number: int) -> None:
        """The request was turned down."""
        self.say(Verb.TURN_DOWN, number)

    def enter(self, number: int, calling_ae_title: str) -> bool:
        """Is there room? No, if there is no parent either."""
        answered, answer = self._answers.setdefault(number, (threading.Event(), []))
        self.say(Verb.ENTER, number, calling_ae_title)
        answered.wait()
        del self._answers[number]
        return bool(answer and answer[0])

    def leave(self, number: int) -> None:
        """The connection is over."""
        self.say(Verb.LEAVE, number)

    def give_signs(self) -> None:
        """Tell the parent every few seconds that this process lives."""
        while True:
            self.say(Verb.ALIVE)
            time.sleep(BEAT_S)

    def answer(self, number: int, *, room: bool) -> None:
        """The parent answered."""
        answered, answer = self._answers.setdefault(number, (threading.Event(), []))
        answer.append(room)
        answered.set()

    def answer_all(self) -> None:
        """There will be no answer any more: nobody enters."""
        for answered, _ in tuple(self._answers.values()):
            answered.set()

    def say(self, verb: Verb, number: int = 0, title: str = "") -> None:
        """Tell the parent."""
        try:
            with self._speaking:
                self._control.say(verb, number, title=title)
        except OSError:  # the parent is gone, and this process is about to end
            self.answer_all()


def run_child(descriptor: int, build_services: BuildServices) -> int:
    """Serve what comes over the descriptor, until the parent hangs up."""
    control = Control(socket.socket(fileno=descriptor))
    settings = Settings.model_validate_json(sys.stdin.read())
    configure(settings.logging, role="receiver")
    count_events(settings.metrics, "receiver")
    log_uncaught()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # whoever stops the node tells the parent, which then hangs up
    share_the_interpreter()
    store = Store.open(settings.database_url)
    slots = _Slots(control)
    engine = Engine(settings.receiver, settings.tls, build_services(settings, store), slots=slots)
    gc.freeze()  # what was imported stays: no collection walks it any more
    slots.say(Verb.READY)
    threading.Thread(target=slots.give_signs, name="alive", daemon=True).start()
    while (message := control.hear()) is not None:
        if message.descriptor is not None:
            connection = socket.socket(fileno=message.descriptor)
            engine.take(connection, message.number, secure=message.verb is Verb.TAKE_SECURE)
        else:
            slots.answer(message.number, room=message.verb is Verb.ROOM)
    slots.answer_all()
    engine.stop()
    store.close()
    return 0
