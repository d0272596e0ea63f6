//! A daemon with external key stores, and another KMS that uses them.

use std::path::Path;

use crate::ctl;
use crate::daemon::{Credentials, Daemon, reserved_address};
use crate::http::{Answer, Connection, Request, call};
use crate::remains::files;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// The service in the scope of signatures.
pub const SERVICE: &str = "kms-xks-proxy";
/// `requestMetadata.kmsRequestId` of all requests that choose no other.
pub const REQUEST_ID: &str = "4112f4d6-db54-4af4-ae30-c55a22a8dfae";

/// A daemon with a port for external key stores.
#[derive(Debug)]
pub struct Rig {
    /// The daemon.
    pub daemon: Daemon,
    address: String,
}

/// A store, as the other KMS knows it.
#[derive(Clone, Debug)]
pub struct Store {
    /// The path of its API.
    pub path: String,
    /// Its credential.
    pub credentials: Credentials,
}

impl Rig {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let address = reserved_address().to_string();
        // Nothing here takes RSA key pairs, which devices would be busy with.
        let arguments = ["--xks-listen", &address, "--rsa-stock", "0,0,0"];
        let daemon = Daemon::start_with(&["soft"], &arguments);
        Self { daemon, address }
    }

    /// The address of the port for external key stores.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes a key.
    ///
    /// # Panics
    /// If that is refused.
    #[must_use]
    pub fn key(&self, parameters: &Value) -> String {
        let made = call(&self.daemon, "CreateKey", parameters).json();
        made["KeyMetadata"]["KeyId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Calls an operation of the API of KMS.
    ///
    /// # Panics
    /// If that is refused.
    pub fn kms(&self, operation: &str, body: &Value) -> Value {
        let answer = call(&self.daemon, operation, body);
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
        match answer.body.is_empty() {
            true => Value::Null,
            false => answer.json(),
        }
    }

    /// Runs `kmsctl xks`: its exit code and document.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn try_ctl(&self, arguments: &[&str]) -> (i32, Value) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        let more = ["--data", data, "--url", self.daemon.url()];
        ctl::run(&[&["xks"], arguments, &more].concat())
    }

    /// The same, where it succeeds.
    ///
    /// # Panics
    /// If it does not.
    pub fn ctl(&self, arguments: &[&str]) -> Value {
        let (code, document) = self.try_ctl(arguments);
        assert_eq!(code, 0, "{arguments:?}: {document}");
        document
    }

    /// Deletes a store, about which there is nothing to say.
    ///
    /// # Panics
    /// If that does not succeed.
    pub fn delete(&self, prefix: &str) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        let arguments = ["xks", "delete", prefix, "--data", data, "--url", self.daemon.url()];
        assert_eq!(ctl::text(&arguments), (0, String::new()));
    }

    /// Makes a store with these keys.
    ///
    /// # Panics
    /// If that does not succeed.
    pub fn store(&self, prefix: &str, keys: &[&str]) -> Store {
        let keys = keys.iter().flat_map(|key| ["--key", key]).collect::<Vec<_>>();
        Store::of(&self.ctl(&[&["create", prefix], &keys[..]].concat()))
    }

    /// A store with a key.
    #[must_use]
    pub fn with_key(&self, prefix: &str) -> (Store, String) {
        let key = self.key(&json!({}));
        (self.store(prefix, &[&key]), key)
    }

    /// Sends a request to the port for external key stores.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn send(&self, request: &Request) -> Answer {
        let mut connection = Connection::to(self.address());
        // The name of the other port is as good: it is signed.
        connection.write(&request.to_bytes(self.daemon.address())).expect("sent");
        connection.read().expect("an answer")
    }

    /// A request to it, signed by somebody.
    #[must_use]
    pub fn sign(&self, path: &str, body: &Value, who: &Credentials) -> Request {
        post(path, body).signed_for(SERVICE, who, &self.daemon)
    }

    /// What a store answers.
    #[must_use]
    pub fn answer(&self, store: &Store, what: &str, body: &Value) -> Answer {
        self.send(&self.sign(&format!("{}/{what}", store.path), body, &store.credentials))
    }

    /// What a store answers about a key: `metadata`, `encrypt` or `decrypt`.
    #[must_use]
    pub fn ask(&self, store: &Store, key: &str, what: &str, body: &Value) -> Answer {
        self.answer(store, &format!("keys/{key}/{what}"), body)
    }

    /// What a store has encrypted.
    ///
    /// # Panics
    /// If it refuses.
    #[must_use]
    pub fn encrypted(&self, store: &Store, key: &str, plaintext: &[u8], aad: &[u8]) -> Value {
        let answer = self.ask(store, key, "encrypt", &to_encrypt(plaintext, aad));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What a store answers to a ciphertext.
    #[must_use]
    pub fn decrypt(&self, store: &Store, key: &str, ciphertext: &Value, aad: &[u8]) -> Answer {
        self.ask(store, key, "decrypt", &to_decrypt(ciphertext, aad))
    }

    /// The records of the API, newest last.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let log = self.daemon.data().join("audit");
        let (code, text) = ctl::text(&["--json", "audit", "query", log.to_str().expect("UTF-8")]);
        assert_eq!(code, 0, "{text}");
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        all.filter(|record| record["eventSource"] == SERVICE).collect()
    }
}

impl Store {
    /// The store that `kmsctl --json xks create` has told of.
    ///
    /// # Panics
    /// If it has told something else.
    #[must_use]
    pub fn of(made: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let credential = &made["XksProxyAuthenticationCredential"];
        let id = text(&credential["AccessKeyId"]);
        let secret = text(&credential["RawSecretAccessKey"]);
        Self { path: text(&made["XksProxyUriPath"]), credentials: Credentials { id, secret } }
    }
}

/// A request of the API, not yet signed.
#[must_use]
pub fn post(path: &str, body: &Value) -> Request {
    Request {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
    }
}

/// `requestMetadata`.
#[must_use]
pub fn told() -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::111122223333:role/app",
        "kmsOperation": "Encrypt",
        "kmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/1",
        "kmsRequestId": REQUEST_ID,
        "kmsViaService": "ebs",
    })
}

/// The body of `encrypt`.
#[must_use]
pub fn to_encrypt(plaintext: &[u8], aad: &[u8]) -> Value {
    json!({
        "requestMetadata": told(),
        "plaintext": BASE64.encode(plaintext),
        "additionalAuthenticatedData": BASE64.encode(aad),
        "encryptionAlgorithm": "AES_GCM",
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    })
}

/// The body of `decrypt` for what `encrypt` has answered.
///
/// # Panics
/// If that is not an object.
#[must_use]
pub fn to_decrypt(ciphertext: &Value, aad: &[u8]) -> Value {
    let mut body = ciphertext.clone();
    let members = body.as_object_mut().expect("an object");
    members.remove("ciphertextDataIntegrityValue");
    members.insert("requestMetadata".to_owned(), told());
    members.insert("encryptionAlgorithm".to_owned(), json!("AES_GCM"));
    members.insert("additionalAuthenticatedData".to_owned(), json!(BASE64.encode(aad)));
    body
}

/// The bytes of a Base64 text.
///
/// # Panics
/// If it is not one.
#[must_use]
pub fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap_or_else(|| panic!("no Base64 in {value}"))).expect("Base64")
}

/// Checks that the answer is a refusal of the API in every respect.
///
/// # Panics
/// If it is not.
pub fn assert_refused(answer: &Answer, status: u16, name: &str) {
    let body = answer.json();
    assert_eq!((answer.status, body["errorName"].as_str()), (status, Some(name)), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let message = body["errorMessage"].as_str().expect("a message");
    assert!(message.len() < 512 && message.bytes().all(|c| c == b' ' || c.is_ascii_graphic()));
}

/// Checks that the answer to `decrypt` is this plaintext.
///
/// # Panics
/// If it is not.
pub fn assert_opens(answer: &Answer, plaintext: &[u8]) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(bytes(&answer.json()["plaintext"]), plaintext);
}

/// The files below a directory in which these bytes are.
#[must_use]
pub fn files_with(directory: &Path, wanted: &[u8]) -> Vec<String> {
    let has = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    let found = files(directory).into_iter().filter(has);
    found.map(|path| path.display().to_string()).collect()
}
