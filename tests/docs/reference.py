"""The reference pages of docs/reference, taken from the code: `make reference` writes them, a test compares them.

Each page asks the code by the door that its users have: schemas of the CRDs, OpenAPI documents, a scrape, the settings'
classes and the command's own functions. So a page cannot say what the code does not.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, cast

import typer
import yaml
from fastapi import FastAPI
from hadis.cli import make_app
from hadis_operator import metrics as operator_metrics
from hadis_operator.settings import OperatorSettings
from hadis_router.settings import RouterSettings
from hadis_worker.app import create_app as create_worker
from hadis_worker.metrics import WorkerMetrics
from hadis_worker.settings import WorkerSettings
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from pydantic_settings import BaseSettings
from router_scrape import router_app, router_exposition

ROOT = Path(__file__).parents[2]
Schema = Mapping[str, Any]
_NOTE = "Written by `make reference` from the code; a test fails where the two differ."


def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return {"crds": crds(), "http": http(), "metrics": metrics(), "settings": settings(), "cli": cli()}


def _page(title: str, intro: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", f"{_NOTE} {intro}", *parts]) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in lines
    )


# Schemas, as CRDs, OpenAPI and settings have them


def _type(node: Schema) -> str:
    """Return a schema's type in a few words, with its bounds."""
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        return " or ".join(map(_type, options))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if isinstance(node.get("type"), list):
        return " or ".join(_type({**node, "type": kind}) for kind in node["type"] if kind != "null")
    kind = str(node.get("format") if node.get("format") == "path" else node.get("type", "any"))
    if kind == "array":
        return f"list of {_type(node.get('items', {}))}"
    if kind == "object" and isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    return ", ".join([kind, *_bounds(node)])


def _bounds(node: Schema) -> list[str]:
    """Return the bounds of a number in words; both dialects of exclusive ones are known."""
    low, high = (_bound(node, name) for name in ("minimum", "maximum"))
    if low and high and not low[1] and not high[1]:
        return [f"{low[0]:g} to {high[0]:g}"]
    signs = ((low, ">"), (high, "<"))
    return [f"{sign}{'' if bound[1] else '='} {bound[0]:g}" for bound, sign in signs if bound]


def _bound(node: Schema, name: str) -> tuple[float, bool] | None:
    """Return a bound and whether it is exclusive; None where there is none, or one that only a machine word sets."""
    exclusive = node.get(f"exclusive{name.capitalize()}")
    value = node.get(name) if isinstance(exclusive, bool | None) else exclusive
    return None if value is None or abs(value) >= 2**53 else (value, exclusive is not None and exclusive is not False)


def _default(node: Schema, required: bool) -> str:
    if required:
        return "required"
    value = node.get("default")
    return "" if value in (None, "", {}, []) else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _fields(node: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield (path, type, default, description) of every field below a schema, items of lists and maps included."""
    for name, part in node.get("properties", {}).items():
        inner, at = part, f"{path}{name}"
        inner = _present(inner)
        while inner.get("type") == "array" and isinstance(inner.get("items"), dict):
            inner, at = inner["items"], f"{at}[]"
        values = inner.get("additionalProperties")
        if isinstance(values, dict) and "properties" in values:
            inner, at = values, f"{at}.*"
        text = part.get("description", "")
        yield f"`{at}`", _type(part), _default(part, name in node.get("required", [])), text
        yield from _fields(inner, f"{at}.")


def _present(node: Schema) -> Schema:
    """Return the schema of a field that may be null for when it is not."""
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    return options[0] if len(options) == 1 else node


def crds() -> str:
    """Return the page of both custom resources, status included."""
    parts = []
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        spec = yaml.safe_load(file.read_text("utf-8"))["spec"]
        version = spec["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        names = ", ".join([spec["names"]["plural"], *spec["names"]["shortNames"]])
        parts.append(f"## {spec['names']['kind']}\n\n{schema['description']}")
        parts.append(f"`apiVersion: {spec['group']}/{version['name']}`; kubectl knows it as {names}.")
        for half in ("spec", "status"):
            if half in schema["properties"]:
                rows = _fields(schema["properties"][half], f"{half}.")
                parts.append(_table(_FIELDS, rows))
        if rules := list(_rules(schema, "")):
            parts.append("The API server also checks:\n\n" + "\n".join(rules))
    return _page("Custom resources", "`kubectl explain` says the same in a cluster.", *parts)


def _rules(node: Schema, path: str) -> Iterator[str]:
    for rule in node.get("x-kubernetes-validations", []):
        yield f"- `{path}`: {rule['message']}"
    for name, part in node.get("properties", {}).items():
        yield from _rules(part, f"{path}.{name}".lstrip("."))
    for inner, at in ((node.get("items"), "[]"), (node.get("additionalProperties"), ".*")):
        if isinstance(inner, dict):
            yield from _rules(inner, path + at)


# HTTP

_FIELDS = ("field", "type", "default", "description")
_UNDESCRIBED = [("`200`", "Successful Response")]
"""What FastAPI says of a route that declares no answers."""


def http() -> str:
    """Return the page of the router's and the worker's routes."""
    worker = create_worker(cast(Any, None))  # its routes are described, none is called
    return _page(
        "HTTP API",
        "What the router's page asks for beside these routes is its own and may change.",
        "## Router\n\nWhat applications talk to.",
        *_routes(router_app()),
        "## Worker\n\nWhat routers talk to; workers take requests from nobody else.",
        *_routes(worker),
    )


def _routes(app: FastAPI) -> Iterator[str]:
    document = app.openapi()
    models = document.get("components", {}).get("schemas", {})
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield f"### {method.upper()} {path}\n\n{route.get('description', '')}".rstrip()
            for media, content in route.get("requestBody", {}).get("content", {}).items():
                schema = _resolved(content["schema"], models)
                for i, kind in enumerate(schema.get("anyOf", [schema])):
                    rows = _fields(_resolved(kind, models), "")
                    yield f"{'Or b' if i else 'B'}ody: `{media}`.\n\n" + _table(_FIELDS, rows)
            answers = [(f"`{code}`", answer["description"]) for code, answer in sorted(route["responses"].items())]
            if answers != _UNDESCRIBED:
                yield _table(("status", "meaning"), answers)
            yield from _answer_bodies(route["responses"], models)


def _answer_bodies(responses: Mapping[str, Any], models: Schema) -> Iterator[str]:
    """Yield the fields of answers that are no errors: those have one form, and messages."""
    for code, answer in sorted(responses.items()):
        schema = _resolved(answer.get("content", {}).get("application/json", {}).get("schema", {}), models)
        if code.startswith("2") and (rows := list(_fields(schema, ""))):
            described = [(field, kind, text) for field, kind, _, text in rows]
            yield f"Answer with `{code}`: `application/json`.\n\n" + _table(("field", "type", "description"), described)


def _resolved(node: Any, models: Schema) -> Any:
    """Return a schema with its references replaced by what they point at."""
    if isinstance(node, dict):
        known = {**models, **node.get("$defs", {})}
        if "$ref" in node:
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return _resolved(known[node["$ref"].rsplit("/", 1)[1]], known) | beside
        return {key: _resolved(value, known) for key, value in node.items() if key != "$defs"}
    return [_resolved(value, models) for value in node] if isinstance(node, list) else node


# Metrics

_METRIC = ("name", "type", "labels", "help")
_PORTS = "The router and the workers serve them under `/metrics` of their port, the operator on a port of its own."


def metrics() -> str:
    """Return the page of every metric of the three components."""
    worker = vars(WorkerMetrics(cast(Any, None))).values()  # the GPU is read at a scrape, not here
    return _page(
        "Metrics",
        _PORTS,
        "## Router\n\n" + _table(_METRIC, _scraped(asyncio.run(router_exposition()))),
        "## Worker\n\n" + _table(_METRIC, _declared(worker)),
        "## Operator\n\n" + _table(_METRIC, _declared(vars(operator_metrics).values())),
    )


def _metric(name: str, kind: str, labels: Iterable[str], text: str) -> tuple[str, str, str, str]:
    full = f"{name}_total" if kind == "counter" else name
    return f"`{full}`", kind, ", ".join(f"`{label}`" for label in labels), text


def _declared(values: Iterable[object]) -> list[tuple[str, str, str, str]]:
    metrics = [value for value in values if isinstance(value, MetricWrapperBase)]
    # prometheus_client has no public way to ask for labels of a metric that nothing was counted in.
    described = [(next(iter(metric.describe())), metric._labelnames) for metric in metrics]
    return sorted(_metric(family.name, family.type, labels, family.documentation) for family, labels in described)


def _scraped(text: str) -> list[tuple[str, str, str, str]]:
    rows = []
    for family in text_string_to_metric_families(text):
        labels = {name: None for sample in family.samples for name in sample.labels if name != "le"}
        if not family.name.endswith("_created"):
            rows.append(_metric(family.name, family.type, labels, family.documentation))
    return sorted(rows)


# Settings


def settings() -> str:
    """Return the page of every environment variable that the components read."""
    parts = []
    for title, model in (("Operator", OperatorSettings), ("Router", RouterSettings), ("Worker", WorkerSettings)):
        parts.append(f"## {title}\n\n" + _table(("variable", "type", "default", "description"), _variables(model)))
    intro = "In a cluster the chart sets the operator's, and the operator sets the others."
    return _page("Settings", f"Read once from the environment, at the start. {intro}", *parts)


def _variables(model: type[BaseSettings]) -> Iterator[tuple[str, str, str, str]]:
    schema, prefix = model.model_json_schema(), model.model_config.get("env_prefix", "")
    for name, part in _resolved(schema, {})["properties"].items():
        required = name in schema.get("required", [])
        variable = f"{prefix}{name.upper()}" if name in model.model_fields else name  # an alias has no prefix
        yield f"`{variable}`", _type(part), _default(part, required), part.get("description", "")


# Command line


def cli() -> str:
    """Return the page of every command with its arguments and options."""
    return _page("Command line", "`hadis COMMAND --help` says the same.", *_commands(make_app(), "hadis"))


def _commands(app: typer.Typer, path: str) -> Iterator[str]:
    for command in sorted(app.registered_commands, key=lambda c: _command_name(c.name, c.callback)):
        assert command.callback is not None
        text = inspect.getdoc(command.callback) or ""
        yield f"## {path} {_command_name(command.name, command.callback)}\n\n{command.help or text}"
        if rows := list(_parameters(command.callback)):
            yield _table(("argument or option", "type", "default", "description"), rows)
    for group in sorted(app.registered_groups, key=lambda g: str(g.name)):
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, f"{path} {group.name}")


def _command_name(name: str | None, callback: Callable[..., Any] | None) -> str:
    return name or getattr(callback, "__name__", "").replace("_", "-")


def _parameters(callback: Callable[..., Any]) -> Iterator[tuple[str, str, str, str]]:
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        required = parameter.default is inspect.Parameter.empty
        given = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
        default = _default({} if given in (None, False) else {"default": str(given)}, required)
        yield _shown(name, info), _python_type(kind, info), default, info.help or ""


def _shown(name: str, info: typer.models.ParameterInfo) -> str:
    """Return how a parameter is written on the command line."""
    if isinstance(info, typer.models.ArgumentInfo):
        return f"`{info.metavar or name.upper()}`"
    # In Annotated, typer takes the first name as the default.
    names = [name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("-")]
    return ", ".join(f"`{name}`" for name in names) or f"`--{name.replace('_', '-')}`"


def _python_type(kind: Any, info: typer.models.ParameterInfo) -> str:
    """Return a parameter's type in a word, with its bounds."""
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in options)
    if typing.get_origin(kind) in (list, tuple):
        return f"{_python_type(options[0], info)}, repeatable"
    if options:
        return _python_type(options[0], info)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{value.value}`" for value in kind)
    words = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}
    return ", ".join([words[kind], *_bounds({"minimum": info.min, "maximum": info.max})])


if __name__ == "__main__":
    for page, text in pages().items():
        Path(sys.argv[1], "docs/reference", f"{page}.md").write_text(text, "utf-8")
