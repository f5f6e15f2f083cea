"""Builders of event messages, in the files of their module."""

from __future__ import annotations

from ..model import Event
from . import cpp


def _signature(event: Event) -> str:
    parameter = f"const {cpp.type_name(event.data.name)}& data" if event.data else ""
    return f"json::Value {cpp.snake(event.name)}_event({parameter})"


def event_declaration(event: Event) -> str:
    summary = event.doc.summary if event.doc else ""
    return cpp.comment(f"The event {event.name}, without a timestamp. {summary}") + _signature(event) + ";\n"


def event_definition(event: Event) -> str:
    data = "encode(data)" if event.data else "std::nullopt"
    return f'\n{_signature(event)} {{ return make_event("{event.name}", {data}); }}\n'
