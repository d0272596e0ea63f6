//! What two daemons on one store share, and what each of them counts for itself: docs/etcd.md says so.

use std::time::Duration;

use hsm_tests::ctl;
use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::etcd::arguments;
use hsm_tests::http::{Answer, Connection, Request, await_devices, call};
use hsm_tests::losses::{create, encrypt};
use hsm_tests::patience::until;
use serde_json::json;

use super::Pair;

/// The access key of a user, which works at every daemon.
fn user(daemon: &Daemon) -> Credentials {
    let at = ["--data", daemon.data().to_str().expect("UTF-8"), "--url", daemon.url()];
    let run = |arguments: &[&str]| {
        let (code, said) = ctl::text(&[&["iam"], arguments, &at].concat());
        assert_eq!(code, 0, "{said}");
        said
    };
    run(&["user", "create", "ana"]);
    let profile = run(&["key", "create", "ana"]);
    Credentials::of_profile(&profile)
}

/// Sends bytes that were signed for whichever host.
fn send(daemon: &Daemon, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(daemon);
    connection.write(bytes).expect("written");
    connection.read().expect("an answer")
}

#[test]
fn each_daemon_counts_quotas_and_remembers_signatures_for_itself() {
    let mut pair = Pair::start();
    pair.await_ready();
    let ana = user(&pair.one);
    let quota = ["--quota", "CreateAlias=0.01"].map(str::to_owned);
    let more = [arguments(&pair.cluster), quota.to_vec()].concat();
    for daemon in [&mut pair.one, &mut pair.two] {
        assert!(daemon.stop().success());
        daemon.replace_arguments(&more);
        daemon.restart();
        await_devices(daemon, 1);
    }
    pair.await_ready();
    let Pair { one, two, .. } = &pair;

    // With two daemons an account has twice the rate, and no more.
    let key = create(one);
    let mut served = 0;
    for number in 0..6 {
        let daemon = if number % 2 == 0 { one } else { two };
        let alias = json!({ "AliasName": format!("alias/{number}"), "TargetKeyId": key });
        let answer = call(daemon, "CreateAlias", &alias);
        match answer.status {
            200 => served += 1,
            _ => assert_eq!(answer.code(), "ThrottlingException"),
        }
    }
    assert_eq!(served, 2);

    // A request that somebody has seen can be sent again to the other daemon, once, if it has the same name.
    let id = "00000000-0000-0000-0000-000000000001";
    let who = Request::form("2011-06-15", "GetCallerIdentity", &[]);
    let who = who.header("amz-sdk-invocation-id", id).header("amz-sdk-request", "attempt=1");
    let seen = who.signed_for("sts", &ana, one).to_bytes(one.address());
    let answers = [one, one, two, two].map(|daemon| send(daemon, &seen).status);
    assert_eq!(answers, [200, 403, 200, 403]);
}

#[test]
fn the_last_use_of_a_key_is_known_to_both() {
    let pair = Pair::start();
    pair.await_ready();
    let Pair { one, two, .. } = &pair;
    let key = create(one);
    let last = |daemon: &Daemon| {
        let told = call(daemon, "GetKeyLastUsage", &json!({ "KeyId": key })).json();
        told["KeyLastUsage"]["Operation"].as_str().map(str::to_owned)
    };
    let blob = encrypt(one, &key);
    assert_eq!(last(one).as_deref(), Some("Encrypt"), "at once where it was used");
    until("the other one knows", || last(two).as_deref() == Some("Encrypt"));
    assert_eq!(call(two, "Decrypt", &json!({ "CiphertextBlob": blob })).status, 200);
    until("the first one knows", || last(one).as_deref() == Some("Decrypt"));
    // What the first one writes later does not take it back.
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!([one, two].map(|daemon| last(daemon).expect("used")), ["Decrypt", "Decrypt"]);
}
