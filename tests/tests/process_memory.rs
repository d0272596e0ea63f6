//! What is left of plaintexts and keys in a daemon's memory, which root can read: nothing, once
//! the daemon has done what it had to do, while the connections they came over are still open.
//!
//! The device is in the daemon's process here (`--hsm soft`), so that its memory is searched too.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::prelude::Engine;
use hsm_core::memory::HEAP_KEYS;
use hsm_tests::client::{Client, Version};
use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::environment;
use hsm_tests::http::{Connection, Request, get};
use hsm_tests::importer::wrap_with_aes;
use hsm_tests::patience::{PATIENCE, at_rest, until};
use hsm_tests::process::{Process, signal_process};
use hsm_tests::remains::{Secret, search};
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use rsa::pkcs8::{DecodePublicKey, EncodePrivateKey};
use rsa::traits::PrivateKeyParts;
use rsa::{Oaep, PrivateKey, PublicKey};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde_json::{Value, json};
use sha2::Sha256;

/// Clients at a time, so that every thread of the daemon works.
const CLIENTS: usize = 6;
/// Listening there, a daemon has TLS.
const ENCRYPTED: &str = "0.0.0.0:0";
/// What every daemon is told, and may keep.
const ALIAS: &str = "alias/known-to-everybody";

const IAM: &str = "2010-05-08";
const STS: &str = "2011-06-15";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_http1() {
    nothing_is_left(Daemon::start_with(&["soft"], &["--rsa-stock", "0,0,0"]), Version::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_http2() {
    nothing_is_left(Daemon::start_with(&["soft"], &["--rsa-stock", "0,0,0"]), Version::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_http1_over_tls() {
    nothing_is_left(Daemon::start_on(ENCRYPTED, &["soft"]), Version::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_http2_over_tls() {
    nothing_is_left(Daemon::start_on(ENCRYPTED, &["soft"]), Version::Http2).await;
}

/// Has every operation done that takes or gives a secret, by several clients at a time.
async fn nothing_is_left(daemon: Daemon, version: Version) {
    let daemon = Arc::new(daemon);
    let keys = Keys::make(&mut Caller::new(&daemon, version).await).await;
    let keys = Arc::new(keys);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (daemon, keys) = (Arc::clone(&daemon), Arc::clone(&keys));
            tokio::spawn(async move {
                let mut caller = Caller::new(&daemon, version).await;
                caller.use_keys(&keys, number).await;
                caller.make_credentials(number).await;
                caller.be_refused(&keys, number).await;
                caller
            })
        })
        .collect();
    let mut secrets = Vec::new();
    let mut open = Vec::new();
    for client in clients {
        let mut caller = client.await.expect("every call was answered");
        secrets.append(&mut caller.secrets);
        open.push(caller);
    }
    assert_eq!(secrets.len(), CLIENTS * 14);
    at_rest(daemon.id());
    let found = search(daemon.id(), &secrets);
    assert!(found.is_empty(), "{found:#?}");

    // The same search finds what has to be there: a name, and secrets that are in use.
    let there = [
        Secret::new("alias", ALIAS.as_bytes()),
        Secret::new("secret of the root", daemon.credentials().secret.as_bytes()),
    ];
    let found = search(daemon.id(), &there);
    assert_eq!(found.len(), there.len(), "{found:#?}");
    drop(open);
}

/// The secret of a user's access key is in memory from its first use until it is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_access_key_is_there_while_it_is_in_use() {
    let daemon = Arc::new(Daemon::start_with(&["soft"], &["--rsa-stock", "0,0,0"]));
    let mut caller = Caller::new(&daemon, Version::Http1).await;
    caller.query("iam", IAM, "CreateUser", &[("UserName", "ana")]).await;
    let made = caller.query("iam", IAM, "CreateAccessKey", &[("UserName", "ana")]).await;
    let key = &made["CreateAccessKeyResponse"]["CreateAccessKeyResult"]["AccessKey"];
    let ana = Credentials { id: text(&key["AccessKeyId"]), secret: text(&key["SecretAccessKey"]) };
    let secret = [Secret::new("secret", ana.secret.as_bytes())];
    at_rest(daemon.id());
    assert_eq!(search(daemon.id(), &secret).len(), 0, "made, not used");

    // Each on a connection of its own: one that is idle while memory is searched may be ended.
    let mut caller = Caller::new(&daemon, Version::Http1).await;
    let request = Request::form(STS, "GetCallerIdentity", &[]).signed_for("sts", &ana, &daemon);
    let answer = caller.client.send(&request).await;
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
    at_rest(daemon.id());
    let found = search(daemon.id(), &secret);
    // Forty characters are three pieces.
    assert_eq!(found.get("secret").map(Vec::len), Some(3), "one copy, in use: {found:#?}");

    let mut caller = Caller::new(&daemon, Version::Http1).await;
    let named = [("UserName", "ana"), ("AccessKeyId", ana.id.as_str())];
    caller.query("iam", IAM, "DeleteAccessKey", &named).await;
    at_rest(daemon.id());
    let found = search(daemon.id(), &secret);
    assert!(found.is_empty(), "deleted: {found:#?}");
}

/// What a device keeps of a private key while it is in use goes with the key: AWS-LC's form of it, too.
#[tokio::test(flavor = "multi_thread")]
async fn private_keys_are_gone_once_others_have_displaced_them() {
    let daemon = Arc::new(Daemon::start_with(&["soft"], &["--rsa-stock", "0,0,0"]));
    let curve = SecretKey::generate_from_rng(&mut random());
    let scalar = curve.to_bytes().to_vec();
    let curve = curve.to_pkcs8_der().expect("PKCS#8").as_bytes().to_vec();
    let rsa = PrivateKey::new(&mut random(), 2048).expect("a key");
    let prime = rsa.primes()[0].to_be_bytes().to_vec();
    let rsa = rsa.to_pkcs8_der().expect("PKCS#8").as_bytes().to_vec();
    // The core has the bytes as they are, AWS-LC its words with the least significant first.
    let forms = |name: &str, bytes: &[u8]| {
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        [Secret::new(name, bytes), Secret::new(&format!("{name}, in words"), &reversed)]
    };
    let mut secrets = Vec::from(forms("scalar", &scalar));
    secrets.extend(forms("prime", &prime));
    let mut keys = Vec::new();
    let mut caller = Caller::new(&daemon, Version::Http1).await;
    for (spec, algorithm, material) in
        [("ECC_NIST_P256", "ECDSA_SHA_256", curve), ("RSA_2048", "RSASSA_PSS_SHA_256", rsa)]
    {
        let key = caller.imported(spec, "SIGN_VERIFY", &material).await;
        keys.push((key, algorithm));
    }
    for (key, algorithm) in &keys {
        caller.sign(key, algorithm).await;
    }
    at_rest(daemon.id());
    let found = search(daemon.id(), &secrets);
    assert_eq!(found.len(), secrets.len(), "in use: {found:#?}");
    // One that was idle while memory was searched may have been ended.
    let mut caller = Caller::new(&daemon, Version::Http1).await;

    for _ in 0..HEAP_KEYS {
        let key = caller.key("ECC_NIST_P256", "SIGN_VERIFY", "AWS_KMS").await;
        caller.sign(&key, "ECDSA_SHA_256").await;
    }
    at_rest(daemon.id());
    let found = search(daemon.id(), &secrets);
    assert!(found.is_empty(), "displaced: {found:#?}");
    let mut caller = Caller::new(&daemon, Version::Http1).await;
    for (key, algorithm) in &keys {
        caller.sign(key, algorithm).await;
    }
}

/// Requests in pieces, cut off and badly made: what came of them is erased as well.
#[test]
fn nothing_is_left_of_broken_requests() {
    let daemon = Daemon::start_with(&["soft"], &["--rsa-stock", "0,0,0"]);
    let mut secrets = Vec::new();
    let mut body = |name: &str| {
        let marker = marker();
        secrets.push(Secret::new(name, &marker));
        json!({ "KeyId": "alias/none", "Plaintext": BASE64.encode(marker) }).to_string()
    };
    let request = |body: String| {
        let request = Request::new("Encrypt", body).signed(&daemon);
        request.to_bytes(daemon.address())
    };
    let open = || Connection::open(&daemon);

    let mut in_pieces = open();
    for piece in request(body("in pieces")).chunks(40) {
        in_pieces.write(piece).expect("taken");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(in_pieces.read().expect("an answer").status, 400);

    let mut no_json = open();
    let bytes = request(body("no JSON").replace(':', ","));
    no_json.write(&bytes).expect("taken");
    assert_eq!(no_json.read().expect("an answer").status, 400);

    let mut not_signed = open();
    let bytes = Request::new("Encrypt", body("not signed")).to_bytes(daemon.address());
    not_signed.write(&bytes).expect("taken");
    assert_eq!(not_signed.read().expect("an answer").status, 400);

    let mut cut_off = open();
    let bytes = request(body("cut off"));
    cut_off.write(&bytes[..bytes.len() - 1]).expect("taken");
    drop(cut_off);

    // Both answers may come at once, which the other connections do not expect.
    let mut pipelined = TcpStream::connect(daemon.address()).expect("the daemon listens");
    let bytes = [request(body("first of two")), request(body("second of two"))].concat();
    pipelined.write_all(&bytes).expect("taken");
    let mut answers = String::new();
    while answers.matches("NotFoundException").count() < 2 {
        let mut chunk = [0; 4096];
        let count = pipelined.read(&mut chunk).expect("an answer");
        assert!(count > 0, "{answers}");
        answers.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }

    at_rest(daemon.id());
    let found = search(daemon.id(), &secrets);
    assert!(found.is_empty(), "{found:#?}");
    drop((in_pieces, no_json, not_signed, pipelined));
}

/// The operating system writes the memory to no core dump and to no swap.
#[test]
fn memory_is_not_written_to_disk() {
    // A core dump of this very kind of end is written unless a program has it turned off.
    let limit = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Core, limit).expect("root may raise limits");
    let directory = tempfile::tempdir().expect("a directory");
    let mut other = Command::new("sleep");
    let mut other = other.arg("60").current_dir(directory.path()).spawn().expect("sleep is there");
    signal_process(other.id(), Signal::ABORT);
    let status = other.wait().expect("a child");
    assert!(status.core_dumped(), "{status}: core dumps are off on this machine");

    let mut daemon = Daemon::start_with(&["soft"], &["--rsa-stock", "0,0,0"]);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it runs");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("a size");
    assert_ne!(locked.trim(), "0 kB", "root may lock memory");
    assert_eq!(get(&daemon, "/readyz").json()["memoryLocked"], true);
    signal_process(daemon.id(), Signal::ABORT);
    let (status, output) = daemon.stop_and_read();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false), "{output}");

    // Who may not lock memory is told so, and served.
    let mut command = Command::new("prlimit");
    command.args([
        "--memlock=65536",
        "setpriv",
        "--bounding-set=-ipc_lock",
        "--inh-caps=-ipc_lock",
    ]);
    let mut limited = Process::start(
        command
            .arg(environment::kmsd())
            .args(["--hsm", "soft:1", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory.path().join("data")),
    );
    let _ = limited.expect_line("listening on ", PATIENCE);
    // Its other stream may be read later.
    until("it is told", || limited.output().contains("no more than 65536 bytes may be locked"));
}

/// Keys that all clients use.
struct Keys {
    aes: String,
    other: String,
    rsa: String,
    agreement: String,
    public: String,
    external: String,
    /// A parcel of another key's parameters, with the public key to wrap material for it.
    wrapping: (Vec<u8>, String),
}

impl Keys {
    async fn make(caller: &mut Caller) -> Self {
        let aes = caller.key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS").await;
        caller.ok("CreateAlias", json!({ "AliasName": ALIAS, "TargetKeyId": aes })).await;
        caller.ok("DescribeKey", json!({ "KeyId": ALIAS })).await;
        let agreement = caller.key("ECC_NIST_P256", "KEY_AGREEMENT", "AWS_KMS").await;
        let public = caller.ok("GetPublicKey", json!({ "KeyId": agreement })).await;
        let external = caller.key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL").await;
        let parameters = caller
            .ok(
                "GetParametersForImport",
                json!({ "KeyId": external, "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
                        "WrappingKeySpec": "RSA_2048" }),
            )
            .await;
        let wrapping = BASE64.decode(text(&parameters["PublicKey"])).expect("Base64");
        Self {
            aes,
            other: caller.key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS").await,
            rsa: caller.key("RSA_2048", "ENCRYPT_DECRYPT", "AWS_KMS").await,
            agreement,
            public: text(&public["PublicKey"]),
            external,
            wrapping: (wrapping, text(&parameters["ImportToken"])),
        }
    }
}

/// A client, and the secrets that it has sent and received.
struct Caller {
    client: Client,
    daemon: Arc<Daemon>,
    secrets: Vec<Secret>,
}

impl Caller {
    async fn new(daemon: &Arc<Daemon>, version: Version) -> Self {
        let client = Client::connect(daemon, version).await;
        Self { client, daemon: Arc::clone(daemon), secrets: Vec::new() }
    }

    /// Sends and receives plaintexts and keys: nine secrets.
    async fn use_keys(&mut self, keys: &Keys, number: usize) {
        let (short, long) = (marker(), [marker(), vec![7; 4000]].concat());
        for (name, plaintext) in [("plaintext", &short), ("long plaintext", &long)] {
            let input = json!({ "KeyId": keys.aes, "Plaintext": BASE64.encode(plaintext) });
            let blob = self.ok("Encrypt", input).await["CiphertextBlob"].take();
            let opened = self.ok("Decrypt", json!({ "CiphertextBlob": blob })).await;
            assert_eq!(opened["Plaintext"], BASE64.encode(plaintext));
            let input = json!({ "CiphertextBlob": blob, "DestinationKeyId": keys.other });
            self.ok("ReEncrypt", input).await;
            self.note(name, number, &plaintext[..short.len()]);
        }
        let plaintext = marker();
        let mut input = json!({ "KeyId": keys.rsa, "Plaintext": BASE64.encode(&plaintext),
                                "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" });
        let blob = self.ok("Encrypt", input.clone()).await["CiphertextBlob"].take();
        input["CiphertextBlob"] = blob;
        let opened = self.ok("Decrypt", input).await;
        assert_eq!(opened["Plaintext"], BASE64.encode(&plaintext));
        self.note("RSA plaintext", number, &plaintext);

        let made = self.ok("GenerateDataKey", json!({ "KeyId": keys.aes, "KeySpec": "AES_256" }));
        let made = made.await;
        self.note_text("data key", number, &made["Plaintext"]);
        let opened = self.ok("Decrypt", json!({ "CiphertextBlob": made["CiphertextBlob"] })).await;
        assert_eq!(opened["Plaintext"], made["Plaintext"]);
        let made = self.ok("GenerateDataKey", json!({ "KeyId": keys.aes, "NumberOfBytes": 1024 }));
        let made = made.await;
        self.note_text("long data key", number, &made["Plaintext"]);
        let made = self.ok("GenerateRandom", json!({ "NumberOfBytes": 64 })).await;
        self.note_text("random bytes", number, &made["Plaintext"]);

        let input = json!({ "KeyId": keys.aes, "KeyPairSpec": "ECC_NIST_P256" });
        let made = self.ok("GenerateDataKeyPair", input).await;
        let private = BASE64.decode(text(&made["PrivateKeyPlaintext"])).expect("Base64");
        // PKCS#8 of P-256: what comes before the scalar is the same in all keys.
        assert_eq!(private[..2], [0x30, 0x81]);
        self.note("private key", number, &private[36..68]);
        let opened = json!({ "CiphertextBlob": made["PrivateKeyCiphertextBlob"] });
        assert_eq!(self.ok("Decrypt", opened).await["Plaintext"], made["PrivateKeyPlaintext"]);

        let input = json!({ "KeyId": keys.agreement, "KeyAgreementAlgorithm": "ECDH",
                            "PublicKey": made["PublicKey"] });
        let shared = self.ok("DeriveSharedSecret", input).await;
        self.note_text("shared secret", number, &shared["SharedSecret"]);
        let input = json!({ "KeyId": keys.agreement, "KeyAgreementAlgorithm": "ECDH",
                            "PublicKey": keys.public });
        let shared = self.ok("DeriveSharedSecret", input).await;
        assert_eq!(shared["SharedSecret"].as_str().map(str::len), Some(44));

        // The first client's is the key's from then on; that of the others is opened and refused.
        let material = marker()[..32].to_vec();
        let (public, token) = &keys.wrapping;
        let public = PublicKey::from_public_key_der(public).expect("a public key");
        let padding = Oaep::<Sha256>::new();
        let wrapped = public.encrypt(&mut random(), padding, &material).expect("fits");
        let input = json!({ "KeyId": keys.external, "ImportToken": token,
                            "EncryptedKeyMaterial": BASE64.encode(wrapped),
                            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE" });
        let answer = self.send("ImportKeyMaterial", &input).await;
        assert!([200, 400].contains(&answer.status), "{}", answer.body.escape_ascii());
        self.note("key material", number, &material);
    }

    /// Makes an access key and sessions: two secrets, and a token.
    async fn make_credentials(&mut self, number: usize) {
        let name = format!("user{number}");
        let user = [("UserName", name.as_str())];
        self.query("iam", IAM, "CreateUser", &user).await;
        let made = self.query("iam", IAM, "CreateAccessKey", &user).await;
        let key = &made["CreateAccessKeyResponse"]["CreateAccessKeyResult"]["AccessKey"];
        self.note("secret access key", number, text(&key["SecretAccessKey"]).as_bytes());
        let made = self.query("sts", STS, "GetSessionToken", &[]).await;
        let key = &made["GetSessionTokenResponse"]["GetSessionTokenResult"]["Credentials"];
        self.note("secret of a session", number, text(&key["SecretAccessKey"]).as_bytes());
        // Its last bytes are the MAC, without which it is of no use.
        let token = BASE64.decode(text(&key["SessionToken"])).expect("Base64");
        self.note("session token", number, &token[token.len() - 16..]);
    }

    /// Sends plaintexts that are not taken: two secrets.
    async fn be_refused(&mut self, keys: &Keys, number: usize) {
        let plaintext = marker();
        let input = json!({ "KeyId": "alias/none", "Plaintext": BASE64.encode(&plaintext) });
        assert_eq!(self.send("Encrypt", &input).await.code(), "NotFoundException");
        self.note("refused plaintext", number, &plaintext);
        let plaintext = marker();
        let input = json!({ "KeyId": keys.aes, "Plaintext": BASE64.encode(&plaintext) });
        let stranger = Credentials { id: "AKIAIOSFODNN7EXAMPLE".into(), secret: "nobody's".into() };
        let request = Request::new("Encrypt", input.to_string());
        let answer = self.client.send(&request.signed_by(&stranger, &self.daemon)).await;
        assert_eq!(answer.code(), "UnrecognizedClientException");
        self.note("stranger's plaintext", number, &plaintext);
    }

    async fn key(&mut self, spec: &str, usage: &str, origin: &str) -> String {
        let input = json!({ "KeySpec": spec, "KeyUsage": usage, "Origin": origin });
        text(&self.ok("CreateKey", input).await["KeyMetadata"]["KeyId"])
    }

    /// A new key of this material, PKCS#8.
    async fn imported(&mut self, spec: &str, usage: &str, material: &[u8]) -> String {
        let key = self.key(spec, usage, "EXTERNAL").await;
        let input = json!({ "KeyId": key, "WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256",
                            "WrappingKeySpec": "RSA_2048" });
        let parameters = self.ok("GetParametersForImport", input).await;
        let public = BASE64.decode(text(&parameters["PublicKey"])).expect("Base64");
        let wrapped = wrap_with_aes(&public, material);
        let input = json!({ "KeyId": key, "ImportToken": parameters["ImportToken"],
                            "EncryptedKeyMaterial": BASE64.encode(wrapped),
                            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE" });
        self.ok("ImportKeyMaterial", input).await;
        key
    }

    async fn sign(&mut self, key: &str, algorithm: &str) {
        let input = json!({ "KeyId": key, "Message": "dGV4dA==", "SigningAlgorithm": algorithm });
        self.ok("Sign", input).await;
    }

    async fn ok(&mut self, operation: &str, input: Value) -> Value {
        let answer = self.send(operation, &input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.body.escape_ascii());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    async fn send(&mut self, operation: &str, input: &Value) -> hsm_tests::http::Answer {
        let request = Request::new(operation, input.to_string()).signed(&self.daemon);
        self.client.send(&request).await
    }

    async fn query(
        &mut self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Value {
        let request = Request::form(version, action, parameters);
        let root = self.daemon.credentials();
        let answer = self.client.send(&request.signed_for(service, &root, &self.daemon)).await;
        assert_eq!(answer.status, 200, "{action}: {}", answer.body.escape_ascii());
        answer.json()
    }

    fn note(&mut self, name: &str, number: usize, secret: &[u8]) {
        self.secrets.push(Secret::new(&format!("{name} of client {number}"), secret));
    }

    fn note_text(&mut self, name: &str, number: usize, secret: &Value) {
        self.note(name, number, &BASE64.decode(text(secret)).expect("Base64"));
    }
}

fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// A plaintext that is nowhere else.
fn marker() -> Vec<u8> {
    let mut bytes = vec![0; 48];
    getrandom::fill(&mut bytes).expect("random numbers");
    bytes
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
