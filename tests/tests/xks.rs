//! Another KMS uses keys of this installation: the external key store proxy API over its own port, and
//! `kmsctl xks`, which administers its stores.

use std::collections::BTreeSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_protocol::token::Blob;
use hsm_tests::ctl;
use hsm_tests::daemon::{Credentials, REGION};
use hsm_tests::http::{Request, call};
use hsm_tests::xks::{
    Rig, Store, assert_opens, assert_refused, bytes, files_with, post, to_decrypt, to_encrypt, told,
};
use kms_xks::{CiphertextMetadata, Parts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[path = "xks/mutual_tls.rs"]
mod mutual_tls;
#[path = "xks/remains.rs"]
mod remains;

#[test]
fn every_operation_answers_as_the_api_says() {
    let rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    assert_eq!(store.path, "/partner/kms/xks/v1");
    let Credentials { id, secret } = &store.credentials;
    assert!(
        (20..=30).contains(&id.len())
            && id.bytes().all(|c| c.is_ascii_uppercase() || (b'2'..=b'7').contains(&c)),
        "{id}"
    );
    assert!((43..=64).contains(&secret.len()));

    let health = json!({
        "requestMetadata": { "kmsOperation": "KmsHealthCheck", "kmsRequestId": "health-1" },
    });
    let health = rig.answer(&store, "health", &health);
    assert_eq!((health.status, health.header("content-type")), (200, Some("application/json")));
    let health = health.json();
    assert_eq!(health["xksProxyFleetSize"], 1);
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE", "{health}");

    let metadata = rig.ask(&store, &key, "metadata", &json!({ "requestMetadata": told() }));
    let expected =
        json!({ "keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED" });
    assert_eq!(metadata.json(), expected);

    // The sizes that a proxy has to take, and those of data keys.
    for (length, of_aad) in [(1, 0), (32, 33), (4096, 1), (4300, 8192), (4608, 8192)] {
        let (plaintext, aad) = (vec![0x5a; length], vec![b'a'; of_aad]);
        let made = rig.encrypted(&store, &key, &plaintext, &aad);
        let parts =
            ["ciphertextMetadata", "initializationVector", "ciphertext", "authenticationTag"]
                .map(|name| bytes(&made[name]));
        assert_eq!(parts.each_ref().map(Vec::len), [20, 12, length, 16]);
        assert_ne!(parts[2], plaintext);
        let digest = Sha256::digest(
            [&aad, &parts[0], &parts[1], &parts[2], &parts[3]].map(|part| part.as_slice()).concat(),
        );
        assert_eq!(bytes(&made["ciphertextDataIntegrityValue"]), digest.as_slice());
        assert_opens(&rig.decrypt(&store, &key, &made, &aad), &plaintext);
    }
    let mut body = to_encrypt(b"x", b"");
    body.as_object_mut().expect("an object").remove("ciphertextDataIntegrityValueAlgorithm");
    body.as_object_mut().expect("an object").remove("additionalAuthenticatedData");
    let made = rig.ask(&store, &key, "encrypt", &body).json();
    assert!(made["ciphertextDataIntegrityValue"].is_null(), "nobody has asked for it");
    assert_opens(&rig.decrypt(&store, &key, &made, b""), b"x");
    let used = rig.kms("GetKeyLastUsage", &json!({ "KeyId": key }));
    assert!(used.to_string().contains("Decrypt"), "{used}");
}

#[test]
fn every_refusal_has_its_name() {
    let rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let other = rig.key(&json!({}));
    let made = rig.encrypted(&store, &key, b"plaintext", b"aad");

    for path in ["/", "/partner", "/partner/kms/xks/v2/health", "/partner/kms/xks/v1/keys/x/rotate"]
    {
        let answer = rig.send(&rig.sign(path, &json!({}), &store.credentials));
        assert_refused(&answer, 404, "InvalidUriPathException");
    }
    let mut got = rig.sign(&format!("{}/health", store.path), &json!({}), &store.credentials);
    got.method = "GET".to_owned();
    assert_eq!(rig.send(&got).status, 405);

    for unknown in [&*other, "00000000-0000-4000-8000-000000000000", "no-key-id", "alias.x"] {
        for what in ["metadata", "encrypt"] {
            let answer = rig.ask(&store, unknown, what, &to_encrypt(b"x", b""));
            assert_refused(&answer, 404, "KeyNotFoundException");
        }
        let answer = rig.decrypt(&store, unknown, &made, b"aad");
        assert_refused(&answer, 404, "KeyNotFoundException");
    }
    for body in [json!({}), json!([]), json!({ "requestMetadata": {} })] {
        for what in ["metadata", "encrypt", "decrypt"] {
            let answer = rig.ask(&store, &key, what, &body);
            assert_refused(&answer, 400, "ValidationException");
        }
        assert_refused(&rig.answer(&store, "health", &body), 400, "ValidationException");
    }
    let long = rig.ask(&store, &key, "encrypt", &to_encrypt(&[0; 4609], b""));
    assert_refused(&long, 501, "UnsupportedOperationException");
    let long = rig.ask(&store, &key, "encrypt", &to_encrypt(b"x", &[0; 8193]));
    assert_refused(&long, 400, "ValidationException");
    let huge = rig.ask(&store, &key, "encrypt", &to_encrypt(&[0; 900_000], b""));
    assert_refused(&huge, 501, "UnsupportedOperationException");

    // Each bit of each part counts, and so does the data that is not sent back.
    for name in ["ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"] {
        for at in 0..bytes(&made[name]).len() {
            let mut changed = bytes(&made[name]);
            changed[at] ^= 1;
            let mut bad = made.clone();
            bad[name] = json!(BASE64.encode(changed));
            let answer = rig.decrypt(&store, &key, &bad, b"aad");
            assert_refused(&answer, 400, "InvalidCiphertextException");
        }
    }
    for aad in [&b""[..], b"aa", b"aad\0", b"AAD"] {
        let answer = rig.decrypt(&store, &key, &made, aad);
        assert_refused(&answer, 400, "InvalidCiphertextException");
    }
    rig.ctl(&["add-key", "partner", &other]);
    let answer = rig.decrypt(&store, &other, &made, b"aad");
    assert_refused(&answer, 400, "InvalidCiphertextException");
    assert_opens(&rig.decrypt(&store, &key, &made, b"aad"), b"plaintext");
    rig.ctl(&["remove-key", "partner", &key]);
    let answer = rig.decrypt(&store, &key, &made, b"aad");
    assert_refused(&answer, 404, "KeyNotFoundException");
}

#[test]
fn strangers_get_one_answer() {
    let rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let (neighbour, _) = rig.with_key("neighbour");
    let body = to_encrypt(b"x", b"");
    let at = |prefix: &str| format!("/{prefix}/kms/xks/v1/keys/{key}/encrypt");
    let wrong =
        |id: &str, secret: &str| Credentials { id: id.to_owned(), secret: secret.to_owned() };
    let Credentials { id, secret } = &store.credentials;
    let nobody = wrong("XKSAAAAAAAAAAAAAAAAA", secret);
    let forged = wrong(id, &"A".repeat(44));
    let root = rig.daemon.credentials();
    let mut changed = rig.sign(&at("partner"), &body, &store.credentials);
    changed.body = to_encrypt(b"y", b"").to_string().into_bytes();
    let mut moved = rig.sign(&at("partner"), &body, &store.credentials);
    moved.path = format!("/partner/kms/xks/v1/keys/{key}/decrypt");
    let for_kms = post(&at("partner"), &body).signed_for("kms", &store.credentials, &rig.daemon);
    let answers = [
        rig.sign(&at("partner"), &body, &nobody),
        rig.sign(&at("partner"), &body, &forged),
        rig.sign(&at("partner"), &body, &root),
        rig.sign(&at("nowhere"), &body, &nobody),
        rig.sign(&at("nowhere"), &body, &forged),
        rig.sign(&at("neighbour"), &body, &forged),
        post(&at("partner"), &body),
        post(&at("nowhere"), &body),
        changed,
        moved,
        for_kms,
    ]
    .map(|request| rig.send(&request));
    for answer in &answers {
        assert_refused(answer, 401, "AuthenticationFailedException");
        assert_eq!(answer.body, answers[0].body, "all are alike");
    }
    // Whoever has a credential learns that it is another path's, and not whether anybody has that one.
    let [there, nowhere] = ["neighbour", "nowhere"]
        .map(|prefix| rig.send(&rig.sign(&at(prefix), &body, &store.credentials)));
    assert_refused(&there, 404, "InvalidUriPathException");
    assert_eq!((nowhere.status, nowhere.body), (there.status, there.body));
    // A credential of a store is not an access key.
    let answer = Request::new("ListKeys", "{}").signed_by(&neighbour.credentials, &rig.daemon);
    assert_eq!(answer.send(&rig.daemon).code(), "UnrecognizedClientException");
    // The port of the API of KMS serves no stores, and the other one nothing else.
    let elsewhere = rig.sign(&at("partner"), &body, &store.credentials).send(&rig.daemon);
    assert_ne!(elsewhere.status, 200);
    let answer = rig.send(&Request::new("ListKeys", "{}").signed(&rig.daemon));
    assert_refused(&answer, 404, "InvalidUriPathException");
    assert_eq!(rig.ask(&store, &key, "encrypt", &body).status, 200);
}

#[test]
fn credentials_rotate_with_overlap() {
    let rig = Rig::start();
    let (old, key) = rig.with_key("partner");
    let new = Store::of(&rig.ctl(&["rotate-credential", "partner"]));
    assert_ne!(old.credentials.id, new.credentials.id);
    let made = rig.encrypted(&old, &key, b"x", b"");
    assert_opens(&rig.decrypt(&new, &key, &made, b""), b"x");
    assert_eq!(rig.try_ctl(&["rotate-credential", "partner"]).0, 2, "two at a time");
    let shown = rig.ctl(&["show", "partner"]);
    assert_eq!(shown["Credentials"].as_array().map(Vec::len), Some(2), "{shown}");
    assert!(!shown.to_string().contains(&new.credentials.secret), "shown once only");

    rig.ctl(&["retire-credential", "partner", &old.credentials.id]);
    let answer = rig.decrypt(&old, &key, &made, b"");
    assert_refused(&answer, 401, "AuthenticationFailedException");
    assert_opens(&rig.decrypt(&new, &key, &made, b""), b"x");
    let last = ["retire-credential", "partner", &new.credentials.id];
    assert_eq!(rig.try_ctl(&last).0, 2, "nobody could use the store");
    let newest = Store::of(&rig.ctl(&["rotate-credential", "partner"]));
    assert_opens(&rig.decrypt(&newest, &key, &made, b""), b"x");

    rig.delete("partner");
    for store in [&new, &newest] {
        let answer = rig.decrypt(store, &key, &made, b"");
        assert_refused(&answer, 401, "AuthenticationFailedException");
    }
    let again = rig.store("partner", &[&key]);
    assert_opens(&rig.decrypt(&again, &key, &made, b""), b"x");
}

#[test]
fn states_and_policies_of_keys_count() {
    let rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let made = rig.encrypted(&store, &key, b"x", b"");
    let status = || {
        let answer = rig.ask(&store, &key, "metadata", &json!({ "requestMetadata": told() }));
        (answer.status, answer.json()["keyStatus"].as_str().map(str::to_owned))
    };
    let refused = |status, name| {
        assert_refused(&rig.ask(&store, &key, "encrypt", &to_encrypt(b"x", b"")), status, name);
        assert_refused(&rig.decrypt(&store, &key, &made, b""), status, name);
    };
    rig.kms("DisableKey", &json!({ "KeyId": key }));
    assert_eq!(status(), (200, Some("DISABLED".to_owned())));
    refused(400, "InvalidStateException");
    rig.kms("EnableKey", &json!({ "KeyId": key }));
    assert_opens(&rig.decrypt(&store, &key, &made, b""), b"x");
    rig.kms("ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
    assert_eq!(status(), (200, Some("DISABLED".to_owned())));
    refused(400, "InvalidStateException");
    rig.kms("CancelKeyDeletion", &json!({ "KeyId": key }));
    rig.kms("EnableKey", &json!({ "KeyId": key }));

    // The store acts for the root of the account: what the key denies that, it denies the store.
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*" },
    ] });
    let put = json!({ "KeyId": key, "PolicyName": "default", "Policy": policy.to_string() });
    rig.kms("PutKeyPolicy", &put);
    refused(403, "AccessDeniedException");
    assert_eq!(status(), (200, Some("ENABLED".to_owned())));
}

#[test]
fn the_policy_of_a_store_decides() {
    let rig = Rig::start();
    let key = rig.key(&json!({}));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("policy.json");
    let policy = |condition: Value| {
        let document = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*", "Condition": condition },
        ] });
        fs::write(&file, document.to_string()).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    };
    let by_principal =
        policy(json!({ "ArnLike": { "aws:PrincipalArn": "arn:aws:iam::111122223333:*" } }));
    let made = rig.ctl(&["create", "partner", "--key", &key, "--policy", &by_principal]);
    let store = Store::of(&made);
    let ciphertext = rig.encrypted(&store, &key, b"x", b"");
    assert_opens(&rig.decrypt(&store, &key, &ciphertext, b""), b"x");
    let metadata = json!({ "requestMetadata": told() });
    assert_refused(&rig.ask(&store, &key, "metadata", &metadata), 403, "AccessDeniedException");

    let mut body = to_decrypt(&ciphertext, b"");
    body["requestMetadata"]["awsPrincipalArn"] = json!("arn:aws:iam::444455556666:role/app");
    body["requestMetadata"]["kmsRequestId"] = json!("denied-1");
    assert_refused(&rig.ask(&store, &key, "decrypt", &body), 403, "AccessDeniedException");
    let health =
        json!({ "requestMetadata": { "kmsOperation": "KmsHealthCheck", "kmsRequestId": "h" } });
    assert_eq!(rig.answer(&store, "health", &health).status, 200, "exempt");

    let mut denied = rig.records();
    denied.retain(|record| {
        record["requestParameters"]["requestMetadata"]["kmsRequestId"] == "denied-1"
    });
    let [denied] = &denied[..] else { panic!("{denied:?}") };
    assert_eq!(denied["errorCode"], "AccessDenied", "{denied}");
    assert_eq!(denied["additionalEventData"], Value::Null, "no key material was used: {denied}");

    let by_operation = policy(json!({ "StringNotEquals": { "xks:KmsOperation": "Encrypt" } }));
    rig.ctl(&["policy", "partner", &by_operation]);
    assert_refused(&rig.decrypt(&store, &key, &ciphertext, b""), 403, "AccessDeniedException");
    let unknown = policy(json!({ "StringNotEquals": { "xks:KmsOperatoin": "x" } }));
    rig.ctl(&["policy", "partner", &unknown]);
    assert_refused(&rig.decrypt(&store, &key, &ciphertext, b""), 403, "AccessDeniedException");
    rig.ctl(&["policy", "partner", "--remove"]);
    assert_opens(&rig.decrypt(&store, &key, &ciphertext, b""), b"x");
    assert_eq!(rig.ask(&store, &key, "metadata", &metadata).status, 200);
    fs::write(&file, "{}").expect("written");
    assert_eq!(rig.try_ctl(&["policy", "partner", &by_principal]).0, 2, "not a policy");
}

#[test]
fn requests_are_in_the_audit_log() {
    let mut rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let made = rig.encrypted(&store, &key, b"top-secret", b"aad");
    assert_opens(&rig.decrypt(&store, &key, &made, b"aad"), b"top-secret");
    assert_eq!(rig.decrypt(&store, &key, &made, b"other").status, 400);
    let nobody = Credentials { id: "XKSAAAAAAAAAAAAAAAAA".to_owned(), secret: "x".repeat(44) };
    let path = format!("{}/keys/{key}/encrypt", store.path);
    assert_eq!(rig.send(&rig.sign(&path, &to_encrypt(b"x", b""), &nobody)).status, 401);

    let records = rig.records();
    let told_by = |record: &Value| record["requestParameters"]["requestMetadata"].clone();
    let names: Vec<_> =
        records.iter().map(|record| record["eventName"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["Encrypt", "Decrypt", "Decrypt", "Encrypt"], "{records:?}");
    for record in &records[..3] {
        assert_eq!(told_by(record), told(), "{record}");
        let expected = json!({
            "type": "ExternalKeyStore",
            "principalId": "partner",
            "accountId": "000000000000",
            "accessKeyId": store.credentials.id,
        });
        assert_eq!(record["userIdentity"], expected);
        let arn = format!("arn:aws:kms:{REGION}:000000000000:key/{key}");
        assert_eq!(record["resources"][0]["ARN"], arn);
    }
    assert!(records[0]["additionalEventData"]["keyMaterialId"].is_string());
    assert_eq!(records[2]["errorCode"], "InvalidCiphertextException");
    assert_eq!(records[3]["errorCode"], "AuthenticationFailedException");
    assert_eq!(records[3]["userIdentity"]["type"], "Unknown");
    assert!(told_by(&records[3]).is_null(), "nobody vouches for what it tells");

    let (status, said) = rig.daemon.stop_and_read();
    assert!(status.success());
    let (intact, report) = ctl::verify(&rig.daemon.data().join("audit"));
    assert!(intact, "{report}");
    for secret in
        [store.credentials.secret.clone(), BASE64.encode("top-secret"), "top-secret".to_owned()]
    {
        assert!(!said.contains(&secret), "a secret in the log");
        let found = files_with(rig.daemon.data(), secret.as_bytes());
        assert!(found.is_empty(), "a secret in {found:?}");
    }
}

/// What one API has encrypted the other one does not decrypt, with whatever context.
#[test]
fn nothing_is_shared_with_the_api_of_kms() {
    let rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let context = json!({ "team": "red" });
    let body =
        json!({ "KeyId": key, "Plaintext": BASE64.encode("x"), "EncryptionContext": context });
    let blob = bytes(&rig.kms("Encrypt", &body)["CiphertextBlob"]);
    let plain = json!({ "KeyId": key, "Plaintext": BASE64.encode("x") });
    let without = bytes(&rig.kms("Encrypt", &plain)["CiphertextBlob"]);
    let canonical = b"\0\0\0\x01\0\0\0\x04team\0\0\0\x03red";
    for blob in [&blob, &without] {
        let parts = Parts::of_blob(blob).expect("a blob");
        let ciphertext = json!({
            "ciphertext": BASE64.encode(parts.ciphertext),
            "initializationVector": BASE64.encode(parts.iv),
            "authenticationTag": BASE64.encode(parts.tag),
            "ciphertextMetadata": BASE64.encode(parts.metadata.to_bytes()),
        });
        for aad in [&b""[..], canonical, b"team=red", &Sha256::digest(canonical)] {
            let answer = rig.decrypt(&store, &key, &ciphertext, aad);
            assert_refused(&answer, 400, "InvalidCiphertextException");
        }
    }

    let material = Blob::parse(&blob).expect("a blob").material;
    for (aad, contexts) in [
        (
            &b""[..],
            [json!({}), json!({ "": "" }), json!({ "strongroom external key store v1": "" })],
        ),
        (canonical, [context.clone(), json!({ "aad": "team=red" }), json!({})]),
    ] {
        let made = rig.encrypted(&store, &key, b"x", aad);
        let [ciphertext, iv, tag, metadata] =
            ["ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"]
                .map(|name| bytes(&made[name]));
        let parts = Parts {
            ciphertext: &ciphertext,
            iv: iv.as_slice().try_into().expect("12 bytes"),
            tag: tag.as_slice().try_into().expect("16 bytes"),
            metadata: CiphertextMetadata::parse(&metadata).expect("of this proxy"),
        };
        let id = Blob::parse(&blob).expect("a blob").key;
        let whole = parts.to_blob(id, &material).expect("a blob");
        for context in contexts {
            let body =
                json!({ "CiphertextBlob": BASE64.encode(&whole), "EncryptionContext": context });
            let answer = call(&rig.daemon, "Decrypt", &body);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "InvalidCiphertextException")
            );
        }
        // The parts are right: over its own port it opens.
        assert_opens(&rig.decrypt(&store, &key, &made, aad), b"x");
    }
}

#[test]
fn old_ciphertexts_open_after_rotations() {
    let rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let mut all = Vec::new();
    for number in 0..3_u8 {
        all.push(rig.encrypted(&store, &key, &[number], b"aad"));
        rig.kms("RotateKeyOnDemand", &json!({ "KeyId": key }));
    }
    all.push(rig.encrypted(&store, &key, &[3], b"aad"));
    let materials: BTreeSet<Vec<u8>> =
        all.iter().map(|made| bytes(&made["ciphertextMetadata"])[..4].to_vec()).collect();
    assert_eq!(materials.len(), 4, "each is of another material");
    for (number, made) in (0..).zip(&all) {
        assert_opens(&rig.decrypt(&store, &key, made, b"aad"), &[number]);
    }
}

#[test]
fn a_killed_daemon_finds_its_stores_again() {
    let mut rig = Rig::start();
    let (store, key) = rig.with_key("partner");
    let made = rig.encrypted(&store, &key, b"x", b"aad");
    let new = Store::of(&rig.ctl(&["rotate-credential", "partner"]));
    rig.daemon.kill();
    rig.daemon.restart();
    for store in [&store, &new] {
        assert_opens(&rig.decrypt(store, &key, &made, b"aad"), b"x");
    }
    rig.ctl(&["retire-credential", "partner", &store.credentials.id]);
    rig.daemon.kill();
    rig.daemon.restart();
    let answer = rig.decrypt(&store, &key, &made, b"aad");
    assert_refused(&answer, 401, "AuthenticationFailedException");
    assert_opens(&rig.decrypt(&new, &key, &made, b"aad"), b"x");
}

#[test]
fn only_keys_that_can_be_used_are_in_a_store() {
    let rig = Rig::start();
    let rsa = rig.key(&json!({ "KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT" }));
    let mac = rig.key(&json!({ "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC" }));
    let key = rig.key(&json!({}));
    rig.kms("CreateAlias", &json!({ "AliasName": "alias/mine", "TargetKeyId": key }));
    for unfit in [&*rsa, &mac, "alias/none", "alias/aws/s3", "nonsense"] {
        assert_eq!(rig.try_ctl(&["create", "partner", "--key", unfit]).0, 2, "{unfit}");
    }
    for prefix in ["", "a/b", "a.b", "é", &"x".repeat(65)] {
        assert_eq!(rig.try_ctl(&["create", prefix, "--key", &key]).0, 2, "{prefix:?}");
    }
    assert_eq!(rig.ctl(&["list"]), json!([]));
    let store = rig.store("partner", &["alias/mine"]);
    assert_eq!(rig.try_ctl(&["create", "partner"]).0, 2, "there is one");
    assert_eq!(rig.try_ctl(&["add-key", "partner", &rsa]).0, 2);
    assert_eq!(rig.try_ctl(&["remove-key", "partner", &rsa]).0, 2);
    assert_eq!(rig.try_ctl(&["show", "nowhere"]).0, 2);
    let shown = rig.ctl(&["list"]);
    assert_eq!(shown[0]["KeyIds"], json!([key]), "{shown}");
    // The alias is not a name of the key there, wherever it points to later.
    let answer = rig.ask(&store, "mine", "metadata", &json!({ "requestMetadata": told() }));
    assert_refused(&answer, 404, "KeyNotFoundException");
    for number in 1..10 {
        rig.store(&format!("partner-{number}"), &[]);
    }
    assert_eq!(rig.try_ctl(&["create", "one-more"]).0, 2, "ten are enough");

    // Only the root of the account manages them.
    let data = rig.daemon.data().to_str().expect("UTF-8").to_owned();
    let at = ["--data", &*data, "--url", rig.daemon.url()];
    let iam = |arguments: &[&str]| ctl::run(&[&["iam"], arguments, &at].concat());
    assert_eq!(iam(&["user", "create", "ana"]).0, 0);
    let (_, made) = iam(&["key", "create", "ana"]);
    let file = rig.daemon.data().join("ana");
    let text = |member: &str| made["AccessKey"][member].as_str().expect("a key").to_owned();
    let profile = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        text("AccessKeyId"),
        text("SecretAccessKey")
    );
    fs::write(&file, profile).expect("written");
    let of_ana = ["--credentials", file.to_str().expect("UTF-8"), "--url", rig.daemon.url()];
    assert_eq!(ctl::run(&[&["xks", "list"], &of_ana[..]].concat()).0, 2);
}
