"""The receiver's processes, each with its own interpreter: started, given connections, started again after a death."""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from dicom_node.receiver.connections import Connections
from dicom_node.receiver.control import Control, Message, Verb
from dicom_node.receiver.engine import GRACE_S
from dicom_node.settings import Settings
from dicom_node.supervisor import SILENT_S, BackOff, keep, python

__all__ = ["CHILD", "Children", "NoChild"]

_log = structlog.get_logger(__name__)

BACK_OFF = BackOff(first_s=0.2, longest_s=10.0)
CHILD = "receiver-child"
_COMPOSITION_ROOT = "dicom_node.node"
"""What a process is started with: the module that knows the services, and its argument."""
START_TIMEOUT_S = 60.0
TAKE_TIMEOUT_S = 10.0
"""Time that a new connection waits for a child while none runs."""


class NoChild(Exception):
    """No process of the receiver runs."""


class Children:
    """As many processes as asked for; a connection goes to the one that has the fewest."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        *,
        on_death: Callable[[], None],
        silent_s: float = SILENT_S,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._on_death = on_death
        self._silent_s = silent_s
        self._children = [_Child(number) for number in range(settings.receiver.processes)]
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._keepers = [
            threading.Thread(target=self._keep, args=(child,), name=f"keep-{child.number}", daemon=True)
            for child in self._children
        ]

    def start(self) -> None:
        """Start all, and wait until they serve.

        Raises:
            NoChild: one did not begin to serve.
        """
        for keeper in self._keepers:
            keeper.start()
        with self._changed:
            ready = self._changed.wait_for(lambda: all(child.ready for child in self._children), START_TIMEOUT_S)
        if not ready:
            raise NoChild("A process of the receiver did not start.")

    def take(self, connection: socket.socket, number: int, *, secure: bool) -> None:
        """Give a connection to a child; the parent's descriptor is the caller's to close.

        Raises:
            NoChild: none runs, nor begins to in time.
        """
        deadline = time.monotonic() + TAKE_TIMEOUT_S
        verb = Verb.TAKE_SECURE if secure else Verb.TAKE
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(self._any_ready, left)
                child = min((one for one in self._children if one.ready), key=lambda one: len(one.held), default=None)
                if child is None:
                    continue
                child.held.add(number)
            if child.say(verb, number, connection):
                return
            with self._changed:
                child.held.discard(number)
                child.ready = False
        raise NoChild("No process of the receiver runs.")

    def process_ids(self) -> Sequence[int]:
        """The process ids of the children that run."""
        return [child.process.pid for child in self._children if child.process is not None]

    def stop(self) -> None:
        """Let every child finish what is in flight, and end."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for child in self._children:
            child.hang_up()
        deadline = time.monotonic() + GRACE_S + 2
        for keeper, child in zip(self._keepers, self._children, strict=True):
            keeper.join(max(0.0, deadline - time.monotonic()))
            if keeper.is_alive() and child.process is not None:
                _log.warning("receiver.child_killed", pid=child.process.pid)
                child.process.kill()
                keeper.join()

    def _any_ready(self) -> bool:
        return self._stopping.is_set() or any(child.ready for child in self._children)

    def _keep(self, child: "_Child") -> None:
        keep(
            f"receiver-{child.number}",
            lambda: self._run_once(child),
            self._stopping,
            back_off=BACK_OFF,
            ended=self._on_death,
        )

    def _run_once(self, child: "_Child") -> int:
        process = child.start(self._settings)
        try:
            if self._stopping.is_set():  # told to stop between the check and the start
                child.hang_up()
            while (message := child.hear()) is not None:
                self._obey(child, message)
                if message.verb is Verb.READY:
                    child.patience(self._silent_s)
        except TimeoutError:
            _log.error("process.silent", process=f"receiver-{child.number}", pid=process.pid, for_s=self._silent_s)
            process.kill()
        with self._changed:
            child.ready = False
            held, child.held = child.held, set()
        status = process.wait()
        child.forget()
        for number in held:
            self._connections.leave(number)
        return status

    def _obey(self, child: "_Child", message: Message) -> None:
        if message.verb is Verb.READY:
            with self._changed:
                child.ready = True
                self._changed.notify_all()
        elif message.verb is Verb.ENTER:
            room = self._connections.enter(message.number, message.title)
            child.say(Verb.ROOM if room else Verb.NO_ROOM, message.number)
        elif message.verb is Verb.JUDGE:
            self._connections.judge(message.number)
        elif message.verb is Verb.TURN_DOWN:
            self._connections.turn_down(message.number)
        elif message.verb is Verb.LEAVE:
            with self._changed:
                child.held.discard(message.number)
            self._connections.leave(message.number)


class _Child:
    """One process, the socket to it, and the connections that it has."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.held: set[int] = set()
        self._control: Control | None = None
        self._speaking = threading.Lock()

    def start(self, settings: Settings) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as until_started, theirs:
            until_started.callback(ours.close)
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                python(_COMPOSITION_ROOT, CHILD, str(theirs.fileno())),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
            until_started.pop_all()
        self.process, self._control = process, Control(ours)
        assert process.stdin is not None  # noqa: S101 - a pipe, as asked above
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(settings.model_dump_json().encode())
        return process

    def say(self, verb: Verb, number: int, connection: socket.socket | None = None) -> bool:
        """Whether it could be said."""
        with self._speaking:
            if self._control is None:
                return False
            try:
                self._control.say(verb, number, connection=connection)
            except OSError:
                return False
            return True

    def hear(self) -> Message | None:
        return None if self._control is None else self._control.hear()

    def patience(self, seconds: float) -> None:
        if self._control is not None:
            self._control.patience(seconds)

    def hang_up(self) -> None:
        with self._speaking:
            if self._control is not None:
                self._control.hang_up()

    def forget(self) -> None:
        with self._speaking:
            if self._control is not None:
                self._control.close()
            self.process = self._control = None
