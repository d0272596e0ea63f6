//! `kmsd --dev`: seeded keys, chosen ids and material, and starting over.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Request, call, get};
use serde_json::{Value, json};
use sha2::Sha256;

const MAC_KEY: &str = "11111111-2222-4333-8444-555555555555";
const SIGNING_KEY: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
const OTHER_KEY: &str = "99999999-9999-4999-8999-999999999999";
/// 32 bytes that are easy to find again.
const SECRET: &[u8; 32] = b"a secret that everybody may know";

fn seed() -> String {
    let secret = STANDARD.encode(SECRET);
    format!(
        r#"
[[key]]
id = "{MAC_KEY}"
spec = "HMAC_256"
usage = "GENERATE_VERIFY_MAC"
description = "for tokens"
material = "{secret}"
aliases = ["alias/tokens", "alias/other"]
tags = {{ team = "blue" }}

[[key]]
id = "{SIGNING_KEY}"
spec = "ECC_NIST_P256"
usage = "SIGN_VERIFY"
"#
    )
}

fn start(seed: &str) -> (Daemon, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("seed.toml");
    fs::write(&path, seed).expect("written");
    let path = path.to_str().expect("UTF-8");
    (Daemon::start_with(&["soft"], &["--dev", "--seed", path]), dir)
}

fn ok(daemon: &Daemon, operation: &str, input: &Value) -> Value {
    let answer = call(daemon, operation, input);
    assert_eq!(answer.status, 200, "{operation}: {}", answer.body.escape_ascii());
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

fn reset(daemon: &Daemon, header: &str) -> hsm_tests::http::Answer {
    let request = Request {
        method: "POST".to_owned(),
        path: "/_strongroom/reset".to_owned(),
        headers: vec![(header.to_owned(), "yes".to_owned())],
        body: Vec::new(),
    };
    request.send(daemon)
}

/// The MAC that the seeded key makes is the one that its material makes elsewhere.
fn check_mac(daemon: &Daemon, key: &str) {
    let message = b"message";
    let input = json!({
        "KeyId": key, "Message": STANDARD.encode(message), "MacAlgorithm": "HMAC_SHA_256",
    });
    let made = ok(daemon, "GenerateMac", &input)["Mac"].as_str().map(|mac| STANDARD.decode(mac));
    let mut expected = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length");
    expected.update(message);
    let expected = expected.finalize().into_bytes();
    assert_eq!(made.expect("a MAC").expect("Base64"), expected.as_slice());
}

#[test]
fn seeded_keys_are_there_after_every_start() {
    let (mut daemon, _dir) = start(&seed());
    for _ in 0..2 {
        daemon.await_output("DEVELOPMENT MODE");
        check_mac(&daemon, "alias/tokens");
        check_mac(&daemon, "alias/other");
        let key = ok(&daemon, "DescribeKey", &json!({ "KeyId": MAC_KEY }))["KeyMetadata"].clone();
        assert_eq!(key["Description"], "for tokens");
        assert_eq!((&key["Origin"], &key["KeyState"]), (&json!("EXTERNAL"), &json!("Enabled")));
        let tags = ok(&daemon, "ListResourceTags", &json!({ "KeyId": MAC_KEY }))["Tags"].clone();
        assert_eq!(
            tags,
            json!([
                { "TagKey": "_custom_id_", "TagValue": MAC_KEY },
                { "TagKey": "team", "TagValue": "blue" },
            ])
        );
        let key = ok(&daemon, "DescribeKey", &json!({ "KeyId": SIGNING_KEY }));
        assert_eq!(key["KeyMetadata"]["Origin"], "AWS_KMS");
        let keys = ok(&daemon, "ListKeys", &json!({}))["Keys"].clone();
        assert_eq!(keys.as_array().expect("keys").len(), 2);
        assert_eq!(get(&daemon, "/readyz").json()["development"], true);
        daemon.stop();
        daemon.restart();
    }
    // Given material is on disk as a token only.
    daemon.stop();
    let mut files = vec![daemon.data().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).expect("read").map(|e| e.expect("an entry").path()));
            continue;
        }
        let content = fs::read(&path).expect("read");
        for secret in [SECRET.as_slice(), STANDARD.encode(SECRET).as_bytes()] {
            let found = content.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "key material in {}", path.display());
        }
    }
}

#[test]
fn a_reset_leaves_the_seed() {
    let (daemon, _dir) = start(&seed());
    let grantee = "arn:aws:iam::111122223333:root";
    let grant =
        json!({ "KeyId": MAC_KEY, "GranteePrincipal": grantee, "Operations": ["GenerateMac"] });
    ok(&daemon, "CreateGrant", &grant);
    let made = ok(&daemon, "CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
    ok(&daemon, "CreateAlias", &json!({ "AliasName": "alias/new", "TargetKeyId": made }));
    ok(&daemon, "EnableKeyRotation", &json!({ "KeyId": made }));

    // What a web page can make a browser send is not enough.
    assert_eq!(reset(&daemon, "x-other").status, 403);
    ok(&daemon, "DescribeKey", &json!({ "KeyId": made }));
    let answer = reset(&daemon, "x-strongroom-reset");
    assert_eq!(answer.json(), json!({ "keysRemoved": 3, "keysMade": 2 }));
    assert_eq!(call(&daemon, "DescribeKey", &json!({ "KeyId": made })).code(), "NotFoundException");
    let aliases = ok(&daemon, "ListAliases", &json!({}))["Aliases"].clone();
    let mut names = Vec::new();
    for alias in aliases.as_array().expect("aliases") {
        let name = alias["AliasName"].as_str().expect("a name");
        // Those that a region always has.
        if !name.starts_with("alias/aws/") {
            names.push(name);
        }
    }
    names.sort_unstable();
    assert_eq!(names, ["alias/other", "alias/tokens"], "{aliases}");
    let grants = ok(&daemon, "ListGrants", &json!({ "KeyId": MAC_KEY }))["Grants"].clone();
    assert_eq!(grants, json!([]));
    check_mac(&daemon, "alias/tokens");
}

#[test]
fn clients_choose_ids_and_material_by_tags() {
    let (daemon, _dir) = start("");
    let tag = |key: &str, value: &str| json!({ "TagKey": key, "TagValue": value });
    let chosen = json!({
        "KeySpec": "HMAC_256",
        "KeyUsage": "GENERATE_VERIFY_MAC",
        "Tags": [
            tag("_custom_id_", OTHER_KEY),
            tag("_custom_key_material_", &STANDARD.encode(SECRET)),
        ],
    });
    let made = ok(&daemon, "CreateKey", &chosen)["KeyMetadata"].clone();
    assert_eq!(made["KeyId"], OTHER_KEY);
    check_mac(&daemon, OTHER_KEY);
    assert_eq!(call(&daemon, "CreateKey", &chosen).code(), "AlreadyExistsException");
    for tags in
        [json!([tag("_custom_id_", "my-key")]), json!([tag("_custom_key_material_", "not Base64")])]
    {
        let answer = call(&daemon, "CreateKey", &json!({ "Tags": tags }));
        assert_eq!(answer.code(), "ValidationException");
    }
    let short = json!([tag("_custom_key_material_", &STANDARD.encode(b"short"))]);
    let answer = call(&daemon, "CreateKey", &json!({ "Tags": short }));
    assert_eq!(answer.code(), "IncorrectKeyMaterialException");
}

#[test]
fn nothing_of_it_without_the_flag() {
    let daemon = Daemon::start(&["soft"]);
    for tag in ["_custom_id_", "_custom_key_material_"] {
        let tags = json!([{ "TagKey": tag, "TagValue": OTHER_KEY }]);
        let answer = call(&daemon, "CreateKey", &json!({ "Tags": tags }));
        assert_eq!(answer.code(), "TagException");
        assert!(answer.json()["message"].as_str().expect("a text").contains("--dev"));
    }
    let key = ok(&daemon, "CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
    assert!(reset(&daemon, "x-strongroom-reset").status >= 400);
    ok(&daemon, "DescribeKey", &json!({ "KeyId": key }));
    assert_eq!(get(&daemon, "/readyz").json()["development"], Value::Null);
}

#[test]
fn a_bad_seed_keeps_the_daemon_from_starting() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("seed.toml");
    let secret = STANDARD.encode(SECRET);
    for (text, expected) in [
        (format!("[[key]]\nid = \"x\"\nmaterail = \"{secret}\"\n"), "line 3: unknown field"),
        (format!("[[key]]\nid = \"x\"\nmaterial = \"{secret}\"\n"), "the seed's key x: CreateKey"),
        (
            format!("[[key]]\nid = \"{OTHER_KEY}\"\naliases = [\"tokens\"]\n"),
            "CreateAlias: ValidationException",
        ),
        (
            format!("[[key]]\nid = \"{OTHER_KEY}\"\nmaterial = \"AAAA\"\n"),
            "CreateKey: IncorrectKeyMaterialException",
        ),
    ] {
        fs::write(&path, &text).expect("written");
        let said = Daemon::refused(&["--dev", "--seed", path.to_str().expect("UTF-8")]);
        assert!(said.contains(expected), "{text}: {said}");
        assert!(!said.contains(&secret), "key material in {said}");
    }
    assert!(Daemon::refused(&["--dev", "--seed", "/nowhere"]).contains("cannot read the seed"));
}
