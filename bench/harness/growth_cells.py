"""The cost of growth: CPU per operation as connections or image sizes grow, one table each."""

from harness.cell import Cell, GROWTH, Point, READ_4K

POINT = "at:"


def point_metric(point: Point) -> str:
    """The name under which a point's CPU per operation stands among the values."""
    return POINT + point.label


# The same depth on every connection, so that a batch is as large everywhere: only the number of them grows. With many,
# the replies that wait in the sockets when the measuring begins and ends must be few beside those that are counted.
CONNECTIONS = tuple(Point(f"{count:,}", (f"--connections={count}",), longer=longer)
                    for count, longer in ((1, 1), (10, 1), (100, 1), (1000, 2), (10_000, 6)))
SIZES = tuple(Point(f"{size[:-1]} {size[-1]}iB", image=f"empty-{size}") for size in ("1G", "64G", "1T", "16T"))

GROWTH_CELLS = (
    Cell("grow-connections", "4 KiB random read, QD 8 on each connection: CPU per operation by number of connections",
         kind="growth", args=(*READ_4K, "--depth=8"), servers=GROWTH, points=CONNECTIONS,
         primary=point_metric(CONNECTIONS[-1])),
    Cell("grow-size", "4 KiB random read, QD 32, sparse image: CPU per operation by the image's size",
         kind="growth", args=(*READ_4K, "--depth=32", "--check-every=0", "--allow-zeroes"), image="empty-1G",
         condition="as-is", servers=GROWTH, points=SIZES, primary=point_metric(SIZES[-1])),
)
