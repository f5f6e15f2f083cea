"""Files that serve peers write their lines through a PeerLog, which limits them: they do not name the type Log."""

import re

from . import cpp

# The type, and the lines of a log that is another object's.
LOG = re.compile(r"\bLog\b|\b\w+_\.log_\s*\.\s*(?:error|warning|info|debug)\b")


def check(files, settings):
    places = tuple(settings.get("peer_log", {}).get("files", []))
    return [
        f"{file.path}:{cpp.line_of(file.code, match.start())}: {match.group(0)}: a peer can cause its lines, "
        "so this file has a PeerLog of base/peer_log.h"
        for file in files
        if file.is_cpp and str(file.path).startswith(places) and not str(file.path).endswith("_test.cc")
        for match in LOG.finditer(file.code)
    ]
