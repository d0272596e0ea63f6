//! Custom key stores of type AWS_CLOUDHSM on real PKCS#11 tokens, those of SoftHSM2: their life, the use of keys, and
//! what is left when tokens are lost, passwords are wrong, and modules crash or hang.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::ctl;
use hsm_tests::http::get;
use hsm_tests::patience::{at_rest, until};
use hsm_tests::remains::{Secret, files, search, search_bytes};
use kms_pkcs11::{Fault, Sealed, Token};
use rustix::process::Signal;
use serde_json::{Value, json};

use rig::{MODULE, PASSWORD, Rig, Tokens, is_there, place, text, to_decrypt, to_encrypt, to_make};

#[path = "cloudhsm/crowd.rs"]
mod crowd;
#[path = "cloudhsm/kryoptic.rs"]
mod kryoptic;
#[path = "cloudhsm/metrics.rs"]
mod metrics;
#[path = "cloudhsm/replaced.rs"]
mod replaced;
#[path = "cloudhsm/rig.rs"]
mod rig;

#[test]
fn a_store_lives_and_its_keys_are_used() {
    if !is_there() {
        return;
    }
    let mut rig = Rig::start(&["ada", "bea"], &[]);
    let id = rig.store(&["ada", "bea"]);
    let found = rig.described(&id);
    assert_eq!(found["ConnectionState"], "DISCONNECTED");
    assert_eq!(found["CustomKeyStoreType"], "AWS_CLOUDHSM");
    assert_eq!(found["TrustAnchorCertificate"], rig.tokens.anchor().trim());
    let cluster = text(&found["CloudHsmClusterId"]);
    assert!(!found.to_string().contains(PASSWORD));
    assert_eq!(rig.refused("CreateKey", &to_make(&id)), "CustomKeyStoreInvalidStateException");
    let random = json!({ "NumberOfBytes": 48, "CustomKeyStoreId": id });
    assert_eq!(rig.refused("GenerateRandom", &random), "CustomKeyStoreInvalidStateException");
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");

    let made = rig.key(&id);
    let key = text(&made["KeyId"]);
    assert_eq!(made["Origin"], "AWS_CLOUDHSM");
    assert_eq!(made["CustomKeyStoreId"], id.as_str());
    assert_eq!(made["CloudHsmClusterId"], cluster.as_str());
    assert!(made["XksKeyConfiguration"].is_null() && made["CurrentKeyMaterialId"].is_null());
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"secret"))["CiphertextBlob"].take();
    let opened = rig.ok("Decrypt", &to_decrypt(&blob));
    assert_eq!(opened["Plaintext"], BASE64.encode("secret"));
    assert_eq!(opened["KeyId"], made["Arn"], "found without being named");
    let most = rig.ok("Encrypt", &to_encrypt(&key, &[7; 4096]))["CiphertextBlob"].take();
    assert_eq!(rig.ok("Decrypt", &to_decrypt(&most))["Plaintext"], BASE64.encode([7; 4096]));

    // Every byte counts, and so does the context.
    let bytes = BASE64.decode(text(&blob)).expect("Base64");
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        let damaged = to_decrypt(&json!(BASE64.encode(damaged)));
        let code = rig.refused("Decrypt", &damaged);
        let other_key = (1..18).contains(&place) && code == "AccessDeniedException";
        assert!(code == "InvalidCiphertextException" || other_key, "{place}: {code}");
    }
    let other = json!({ "CiphertextBlob": blob, "EncryptionContext": { "project": "other" } });
    assert_eq!(rig.refused("Decrypt", &other), "InvalidCiphertextException");

    let ordinary = text(&rig.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"]);
    let moved = rig.ok(
        "ReEncrypt",
        &json!({
            "CiphertextBlob": blob, "DestinationKeyId": ordinary,
            "SourceEncryptionContext": { "project": "nile" },
        }),
    );
    let back = rig.ok(
        "ReEncrypt",
        &json!({
            "CiphertextBlob": moved["CiphertextBlob"], "DestinationKeyId": key,
            "DestinationEncryptionContext": { "project": "nile" },
        }),
    );
    let opened = rig.ok("Decrypt", &to_decrypt(&back["CiphertextBlob"]));
    assert_eq!(opened["Plaintext"], BASE64.encode("secret"));
    let data_key = rig.ok("GenerateDataKey", &json!({ "KeyId": key, "KeySpec": "AES_256" }));
    let opened = rig.ok("Decrypt", &json!({ "CiphertextBlob": data_key["CiphertextBlob"] }));
    assert_eq!(opened["Plaintext"], data_key["Plaintext"]);
    let wrapped = json!({ "KeyId": key, "NumberOfBytes": 24 });
    rig.ok("GenerateDataKeyWithoutPlaintext", &wrapped);
    let one = text(&rig.ok("GenerateRandom", &random)["Plaintext"]);
    assert_eq!(BASE64.decode(&one).expect("Base64").len(), 48);
    assert_ne!(one, text(&rig.ok("GenerateRandom", &random)["Plaintext"]));

    let pair = json!({ "KeyId": key, "KeyPairSpec": "ECC_NIST_P256" });
    for (operation, body) in [
        ("GenerateDataKeyPair", &pair),
        ("GenerateDataKeyPairWithoutPlaintext", &pair),
        ("EnableKeyRotation", &json!({ "KeyId": key })),
        ("RotateKeyOnDemand", &json!({ "KeyId": key })),
        ("GetKeyRotationStatus", &json!({ "KeyId": key })),
        ("ReplicateKey", &json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" })),
        (
            "GetParametersForImport",
            &json!({
                "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048",
            }),
        ),
    ] {
        assert_eq!(rig.refused(operation, body), "UnsupportedOperationException", "{operation}");
    }
    let with = |name: &str, value: Value| {
        let mut body = to_make(&id);
        body[name] = value;
        if name == "KeySpec" {
            body["KeyUsage"] = json!("SIGN_VERIFY");
        }
        rig.refused("CreateKey", &body)
    };
    assert_eq!(with("KeySpec", json!("RSA_2048")), "UnsupportedOperationException");
    assert_eq!(with("MultiRegion", json!(true)), "UnsupportedOperationException");
    let external =
        json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": id, "XksKeyId": "x" });
    assert_eq!(rig.refused("CreateKey", &external), "UnsupportedOperationException");

    // A store that was connected is connected again by itself.
    rig.daemon.stop();
    rig.daemon.restart();
    let opened = rig.ok("Decrypt", &to_decrypt(&blob));
    assert_eq!(opened["Plaintext"], BASE64.encode("secret"));
    let (_, status) = ctl::text(&["status", "--url", rig.daemon.url()]);
    assert!(status.contains("ada") && status.contains("bea") && status.contains(&id), "{status}");

    let store = json!({ "CustomKeyStoreId": id });
    rig.ok("DisconnectCustomKeyStore", &store);
    until("nothing runs for it any more", || rig.workers().is_empty());
    let metadata = rig.ok("DescribeKey", &json!({ "KeyId": key }));
    assert_eq!(metadata["KeyMetadata"]["KeyState"], "Unavailable");
    assert_eq!(rig.refused("Decrypt", &to_decrypt(&blob)), "KMSInvalidStateException");
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
    assert_eq!(rig.ok("Decrypt", &to_decrypt(&blob))["Plaintext"], BASE64.encode("secret"));
    rig.ok("DisconnectCustomKeyStore", &store);
    assert_eq!(rig.refused("DeleteCustomKeyStore", &store), "CustomKeyStoreHasCMKsException");

    let output = rig.daemon.output();
    let secrets = [Secret::new("password", PASSWORD.as_bytes())];
    assert!(search_bytes("the log", output.as_bytes(), &secrets).is_empty());
    for path in files(rig.daemon.data()) {
        let found = search_bytes("a file", &fs::read(&path).expect("a file"), &secrets);
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

#[test]
fn clusters_are_what_the_operator_registers() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada", "bea"], &[]);
    let anchor = rig.tokens.text("anchor.pem");
    let add = |module: &str, more: &[&str]| {
        let first = ["add", "--module", module, "--trust-anchor", &anchor];
        rig.try_cluster(&[&first[..], more].concat()).0
    };
    let both = ["--token", "ada", "--token", "bea"];
    assert_eq!(add("/usr/lib/other.so", &both), 2, "the module was not named at the start");
    assert_eq!(add(MODULE, &["--token", "ada"]), 2, "one token is not enough unless said so");
    assert_eq!(add(MODULE, &["--token", "ada", "--token", "ada"]), 2);
    let key = rig.tokens.text("anchor.key");
    let no_certificate = ["add", "--module", MODULE, "--trust-anchor", &key];
    assert_eq!(rig.try_cluster(&[&no_certificate[..], &both].concat()).0, 2);
    let cluster = rig.register(&["ada", "bea"]);
    assert!(cluster.len() == 19 && cluster.starts_with("cluster-"), "{cluster}");
    assert_eq!(add(MODULE, &["--token", "bea", "--single"]), 2, "a token is in one cluster");
    assert_eq!(rig.cluster(&["list"])[0]["ClusterId"], cluster.as_str());

    let create = rig.to_create("own", &cluster);
    let changed = |name: &str, value: &str| {
        let mut body = create.clone();
        body[name] = json!(value);
        rig.refused("CreateCustomKeyStore", &body)
    };
    assert_eq!(
        changed("CloudHsmClusterId", "cluster-abcdefghijk"),
        "CloudHsmClusterNotFoundException"
    );
    assert_eq!(changed("KeyStorePassword", "short"), "ValidationException");
    let other = Tokens::new(&[]).anchor();
    assert_eq!(changed("TrustAnchorCertificate", &other), "IncorrectTrustAnchorException");
    rig.tokens.lose("ada");
    let refused = rig.refused("CreateCustomKeyStore", &create);
    assert_eq!(refused, "CloudHsmClusterInvalidConfigurationException");
    rig.tokens.lose("bea");
    let refused = rig.refused("CreateCustomKeyStore", &create);
    assert_eq!(refused, "CloudHsmClusterNotActiveException");
    rig.tokens.find("ada");
    rig.tokens.find("bea");
    let made = rig.ok("CreateCustomKeyStore", &create);
    let id = text(&made["CustomKeyStoreId"]);
    assert_eq!(changed("CustomKeyStoreName", "another"), "CloudHsmClusterInUseException");
    assert_eq!(rig.cluster(&["show", &cluster])["CustomKeyStoreId"], id.as_str());
    assert_eq!(rig.try_cluster(&["remove", &cluster]).0, 2, "a store is on it");
    rig.ok("DeleteCustomKeyStore", &json!({ "CustomKeyStoreId": id }));
    rig.remove(&cluster);
    assert_eq!(rig.cluster(&["list"]), json!([]));
}

#[test]
fn a_wrong_password_is_told_and_not_tried_again() {
    if !is_there() {
        return;
    }
    let mut rig = Rig::start(&["ada"], &[]);
    let id = rig.store(&["ada"]);
    let store = json!({ "CustomKeyStoreId": id });
    let update = |rig: &Rig, password: &str| {
        let body = json!({ "CustomKeyStoreId": id, "KeyStorePassword": password });
        rig.ok("UpdateCustomKeyStore", &body);
    };
    update(&rig, "not the password");
    let found = rig.connect(&id);
    assert_eq!(found["ConnectionState"], "FAILED");
    assert_eq!(found["ConnectionErrorCode"], "INVALID_CREDENTIALS");
    assert_eq!(rig.refused("ConnectCustomKeyStore", &store), "CustomKeyStoreInvalidStateException");
    rig.ok("DisconnectCustomKeyStore", &store);
    update(&rig, PASSWORD);
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
    let key = text(&rig.key(&id)["KeyId"]);
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let body = json!({ "CustomKeyStoreId": id, "KeyStorePassword": PASSWORD });
    let refused = rig.refused("UpdateCustomKeyStore", &body);
    assert_eq!(refused, "CustomKeyStoreInvalidStateException", "it is connected");

    // The user gets another PIN, and nobody tells the daemon, which starts again.
    rig.daemon.stop();
    rig.tokens.reset("ada", "another password");
    rig.daemon.restart();
    let mut found = Value::Null;
    until("the store has failed", || {
        found = rig.described(&id);
        found["ConnectionState"] == "FAILED"
    });
    assert_eq!(found["ConnectionErrorCode"], "INVALID_CREDENTIALS");
    for _ in 0..5 {
        assert_eq!(rig.refused("Decrypt", &to_decrypt(&blob)), "KMSInvalidStateException");
    }
    let report = get(&rig.daemon, "/readyz").json();
    assert!(report["clusters"].is_null(), "nobody logs in any more: {report}");
    let opens = rig.daemon.output().matches("does not open").count();
    assert_eq!(opens, 1, "the PIN was tried once");
    rig.ok("DisconnectCustomKeyStore", &store);
    update(&rig, "another password");
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
    let answer = rig.call("Decrypt", &to_decrypt(&blob));
    assert_eq!(
        answer.code(),
        "KMSInvalidStateException",
        "the token does not have the key any more"
    );
    assert!(answer.json()["message"].to_string().contains("does not have the key any more"));

    rig.ok("DisconnectCustomKeyStore", &store);
    rig.tokens.restore("ada");
    update(&rig, PASSWORD);
    assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
    assert_eq!(rig.ok("Decrypt", &to_decrypt(&blob))["Plaintext"], BASE64.encode("x"));

    rig.ok("DisconnectCustomKeyStore", &store);
    rig.tokens.lose("ada");
    let found = rig.connect(&id);
    assert_eq!(found["ConnectionErrorCode"], "INSUFFICIENT_CLOUDHSM_HSMS");
}

/// Ends the clients, also if the test fails.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Encrypts and decrypts for as long as `during` takes, and returns how many requests there were and the codes of
/// those that failed twice in a row.
fn under_load(rig: &Rig, key: &str, during: impl FnOnce()) -> (usize, Vec<String>) {
    let over = AtomicBool::new(false);
    let client = || {
        let (mut count, mut failed) = (0, Vec::new());
        while !over.load(Ordering::Relaxed) {
            let twice = |operation: &str, body: &Value| {
                let first = rig.call(operation, body);
                if first.status == 200 { first } else { rig.call(operation, body) }
            };
            let answer = twice("Encrypt", &to_encrypt(key, b"under load"));
            count += 1;
            if answer.status != 200 {
                failed.push(answer.code());
                continue;
            }
            let blob = answer.json()["CiphertextBlob"].take();
            let answer = twice("Decrypt", &to_decrypt(&blob));
            count += 1;
            match answer.status {
                200 => assert_eq!(answer.json()["Plaintext"], BASE64.encode("under load")),
                _ => failed.push(answer.code()),
            }
        }
        (count, failed)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(client)).collect();
        let end = End(&over);
        during();
        drop(end);
        let ended = clients.into_iter().map(|client| client.join().expect("no panic"));
        ended.fold((0, Vec::new()), |(all, codes), (count, failed)| {
            (all + count, [codes, failed].concat())
        })
    })
}

#[test]
fn a_lost_token_loses_no_request() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada", "bea"], &[]);
    let id = rig.connected(&["ada", "bea"]);
    let key = text(&rig.key(&id)["KeyId"]);
    let (count, failed) = under_load(&rig, &key, || {
        thread::sleep(Duration::from_secs(1));
        rig.tokens.lose("bea");
        thread::sleep(Duration::from_secs(3));
    });
    assert!(count > 20, "{count} requests");
    assert_eq!(failed, [""; 0], "of {count}");
    let refused = rig.refused("CreateKey", &to_make(&id));
    assert_eq!(refused, "CloudHsmClusterInvalidConfigurationException");
    let report = get(&rig.daemon, "/readyz").json();
    let problems = report["problems"].to_string();
    assert!(problems.contains("bea (") && !problems.contains("ada ("), "{report}");

    rig.tokens.find("bea");
    until("keys can be made again", || rig.call("CreateKey", &to_make(&id)).status == 200);
    // The other one goes now: what was made before and meanwhile is in both.
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    rig.tokens.lose("ada");
    until("the key is used in the other token", || {
        rig.call("Decrypt", &to_decrypt(&blob)).status == 200
    });
    rig.tokens.lose("bea");
    until("nothing serves", || {
        rig.call("Decrypt", &to_decrypt(&blob)).code() == "KMSInvalidStateException"
    });
    let metadata = rig.ok("DescribeKey", &json!({ "KeyId": key }));
    assert_eq!(metadata["KeyMetadata"]["KeyState"], "Enabled", "nobody has disconnected the store");
    rig.tokens.find("ada");
    until("one token is enough", || rig.call("Decrypt", &to_decrypt(&blob)).status == 200);
}

#[test]
fn modules_that_crash_or_hang_harm_nobody_else() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada"], &["--pkcs11-timeout", "1000"]);
    let id = rig.connected(&["ada"]);
    let key = text(&rig.key(&id)["KeyId"]);
    let ordinary = text(&rig.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"]);
    let blob = rig.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let ordinary_calls = || {
        let begin = Instant::now();
        for _ in 0..50 {
            rig.ok("Encrypt", &to_encrypt(&ordinary, b"x"));
        }
        begin.elapsed()
    };
    let _ = ordinary_calls();
    for signal in [Signal::KILL, Signal::ABORT, Signal::STOP] {
        let (served, failed) = under_load(&rig, &key, || {
            let before = rig.workers();
            assert_eq!(before.len(), 1, "{before:?}");
            assert_eq!(rig.signal_workers(signal), 1);
            let took = ordinary_calls();
            assert!(took < Duration::from_secs(20), "{took:?} with {signal:?}");
            until("another process serves", || {
                let now = rig.workers();
                !now.is_empty() && now != before
            });
            until("the key is used again", || {
                rig.call("Decrypt", &to_decrypt(&blob)).status == 200
            });
        });
        assert!(served > 0);
        let known = failed.iter().all(|code| code == "KMSInvalidStateException");
        assert!(known, "{signal:?}: {failed:?}");
    }
    let report = get(&rig.daemon, "/readyz").json();
    assert!(report["clusters"][0]["tokens"][0]["starts"].as_u64() >= Some(4), "{report}");
}

#[test]
fn a_worker_ends_with_its_daemon() {
    if !is_there() {
        return;
    }
    let mut rig = Rig::start(&["ada"], &[]);
    let id = rig.connected(&["ada"]);
    let workers = rig.workers();
    assert_eq!(workers.len(), 1, "{id}");
    let runs = || fs::metadata(format!("/proc/{}/maps", workers[0])).is_ok_and(|it| it.is_file());
    let environment = fs::read(format!("/proc/{}/environ", workers[0])).expect("it runs");
    let names: Vec<_> = environment.split(|byte| *byte == 0).filter(|it| !it.is_empty()).collect();
    assert!(names.len() == 1 && names[0].starts_with(b"SOFTHSM2_CONF="), "{names:?}");
    assert!(runs());
    rig.daemon.kill();
    until("the worker has ended", || {
        let state = fs::read_to_string(format!("/proc/{}/stat", workers[0])).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}

#[test]
fn nothing_is_left_of_the_password() {
    if !is_there() {
        return;
    }
    let rig = Rig::start(&["ada"], &[]);
    let id = rig.connected(&["ada"]);
    let key = text(&rig.key(&id)["KeyId"]);
    rig.ok("Encrypt", &to_encrypt(&key, b"x"));
    let secrets = [Secret::new("password", PASSWORD.as_bytes())];
    let there = || {
        at_rest(rig.daemon.id());
        search(rig.daemon.id(), &secrets).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(there(), ["password"], "in use");
    let worker = u32::try_from(rig.workers()[0]).expect("a process");
    at_rest(worker);
    assert!(search(worker, &secrets).is_empty(), "the worker has logged in and forgotten it");
    rig.ok("DisconnectCustomKeyStore", &json!({ "CustomKeyStoreId": id }));
    until("the password is erased", || there().is_empty());
}

/// What the daemon's end and the worker make of a token, without a daemon.
#[tokio::test]
async fn keys_are_copied_and_never_leave_tokens_again() {
    if !is_there() {
        return;
    }
    let tokens = Tokens::new(&["ada", "bea"]);
    let modules = tokens.modules(Duration::from_secs(10));
    let open = |label: &str, pin: &str| {
        Token::new(&modules, place(MODULE, label, None), pin.to_owned().into())
    };
    let (ada, bea) = (open("ada", PASSWORD), open("bea", PASSWORD));
    let key = [0xa5; 16];
    ada.make(&key, "label", true).await.expect("made");
    assert_eq!(ada.check(&key).await, Err(Fault::WrongKey), "it may leave yet");
    ada.copy_to(&bea, &key, "label").await.expect("copied");
    ada.close(&key).await.expect("closed");
    ada.check(&key).await.expect("it stays");
    bea.check(&key).await.expect("it stays");
    let third = [0xb6; 16];
    let missing = ada.copy_to(&bea, &third, "label").await;
    assert_eq!(missing, Err(Fault::NoKey));
    bea.destroy(&key).await.expect("destroyed");
    assert_eq!(bea.check(&key).await, Err(Fault::NoKey));
    assert!(ada.copy_to(&bea, &key, "label").await.is_err(), "it does not leave any more");
    ada.connect().await.expect("it serves again");
    assert_eq!(bea.check(&key).await, Err(Fault::NoKey));
    ada.check(&key).await.expect("it is where it was");

    let sealed = ada.encrypt(&key, [1; 12], (b"data", b"aad")).await.expect("encrypted");
    assert_eq!(ada.decrypt(&key, &sealed, b"aad").await.expect("decrypted"), b"data");
    let starts = ada.report().starts;
    assert_eq!(ada.decrypt(&key, &sealed, b"other").await, Err(Fault::Ciphertext));
    let Sealed { iv, ciphertext, mut tag } = sealed;
    tag[0] ^= 1;
    let changed = Sealed { iv, ciphertext, tag };
    assert_eq!(ada.decrypt(&key, &changed, b"aad").await, Err(Fault::Ciphertext));
    assert_eq!(ada.report().starts, starts, "a wrong ciphertext costs no process");
    assert!(ada.make(&key, "label", false).await.is_err(), "there is one");

    let stranger = open("ada", "wrong password");
    assert_eq!(stranger.connect().await, Err(Fault::WrongPin));
    for _ in 0..5 {
        assert_eq!(stranger.probe().await, Err(Fault::WrongPin));
    }
    assert_eq!(stranger.report().starts, 1, "it was tried once");
    assert_eq!(open("cleo", PASSWORD).connect().await, Err(Fault::NoToken));
    let nowhere =
        Token::new(&modules, place("/nowhere.so", "ada", None), PASSWORD.to_owned().into());
    assert_eq!(nowhere.connect().await, Err(Fault::Module));
}
