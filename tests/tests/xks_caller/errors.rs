//! What callers learn from each error of a proxy, as AWS KMS translates it. The name of the error decides, and the
//! status of the response does not.

use hsm_tests::http::get;
use serde_json::json;

use super::rig::{Mode, response, text, to_create, to_decrypt, to_encrypt, to_make};
use super::{SLOW, Store, behind_a_front, caller};

/// Name and status of an error, and whether it is worth to try again; then what comes of it when a store is made, when
/// a store is connected, and when a key is made. Uses of keys fail alike.
const TABLE: [(&str, u16, bool, &str, &str, &str); 13] = [
    (
        "ValidationException",
        400,
        false,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "CustomKeyStoreInvalidState",
    ),
    (
        "InvalidStateException",
        400,
        false,
        "XksProxyInvalidConfiguration",
        "INVALID_CONFIGURATION",
        "XksKeyInvalidConfiguration",
    ),
    (
        "InvalidCiphertextException",
        400,
        false,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "CustomKeyStoreInvalidState",
    ),
    (
        "InvalidKeyUsageException",
        400,
        false,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "XksKeyInvalidConfiguration",
    ),
    (
        "AuthenticationFailedException",
        401,
        false,
        "XksProxyIncorrectAuthenticationCredential",
        "ACCESS_DENIED",
        "CustomKeyStoreInvalidState",
    ),
    (
        "AccessDeniedException",
        403,
        false,
        "XksProxyIncorrectAuthenticationCredential",
        "ACCESS_DENIED",
        "CustomKeyStoreInvalidState",
    ),
    (
        "KeyNotFoundException",
        404,
        false,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "XksKeyNotFound",
    ),
    (
        "InvalidUriPathException",
        404,
        false,
        "XksProxyInvalidConfiguration",
        "INVALID_CONFIGURATION",
        "CustomKeyStoreInvalidState",
    ),
    (
        "ThrottlingException",
        429,
        true,
        "XksProxyUriUnreachable",
        "NOT_REACHABLE",
        "CustomKeyStoreInvalidState",
    ),
    (
        "InternalException",
        500,
        true,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "CustomKeyStoreInvalidState",
    ),
    (
        "UnsupportedOperationException",
        501,
        false,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "XksKeyInvalidConfiguration",
    ),
    (
        "DependencyTimeoutException",
        503,
        true,
        "XksProxyUriUnreachable",
        "TIMED_OUT",
        "CustomKeyStoreInvalidState",
    ),
    // Of no version of the API.
    (
        "SurpriseException",
        400,
        false,
        "XksProxyInvalidResponse",
        "INVALID_RESPONSE",
        "CustomKeyStoreInvalidState",
    ),
];

#[test]
fn each_error_of_a_proxy_is_translated() {
    let (theirs, store, external, front) = behind_a_front();
    let caller = caller(&front, &SLOW);
    let id = caller.connected("partner", &store);
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let blob = caller.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let second = caller.store("second", &theirs.store("second", &[]));
    let named = json!({ "CustomKeyStoreId": second });
    let other = Store { path: "/other/kms/xks/v1".to_owned(), ..store.clone() };
    for (name, status, retryable, of_store, of_connection, of_key) in TABLE {
        let body = json!({ "errorName": name, "errorMessage": "LIE" }).to_string();
        // As the specification has it, and with a status that says something else.
        for status in [status, 418] {
            front.set(Mode::Say(response(status, body.as_bytes())));
            let code = caller.refused("CreateCustomKeyStore", &to_create("other", &other));
            assert_eq!(code, format!("{of_store}Exception"), "{name} {status}");
            let code = caller.refused("CreateKey", &to_make(&id, "another"));
            assert_eq!(code, format!("{of_key}Exception"), "{name} {status}");
            let generate = json!({ "KeyId": key, "KeySpec": "AES_256" });
            for (operation, body) in [
                ("Encrypt", &to_encrypt(&key, b"x")),
                ("Decrypt", &to_decrypt(&blob)),
                ("GenerateDataKey", &generate),
                ("GenerateDataKeyWithoutPlaintext", &generate),
                (
                    "ReEncrypt",
                    &json!({
                        "CiphertextBlob": blob, "DestinationKeyId": key,
                        "SourceEncryptionContext": { "project": "nile" },
                    }),
                ),
            ] {
                let answer = caller.call(operation, body);
                let found = (answer.status, answer.code());
                let expected = (400, "KMSInvalidStateException".to_owned());
                assert_eq!(found, expected, "{operation} {name} {status}");
                assert!(!answer.body.escape_ascii().to_string().contains("LIE"), "{answer:?}");
            }
        }
        let failed = caller.connect(&second);
        assert_eq!(failed["ConnectionErrorCode"], format!("XKS_PROXY_{of_connection}"), "{name}");
        caller.ok("DisconnectCustomKeyStore", &named);

        let metrics = String::from_utf8(get(&caller.daemon, "/metrics").body).expect("text");
        let error = if name.starts_with("Surprise") { "InvalidResponse" } else { name };
        for operation in ["GetKeyMetadata", "Encrypt", "Decrypt"] {
            let labels = format!(
                "strongroom_xks_proxy_errors_total{{store=\"{id}\",operation=\"{operation}\",\
                 error=\"{error}\",retryable=\"{retryable}\"}} "
            );
            assert!(metrics.contains(&labels), "{labels} in {metrics}");
        }
    }
    front.set(Mode::Forward);
    caller.ok("Decrypt", &to_decrypt(&blob));
    assert_eq!(caller.connect(&second)["ConnectionState"], "CONNECTED");
}

/// What is not a response of the API at all, in calls that AWS KMS translates differently.
#[test]
fn unreadable_responses_are_translated() {
    let (_theirs, store, external, front) = behind_a_front();
    let caller = caller(&front, &SLOW);
    let id = caller.connected("partner", &store);
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let other = Store { path: "/other/kms/xks/v1".to_owned(), ..store.clone() };
    for says in [
        response(405, b""),
        response(500, b"<html>"),
        response(400, b"{}"),
        response(400, br#"{"errorName":7}"#),
        response(200, b"{}"),
        response(204, b""),
    ] {
        front.set(Mode::Say(says.clone()));
        let said = says.escape_ascii();
        let code = caller.refused("CreateCustomKeyStore", &to_create("other", &other));
        assert_eq!(code, "XksProxyInvalidResponseException", "{said}");
        let code = caller.refused("Encrypt", &to_encrypt(&key, b"x"));
        assert_eq!(code, "KMSInvalidStateException", "{said}");
        let code = caller.refused("CreateKey", &to_make(&id, "another"));
        // An answer without what was asked for is one about a key of another kind.
        let typed = ["CustomKeyStoreInvalidStateException", "XksKeyInvalidConfigurationException"];
        assert!(typed.contains(&code.as_str()), "{said}: {code}");
    }
}
