"""What the OpenAPI document says of every call: the shape of a problem, and the problems it can be."""

from __future__ import annotations

from typing import Any

from config.api import PROBLEM_JSON

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `type` and `code` are stable, the rest is for people.",
    "properties": {
        "type": {"type": "string", "example": "/problems/not-found"},
        "code": {"type": "string", "example": "not-found"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer into the body."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "code", "detail"],
            },
        },
    },
    "required": ["type", "code", "title", "status", "detail"],
}
_ANYWHERE = {
    "422": "`validation-failed`: a parameter that cannot be, or a card number in the address or the key",
    "429": "`throttled`: come back after Retry-After seconds",
    "503": "`service-unavailable`: the database is away; repeat after Retry-After seconds",
}
_WITH_TOKEN = {"401": "`not-authenticated`"}


def document_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the schema and the common problems to the document, as a postprocessing hook of drf-spectacular."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            needs_token = operation.get("security") and {} not in operation["security"]
            for status, description in {**_ANYWHERE, **(_WITH_TOKEN if needs_token else {})}.items():
                operation["responses"].setdefault(status, {"description": description, "content": content})
    return result
