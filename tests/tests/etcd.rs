//! Two daemons with data directories of their own on one etcd cluster: what each may still do when the
//! other one changes something, and when members of the cluster or the other one die.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::etcd::{arguments, same_host};
use hsm_tests::http::{Answer, await_devices, call, get};
use hsm_tests::losses::{assert_opens, create, encrypt, readiness};
use hsm_tests::patience::until;
use hsm_tests::people::told;
use kms_store::etcd::testing::EtcdCluster;
use serde_json::{Value, json};

#[path = "etcd/domain_key.rs"]
mod domain_key;
#[path = "etcd/forged.rs"]
mod forged;
#[path = "etcd/limits.rs"]
mod limits;
#[path = "etcd/older.rs"]
mod older;
#[path = "etcd/renewal.rs"]
mod renewal;
#[path = "etcd/rolling.rs"]
mod rolling;
#[path = "etcd/scrub.rs"]
mod scrub;

#[path = "etcd/upgrade.rs"]
mod upgrade;

/// What was acknowledged that long ago counts at every daemon.
const BOUND: Duration = Duration::from_secs(1);
/// Changes whose way to the other daemon is measured.
const ROUNDS: usize = 50;

/// Two daemons, each with a device of its own of one domain, and the cluster that has their records.
struct Pair {
    cluster: EtcdCluster,
    one: Daemon,
    two: Daemon,
    _plugs: [Plug; 2],
    _boards: tempfile::TempDir,
}

impl Pair {
    fn start() -> Self {
        let cluster = EtcdCluster::with_users(3);
        let boards = tempfile::tempdir().expect("a directory");
        let plugs = [Plug::empty(), Plug::empty()];
        for (plug, name) in plugs.iter().zip(["one", "two"]) {
            plug.plug(&boards.path().join(name));
        }
        let arguments = arguments(&cluster);
        let [first, second] = plugs.each_ref().map(Plug::line);
        // Both devices are of one domain, and both daemons are the same host to them.
        let mut one = Daemon::stopped(&[first]);
        let data = one.data().to_str().expect("UTF-8");
        let (code, said) = told(&["hsm", "provision", "--data", data, first, second]);
        assert_eq!(code, 0, "{said}");
        one.replace_arguments(&arguments);
        one.restart();
        let mut two = Daemon::stopped(&[second]);
        two.replace_arguments(&arguments);
        same_host(&one, &two);
        two.restart();
        await_devices(&one, 1);
        await_devices(&two, 1);
        Self { cluster, one, two, _plugs: plugs, _boards: boards }
    }

    fn await_ready(&self) {
        for daemon in [&self.one, &self.two] {
            until("both daemons are ready", || get(daemon, "/readyz").status == 200);
        }
    }
}

fn set_enabled(daemon: &Daemon, key: &str, is_enabled: bool) {
    let operation = if is_enabled { "EnableKey" } else { "DisableKey" };
    let answer = call(daemon, operation, &json!({ "KeyId": key }));
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn try_encrypt(daemon: &Daemon, key: &str) -> Answer {
    call(daemon, "Encrypt", &json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }))
}

/// Tries until a request succeeds; the errors on the way are those that clients try again for.
fn insist(what: &str, attempt: impl Fn() -> Answer) -> Answer {
    let mut last = None;
    until(what, || {
        let answer = attempt();
        let is_done = answer.status == 200;
        assert!(is_done || answer.status == 500, "{answer:?}");
        last = Some(answer);
        is_done
    });
    last.expect("an answer")
}

fn key_ids(daemon: &Daemon) -> BTreeSet<String> {
    let listed = insist("keys are listed", || call(daemon, "ListKeys", &json!({ "Limit": 1000 })));
    let listed = listed.json();
    let keys = listed["Keys"].as_array().expect("a list").iter();
    keys.map(|key| key["KeyArn"].as_str().expect("an ARN").to_owned()).collect()
}

#[test]
fn what_one_daemon_does_counts_at_the_other_within_a_second() {
    let mut pair = Pair::start();
    pair.await_ready();
    let Pair { one, two, .. } = &pair;
    let key = create(one);
    let blob = encrypt(one, &key);
    assert_opens(two, &blob);
    assert_opens(one, &encrypt(two, &key));
    // Markers of one are taken by the other.
    create(two);
    let page = call(one, "ListKeys", &json!({ "Limit": 1 })).json();
    let rest = json!({ "Marker": page["NextMarker"] });
    assert_eq!(call(two, "ListKeys", &rest).json()["Keys"].as_array().map(Vec::len), Some(1));
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let (by, at) = if round % 2 == 0 { (one, two) } else { (two, one) };
        assert_eq!(try_encrypt(at, &key).status, 200, "in the cache of the other one");
        set_enabled(by, &key, false);
        let acknowledged = Instant::now();
        loop {
            let sent = acknowledged.elapsed();
            let answer = try_encrypt(at, &key);
            if answer.status == 200 {
                assert!(sent < BOUND, "a disabled key was used after {sent:?}");
            } else if answer.code() == "DisabledException" {
                times.push(acknowledged.elapsed());
                break;
            } else {
                assert_eq!(answer.code(), "DependencyTimeoutException");
            }
        }
        set_enabled(by, &key, true);
        until("it counts that the key is enabled", || try_encrypt(at, &key).status == 200);
    }
    times.sort();
    let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    println!("DisableKey counts at the other daemon: median {median:?}, worst {worst:?}");

    // A key that is to be deleted, and a policy that denies.
    let deny = json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::000000000000:root" },
              "Action": "kms:*", "Resource": "*" },
            { "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*" },
        ],
    });
    let policy = json!({ "KeyId": key, "Policy": deny.to_string(), "PolicyName": "default" });
    assert_eq!(call(one, "PutKeyPolicy", &policy).status, 200);
    thread::sleep(BOUND);
    assert_eq!(try_encrypt(two, &key).code(), "AccessDeniedException");
    let deletion = json!({ "KeyId": key, "PendingWindowInDays": 7 });
    assert_eq!(call(one, "ScheduleKeyDeletion", &deletion).status, 200);
    thread::sleep(BOUND);
    let opened = call(two, "Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!(opened.code(), "KMSInvalidStateException");

    // What the file in the data directory is for elsewhere is refused, and said why.
    let data = pair.one.data().to_str().expect("UTF-8").to_owned();
    let file = pair.one.data().with_extension("backup");
    let passphrase = pair.one.data().join("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n").expect("written");
    let (file, passphrase) = (file.to_str().expect("UTF-8"), passphrase.to_str().expect("UTF-8"));
    let create = ["backup", file, "--data", &data, "--passphrase-file", passphrase];
    let url = pair.one.url().to_owned();
    let (code, said) = told(&[&create[..], &["--url", &url]].concat());
    assert!(code != 0 && said.contains("etcdctl snapshot save"), "{said}");
    assert!(pair.one.stop().success());
    let (code, said) = told(&create);
    assert!(code != 0 && said.contains("and not in its data directory"), "{said}");
    pair.one.replace_arguments(&[]);
    let said = pair.one.restart_refused();
    assert!(said.contains("start kmsd with --store"), "{said}");
}

#[test]
fn what_does_not_belong_to_the_installation_does_not_serve_it() {
    let cluster = EtcdCluster::start(1);
    let store = ["--store".to_owned(), format!("etcd:{}", cluster.urls()[0])];
    let mut one = Daemon::stopped(&["soft"]);
    one.replace_arguments(&store);
    one.restart();
    await_devices(&one, 1);
    // Before there are keys, and when there are some.
    for has_keys in [false, true] {
        if has_keys {
            create(&one);
        }
        let mut other = Daemon::stopped(&["soft"]);
        other.replace_arguments(&store);
        other.restart();
        until("it says that its device is not of the domain", || {
            let (is_ready, problems, _) = readiness(&other);
            !is_ready && problems.contains("domain")
        });
        let refused = call(&other, "CreateKey", &json!({}));
        assert_eq!(refused.status, 500, "{refused:?}");
        assert_eq!(key_ids(&one).len(), usize::from(has_keys));
    }
    // Another prefix is another installation.
    let mut other = Daemon::stopped(&["soft"]);
    let prefix = ["--store-prefix".to_owned(), "/another".to_owned()];
    other.replace_arguments(&[&store[..], &prefix[..]].concat());
    other.restart();
    await_devices(&other, 1);
    assert!(key_ids(&other).is_empty());

    // A data directory that has an installation of its own stays what it is.
    let mut own = Daemon::start(&["soft"]);
    let key = create(&own);
    assert!(own.stop().success());
    own.replace_arguments(&store);
    let said = own.restart_refused();
    assert!(said.contains("has an installation of its own"), "{said}");
    own.replace_arguments(&[]);
    own.restart();
    assert_eq!(key_ids(&own), BTreeSet::from([key]));
}

#[test]
fn one_member_may_die_and_two_stop_decisions_until_they_return() {
    let mut pair = Pair::start();
    pair.await_ready();
    let key = create(&pair.one);
    let blob = encrypt(&pair.one, &key);
    let mut made = BTreeSet::from([key.clone()]);
    let make = |daemon: &Daemon| {
        let answer = insist("a key is made", || call(daemon, "CreateKey", &json!({})));
        answer.json()["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned()
    };
    pair.cluster.kill(0);
    for _ in 0..5 {
        made.insert(make(&pair.one));
        made.insert(make(&pair.two));
    }
    pair.await_ready();
    assert_opens(&pair.two, &blob);

    pair.cluster.kill(1);
    until("the first daemon is not ready", || get(&pair.one, "/readyz").status == 503);
    until("the second daemon is not ready", || get(&pair.two, "/readyz").status == 503);
    let report: Value = get(&pair.two, "/readyz").json();
    assert_eq!(report["storeAvailable"], false, "{report}");
    let problems = report["problems"].to_string();
    assert!(problems.contains("majority of the etcd cluster"), "{report}");
    // Nothing is decided by what may be old, though all of it is in the caches.
    for daemon in [&pair.one, &pair.two] {
        for answer in [call(daemon, "CreateKey", &json!({})), try_encrypt(daemon, &key)] {
            assert_eq!((answer.status, &*answer.code()), (500, "DependencyTimeoutException"));
        }
    }
    pair.cluster.restart(0);
    pair.await_ready();
    assert_opens(&pair.two, &blob);
    made.insert(make(&pair.one));
    pair.cluster.restart(1);
    made.insert(make(&pair.two));
    for daemon in [&pair.one, &pair.two] {
        let lost: Vec<_> = made.difference(&key_ids(daemon)).cloned().collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

#[test]
fn a_daemon_that_is_killed_under_load_leaves_the_other_one_serving() {
    let mut pair = Pair::start();
    pair.await_ready();
    let key = create(&pair.one);
    let blob = encrypt(&pair.one, &key);
    let stop = AtomicBool::new(false);
    let (one, two) = (&pair.one, &pair.two);
    let acknowledged: BTreeSet<String> = thread::scope(|scope| {
        let stop = &stop;
        // Until the daemon dies, whose last request has no answer: it panics here, and is read below.
        let load = scope.spawn(move || {
            let made = std::sync::Mutex::new(BTreeSet::new());
            let _ = std::panic::catch_unwind(|| {
                loop {
                    let arn = create(one);
                    made.lock().expect("not poisoned").insert(arn);
                }
            });
            made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
        });
        let other = scope.spawn(move || {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_opens(two, &encrypt(two, &key));
                create(two);
                served += 1;
            }
            served
        });
        thread::sleep(Duration::from_secs(2));
        let id = i32::try_from(one.id()).expect("a process id");
        let process = rustix::process::Pid::from_raw(id).expect("a process");
        rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("killed");
        let made = load.join().expect("no panic");
        thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
        assert!(other.join().expect("the other one serves") > 0);
        made
    });
    assert!(!acknowledged.is_empty(), "there was no load");
    let there = key_ids(&pair.two);
    assert!(acknowledged.is_subset(&there), "acknowledged and lost");
    pair.one.kill();
    pair.one.restart();
    await_devices(&pair.one, 1);
    assert_opens(&pair.one, &blob);
    assert_eq!(key_ids(&pair.one), there);
}

#[test]
fn a_daemon_that_is_cut_off_does_not_decide_by_what_it_has_cached() {
    let mut pair = Pair::start();
    pair.await_ready();
    // The second daemon reaches one member only, which then hears of nobody.
    let mut alone = arguments(&pair.cluster);
    let url = alone.iter_mut().find(|argument| argument.starts_with("etcd:")).expect("the URLs");
    *url = format!("etcd:{}", pair.cluster.urls()[2]);
    assert!(pair.two.stop().success());
    pair.two.replace_arguments(&alone);
    pair.two.restart();
    pair.await_ready();
    let key = create(&pair.one);
    assert_eq!(try_encrypt(&pair.two, &key).status, 200);
    let member = i32::try_from(pair.cluster.process(2)).expect("a process id");
    let member = rustix::process::Pid::from_raw(member).expect("a process");
    let signal = |signal| rustix::process::kill_process(member, signal).expect("signalled");
    signal(rustix::process::Signal::STOP);
    insist("the key is disabled", || call(&pair.one, "DisableKey", &json!({ "KeyId": key })));
    let acknowledged = Instant::now();
    while acknowledged.elapsed() < 3 * BOUND {
        let sent = acknowledged.elapsed();
        let answer = try_encrypt(&pair.two, &key);
        assert!(sent < BOUND || answer.code() == "DependencyTimeoutException", "{sent:?}");
    }
    assert_eq!(get(&pair.two, "/readyz").status, 503);
    until("the first daemon is ready", || get(&pair.one, "/readyz").status == 200);
    signal(rustix::process::Signal::CONT);
    pair.await_ready();
    assert_eq!(try_encrypt(&pair.two, &key).code(), "DisabledException");
}
