"""The schema that the server tells of itself against that of qemu-storage-daemon: the same shape for what we have."""

import json
import os
import re
import unittest

from lib import daemon, settings
from lib.testcase import DaemonTest

# Members and values that ours has and qemu-storage-daemon has not, with the reason.
OURS = {
    "iothreads": "of an export: which threads serve it",
    "hide": "removal mode that the founding schema planned",
    "soft": "removal mode that the founding schema planned",
    "tls-authz": "of an export: who may use it",
    "page-cache": "of a file: copies of whole images leave the page cache to others",
    "authz-list-file": "what the class is called that the schema there calls authz-listfile",
}
# And those that its version 10.0 has, but the packaged one may be too old for.
NEWER = {
    "iothread": "of an export: a list since 10.1",
    "handshake-max-seconds": "since 10.0",
    "allow-inactive": "since 10.0",
    "active": "since 10.0",
    "inactive": "since 10.0",
    "keep-alive": "of listeners since 10.1",
    "keep-alive-count": "since 10.1",
    "keep-alive-idle": "since 10.1",
    "keep-alive-interval": "since 10.1",
    "reconnect-ms": "since 9.2",
    "file": "as details of an image: since 8.0",
}
OUR_COMMANDS = {"x-debug-tasks": "lists the live tasks of the core"}


class Comparison:
    """Walks two schemas side by side and collects what ours has that theirs has not, or has otherwise."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self.seen = set()
        self.found = []

    def differ(self, where, what):
        """Notes a difference."""
        self.found.append((where, what))

    def types(self, our_name, their_name, where):
        """Two types; what ours lacks is no difference."""
        if (our_name, their_name) in self.seen:
            return
        self.seen.add((our_name, their_name))
        ours, theirs = self.ours[our_name], self.theirs[their_name]
        kind = ours["meta-type"]
        if kind != theirs["meta-type"]:
            self.differ(where, f"{kind} instead of {theirs['meta-type']}")
        elif kind == "builtin" and ours["json-type"] != theirs["json-type"]:
            self.differ(where, f"{ours['json-type']} instead of {theirs['json-type']}")
        elif kind == "enum":
            for value in set(ours["values"]) - set(theirs["values"]):
                self.differ(f"{where}={value}", "value that the other has not")
        elif kind == "array":
            self.types(ours["element-type"], theirs["element-type"], where + "[]")
        elif kind == "alternate":
            kinds = [sorted(self.kind(schema, member["type"]) for member in entity["members"])
                     for schema, entity in ((self.ours, ours), (self.theirs, theirs))]
            if kinds[0] != kinds[1]:
                self.differ(where, f"alternate of {kinds[0]} instead of {kinds[1]}")
        elif kind == "object":
            self.objects(ours, theirs, where)

    @staticmethod
    def kind(schema, name):
        """What an alternative looks like in JSON."""
        entity = schema[name]
        return entity.get("json-type") or {"enum": "string"}.get(entity["meta-type"], entity["meta-type"])

    def objects(self, ours, theirs, where):
        """Two object types: members, whether they are optional, and branches."""
        known = {member["name"]: member for member in theirs["members"]}
        for member in ours["members"]:
            other = known.get(member["name"])
            if other is None:
                self.differ(f"{where}.{member['name']}", "member that the other has not")
                continue
            if ("default" in member) != ("default" in other):
                self.differ(f"{where}.{member['name']}", "optional in one of them only")
            self.types(member["type"], other["type"], f"{where}.{member['name']}")
        required = {name for name, member in known.items() if "default" not in member}
        for name in sorted(required - {member["name"] for member in ours["members"]}):
            self.differ(f"{where}.{name}", "required member that ours has not")
        branches = {variant["case"]: variant["type"] for variant in theirs.get("variants", [])}
        if ours.get("tag") != theirs.get("tag"):
            self.differ(where, f"tag {ours.get('tag')} instead of {theirs.get('tag')}")
        for variant in ours.get("variants", []):
            if variant["case"] not in branches:
                self.differ(f"{where}:{variant['case']}", "branch that the other has not")
            else:
                self.types(variant["type"], branches[variant["case"]], f"{where}:{variant['case']}")


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

    def compare(self, reference, known):
        """Each command and event of ours is there in the reference too, with the same arguments and results."""
        ours = {entity["name"]: entity for entity in self.qmp.execute("query-qmp-schema")}
        theirs = {entity["name"]: entity for entity in reference}
        comparison = Comparison(ours, theirs)
        for name, entity in ours.items():
            if entity["meta-type"] not in ("command", "event") or name in OUR_COMMANDS:
                continue
            if name not in theirs:
                comparison.differ(name, "command or event that the other has not")
                continue
            for key in ("arg-type", "ret-type"):
                if key in entity:
                    comparison.types(entity[key], theirs[name][key], name)
        unexpected = [f"{where}: {what}" for where, what in comparison.found
                      if re.split(r"[.=:]", where)[-1] not in known
                      and not ("zone_append" in where and known is not OURS)]
        self.assertEqual(unexpected, [], "\n" + "\n".join(unexpected))

    def test_shape_of_the_packaged_one(self):
        """The packaged qemu-storage-daemon, whatever its version."""
        self.compare(self.reference_schema(), OURS | NEWER)

    @settings.unlike_qemu("its own version differs from 10.0")
    def test_shape_of_10_0(self):
        """What 10.0 told, where that file is at hand: beside the source tree, or BLOCKEXPORT_REFERENCE_SCHEMA."""
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        beside = os.path.join(os.path.dirname(root), "shared", "facts", "qsd-10.0-qmp-schema.json")
        path = os.environ.get("BLOCKEXPORT_REFERENCE_SCHEMA", beside)
        if not os.path.exists(path):
            self.skipTest("the schema of 10.0 is not at hand")
        with open(path, encoding="utf-8") as file:
            schema = json.load(file)
        self.compare(schema if isinstance(schema, list) else schema["return"], OURS | NEWER)
