"""The command line: writes the two documents."""

from contract import asyncapi, openapi

openapi.FILE.write_text(openapi.text(openapi.document()), encoding="utf-8")
asyncapi.FILE.write_text(asyncapi.text(asyncapi.document()), encoding="utf-8")
