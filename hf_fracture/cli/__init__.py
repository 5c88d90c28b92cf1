"""The command line: one module per command, wired together by `main`.

May depend on every other room. A command module imports nothing heavy at its top, because its `--help` must be instant.
"""
