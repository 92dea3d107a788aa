"""Parameters as text: the words of the command line, made from the Params models."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from splatom.data import MethodParams

__all__ = ["fault_text", "field_kind", "from_text", "option_name", "to_text"]


def option_name(field: str) -> str:
    """Return the option of a field: ``hold_out`` is ``--hold-out``."""
    return "--" + field.replace("_", "-")


def field_kind(annotation: Any) -> tuple[Any, bool]:
    """Return a field's type without None, and whether it may be None.

    The type is one of int, float, bool, str, Path, a Literal, or a tuple type.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(rest) < len(get_args(annotation))
        return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), optional  # noqa: UP007 - made at run time
    return annotation, False


def from_text(annotation: Any, text: str) -> Any:
    """Turn the text of an option into a value that pydantic can validate.

    ``auto`` and ``none`` stand for None where None is allowed; a tuple is a list with commas.
    """
    kind, optional = field_kind(annotation)
    takes = get_args(kind) if get_origin(kind) is Literal else ()
    if optional and text.lower() in ("auto", "none") and text not in takes:
        return None
    if get_origin(kind) is tuple or kind is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def to_text(value: Any) -> str:
    """Return a value as :func:`from_text` reads it."""
    if value is None:
        return "auto"
    if isinstance(value, tuple | list):
        return ",".join(to_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def fault_text(exc: ValidationError) -> str:
    """Return a validation error in one line, with the option's name."""
    first = exc.errors()[0]
    place = option_name(str(first["loc"][0])) if first["loc"] else "parameters"
    return f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]} (given: {first.get('input')!r})"


def changed_fields(params: MethodParams) -> dict[str, Any]:
    """Return the fields that differ from the defaults, as JSON values, without the method's name."""
    default = type(params)().model_dump(mode="json")
    return {k: v for k, v in params.model_dump(mode="json").items() if v != default[k] and k != "method"}
