//! AWS managed keys, and what nobody may do with them.

use std::time::Duration;

use serde_json::{Value, json};

use super::Rig;
use super::import::metadata;
use super::rig::{ACCOUNT, REGION, b64, join};
use super::rotation::rotate;

const ALIAS: &str = "alias/aws/s3";

async fn aliases(rig: &Rig) -> Vec<Value> {
    let (mut all, mut input) = (Vec::new(), json!({ "Limit": 7 }));
    loop {
        let page = rig.ok("ListAliases", input.clone()).await;
        all.extend(page["Aliases"].as_array().unwrap().iter().cloned());
        if page["Truncated"] == json!(false) {
            return all;
        }
        input["Marker"] = page["NextMarker"].clone();
    }
}

#[tokio::test]
async fn a_key_is_made_when_its_alias_is_first_used() {
    let rig = Rig::with_regions(2).await;
    let of_s3 = |all: &[Value]| all.iter().find(|a| a["AliasName"] == ALIAS).cloned().unwrap();
    let before = aliases(&rig).await;
    let arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:{ALIAS}");
    assert_eq!(of_s3(&before), json!({ "AliasName": ALIAS, "AliasArn": arn }));

    let (described, facts) = rig.audited("DescribeKey", json!({ "KeyId": ALIAS })).await;
    let made = described.unwrap()["KeyMetadata"].clone();
    assert_eq!((&made["KeyManager"], &made["KeyState"]), (&json!("AWS"), &json!("Enabled")));
    assert_eq!((facts.receipts.len(), facts.events.len()), (1, 1));
    assert_eq!((facts.events[0].name, &json!(facts.events[0].arn)), ("CreateKey", &made["Arn"]));
    let (again, facts) = rig.audited("DescribeKey", json!({ "KeyId": arn })).await;
    assert_eq!((&again.unwrap()["KeyMetadata"], facts.events.len()), (&made, 0));

    let after = aliases(&rig).await;
    assert_eq!(after.len(), before.len());
    assert_eq!(of_s3(&after)["TargetKeyId"], made["KeyId"]);
    assert_eq!(rig.ok("ListKeys", json!({})).await["Keys"][0]["KeyId"], made["KeyId"]);
    // Each Region has its own.
    let other = metadata(&rig.in_region("eu-west-1"), ALIAS).await;
    assert_ne!(other["KeyId"], made["KeyId"]);
    let unknown = json!({ "KeyId": "alias/aws/nothing" });
    assert_eq!(rig.refused("DescribeKey", unknown).await, "NotFoundException");
}

#[tokio::test]
async fn many_make_one_key() {
    let rig = Rig::new().await;
    let calls = (0..8).map(|_| metadata(&rig, ALIAS));
    let ids: Vec<Value> = join(calls).await.into_iter().map(|m| m["KeyId"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(rig.ok("ListKeys", json!({})).await["Keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn aliases_of_services_stand_among_the_others() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for name in ["alias/a", "alias/aws-like", "alias/b", "alias/zebra", "alias/A"] {
        rig.ok("CreateAlias", json!({ "AliasName": name, "TargetKeyId": id })).await;
    }
    metadata(&rig, ALIAS).await;
    let listed = aliases(&rig).await;
    let names: Vec<_> = listed.iter().map(|a| a["AliasName"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names.len(), 5 + crate::api::managed_key::SERVICES.len());
    let own = rig.ok("ListAliases", json!({ "KeyId": id })).await;
    assert_eq!(own["Aliases"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn its_rules_are_fixed() {
    let rig = Rig::new().await;
    let id = metadata(&rig, ALIAS).await["KeyId"].clone();
    for (operation, more) in [
        ("ScheduleKeyDeletion", json!({})),
        ("DisableKey", json!({})),
        ("DisableKeyRotation", json!({})),
        ("EnableKeyRotation", json!({})),
        ("RotateKeyOnDemand", json!({})),
        ("UpdateKeyDescription", json!({ "Description": "mine" })),
        ("TagResource", json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] })),
        ("PutKeyPolicy", json!({ "Policy": "{}" })),
        ("CreateAlias", json!({ "AliasName": "alias/mine" })),
        ("Encrypt", json!({ "Plaintext": b64("x") })),
        ("GenerateDataKey", json!({ "KeySpec": "AES_256" })),
        (
            "CreateGrant",
            json!({ "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:root"),
                                "Operations": ["Encrypt"] }),
        ),
    ] {
        let mut input = more;
        match operation {
            "CreateAlias" => input["TargetKeyId"] = id.clone(),
            _ => input["KeyId"] = id.clone(),
        }
        assert_eq!(rig.refused(operation, input).await, "AccessDeniedException", "{operation}");
    }
    for operation in ["UpdateAlias", "DeleteAlias"] {
        let input = json!({ "AliasName": ALIAS, "TargetKeyId": id });
        assert_eq!(rig.refused(operation, input).await, "NotAuthorizedException", "{operation}");
    }
    let policy = rig.ok("GetKeyPolicy", json!({ "KeyId": id })).await;
    assert!(policy["Policy"].as_str().unwrap().contains("auto-s3-1"));
}

#[tokio::test]
async fn it_rotates_each_year() {
    let rig = Rig::new().await;
    let first = metadata(&rig, ALIAS).await;
    let status = rig.ok("GetKeyRotationStatus", json!({ "KeyId": first["KeyId"] })).await;
    assert_eq!(status["RotationPeriodInDays"], 365);
    rig.clock.advance(Duration::from_secs(365 * 24 * 60 * 60));
    assert_eq!(rotate(&rig).await, 1);
    let next = metadata(&rig, ALIAS).await;
    assert_ne!(next["CurrentKeyMaterialId"], first["CurrentKeyMaterialId"]);
}
