//! Aliases: names, limits, moves.

use serde_json::json;

use super::Rig;
use super::rig::{ACCOUNT, REGION, arn, b64, join};

fn alias_arn(name: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:{name}")
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({ "AliasName": "alias/a", "TargetKeyId": arn(&id) });
    assert!(rig.ok("CreateAlias", input.clone()).await.is_null());
    assert_eq!(
        rig.refusal("CreateAlias", input).await,
        format!(
            "AlreadyExistsException: An alias with the name {} already exists",
            alias_arn("alias/a")
        )
    );
}

#[tokio::test]
async fn names_that_are_not_allowed() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for (name, create, delete) in [
        ("payments", "ValidationException", "ValidationException"),
        ("alias/a b", "ValidationException", "ValidationException"),
        ("", "ValidationException", "ValidationException"),
        ("alias/", "InvalidAliasNameException", "ValidationException"),
        ("alias/aws/s3", "NotAuthorizedException", "NotAuthorizedException"),
        ("alias/a:b", "ValidationException", "NotFoundException"),
        ("alias/absent", "", "NotFoundException"),
    ] {
        let input = json!({ "AliasName": name, "TargetKeyId": id });
        if !create.is_empty() {
            assert_eq!(rig.refused("CreateAlias", input.clone()).await, create, "{name}");
        }
        assert_eq!(rig.refused("UpdateAlias", input).await, delete, "{name}");
        assert_eq!(
            rig.refused("DeleteAlias", json!({ "AliasName": name })).await,
            delete,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_target_is_a_key_and_exists() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": id })).await;
    let target = |target: &str| json!({ "AliasName": "alias/b", "TargetKeyId": target });
    let text = "ValidationException: Aliases must refer to keys. Not aliases";
    assert_eq!(rig.refusal("CreateAlias", target("alias/a")).await, text);
    assert_eq!(rig.refusal("CreateAlias", target(&alias_arn("alias/a"))).await, text);
    let absent = "1234abcd-12ab-34cd-56ef-1234567890ab";
    assert_eq!(
        rig.refusal("CreateAlias", target(absent)).await,
        format!("NotFoundException: Key '{}' does not exist", arn(absent))
    );
}

#[tokio::test]
async fn a_move_changes_the_target_and_one_date() {
    let rig = Rig::new().await;
    let (first, second) =
        (rig.create("SYMMETRIC_DEFAULT").await, rig.create("SYMMETRIC_DEFAULT").await);
    rig.ok("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": first })).await;
    rig.clock.advance(std::time::Duration::from_millis(1500));
    rig.ok("UpdateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": second })).await;
    let listed = rig.ok("ListAliases", json!({ "KeyId": second })).await;
    assert_eq!(
        listed,
        json!({
            "Aliases": [{
                "AliasName": "alias/a",
                "AliasArn": alias_arn("alias/a"),
                "TargetKeyId": second,
                "CreationDate": 1_800_000_000.0,
                "LastUpdatedDate": 1_800_000_001.5,
            }],
            "Truncated": false,
        })
    );
    assert_eq!(rig.ok("ListAliases", json!({ "KeyId": first })).await["Aliases"], json!([]));
    let described = rig.ok("DescribeKey", json!({ "KeyId": "alias/a" })).await;
    assert_eq!(described["KeyMetadata"]["KeyId"], json!(second));
    let made =
        rig.ok("Encrypt", json!({ "KeyId": alias_arn("alias/a"), "Plaintext": b64("x") })).await;
    assert_eq!(made["KeyId"], json!(arn(&second)));
}

#[tokio::test]
async fn a_move_stays_within_kind_and_usage() {
    let rig = Rig::new().await;
    let keys = [
        rig.create("SYMMETRIC_DEFAULT").await,
        rig.create("ECC_NIST_P256").await,
        rig.create("HMAC_256").await,
    ];
    for (index, from) in keys.iter().enumerate() {
        let name = format!("alias/{index}");
        rig.ok("CreateAlias", json!({ "AliasName": name, "TargetKeyId": from })).await;
        for to in &keys {
            let input = json!({ "AliasName": name, "TargetKeyId": to });
            if from == to {
                rig.ok("UpdateAlias", input).await;
            } else {
                assert_eq!(rig.refused("UpdateAlias", input).await, "ValidationException");
            }
        }
    }
}

#[tokio::test]
async fn a_deleted_name_is_free_again() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({ "AliasName": "alias/a", "TargetKeyId": id });
    rig.ok("CreateAlias", input.clone()).await;
    assert!(rig.ok("DeleteAlias", json!({ "AliasName": "alias/a" })).await.is_null());
    assert_eq!(
        rig.refusal("DescribeKey", json!({ "KeyId": "alias/a" })).await,
        format!("NotFoundException: Alias {} is not found.", alias_arn("alias/a"))
    );
    rig.ok("CreateAlias", input).await;
}

#[tokio::test]
async fn a_key_has_at_most_fifty() {
    let rig = Rig::new().await;
    let (full, other) =
        (rig.create("SYMMETRIC_DEFAULT").await, rig.create("SYMMETRIC_DEFAULT").await);
    rig.ok("CreateAlias", json!({ "AliasName": "alias/other", "TargetKeyId": other })).await;
    // More callers than places, all at once: exactly fifty succeed.
    let calls = (0..60).map(|n| {
        let input = json!({ "AliasName": format!("alias/{n}"), "TargetKeyId": full });
        rig.call("CreateAlias", input)
    });
    let outcomes = join(calls).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), "LimitExceededException");
    }
    let onto = json!({ "AliasName": "alias/other", "TargetKeyId": full });
    assert_eq!(rig.refused("UpdateAlias", onto).await, "LimitExceededException");
    let listed = rig.ok("ListAliases", json!({ "KeyId": full, "Limit": 100 })).await;
    assert_eq!(listed["Aliases"].as_array().unwrap().len(), 50);
    // Pointing an alias where it already points needs no place.
    let name = listed["Aliases"][0]["AliasName"].clone();
    rig.ok("UpdateAlias", json!({ "AliasName": name, "TargetKeyId": full })).await;
}

#[tokio::test]
async fn the_audit_record_names_alias_and_key() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let input = json!({ "AliasName": "alias/a", "TargetKeyId": id });
    let (_, facts) = rig.audited("CreateAlias", input).await;
    let arns: Vec<_> = facts.resources.iter().map(|resource| resource.arn.clone()).collect();
    assert_eq!(arns, [arn(&id), alias_arn("alias/a")]);
    let parameters = serde_json::Value::Object(facts.request_parameters.unwrap());
    assert_eq!(parameters, json!({ "aliasName": "alias/a", "targetKeyId": id }));
}
