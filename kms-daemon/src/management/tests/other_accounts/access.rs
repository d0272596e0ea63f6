//! Who may use a key, and for what.

use serde_json::{Value, json};

use super::super::rig::{ACCOUNT, Rig, root};
use super::{OTHER, World, denied, identity, statement};
use crate::quota::Quotas;
use kms_base::context::RequestContext;
use kms_model::Operation;
use kms_model::action::{Action, KeyRule};

#[tokio::test(flavor = "multi_thread")]
async fn key_policy_and_identity_policy_have_to_allow() {
    let world = World::new().await;
    let session = world.session().await;
    let key = world.key(&[]).await;
    let mut anyone = statement("Allow", "*", "kms:*");
    anyone["Condition"] = json!({ "StringEquals": { "kms:CallerAccount": OTHER } });
    let mut nobody = anyone.clone();
    nobody["Condition"]["StringEquals"]["kms:CallerAccount"] = json!("444455556666");
    let named = |principal: &str| statement("Allow", principal, "kms:Encrypt");
    let role = session.arn();
    // What the key policy says besides, and whom of eve, the role and the root it lets in.
    for (more, expected) in [
        (vec![], [false, false, false]),
        (vec![named(&world.eve.arn())], [true, false, false]),
        (vec![named(&role)], [false, true, false]),
        (vec![named(OTHER)], [true, true, true]),
        (vec![anyone], [true, true, true]),
        (vec![nobody], [false, false, false]),
        (vec![named(OTHER), statement("Deny", &world.eve.arn(), "kms:*")], [false, true, true]),
        (vec![named(OTHER), statement("Deny", &role, "kms:*")], [true, false, true]),
        (vec![named(OTHER), statement("Deny", OTHER, "kms:*")], [false, false, false]),
        (vec![statement("Allow", OTHER, "kms:Decrypt")], [false, false, false]),
    ] {
        world.put(&key, &more).await;
        let callers = [&world.eve, &session, &world.other];
        let deny = json!([identity("Allow", "kms:*"), identity("Deny", "kms:Encrypt")]);
        for (own, allows) in [(identity("Allow", "kms:Encrypt"), true), (deny, false)] {
            world.let_them(Some(own)).await;
            for (caller, expected) in callers.into_iter().zip(expected) {
                // The root's own side needs no policy.
                let expected = expected && (allows || caller.is_root());
                let outcome = world.encrypt(caller, &key).await;
                match outcome {
                    Ok(answer) => assert_eq!(answer["KeyId"], key, "{more:?}"),
                    Err(error) => assert_eq!(error.to_string(), denied(caller, "kms:Encrypt")),
                }
                let allowed = world.encrypt(caller, &key).await.is_ok();
                assert_eq!(allowed, expected, "{} {more:?}", caller.caller_arn());
            }
        }
        world.let_them(None).await;
        for caller in [&world.eve, &session] {
            world.encrypt(caller, &key).await.unwrap_err();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_account_is_named_by_arn_or_alias_arn() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let key = world.key(&[statement("Allow", OTHER, "kms:*")]).await;
    let id = key.rsplit('/').next().unwrap();
    world.own("CreateAlias", json!({ "AliasName": "alias/shared", "TargetKeyId": id })).await;
    let alias = format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/shared");
    for name in [key.as_str(), alias.as_str()] {
        let described = world.rig.kms(&world.eve, "DescribeKey", json!({ "KeyId": name })).await;
        let described = &described.unwrap()["KeyMetadata"];
        assert_eq!(
            [&described["Arn"], &described["AWSAccountId"], &described["KeyId"]],
            [&json!(key), &json!(ACCOUNT), &json!(id)]
        );
        assert_eq!(world.encrypt(&world.eve, name).await.unwrap()["KeyId"], key);
    }
    for name in [id, "alias/shared"] {
        let error = world.encrypt(&world.eve, name).await.unwrap_err();
        assert_eq!(error.code(), "NotFoundException", "it is one of the caller's account");
    }
    let listed = world.rig.kms(&world.eve, "ListKeys", json!({})).await.unwrap();
    assert_eq!(listed["Keys"], json!([]));

    // Beyond the decision, the caller is told as the owner is.
    world.own("DisableKey", json!({ "KeyId": id })).await;
    let error = world.encrypt(&world.eve, &alias).await.unwrap_err();
    assert_eq!(error.to_string(), format!("DisabledException: {key} is disabled."));
    let sign = json!({ "KeyId": key, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256" });
    let error = world.rig.kms(&world.eve, "Sign", sign.clone()).await.unwrap_err();
    assert_eq!(error.code(), "DisabledException");
    world.own("EnableKey", json!({ "KeyId": id })).await;
    let error = world.rig.kms(&world.eve, "Sign", sign).await.unwrap_err();
    assert_eq!(error.code(), "InvalidKeyUsageException");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_policy_can_give_to_other_accounts() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let key = world.key(&[statement("Allow", "*", "kms:*")]).await;
    let all = json!({
        "KeyId": key, "TargetKeyId": key, "AliasName": "alias/a", "PolicyName": "default",
        "Policy": "{}", "Tags": [{ "TagKey": "a", "TagValue": "b" }], "TagKeys": ["a"],
        "Description": "x", "PrimaryRegion": "us-east-1", "ReplicaRegion": "eu-west-1",
        "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048",
        "ImportToken": "AAAA", "EncryptedKeyMaterial": "AAAA",
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    });
    let mine = world.rig.kms(&world.eve, "CreateKey", json!({})).await.unwrap();
    let alias = json!({ "AliasName": "alias/a", "TargetKeyId": mine["KeyMetadata"]["KeyId"] });
    let mut refused = Vec::new();
    let on_keys = Action::ALL.iter().filter(|action| KeyRule::of(**action).is_some());
    for action in on_keys.filter(|action| !action.is_cross_account()) {
        let operation = Operation::of(*action).unwrap().name();
        match operation {
            "DeleteAlias" => continue, // names no key
            "UpdateAlias" => drop(world.rig.kms(&world.eve, "CreateAlias", alias.clone()).await),
            _ => {}
        }
        let seen = world.observe(&world.eve, operation, &all).await;
        assert_eq!(seen.refusal, denied(&world.eve, action.name()));
        assert!(seen.facts.resources.iter().all(|resource| resource.account == OTHER));
        refused.push(operation);
    }
    assert_eq!(refused.len(), 23, "{refused:?}");
    let list = json!({ "KeyId": key });
    let seen = world.observe(&world.eve, "ListAliases", &list).await;
    assert_eq!(seen.refusal, denied(&world.eve, "kms:ListAliases"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_can_be_given() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let policy = super::with_owner(&[statement("Allow", OTHER, "kms:*")]);
    let of = async |spec: &str, usage: &str| {
        let input = json!({ "KeySpec": spec, "KeyUsage": usage, "Policy": policy });
        world.key_of(input).await
    };
    let key = of("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let eve = async |operation: &str, input: Value| {
        let outcome = world.rig.kms(&world.eve, operation, input).await;
        outcome.unwrap_or_else(|error| panic!("{operation}: {error}"))
    };
    let made = eve("Encrypt", json!({ "KeyId": key, "Plaintext": "AAAA" })).await;
    let decrypt = json!({ "KeyId": key, "CiphertextBlob": made["CiphertextBlob"] });
    assert_eq!(eve("Decrypt", decrypt).await["Plaintext"], "AAAA");
    for operation in ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"] {
        eve(operation, json!({ "KeyId": key, "KeySpec": "AES_256" })).await;
    }
    for operation in ["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"] {
        eve(operation, json!({ "KeyId": key, "KeyPairSpec": "ECC_NIST_P256" })).await;
    }
    let status = eve("GetKeyRotationStatus", json!({ "KeyId": key })).await;
    assert_eq!(status["KeyRotationEnabled"], false);
    eve("ListGrants", json!({ "KeyId": key })).await;

    let sign = of("ECC_NIST_P256", "SIGN_VERIFY").await;
    let input = json!({ "KeyId": sign, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256" });
    let mut verify = input.clone();
    verify["Signature"] = eve("Sign", input).await["Signature"].clone();
    eve("Verify", verify).await;
    let public = eve("GetPublicKey", json!({ "KeyId": sign })).await;
    assert_eq!(public["KeyId"], sign);

    let mac = of("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let input = json!({ "KeyId": mac, "Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256" });
    let mut verify = input.clone();
    verify["Mac"] = eve("GenerateMac", input).await["Mac"].clone();
    eve("VerifyMac", verify).await;

    let agree = of("ECC_NIST_P256", "KEY_AGREEMENT").await;
    let peer = eve("GetPublicKey", json!({ "KeyId": agree })).await["PublicKey"].clone();
    let input = json!({ "KeyId": agree, "KeyAgreementAlgorithm": "ECDH", "PublicKey": peer });
    eve("DeriveSharedSecret", input).await;
    let kem = of("ML_KEM_768", "ENCAPSULATE_DECAPSULATE").await;
    let input = json!({ "KeyId": kem, "EncapsulationAlgorithm": "ML_KEM" });
    let mut back = input.clone();
    back["SharedSecretCiphertextBlob"] =
        eve("Encapsulate", input).await["SharedSecretCiphertextBlob"].clone();
    eve("Decapsulate", back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_count_for_the_caller() {
    let World { rig, store, other, eve } = World::new().await;
    let quotas = Quotas::parse(&["symmetric=0.001", "ecc=0.001", "DescribeKey=0.001"]).unwrap();
    let Rig { iam, management, service, store: shared, clock } = rig;
    let service = service.with_quotas(quotas);
    let world =
        World { rig: Rig { iam, management, service, store: shared, clock }, store, other, eve };
    let key = world.key(&[]).await;
    let spec = json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" });
    let (sign, missing) = (world.key_of(spec).await, super::arn_of(super::MISSING));
    let sign_with =
        |key: &str| json!({ "KeyId": key, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256" });
    // All that is refused counts alike, whatever the key is.
    let mut codes = Vec::new();
    for name in [&key, &sign, &missing, &key] {
        codes.push(world.rig.kms(&world.eve, "Sign", sign_with(name)).await.unwrap_err().code());
    }
    let throttled = "ThrottlingException";
    assert_eq!(codes, ["AccessDeniedException", throttled, throttled, throttled]);
    // None of it was at the owner's expense.
    world.encrypt(&root(), &key).await.unwrap();
    let input = sign_with(&sign);
    world.rig.kms(&root(), "Sign", input.clone()).await.unwrap();

    // What is allowed counts as what it is.
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let policy = super::with_owner(&[statement("Allow", OTHER, "kms:*")]);
    world.own("PutKeyPolicy", json!({ "KeyId": sign, "Policy": policy })).await;
    world.rig.kms(&world.eve, "Sign", input.clone()).await.unwrap();
    let again = world.rig.kms(&world.eve, "Sign", input).await.unwrap_err();
    assert_eq!(again.code(), throttled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_shows_in_the_owner_s_records() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let key = world.key(&[statement("Allow", OTHER, "kms:*")]).await;
    let input = json!({ "KeyId": key, "Plaintext": "AAAA" });
    let (outcome, facts) = world.rig.kms_audited(&world.eve, "Encrypt", input).await;
    outcome.unwrap();
    assert_eq!((facts.resources[0].account.as_str(), &facts.resources[0].arn), (ACCOUNT, &key));
    let context = |principal| RequestContext {
        request_id: uuid::Uuid::from_u128(1),
        event_id: uuid::Uuid::from_u128(2),
        principal,
        region: "us-east-1".to_owned(),
        source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        is_encrypted: false,
        user_agent: None,
        invocation: None,
        referer: None,
        received: std::time::SystemTime::now(),
    };
    let theirs = context(world.eve.clone());
    assert_eq!(theirs.event_id_for(OTHER), theirs.event_id);
    assert_ne!(theirs.event_id_for(ACCOUNT), theirs.event_id);
    let usage = world.own("GetKeyLastUsage", json!({ "KeyId": key })).await;
    assert_eq!(usage["KeyLastUsage"]["Operation"], "Encrypt");
}
