"""Every operation of the service model by the AWS CLI: exit code and JSON output."""

import base64
import json
import os
import re

import botocore
import pytest
from botocore import xform_name

import operations
from test_cli import aws

#: The CLI brings a service model of its own, which has these later than boto3's.
LATER = {"Decapsulate", "Encapsulate"}
#: Lets it read boto3's.
NEWER = {"AWS_DATA_PATH": os.path.join(os.path.dirname(botocore.__file__), "data")}


@pytest.mark.parametrize("operation", sorted(LATER))
def test_operations_that_the_cli_has_later(operation):
    done = aws(xform_name(operation, "-"))
    # Once this fails the CLI has it: remove it from the list.
    assert "Invalid choice" in done.stderr and done.returncode != 0


@pytest.mark.parametrize("operation", sorted(operations.one_region()))
def test_operation(kms, operation, tmp_path):
    variables = NEWER if operation in LATER else {}

    def send(parameters):
        words = arguments(parameters, tmp_path)
        done = aws(xform_name(operation, "-"), *words, **variables)
        if done.returncode:
            refusal = r"An error occurred \((\w+)\) when calling the (\w+) operation: ."
            code, called = re.search(refusal, done.stderr).groups()
            assert (done.returncode, called, done.stdout) == (255, operation, ""), done
            return code
        assert done.stderr == ""
        shape = kms.meta.service_model.operation_model(operation).output_shape
        if shape is None:
            assert done.stdout == ""
            return None
        return decoded(shape, json.loads(done.stdout))

    operations.run(operation, kms, send)


def arguments(parameters, directory):
    """Parameters as a person types them; bytes go through files."""
    for name, value in parameters.items():
        yield "--" + xform_name(name, "-")
        if isinstance(value, bytes):
            path = directory / name
            path.write_bytes(value)
            yield f"fileb://{path}"
        elif isinstance(value, dict) or isinstance(value, list) and isinstance(value[0], dict):
            yield json.dumps(value)
        elif isinstance(value, list):
            yield from value
        else:
            yield str(value)


def decoded(shape, answer):
    """The answer in the form of boto3, but for times."""
    blobs = {name for name, member in shape.members.items() if member.type_name == "blob"}
    return {
        name: base64.b64decode(value, validate=True) if name in blobs else value
        for name, value in answer.items()
    }
