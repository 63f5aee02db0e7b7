"""From the bytes of a request to its fields: JSON in UTF-8, and what of it is ignored."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.images import MOST_CHARACTERS, NEVER_READ, WITHOUT_EFFECT, GenerateRequest
from hadis_router.http.notations import as_documented, values_in

FORM, JSON = "multipart/form-data", "application/json"
_MOST_NAMED, _LONGEST_NAME, _LONGEST_MESSAGE = 16, 64, 300
_OBJECT = TypeAdapter(dict[str, Any], config=ConfigDict(cache_strings="keys"))
_SMALL_BYTES = 65_536
_MOST_BRACKETS = 2 * MOST_CHARACTERS + 1_000
"""A prompt and a negative one may be nothing else. To read as many lists as a body can hold would take 0.5 s."""
_MOST_STRINGS = 2_000
"""Names and texts in a body: every field has one name, and lists of strings mean nothing here."""
_Request = TypeVar("_Request", bound=GenerateRequest)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def media_type_of(header: str) -> str:
    """Return a content-type without its parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def check_encoding(header: str) -> None:
    """Raise ServeError 415 for a compressed body: what it holds may be of any size."""
    if header.strip().lower() not in ("", "identity"):
        raise _unsupported(f"content-encoding is {header[:_LONGEST_NAME]!r}; send the body uncompressed")


def check_edit_type(header: str) -> None:
    """Raise ServeError 415 unless a body is declared as a form or as JSON."""
    if media_type_of(header) not in (FORM, JSON):
        raise _unsupported(f"content-type is {header[:_LONGEST_NAME]!r}; send {FORM} or {JSON}")


def check_content_type(header: str) -> None:
    """Raise ServeError 415 unless a body is declared as JSON; a charset beside that means nothing (RFC 8259, 11)."""
    if (media_type := media_type_of(header)) != JSON:
        raise _unsupported(f"content-type is {media_type[:_LONGEST_NAME]!r}; send {JSON}")


def read_request(body: bytes, strict: bool = False) -> GenerateRequest:
    """Return the request for images from text in a body; raise ServeError 400."""
    return validated(GenerateRequest, read_fields(body), strict)


def read_fields(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON body; null means the default, as in OpenAI's API. Raise ServeError 400."""
    return {name: value for name, value in _document(body).items() if value is not None}


def validated(kind: type[_Request], fields: Mapping[str, Any], strict: bool) -> _Request:
    """Return the request that fields are; raise ServeError 400 that names the field.

    `strict` refuses unknown fields, and wrong values of those that are never read; both are ignored otherwise. Nor
    does it take values in other notations than OpenAI's.
    """
    if not strict:
        fields = as_documented(fields, _values_of(kind))
    unknown = [name for name in fields if name not in kind.model_fields]
    if strict and unknown:
        raise invalid(unknown[0], f"unknown field{_hint(unknown[0], kind)}")
    try:
        request = kind.read({name: value for name, value in fields.items() if strict or name not in NEVER_READ})
    except ValueError as error:
        name, _, words = str(error).splitlines()[0].partition(": ")
        raise invalid(name, words) from None
    return request.ignoring(_ignored(request, fields, unknown))


@cache
def _values_of(kind: type[GenerateRequest]) -> frozenset[str]:
    return values_in(kind.model_fields)


def _document(body: bytes) -> dict[str, Any]:
    if len(body) > _SMALL_BYTES and body.count(b"[") + body.count(b"{") > _MOST_BRACKETS:
        raise ServeError(400, "invalid_json", f"the body has more than {_MOST_BRACKETS} brackets")
    # Those within texts are escaped. What is escaped at a text's end hides one of its two, never both.
    if body.count(b'"') - body.count(b'\\"') > 2 * _MOST_STRINGS:
        raise ServeError(400, "invalid_json", f"the body has more than {_MOST_STRINGS} names and texts")
    try:
        return _OBJECT.validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
    if fault["type"] == "json_invalid":
        words = f"the body is not JSON in UTF-8: {fault['msg'].removeprefix('Invalid JSON: ')}"
    else:
        words = 'the body must be a JSON object such as {"prompt": "a red circle"}'
    raise ServeError(400, "invalid_json", words)


def _ignored(request: GenerateRequest, fields: Mapping[str, Any], unknown: list[str]) -> tuple[str, ...]:
    """Return the names of fields that have no effect, as a header can hold them."""
    known = [name for name in WITHOUT_EFFECT if name in fields and name not in unknown]
    names = unknown + [name for name in known if WITHOUT_EFFECT[name](request)]
    shown = [_UNSAFE.sub("?", name[:_LONGEST_NAME]) for name in names[:_MOST_NAMED]]
    return (*shown, "...") if len(names) > _MOST_NAMED else tuple(shown)


def _hint(name: str, kind: type[GenerateRequest]) -> str:
    near = difflib.get_close_matches(name[:_LONGEST_NAME], sorted(kind.model_fields), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def invalid(name: str, words: str) -> ServeError:
    """Return the refusal of a field, whose name the client may have made long."""
    shown = name[:_LONGEST_NAME]
    return ServeError(400, "invalid_value", f"{shown}: {words}"[:_LONGEST_MESSAGE], param=shown)


def _unsupported(message: str) -> ServeError:
    return ServeError(415, "invalid_content_type", message)
