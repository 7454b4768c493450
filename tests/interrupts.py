"""Children that take Ctrl-C, wherever the tests run."""

import signal


def take_interrupts():
    """In a child, before it begins: SIGINT interrupts it. A shell ignores the signal for what runs
    in the background, as under nohup, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
