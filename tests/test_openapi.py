"""`/openapi.json` is made of the code's tables, is valid, and has every route, error and field."""

import ast

from contract import openapi
from contract.code import HOUSE, known_codes, tree
from contract.errors import error_rows
from contract.validation import openapi_document
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.scripted_upstream import Scripted

import ws_bridge
from ws_bridge.config import Config, Settings
from ws_bridge.errors import BridgeError
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.protocol.response import NULLABLE, Envelope
from ws_bridge.server import cors
from ws_bridge.server.app import Bridge

# Of the query: refused where it is a key, and never described.
KEYS_IN_QUERY = {"api_key", "api-key"}


def operations():
    """Method and path, and the operation."""
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            yield (method.upper(), path), operation


def codes_of(status):
    """The codes that are described for a status."""
    return {*openapi_document()["components"]["responses"][f"Error{status}"]["x-error-codes"]}


def asked_in_queries():
    """The parameters that the server reads from a query, by its calls."""
    for path in (HOUSE / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            place = {"integer": 1, "flag": 1, "request.query.get": 0}.get(called)
            if place is not None and isinstance(node.args[place], ast.Constant):
                yield node.args[place].value


def test_the_document_is_the_one_that_the_code_makes():
    """`python -m tests.contract` writes it."""
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text(openapi.document())


def test_the_document_is_valid():
    assert [one.message for one in OpenAPIV31SpecValidator(openapi_document()).iter_errors()] == []
    assert openapi_document()["info"]["version"] == ws_bridge.__version__


async def test_routes_are_those_of_the_server():
    app = Bridge(Settings(Config()), upstream=Scripted()).app
    served = [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD"
    ]
    assert sorted(place for place, _ in operations()) == sorted(served)


def test_names_of_operations_are_unlike():
    names = [operation["operationId"] for _, operation in operations()]
    assert len({*names}) == len(names)


def test_only_what_needs_a_key_says_so():
    """As the middleware has it: below `/v1/`, and the metrics."""
    is_open = {path for (_, path), operation in operations() if operation.get("security") == []}
    paths = {path for (_, path), _ in operations()}
    assert is_open == {one for one in paths if not one.startswith("/v1/") and one != "/metrics"}


def test_every_error_of_the_tree_is_described_under_its_status():
    wrong = [kind for kind in tree(BridgeError) if kind.code not in codes_of(kind.status)]
    assert wrong == []


def test_every_code_is_described_and_no_other_one():
    statuses = {status for row in error_rows() for status in row.statuses}
    described = {code for status in statuses for code in codes_of(status)}
    assert known_codes() - described == set()
    assert described == {row.code for row in error_rows()}


def test_every_code_is_explained_where_it_is_listed():
    refusals = openapi_document()["components"]["responses"].values()
    unexplained = [
        code
        for refusal in refusals
        for code in refusal["x-error-codes"]
        if f"- `{code}`: " not in refusal["description"]
    ]
    assert unexplained == []


def test_every_status_of_the_table_is_one_of_a_route():
    answered = {status for _, operation in operations() for status in operation["responses"]}
    assert {str(status) for row in error_rows() for status in row.statuses} - answered == set()


def test_parameters_of_queries_are_those_that_the_server_reads():
    described = {
        parameter["name"]
        for _, operation in operations()
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query"
    }
    assert described == {*asked_in_queries()} - KEYS_IN_QUERY


def test_headers_are_those_that_pages_of_other_origins_may_read():
    """All answers that have a header of the server's own name it."""
    named = {
        name
        for _, operation in operations()
        for answer in operation["responses"].values()
        for name in answer.get("headers", ())
    }
    refusals = openapi_document()["components"]["responses"].values()
    named |= {name for answer in refusals for name in answer["headers"]}
    assert named == set(cors.EXPOSED.split(", "))


def test_fields_of_a_create_are_those_of_the_model():
    schemas = openapi_document()["components"]["schemas"]
    assert set(schemas["CreateResponse"]["properties"]) == set(CreateResponse.model_fields)


def test_every_key_of_a_snapshot_is_always_there_and_null_where_it_may_be():
    schema = openapi_document()["components"]["schemas"]["ResponseObject"]
    assert schema["required"] == [*Envelope("resp_1", "m", 1).snapshot("in_progress")]
    nullable = {name for name in schema["required"] if "null" in str(schema["properties"][name])}
    assert nullable == {*NULLABLE}
