"""A sender's replies are its own: pynetdicom's reactor takes none of them while requests are sent."""

import queue
import threading

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.peers.reactor import held_reactor, is_open


def test_no_reply_is_taken_while_the_reactor_is_held() -> None:
    """What lies in the queue of replies stays there while it is held; afterwards the reactor looks again."""
    server = AE(ae_title="NODE")
    server.add_supported_context(Verification)
    listening = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0x0000)])
    client = AE(ae_title="SCANNER")
    client.add_requested_context(Verification)
    try:
        association = client.associate("127.0.0.1", listening.socket.getsockname()[1], ae_title="NODE")
        assert association.is_established
        answers = association.dimse.msg_queue
        with held_reactor(association):
            for _ in range(20):
                assert association.send_c_echo().Status == 0x0000
            answers.put((None, None))
            threading.Event().wait(0.2)  # the reactor looks every few milliseconds when it is not held
            assert answers.get_nowait() == (None, None)
            assert is_open(association)
            answers.put((None, None))
        deadline = threading.Event()
        for _ in range(500):
            if answers.empty():
                break
            deadline.wait(0.01)
        with pytest.raises(queue.Empty):
            answers.get_nowait()
        association.release()
        assert not is_open(association)
    finally:
        listening.shutdown()
