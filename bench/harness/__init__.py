"""The parts of the benchmark that run.py and gates.py share: servers, cells, statistics, the machine, the report."""
