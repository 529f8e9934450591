# Validates every example of an OpenAPI document against its schema, and prints their number.
#
#   python3 examples.py openapi.json

import json
import sys

import jsonschema_rs

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)
checked = 0


def contents():
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            yield from ((f"{name} body {media}", content) for media, content in operation.get("requestBody", {}).get("content", {}).items())
            for status, response in operation["responses"].items():
                yield from ((f"{name} {status} {media}", content) for media, content in response.get("content", {}).items())


for name, content in contents():
    if "example" not in content:
        continue
    schema = {**content["schema"], "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    errors = [f"{name}: {error.message} at {list(error.instance_path)}" for error in validator.iter_errors(content["example"])]
    if errors:
        sys.exit("\n".join(errors))
    checked += 1
print(checked)
