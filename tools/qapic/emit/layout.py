"""In which order types are defined, and where a Box breaks a circle of types that contain each other by value."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import SchemaError
from ..model import AlternateType, ArrayType, Command, Entity, Event, ModuleInfo, ObjectType, Schema, Type, UnionType
from .cpp import innermost, is_composite

# Which slots are boxed first when there is a circle.
_WEAKEST_FIRST = ("alternative", "optional", "branch")


@dataclass(frozen=True)
class Slot:
    """A place in a type where another one is held."""

    owner: str
    name: str
    kind: str  # direct, optional, branch, alternative, list
    target: str


@dataclass
class Layout:
    """For one schema: the composite types of each module in an order C++ accepts, and the boxed slots."""

    order: dict[str, list[Entity]] = field(default_factory=dict)
    boxed: set[tuple[str, str]] = field(default_factory=set)
    circular_lists: set[tuple[str, str]] = field(default_factory=set)
    uses: dict[str, list[str]] = field(default_factory=dict)  # module -> modules whose header it needs

    def is_boxed(self, owner: Entity, name: str) -> bool:
        return (owner.name, name) in self.boxed


def data_of(entity: Entity) -> ObjectType | None:
    """The arguments of a command, the data of an event."""
    return entity.arguments if isinstance(entity, Command) else entity.data if isinstance(entity, Event) else None


def composites(module: ModuleInfo) -> list[Entity]:
    """The types of a module that become structs, those of arguments and events included."""
    found: list[Entity] = []
    for entity in module.entities:
        data = data_of(entity)
        if data and data.implicit:
            found.append(data)
        elif isinstance(entity, (ObjectType, AlternateType)):
            found.append(entity)
    return found


def plan(schema: Schema) -> Layout:
    layout = Layout()
    types = {entity.name: entity for module in schema.modules for entity in composites(module)}
    slots = {name: _slots(entity) for name, entity in types.items()}
    _box_circles(types, slots, layout)
    for module in schema.modules:
        names = [entity.name for entity in composites(module)]
        layout.order[module.name] = [types[name] for name in _definition_order(names, slots, layout)]
        layout.uses[module.name] = _used_modules(module)
    _no_circle_of_modules(schema, layout)
    return layout


def _slot(owner: Entity, name: str, kind: str, type_: Type) -> list[Slot]:
    target = innermost(type_)
    if not is_composite(target):
        return []
    return [Slot(owner.name, name, "list" if isinstance(type_, ArrayType) else kind, target.name)]


def _slots(entity: Entity) -> list[Slot]:
    found: list[Slot] = []
    if isinstance(entity, ObjectType):
        for member in entity.all_members():
            found += _slot(entity, member.name, "optional" if member.optional else "direct", member.type)
    if isinstance(entity, (UnionType, AlternateType)):
        kind = "branch" if isinstance(entity, UnionType) else "alternative"
        for branch in entity.branches:
            if branch.type is not None:
                found += _slot(entity, "branch " + branch.name, kind, branch.type)
    return found


def _box_circles(types: dict[str, Entity], slots: dict[str, list[Slot]], layout: Layout) -> None:
    by_value = {name: [slot for slot in owned if slot.kind != "list"] for name, owned in slots.items()}
    for kind in _WEAKEST_FIRST:
        component = _components(by_value)
        for name, owned in by_value.items():
            circular = [s for s in owned if s.kind == kind and component[s.target] == component[name]]
            layout.boxed.update((slot.owner, slot.name) for slot in circular)
            by_value[name] = [slot for slot in owned if slot not in circular]
    component = _components(by_value)
    for name, owned in by_value.items():
        for slot in owned:
            if component[slot.target] == component[name]:
                entity = types[name]
                message = f"member '{slot.name}' makes the type contain itself without end"
                raise SchemaError(entity.location, message, entity.context)
    component = _components(slots)
    for name, owned in slots.items():
        for slot in owned:
            if slot.kind == "list" and component[slot.target] == component[name]:
                layout.circular_lists.add((slot.owner, slot.name))


def _components(edges: dict[str, list[Slot]]) -> dict[str, int]:
    """The number of the circle each type is in (Tarjan's algorithm, without recursion). A type in no circle is alone
    with its number; an edge between equal numbers is therefore part of a circle."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    result: dict[str, int] = {}
    stack: list[str] = []
    for root in edges:
        work: list[tuple[str, int]] = [(root, 0)] if root not in index else []
        while work:
            name, position = work.pop()
            if position == 0:
                index[name] = low[name] = len(index)
                stack.append(name)
            targets = [slot.target for slot in edges[name]]
            descended = False
            for next_position in range(position, len(targets)):
                target = targets[next_position]
                if target not in index:
                    work += [(name, next_position + 1), (target, 0)]
                    descended = True
                    break
                if target not in result:
                    low[name] = min(low[name], index[target])
            if descended:
                continue
            if low[name] == index[name]:
                while True:
                    member = stack.pop()
                    result[member] = index[name]
                    if member == name:
                        break
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[name])
    return result


def _definition_order(names: list[str], slots: dict[str, list[Slot]], layout: Layout) -> list[str]:
    """What is held by value comes first; boxed and circular ones are only declared before."""
    known = set(names)
    loose = layout.boxed | layout.circular_lists
    ordered: list[str] = []
    done: set[str] = set()
    for root in names:
        work: list[tuple[str, bool]] = [(root, False)]
        while work:
            name, finished = work.pop()
            if finished:
                ordered.append(name)
            elif name not in done:
                done.add(name)
                work.append((name, True))
                needed = [slot for slot in slots[name] if slot.target in known and (name, slot.name) not in loose]
                work += [(slot.target, False) for slot in reversed(needed)]
    return ordered


def _used_modules(module: ModuleInfo) -> list[str]:
    used: set[str] = set()

    def use(type_: Type | None) -> None:
        if type_ is not None:
            used.add(getattr(innermost(type_), "module", ""))

    for entity in composites(module):
        if isinstance(entity, ObjectType):
            for member in entity.all_members():
                use(member.type)
        for branch in getattr(entity, "branches", []):
            use(branch.type)
    for entity in module.entities:
        use(data_of(entity))
    return sorted(used - {"", module.name})


def _no_circle_of_modules(schema: Schema, layout: Layout) -> None:
    state: dict[str, str] = {}

    def walk(name: str, path: tuple[str, ...]) -> None:
        if state.get(name) == "open":
            circle = " -> ".join(path[path.index(name) :] + (name,))
            module = next(module for module in schema.modules if module.name == name)
            location = module.entities[0].location
            raise SchemaError(location, f"files need each other's types in a circle: {circle}")
        if name not in state:
            state[name] = "open"
            for used in layout.uses[name]:
                walk(used, path + (name,))
            state[name] = "closed"

    for module in schema.modules:
        walk(module.name, ())
