"""Ansible's modules for keys and identities: what a play has changed, the same play leaves as it is.

`STRONGROOM_ANSIBLE` names the directory of its packages.
"""

import os
import re
import subprocess
import sys

import boto3

ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]
PACKAGES = os.environ["STRONGROOM_ANSIBLE"]
HERE = os.path.dirname(os.path.abspath(__file__))


def play(book, **variables):
    """How many tasks of a playbook were fine, how many of those changed something."""
    extra = [word for name, value in variables.items() for word in ("--extra-vars", f"{name}={value}")]
    environment = os.environ | {
        "AWS_ENDPOINT_URL": ENDPOINT, "PYTHONPATH": PACKAGES, "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, f"{PACKAGES}/bin/ansible-playbook", f"{HERE}/ansible/{book}.yml", *extra],
        capture_output=True, text=True, timeout=900, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{book} {variables}\n{done.stdout}{done.stderr}"
    [recap] = re.findall(r"^localhost +: (.*)$", done.stdout, re.MULTILINE)
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap)}
    tasks = re.findall(r"TASK \[(.*?)\]|^(changed): ", done.stdout, re.MULTILINE)
    changed, task = [], None
    for name, change in tasks:
        task = name or task
        if change and task not in changed:
            changed.append(task)
    assert counts["changed"] == len(changed)
    return counts["ok"], changed


def test_plays_change_what_differs_and_nothing_else(kms):
    iam = boto3.client("iam", endpoint_url=ENDPOINT)
    made = [
        "A managed policy", "A user", "A group of it", "Policies of its own", "A role", "A key", "Keys of other specs",
        "A multi-Region key",
    ]  # fmt: skip
    ok, changed = play("playbook", revision=1, fresh=True)
    assert changed == made and ok >= 17
    assert play("playbook", revision=1)[1] == []
    key = kms.describe_key(KeyId="alias/ansible/main")["KeyMetadata"]
    constraints = {grant["Name"]: grant["Constraints"] for grant in kms.list_grants(KeyId=key["KeyId"])["Grants"]}
    assert constraints["equals"].get("EncryptionContextEquals") == {"stage": "test"}
    assert constraints["subset"].get("EncryptionContextSubset") == {"stage": "test"}

    _, changed = play("playbook", revision=2)
    same = {"A group of it", "A multi-Region key"}
    assert changed == [task for task in made if task not in same] + ["The same key, by its alias alone"]
    assert play("playbook", revision=2)[1] == []
    again = kms.describe_key(KeyId="alias/ansible/main")["KeyMetadata"]
    assert again["Arn"] == key["Arn"] and again["Description"] == "a key, revision 2"

    assert len(play("absent")[1]) == 6
    assert play("absent")[1] == []
    keys = [key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]]
    states = [kms.describe_key(KeyId=key)["KeyMetadata"] for key in keys]
    assert {state["KeyState"] for state in states if state["KeyManager"] == "CUSTOMER"} == {"PendingDeletion"}
    assert not iam.list_users()["Users"] and not iam.list_roles()["Roles"]
    assert not iam.list_groups()["Groups"] and not iam.list_policies(Scope="Local")["Policies"]
