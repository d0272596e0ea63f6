"""Grants."""

import re

import pytest

from strongroom import invalid, pages, refused

ROOT = "arn:aws:iam::000000000000:root"
ALICE = "arn:aws:iam::111122223333:root"
BOB = ROOT
NOBODY = "arn:aws:iam::000000000000:user/nobody"


def grants(kms, key, **filters):
    """All grants of a key, by their ids."""
    found = [grant for page in pages(kms.list_grants, "Grants", KeyId=key, **filters) for grant in page]
    by_id = {grant["GrantId"]: grant for grant in found}
    assert len(by_id) == len(found)
    return by_id


def test_life_of_a_grant(kms, symmetric):
    key = symmetric["Arn"]
    made = kms.create_grant(
        KeyId=key,
        GranteePrincipal=ALICE,
        RetiringPrincipal=BOB,
        Operations=["Encrypt", "Decrypt"],
        Constraints={"EncryptionContextEquals": {"Purpose": "test"}},
        Name="mine",
    )
    grant = grants(kms, key)[made["GrantId"]]
    created = grant.pop("CreationDate")
    assert created >= symmetric["CreationDate"]
    assert grant == {
        "KeyId": key,
        "GrantId": made["GrantId"],
        "Name": "mine",
        "GranteePrincipal": ALICE,
        "RetiringPrincipal": BOB,
        "IssuingAccount": ROOT,
        "Operations": ["Encrypt", "Decrypt"],
        "Constraints": {"EncryptionContextEquals": {"Purpose": "test"}},
    }
    assert re.fullmatch("[0-9a-f]{64}", made["GrantId"])
    tokens = [made["GrantToken"]]
    kms.encrypt(KeyId=key, Plaintext=b"x", GrantTokens=tokens)
    kms.describe_key(KeyId=key, GrantTokens=tokens)
    retirable = kms.list_retirable_grants(RetiringPrincipal=BOB, Limit=100)["Grants"]
    assert made["GrantId"] in {grant["GrantId"] for grant in retirable}

    with refused("DryRunOperationException"):
        kms.retire_grant(GrantToken=made["GrantToken"], DryRun=True)
    kms.retire_grant(GrantToken=made["GrantToken"])
    assert grants(kms, key) == {}
    with refused("InvalidGrantTokenException"):
        kms.encrypt(KeyId=key, Plaintext=b"x", GrantTokens=tokens)
    with refused("NotFoundException"):
        kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])


def test_two_ways_to_take_it_back(kms, symmetric):
    key = symmetric["Arn"]
    first, second = (
        kms.create_grant(KeyId=key, GranteePrincipal=ALICE, Operations=["Decrypt"])["GrantId"]
        for _ in range(2)
    )
    assert set(grants(kms, key)) == {first, second}
    assert set(grants(kms, key, GrantId=first)) == {first}
    kms.revoke_grant(KeyId=symmetric["KeyId"], GrantId=first)
    kms.retire_grant(KeyId=key, GrantId=second)
    assert grants(kms, key) == {}


def test_a_named_request_can_be_repeated(kms, symmetric):
    request = {"KeyId": symmetric["KeyId"], "GranteePrincipal": ALICE, "Operations": ["Decrypt"], "Name": "n"}
    first, again = kms.create_grant(**request), kms.create_grant(**request)
    assert first["GrantId"] == again["GrantId"]
    assert first["GrantToken"] != again["GrantToken"]
    other = kms.create_grant(**{**request, "Operations": ["Encrypt"]})
    assert other["GrantId"] != first["GrantId"]


def test_pages_by_grantee(kms, symmetric):
    key = symmetric["Arn"]
    made = {ALICE: set(), BOB: set()}
    for number in range(12):
        grantee = ALICE if number % 3 else BOB
        grant = kms.create_grant(KeyId=key, GranteePrincipal=grantee, Operations=["Decrypt"])
        made[grantee].add(grant["GrantId"])
    assert set(grants(kms, key, Limit=5)) == made[ALICE] | made[BOB]
    for grantee, expected in made.items():
        assert set(grants(kms, key, GranteePrincipal=grantee, Limit=2)) == expected


def test_refusals(kms, raw, symmetric, signing):
    request = {"KeyId": symmetric["KeyId"], "GranteePrincipal": ALICE, "Operations": ["Decrypt"]}
    rule = "satisfy constraint: [Member must satisfy enum value set: ["
    with refused("ValidationException", invalid("operations", rule)):
        raw.create_grant(**{**request, "Operations": ["DisableKey"]})
    for nobody in [NOBODY, "arn:aws:iam::000000000000:group/g"]:
        with refused("InvalidArnException"):
            kms.create_grant(**{**request, "GranteePrincipal": nobody})
        with refused("InvalidArnException"):
            kms.create_grant(**{**request, "RetiringPrincipal": nobody})
    with refused("ValidationException"):
        kms.create_grant(**{**request, "Operations": ["Sign"]})
    with refused("ValidationException"):
        constraints = {"EncryptionContextSubset": {"a": "b"}}
        kms.create_grant(
            KeyId=signing["KeyId"], GranteePrincipal=ALICE, Operations=["Sign"], Constraints=constraints
        )
    with refused("DryRunOperationException"):
        kms.create_grant(**request, DryRun=True)
    kms.disable_key(KeyId=symmetric["KeyId"])
    with refused("DisabledException"):
        kms.create_grant(**request)
    with refused("InvalidGrantIdException"):
        kms.list_grants(KeyId=symmetric["KeyId"], GrantId="x")
    with refused("InvalidGrantTokenException"):
        kms.retire_grant(GrantToken="x")


@pytest.mark.parametrize("member", ["RetiringPrincipal", "RetiringServicePrincipal"])
def test_nothing_to_retire(kms, member):
    nobody = {"RetiringPrincipal": NOBODY, "RetiringServicePrincipal": "a.b.example"}
    if member == "RetiringPrincipal":
        text = f"ARN does not refer to a valid principal: {NOBODY}"
        with refused("InvalidArnException", text):
            kms.list_retirable_grants(RetiringPrincipal=NOBODY)
    else:
        assert kms.list_retirable_grants(**{member: nobody[member]})["Grants"] == []
