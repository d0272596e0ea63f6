//! What former releases have written opens with today's code: store, key tokens, sealed secrets, audit log, devices'
//! files, backups, exports and ciphertexts.
//!
//! `tests/fixtures/formats` has one directory for each time that a format was raised, with a backup and an export of a
//! small installation, and what to expect in them. `tests/fixtures/formats/list` says which constants are numbers of
//! formats, and which directory has each number. Whoever raises one runs this with `STRONGROOM_MAKE_FIXTURE=DIR`, puts
//! what is then in `DIR` beside the others, and adds it to the list. Nobody changes what is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{assert_intact, assert_opens, create, encrypt};
use hsm_tests::{ctl, environment};
use serde_json::{Value, json};

/// Where formats are that this is about, below the root.
const SOURCES: [&str; 3] = ["kms-daemon", "host-driver/src/approval.rs", "hsm-core/src/keystore"];
/// Names of constants that are numbers of formats.
const NAMES: [&str; 5] = ["VERSION", "FORMAT", "SUPPORTED_FORMAT", "LAYOUT", "HOSTS_VERSION"];
/// The first line of the passphrase's file.
const PASSPHRASE: &str = "a passphrase for fixtures";

fn fixtures() -> PathBuf {
    environment::root().join("tests/fixtures/formats")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The constants in a file or below a directory, with their numbers.
fn constants(path: &Path, found: &mut BTreeMap<String, u64>) {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).expect("a directory").flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries.iter().for_each(|entry| constants(&entry.path(), found));
    }
    if path.extension().is_none_or(|ending| ending != "rs") {
        return;
    }
    let name = path.strip_prefix(environment::root()).expect("below the root").display();
    for line in fs::read_to_string(path).expect("text").lines() {
        let Some((_, rest)) = line.split_once("const ") else { continue };
        let Some((constant, rest)) = rest.split_once(": u") else { continue };
        let Some((_, value)) = rest.split_once(" = ") else { continue };
        let number = value.trim_end_matches(';').parse();
        if let (true, Ok(number)) = (NAMES.contains(&constant), number) {
            found.insert(format!("{name} {constant}"), number);
        }
    }
}

#[test]
fn no_format_is_raised_without_a_fixture() {
    let mut found = BTreeMap::new();
    for source in SOURCES {
        constants(&environment::root().join(source), &mut found);
    }
    assert!(found.len() > 10, "{found:?}");
    let list = fs::read_to_string(fixtures().join("list")).expect("the list");
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in lines {
        // File, constant, and for each number the directory that has it; or why there is none.
        let (named, about) = line.split_once(": ").expect("a name");
        let number = found.remove(named).unwrap_or_else(|| panic!("{named} is gone: {line}"));
        if about.starts_with("not stored") {
            continue;
        }
        let directories: Vec<&str> = about.split(' ').collect();
        assert_eq!(
            directories.len() as u64,
            number,
            "{named} is {number}, and fixtures/formats/list names {directories:?}: see tests/formats.rs"
        );
        for directory in directories {
            let is_there =
                directory == "code" || fixtures().join(directory).join("backup").exists();
            assert!(is_there, "{named}: there is no fixture {directory}");
        }
    }
    assert!(found.is_empty(), "not in fixtures/formats/list: {found:?}");
}

/// Makes an installation with something of each kind, and writes a backup and an export of it.
fn make(directory: &Path) {
    let mut daemon = Daemon::start(&["soft"]);
    let key = create(&daemon);
    let mut blobs = vec![encrypt(&daemon, &key)];
    let ok = |operation: &str, input: Value| {
        let answer = call(&daemon, operation, &input);
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
    };
    ok("RotateKeyOnDemand", json!({ "KeyId": key }));
    ok("EnableKeyRotation", json!({ "KeyId": key }));
    ok("TagResource", json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] }));
    ok("CreateAlias", json!({ "AliasName": "alias/fixture", "TargetKeyId": key }));
    let grantee = "arn:aws:iam::000000000000:root";
    let grant = json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Decrypt"] });
    ok("CreateGrant", grant);
    ok(
        "CreateKey",
        json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "MultiRegion": true }),
    );
    ok("CreateKey", json!({ "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC" }));
    blobs.push(encrypt(&daemon, "alias/fixture"));
    let at = ["--data", text(daemon.data()), "--url", daemon.url()];
    for arguments in
        [["user", "create", "ana"], ["key", "create", "ana"], ["group", "create", "all"]]
    {
        let (code, said) = ctl::run(&[&["iam"], &arguments[..], &at[..]].concat());
        assert_eq!(code, 0, "{said}");
    }
    assert!(daemon.stop().success());
    fs::write(directory.join("passphrase"), format!("{PASSPHRASE}\n")).expect("written");
    let expected = json!({ "blobs": blobs, "keys": 3 });
    fs::write(directory.join("expected.json"), expected.to_string()).expect("written");
    let (backup, export, passphrase) =
        (directory.join("backup"), directory.join("export"), directory.join("passphrase"));
    let more = ["--data", text(daemon.data()), "--passphrase-file", text(&passphrase)];
    for arguments in
        [&["backup", text(&backup), "--with-devices"][..], &["store", "export", text(&export)]]
    {
        let (code, said) = ctl::run(&[arguments, &more[..]].concat());
        assert_eq!(code, 0, "{said}");
    }
}

/// Opens all that is in a fixture.
fn check(directory: &Path) {
    let expected = fs::read_to_string(directory.join("expected.json")).expect("what to expect");
    let expected: Value = serde_json::from_str(&expected).expect("JSON");
    let passphrase = directory.join("passphrase");
    let (backup, export) = (directory.join("backup"), directory.join("export"));
    let mut daemon = Daemon::stopped(&["soft"]);
    let own = daemon.data().to_owned();
    let secret = ["--passphrase-file", text(&passphrase)];
    let restore = ["restore", text(&backup), "--data", text(&own)];
    let (code, said) = ctl::run(&[&restore[..], &secret].concat());
    assert_eq!(code, 0, "{}: {said}", directory.display());
    daemon.restart();
    await_devices(&daemon, 1);
    let blobs = expected["blobs"].as_array().expect("a list").iter();
    blobs.for_each(|blob| assert_opens(&daemon, blob.as_str().expect("text")));
    let listed = call(&daemon, "ListKeys", &json!({ "Limit": 1000 })).json();
    let keys = listed["Keys"].as_array().map_or(0, Vec::len);
    assert_eq!(Some(keys as u64), expected["keys"].as_u64());
    // Every record, every key token and every secret.
    let at = ["--data", text(&own), "--url", daemon.url()];
    let (code, found) = ctl::run(&[&["store", "scrub", "--rate", "1000"], &at[..]].concat());
    assert_eq!((code, &found["faults"]), (0, &json!(0)), "{found}");
    assert!(found["opened"].as_u64() >= Some(5), "{found}");
    assert!(daemon.stop().success());
    assert_intact(&daemon);
    let new = hsm_tests::daemon::private_dir();
    let import = ["store", "import", text(&export), "--data", text(new.path())];
    let (code, said) = ctl::run(&[&import[..], &secret].concat());
    assert_eq!(code, 0, "{}: {said}", directory.display());
}

#[test]
fn what_former_releases_have_written_opens() {
    let mut checked = 0;
    for entry in fs::read_dir(fixtures()).expect("fixtures").flatten() {
        if entry.path().is_dir() {
            check(&entry.path());
            checked += 1;
        }
    }
    assert!(checked > 0, "there is no fixture");
}

/// The next fixture can be made at any time.
#[test]
fn what_is_written_today_opens() {
    let directory = tempfile::tempdir().expect("a directory");
    make(directory.path());
    check(directory.path());
    if let Some(to) = std::env::var_os("STRONGROOM_MAKE_FIXTURE") {
        fs::create_dir(&to).expect("a new directory");
        for entry in fs::read_dir(directory.path()).expect("read").flatten() {
            fs::copy(entry.path(), Path::new(&to).join(entry.file_name())).expect("copied");
        }
    }
}
