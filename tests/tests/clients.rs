//! Real clients: boto3, the AWS CLI, the AWS Encryption SDK and the AWS SDK for JavaScript; each
//! file of `tests/clients` against a daemon of its own.

use hsm_tests::daemon::{Daemon, REGION};
use hsm_tests::{javascript, programs, python};

macro_rules! files {
    ($hsm:literal $arguments:expr; $($name:ident),+ $(,)?) => {$(
        #[test]
        fn $name() {
            let daemon = Daemon::start_with(&[$hsm], &$arguments);
            python::run(concat!("test_", stringify!($name), ".py"), &daemon);
        }
    )+};
}

// What a device does, over QEMU's serial line.
files! { "qemu" ["--link", "uart"];
    imported,
    key_types,
}

// The same without RSA: an emulated device that generates key pairs in advance takes a core for minutes.
files! { "qemu" ["--link", "uart", "--rsa-stock", "0,0,0"];
    aliases,
    cli,
    credentials,
    encryption_sdk,
    grants,
    keys,
    mac,
    rotation,
    signing,
    symmetric,
    tags_and_policies,
}

// What clients make of it, whatever the line.
files! { "soft" [];
    accounts,
    cli_operations,
    encryption_sdk_providers,
    iam_reads,
    neighbours,
    operations,
    recorded,
    service_model,
}

/// Takes minutes, as it is about callers whose patience ends.
#[test]
fn slow_keys() {
    if let Err(reason) = programs::nightly() {
        return programs::skip("many callers who want slow keys", &reason);
    }
    python::run("test_slow_keys.py", &Daemon::start(&["soft"]));
}

/// Keys that two Regions share, by every Python client.
#[test]
fn multi_region() {
    let regions = ["--region", REGION, "--region", "eu-west-1"];
    python::run("test_multi_region.py", &Daemon::start_with(&["soft"], &regions));
}

/// Identities by boto3 and the AWS CLI; what was made outlives a restart.
#[test]
fn iam() {
    let mut daemon = Daemon::start(&["soft"]);
    python::run("test_iam.py", &daemon);
    assert!(daemon.stop().success());
    daemon.restart();
    python::run("test_iam.py", &daemon);
}

/// The AWS SDK for JavaScript and its AWS Encryption SDK.
#[test]
fn javascript() {
    // What is throttled must be tried again.
    let quota = ["--quota", "DescribeCustomKeyStores=0.5"];
    javascript::run(&Daemon::start_with(&["soft"], &quota));
}

/// A file that nobody runs would pass for good.
#[test]
fn every_file_is_run() {
    let here = include_str!("clients.rs");
    let clients = hsm_tests::environment::root().join("tests/clients");
    for entry in std::fs::read_dir(clients).expect("the clients") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if let Some(subject) = name.strip_prefix("test_").and_then(|name| name.strip_suffix(".py"))
        {
            let run = here.contains(&format!("    {subject},\n"));
            // Run by `daemon.rs`, against a daemon with TLS, by `monitoring.rs`, and by the tests of
            // their names.
            let alone = ["tls", "metrics", "multi_region", "iam", "slow_keys", "trails"];
            let elsewhere = alone.contains(&subject);
            assert!(run || elsewhere, "{name} is not run");
        }
    }
}
