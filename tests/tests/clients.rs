//! Real clients: boto3, the AWS CLI, the AWS Encryption SDK and the AWS SDK for JavaScript; each
//! file of `tests/clients` against a daemon of its own.

use hsm_tests::daemon::Daemon;
use hsm_tests::{javascript, python};

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
    aliases,
    cli,
    credentials,
    encryption_sdk,
    grants,
    imported,
    key_types,
    keys,
    mac,
    rotation,
    signing,
    symmetric,
    tags_and_policies,
}

// What clients make of it, whatever the line.
files! { "soft" [];
    cli_operations,
    encryption_sdk_providers,
    operations,
    service_model,
}

/// The AWS SDK for JavaScript and its AWS Encryption SDK.
#[test]
fn javascript() {
    // What is throttled must be tried again.
    let quota = ["--quota", "DescribeCustomKeyStores=2"];
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
            // The first is run by `daemon.rs`, against a daemon with TLS; the second waits for
            // daemons of two Regions.
            let elsewhere = ["tls", "multi_region"].contains(&subject);
            assert!(run || elsewhere, "{name} is not run");
        }
    }
}
