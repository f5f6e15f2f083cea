"""docs/guides/servers.md: its commands, run literally, have the documented effect."""

import json
import unittest

from lib.guide import GuideCase

SNAPSHOT = "vm1/snap1"


class ServersGuideTest(GuideCase):
    """The two servers of the guide."""

    guide = "servers.md"
    export = SNAPSHOT

    def setUp(self):
        super().setUp()
        self.shell(self.script("Two servers"))
        self.uris = self.shell(self.script("Two servers", 1)).splitlines()

    def servers(self):
        """What query-nbd-servers tells, by ID."""
        return {one["id"]: one for one in json.loads(self.shell(self.script("Addresses")))}

    def test_two_servers(self):
        """Each URI has its export and server; the one for backups works, and is read-only."""
        shown = [tuple(line.split("  ")[1:]) for line in self.uris if line.startswith("nbd")]
        self.assertEqual(shown, [(SNAPSHOT, "backup"), ("vm1/vda", "default"), (SNAPSHOT, "default")])
        (bound,) = self.servers()["backup"]["listeners"][0]["bound"]
        self.assertTrue(self.uris[-3].startswith(f"nbds://{bound}/vm1%2Fsnap1  "), self.uris)
        answer = self.shell(self.script("Two servers", 2))
        self.assertIn("newstyle-fixed with TLS", answer)
        self.assertIn("is_read_only: true", answer)
        with open(self.path("daemon.log"), encoding="utf-8") as log:
            self.assertIn(f"NBD server 'backup' listens on {bound}, over TLS\n", log.read())
        self.write(0, b"x" * 512)

    def test_end(self):
        """The exports stay when the server for backups has ended."""
        self.shell(self.script("The end of a server"))
        self.assertEqual(list(self.servers()), ["default"])
        self.assertEqual(self.connect().write(0, b"y" * 512), 0)


if __name__ == "__main__":
    unittest.main()
