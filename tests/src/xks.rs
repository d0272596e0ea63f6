//! A daemon with external key stores, and another KMS that uses them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::ctl;
use hsm_tests::daemon::{Credentials, Daemon, reserved_address};
use hsm_tests::http::{Answer, Connection, Request, call};
use serde_json::{Value, json};

use super::{REQUEST_ID, SERVICE};

/// A daemon with a port for external key stores.
pub(crate) struct Rig {
    pub(crate) daemon: Daemon,
    address: String,
}

/// A store, as the other KMS knows it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) path: String,
    pub(crate) credentials: Credentials,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let address = reserved_address().to_string();
        // Nothing here takes RSA key pairs, which devices would be busy with.
        let arguments = ["--xks-listen", &address, "--rsa-stock", "0,0,0"];
        let daemon = Daemon::start_with(&["soft"], &arguments);
        Self { daemon, address }
    }

    /// The address of the port for external key stores.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn key(&self, parameters: &Value) -> String {
        let made = call(&self.daemon, "CreateKey", parameters).json();
        made["KeyMetadata"]["KeyId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    pub(crate) fn kms(&self, operation: &str, body: &Value) -> Value {
        let answer = call(&self.daemon, operation, body);
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
        match answer.body.is_empty() {
            true => Value::Null,
            false => answer.json(),
        }
    }

    /// Runs `kmsctl xks`: its exit code and document.
    pub(crate) fn try_ctl(&self, arguments: &[&str]) -> (i32, Value) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        let more = ["--data", data, "--url", self.daemon.url()];
        ctl::run(&[&["xks"], arguments, &more].concat())
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Value {
        let (code, document) = self.try_ctl(arguments);
        assert_eq!(code, 0, "{arguments:?}: {document}");
        document
    }

    /// Deletes a store, about which there is nothing to say.
    pub(crate) fn delete(&self, prefix: &str) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        let arguments = ["xks", "delete", prefix, "--data", data, "--url", self.daemon.url()];
        assert_eq!(ctl::text(&arguments), (0, String::new()));
    }

    pub(crate) fn store(&self, prefix: &str, keys: &[&str]) -> Store {
        let keys = keys.iter().flat_map(|key| ["--key", key]).collect::<Vec<_>>();
        Store::of(&self.ctl(&[&["create", prefix], &keys[..]].concat()))
    }

    /// A store with a key.
    pub(crate) fn with_key(&self, prefix: &str) -> (Store, String) {
        let key = self.key(&json!({}));
        (self.store(prefix, &[&key]), key)
    }

    pub(crate) fn send(&self, request: &Request) -> Answer {
        let mut connection = Connection::to(self.address());
        // The name of the other port is as good: it is signed.
        connection.write(&request.to_bytes(self.daemon.address())).expect("sent");
        connection.read().expect("an answer")
    }

    pub(crate) fn sign(&self, path: &str, body: &Value, who: &Credentials) -> Request {
        post(path, body).signed_for(SERVICE, who, &self.daemon)
    }

    pub(crate) fn answer(&self, store: &Store, what: &str, body: &Value) -> Answer {
        self.send(&self.sign(&format!("{}/{what}", store.path), body, &store.credentials))
    }

    /// What a store answers about a key: `metadata`, `encrypt` or `decrypt`.
    pub(crate) fn ask(&self, store: &Store, key: &str, what: &str, body: &Value) -> Answer {
        self.answer(store, &format!("keys/{key}/{what}"), body)
    }

    pub(crate) fn encrypted(
        &self,
        store: &Store,
        key: &str,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Value {
        let answer = self.ask(store, key, "encrypt", &to_encrypt(plaintext, aad));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) fn decrypt(
        &self,
        store: &Store,
        key: &str,
        ciphertext: &Value,
        aad: &[u8],
    ) -> Answer {
        self.ask(store, key, "decrypt", &to_decrypt(ciphertext, aad))
    }

    /// The records of the API, newest last.
    pub(crate) fn records(&self) -> Vec<Value> {
        let log = self.daemon.data().join("audit");
        let (code, text) = ctl::text(&["--json", "audit", "query", log.to_str().expect("UTF-8")]);
        assert_eq!(code, 0, "{text}");
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        all.filter(|record| record["eventSource"] == SERVICE).collect()
    }
}

impl Store {
    pub(crate) fn of(made: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let credential = &made["XksProxyAuthenticationCredential"];
        let id = text(&credential["AccessKeyId"]);
        let secret = text(&credential["RawSecretAccessKey"]);
        Self { path: text(&made["XksProxyUriPath"]), credentials: Credentials { id, secret } }
    }
}

pub(crate) fn post(path: &str, body: &Value) -> Request {
    Request {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
    }
}

pub(crate) fn told() -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::111122223333:role/app",
        "kmsOperation": "Encrypt",
        "kmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/1",
        "kmsRequestId": REQUEST_ID,
        "kmsViaService": "ebs",
    })
}

pub(crate) fn to_encrypt(plaintext: &[u8], aad: &[u8]) -> Value {
    json!({
        "requestMetadata": told(),
        "plaintext": BASE64.encode(plaintext),
        "additionalAuthenticatedData": BASE64.encode(aad),
        "encryptionAlgorithm": "AES_GCM",
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    })
}

pub(crate) fn to_decrypt(ciphertext: &Value, aad: &[u8]) -> Value {
    let mut body = ciphertext.clone();
    let members = body.as_object_mut().expect("an object");
    members.remove("ciphertextDataIntegrityValue");
    members.insert("requestMetadata".to_owned(), told());
    members.insert("encryptionAlgorithm".to_owned(), json!("AES_GCM"));
    members.insert("additionalAuthenticatedData".to_owned(), json!(BASE64.encode(aad)));
    body
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap_or_else(|| panic!("no Base64 in {value}"))).expect("Base64")
}

/// Checks that the answer is a refusal of the API in every respect.
pub(crate) fn assert_refused(answer: &Answer, status: u16, name: &str) {
    let body = answer.json();
    assert_eq!((answer.status, body["errorName"].as_str()), (status, Some(name)), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let message = body["errorMessage"].as_str().expect("a message");
    assert!(message.len() < 512 && message.bytes().all(|c| c == b' ' || c.is_ascii_graphic()));
}

pub(crate) fn assert_opens(answer: &Answer, plaintext: &[u8]) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(bytes(&answer.json()["plaintext"]), plaintext);
}

/// The files below a directory in which these bytes are.
pub(crate) fn files_with(directory: &Path, wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, wanted));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(wanted.len()).any(|window| window == wanted)
        {
            found.push(path.display().to_string());
        }
    }
    found
}
