//! `kmsctl usage`: what clients asked for, counted from the audit log alone.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Request, call};
use hsm_tests::patience::PATIENCE;
use serde_json::{Value, json};

/// Asks for something that must succeed.
fn ask(daemon: &Daemon, operation: &str, body: &Value) -> Value {
    let answer = call(daemon, operation, body);
    assert_eq!(answer.status, 200, "{operation}: {answer:?}");
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

/// The id of a new key.
fn make(daemon: &Daemon, spec: &str, usage: &str) -> String {
    let made = ask(daemon, "CreateKey", &json!({ "KeySpec": spec, "KeyUsage": usage }));
    made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

/// A daemon that served requests of each price, and the directory of its log.
fn used_daemon() -> (Daemon, String) {
    let daemon = Daemon::start(&["soft"]);
    let message = BASE64_STANDARD.encode("m");
    let symmetric = make(&daemon, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let ecc = make(&daemon, "ECC_NIST_P256", "SIGN_VERIFY");
    let rsa = make(&daemon, "RSA_2048", "SIGN_VERIFY");
    let mac = make(&daemon, "HMAC_256", "GENERATE_VERIFY_MAC");

    let body = json!({ "KeyId": symmetric, "Plaintext": message });
    let blob = ask(&daemon, "Encrypt", &body)["CiphertextBlob"].take();
    ask(&daemon, "Encrypt", &body);
    ask(&daemon, "Decrypt", &json!({ "CiphertextBlob": blob }));
    let sign = |key: &str, algorithm: &str| {
        let body = json!({ "KeyId": key, "Message": message, "SigningAlgorithm": algorithm });
        ask(&daemon, "Sign", &body);
    };
    sign(&ecc, "ECDSA_SHA_256");
    sign(&ecc, "ECDSA_SHA_256");
    sign(&rsa, "RSASSA_PSS_SHA_256");
    ask(&daemon, "GetPublicKey", &json!({ "KeyId": ecc }));
    let body = json!({ "KeyId": mac, "Message": message, "MacAlgorithm": "HMAC_SHA_256" });
    ask(&daemon, "GenerateMac", &body);
    for (operation, spec) in [
        ("GenerateDataKeyPair", "ECC_NIST_P256"),
        ("GenerateDataKeyPair", "ECC_NIST_P384"),
        ("GenerateDataKeyPairWithoutPlaintext", "RSA_2048"),
    ] {
        ask(&daemon, operation, &json!({ "KeyId": symmetric, "KeyPairSpec": spec }));
    }
    ask(&daemon, "GenerateRandom", &json!({ "NumberOfBytes": 8 }));
    ask(&daemon, "ScheduleKeyDeletion", &json!({ "KeyId": mac }));
    ask(&daemon, "CancelKeyDeletion", &json!({ "KeyId": mac }));

    // Refused, failed, not signed.
    let wrong = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
    assert_eq!(call(&daemon, "Decrypt", &wrong).status, 400);
    assert_eq!(call(&daemon, "DescribeKey", &json!({ "KeyId": "alias/absent" })).status, 400);
    assert_eq!(Request::new("ListKeys", "{}").send(&daemon).status, 400);

    let log = daemon.data().join("audit").to_str().expect("UTF-8").to_owned();
    (daemon, log)
}

/// The use of this month once each of `keys` has existed for a second.
fn usage(log: &str, keys: u64) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, usage) = ctl::run(&["usage", log]);
        assert_eq!(code, 0, "{usage}");
        if usage["keys"] == keys {
            return usage;
        }
        assert!(Instant::now() < end, "{usage}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn requests_are_counted_by_price_and_operation() {
    let (mut daemon, log) = used_daemon();
    let used = usage(&log, 4);
    assert_eq!(
        used["operations"],
        json!({
            "CancelKeyDeletion": 1,
            "CreateKey": 4,
            "Decrypt": 1,
            "Encrypt": 2,
            "GenerateDataKeyPair": 2,
            "GenerateDataKeyPairWithoutPlaintext": 1,
            "GenerateMac": 1,
            "GenerateRandom": 1,
            "GetPublicKey": 1,
            "ScheduleKeyDeletion": 1,
            "Sign": 3,
        })
    );
    // Counts, and prices in millionths of a dollar.
    assert_eq!(
        used["requests"],
        json!({
            "symmetric": { "count": 11, "price": 33 },
            "rsa2048": { "count": 1, "price": 3 },
            "asymmetric": { "count": 3, "price": 45 },
            "eccPairs": { "count": 2, "price": 20 },
            "rsaPairs": { "count": 1, "price": 1200 },
        })
    );
    assert_eq!((&used["failed"], &used["unreadable"]), (&json!(3), &json!(0)));
    assert_eq!(used["free"], 33, "the first 20,000 of the symmetric ones");
    let keys = used["keysPrice"].as_u64().expect("a price");
    assert!(keys < 4000, "four keys for some minutes, not months: {keys}");
    assert_eq!(used["price"], keys + 33 + 3 + 45 + 20 + 1200 - 33);

    // What is stopped has the same log.
    assert!(daemon.stop().success());
    let after = usage(&log, 4);
    for member in ["month", "requests", "operations", "failed"] {
        assert_eq!(after[member], used[member], "{member}");
    }
}

#[test]
fn a_person_reads_a_table() {
    let (_daemon, log) = used_daemon();
    usage(&log, 4);
    let (code, text) = ctl::text(&["usage", &log]);
    assert_eq!(code, 0);
    let count = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        let rest = line.and_then(|line| line.trim_start().strip_prefix(name));
        let number = rest.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse::<u64>().ok())
    };
    for (name, expected) in [
        ("keys", 4),
        ("symmetric, HMAC, management", 11),
        ("RSA_2048 keys", 1),
        ("other asymmetric keys", 3),
        ("data key pairs, ECC", 2),
        ("data key pairs, RSA", 1),
        ("failed requests", 3),
        ("together", 18),
        ("Encrypt", 2),
        ("Sign", 3),
    ] {
        assert_eq!(count(name), Some(expected), "{name} in\n{text}");
    }
    assert!(text.contains("an estimate"), "{text}");
}

#[test]
fn months_are_apart() {
    let (_daemon, log) = used_daemon();
    let this = usage(&log, 4)["month"].as_str().expect("a month").to_owned();
    let (code, same) = ctl::run(&["usage", &log, "--month", &this]);
    assert_eq!((code, &same["keys"]), (0, &json!(4)), "{same}");
    let (code, before) = ctl::run(&["usage", &log, "--month", "2020-01"]);
    assert_eq!((code, &before["month"]), (0, &json!("2020-01")));
    for member in ["keys", "keysPrice", "failed", "free", "price"] {
        assert_eq!(before[member], 0, "{member} in {before}");
    }
    assert_eq!((&before["requests"], &before["operations"]), (&json!({}), &json!({})));
    for nonsense in ["2020", "2020-13", "2020-1", "January"] {
        assert_eq!(ctl::run(&["usage", &log, "--month", nonsense]).0, 2, "{nonsense}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let (mut daemon, log) = used_daemon();
    assert!(daemon.stop().success());
    let empty = tempfile::tempdir().expect("a directory");
    assert_eq!(ctl::run(&["usage", empty.path().to_str().expect("UTF-8")]).0, 2);

    let file = fs::read_dir(&log)
        .expect("the log")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .expect("a file");
    let text = fs::read_to_string(&file).expect("the file");
    let damaged = text.replacen("\"GenerateRandom\"", "\"GenerateRandom", 1);
    assert_ne!(damaged, text);
    fs::write(&file, damaged).expect("written");
    let (code, used) = ctl::run(&["usage", &log]);
    assert_eq!((code, &used["unreadable"]), (1, &json!(1)), "{used}");
    assert_eq!(used["operations"]["GenerateRandom"], Value::Null);
    assert_eq!(used["operations"]["CreateKey"], 4);
    assert!(ctl::text(&["usage", &log]).1.contains("run `kmsctl audit verify`"));
}
