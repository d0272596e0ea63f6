//! Grants across accounts.

use serde_json::{Value, json};

use super::super::rig::{ACCOUNT, root};
use super::{OTHER, World, denied, identity, statement};

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_names_a_user_a_role_or_the_account() {
    let world = World::new().await;
    let session = world.session().await;
    let key = world.key(&[]).await;
    let grant = async |grantee: &str| {
        let input = json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Encrypt"] });
        let made = world.own("CreateGrant", input).await;
        json!({ "KeyId": key, "GrantId": made["GrantId"] })
    };
    let may = async |expected: [bool; 3]| {
        for (caller, expected) in [&world.eve, &session, &world.other].into_iter().zip(expected) {
            let allowed = world.encrypt(caller, &key).await;
            assert_eq!(allowed.is_ok(), expected, "{} {allowed:?}", caller.caller_arn());
        }
    };
    may([false; 3]).await;
    for (grantee, expected) in [
        (world.eve.arn(), [true, false, false]),
        (session.arn(), [false, true, false]),
        (session.caller_arn(), [false, true, false]),
        (OTHER.to_owned(), [false, false, true]),
    ] {
        let grant = grant(&grantee).await;
        may(expected).await;
        world.own("RevokeGrant", grant).await;
        may([false; 3]).await;
    }
    // An account gives what it was granted by identity policies.
    let to_account = grant(OTHER).await;
    world.let_them(Some(identity("Allow", "kms:Encrypt"))).await;
    may([true; 3]).await;
    world.own("RevokeGrant", to_account).await;
    // Own policies forbid what a grant gives, and so does the key policy.
    world.let_them(Some(identity("Deny", "kms:Encrypt"))).await;
    grant(&world.eve.arn()).await;
    may([false; 3]).await;
    world.let_them(None).await;
    may([true, false, false]).await;
    world.put(&key, &[statement("Deny", &world.eve.arn(), "kms:Encrypt")]).await;
    may([false; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_managed_from_another_account() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let key = world.key(&[]).await;
    let eve =
        async |operation: &str, input: Value| world.rig.kms(&world.eve, operation, input).await;
    let create = json!({ "KeyId": key, "GranteePrincipal": world.eve.arn(),
        "RetiringPrincipal": world.eve.arn(), "Operations": ["Encrypt", "CreateGrant"] });
    let error = eve("CreateGrant", create.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), denied(&world.eve, "kms:CreateGrant"));

    world.put(&key, &[statement("Allow", OTHER, "kms:*Grant*")]).await;
    let made = eve("CreateGrant", create).await.unwrap();
    world.encrypt(&world.eve, &key).await.unwrap();
    let listed = eve("ListGrants", json!({ "KeyId": key })).await.unwrap();
    let entry = &listed["Grants"][0];
    assert_eq!(entry["KeyId"], key);
    assert_eq!(entry["IssuingAccount"], format!("arn:aws:iam::{OTHER}:root"));
    let named = json!({ "KeyId": key, "GrantId": made["GrantId"] });
    eve("RevokeGrant", named.clone()).await.unwrap();
    let error = eve("RevokeGrant", named).await.unwrap_err();
    assert_eq!(error.code(), "NotFoundException");
    world.encrypt(&world.eve, &key).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn retirable_grants_are_listed_across_owners_and_retired() {
    let world = World::new().await;
    world.let_them(Some(identity("Allow", "kms:*"))).await;
    let mut made = Vec::new();
    let mine = world.rig.kms(&world.other, "CreateKey", json!({})).await.unwrap();
    let mine = mine["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let theirs = world.key(&[]).await;
    for (owner, key) in [(&root(), &theirs), (&world.other, &mine)] {
        let input = json!({ "KeyId": key, "GranteePrincipal": ACCOUNT, "Operations": ["Encrypt"],
                            "RetiringPrincipal": world.eve.arn() });
        made.push(world.rig.kms(owner, "CreateGrant", input).await.unwrap());
    }
    let asked = json!({ "RetiringPrincipal": world.eve.arn(), "Limit": 1 });
    let first = world.rig.kms(&world.eve, "ListRetirableGrants", asked.clone()).await.unwrap();
    let mut next = asked.clone();
    next["Marker"] = first["NextMarker"].clone();
    let second = world.rig.kms(&world.eve, "ListRetirableGrants", next).await.unwrap();
    let keys = [&first, &second].map(|page| page["Grants"][0]["KeyId"].clone());
    assert_eq!(keys, [json!(theirs), json!(mine)]);
    // The owner of the key is not asked whom else it has named.
    let error = world.rig.kms(&root(), "ListRetirableGrants", asked).await.unwrap_err();
    assert_eq!(error.code(), "AccessDeniedException");

    let token = json!({ "GrantToken": made[0]["GrantToken"] });
    let other = json!({ "KeyId": theirs, "GrantId": made[0]["GrantId"] });
    let session = world.session().await;
    let error = world.rig.kms(&session, "RetireGrant", token.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), denied(&session, "kms:RetireGrant"));
    let (outcome, facts) = world.rig.kms_audited(&world.eve, "RetireGrant", other).await;
    outcome.unwrap();
    assert_eq!(facts.resources[0].arn, theirs);
    let error = world.rig.kms(&world.eve, "RetireGrant", token).await.unwrap_err();
    assert_eq!(error.code(), "InvalidGrantTokenException");
}
