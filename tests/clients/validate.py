"""Validates JSON against schemas of the documents: python3 validate.py FOLDER.

Each line of input is {"document":name,"place":JSON pointer to a schema,"value":…}; each is answered by a line, "ok" or
what is wrong.
"""

import json
import pathlib
import sys

from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7, DRAFT202012

# OpenAPI 3.1 reads schemas as 2020-12, AsyncAPI 3.0 as draft 7.
KINDS = {"openapi.json": (Draft202012Validator, DRAFT202012), "asyncapi.json": (Draft7Validator, DRAFT7)}

folder = pathlib.Path(sys.argv[1])
registry = Registry()
for name, (_, specification) in KINDS.items():
    document = Resource.from_contents(json.loads((folder / name).read_text()), default_specification=specification)
    registry = registry.with_resource(f"urn:{name}", document)

for line in sys.stdin:
    asked = json.loads(line)
    validator, _ = KINDS[asked["document"]]
    schema = {"$ref": f"urn:{asked['document']}#{asked['place']}"}
    errors = sorted(validator(schema, registry=registry).iter_errors(asked["value"]), key=lambda error: error.json_path)
    wrong = [f"{error.json_path}: {error.message} {[cause.message for cause in error.context or []]}" for error in errors]
    print(json.dumps("; ".join(wrong)) if wrong else "ok", flush=True)
