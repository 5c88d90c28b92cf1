"""What a recipe file may say: every value of the kind that its field has, and nothing that sends data away.

May depend on `config`, `training.arguments` and `errors`.
"""

import math
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from hf_fracture.config import RecipeConfig
from hf_fracture.errors import UsageError
from hf_fracture.training.arguments import FractureTrainingArguments

_PLAIN: Final = (bool, int, float, str, NoneType)
_KIND_NAMES: Final = {bool: "true or false", int: "an integer", float: "a number", str: "text", NoneType: "nothing"}
_SENDING: Final = ("push_to_hub", "hub_model_id", "hub_token", "report_to")


def check_field_kinds(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the fields of a recipe file with numbers in the form of numbers.

    YAML takes `1e-4` for text; it counts as the number that it means.

    Args:
        content: Of the file; all names are known.
        where: The file's name, for messages.

    Raises:
        UsageError: If a value is of another kind than its field, not finite, or would send data away: what leaves the
            machine is asked for by a flag, not by a file that may be somebody else's.
    """
    hints = {**get_type_hints(FractureTrainingArguments), **get_type_hints(RecipeConfig)}
    for name in _SENDING:
        if content.get(name) not in (None, False, "none", "None", [], ""):
            raise UsageError(f"Expected no '{name}' in '{where}': it sends data away. Pass it as a flag, --{name}.")
    return {name: _read_value(name, value, hints[name], where) for name, value in content.items()}


def _read_value(name: str, value: Any, hint: Any, where: str) -> Any:
    kinds = _list_kinds(hint)
    if not kinds:
        return value
    if float in kinds and str not in kinds and isinstance(value, str):
        value = _read_number(value)
    if get_origin(hint) is Literal:
        fits, wanted = value in get_args(hint), " or ".join(map(repr, get_args(hint)))
    else:
        allowed = (*kinds, int) if float in kinds else kinds
        fits = isinstance(value, allowed) and (bool in kinds or not isinstance(value, bool))
        wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError(f"Expected {name} in '{where}' to be {wanted}, got {repr(value)[:60]}.")
    return value


def _list_kinds(hint: Any) -> tuple[Any, ...]:
    """Return the plain kinds that a field takes; empty where it takes others too, which upstream checks."""
    if get_origin(hint) is Literal:
        return (str,)
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return kinds if all(kind in _PLAIN for kind in kinds) else ()


def _read_number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
