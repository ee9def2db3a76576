"""The command line: typed arguments, one call into the service, print. Data on stdout, hints on stderr."""

import atexit
import gc

# What is imported stays. To look through it again and again costs a command a tenth of a second, and so does looking
# through it at the end for what could be freed, which the system does anyway.
gc.set_threshold(100_000)
atexit.register(gc.freeze)
