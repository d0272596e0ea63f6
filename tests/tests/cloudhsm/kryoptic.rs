//! Tokens of another kind: those of Kryoptic, which count wrong PINs and lock them. `cargo xtask test` builds the module
//! from `tests/kryoptic`; `STRONGROOM_KRYOPTIC` names it. Tokens are initialized with `pkcs11-tool` of OpenSC.

use std::env;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::daemon::Daemon;
use hsm_tests::programs::skip;
use serde_json::json;

use super::rig::{PASSWORD, Rig, Tokens, text, to_decrypt, to_encrypt};

const OFFICER: &str = "so-pin-81726354";
/// More wrong PINs than any token takes.
const MANY: usize = 30;

/// Runs `pkcs11-tool` on the token of a slot.
fn tool(rig: &Rig, slot: usize, arguments: &[&str]) {
    let output = Command::new("pkcs11-tool")
        .env("KRYOPTIC_CONF", rig.tokens.path("kryoptic.conf"))
        .args(["--module", &rig.module, "--slot", &slot.to_string()])
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

/// Sets the PIN of a token's user, as its officer.
fn set_pin(rig: &Rig, slot: usize) {
    let officer = ["--login", "--login-type", "so", "--so-pin", OFFICER];
    tool(rig, slot, &[&officer[..], &["--init-pin", "--pin", PASSWORD]].concat());
}

/// A daemon that may run Kryoptic, with tokens; said where it is missing.
fn start(labels: &[&str]) -> Option<Rig> {
    let missing = |reason| {
        skip("cloudhsm on Kryoptic", reason);
        None
    };
    let Ok(module) = env::var("STRONGROOM_KRYOPTIC") else {
        return missing("set STRONGROOM_KRYOPTIC to the path of its module");
    };
    if Command::new("pkcs11-tool").arg("--version").output().is_err() {
        return missing("pkcs11-tool is missing; apt-get install opensc");
    }
    let tokens = Tokens::new(&[]);
    let slots = labels.iter().enumerate().map(|(number, label)| {
        let place = tokens.text(&format!("{label}.sql"));
        format!("[[slots]]\nslot = {}\ndbtype = \"sqlite\"\ndbargs = \"{place}\"\n", number + 1)
    });
    fs::write(tokens.path("kryoptic.conf"), slots.collect::<String>()).expect("written");
    let mut daemon = Daemon::stopped(&["soft"]);
    daemon.set_variable("KRYOPTIC_CONF", &tokens.text("kryoptic.conf"));
    let arguments = ["--pkcs11-module", &module, "--pkcs11-env", "KRYOPTIC_CONF"];
    let arguments =
        [&arguments[..], &["--pkcs11-timeout", "10000", "--rsa-stock", "0,0,0"]].concat();
    daemon.replace_arguments(&arguments.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    daemon.restart();
    let rig = Rig { tokens, daemon, module };
    for (number, label) in labels.iter().enumerate() {
        tool(&rig, number + 1, &["--init-token", "--label", label, "--so-pin", OFFICER]);
        set_pin(&rig, number + 1);
    }
    Some(rig)
}

#[test]
fn keys_are_used_in_tokens_of_kryoptic() {
    let Some(mut rig) = start(&["ada", "bea"]) else { return };
    let id = rig.connected(&["ada", "bea"]);
    let key = text(&rig.key(&id)["KeyId"]);
    let blob = rig.ok("Encrypt", &to_encrypt(&key, &[7; 4096]))["CiphertextBlob"].take();
    for _ in 0..4 {
        let opened = rig.ok("Decrypt", &to_decrypt(&blob));
        assert_eq!(opened["Plaintext"], BASE64.encode([7; 4096]), "in each of the tokens");
    }
    let mut bytes = BASE64.decode(text(&blob)).expect("Base64");
    *bytes.last_mut().expect("a byte") ^= 1;
    let damaged = to_decrypt(&json!(BASE64.encode(bytes)));
    assert_eq!(rig.refused("Decrypt", &damaged), "InvalidCiphertextException");
    let random = json!({ "NumberOfBytes": 48, "CustomKeyStoreId": id });
    let random = text(&rig.ok("GenerateRandom", &random)["Plaintext"]);
    assert_eq!(BASE64.decode(random).expect("Base64").len(), 48);
    rig.daemon.stop();
    rig.daemon.restart();
    assert_eq!(rig.ok("Decrypt", &to_decrypt(&blob))["Plaintext"], BASE64.encode([7; 4096]));
}

#[test]
fn a_pin_that_the_token_locks_is_told_and_unlocked_by_its_officer() {
    let Some(rig) = start(&["ada"]) else { return };
    let id = rig.connected(&["ada"]);
    let store = json!({ "CustomKeyStoreId": id });
    let key = text(&rig.key(&id)["KeyId"]);
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let connect_with = |password: &str| {
        rig.ok("DisconnectCustomKeyStore", &store);
        let body = json!({ "CustomKeyStoreId": id, "KeyStorePassword": password });
        rig.ok("UpdateCustomKeyStore", &body);
        rig.connect(&id)["ConnectionErrorCode"].clone()
    };
    let tried: Vec<_> = (0..MANY)
        .map(|_| connect_with("not the password"))
        .take_while(|code| code == "INVALID_CREDENTIALS")
        .collect();
    assert!((1..MANY).contains(&tried.len()), "{} wrong PINs", tried.len());
    assert_eq!(connect_with("not the password"), "USER_LOCKED_OUT");
    assert_eq!(connect_with(PASSWORD), "USER_LOCKED_OUT", "the right one comes too late");
    assert_eq!(rig.refused("Decrypt", &to_decrypt(&blob)), "KMSInvalidStateException");
    set_pin(&rig, 1);
    assert!(connect_with(PASSWORD).is_null());
    assert_eq!(rig.ok("Decrypt", &to_decrypt(&blob))["Plaintext"], BASE64.encode("x"));
}
