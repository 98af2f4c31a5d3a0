"""The description of the HTTP interface, as OpenAPI 3.1 (spec.openapis.org/oas/v3.1.0)."""

from typing import Any

from ..skeleton import Skeleton
from .guard import Limits
from .query import PICTURE, Parameters

Schema = dict[str, Any]


def openapi(version: str, skeleton: Skeleton, limits: Limits, token: bool) -> Schema:
    """The document for a server with this skeleton; `token` says whether it asks for one."""
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "limbwise",
            "version": version,
            "description": "The skeleton of every person in a picture. A live stream is the "
            "WebSocket /v1/stream: pictures in as binary messages, Result objects out as text, "
            "`frame` the number of the picture; ?smooth=0 leaves keypoints as found.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/poses": {
                "post": _asks("The people in a picture", limits, "poses", _json("Result"))
            },
            "/v1/picture": {
                "post": _asks("The picture, drawn", limits, "picture", _PNG)
                | {"parameters": _parameters(PICTURE)}
            },
            "/v1/about": {"get": _gets("Model, skeleton, how it is drawn, limits", "about")},
            "/healthz": {"get": _gets("Whether the server is up", "health") | {"security": []}},
            "/metrics": {"get": _gets("Counters for Prometheus", "metrics", "text/plain")},
            "/openapi.json": {"get": _gets("This document", "openapi")},
        },
        "components": {"schemas": _schemas(skeleton)},
    }
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in document["paths"].values():
            for verb in path.values():
                if "security" not in verb:
                    verb["responses"] |= _prior({"401": "The token is missing or wrong"})
    return document


def _json(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_BINARY = {"schema": {"type": "string", "contentMediaType": "image/*"}}
_PNG = {"image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}}}
_REFUSALS = {
    "400": "A parameter is unknown, or its value is none it may have",
    "403": "A page of another site asks",
    "421": "The Host is not a name of this server",
}


def _parameters(known: Parameters) -> list[Schema]:
    return [{"name": name, "in": "query", "schema": one.schema} for name, one in known.items()]


def _prior(refusals: dict[str, str]) -> Schema:
    """Responses of one line, by status."""
    return {
        code: {"description": text, "content": _json("Problem")} for code, text in refusals.items()
    }


def _asks(summary: str, limits: Limits, name: str, content: Schema) -> Schema:
    form = {"type": "object", "properties": {"picture": _BINARY["schema"]}, "minProperties": 1}
    bodies = {"image/*": _BINARY, "application/octet-stream": _BINARY}
    refusals = _REFUSALS | {
        "400": f"{_REFUSALS['400']}; or the form is broken",
        "408": f"The picture took more than {limits.seconds:g} seconds to arrive",
        "413": f"More than {limits.bytes} bytes or {limits.pixels} pixels",
        "415": "Not sent as a picture",
        "422": "Not a picture that can be read",
        "503": "Busy; Retry-After says when to try again",
    }
    return {
        "summary": summary,
        "operationId": name,
        "requestBody": {
            "required": True,
            "content": bodies | {"multipart/form-data": {"schema": form}},
        },
        "responses": {"200": {"description": summary, "content": content}}
        | _prior(refusals),
    }  # fmt: skip


def _gets(summary: str, name: str, kind: str = "application/json") -> Schema:
    answer = {"description": summary, "content": {kind: {}}}
    responses = {"200": answer} | _prior(_REFUSALS)
    return {"summary": summary, "operationId": name, "responses": responses}


def _schemas(skeleton: Skeleton) -> Schema:
    number, whole = {"type": "number"}, {"type": "integer"}
    keypoint = {
        "type": ["array", "null"],
        "items": number,
        "minItems": 3,
        "maxItems": 3,
        "description": "x and y in pixels of the picture, confidence; null if not found",
    }
    box = {"type": ["array", "null"], "items": number, "description": "left, top, right, bottom"}
    person = {
        "id": {"type": ["integer", "null"], "description": "the same person's in a stream"},
        "score": number,
        "box": box,
        "keypoints": _object(dict.fromkeys(skeleton.keypoints, keypoint)),
    }
    result = {
        "source": {"type": "string"},
        "frame": whole,
        "time": number | {"description": "seconds since the stream began"},
        "width": whole,
        "height": whole,
        "people": {"type": "array", "items": {"$ref": "#/components/schemas/Person"}},
    }
    problem = {"error": {"type": "string", "description": "one line for a person to read"}}
    return {"Result": _object(result), "Person": _object(person), "Problem": _object(problem)}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}
