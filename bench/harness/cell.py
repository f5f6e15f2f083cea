"""A cell of the benchmark: one workload, its servers, the condition of its image, and its goals."""

from dataclasses import dataclass

CPU = "server_cpu_us"
RATE = "per_second"

# The storage daemons in each configuration that may be the fastest, the other peers, and the control.
PLAIN = ("ours", "qsd", "qsd-uring", "qsd-threads", "nbdkit", "nbd-server", "control")
STORAGE = ("ours", "ours-epoll", *PLAIN[1:])
SINGLE = ("ours", "qsd", "nbdkit", "nbd-server")
# Without QSD with an I/O thread, which crashes when a thousand clients disconnect.
GROWTH = ("ours", "qsd", "control")

READ_4K = ("--workload=randread", "--block=4K")
WRITE_4K = ("--workload=randwrite", "--block=4K", "--span=64M")
READ_1M = ("--workload=seqread", "--block=1M", "--depth=4")
WRITE_1M = ("--workload=seqwrite", "--block=1M", "--depth=4", "--span=64M")


@dataclass(frozen=True)
class Goal:
    """`metric` of `subject` against `peer`: at most (or at least) `limit` times the peer's.

    Peers are servers by key; "qsd*" is the best configuration of QSD in the cell, "peers" every server that is neither
    ours nor the control, and "none" makes `limit` an absolute number. The subject "" is the first server of ours.
    """

    peer: str
    limit: float
    metric: str = CPU
    at_least: bool = False
    subject: str = ""


@dataclass(frozen=True)
class Point:
    """One point of a table of growth: its label, options of nbdload, image, and factor of the measuring time."""

    label: str
    args: tuple[str, ...] = ()
    image: str = ""
    longer: int = 1


@dataclass(frozen=True)
class Cell:
    """One workload. CPU and rate are per `unit`; `primary` is the metric that ranks the servers.

    `client_beside`: the client runs on the server's processor, which no other cell lets it.
    """

    name: str
    title: str
    kind: str = "load"
    args: tuple[str, ...] = ()
    image: str = "dense"
    condition: str = "cached"
    tcp: bool = False
    tls: str = ""
    pin: bool = True
    client_beside: bool = False
    unit: str = "op"
    control: str = "pread"
    servers: tuple[str, ...] = STORAGE
    primary: str = CPU
    goals: tuple[Goal, ...] = ()
    points: tuple[Point, ...] = ()
    longer: int = 1

    @property
    def images(self) -> list[str]:
        return list(dict.fromkeys(point.image or self.image for point in self.points)) or [self.image]

    @property
    def weight(self) -> int:
        """The number of measurements in one round."""
        return len(self.servers) * (sum(point.longer for point in self.points) or 1)


def no_slower_tail() -> Goal:
    """At a depth of 32, the 99th percentile of the latency is not higher than that of any peer."""
    return Goal("peers", 1, "p99_us")


def epoll_keeps_up(metric: str = CPU) -> Goal:
    """For cached data, epoll costs at most a quarter more CPU than io_uring."""
    return Goal("ours", 1.25, metric, subject="ours-epoll")


def less_a_fifth(goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
    """The same goals, a fifth weaker: loopback TCP adds the same cost to every server."""
    return tuple(goal if goal.peer == "control" or goal.metric == "p99_us" else
                 Goal(goal.peer, goal.limit * (0.8 if goal.at_least else 1.2), goal.metric, goal.at_least)
                 for goal in goals if goal.subject != "ours-epoll")
