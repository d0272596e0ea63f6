//! A damaged record is repaired from a copy of the store, and nothing that was changed since is taken back.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::ctl;
use hsm_tests::daemon::{Daemon, private_dir};
use hsm_tests::http::{await_devices, get};
use hsm_tests::losses::{assert_intact, assert_opens, create, decrypt, encrypt, events};
use hsm_tests::patience::until;
use kms_store::{Entry, Range, RedbStore, Store as _};
use serde_json::{Value, json};

use super::{Rig, damage, flip, of_data, ok, scrub};

/// A record of the store of a stopped daemon.
fn stored(daemon: &Daemon, key: &str) -> Vec<u8> {
    let mut found = Vec::new();
    damage(daemon, key, |value| found.clone_from(value));
    found
}

/// One character of what a record has under a name is another one, so many characters from its start.
fn flip_at(value: &mut [u8], name: &str, offsets: &[usize]) {
    let name = format!("\"{name}\":\"").into_bytes();
    let start = value.windows(name.len()).position(|part| part == name).expect("it has it");
    for offset in offsets {
        let at = start + name.len() + offset;
        value[at] = if value[at] == b'A' { b'B' } else { b'A' };
    }
}

#[test]
fn a_damaged_record_is_repaired_from_a_copy_and_nothing_is_taken_back() {
    let rig = Rig::new();
    let copies = private_dir();
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (dir, passphrase) = (text(copies.path()), text(&rig.path("passphrase")));
    // One copy at each start.
    let more = ["--replica", &dir, "--replica-passphrase-file", &passphrase];
    let more = [&more[..], &["--replica-interval", "86400"]].concat();
    let mut daemon = Daemon::start_with(&["soft"], &more);
    let keys: Vec<String> = (0..5).map(|_| create(&daemon)).collect();
    let blobs: Vec<String> = keys.iter().map(|key| encrypt(&daemon, key)).collect();
    for arguments in [["user", "create", "ana"], ["key", "create", "ana"]] {
        let flags = of_data(&daemon);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (code, said) = ctl::run(&[&["iam"], &arguments[..], &flags[..]].concat());
        assert_eq!(code, 0, "{said}");
    }
    let listed = || {
        let names = fs::read_dir(copies.path()).expect("a directory").flatten();
        let mut names: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
        names.sort();
        names
    };
    let before = listed();
    assert!(daemon.stop().success());
    daemon.restart();
    await_devices(&daemon, 1);
    until("there is a copy with the keys", || listed() != before);
    // What is changed after the copy.
    let note = json!({ "KeyId": keys[1], "Description": "changed since the copy" });
    ok(&daemon, "UpdateKeyDescription", &note);
    ok(&daemon, "DisableKey", &json!({ "KeyId": keys[2] }));
    assert!(daemon.stop().success());

    let id = |n: usize| keys[n].rsplit_once('/').expect("an ARN").1;
    let record = |n: usize| format!("keys/000000000000/us-east-1/{}", id(n));
    damage(&daemon, &record(0), |value| flip(value));
    damage(&daemon, &record(1), |value| flip_at(value, "token", &[150]));
    // This record cannot even be read. The daemon starts nevertheless.
    damage(&daemon, &record(2), |value| {
        flip_at(value, "token", &[110]);
        let at = value.windows(9).position(|part| part == b"\"token\":\"").expect("a token");
        value[at + 9 + 110] = b'%';
    });
    // Of this one it cannot be said whether it was the token that the copy has.
    damage(&daemon, &record(3), |value| flip_at(value, "token", &[110, 182]));
    let damaged: Vec<Vec<u8>> = (0..4).map(|n| stored(&daemon, &record(n))).collect();
    let kept = listed();
    daemon.restart();
    await_devices(&daemon, 1);
    daemon.await_output("so that it is kept nothing is copied");
    assert_eq!(listed(), kept);

    // With copies that were altered nothing is repaired, and nothing is changed.
    let good: Vec<Vec<u8>> = kept.iter().map(|path| fs::read(path).expect("read")).collect();
    for (path, bytes) in kept.iter().zip(&good) {
        let mut altered = bytes.clone();
        altered[bytes.len() / 2] ^= 1;
        fs::write(path, altered).expect("written");
    }
    let (code, found) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((code, &found["faults"], &found["repaired"]), (1, &json!(4), &Value::Null));
    daemon.kill();
    for (n, value) in damaged.iter().enumerate() {
        assert!(stored(&daemon, &record(n)) == *value, "key {n} was changed");
    }
    for (path, bytes) in kept.iter().zip(&good) {
        fs::write(path, bytes).expect("written");
    }
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blobs[4]);
    for blob in &blobs[..4] {
        assert_ne!(decrypt(&daemon, blob).status, 200);
    }

    let (code, found) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((code, &found["faults"], &found["repaired"]), (1, &json!(1), &json!(3)), "{found}");
    assert_eq!(found["named"][0]["name"], keys[3].as_str(), "{found}");
    assert_opens(&daemon, &blobs[0]);
    assert_opens(&daemon, &blobs[1]);
    // It is whole, and as disabled as before.
    assert_eq!(decrypt(&daemon, &blobs[2]).code(), "DisabledException");
    ok(&daemon, "EnableKey", &json!({ "KeyId": keys[2] }));
    assert_opens(&daemon, &blobs[2]);
    assert_ne!(decrypt(&daemon, &blobs[3]).status, 200);
    let metadata = ok(&daemon, "DescribeKey", &json!({ "KeyId": keys[1] }));
    assert_eq!(metadata["KeyMetadata"]["Description"], "changed since the copy");
    let metrics = get(&daemon, "/metrics");
    let page = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(page.contains("strongroom_scrub_repaired 3"), "{page}");
    let (code, again) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((code, &again["faults"], &again["repaired"]), (1, &json!(1), &Value::Null));
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "RepairRecord").len(), 3);
    assert!(stored(&daemon, &record(3)) == damaged[3], "what no copy has was changed");

    // A sealed secret.
    let access_key = access_key(&daemon);
    damage(&daemon, &access_key, |value| flip_at(value, "blob", &[100]));
    daemon.restart();
    await_devices(&daemon, 1);
    let (_, found) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((&found["faults"], &found["repaired"]), (&json!(1), &json!(1)), "{found}");
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// The name of the record of the only access key in the store of a stopped daemon.
fn access_key(daemon: &Daemon) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = RedbStore::open(&daemon.data().join("store.redb")).expect("it is not running");
    let range = Range { prefix: b"iam/".to_vec(), after: None, limit: 1000 };
    let page = runtime.block_on(store.range(range)).expect("read").value;
    let of_key = |entry: &&Entry| entry.value.windows(8).any(|part| part == b"\"blob\":\"");
    let entry = page.entries.iter().find(of_key).expect("an access key");
    String::from_utf8(entry.key.clone()).expect("UTF-8")
}
