"""Monitors as objects: tests of their clients and their removal that scripts cannot express."""

import json
import os

from lib import settings, wait
from lib.qmp import QmpClient, QmpClosed
from lib.testcase import DaemonTest, nbd_export, null_node


class ObjectsTest(DaemonTest):
    """A server whose monitors come and go."""

    @classmethod
    @settings.since_qemu(11, 1, "monitors are no objects")
    def prepare(cls):
        return [*null_node("null", 1 << 20), *nbd_export("null")]

    def add(self, name, **options):
        """Makes a listening chardev and a monitor on it; the path of its socket."""
        path = self.path(f"{name}.sock")
        address = {"type": "unix", "data": {"path": path}}
        self.qmp.execute("chardev-add", {"id": name, "backend": {"type": "socket", "data": {
            "addr": address, "server": True, "wait": False}}})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": f"m-{name}", "chardev": name, **options})
        return path

    def client(self, path):
        """A client of a monitor."""
        client = QmpClient(path)
        self.addCleanup(client.close)
        return client

    def object_names(self):
        """The names of all objects."""
        return {entry["name"] for entry in self.qmp.execute("qom-list", {"path": "/objects"})} - {"type"}

    def chardevs(self):
        """The names of all chardevs."""
        return {entry["label"] for entry in self.qmp.execute("query-chardev")}


class MonitorObjectsTest(ObjectsTest):
    """What becomes of their clients."""

    def test_serves_one_client_after_another(self):
        """With close-action none the next client is greeted, and events reach it."""
        path = self.add("again")
        for _ in range(3):
            client = self.client(path)
            self.assertEqual(client.execute("query-block"), [])
            self.add_export("short", "null", name="short")
            self.qmp.execute("block-export-del", {"id": "short"})
            self.assertEqual(client.wait_event("BLOCK_EXPORT_DELETED")["data"], {"id": "short"})
            client.close()
        self.qmp.execute("object-del", {"id": "m-again"})
        self.qmp.execute("chardev-remove", {"id": "again"})

    def test_goes_when_its_client_leaves(self):
        """With close-action delete the monitor goes with its client, and so does its chardev with its socket."""
        for name, last_words in (("tidy", b""), ("abrupt", b'{"execute": "query-')):
            path = self.add(name, **{"close-action": "delete"})
            client = self.client(path)
            self.assertEqual(client.execute("query-block"), [])
            self.assertIn(f"m-{name}", self.object_names())
            client.send_raw(last_words)
            client.close()
            wait.until(lambda name=name: f"m-{name}" not in self.object_names(), 10, "the end of the monitor")
            wait.until(lambda name=name: name not in self.chardevs(), 10, "the end of the chardev")
            self.assertFalse(os.path.exists(path))

    def test_pretty_while_in_use(self):
        """qom-set of pretty changes what the client that is there is sent next."""
        path = self.add("pretty")
        client = self.client(path)
        for pretty in (True, False):
            self.qmp.execute("qom-set", {"path": "m-pretty", "property": "pretty", "value": pretty})
            client.send({"execute": "query-block"})
            first = client.read_line().rstrip(b"\r")
            self.assertEqual(first, b"{" if pretty else b'{"return": []}')
            if pretty:
                rest = first + b"".join(client.read_line() for _ in range(3))
                self.assertEqual(json.loads(rest), {"return": []})
        client.close()
        self.qmp.execute("object-del", {"id": "m-pretty"})
        self.qmp.execute("chardev-remove", {"id": "pretty"})

    @settings.unlike_qemu("the client stays connected, and is never answered")
    def test_object_del_ends_its_client(self):
        """The client of a monitor that another one removes sees the end of its connection."""
        path = self.add("removed")
        client = self.client(path)
        self.qmp.execute("object-del", {"id": "m-removed"})
        with self.assertRaises(QmpClosed):
            client.read_line()
        self.assertNotIn("m-removed", self.object_names())
        self.assertIn("removed", self.chardevs())
        # Its chardev is free for another one.
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "m-next", "chardev": "removed"})
        self.assertEqual(self.client(path).execute("query-block"), [])
        self.qmp.execute("object-del", {"id": "m-next"})
        self.qmp.execute("chardev-remove", {"id": "removed"})

    @settings.unlike_qemu("the property changes and the monitor does not")
    def test_chardev_is_what_it_was_made_with(self):
        """The chardev cannot be set."""
        self.add("fixed")
        self.assertEqual(self.qmp.failure("qom-set", {"path": "m-fixed", "property": "chardev", "value": "other"})[1],
                         "Property 'monitor-qmp.chardev' is not writable")
        self.assertEqual(self.qmp.execute("qom-get", {"path": "m-fixed", "property": "chardev"}), "fixed")
        self.qmp.execute("object-del", {"id": "m-fixed"})
        self.qmp.execute("chardev-remove", {"id": "fixed"})


class QuitTest(ObjectsTest):
    """The end of the server, asked for over a monitor of object-add."""

    def test_quit_is_answered_behind_the_events(self):
        """Whichever monitor brings it; one that goes with its client does not get into the way."""
        client = self.client(self.add("last", **{"close-action": "delete"}))
        client.send({"execute": "quit"})
        self.assertIn("BLOCK_EXPORT_DELETED", client.read_line().decode())
        self.assertEqual(json.loads(client.read_line()), {"return": {}})
        self.assertEqual(self.daemon.wait_exit(10), 0)

    def tearDown(self):
        """The server has ended as it should."""
