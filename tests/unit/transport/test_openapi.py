"""docs/openapi.json against what the native dialect really sends, with a validator
for the few keywords of JSON Schema that the document uses."""

import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
         "number": (int, float), "null": type(None)}  # fmt: skip


def is_type(value, name):
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, TYPES[name])


def faults(value, schema, where):
    """What is wrong with the value, as a list of lines."""
    if "$ref" in schema:
        return faults(value, SCHEMAS[schema["$ref"].rsplit("/", 1)[1]], where)
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    found = []
    if not any(is_type(value, name) for name in names):
        return [f"{where} is not {names}"]
    if isinstance(value, dict):
        found += [f"{where}.{k} is missing" for k in schema["required"] if k not in value]
        for key, inner in value.items():
            if key not in schema["properties"]:
                found.append(f"{where}.{key} is not in the contract")
            else:
                found += faults(inner, schema["properties"][key], f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            found += faults(inner, schema["items"], f"{where}[{i}]")
    elif isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            found.append(f"{where} is too long")
        if value not in schema.get("enum", [value]):
            found.append(f"{where} is not one of {schema['enum']}")
        if not re.search(schema.get("pattern", ""), value):
            found.append(f"{where} does not match {schema['pattern']}")
    elif value is not None and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            found.append(f"{where} is out of range")
    return found


def test_the_validator_finds_faults():
    good = {"error": {"code": "x", "message": "y"}}
    assert faults(good, SCHEMAS["Error"], "it") == []
    assert faults({"error": {"code": 1}}, SCHEMAS["Error"], "it") != []
    assert faults({}, SCHEMAS["Error"], "it") != []
    assert faults({"lease_s": -1}, SCHEMAS["Lease"], "it") != []


def test_every_body_that_is_sent_meets_its_schema():
    probe = os.environ["CYGNET_MESSAGE_PROBE"]
    lines = subprocess.run([probe], capture_output=True, text=True, check=True).stdout
    seen = set()
    for line in lines.splitlines():
        schema, body = line.split(" ", 1)
        seen.add(schema)
        assert faults(json.loads(body), SCHEMAS[schema], schema) == []
    assert seen == {"CheckIn", "Report"}


def test_the_contract_has_the_paths_of_the_page():
    page = (ROOT / "docs" / "protocol.md").read_text()
    named = set(re.findall(r"^#+ .*`(?:GET|PUT|POST) (/v1/[^`]*)`", page, re.MULTILINE))
    assert len(named) >= 5
    assert named <= set(DOCUMENT["paths"])


def test_references_lead_somewhere():
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)):
        assert name in SCHEMAS
