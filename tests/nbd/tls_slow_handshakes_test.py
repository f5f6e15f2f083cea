"""TLS handshakes that are slow or stop in the middle: they end at the deadline, and do not delay other clients."""

import socket
import ssl
import time
import unittest

from lib import daemon, nbd_raw, settings, wait
from lib.nbd_wire import *
from lib.tls import TlsTest


class SlowHandshakeTest(TlsTest):
    """Clients that do not get on with TLS, beside one that does."""

    @settings.since_qemu(10, 0, "no limit for a handshake")
    def test_every_stall_is_dropped(self):
        """Whoever stops somewhere in the handshake is dropped after 10 s; a good client meanwhile enters at once."""
        client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.context().wrap_bio(server, client, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            session.do_handshake()
        hello = client.read()
        began = time.monotonic()
        stalls = {"nothing": b"", "a byte": hello[:1], "a header": hello[:5], "half": hello[:len(hello) // 2],
                  "all but a byte": hello[:-1], "hello": hello}
        connections = {}
        for name, sent in stalls.items():
            connections[name] = self.acknowledged()
            connections[name].send(sent)
        dribble = connections["dribble"] = self.acknowledged()
        longest = 0.0
        sent = 0
        # The daemon's limit is 10 s however slowly it was built to run.
        while time.monotonic() - began < 8:
            dribble.send(hello[sent:sent + 1])
            sent += 1
            start = time.monotonic()
            self.starttls().go("disk")
            longest = max(longest, time.monotonic() - start)
            wait.until(lambda: time.monotonic() - start > 0.3, 5, "the next turn")
        self.assertLess(longest, settings.seconds(2))
        for name, connection in connections.items():
            connection.socket.settimeout(settings.seconds(10))
            try:
                while connection.socket.recv(4096):
                    pass
            except ConnectionError:
                pass
            took = time.monotonic() - began
            self.assertTrue(9 <= took <= settings.seconds(15), f"{name}: {took}")

    def test_list_beside_stuck_clients(self):
        """LIST is answered while 50 clients hold unfinished TLS handshakes and options, and none of them is dropped."""
        client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.context().wrap_bio(server, client, server_hostname="localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            session.do_handshake()
        hello = client.read()
        option = nbd_raw.option_bytes(OPT_INFO, nbd_raw.info_bytes("disk"))
        stuck = []
        for number in range(50):
            if number % 2:
                stuck.append(self.acknowledged())
                stuck[-1].send(hello[:number * len(hello) // 50])
            else:
                stuck.append(self.starttls())
                stuck[-1].send(option[:1 + number % (len(option) - 1)])
        for _ in range(3):
            began = time.monotonic()
            self.assertEqual(self.starttls().list(), [("disk", "")])
            self.assertLess(time.monotonic() - began, settings.seconds(2))
        for connection in stuck:
            connection.socket.setblocking(False)
            with self.assertRaises((BlockingIOError, ssl.SSLWantReadError)):
                connection.socket.recv(1)


if __name__ == "__main__":
    unittest.main()
