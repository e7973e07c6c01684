"""docs/openapi.json against what the native dialect really sends, with a validator
for the few keywords of JSON Schema that the document uses."""

import json
import os
import pathlib
import re
import subprocess

import pytest

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
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{where} has {len(value)} items")
        for i, inner in enumerate(value):
            found += faults(inner, schema["items"], f"{where}[{i}]")
    elif isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            found.append(f"{where} is too short or too long")
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


# ---- Answers: the schemas against the parser -------------------------------


def typical(schema):
    """A value that the schema allows, with every member there is."""
    kind = schema["type"]
    if kind == "object":
        return {key: typical(inner) for key, inner in schema["properties"].items()}
    if kind == "array":
        return [typical(schema["items"])]
    if kind == "string":
        if "pattern" in schema:
            return "a" * (64 if "{64}" in schema["pattern"] else 8)
        return schema.get("enum", ["abc"])[0]
    return max(1, schema["minimum"]) if kind == "integer" else schema["minimum"]


def at_the_limits(schema):
    """Values at and just beyond each limit that the schema states."""
    kind = schema["type"]
    if kind in ("integer", "number"):
        step = 1 if kind == "integer" else 1e-8
        low, high = schema["minimum"], schema["maximum"]
        return [low, low - step, high, high + step, "1", True, [1], {}] + [1.5] * (step == 1)
    if kind == "string":
        longest = schema.get("maxLength", 64)
        return [*schema.get("enum", []), "", "a", "a" * longest, "a" * (longest + 1),
                "a b/c", "G" * 64, 1, [], {}]  # fmt: skip
    if kind == "array":
        item = typical(schema["items"])
        return [[], [item] * schema.get("maxItems", 4), [item] * (schema.get("maxItems", 4) + 1),
                *[[inner] for inner in at_the_limits(schema["items"])], 1, "x", {}]  # fmt: skip
    return [1, "x", [], {}]


def variations(value, schema):
    """The value with one thing changed at a time, as deep as it goes."""
    yield from at_the_limits(schema)
    if schema["type"] == "object":
        for key, inner in schema["properties"].items():
            yield {k: v for k, v in value.items() if k != key}
            for changed in variations(value[key], inner):
                yield {**value, key: changed}


def judge(answers):
    text = "".join(json.dumps(a) + "\n" for a in answers)
    done = subprocess.run(
        [os.environ["CYGNET_MESSAGE_PROBE"], "answers"], input=text, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def is_meaningful(name, body):
    """The rules between members that the schemas state in words."""
    if name == "Task":
        return body["training"].get("epochs", 0) + body["training"].get("steps", 0) > 0
    return body["min_s"] <= body["max_s"]


@pytest.mark.parametrize("name", ["Task", "Retry"])
def test_the_parser_takes_what_the_schema_allows_and_nothing_else(name):
    schema = SCHEMAS[name]
    base = typical(schema)
    if name == "Task":
        base["requires"] = []
        base["training"]["optimizer"]["name"] = "sgd"
    assert faults(base, schema, name) == []
    bodies = [base, *variations(base, schema)]
    verdicts = judge([{name.lower(): body} for body in bodies])
    assert len(verdicts) == len(bodies) > 30
    taken = 0
    for body, verdict in zip(bodies, verdicts):
        wrong = faults(body, schema, name)
        good = not wrong and is_meaningful(name, body)
        taken += good
        assert (verdict.split(" ")[0] == "OK") == good, f"{verdict}\n{wrong}\n{body}"
    assert 5 < taken < len(bodies) - 5


def test_the_contract_has_the_paths_of_the_page():
    page = (ROOT / "docs" / "protocol.md").read_text()
    named = set(re.findall(r"^#+ .*`(?:GET|PUT|POST) (/v1/[^`]*)`", page, re.MULTILINE))
    assert len(named) >= 5
    assert named <= set(DOCUMENT["paths"])


def test_references_lead_somewhere():
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)):
        assert name in SCHEMAS
