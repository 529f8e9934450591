# Validates every example of an OpenAPI document against its schema, and prints their number.
#
#   python3 examples.py openapi.json

import json
import sys

import jsonschema_rs

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)
checked = 0


def resolve(value):
    """The component, if the value is a reference to one."""
    while "$ref" in value:
        _, *names = value["$ref"].split("/")
        value = document
        for name in names:
            value = value[name]
    return value


def contents():
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            bodies = resolve(operation.get("requestBody", {})).get("content", {})
            yield from ((f"{name} body {media}", content) for media, content in bodies.items())
            for status, response in operation["responses"].items():
                contents = resolve(response).get("content", {})
                yield from ((f"{name} {status} {media}", content) for media, content in contents.items())


def examples(content):
    if "example" in content:
        yield content["example"]
    for example in content.get("examples", {}).values():
        yield resolve(example)["value"]


for name, content in contents():
    for example in examples(content):
        # An event stream has no schema.
        schema = {**content.get("schema", {}), "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        errors = [f"{name}: {error.message} at {list(error.instance_path)}" for error in validator.iter_errors(example)]
        if errors:
            sys.exit("\n".join(errors))
        checked += 1
print(checked)
