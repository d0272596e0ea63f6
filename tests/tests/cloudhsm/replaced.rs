//! A token that another one of the same label has taken the place of: it is noticed by its serial number, not used,
//! and does not get the password before the operator accepts it.

use std::time::Duration;

use hsm_tests::http::get;
use hsm_tests::patience::until;
use kms_pkcs11::{Fault, Token};
use serde_json::{Value, json};

use super::rig::{
    MODULE, PASSWORD, Rig, Tokens, is_there, place, text, to_decrypt, to_encrypt, to_make,
};

/// What `kmsctl cluster show` says of a token.
fn state(rig: &Rig, cluster: &str, token: &str) -> Value {
    let shown = rig.cluster(&["show", cluster]);
    let states = shown["TokenStates"].as_array().expect("tokens").clone();
    let state = states.into_iter().find(|state| state["Token"] == token);
    state.unwrap_or_else(|| panic!("{token} is not in {shown}"))
}

/// Runs `kmsctl cluster accept`: its exit code, and what it says.
fn accept(rig: &Rig, cluster: &str, (token, serial): (&str, &str), more: &[&str]) -> (i32, String) {
    let named = ["accept", cluster, "--token", token, "--serial", serial];
    rig.said(&[&named[..], more].concat())
}

#[test]
fn a_token_that_was_replaced_is_not_used_before_it_is_accepted() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada", "bea"], &[]);
    let id = rig.connected(&["ada", "bea"]);
    let store = json!({ "CustomKeyStoreId": id });
    let cluster = text(&rig.described(&id)["CloudHsmClusterId"]);
    let key = text(&rig.key(&id)["KeyId"]);
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let former = state(&rig, &cluster, "bea");
    assert_eq!(former["State"], "PRESENT");
    assert!(text(&former["SerialNumber"]).len() >= 8 && former["FoundSerialNumber"].is_null());

    rig.tokens.replace("bea");
    let decrypts = || rig.call("Decrypt", &to_decrypt(&blob)).status == 200;
    until("it is noticed", || {
        assert!(decrypts(), "the other token has the key");
        let report = get(&rig.daemon, "/readyz").json();
        report["problems"].to_string().contains("bea (TokenReplaced)")
    });
    let refused = rig.refused("CreateKey", &to_make(&id));
    assert_eq!(refused, "CloudHsmClusterInvalidConfigurationException");
    let now = state(&rig, &cluster, "bea");
    assert_eq!(now["State"], "REPLACED");
    assert_eq!(now["SerialNumber"], former["SerialNumber"]);
    let serial = text(&now["FoundSerialNumber"]);
    assert_ne!(now["FoundSerialNumber"], former["SerialNumber"]);
    assert_eq!(state(&rig, &cluster, "ada")["State"], "PRESENT");

    // Nobody can copy the key to it any more, so it is refused, and stays out.
    let (code, said) = accept(&rig, &cluster, ("bea", &serial), &[]);
    assert!(code == 2 && said.contains("does not have all keys"), "{code}: {said}");
    let (code, said) = accept(&rig, &cluster, ("bea", "0000"), &["--without-keys"]);
    assert!(code == 2 && said.contains("another serial number"), "{code}: {said}");
    let (code, _) = accept(&rig, &cluster, ("cleo", &serial), &["--without-keys"]);
    assert_eq!(code, 2, "not a token of the cluster");
    assert_eq!(state(&rig, &cluster, "bea")["State"], "REPLACED");
    assert_eq!(rig.refused("CreateKey", &to_make(&id)), refused);

    // Both at once: the serial number says which.
    rig.tokens.make("ada", PASSWORD);
    rig.ok("DisconnectCustomKeyStore", &store);
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED", "one token is enough");
    assert!(decrypts());

    let (code, said) = accept(&rig, &cluster, ("bea", &serial), &["--without-keys"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(state(&rig, &cluster, "bea")["SerialNumber"], serial.as_str());
    let made = rig.key(&id);
    let new = rig.ok("Encrypt", &to_encrypt(&text(&made["KeyId"]), b"y"))["CiphertextBlob"].take();
    for _ in 0..4 {
        assert!(decrypts(), "in the other token");
        assert_eq!(rig.call("Decrypt", &to_decrypt(&new)).status, 200, "in both");
    }
    // The one that it was is another one now.
    rig.tokens.restore("bea");
    assert_eq!(state(&rig, &cluster, "bea")["State"], "REPLACED");
    assert!(decrypts());
}

#[test]
fn a_store_whose_only_token_was_replaced_does_not_connect() {
    if !is_there() {
        return;
    }
    let mut rig = Rig::start(&["ada"], &[]);
    let id = rig.connected(&["ada"]);
    let store = json!({ "CustomKeyStoreId": id });
    let cluster = text(&rig.described(&id)["CloudHsmClusterId"]);
    let key = text(&rig.key(&id)["KeyId"]);
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    // The daemon knows which it was after a start, too.
    rig.daemon.stop();
    rig.tokens.replace("ada");
    rig.daemon.restart();
    let answer = rig.call("Decrypt", &to_decrypt(&blob));
    assert_eq!(answer.code(), "KMSInvalidStateException");
    let message = answer.json()["message"].to_string();
    assert!(message.contains("another one than it was"), "{message}");
    rig.ok("DisconnectCustomKeyStore", &store);
    let found = rig.connect(&id);
    assert_eq!(found["ConnectionState"], "FAILED");
    assert_eq!(found["ConnectionErrorCode"], "INSUFFICIENT_CLOUDHSM_HSMS");

    let serial = text(&state(&rig, &cluster, "ada")["FoundSerialNumber"]);
    let (code, said) = accept(&rig, &cluster, ("ada", &serial), &[]);
    assert!(code == 2 && said.contains("does not have all keys"), "{code}: {said}");
    // A backup that was restored into another device has the keys.
    rig.tokens.restore("ada");
    let former = text(&state(&rig, &cluster, "ada")["SerialNumber"]);
    rig.tokens.renumber("ada", &former);
    let restored = state(&rig, &cluster, "ada");
    assert_eq!(restored["State"], "REPLACED");
    let serial = text(&restored["FoundSerialNumber"]);
    let (code, said) = accept(&rig, &cluster, ("ada", &serial), &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(state(&rig, &cluster, "ada")["State"], "PRESENT");
    rig.ok("DisconnectCustomKeyStore", &store);
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
    assert_eq!(rig.call("Decrypt", &to_decrypt(&blob)).status, 200);
}

/// What the daemon's end of the pipe makes of it: a wrong PIN would be told, so the PIN was not tried.
#[tokio::test]
async fn another_token_does_not_get_the_pin() {
    if !is_there() {
        return;
    }
    let tokens = Tokens::new(&["ada"]);
    let modules = tokens.modules(Duration::from_secs(10));
    let place = |serial| place(MODULE, "ada", serial);
    let serial = Token::look(&modules, &place(None)).await.expect("it is there").serial;
    let open = |serial, pin: &str| Token::new(&modules, place(serial), pin.to_owned().into());
    let right = open(Some(&serial), PASSWORD);
    right.connect().await.expect("it is this one");
    assert_eq!(open(Some("0000"), "wrong password").connect().await, Err(Fault::Replaced));
    assert_eq!(open(Some(&serial), "wrong password").connect().await, Err(Fault::WrongPin));
    // One whose number nobody knew is the one that was logged in to first.
    let first = open(None, PASSWORD);
    first.connect().await.expect("any");
    assert_eq!(first.report().serial.as_ref(), Some(&serial));
    tokens.replace("ada");
    until_replaced(&first).await;
    until_replaced(&right).await;
}

async fn until_replaced(token: &Token) {
    for _ in 0..100 {
        if token.connect().await == Err(Fault::Replaced) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", token.report());
}
