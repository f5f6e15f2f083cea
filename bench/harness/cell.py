"""What a cell of the benchmark is: one workload, on which servers, in which condition, and the goals set for it."""

from dataclasses import dataclass

CPU = "server_cpu_us"
RATE = "per_second"

# The storage daemons in every configuration that may be their best, the other peers, and the control.
PLAIN = ("ours", "qsd", "qsd-uring", "qsd-threads", "nbdkit", "nbd-server", "control")
STORAGE = ("ours", "ours-epoll", *PLAIN[1:])
SINGLE = ("ours", "qsd", "nbdkit", "nbd-server")
# Not QSD with an I/O thread: it dies while a thousand clients take their leave.
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
    """One place of a table of growth: its label, what differs there, and how many times longer it is measured."""

    label: str
    args: tuple[str, ...] = ()
    image: str = ""
    longer: int = 1


@dataclass(frozen=True)
class Cell:
    """One workload. `unit` is what CPU and rate are counted per; `primary` is the metric that ranks the servers."""

    name: str
    title: str
    kind: str = "load"
    args: tuple[str, ...] = ()
    image: str = "dense"
    condition: str = "cached"
    tcp: bool = False
    tls: str = ""
    pin: bool = True
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
        """How many measurements one round has."""
        return len(self.servers) * (sum(point.longer for point in self.points) or 1)


def no_slower_tail() -> Goal:
    """At a depth of 32, 99 of 100 operations are answered as soon as by any peer."""
    return Goal("peers", 1, "p99_us")


def epoll_keeps_up(metric: str = CPU) -> Goal:
    """On cached work epoll costs at most a quarter more than io_uring."""
    return Goal("ours", 1.25, metric, subject="ours-epoll")


def less_a_fifth(goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
    """The same goals, a fifth weaker: loopback TCP costs every server the same on top."""
    return tuple(goal if goal.peer == "control" or goal.metric == "p99_us" else
                 Goal(goal.peer, goal.limit * (0.8 if goal.at_least else 1.2), goal.metric, goal.at_least)
                 for goal in goals if goal.subject != "ours-epoll")
