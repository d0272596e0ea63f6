"""Every operation of the service model by boto3."""

import pathlib

import botocore.exceptions
import pytest
from botocore import xform_name

import operations
import service_model


@pytest.mark.parametrize("operation", sorted(operations.one_region()))
def test_operation(kms, operation):
    code = ""

    def send(parameters):
        nonlocal code
        try:
            answer = getattr(kms, xform_name(operation))(**parameters)
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            return code
        answer.pop("ResponseMetadata")
        return answer

    assert operations.case_of(operation), f"{operation} has no case: call it"
    operations.run(operation, kms, send)
    assert (operation, code) in service_model.answered


def test_multi_region_operations_are_called_elsewhere():
    suite = pathlib.Path(__file__).with_name("test_multi_region.py").read_text("utf-8")
    for operation in operations.TWO_REGIONS:
        assert f".{xform_name(operation)}(" in suite
