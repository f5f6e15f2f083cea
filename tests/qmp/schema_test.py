"""The server's query-qmp-schema against those of qemu-storage-daemon: every difference is deliberate."""

import os
import sys
import unittest

from lib import settings
from lib.testcase import DaemonTest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "qapic"))

import reference_schema
from expected_differences import Expected, surprises
from qapic.compare_schema import Introspected


class SchemaTest(DaemonTest):
    """The answer of the running server, which is all that a client sees of its schema."""

    nbd_server = None

    @settings.unlike_qemu("a version differs from the others")
    def test_each_recorded_version(self):
        """The versions whose answers are in the tree."""
        ours = Introspected(self.qmp.execute("query-qmp-schema"))
        for version in reference_schema.versions():
            with self.subTest(version):
                self.assertEqual(surprises(ours, reference_schema.load(version), Expected.of_version(version)), [])

    @settings.unlike_qemu("it does not differ from itself")
    def test_the_reference_at_hand(self):
        """The newest qemu-storage-daemon that this machine has, whatever its version."""
        program = settings.REFERENCE
        if not os.access(program, os.X_OK):
            raise unittest.SkipTest("there is no qemu-storage-daemon")
        version = "{}.{}".format(*settings.qemu_version(program))
        known = Expected.of_version(version if version in reference_schema.versions() else None)
        ours = Introspected(self.qmp.execute("query-qmp-schema"))
        self.assertEqual(surprises(ours, reference_schema.ask(program), known), [], f"against {program}, {version}")
