"""The command line: typed arguments, one call into the service, print. Data on stdout, hints on stderr."""

import gc

# What is imported stays. To look through it again and again costs a command a tenth of a second.
gc.set_threshold(100_000)
