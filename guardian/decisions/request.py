"""From the JSON of a request to a typed record, or to one error that names all that is wrong with it.

Owns reading and refusing. What a request may hold is said by the structs of the modules beside this one, whose
fields carry their expectation as a ``Meta`` description.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from guardian.errors import Problem, RequestError

T = TypeVar("T", bound=Struct)

BODY: Final = "(body)"

_WORDS: Final = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
}


def decode(kind: type[T], body: bytes | bytearray | dict[str, Any]) -> T:
    """The request that a JSON body describes.

    Keys that the struct does not know are ignored, unless it forbids them: then a misspelt one is a problem. Errors
    say what stood there by its type and length only, never by its content.

    Raises:
        RequestError: the body is not JSON or not usable; every problem is listed.
    """
    tree = _parsed(body) if isinstance(body, bytes | bytearray) else body
    problems: list[Problem] = []
    request = _struct(kind, tree, "", problems)
    if problems or request is None:
        raise RequestError(problems)
    return request


def _parsed(body: bytes | bytearray) -> Any:
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise RequestError([Problem(BODY, "JSON in UTF-8", "bytes that are not UTF-8")]) from None
    except RecursionError:
        raise RequestError([Problem(BODY, "JSON", "nesting without end")]) from None
    except msgspec.MsgspecError:
        raise RequestError([Problem(BODY, "JSON", f"{len(body)} bytes that are not")]) from None


def _struct(kind: type[T], tree: Any, path: str, problems: list[Problem]) -> T | None:
    if not isinstance(tree, dict):
        problems.append(Problem(path.rstrip(".") or BODY, "an object", _shown(tree)))
        return None
    hints = get_type_hints(kind, include_extras=True)
    before = len(problems)
    values: dict[str, Any] = {}
    known: list[str] = []
    for info in msgspec.structs.fields(kind):
        key = info.encode_name
        known.append(key)
        if key in tree:
            values[info.name] = _value(hints[info.name], tree[key], f"{path}{key}", problems)
        elif info.required:
            problems.append(Problem(f"{path}{key}", _expected(hints[info.name]), "nothing"))
    if kind.__struct_config__.forbid_unknown_fields:
        expected = f"one of {', '.join(known)}"
        problems.extend(
            Problem(f"{path}{_cut(key)}", expected, "an unknown key") for key in tree if key not in known
        )
    return kind(**values) if len(problems) == before else None


def _value(hint: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    nested = _nested(hint)
    if nested is not None and not (value is None and type(None) in get_args(hint)):
        return _struct(nested, value, f"{path}.", problems)
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        problems.append(Problem(path, _expected(hint), _shown(value)))
        return None


def _nested(hint: Any) -> type[Struct] | None:
    for option in (hint, *get_args(hint)):
        if isinstance(option, type) and issubclass(option, Struct):
            return option
    return None


def _expected(hint: Any) -> str:
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, Meta) and part.description:
            return part.description
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    for option in (hint, get_origin(hint), *get_args(hint)):
        if getattr(option, "__metadata__", ()) or get_origin(option) is Literal:
            return _expected(option)
        if option in _WORDS:
            return _WORDS[option]
    return "an object"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"the number {value:.6g}" if abs(value) < 1e15 else "a number"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, dict) else "null" if value is None else type(value).__name__


def _cut(key: str) -> str:
    return key if len(key) <= 60 else f"{key[:57]}..."
