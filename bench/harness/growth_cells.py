"""Growth cells: CPU per operation for growing numbers of connections or image sizes, one table each."""

from harness.cell import Cell, GROWTH, Point, READ_4K

POINT = "at:"


def point_metric(point: Point) -> str:
    """The metric name of a point's CPU per operation."""
    return POINT + point.label


# The depth is the same on every connection, so that batches have the same size and only their number grows. With many
# connections, the replies that are in the sockets at the begin and end of the measurement must be few compared with the
# counted ones.
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
