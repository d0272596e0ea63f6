//! The certificates of the cluster and of the daemon are replaced while the daemon runs.

use std::fs;

use hsm_tests::daemon::Daemon;
use hsm_tests::etcd::arguments;
use hsm_tests::http::{await_devices, get};
use hsm_tests::losses::{assert_opens, create, encrypt};
use hsm_tests::patience::until;
use hsm_tests::process::signal_process;
use kms_store::etcd::testing::EtcdCluster;
use rustix::process::Signal;

#[test]
fn new_certificates_for_etcd_count_after_sighup_and_files_that_are_no_good_change_nothing() {
    let mut cluster = EtcdCluster::with_users(1);
    let mut daemon = Daemon::stopped(&["soft"]);
    daemon.replace_arguments(&arguments(&cluster));
    daemon.restart();
    await_devices(&daemon, 1);
    let key = create(&daemon);

    // Files that do not fit each other, and then a password that is not the user's.
    let (good_key, password) =
        (fs::read(cluster.key()).expect("read"), fs::read(cluster.password()).expect("read"));
    fs::write(cluster.key(), "no key").expect("written");
    signal_process(daemon.id(), Signal::HUP);
    daemon.await_output("cannot be used for connections to etcd");
    fs::write(cluster.key(), good_key).expect("written");
    fs::write(cluster.password(), "not that one").expect("written");
    signal_process(daemon.id(), Signal::HUP);
    daemon.await_output("authentication failed");
    fs::write(cluster.password(), password).expect("written");
    assert_opens(&daemon, &encrypt(&daemon, &key));
    create(&daemon);
    assert_eq!(get(&daemon, "/readyz").status, 200);

    // Another authority, for both sides: what the daemon has read does not get it in any longer.
    cluster.renew_certificates();
    cluster.kill(0);
    cluster.restart(0);
    until("the daemon cannot reach the cluster", || get(&daemon, "/readyz").status == 503);
    signal_process(daemon.id(), Signal::HUP);
    daemon.await_output("the certificates and the password for etcd were read again");
    until("the daemon is ready again", || get(&daemon, "/readyz").status == 200);
    assert_opens(&daemon, &encrypt(&daemon, &key));
    create(&daemon);
    assert!(daemon.stop().success());
}
