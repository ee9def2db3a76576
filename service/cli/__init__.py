"""The command line: typed arguments, one call into the service, print. Data on stdout, hints on stderr."""
