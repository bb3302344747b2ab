"""Ctrl-C must reach the tests that press it, even where the suite runs in the background and inherits a deaf ear."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
