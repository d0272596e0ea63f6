//! A cluster that was put back to an older state while no daemon ran, or is another one.

use std::fs;
use std::path::Path;

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{accept, assert_opens, code_in, create, encrypt, events};
use kms_store::etcd::testing::EtcdCluster;
use serde_json::json;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("copied")),
        }
    }
}

#[test]
fn a_cluster_that_was_put_back_is_served_only_if_a_person_accepts_it() {
    let mut cluster = EtcdCluster::start(1);
    let saved = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::stopped(&["soft"]);
    daemon.replace_arguments(&["--store".to_owned(), format!("etcd:{}", cluster.urls()[0])]);
    daemon.restart();
    await_devices(&daemon, 1);
    let key = create(&daemon);
    let blob = encrypt(&daemon, &key);
    assert!(daemon.stop().success());
    cluster.kill(0);
    let data = cluster.data(0);
    copy(&data, &saved.path().join("older"));
    cluster.restart(0);

    // As it was left: nothing is asked.
    daemon.restart();
    await_devices(&daemon, 1);
    let disabled = call(&daemon, "DisableKey", &json!({ "KeyId": key }));
    assert_eq!(disabled.status, 200, "{disabled:?}");
    create(&daemon);
    assert!(daemon.stop().success());

    cluster.kill(0);
    cluster.forget(0);
    copy(&saved.path().join("older"), &data);
    cluster.restart(0);
    let said = daemon.restart_refused();
    assert!(said.contains("The records in etcd are of an older state"), "{said}");
    assert!(!said.contains("Restore store.redb"), "no backup of the directory helps: {said}");
    let code = code_in(&said);
    assert_eq!(code_in(&daemon.restart_refused()), code, "it is asked for once");
    accept(&daemon, &code);
    daemon.restart();
    await_devices(&daemon, 1);
    // What the message has said.
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 1);
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
}

/// Somebody has the daemon use another cluster than before, such as an empty one.
#[test]
fn another_cluster_is_served_only_if_a_person_accepts_it() {
    let [first, second] = [EtcdCluster::start(1), EtcdCluster::start(1)];
    let at = |cluster: &EtcdCluster| ["--store".to_owned(), format!("etcd:{}", cluster.urls()[0])];
    let mut daemon = Daemon::stopped(&["soft"]);
    daemon.replace_arguments(&at(&first));
    daemon.restart();
    await_devices(&daemon, 1);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());

    daemon.replace_arguments(&at(&second));
    let said = daemon.restart_refused();
    assert!(said.contains("in another etcd cluster than before"), "{said}");
    // With the one that it was, nothing has happened.
    daemon.replace_arguments(&at(&first));
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());

    daemon.replace_arguments(&at(&second));
    let code = code_in(&daemon.restart_refused());
    accept(&daemon, &code);
    daemon.restart();
    await_devices(&daemon, 1);
    let listed = call(&daemon, "ListKeys", &json!({})).json();
    assert_eq!(listed["Keys"].as_array().map(Vec::len), Some(0), "{listed}");
    assert_opens(&daemon, &encrypt(&daemon, &create(&daemon)));
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 1);
}
