"""No cycles of components: a header with its source file includes, in however many steps, nothing that includes it."""

import pathlib

from . import layers


def component_of(path):
    """What `foo.h` and `foo.cc` have in common."""
    return str(pathlib.PurePosixPath(path).with_suffix(""))


def includes_of_components(files):
    """For each component under src/ those that it includes, with one (path, line) of such an include."""
    present = {str(file.path) for file in files}
    graph = {}
    for file in files:
        if not file.is_cpp or file.source_folder is None or file.is_test:
            continue
        own = component_of(file.path)
        edges = graph.setdefault(own, {})
        for line, path in layers.includes(file):
            other = component_of(f"src/{path}")
            if f"src/{path}" in present and other != own:
                edges.setdefault(other, (file.path, line))
    return graph


def way_back(graph, start):
    """The shortest way from a component over others to itself, as a list that begins and ends with it; or None."""
    came_from = {start: None}
    queue = [start]
    for component in queue:
        for other in sorted(graph.get(component, ())):
            if other == start:
                way = [start]
                while component is not None:
                    way.append(component)
                    component = came_from[component]
                return way[::-1]
            if other not in came_from:
                came_from[other] = component
                queue.append(other)
    return None


def check(files, settings):
    graph = includes_of_components(files)
    findings = []
    reported = set()
    for component in sorted(graph):
        way = way_back(graph, component)
        if way is None or frozenset(way) in reported:
            continue
        reported.add(frozenset(way))
        path, line = graph[way[0]][way[1]]
        names = " -> ".join(name.removeprefix("src/") for name in way)
        findings.append(f"{path}:{line}: components include each other: {names}")
    return findings
