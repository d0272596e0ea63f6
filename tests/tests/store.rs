//! The records of an installation move from a file to etcd and back, with imports that are killed on the way.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_tests::daemon::Daemon;
use hsm_tests::etcd::arguments;
use hsm_tests::http::{await_devices, call, get};
use hsm_tests::losses::{
    accept, assert_intact, assert_opens, code_in, create, decrypt, encrypt, events,
};
use hsm_tests::patience::until;
use hsm_tests::{ctl, environment};
use kms_store::etcd::testing::EtcdCluster;
use kms_store::{RedbStore, Store as _, Transaction};
use serde_json::{Value, json};

#[path = "store/repair.rs"]
mod repair;
#[path = "store/yields.rs"]
mod yields;

/// Records beside those of the keys, so that an import has many transactions.
const MANY: usize = 6000;

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("passphrase"), "correct horse battery staple\n")
            .expect("written");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, what: &str, file: &Path, more: &[String]) -> Command {
        let mut command = Command::new(environment::kmsctl());
        command
            .args(["--json", "store", what])
            .arg(file)
            .args(more)
            .env("STRONGROOM_PASSPHRASE_FILE", self.path("passphrase"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Exit code, document, and what is said on standard error.
    fn run(&self, what: &str, file: &str, more: &[String]) -> (i32, Value, String) {
        let output = self.command(what, &self.path(file), more).output().expect("kmsctl runs");
        let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), document, said)
    }

    fn done(&self, what: &str, file: &str, more: &[String]) -> Value {
        let (code, document, said) = self.run(what, file, more);
        assert_eq!(code, 0, "{said}");
        document
    }

    fn refused(&self, what: &str, file: &str, more: &[String]) -> String {
        let (code, _, said) = self.run(what, file, more);
        assert_eq!(code, 2, "{said}");
        said
    }

    /// Kills an import once it has told of its progress so often.
    fn kill_import(&self, file: &str, more: &[String], lines: usize) {
        let mut child = self.command("import", &self.path(file), more).spawn().expect("it runs");
        let mut told = BufReader::new(child.stderr.take().expect("its errors")).lines();
        for _ in 0..lines {
            let line = told.next().expect("it tells of its progress").expect("UTF-8");
            assert!(line.starts_with("written and compared: "), "{line}");
        }
        child.kill().expect("it is a child");
        assert!(!child.wait().expect("it ended").success(), "it was done before");
    }
}

fn of_data(daemon: &Daemon) -> Vec<String> {
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let mut flags = vec!["--data".to_owned(), data];
    if !daemon.url().is_empty() {
        flags.extend(["--url".to_owned(), daemon.url().to_owned()]);
    }
    flags
}

fn ok(daemon: &Daemon, operation: &str, input: &Value) -> Value {
    let answer = call(daemon, operation, input);
    assert_eq!(answer.status, 200, "{operation}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// An installation with something of each kind.
struct Made {
    key: String,
    disabled: String,
    rotated: String,
    blobs: Vec<String>,
    sealed_disabled: String,
    grant: String,
    policy: Value,
}

impl Made {
    fn by(daemon: &Daemon) -> Self {
        let [key, disabled, rotated] = [(); 3].map(|()| create(daemon));
        let alias = json!({ "AliasName": "alias/moved", "TargetKeyId": key });
        ok(daemon, "CreateAlias", &alias);
        let mut blobs = vec![encrypt(daemon, &key), encrypt(daemon, &rotated)];
        ok(daemon, "RotateKeyOnDemand", &json!({ "KeyId": rotated }));
        blobs.push(encrypt(daemon, &rotated));
        ok(daemon, "EnableKeyRotation", &json!({ "KeyId": key, "RotationPeriodInDays": 200 }));
        let sealed_disabled = encrypt(daemon, &disabled);
        ok(daemon, "DisableKey", &json!({ "KeyId": disabled }));
        let grant = json!({
            "KeyId": key, "GranteePrincipal": "arn:aws:iam::000000000000:root",
            "Operations": ["Encrypt"],
        });
        let grant = ok(daemon, "CreateGrant", &grant)["GrantId"].as_str().expect("it").to_owned();
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [
                { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::000000000000:root" },
                  "Action": "kms:*", "Resource": "*" },
                { "Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey", "Resource": "*" },
            ],
        });
        let put = json!({ "KeyId": key, "Policy": policy.to_string(), "PolicyName": "default" });
        ok(daemon, "PutKeyPolicy", &put);
        Self { key, disabled, rotated, blobs, sealed_disabled, grant, policy }
    }

    fn is_served_by(&self, daemon: &Daemon) {
        self.blobs.iter().for_each(|blob| assert_opens(daemon, blob));
        assert_opens(daemon, &encrypt(daemon, "alias/moved"));
        assert_eq!(decrypt(daemon, &self.sealed_disabled).code(), "DisabledException");
        let denied = json!({ "KeyId": self.key, "KeySpec": "AES_256" });
        assert_eq!(call(daemon, "GenerateDataKey", &denied).code(), "AccessDeniedException");
        let grants = ok(daemon, "ListGrants", &json!({ "KeyId": self.key }));
        assert_eq!(grants["Grants"][0]["GrantId"], self.grant, "{grants}");
        let policy = ok(daemon, "GetKeyPolicy", &json!({ "KeyId": self.key }));
        let policy: Value =
            serde_json::from_str(policy["Policy"].as_str().expect("text")).expect("JSON");
        assert_eq!(policy, self.policy);
        let rotation = ok(daemon, "GetKeyRotationStatus", &json!({ "KeyId": self.key }));
        assert_eq!(rotation["RotationPeriodInDays"], 200);
        let rotations = ok(daemon, "ListKeyRotations", &json!({ "KeyId": self.rotated }));
        assert_eq!(rotations["Rotations"].as_array().map(Vec::len), Some(1), "{rotations}");
        let state = ok(daemon, "DescribeKey", &json!({ "KeyId": self.disabled }));
        assert_eq!(state["KeyMetadata"]["KeyState"], "Disabled");
    }
}

/// Adds records to the store of a stopped daemon.
fn add_records(daemon: &Daemon) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = RedbStore::open(&daemon.data().join("store.redb")).expect("it is not running");
    for start in (0..MANY).step_by(100) {
        let mut transaction = Transaction::new();
        for n in start..start + 100 {
            transaction = transaction.put(format!("iam/uses/TEST{n:012}"), vec![b'x'; 200]);
        }
        let _ = runtime.block_on(store.commit(transaction)).expect("written");
    }
}

#[test]
fn an_installation_moves_to_etcd_and_back_and_loses_nothing() {
    let rig = Rig::new();
    let cluster = EtcdCluster::with_users(3);
    let etcd = arguments(&cluster);
    let mut daemon = Daemon::start(&["soft"]);
    let made = Made::by(&daemon);
    assert!(daemon.stop().success());
    add_records(&daemon);
    daemon.restart();
    await_devices(&daemon, 1);
    let to_etcd = |daemon: &Daemon| [&etcd[..], &of_data(daemon)[..]].concat();

    // While it runs; then there is more, which would be lost.
    let early = rig.done("export", "early", &of_data(&daemon));
    assert!(early["records"].as_u64() > Some(MANY as u64), "{early}");
    assert!(!daemon.data().join("backup").exists(), "a snapshot is left");
    let later = create(&daemon);
    let blob = encrypt(&daemon, &later);
    let said = rig.refused("import", "early", &to_etcd(&daemon));
    assert!(said.contains("another kmsd or kmsctl is running"), "{said}");
    assert!(daemon.stop().success());
    let said = rig.refused("import", "early", &to_etcd(&daemon));
    assert!(said.contains("what was changed in between"), "{said}");

    let whole = rig.done("export", "whole", &of_data(&daemon));
    assert_eq!(events(&daemon, "ExportStore").len(), 1);
    let verified = rig.done("verify", "whole", &[]);
    assert_eq!(verified["sha256"], whole["sha256"]);
    let said = rig.refused("export", "whole", &of_data(&daemon));
    assert!(said.contains("exists and is not overwritten"), "{said}");

    // Killed five times. No daemon starts on what is there then, and no other file is mixed into it.
    let mut other = Daemon::stopped(&["soft"]);
    other.replace_arguments(&etcd);
    for lines in [1, 1, 2, 1, 3] {
        rig.kill_import("whole", &to_etcd(&daemon), lines);
        let said = other.restart_refused();
        assert!(said.contains("was imported in part") && said.contains("run it again"), "{said}");
        let said = rig.refused("import", "early", &etcd);
        assert!(said.contains("in part from another file"), "{said}");
        let said = rig.refused("export", "half", &etcd);
        assert!(said.contains("was imported in part"), "{said}");
        assert!(!rig.path("half").exists());
    }
    let imported = rig.done("import", "whole", &to_etcd(&daemon));
    assert!(imported["before"].as_u64() > Some(0), "it began anew: {imported}");
    assert_eq!(imported["data"], "gave its records up");
    let again = rig.done("import", "whole", &to_etcd(&daemon));
    assert_eq!((&again["wasComplete"], &again["data"]), (&json!(true), &json!("as it was")));
    let said = rig.refused("import", "early", &etcd);
    assert!(said.contains("has records already"), "{said}");

    let said = daemon.restart_refused();
    assert!(said.contains("start kmsd with --store"), "{said}");
    daemon.replace_arguments(&etcd);
    daemon.restart();
    await_devices(&daemon, 1);
    made.is_served_by(&daemon);
    assert_opens(&daemon, &blob);
    assert_eq!(events(&daemon, "MoveStore").len(), 1);
    let there = create(&daemon);
    let there = encrypt(&daemon, &there);

    // Back, of the daemon that runs meanwhile, and killed on the way.
    rig.done("export", "back", &etcd);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
    for lines in [1, 2] {
        rig.kill_import("back", &of_data(&daemon), lines);
        let said = daemon.restart_refused();
        assert!(said.contains("was imported in part"), "{said}");
    }
    rig.done("import", "back", &of_data(&daemon));
    daemon.replace_arguments(&[]);
    daemon.restart();
    await_devices(&daemon, 1);
    made.is_served_by(&daemon);
    [&blob, &there].into_iter().for_each(|blob| assert_opens(&daemon, blob));
    assert_eq!(get(&daemon, "/readyz").status, 200);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
    let moves = events(&daemon, "MoveStore");
    assert_eq!(moves.len(), 2, "{moves:?}");
}

#[test]
fn what_is_not_an_export_of_this_store_changes_nothing() {
    let rig = Rig::new();
    let [mut one, mut two] = [(); 2].map(|()| Daemon::start(&["soft"]));
    let key = create(&one);
    let blob = encrypt(&one, &key);
    create(&two);
    assert!(one.stop().success() && two.stop().success());
    rig.done("export", "two", &of_data(&two));
    let passphrase = rig.path("passphrase").to_str().expect("UTF-8").to_owned();
    let backup = rig.path("backup").to_str().expect("UTF-8").to_owned();
    let data = one.data().to_str().expect("UTF-8").to_owned();
    let (code, _) = ctl::run(&[
        "backup",
        &backup,
        "--with-devices",
        "--data",
        &data,
        "--passphrase-file",
        &passphrase,
    ]);
    assert_eq!(code, 0);
    let good = fs::read(rig.path("two")).expect("read");
    for (name, at) in [("magic", 3), ("head", 40), ("content", good.len() / 2)] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(rig.path(name), bytes).expect("written");
    }
    fs::write(rig.path("cut"), &good[..good.len() - 100]).expect("written");
    let cluster = EtcdCluster::start(1);
    let etcd = ["--store".to_owned(), format!("etcd:{}", cluster.urls()[0])];
    let etcd_of_one = [&etcd[..], &of_data(&one)[..]].concat();
    let refusals = [
        ("backup", "not an export of a store"),
        ("magic", "not an export of a store"),
        ("head", "not whole, or was damaged"),
        ("content", "not whole, or was damaged"),
        ("cut", "not whole, or was damaged"),
        ("two", "not of the store in"),
    ];
    for (file, text) in refusals {
        let said = rig.refused("import", file, &etcd_of_one);
        assert!(said.contains(text), "{file}: {said}");
    }
    let said = rig.refused("import", "two", &of_data(&one));
    assert!(said.contains("has records already"), "{said}");
    one.restart();
    await_devices(&one, 1);
    assert_opens(&one, &blob);
    // The cluster is as empty as before.
    let imported = rig.done("import", "two", &etcd);
    assert_eq!((&imported["before"], &imported["data"]), (&json!(0), &json!("not named")));
}

/// Changes a record of the store of a stopped daemon.
fn damage(daemon: &Daemon, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = RedbStore::open(&daemon.data().join("store.redb")).expect("it is not running");
    let entry = runtime.block_on(store.get(key.as_bytes())).expect("read").value.expect("there");
    let mut value = entry.value.to_vec();
    change(&mut value);
    let _ = runtime.block_on(store.commit(Transaction::new().put(key, value))).expect("written");
}

/// One character of the first token in a record is another one.
fn flip(value: &mut [u8]) {
    let token = b"\"token\":\"";
    let start = value.windows(token.len()).position(|part| part == token).expect("a token");
    let at = start + token.len() + 100;
    value[at] = if value[at] == b'A' { b'B' } else { b'A' };
}

fn scrub(rig: &Rig, daemon: &Daemon, more: &[&str]) -> (i32, Value) {
    let flags = of_data(daemon);
    let mut command = Command::new(environment::kmsctl());
    command.args(["--json", "store", "scrub"]).args(more).args(&flags).current_dir(&rig.dir);
    let output = command.output().expect("kmsctl runs");
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().expect("an exit code"), document)
}

#[test]
fn a_damaged_record_is_named_and_nothing_is_changed() {
    let rig = Rig::new();
    let mut daemon = Daemon::start(&["soft"]);
    let keys: Vec<String> = (0..6).map(|_| create(&daemon)).collect();
    let blobs: Vec<String> = keys.iter().map(|key| encrypt(&daemon, key)).collect();
    ok(&daemon, "RotateKeyOnDemand", &json!({ "KeyId": keys[0] }));
    let target = json!({ "AliasName": "alias/one", "TargetKeyId": keys[0] });
    ok(&daemon, "CreateAlias", &target);
    for arguments in [["user", "create", "ana"], ["key", "create", "ana"]] {
        let flags = of_data(&daemon);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (code, said) = ctl::run(&[&["iam"], &arguments[..], &flags[..]].concat());
        assert_eq!(code, 0, "{said}");
    }
    let (code, _) = scrub(&rig, &daemon, &["--status"]);
    assert_eq!(code, 2, "there was none");
    let (code, healthy) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((code, &healthy["faults"]), (0, &json!(0)), "{healthy}");
    // Six keys, one more generation, the key of secrets, and the secret of the access key.
    assert_eq!((&healthy["opened"], &healthy["skipped"]), (&json!(9), &json!(0)), "{healthy}");

    assert!(daemon.stop().success());
    let id = |n: usize| keys[n].rsplit_once('/').expect("an ARN").1;
    let record = |n: usize| format!("keys/000000000000/us-east-1/{}", id(n));
    damage(&daemon, &record(3), |value| flip(value));
    damage(&daemon, "aliases/000000000000/us-east-1/alias/one", |value| value.truncate(20));
    daemon.restart();
    await_devices(&daemon, 1);
    let (code, found) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((code, &found["faults"]), (1, &json!(2)), "{found}");
    let named = found["named"].as_array().expect("a list");
    assert!(
        named.iter().any(|fault| fault["name"] == keys[3].as_str()
            && fault["reason"].as_str().is_some_and(|why| why.contains("key token 1 of 1"))),
        "{found}"
    );
    assert!(
        named.iter().any(|fault| fault["name"] == "aliases/000000000000/us-east-1/alias/one"
            && fault["reason"].as_str().is_some_and(|why| why.contains("damaged record"))),
        "{found}"
    );
    let metrics = get(&daemon, "/metrics");
    let text = String::from_utf8_lossy(&metrics.body);
    assert!(text.contains("strongroom_scrub_faults 2"), "{text}");
    for (n, blob) in blobs.iter().enumerate() {
        match n {
            3 => assert_ne!(decrypt(&daemon, blob).status, 200),
            _ => assert_opens(&daemon, blob),
        }
    }

    // One that is killed on its way.
    let mut child = Command::new(environment::kmsctl());
    child.args(["store", "scrub", "--rate", "1"]).args(of_data(&daemon));
    let mut child = child.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs");
    let opened = |status: &Value| status["opened"].as_u64().expect("a number");
    let mut before = Value::Null;
    until("some of it is done", || {
        before = scrub(&rig, &daemon, &["--status"]).1;
        before["state"] == "under-way" && opened(&before) >= 3
    });
    daemon.kill();
    child.wait().expect("it ended");
    daemon.restart();
    await_devices(&daemon, 1);
    let mut last = opened(&before);
    until("it is complete", || {
        let status = scrub(&rig, &daemon, &["--status"]).1;
        assert_eq!(status["id"], before["id"], "another one was begun");
        assert!(opened(&status) >= last, "it began anew: {status}");
        last = opened(&status);
        status["state"] == "complete"
    });
    let (code, last) = scrub(&rig, &daemon, &["--status"]);
    assert_eq!((code, &last["faults"], &last["opened"]), (1, &json!(2), &json!(8)), "{last}");
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

#[test]
fn what_was_acknowledged_before_a_copy_outlives_the_disk() {
    let rig = Rig::new();
    let copies = hsm_tests::daemon::private_dir();
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (dir, passphrase) = (text(copies.path()), text(&rig.path("passphrase")));
    let more =
        ["--replica", &dir, "--replica-passphrase-file", &passphrase, "--replica-interval", "1"];
    let mut daemon = Daemon::start_with(&["soft"], &more);
    let made = Made::by(&daemon);
    let newest = || {
        let names = fs::read_dir(copies.path()).expect("a directory").flatten();
        let names = names.map(|entry| entry.path());
        names.filter(|path| path.extension().is_some_and(|ending| ending == "export")).max()
    };
    // The drill: the copy opens, and has what the store of the running daemon has.
    let mut last = (0, Value::Null);
    until("a copy has all of the store", || {
        let Some(copy) = newest() else { return false };
        let (code, report, _) = rig.run("verify", &text(&copy), &of_data(&daemon));
        last = (code, report);
        code == 0
    });
    let difference = &last.1["difference"];
    assert!(difference["same"].as_u64() > Some(10), "{difference}");
    let metrics = get(&daemon, "/metrics");
    let page = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(page.contains("strongroom_replica_failures_total 0"), "{page}");

    // The disk is lost with the store on it, and the daemon with it.
    daemon.kill();
    let file = daemon.data().join("store.redb");
    fs::remove_file(&file).expect("it was there");
    let copy = text(&newest().expect("a copy"));
    let data = [String::from("--data"), text(daemon.data())];
    // A copy that was altered is not used.
    let mut bytes = fs::read(&copy).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(rig.path("altered"), bytes).expect("written");
    rig.refused("import", "altered", &data);
    assert!(!file.exists(), "something was written");
    rig.done("import", &copy, &data);
    // That it is an older store than the log knows is for a person to accept.
    let said = daemon.restart_refused();
    accept(&daemon, &code_in(&said));
    daemon.restart();
    await_devices(&daemon, 1);
    made.is_served_by(&daemon);
    // The copies of the former store are not replaced by what is less.
    daemon.await_output("the store was put back to an older state");
    assert_eq!(newest().map(|path| text(&path)), Some(copy));
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}
