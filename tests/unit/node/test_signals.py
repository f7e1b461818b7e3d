"""A process hears the signal that ends it in whichever thread the system hands it to."""

import subprocess
import sys

_PROGRAM = """
import signal, sys, threading
from dicom_node.signals import stop_on
stop = stop_on(signal.SIGTERM, signal.SIGINT)
threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
stop.wait()
print("stopped", flush=True)
"""


def test_a_signal_that_another_thread_gets_stops_the_process():
    """The main thread sleeps on the event; SIGTERM goes to another thread, and the event is set all the same."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_other_signals_do_not_stop_it():
    """SIGUSR1 has its own handler and leaves the event alone."""
    program = _PROGRAM.replace("signal.SIGTERM)).start()", "signal.SIGUSR1)).start()").replace(
        "stop.wait()", "threading.Event().wait(0.3); print(stop.is_set()); sys.exit()"
    )
    program = program.replace("stop = stop_on", "signal.signal(signal.SIGUSR1, lambda *_: None)\nstop = stop_on")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "False\n", done.stderr
