"""Parameters of a method: one frozen pydantic model gives form, command, recipe and docs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MethodParams", "live_fields", "option"]


class MethodParams(BaseModel):
    """Base of every method's parameters.

    Subclasses name the method by a ``method: Literal["name"]`` field; their docstring's first line is the summary,
    the rest the description with its source. Field types: int, float, bool, str, Literal, Path, tuples of them,
    each optionally None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


def option(
    default: Any,
    title: str,
    description: str,
    *,
    unit: str = "",
    live: bool = False,
    advanced: bool = False,
    **bounds: Any,
) -> Any:
    """Describe one parameter.

    Parameters
    ----------
    default : object
    title, description : str
        Label and tooltip.
    unit : str
        Shown behind the value.
    live : bool
        Whether it may change while the method runs.
    advanced : bool
        Whether the form hides it until asked.
    **bounds
        ``ge``, ``gt``, ``le``, ``lt``, ``multiple_of``, as pydantic takes them.
    """
    extra: dict[str, Any] = {"unit": unit, "live": live, "advanced": advanced}
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


def live_fields(model: type[BaseModel]) -> frozenset[str]:
    """Names of the parameters that may change while the method runs."""
    return frozenset(
        name
        for name, info in model.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("live")
    )
