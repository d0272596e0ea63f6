//! The daemon of the last release and this one, on one store and at the same time, and each on what the other one has
//! written.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{assert_intact, assert_opens, create, encrypt};
use hsm_tests::patience::until;
use hsm_tests::{environment, programs};
use serde_json::{Value, json};

use super::rolling::roll;
use super::{BOUND, Pair, set_enabled, try_encrypt};

/// The daemon of the last release. Without it the test is left out.
fn former() -> Option<PathBuf> {
    let former = environment::kmsd_beside();
    if former.is_none() {
        let how = "runs with --nightly, --suite etcd, or --beside COMMIT";
        programs::skip("the daemon of the last release beside this one", how);
    }
    former
}

/// A pair, of which the first daemon is of the last release, and the second one too if `both`.
fn with_former(former: &Path, both: bool) -> Pair {
    let mut pair = Pair::start();
    let count = if both { 2 } else { 1 };
    for daemon in [&mut pair.one, &mut pair.two].into_iter().take(count) {
        assert!(daemon.stop().success());
        daemon.set_program(Some(former.to_owned()));
        daemon.restart();
        await_devices(daemon, 1);
    }
    pair.await_ready();
    pair
}

fn ok(daemon: &Daemon, operation: &str, input: &Value) -> Value {
    let answer = call(daemon, operation, input);
    assert_eq!(answer.status, 200, "{operation}: {answer:?}");
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

#[test]
fn an_upgrade_under_load_loses_no_request_and_neither_does_the_way_back() {
    let Some(former) = former() else { return };
    let mut pair = with_former(&former, true);
    let programs = [None, None, Some(former.clone()), Some(former)];
    roll(&mut pair, &programs);
}

#[test]
fn both_releases_serve_one_store_at_once() {
    let Some(former) = former() else { return };
    let mut pair = with_former(&former, false);
    let Pair { one, two, .. } = &mut pair;
    for (here, there) in [(&*one, &*two), (&*two, &*one)] {
        let key = create(here);
        let input = json!({ "KeyId": key });
        let blob = encrypt(there, &key);
        assert_opens(here, &blob);
        ok(there, "RotateKeyOnDemand", &input);
        let tags = json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] });
        ok(here, "TagResource", &tags);
        assert_opens(there, &encrypt(here, &key));
        assert_opens(there, &blob);
        let alias = format!("alias/of-{}", key.rsplit('/').next().expect("an id"));
        ok(here, "CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": key }));
        until("the alias is known", || try_encrypt(there, &alias).status == 200);
        let grant = json!({ "KeyId": key, "GranteePrincipal": "arn:aws:iam::000000000000:root",
            "Operations": ["Decrypt"] });
        ok(here, "CreateGrant", &grant);
        let grants = ok(there, "ListGrants", &input)["Grants"].as_array().map(Vec::len);
        assert_eq!(grants, Some(1));
        for (changes, follows) in [(here, there), (there, here)] {
            set_enabled(changes, &key, false);
            let begin = Instant::now();
            while try_encrypt(follows, &key).status == 200 {
                assert!(begin.elapsed() < BOUND, "it is used after it was disabled");
            }
            set_enabled(changes, &key, true);
            until("it is used again", || try_encrypt(follows, &key).status == 200);
        }
        ok(there, "ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
        until("it is seen", || try_encrypt(here, &key).status != 200);
        ok(here, "CancelKeyDeletion", &input);
        ok(there, "EnableKey", &input);
        until("it is used again", || try_encrypt(here, &key).status == 200);
        assert_opens(here, &blob);
    }
    for daemon in [&mut *one, &mut *two] {
        assert!(daemon.stop().success());
        assert_intact(daemon);
    }
}

#[test]
fn a_data_directory_goes_to_this_release_and_back() {
    let Some(former) = former() else { return };
    let mut daemon = Daemon::stopped(&["soft"]);
    let (mut keys, mut blobs) = (Vec::<String>::new(), Vec::<String>::new());
    for round in 0..4 {
        daemon.set_program((round % 2 == 0).then(|| former.clone()));
        daemon.restart();
        await_devices(&daemon, 1);
        blobs.iter().for_each(|blob| assert_opens(&daemon, blob));
        keys.push(create(&daemon));
        for key in &keys {
            ok(&daemon, "RotateKeyOnDemand", &json!({ "KeyId": key }));
            blobs.push(encrypt(&daemon, key));
        }
        // Once in order, once as in a power cut.
        if round < 2 { assert!(daemon.stop().success()) } else { daemon.kill() }
    }
    daemon.restart();
    await_devices(&daemon, 1);
    blobs.iter().for_each(|blob| assert_opens(&daemon, blob));
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}
