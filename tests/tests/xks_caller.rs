//! Keys of another installation: custom key stores whose external keys are served over the external key store
//! proxy API, by a second daemon or by something that only says so.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{call, get};
use hsm_tests::patience::{at_rest, until};
use hsm_tests::remains::{Secret, search};
use hsm_tests::tls::make_certificate;
use hsm_tests::xks::{Rig, SERVICE, Store, files_with};
use serde_json::{Value, json};

use rig::{
    Caller, Front, Mode, credential, response, text, to_create, to_decrypt, to_encrypt, to_make,
};

#[path = "xks_caller/errors.rs"]
mod errors;
#[path = "xks_caller/many.rs"]
mod many;
#[path = "xks_caller/owner.rs"]
mod owner;
#[path = "xks_caller/rig.rs"]
mod rig;
#[path = "xks_caller/services.rs"]
mod services;

/// More than a proxy of these tests needs, however slow the machine is.
const SLOW: [&str; 2] = ["--xks-proxy-timeout", "5000"];

/// A proxy with a store and a key, and something before it.
fn behind_a_front() -> (Rig, Store, String, Front) {
    let theirs = Rig::start();
    let (store, key) = theirs.with_key("partner");
    let front = Front::start(theirs.address());
    (theirs, store, key, front)
}

fn caller(front: &Front, more: &[&str]) -> Caller {
    let trusted = front.trusted();
    Caller::start(&front.address.to_string(), trusted.to_str().expect("UTF-8"), more)
}

#[test]
fn two_installations_with_mutual_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let _ = make_certificate(&certificate, &key);
    let (certificate, key) = (certificate.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let mut theirs = Rig::start();
    let (store, external) = theirs.with_key("partner");
    // From here on over TLS, for clients with this certificate only.
    let address = theirs.address().to_owned();
    let over_tls = ["--tls-name", "localhost", "--rsa-stock", "0,0,0", "--xks-listen", &address];
    let clients = ["--xks-client-ca", certificate, "--xks-client-name", "localhost"];
    let arguments = [&over_tls[..], &clients].concat();
    let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
    theirs.daemon.stop();
    theirs.daemon.replace_arguments(&arguments);
    theirs.daemon.restart();
    let trusted = theirs.daemon.data().join("tls/certificate.pem");
    let trusted = trusted.to_str().expect("UTF-8");

    let stranger = Caller::start(&address, trusted, &SLOW);
    let refused = stranger.refused("CreateCustomKeyStore", &to_create("partner", &store));
    assert_eq!(refused, "XksProxyUriUnreachableException", "no certificate was shown");
    drop(stranger);
    let identity = ["--xks-proxy-cert", certificate, "--xks-proxy-key", key];
    let caller = Caller::start(&address, trusted, &[&SLOW[..], &identity].concat());
    let id = caller.connected("partner", &store);
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let blob = caller.ok("Encrypt", &to_encrypt(&key, b"secret"))["CiphertextBlob"].take();
    let opened = caller.ok("Decrypt", &to_decrypt(&blob));
    assert_eq!(opened["Plaintext"], BASE64.encode("secret"));

    // The other side ends as by a power cut, and comes back.
    theirs.daemon.kill();
    for _ in 0..8 {
        let answer = caller.call("Decrypt", &to_decrypt(&blob));
        assert_eq!((answer.status, answer.code().as_str()), (400, "KMSInvalidStateException"));
    }
    assert_eq!(described_state(&caller, &key), "Enabled", "nobody has disconnected the store");
    theirs.daemon.restart();
    until("the proxy is used again", || caller.call("Decrypt", &to_decrypt(&blob)).status == 200);
}

fn described_state(caller: &Caller, key: &str) -> String {
    let found = caller.ok("DescribeKey", &json!({ "KeyId": key }));
    text(&found["KeyMetadata"]["KeyState"])
}

#[test]
fn keys_are_used_and_both_logs_are_joined() {
    let (theirs, store, external, front) = behind_a_front();
    let caller = caller(&front, &SLOW);
    let id = caller.store("partner", &store);
    let found = caller.described(&id);
    assert_eq!(found["ConnectionState"], "DISCONNECTED");
    assert_eq!(found["CustomKeyStoreType"], "EXTERNAL_KEY_STORE");
    let proxy = &found["XksProxyConfiguration"];
    assert_eq!(proxy["Connectivity"], "PUBLIC_ENDPOINT");
    assert_eq!(proxy["AccessKeyId"], store.credentials.id.as_str());
    assert!(!found.to_string().contains(&store.credentials.secret));
    let too_early = caller.refused("CreateKey", &to_make(&id, &external));
    assert_eq!(too_early, "CustomKeyStoreInvalidStateException");
    assert_eq!(caller.connect(&id)["ConnectionState"], "CONNECTED");

    let made = caller.key(&id, &external);
    assert_eq!(made["Origin"], "EXTERNAL_KEY_STORE");
    assert_eq!(made["CustomKeyStoreId"], id.as_str());
    assert_eq!(made["XksKeyConfiguration"], json!({ "Id": external }));
    assert!(made["CurrentKeyMaterialId"].is_null());
    let key = text(&made["KeyId"]);
    let again = caller.refused("CreateKey", &to_make(&id, &external));
    assert_eq!(again, "XksKeyAlreadyInUseException");
    let unknown = to_make(&id, "00000000-0000-4000-8000-000000000000");
    assert_eq!(caller.refused("CreateKey", &unknown), "XksKeyNotFoundException");

    // Each way to encrypt, and back.
    let plaintext = vec![0x5a; 4096];
    let answer = caller.call("Encrypt", &to_encrypt(&key, &plaintext));
    assert_eq!(answer.status, 200, "{answer:?}");
    let request = answer.header("x-amzn-requestid").expect("an id").to_owned();
    let blob = answer.json()["CiphertextBlob"].take();
    let opened = caller.ok("Decrypt", &to_decrypt(&blob));
    assert_eq!(opened["Plaintext"], BASE64.encode(&plaintext));
    assert!(opened["KeyId"].as_str().expect("an ARN").ends_with(&key));
    let to_generate = json!({
        "KeyId": key, "KeySpec": "AES_256", "EncryptionContext": { "project": "nile" },
    });
    let generated = caller.ok("GenerateDataKey", &to_generate);
    let opened = caller.ok("Decrypt", &to_decrypt(&generated["CiphertextBlob"]));
    assert_eq!(opened["Plaintext"], generated["Plaintext"]);
    let generated = caller.ok("GenerateDataKeyWithoutPlaintext", &to_generate);
    caller.ok("Decrypt", &to_decrypt(&generated["CiphertextBlob"]));
    let ordinary = text(&caller.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"]);
    let re_encrypt = |blob: &Value, to: &str| {
        let body = json!({
            "CiphertextBlob": blob, "DestinationKeyId": to,
            "SourceEncryptionContext": { "project": "nile" },
            "DestinationEncryptionContext": { "project": "nile" },
        });
        caller.ok("ReEncrypt", &body)["CiphertextBlob"].clone()
    };
    let moved = re_encrypt(&re_encrypt(&blob, &ordinary), &key);
    let moved = re_encrypt(&moved, &key);
    let opened = caller.ok("Decrypt", &to_decrypt(&moved));
    assert_eq!(opened["Plaintext"], BASE64.encode(&plaintext));

    // Another context; a changed byte anywhere.
    let other = json!({ "CiphertextBlob": blob, "EncryptionContext": { "project": "amazon" } });
    assert_eq!(caller.refused("Decrypt", &other), "KMSInvalidStateException");
    let small = caller.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let bytes = BASE64.decode(small.as_str().expect("Base64")).expect("Base64");
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let body = json!({
            "CiphertextBlob": BASE64.encode(&changed), "KeyId": key,
            "EncryptionContext": { "project": "nile" },
        });
        let code = caller.refused("Decrypt", &body);
        let typed =
            ["KMSInvalidStateException", "InvalidCiphertextException", "IncorrectKeyException"];
        assert!(typed.contains(&code.as_str()), "byte {at}: {code}");
    }

    // What such keys do not do.
    let pair = json!({ "KeyId": key, "KeyPairSpec": "ECC_NIST_P256" });
    for (operation, body) in [
        ("GenerateDataKeyPair", &pair),
        ("GenerateDataKeyPairWithoutPlaintext", &pair),
        ("EnableKeyRotation", &json!({ "KeyId": key })),
        ("RotateKeyOnDemand", &json!({ "KeyId": key })),
        ("GetKeyRotationStatus", &json!({ "KeyId": key })),
        ("ReplicateKey", &json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" })),
        ("GenerateRandom", &json!({ "NumberOfBytes": 1, "CustomKeyStoreId": id })),
    ] {
        assert_eq!(caller.refused(operation, body), "UnsupportedOperationException", "{operation}");
    }
    let mut asymmetric = to_make(&id, "other");
    asymmetric["KeySpec"] = json!("RSA_2048");
    asymmetric["KeyUsage"] = json!("SIGN_VERIFY");
    assert_eq!(caller.refused("CreateKey", &asymmetric), "UnsupportedOperationException");

    // The other side's record has the id of this side's.
    let ours = Caller::records(&caller.daemon, "kms.amazonaws.com");
    let used = ours.iter().find(|record| record["requestID"] == request.as_str());
    let used = used.expect("a record");
    assert_eq!(used["additionalEventData"]["xksKeyId"], external.as_str());
    let theirs = Caller::records(&theirs.daemon, SERVICE);
    let told = |record: &&Value| {
        record["requestParameters"]["requestMetadata"]["kmsRequestId"] == request.as_str()
    };
    let served = theirs.iter().find(told).expect("a record of the other side");
    let metadata = &served["requestParameters"]["requestMetadata"];
    assert_eq!(metadata["kmsOperation"], "Encrypt");
    assert_eq!(metadata["kmsKeyArn"], made["Arn"]);
    assert_eq!(metadata["awsPrincipalArn"], "arn:aws:iam::000000000000:root");
    let created = ours.iter().find(|it| it["eventName"] == "CreateCustomKeyStore");
    let created = created.expect("a record");
    assert_eq!(created["responseElements"]["customKeyStoreId"], id.as_str());
    assert_eq!(files_with(caller.daemon.data(), store.credentials.secret.as_bytes()), [""; 0]);

    for line in [
        format!("strongroom_xks_proxy_credential_age_seconds{{store=\"{id}\"}}"),
        format!("strongroom_xks_proxy_certificate_days_to_expire{{store=\"{id}\"}}"),
        format!("strongroom_xks_external_key_manager_states{{store=\"{id}\",state=\"ACTIVE\"}} 1"),
    ] {
        let metrics = String::from_utf8(get(&caller.daemon, "/metrics").body).expect("text");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    // Its own proxy does not serve a key that has another one.
    let (data, url) = (caller.daemon.data().to_str().expect("UTF-8"), caller.daemon.url());
    let serve = |prefix: &str, key: &str| {
        ctl::run(&["xks", "create", prefix, "--key", key, "--data", data, "--url", url]).0
    };
    assert_eq!((serve("again", &key), serve("other", &ordinary)), (2, 0));

    let metrics = String::from_utf8(get(&caller.daemon, "/metrics").body).expect("text");
    for name in ["strongroom_xks_proxy_latency_seconds_count", "strongroom_xks_proxy_errors_total"]
    {
        let line = format!("{name}{{store=\"{id}\",operation=\"Decrypt\"");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[test]
fn stores_are_disconnected_changed_and_deleted() {
    let (theirs, store, external, front) = behind_a_front();
    let mut caller = caller(&front, &SLOW);
    let id = caller.connected("partner", &store);
    let named = json!({ "CustomKeyStoreId": id });
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let blob = caller.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    caller.ok("CreateKey", &json!({}));
    await_counted(&caller, (2, 0));

    for (body, code) in [
        (to_create("partner", &store), "CustomKeyStoreNameInUseException"),
        (to_create("other", &store), "XksProxyUriInUseException"),
    ] {
        assert_eq!(caller.refused("CreateCustomKeyStore", &body), code);
    }
    assert_eq!(
        caller.refused("DeleteCustomKeyStore", &named),
        "CustomKeyStoreInvalidStateException"
    );

    // The credential rotates while the store is connected.
    let second = Store::of(&theirs.ctl(&["rotate-credential", "partner"]));
    let mut update = named.clone();
    update["XksProxyAuthenticationCredential"] = credential(&second);
    caller.ok("UpdateCustomKeyStore", &update);
    theirs.ctl(&["retire-credential", "partner", &store.credentials.id]);
    caller.ok("Decrypt", &to_decrypt(&blob));
    update["XksProxyAuthenticationCredential"] = credential(&store);
    assert_eq!(
        caller.refused("UpdateCustomKeyStore", &update),
        "XksProxyIncorrectAuthenticationCredentialException"
    );
    caller.ok("Decrypt", &to_decrypt(&blob));
    let rename = json!({ "CustomKeyStoreId": id, "NewCustomKeyStoreName": "friend" });
    caller.ok("UpdateCustomKeyStore", &rename);
    let elsewhere = json!({ "CustomKeyStoreId": id, "XksProxyUriEndpoint": "https://localhost" });
    assert_eq!(
        caller.refused("UpdateCustomKeyStore", &elsewhere),
        "CustomKeyStoreInvalidStateException"
    );

    caller.ok("DisconnectCustomKeyStore", &named);
    assert_eq!(described_state(&caller, &key), "Unavailable");
    await_counted(&caller, (1, 1));
    let before = front.requests();
    assert_eq!(caller.refused("Decrypt", &to_decrypt(&blob)), "KMSInvalidStateException");
    assert_eq!(front.requests(), before, "nobody is asked");
    assert_eq!(
        caller.refused("DisconnectCustomKeyStore", &named),
        "CustomKeyStoreInvalidStateException"
    );
    assert_eq!(caller.refused("DeleteCustomKeyStore", &named), "CustomKeyStoreHasCMKsException");
    assert_eq!(caller.connect(&id)["ConnectionState"], "CONNECTED");
    await_counted(&caller, (2, 0));
    caller.ok("Decrypt", &to_decrypt(&blob));

    // A store without keys goes.
    let empty = theirs.store("empty", &[]);
    let other = caller.store("empty", &empty);
    let page = json!({ "Limit": 1 });
    let first = caller.ok("DescribeCustomKeyStores", &page);
    assert_eq!(first["Truncated"], true);
    let next = json!({ "Limit": 1, "Marker": first["NextMarker"] });
    let second = caller.ok("DescribeCustomKeyStores", &next);
    assert_eq!(second["Truncated"], false);
    let ids = [&first, &second].map(|page| text(&page["CustomKeyStores"][0]["CustomKeyStoreId"]));
    let mut expected = [id.clone(), other.clone()];
    expected.sort();
    assert_eq!(ids, expected);
    caller.ok("DeleteCustomKeyStore", &json!({ "CustomKeyStoreId": other }));
    let gone = json!({ "CustomKeyStoreName": "empty" });
    assert_eq!(caller.refused("DescribeCustomKeyStores", &gone), "CustomKeyStoreNotFoundException");

    // A store of another installation that does not know the credential.
    let wrong = Store { path: "/nobody/kms/xks/v1".to_owned(), ..second_of(&theirs) };
    let refused = caller.refused("CreateCustomKeyStore", &to_create("wrong", &wrong));
    assert_eq!(refused, "XksProxyInvalidConfigurationException");

    // A proxy that is gone when the store connects.
    caller.ok("DisconnectCustomKeyStore", &named);
    front.set(Mode::Close);
    let failed = caller.connect(&id);
    assert_eq!(failed["ConnectionState"], "FAILED");
    assert_eq!(failed["ConnectionErrorCode"], "XKS_PROXY_NOT_REACHABLE", "{failed}");
    assert_eq!(described_state(&caller, &key), "Unavailable");
    await_counted(&caller, (1, 1));
    // What is stored is counted in the same way after a start.
    caller.daemon.stop();
    caller.daemon.restart();
    await_counted(&caller, (1, 1));
    assert_eq!(
        caller.refused("ConnectCustomKeyStore", &named),
        "CustomKeyStoreInvalidStateException"
    );
    caller.ok("DisconnectCustomKeyStore", &named);
    front.set(Mode::Forward);
    until("the proxy rests no more", || {
        let state = caller.connect(&id);
        let connected = state["ConnectionState"] == "CONNECTED";
        if !connected {
            caller.ok("DisconnectCustomKeyStore", &named);
        }
        connected
    });
}

/// Waits until so many keys are counted as enabled, and as unavailable.
fn await_counted(caller: &Caller, (enabled, unavailable): (u64, u64)) {
    let counted = |page: &str, state: &str| {
        let name = format!("strongroom_keys{{region=\"us-east-1\",state=\"{state}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok())
    };
    until(format_args!("{enabled} keys are enabled and {unavailable} are not available"), || {
        let page = String::from_utf8(get(&caller.daemon, "/metrics").body).expect("text");
        counted(&page, "Enabled") == Some(enabled)
            && counted(&page, "Unavailable").unwrap_or_default() == unavailable
    });
}

/// A store with a credential that is good for it.
fn second_of(theirs: &Rig) -> Store {
    theirs.store("third", &[])
}

#[test]
fn what_a_lying_proxy_says_is_not_believed() {
    let (_theirs, store, external, front) = behind_a_front();
    let caller = caller(&front, &SLOW);
    let id = caller.connected("partner", &store);
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let blob = caller.ok("Encrypt", &to_encrypt(&key, b"secret"))["CiphertextBlob"].take();
    let refused = |operation: &str, body: &Value| {
        let answer = caller.call(operation, body);
        let code = (answer.status, answer.code());
        assert_eq!(code, (400, "KMSInvalidStateException".to_owned()), "{operation}: {answer:?}");
        assert!(!answer.body.escape_ascii().to_string().contains("LIE"), "its text is repeated");
        // Before the breaker has reason to open.
        front.set(Mode::Forward);
        caller.ok("Decrypt", &to_decrypt(&blob));
    };
    let (encrypt, decrypt) = (to_encrypt(&key, b"secret"), to_decrypt(&blob));

    fn altered(value: &mut Value, member: &str, change: fn(&mut Vec<u8>)) {
        let mut bytes = BASE64.decode(value[member].as_str().expect("Base64")).expect("Base64");
        change(&mut bytes);
        value[member] = json!(BASE64.encode(bytes));
    }
    let of_encrypt: [fn(&mut Value); 10] = [
        |it| altered(it, "authenticationTag", |bytes| bytes[0] ^= 1),
        |it| altered(it, "authenticationTag", |bytes| bytes.truncate(15)),
        |it| altered(it, "ciphertext", |bytes| bytes[9] ^= 1),
        |it| altered(it, "ciphertext", |bytes| bytes.push(0)),
        |it| altered(it, "initializationVector", |bytes| bytes.push(0)),
        |it| altered(it, "ciphertextMetadata", |bytes| bytes.extend([0; 4])),
        |it| altered(it, "ciphertextMetadata", |bytes| bytes[1] ^= 1),
        |it| it["ciphertextDataIntegrityValue"] = json!(null),
        |it| it["ciphertext"] = json!("*"),
        |it| *it = json!({ "errorName": "LIEException", "errorMessage": "LIE" }),
    ];
    for alter in of_encrypt {
        front.set(Mode::Alter(alter));
        refused("Encrypt", &encrypt);
        front.set(Mode::Alter(alter));
        refused("GenerateDataKey", &json!({ "KeyId": key, "KeySpec": "AES_256" }));
    }
    let of_decrypt: [fn(&mut Value); 5] = [
        |it| altered(it, "plaintext", |bytes| bytes[70] ^= 1),
        |it| altered(it, "plaintext", |bytes| bytes[3] ^= 1),
        |it| altered(it, "plaintext", |bytes| bytes.truncate(10)),
        |it| it["plaintext"] = json!(["LIE"]),
        |it| *it = json!({}),
    ];
    for alter in of_decrypt {
        front.set(Mode::Alter(alter));
        refused("Decrypt", &decrypt);
    }
    let refusal = json!({ "errorName": "AccessDeniedException", "errorMessage": "LIE" });
    let twice = br#"{"plaintext":"LIE=","plaintext":"LIE="}"#;
    let endless = response(200, &vec![b' '; 1 << 20]);
    let cut = &response(200, br#"{"plaintext":"LIE="}"#)[..85];
    for bytes in [
        response(403, refusal.to_string().as_bytes()),
        response(200, refusal.to_string().as_bytes()),
        response(200, b"LIE"),
        response(200, b"[]"),
        response(200, twice),
        response(302, b""),
        response(500, b""),
        endless,
        cut.to_vec(),
        b"LIE".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nLIE".to_vec(),
        Vec::new(),
    ] {
        front.set(Mode::Say(bytes.clone()));
        refused("Decrypt", &decrypt);
        front.set(Mode::Say(bytes));
        refused("Encrypt", &encrypt);
    }

    let health = json!({
        "xksProxyFleetSize": 1, "xksProxyVendor": "v", "xksProxyModel": "m", "ekmVendor": "v",
        "ekmFleetDetails": [{ "id": "1", "model": "m", "healthStatus": "UNAVAILABLE" }],
    });
    let other = Store { path: "/other/kms/xks/v1".to_owned(), ..store.clone() };
    for (says, code) in [
        (response(200, health.to_string().as_bytes()), "XksProxyUriUnreachableException"),
        (response(200, b"LIE"), "XksProxyInvalidResponseException"),
        (
            response(500, br#"{"errorName":"InternalException"}"#),
            "XksProxyInvalidResponseException",
        ),
    ] {
        front.set(Mode::Say(says));
        assert_eq!(caller.refused("CreateCustomKeyStore", &to_create("other", &other)), code);
    }
    for (spec, usage, status) in [
        ("AES_128", &["ENCRYPT", "DECRYPT"][..], "ENABLED"),
        ("AES_256", &["ENCRYPT"], "ENABLED"),
        ("AES_256", &["ENCRYPT", "DECRYPT"], "DISABLED"),
    ] {
        let says = json!({ "keySpec": spec, "keyUsage": usage, "keyStatus": status });
        front.set(Mode::Say(response(200, says.to_string().as_bytes())));
        let code = caller.refused("CreateKey", &to_make(&id, "another"));
        assert_eq!(code, "XksKeyInvalidConfigurationException");
    }
    let up = to_make(&id, "..");
    assert_eq!(caller.refused("CreateKey", &up), "ValidationException");
}

#[test]
fn nothing_is_left_of_plaintexts_and_unused_credentials() {
    let (_theirs, store, external, front) = behind_a_front();
    let caller = caller(&front, &SLOW);
    let id = caller.connected("partner", &store);
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let mut plaintext = [0; 48];
    getrandom::fill(&mut plaintext).expect("random numbers");
    let blob = caller.ok("Encrypt", &to_encrypt(&key, &plaintext))["CiphertextBlob"].take();
    let opened = caller.ok("Decrypt", &to_decrypt(&blob));
    assert_eq!(opened["Plaintext"], BASE64.encode(plaintext));
    let secrets = [
        Secret::new("plaintext", &plaintext),
        Secret::new("credential", store.credentials.secret.as_bytes()),
    ];
    let there = || {
        at_rest(caller.daemon.id());
        search(caller.daemon.id(), &secrets).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(there(), ["credential"], "in use");
    caller.ok("DisconnectCustomKeyStore", &json!({ "CustomKeyStoreId": id }));
    until("the credential is erased", || there().is_empty());
}

#[test]
fn a_hanging_proxy_slows_nobody_else() {
    let (_theirs, store, external, front) = behind_a_front();
    let caller = caller(&front, &["--xks-proxy-timeout", "1000"]);
    let id = caller.connected("partner", &store);
    let key = text(&caller.key(&id, &external)["KeyId"]);
    let ordinary = text(&caller.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"]);
    let blob = caller.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take();
    let ordinary_calls = || {
        let begin = Instant::now();
        for _ in 0..100 {
            caller.ok("Encrypt", &to_encrypt(&ordinary, b"x"));
        }
        begin.elapsed()
    };
    let alone = ordinary_calls();
    front.set(Mode::Hang);
    let meanwhile = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let answer = call(&caller.daemon, "Decrypt", &to_decrypt(&blob));
                        assert_eq!(answer.code(), "KMSInvalidStateException");
                    }
                })
            })
            .collect();
        let meanwhile = ordinary_calls();
        for caller in callers {
            caller.join().expect("no panic");
        }
        meanwhile
    });
    // There is room for what the other threads themselves take of the machine; not for one call that waits.
    println!("100 calls with another key: {alone:?} alone, {meanwhile:?} while the proxy hangs");
    assert!(meanwhile < alone * 8 + Duration::from_millis(900), "{alone:?}, then {meanwhile:?}");
    // Most of 320 calls did not wait, or this would have taken more than 20 s.
    let asked = front.requests();
    assert!(asked < 100, "{asked} requests to a proxy that is silent");
    // The person who runs the daemon sees which store it is, and that the daemon serves.
    let status = || ctl::text(&["status", "--url", caller.daemon.url()]);
    let (code, said) = status();
    let line = |said: &str| {
        let line = said.lines().find(|line| line.starts_with(&*id));
        line.unwrap_or_else(|| panic!("no line of {id}: {said}")).to_owned()
    };
    assert_eq!(code, 0, "{said}");
    assert!(line(&said).contains("DOES NOT ANSWER"), "{said}");
    let ready = get(&caller.daemon, "/readyz");
    let problem = format!("the external key store {id} does not answer");
    assert!(ready.status == 200 && ready.json()["problems"].to_string().contains(&problem));
    front.set(Mode::Forward);
    until("the proxy is used again", || caller.call("Decrypt", &to_decrypt(&blob)).status == 200);
    let (_, said) = status();
    assert!(line(&said).contains(" answers ") && line(&said).contains(" days"), "{said}");
}

#[test]
fn hosts_are_those_that_the_operator_names() {
    let theirs = Rig::start();
    let (store, _) = theirs.with_key("partner");
    let inside = TcpListener::bind("127.0.0.1:0").expect("a port");
    inside.set_nonblocking(true).expect("set");
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let _ = make_certificate(&certificate, &key);
    let address = inside.local_addr().expect("bound").to_string();
    let caller = Caller::start(&address, certificate.to_str().expect("UTF-8"), &SLOW);
    for host in ["127.0.0.1", "localhost.", "internal.example", "169.254.169.254", "2130706433"] {
        let mut body = to_create("inside", &store);
        body["XksProxyUriEndpoint"] = json!(format!("https://{host}"));
        let code = caller.refused("CreateCustomKeyStore", &body);
        assert_eq!(code, "XksProxyInvalidConfigurationException", "{host}");
    }
    assert!(inside.accept().is_err(), "somebody has connected");
    let mut vpc = to_create("vpc", &store);
    vpc["XksProxyConnectivity"] = json!("VPC_ENDPOINT_SERVICE");
    vpc["XksProxyVpcEndpointServiceName"] = json!("com.amazonaws.vpce.us-east-1.vpce-svc-0a1");
    let code = caller.refused("CreateCustomKeyStore", &vpc);
    assert_eq!(code, "XksProxyVpcEndpointServiceNotFoundException");
    assert!(inside.accept().is_err(), "somebody has connected");
    drop(caller);

    let without = Daemon::start(&["soft"]);
    let answer = call(&without, "CreateCustomKeyStore", &to_create("partner", &store));
    assert_eq!(answer.code(), "UnsupportedOperationException");
}
