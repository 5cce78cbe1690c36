"""Makes a decoder kill, hang or eat, as a defect in a codec would: on ``PYTHONPATH`` of the processes under test.

A recording whose bytes end with a marker does it, in whichever process decodes it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time

TARGET = "heartbeat_core.audio.decode"


def _sabotage(data):
    if data.endswith(b"KILL"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.endswith(b"HANG"):
        time.sleep(3600)
    if data.endswith(b"SPIN"):
        10**10**9  # Holds the interpreter's lock for ever.
    if data.endswith(b"EATS"):
        import numpy

        # 2 GiB at a time: a limit below that refuses the first, and one above it the process grows into.
        hold = [numpy.ones(2**28) for _ in range(32)]
        del hold


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for function in ("decode", "read_header"):
                setattr(module, function, _wrap(getattr(module, function)))

        spec.loader.exec_module = exec_module
        return spec


def _wrap(function):
    def wrapped(data, *arguments):
        _sabotage(data)
        return function(data, *arguments)

    return wrapped


sys.meta_path.insert(0, _Finder())
