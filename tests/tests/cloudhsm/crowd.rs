//! Many stores whose tokens all hang at once, and what they may take of the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::http::get;
use hsm_tests::patience::until;
use kms_pkcs11::WORKER;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::End;
use super::rig::{Rig, is_there, text, to_decrypt, to_encrypt, to_make};

/// Processes of modules that the daemon may run here.
const PROCESSES: usize = 16;
/// Clients whose keys are in tokens that hang.
const CLIENTS: usize = 160;
/// How long they hang.
const HANGS: Duration = Duration::from_secs(8);

/// Sends a signal to processes of modules, except some.
fn signal(rig: &Rig, except: &BTreeSet<i32>, signal: Signal) {
    // Not to one that does not run its program yet: the daemon waits for that (vfork).
    let runs = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').nth(1) == Some(WORKER)
    };
    for worker in rig.workers().into_iter().filter(|pid| !except.contains(pid) && runs(pid)) {
        let _ = kill_process(Pid::from_raw(worker).expect("a process"), signal);
    }
}

/// A number of `/proc/PID/status` of the daemon.
fn status(rig: &Rig, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", rig.daemon.id())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a number");
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}

/// How long the slowest of some uses of a key takes.
fn slowest(rig: &Rig, key: &str) -> Duration {
    let one = |_| {
        let begin = Instant::now();
        rig.ok("Encrypt", &to_encrypt(key, b"x"));
        begin.elapsed()
    };
    (0..20).map(one).max().expect("some")
}

#[test]
fn stores_whose_tokens_all_hang_take_a_bounded_part_of_the_daemon() {
    if !is_there() {
        return;
    }
    let labels = ["good", "ada", "bea", "cleo", "dora", "eva", "fay"];
    let processes = PROCESSES.to_string();
    let limits = ["--pkcs11-timeout", "2000", "--pkcs11-processes", &processes];
    let rig = Rig::start(&labels, &limits);
    let connected = |name: &str, labels: &[&str]| {
        let id = rig.named_store(name, labels);
        assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
        text(&rig.key(&id)["KeyId"])
    };
    let good = connected("good", &["good"]);
    let serving: BTreeSet<i32> = rig.workers().into_iter().collect();
    assert_eq!(serving.len(), 1);
    let hanging = [
        connected("one", &["ada", "bea"]),
        connected("two", &["cleo", "dora"]),
        connected("three", &["eva", "fay"]),
    ];
    let ordinary = text(&rig.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"]);
    let encrypt = |key: &str| rig.ok("Encrypt", &to_encrypt(key, b"x"))["CiphertextBlob"].take();
    let blobs: Vec<Value> = hanging.iter().map(|key| encrypt(key)).collect();
    let _ = (slowest(&rig, &ordinary), slowest(&rig, &good));
    let (threads, memory) = (status(&rig, "Threads:"), status(&rig, "VmRSS:"));

    let over = AtomicBool::new(false);
    let refused = AtomicUsize::new(0);
    let (mut most_processes, mut most_threads, mut most_memory) = (0, 0, 0);
    let mut took = [Duration::ZERO; 2];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                signal(&rig, &serving, Signal::STOP);
                thread::sleep(Duration::from_millis(2));
            }
        });
        // Whoever comes after them is not to find all stopped already.
        thread::sleep(Duration::from_millis(200));
        for client in 0..CLIENTS {
            let blob = &blobs[client % blobs.len()];
            let (rig, over, refused) = (&rig, &over, &refused);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    let answer = rig.call("Decrypt", &to_decrypt(blob));
                    // A process may answer before it is stopped.
                    if answer.status == 200 {
                        continue;
                    }
                    assert_eq!(answer.code(), "KMSInvalidStateException");
                    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = End(&over);
        let begin = Instant::now();
        while begin.elapsed() < HANGS {
            took[0] = took[0].max(slowest(&rig, &ordinary));
            took[1] = took[1].max(slowest(&rig, &good));
            most_processes = most_processes.max(rig.workers().len());
            most_threads = most_threads.max(status(&rig, "Threads:"));
            most_memory = most_memory.max(status(&rig, "VmRSS:"));
        }
    });
    let refused = refused.into_inner();
    println!(
        "{refused} refused; slowest use of an ordinary key {:?}, of one in a good token {:?}; {most_processes} \
         processes; threads {threads}, then {most_threads}; memory {memory} KiB, then {most_memory} KiB",
        took[0], took[1]
    );
    assert!(refused >= CLIENTS, "{refused}");
    assert!(most_processes <= PROCESSES, "{most_processes} processes");
    assert!(most_threads <= threads + 8, "{threads} threads, then {most_threads}");
    assert!(most_memory < memory + 128 * 1024, "{memory} KiB, then {most_memory} KiB");
    assert!(took.iter().all(|took| *took < Duration::from_secs(5)), "{took:?}");

    signal(&rig, &BTreeSet::new(), Signal::CONT);
    for blob in &blobs {
        until("its token serves again", || rig.call("Decrypt", &to_decrypt(blob)).status == 200);
    }
}

#[test]
fn no_store_takes_all_processes() {
    if !is_there() {
        return;
    }
    let labels = ["ada", "bea", "cleo", "dora", "eva", "fay", "gil", "hal"];
    let rig = Rig::start(&labels, &["--pkcs11-processes", "8"]);
    let connect = |name: &str, labels: &[&str]| {
        let id = rig.named_store(name, labels);
        assert_eq!(rig.connect(&id)["ConnectionState"], "CONNECTED");
        id
    };
    let first = connect("first", &labels[..4]);
    let _ = connect("second", &labels[4..6]);
    assert_eq!(rig.workers().len(), 6);
    let third = connect("third", &labels[6..]);
    assert_eq!(rig.workers().len(), 7, "one token of the last has a process");
    let refused = rig.refused("CreateKey", &to_make(&third));
    assert_eq!(refused, "CloudHsmClusterInvalidConfigurationException");
    let report = get(&rig.daemon, "/readyz").json();
    assert!(report["problems"].to_string().contains("hal (TooManyProcesses)"), "{report}");
    rig.ok("DisconnectCustomKeyStore", &json!({ "CustomKeyStoreId": first }));
    until("there is room", || rig.call("CreateKey", &to_make(&third)).status == 200);
    until("all of theirs run", || rig.workers().len() == 4);
}
