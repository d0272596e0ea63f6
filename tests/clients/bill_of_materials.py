"""Holds a bill of materials against the official JSON schema of CycloneDX 1.6.

The schema comes with cyclonedx-python-lib. `cargo xtask test` runs this on the bill of a release; for one that was
published: python bill_of_materials.py FILE
"""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main(path: str) -> None:
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(
        Path(path).read_text(), all_errors=True
    )
    wrong = [f"{error.data.json_path}: {error.data.message}" for error in errors or []]
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main(sys.argv[1])
