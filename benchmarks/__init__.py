"""How fast, beside whom: see README.md."""
