//! Pagination: complete, in order, and stable while the listed things change.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Rig;

/// Reads all pages, calling `between` after each.
async fn pages(
    rig: &Rig,
    operation: &str,
    mut input: Value,
    member: &str,
    mut between: impl AsyncFnMut(),
) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    loop {
        let answer = rig.ok(operation, input.clone()).await;
        pages.push(answer[member].as_array().unwrap().clone());
        match answer.get("NextMarker") {
            Some(marker) => {
                assert_eq!(answer["Truncated"], json!(true));
                input["Marker"] = marker.clone();
            }
            None => {
                assert_eq!(answer["Truncated"], json!(false));
                return pages;
            }
        }
        between().await;
    }
}

fn names(pages: &[Vec<Value>], member: &str) -> Vec<String> {
    pages.concat().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_key_is_listed_once() {
    let rig = Rig::new().await;
    let mut ids = BTreeSet::new();
    for _ in 0..7 {
        ids.insert(rig.create("HMAC_256").await);
    }
    let listed = pages(&rig, "ListKeys", json!({ "Limit": 3 }), "Keys", async || {}).await;
    assert_eq!(listed.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(names(&listed, "KeyId"), ids.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_stays_is_listed_while_others_come_and_go() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let name = |n: usize| format!("alias/{n:03}");
    for n in (0..40).step_by(2) {
        rig.ok("CreateAlias", json!({ "AliasName": name(n), "TargetKeyId": id })).await;
    }
    for filter in [json!({ "Limit": 3 }), json!({ "Limit": 3, "KeyId": id })] {
        let mut step = 0;
        let listed = pages(&rig, "ListAliases", filter, "Aliases", async || {
            // One that the listing has passed or not, and the last one that was listed.
            let input = json!({ "AliasName": name(2 * step + 1), "TargetKeyId": id });
            rig.ok("CreateAlias", input).await;
            rig.ok("DeleteAlias", json!({ "AliasName": name(2 * step + 1) })).await;
            let last = json!({ "AliasName": name(4), "TargetKeyId": id });
            if step == 0 {
                rig.ok("DeleteAlias", json!({ "AliasName": name(4) })).await;
            } else if step == 1 {
                rig.ok("CreateAlias", last).await;
            }
            step += 1;
        })
        .await;
        let expected: Vec<_> = (0..40).step_by(2).map(name).collect();
        let mut listed = names(&listed, "AliasName");
        listed.retain(|name| !name.starts_with("alias/aws/"));
        assert_eq!(listed, expected);
    }
}

#[tokio::test]
async fn tags_are_listed_in_pages() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let tags: Vec<_> =
        (0..50).map(|n| json!({ "TagKey": format!("k{n:02}"), "TagValue": "v" })).collect();
    rig.ok("TagResource", json!({ "KeyId": id, "Tags": tags })).await;
    let input = json!({ "KeyId": id, "Limit": 20 });
    let listed = pages(&rig, "ListResourceTags", input, "Tags", async || {}).await;
    assert_eq!(listed.concat(), tags);
    assert_eq!(listed.len(), 3);
    assert_eq!(
        rig.ok("ListResourceTags", json!({ "KeyId": id })).await,
        json!({ "Tags": tags, "Truncated": false })
    );
}

#[tokio::test]
async fn limits_are_those_of_the_service() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    for (operation, max) in [("ListKeys", 1000), ("ListAliases", 100), ("ListResourceTags", 50)] {
        let input = |limit: i64| match operation {
            "ListResourceTags" => json!({ "KeyId": id, "Limit": limit }),
            _ => json!({ "Limit": limit }),
        };
        for limit in [1, max] {
            rig.ok(operation, input(limit)).await;
        }
        for limit in [0, -1, max + 1] {
            assert_eq!(rig.refused(operation, input(limit)).await, "ValidationException");
        }
    }
}

#[tokio::test]
async fn markers_work_only_where_they_come_from() {
    let rig = Rig::new().await;
    let (first, second) = (rig.create("HMAC_256").await, rig.create("HMAC_256").await);
    for name in ["alias/a", "alias/b"] {
        rig.ok("CreateAlias", json!({ "AliasName": name, "TargetKeyId": first })).await;
    }
    let marker = |answer: Value| answer["NextMarker"].clone();
    let keys = marker(rig.ok("ListKeys", json!({ "Limit": 1 })).await);
    let aliases = marker(rig.ok("ListAliases", json!({ "Limit": 1 })).await);
    let of_key = marker(rig.ok("ListAliases", json!({ "Limit": 1, "KeyId": first })).await);
    let shared = json!(["OTHER_ACCOUNTS_VIA_RAM"]);
    for (operation, input) in [
        ("ListKeys", json!({ "Marker": aliases })),
        ("ListKeys", json!({ "Marker": "made up" })),
        ("ListKeys", json!({ "Marker": keys, "ResourceOwners": shared })),
        ("ListAliases", json!({ "Marker": keys })),
        ("ListAliases", json!({ "Marker": of_key })),
        ("ListAliases", json!({ "Marker": aliases, "KeyId": first })),
        ("ListAliases", json!({ "Marker": of_key, "KeyId": second })),
        ("ListResourceTags", json!({ "Marker": keys, "KeyId": first })),
    ] {
        let refused = rig.refused(operation, input.clone()).await;
        assert_eq!(refused, "InvalidMarkerException", "{operation} {input}");
    }
    for marker in ["", &"x".repeat(1025), "\u{19}"] {
        let refused = rig.refused("ListKeys", json!({ "Marker": marker })).await;
        assert_eq!(refused, "ValidationException");
    }
    let shared = rig.ok("ListKeys", json!({ "ResourceOwners": shared })).await;
    assert_eq!(shared, json!({ "Keys": [], "Truncated": false }));
}
