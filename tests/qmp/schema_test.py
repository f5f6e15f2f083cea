"""The schema that the server tells of itself against that of qemu-storage-daemon: the same shape for what we have."""

import os
import unittest

from lib import daemon, settings
from lib.testcase import DaemonTest

# Members and values that ours has and the packaged qemu-storage-daemon has not, with the reason.
OURS = {
    "hide": "removal mode that the founding schema planned",
    "soft": "removal mode that the founding schema planned",
    "handshake-max-seconds": "since 10.0",
    "allow-inactive": "since 10.0",
    "active": "since 10.0",
    "keep-alive": "of listeners since 10.1",
    "reconnect-ms": "since 9.2",
}
OUR_COMMANDS = {"x-debug-tasks": "lists the live tasks of the core"}


def describe(names, name, depth=0):
    """The structure behind a type's name, with the arbitrary names taken out."""
    entity = names[name]
    kind = entity["meta-type"]
    if kind == "builtin":
        return entity["json-type"]
    if kind == "enum":
        return {"enum": set(entity["values"])}
    if depth > 8:
        return kind
    if kind == "array":
        return [describe(names, entity["element-type"], depth + 1)]
    if kind == "alternate":
        return {"alternate": [describe(names, member["type"], depth + 1) for member in entity["members"]]}
    members = {member["name"]: (describe(names, member["type"], depth + 1), "default" in member)
               for member in entity.get("members", [])}
    branches = {variant["case"]: describe(names, variant["type"], depth + 1) for variant in entity.get("variants", [])}
    return {"members": members, "tag": entity.get("tag"), "branches": branches}


def differences(ours, theirs, where):
    """What ours has that theirs has not, or has otherwise, as (where, what) pairs. What we lack is no difference."""
    if type(ours) is not type(theirs):
        yield where, f"{str(ours)[:60]} instead of {str(theirs)[:60]}"
    elif isinstance(ours, list):
        yield from differences(ours[0], theirs[0], where + "[]")
    elif not isinstance(ours, dict):
        if ours != theirs:
            yield where, f"{ours} instead of {theirs}"
    elif "enum" in ours:
        for value in sorted(ours["enum"] - theirs.get("enum", set())):
            yield f"{where}={value}", "value that the other has not"
    elif "members" in ours and "members" in theirs:
        for name, (kind, optional) in ours["members"].items():
            if name not in theirs["members"]:
                yield f"{where}.{name}", "member that the other has not"
                continue
            if optional != theirs["members"][name][1]:
                yield f"{where}.{name}", "optional in one of them only"
            yield from differences(kind, theirs["members"][name][0], f"{where}.{name}")
        for name, kind in ours["branches"].items():
            if name not in theirs["branches"]:
                yield f"{where}:{name}", "branch that the other has not"
            else:
                yield from differences(kind, theirs["branches"][name], f"{where}:{name}")


class SchemaTest(DaemonTest):
    """Structure by structure."""

    nbd_server = None

    def reference_schema(self):
        """query-qmp-schema of the packaged qemu-storage-daemon."""
        if not os.access(settings.REFERENCE, os.X_OK):
            raise unittest.SkipTest("qemu-storage-daemon is not installed")
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        reference = daemon.Daemon(workdir, nbd_server=None, program=settings.REFERENCE)
        self.addCleanup(reference.kill)
        schema = reference.start().qmp.execute("query-qmp-schema")
        reference.stop()
        return schema

    def test_same_shape(self):
        """Each command and event of ours is there in the reference too, with the same arguments and results."""
        ours = {entity["name"]: entity for entity in self.qmp.execute("query-qmp-schema")}
        theirs = {entity["name"]: entity for entity in self.reference_schema()}
        found = []
        for name, entity in ours.items():
            if entity["meta-type"] not in ("command", "event") or name in OUR_COMMANDS:
                continue
            if name not in theirs:
                found.append((name, "command or event that the other has not"))
                continue
            for key in ("arg-type", "ret-type"):
                if key in entity:
                    found += differences(describe(ours, entity[key]), describe(theirs, theirs[name][key]), name)
        unexpected = [f"{where}: {what}" for where, what in found
                      if where.replace("=", ".").replace(":", ".").split(".")[-1] not in OURS]
        self.assertEqual(unexpected, [], "\n".join(unexpected))
