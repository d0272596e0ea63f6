//! Tokens of SoftHSM2, and a daemon whose custom key stores are on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::environment;
use hsm_tests::http::{Answer, call};
use hsm_tests::patience::until;
use hsm_tests::programs::skip;
use hsm_tests::tls::make_certificate;
use kms_pkcs11::{Modules, Place, Shares};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where Debian and Ubuntu put SoftHSM2.
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The password of the tokens' user, of which nothing else has a piece.
pub(crate) const PASSWORD: &str = "kmsuser-pw-7Qx2mRt9LcV4";
const OFFICER: &str = "so-pin-81726354";

/// Whether there is SoftHSM2; said where it is missing.
pub(crate) fn is_there() -> bool {
    let there = Path::new(MODULE).exists();
    if !there {
        skip("cloudhsm", "SoftHSM2 is missing; apt-get install softhsm2");
    }
    there
}

/// Tokens in a directory of their own.
pub(crate) struct Tokens {
    directory: TempDir,
}

impl Tokens {
    pub(crate) fn new(labels: &[&str]) -> Self {
        let tokens = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::create_dir(tokens.path("tokens")).expect("a directory");
        let stored = tokens.text("tokens");
        let config = format!("directories.tokendir = {stored}\nobjectstore.backend = file\n");
        fs::write(tokens.path("softhsm2.conf"), config).expect("written");
        let _ = make_certificate(&tokens.path("anchor.pem"), &tokens.path("anchor.key"));
        for label in labels {
            tokens.make(label, PASSWORD);
        }
        tokens
    }

    /// Makes a token.
    pub(crate) fn make(&self, label: &str, pin: &str) {
        let pins = ["--so-pin", OFFICER, "--pin", pin];
        let before = self.directories();
        self.util(&[&["--init-token", "--free", "--label", label][..], &pins].concat());
        let new = self.directories().into_iter().find(|it| !before.contains(it));
        let new = new.expect("a token has a directory");
        fs::write(self.path(&format!("{label}.dir")), new.to_str().expect("UTF-8"))
            .expect("written");
    }

    fn directories(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("tokens")).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn util(&self, arguments: &[&str]) {
        let made = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .args(arguments)
            .output()
            .expect("SoftHSM2 has it");
        assert!(made.status.success(), "{made:?}");
    }

    fn home(&self, label: &str) -> PathBuf {
        fs::read_to_string(self.path(&format!("{label}.dir"))).expect("a token").into()
    }

    /// Takes a token away.
    pub(crate) fn lose(&self, label: &str) {
        fs::rename(self.home(label), self.path(&format!("{label}.lost"))).expect("it was there");
    }

    /// Brings it back.
    pub(crate) fn find(&self, label: &str) {
        fs::rename(self.path(&format!("{label}.lost")), self.home(label)).expect("it was lost");
    }

    /// Gives the user of a token another PIN. Its serial number stays, and its keys are gone until it is restored.
    pub(crate) fn reset(&self, label: &str, pin: &str) {
        let (home, lost) = (self.home(label), self.path(&format!("{label}.lost")));
        fs::create_dir(&lost).expect("a directory");
        for entry in fs::read_dir(home).expect("it is there").flatten() {
            fs::copy(entry.path(), lost.join(entry.file_name())).expect("copied");
        }
        let pins = ["--so-pin", OFFICER, "--pin", pin];
        self.util(&[&["--init-token", "--token", label, "--label", label][..], &pins].concat());
    }

    /// Deletes a token, and puts another one of the same label and PIN in its place, with another serial number. The
    /// former one can be restored.
    pub(crate) fn replace(&self, label: &str) {
        self.lose(label);
        self.make(label, PASSWORD);
    }

    /// Takes that away, and brings the former one back.
    pub(crate) fn restore(&self, label: &str) {
        fs::remove_dir_all(self.home(label)).expect("it was there");
        self.find(label);
    }

    /// Gives a token another serial number, as a backup has that was restored into another device.
    pub(crate) fn renumber(&self, label: &str, serial: &str) {
        let path = self.home(label).join("token.object");
        let mut object = fs::read(&path).expect("it is there");
        let places = object.windows(serial.len()).position(|it| it == serial.as_bytes());
        let place = places.expect("it has the serial number");
        object[place] = if object[place] == b'0' { b'1' } else { b'0' };
        fs::write(&path, object).expect("written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn anchor(&self) -> String {
        fs::read_to_string(self.path("anchor.pem")).expect("a certificate")
    }

    /// For a worker of the test's own.
    pub(crate) fn modules(&self, limit: Duration) -> Modules {
        Modules {
            program: environment::kmsd(),
            allowed: vec![MODULE.into()],
            environment: vec![("SOFTHSM2_CONF".into(), self.path("softhsm2.conf").into())],
            limit,
            processes: Shares::new(64),
        }
    }
}

/// A daemon that may run a module: SoftHSM2, unless a test says another one.
pub(crate) struct Rig {
    pub(crate) tokens: Tokens,
    pub(crate) daemon: Daemon,
    pub(crate) module: String,
}

impl Rig {
    pub(crate) fn start(labels: &[&str], more: &[&str]) -> Self {
        let tokens = Tokens::new(labels);
        let mut daemon = Daemon::stopped(&["soft"]);
        daemon.set_variable("SOFTHSM2_CONF", &tokens.text("softhsm2.conf"));
        let modules = ["--pkcs11-module", MODULE, "--pkcs11-env", "SOFTHSM2_CONF"];
        let arguments = [&modules[..], &["--rsa-stock", "0,0,0"], more].concat();
        let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
        daemon.replace_arguments(&arguments);
        daemon.restart();
        Self { tokens, daemon, module: MODULE.to_owned() }
    }

    /// Runs `kmsctl cluster`: its exit code and document.
    pub(crate) fn try_cluster(&self, arguments: &[&str]) -> (i32, Value) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        let place = ["--data", data, "--url", self.daemon.url()];
        ctl::run(&[&["cluster"][..], arguments, &place].concat())
    }

    /// Runs it: its exit code, and what it says.
    pub(crate) fn said(&self, arguments: &[&str]) -> (i32, String) {
        let data = self.daemon.data().to_str().expect("UTF-8");
        let place = ["--data", data, "--url", self.daemon.url()];
        let mut command = Command::new(environment::kmsctl());
        let output = command.arg("cluster").args(arguments).args(place).output();
        let output = output.expect("kmsctl runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("an exit code"), String::from_utf8_lossy(&said).into_owned())
    }

    /// Removes a cluster.
    pub(crate) fn remove(&self, id: &str) {
        let (code, said) = self.said(&["remove", id]);
        assert_eq!(code, 0, "{said}");
    }

    pub(crate) fn cluster(&self, arguments: &[&str]) -> Value {
        let (code, document) = self.try_cluster(arguments);
        assert_eq!(code, 0, "{arguments:?}: {document}");
        document
    }

    /// Registers tokens as a cluster, and returns its id.
    pub(crate) fn register(&self, labels: &[&str]) -> String {
        let anchor = self.tokens.text("anchor.pem");
        let mut arguments = vec!["add", "--module", &self.module, "--trust-anchor", &anchor];
        for label in labels {
            arguments.extend(["--token", label]);
        }
        if labels.len() == 1 {
            arguments.push("--single");
        }
        text(&self.cluster(&arguments)["ClusterId"])
    }

    pub(crate) fn call(&self, operation: &str, body: &Value) -> Answer {
        call(&self.daemon, operation, body)
    }

    pub(crate) fn ok(&self, operation: &str, body: &Value) -> Value {
        let answer = self.call(operation, body);
        assert_eq!(answer.status, 200, "{operation}: {}", answer.body.escape_ascii());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    pub(crate) fn refused(&self, operation: &str, body: &Value) -> String {
        self.call(operation, body).code()
    }

    pub(crate) fn to_create(&self, name: &str, cluster: &str) -> Value {
        json!({
            "CustomKeyStoreName": name,
            "CloudHsmClusterId": cluster,
            "KeyStorePassword": PASSWORD,
            "TrustAnchorCertificate": self.tokens.anchor(),
        })
    }

    /// Makes a custom key store on tokens, and returns its id.
    pub(crate) fn store(&self, labels: &[&str]) -> String {
        self.named_store("own", labels)
    }

    /// The same with another name.
    pub(crate) fn named_store(&self, name: &str, labels: &[&str]) -> String {
        let cluster = self.register(labels);
        let made = self.ok("CreateCustomKeyStore", &self.to_create(name, &cluster));
        text(&made["CustomKeyStoreId"])
    }

    pub(crate) fn described(&self, id: &str) -> Value {
        let found = self.ok("DescribeCustomKeyStores", &json!({ "CustomKeyStoreId": id }));
        found["CustomKeyStores"][0].clone()
    }

    /// Connects a store and returns how that has ended.
    pub(crate) fn connect(&self, id: &str) -> Value {
        self.ok("ConnectCustomKeyStore", &json!({ "CustomKeyStoreId": id }));
        let mut found = Value::Null;
        until("the store is connected or not", || {
            found = self.described(id);
            found["ConnectionState"] != "CONNECTING"
        });
        found
    }

    /// A connected store on tokens.
    pub(crate) fn connected(&self, labels: &[&str]) -> String {
        let id = self.store(labels);
        let found = self.connect(&id);
        assert_eq!(found["ConnectionState"], "CONNECTED", "{found}");
        id
    }

    /// Makes a key in a store, and returns its metadata.
    pub(crate) fn key(&self, store: &str) -> Value {
        self.ok("CreateKey", &to_make(store))["KeyMetadata"].clone()
    }

    /// The processes that run modules.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.daemon.id())).expect("it runs");
        let mut all = Vec::new();
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        // Those that have ended may not be reaped yet.
        all.retain(|pid| {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        });
        all
    }

    /// Sends a signal to all of them.
    pub(crate) fn signal_workers(&self, signal: Signal) -> usize {
        let workers = self.workers();
        for worker in &workers {
            let worker = Pid::from_raw(*worker).expect("a process");
            let _ = kill_process(worker, signal);
        }
        workers.len()
    }
}

/// Where a token is.
pub(crate) fn place(module: &str, label: &str, serial: Option<&str>) -> Place {
    let (module, label, serial) = (module.into(), label.to_owned(), serial.map(str::to_owned));
    Place { module, label, serial, owner: "test".to_owned() }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(crate) fn to_make(store: &str) -> Value {
    json!({ "Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store })
}

pub(crate) fn to_encrypt(key: &str, plaintext: &[u8]) -> Value {
    json!({
        "KeyId": key,
        "Plaintext": BASE64.encode(plaintext),
        "EncryptionContext": { "project": "nile" },
    })
}

pub(crate) fn to_decrypt(blob: &Value) -> Value {
    json!({ "CiphertextBlob": blob, "EncryptionContext": { "project": "nile" } })
}
