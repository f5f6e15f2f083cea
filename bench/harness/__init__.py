"""Shared parts of run.py and gates.py: servers, cells, statistics, the machine, the report."""
