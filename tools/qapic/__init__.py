"""qapic: compiles the schema of the control plane, in QAPI's language, to C++.

Five passes: parse, check, build (the model), prune, emit. See README.md beside this file.
"""
