//! Tags.

use serde_json::{Value, json};

use super::Rig;

fn tag(key: &str, value: &str) -> Value {
    json!({ "TagKey": key, "TagValue": value })
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let rig = Rig::new().await;
    let created = rig.ok("CreateKey", json!({ "Tags": [tag("b", "1"), tag("a", "")] })).await;
    let id = created["KeyMetadata"]["KeyId"].clone();
    let list = async || rig.ok("ListResourceTags", json!({ "KeyId": id })).await["Tags"].clone();
    assert_eq!(list().await, json!([tag("a", ""), tag("b", "1")]));
    let more = json!({ "KeyId": id, "Tags": [tag("b", "2"), tag("é +-=._:/@", "value")] });
    assert!(rig.ok("TagResource", more).await.is_null());
    assert_eq!(list().await, json!([tag("a", ""), tag("b", "2"), tag("é +-=._:/@", "value")]));
    let keys = json!({ "KeyId": id, "TagKeys": ["a", "absent"] });
    assert!(rig.ok("UntagResource", keys).await.is_null());
    assert_eq!(list().await, json!([tag("b", "2"), tag("é +-=._:/@", "value")]));
}

#[tokio::test]
async fn tags_that_are_not_acceptable() {
    let rig = Rig::new().await;
    let id = rig.create("SYMMETRIC_DEFAULT").await;
    let limits = json!([tag(&"k".repeat(128), &"v".repeat(256))]);
    rig.ok("TagResource", json!({ "KeyId": id, "Tags": limits })).await;
    for (tags, expected) in [
        (json!([tag("a", "1"), tag("a", "2")]), "TagException"),
        (json!([tag("aws:x", "1")]), "TagException"),
        (json!([tag("AWS:x", "1")]), "TagException"),
        (json!([tag("", "1")]), "ValidationException"),
        (json!([tag(&"k".repeat(129), "1")]), "ValidationException"),
        (json!([tag("a", &"v".repeat(257))]), "ValidationException"),
        (json!([tag("a;b", "1")]), "TagException"),
        (json!([tag("a", "\n")]), "TagException"),
        (json!([{ "TagKey": "a" }]), "ValidationException"),
        (json!([{ "TagValue": "a" }]), "ValidationException"),
        (json!({ "a": "b" }), "SerializationException"),
    ] {
        let input = json!({ "KeyId": id, "Tags": tags });
        assert_eq!(rig.refused("TagResource", input).await, expected, "{tags}");
        assert_eq!(rig.refused("CreateKey", json!({ "Tags": tags })).await, expected, "{tags}");
    }
    assert_eq!(rig.refused("TagResource", json!({ "KeyId": id })).await, "ValidationException");
    let reserved = json!({ "KeyId": id, "TagKeys": ["aws:x"] });
    assert_eq!(rig.refused("UntagResource", reserved).await, "TagException");
}

#[tokio::test]
async fn a_key_has_at_most_fifty() {
    let rig = Rig::new().await;
    let tags = |range: std::ops::Range<usize>| -> Vec<Value> {
        range.map(|n| tag(&format!("k{n}"), "v")).collect()
    };
    assert_eq!(rig.refused("CreateKey", json!({ "Tags": tags(0..51) })).await, "TagException");
    let created = rig.ok("CreateKey", json!({ "Tags": tags(0..50) })).await;
    let id = &created["KeyMetadata"]["KeyId"];
    let one_more = json!({ "KeyId": id, "Tags": tags(50..51) });
    assert_eq!(rig.refused("TagResource", one_more.clone()).await, "TagException");
    rig.ok("TagResource", json!({ "KeyId": id, "Tags": [tag("k0", "new")] })).await;
    rig.ok("UntagResource", json!({ "KeyId": id, "TagKeys": ["k7"] })).await;
    rig.ok("TagResource", one_more).await;
}
