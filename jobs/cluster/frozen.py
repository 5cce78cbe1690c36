"""The last module that the fork server loads: what is loaded by now stays, so no collector looks at it in a worker.

A worker would go through all of it before its first task, and so make a copy of every page that it shares.
"""

import gc

gc.freeze()
