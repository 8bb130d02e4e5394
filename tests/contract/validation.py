"""What goes over the wire, against the schemas of a document."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from contract import asyncapi, openapi

Json = dict[str, Any]


@cache
def openapi_document() -> Json:
    """`/openapi.json` as it is served."""
    found: Json = json.loads(openapi.FILE.read_text(encoding="utf-8"))
    return found


@cache
def asyncapi_document() -> Json:
    """docs/asyncapi.yaml as it is kept."""
    found: Json = yaml.safe_load(asyncapi.FILE.read_text(encoding="utf-8"))
    return found


def problems(value: Any, schema: Json, components: Json) -> Iterator[str]:
    """What the schema does not allow; references lead into the document's components."""
    validator = Draft202012Validator({**schema, "components": components})
    found = best_match(validator.iter_errors(value))
    if found is not None:
        path = ".".join(map(str, found.absolute_path))
        yield f"{path or 'all of it'}: {found.message[:300]}"


def problems_of_event(event: Json) -> list[str]:
    """What neither document's schema of its type allows, each with the document's name."""
    kind, found = event["type"], []
    http = openapi_document()["components"]
    mapping = http["schemas"]["ResponseStreamEvent"]["discriminator"]["mapping"]
    socket = asyncapi_document()["components"]
    schemas = {"openapi": mapping.get(kind), "asyncapi": f"#/components/messages/{kind}/payload"}
    if kind in socket["messages"]:
        schemas["asyncapi"] = socket["messages"][kind]["payload"]["$ref"]
    for name, components in (("openapi", http), ("asyncapi", socket)):
        if schemas[name] is None:
            continue
        schema = {"$ref": schemas[name]}
        found += [f"{name}, {kind}: {one}" for one in problems(event, schema, components)]
    return found
