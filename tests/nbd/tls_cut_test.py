"""Thousands of clients that disconnect in the middle of the TLS handshake."""

import socket
import ssl
import struct
import unittest

from lib import nbd_raw, settings, wait
from lib.nbd_wire import *
from lib.tls import TlsTest

RECORD_HEADER_BYTES = 5
WAYS = ("close", "reset", "half-close")


def records(data):
    """The TLS records that the bytes are."""
    found = []
    while data:
        (length,) = struct.unpack(">H", data[3:RECORD_HEADER_BYTES])
        found.append(data[:RECORD_HEADER_BYTES + length])
        data = data[RECORD_HEADER_BYTES + length:]
    return found


class HandshakeByRecords:
    """A client's TLS handshake over an acknowledged connection, that sends one record at a time."""

    def __init__(self, connection, context):
        self.connection = connection
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.waiting = []
        self.sent = 0
        self.done = False

    def send_record(self):
        """Sends the next record, after receiving what it takes to make it; False when there is none any more."""
        while not self.waiting and not self.done:
            self._go_on()
        if not self.waiting:
            return False
        self.connection.send(self.waiting.pop(0))
        self.sent += 1
        return True

    def _go_on(self):
        try:
            self.session.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        self.waiting = records(self.outgoing.read())
        if self.done or self.waiting:
            return
        received = self.connection.socket.recv(65536)
        if not received:
            raise nbd_raw.Closed("in the TLS handshake")
        self.incoming.write(received)

    def send_part(self):
        """Sends the first half of the next record."""
        if self.waiting:
            self.connection.send(self.waiting[0][:len(self.waiting[0]) // 2])


def leave(connection, way):
    """Ends a connection in that way."""
    if way == "close":
        connection.close()
    elif way == "reset":
        connection.reset()
    else:
        connection.socket.shutdown(socket.SHUT_WR)
        try:
            while connection.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        connection.close()


class CutTlsTest(TlsTest):
    """What both classes need."""

    def acknowledged_over(self, tcp):
        """A raw connection whose STARTTLS was acknowledged."""
        if not tcp:
            connection = nbd_raw.Connection(self.daemon.connect_nbd(), tls_required=True)
        else:
            plain = socket.create_connection(("127.0.0.1", self.port), settings.seconds(10))
            connection = nbd_raw.Connection(plain, tls_required=True)
        self.assertEqual(connection.option_result(OPT_STARTTLS), REP_ACK)
        return connection

    def contexts(self):
        """Clients of both versions."""
        made = []
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context()
            context.maximum_version = context.minimum_version = version
            made.append(context)
        return made

    def served(self, handshake):
        """The connection, when its handshake is through and it has chosen the export."""
        while handshake.send_record():
            pass
        session, connection = handshake.session, handshake.connection
        session.write(nbd_raw.option_bytes(OPT_GO, nbd_raw.info_bytes("disk")))
        connection.send(handshake.outgoing.read())
        answer = b""
        acknowledged = struct.pack(">QIII", OPTION_REPLY_MAGIC, OPT_GO, REP_ACK, 0)
        while not answer.endswith(acknowledged):
            try:
                answer += session.read(4096)
            except ssl.SSLWantReadError:
                received = connection.socket.recv(65536)
                self.assertNotEqual(received, b"", answer)
                handshake.incoming.write(received)
        return connection

    def assert_nothing_left(self, before):
        """A client is served, and there are as many sockets as before."""
        self.served(HandshakeByRecords(self.acknowledged_over(False), self.context())).close()
        wait.until(lambda: self.daemon.open_sockets() <= before, 20, "all connections to be gone")


class CutAfterRecordsTest(CutTlsTest):
    """The end after each record of the handshake, in each way that a connection can end."""

    def places(self, context):
        """How many records a client sends until it has shaken hands."""
        connection = self.acknowledged_over(False)
        handshake = HandshakeByRecords(connection, context)
        while handshake.send_record():
            pass
        connection.close()
        return handshake.sent

    def test_every_record(self):
        """Nothing is left of clients that leave after any record, or in the middle of the next, and others get in."""
        contexts = [(context, self.places(context)) for context in self.contexts()]
        plan = [(context, place, way, tcp, part) for context, count in contexts for place in range(count + 1)
                for way in WAYS for tcp in (False, True) for part in (False, True)]
        before, rss = self.daemon.open_sockets(), 0
        count = settings.repetitions(len(plan), 10_000)
        for number in range(count):
            context, place, way, tcp, part = plan[number % len(plan)]
            connection = self.acknowledged_over(tcp)
            handshake = HandshakeByRecords(connection, context)
            for _ in range(place):
                self.assertTrue(handshake.send_record())
            if part:
                handshake.send_part()
            leave(connection, way)
            if number == count // 2:
                rss = self.daemon.rss()
        self.assert_nothing_left(before)
        if not settings.sanitized():
            self.assertLess(self.daemon.rss() - rss, 2 << 20)

    def test_no_farewell(self):
        """The same after the handshake: clients that say no good-bye of TLS, in either phase of the protocol."""
        before = self.daemon.open_sockets()
        for number in range(settings.repetitions(24, 1_000)):
            connection = self.starttls()
            if number % 2 == 0:
                connection.go("disk")
            if number % 4 < 2:
                # Without the layer that would say good-bye.
                connection.socket = socket.socket(fileno=connection.socket.detach())
                connection.socket.settimeout(settings.seconds(10))
            leave(connection, WAYS[number % len(WAYS)])
        self.assert_nothing_left(before)


class LimitTlsTest(CutTlsTest):
    """The limit of connections, reached while others are in their TLS handshake."""

    nbd_server = "tls-creds=tls0,max-connections=2"

    def test_failure_at_the_limit(self):
        """Of three that shake hands the first fails; the others are served, and the next when one of them leaves."""
        before = self.daemon.open_sockets()
        contexts = self.contexts()
        for number in range(settings.repetitions(30, 1_000)):
            tcp = number % 2 == 0
            context = contexts[number // 2 % 2]
            three = [HandshakeByRecords(self.acknowledged_over(tcp), context) for _ in range(3)]
            for handshake in three:
                self.assertTrue(handshake.send_record())
            first, *others = three
            if number % 4 == 3:
                first.connection.send(b"garbage instead of a record")
            leave(first.connection, WAYS[number % len(WAYS)])
            served = [self.served(handshake) for handshake in others]
            waiting = self.daemon.connect_nbd()
            served[0].close()
            last = nbd_raw.Connection(waiting, tls_required=True)
            self.assertEqual(last.option_result(OPT_STARTTLS), REP_ACK)
            for connection in (served[1], last):
                connection.close()
        self.assert_nothing_left(before)


if __name__ == "__main__":
    unittest.main()
