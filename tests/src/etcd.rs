//! Daemons on a cluster of etcd.

use std::fs;
use std::path::Path;

use kms_store::etcd::testing::EtcdCluster;

use crate::daemon::Daemon;

/// The arguments of a daemon whose records are in this cluster, as its user `kmsd`.
///
/// # Panics
/// If a path of the cluster is not UTF-8.
#[must_use]
pub fn arguments(cluster: &EtcdCluster) -> Vec<String> {
    arguments_through(cluster, &cluster.urls())
}

/// The same, where the members are found at other addresses.
///
/// # Panics
/// If a path of the cluster is not UTF-8.
#[must_use]
pub fn arguments_through(cluster: &EtcdCluster, urls: &[String]) -> Vec<String> {
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let values = [
        ("--store", format!("etcd:{}", urls.join(","))),
        ("--store-ca", text(&cluster.authority())),
        ("--store-cert", text(&cluster.certificate())),
        ("--store-key", text(&cluster.key())),
        ("--store-user", "kmsd".to_owned()),
        ("--store-password-file", text(&cluster.password())),
    ];
    values.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// Makes a daemon that is yet to be started the same host to devices as another one.
///
/// # Panics
/// If the host keys cannot be copied.
pub fn same_host(as_this: &Daemon, daemon: &Daemon) {
    let [from, to] = [as_this, daemon].map(|daemon| daemon.data().join("hosts"));
    fs::create_dir_all(&to).expect("a directory");
    fs::set_permissions(&to, fs::metadata(&from).expect("there").permissions()).expect("set");
    for entry in fs::read_dir(&from).expect("a directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
