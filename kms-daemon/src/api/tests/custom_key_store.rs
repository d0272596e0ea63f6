//! Custom key stores, of which there are none.

use serde_json::json;

use super::Rig;

#[tokio::test]
async fn no_store_is_found() {
    let rig = Rig::new().await;
    let listed = rig.ok("DescribeCustomKeyStores", json!({})).await;
    assert_eq!(listed, json!({ "CustomKeyStores": [], "Truncated": false }));
    let id = json!({ "CustomKeyStoreId": "cks-1234567890abcdef0" });
    let name = json!({ "CustomKeyStoreName": "x" });
    let rename = json!({ "CustomKeyStoreId": "cks-1", "NewCustomKeyStoreName": "x" });
    let random = json!({ "NumberOfBytes": 1, "CustomKeyStoreId": "cks-1" });
    let key = json!({ "Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": "cks-1" });
    let external =
        json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": "cks-1", "XksKeyId": "x" });
    for (operation, input) in [
        ("ConnectCustomKeyStore", &id),
        ("DisconnectCustomKeyStore", &id),
        ("DeleteCustomKeyStore", &id),
        ("UpdateCustomKeyStore", &rename),
        ("DescribeCustomKeyStores", &id),
        ("DescribeCustomKeyStores", &name),
        ("GenerateRandom", &random),
        ("CreateKey", &key),
        ("CreateKey", &external),
    ] {
        let refusal = rig.refused(operation, input.clone()).await;
        assert_eq!(refusal, "CustomKeyStoreNotFoundException", "{operation} {input}");
    }
}

#[tokio::test]
async fn shapes_are_checked_all_the_same() {
    let rig = Rig::new().await;
    let long = "x".repeat(65);
    for (operation, input) in [
        ("ConnectCustomKeyStore", json!({})),
        ("DeleteCustomKeyStore", json!({ "CustomKeyStoreId": long })),
        ("DescribeCustomKeyStores", json!({ "Limit": 0 })),
        ("DescribeCustomKeyStores", json!({ "CustomKeyStoreId": "a", "CustomKeyStoreName": "b" })),
        ("CreateCustomKeyStore", json!({})),
        ("CreateCustomKeyStore", json!({ "CustomKeyStoreName": "a" })),
        ("CreateCustomKeyStore", json!({ "CustomKeyStoreName": "a", "CustomKeyStoreType": "b" })),
        ("CreateKey", json!({ "Origin": "AWS_CLOUDHSM" })),
        ("CreateKey", json!({ "CustomKeyStoreId": "cks-1" })),
        ("CreateKey", json!({ "XksKeyId": "x" })),
        ("CreateKey", json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": "cks-1" })),
    ] {
        assert_eq!(rig.refused(operation, input.clone()).await, "ValidationException", "{input}");
    }
    let marker = json!({ "Marker": "x" });
    assert_eq!(rig.refused("DescribeCustomKeyStores", marker).await, "InvalidMarkerException");
    let cluster = json!({ "CustomKeyStoreName": "a", "CloudHsmClusterId": "cluster-1a23b4cdefg" });
    let refusal = rig.refused("CreateCustomKeyStore", cluster).await;
    assert_eq!(refusal, "CloudHsmClusterNotFoundException");
    let external = json!({ "CustomKeyStoreName": "a", "CustomKeyStoreType": "EXTERNAL_KEY_STORE" });
    let refusal = rig.refused("CreateCustomKeyStore", external).await;
    assert_eq!(refusal, "UnsupportedOperationException");
}
