//! Clients of one daemon while everything below and around it fails: `cargo xtask chaos`.
//!
//! Several clients work on the same keys, aliases and policies while a schedule, which a seed repeats,
//! kills, pauses and stops the daemon and its emulated devices and troubles their lines. Afterwards:
//!
//! - The histories of all objects are linearizable ([`crate::history`]): no acknowledged change is lost,
//!   none is undone or done twice, and nothing is allowed after an acknowledged disable or deny.
//! - Every acknowledged ciphertext opens, and every acknowledged key is there.
//! - The audit log is whole, and has each answered request once.
//! - No plaintext is in a file of the daemon, or in what it wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod client;
mod faults;
mod line;
mod objects;
mod report;

pub use self::faults::{Act, Fault};
pub use self::line::Trouble;
pub use self::report::Report;

use self::client::{Client, Notes, Sealed, opens, policy};
use self::faults::{Device, World};
use self::objects::State;
use self::report::Recovery;
use crate::ctl;
use crate::daemon::{Credentials, Daemon};
use crate::history::{Event, Step, check};
use crate::http::{Request, await_devices, call};
use crate::remains::{Secret, search_bytes};

/// Clients that work at the same time.
const CLIENTS: usize = 8;
/// Objects of each kind. Few, so that clients meet.
const OBJECTS: usize = 3;
/// Plaintexts that are looked for in files.
const PLANTED: usize = 64;
/// How long everything may take to be in service again once nothing fails any more.
const RETURN: Duration = Duration::from_secs(60);

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Repeats the schedule of faults and what clients choose to do, though not when each happens.
    pub seed: u64,
    /// How long faults happen.
    pub time: Duration,
    /// Emulated devices of the daemon.
    pub devices: usize,
    /// Whether a line on standard error tells of each fault.
    pub tells: bool,
}

/// What the clients work on.
struct Targets {
    /// Keys whose state changes.
    keys: Vec<String>,
    /// Keys that stay enabled.
    stable: Vec<String>,
    /// Keys whose policy changes.
    policies: Vec<String>,
    aliases: Vec<String>,
}

/// What clients share.
struct Scene {
    daemon: RwLock<Daemon>,
    credentials: Credentials,
    targets: Targets,
    began: Instant,
    over: AtomicBool,
    /// When processes of the daemon were gone.
    deaths: Mutex<Vec<u64>>,
}

impl Scene {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("centuries have passed")
    }

    /// A request's bytes, for the daemon as it runs now, and its address.
    fn sign(&self, request: Request) -> (Vec<u8>, String) {
        let daemon = self.daemon.read().expect("no client has failed");
        let request = request.signed_by(&self.credentials, &daemon);
        (request.to_bytes(daemon.address()), daemon.address().to_owned())
    }
}

/// Announces the end, also to clients whose faults have failed.
struct End<'s>(&'s Scene);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

/// Runs and judges.
///
/// # Panics
/// If the daemon or a device does not start, or the daemon does not stop when it is asked to.
#[must_use]
pub fn run(options: Options) -> Report {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut devices: Vec<_> = (0..options.devices).map(|_| Device::new(random.fork())).collect();
    let daemon = provisioned(&devices);
    let targets = Targets::make(&daemon);
    let scene = Scene {
        credentials: daemon.credentials(),
        daemon: RwLock::new(daemon),
        targets,
        began: Instant::now(),
        over: AtomicBool::new(false),
        deaths: Mutex::default(),
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| random.fork()).collect();
    let (notes, ended) = thread::scope(|scope| {
        let clients: Vec<_> = clients
            .into_iter()
            .map(|random| scope.spawn(|| Client::new(&scene, random).run()))
            .collect();
        let end = End(&scene);
        let ended = trouble(&scene, &mut devices, options, random);
        drop(end);
        let notes = clients.into_iter().map(|client| client.join().expect("a client fails"));
        (notes.collect::<Vec<_>>(), ended)
    });
    let Scene { daemon, targets, deaths, .. } = scene;
    let daemon = daemon.into_inner().expect("no client has failed");
    let mut deaths = deaths.into_inner().unwrap_or_else(PoisonError::into_inner);
    deaths.sort_unstable();
    judge(options, daemon, &targets, (notes, ended), &deaths)
}

/// A daemon whose devices are these.
fn provisioned(devices: &[Device]) -> Daemon {
    let mut daemon = Daemon::start(&["soft"]);
    assert!(daemon.stop().success(), "the daemon does not stop");
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let lines: Vec<_> = devices.iter().map(Device::endpoint).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let provision = [&["hsm", "provision", "--data", &data, "soft"], &lines[..]].concat();
    let (code, report) = ctl::run(&provision);
    assert_eq!(code, 0, "{report}");
    daemon.replace_hsms(&lines);
    daemon.restart();
    await_devices(&daemon, lines.len());
    daemon
}

impl Targets {
    fn make(daemon: &Daemon) -> Self {
        let key = || {
            let made = call(daemon, "CreateKey", &json!({})).json();
            made["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned()
        };
        let keys = || (0..OBJECTS).map(|_| key()).collect();
        let aliases = (0..OBJECTS).map(|number| format!("alias/chaos/{number}")).collect();
        Self { keys: keys(), stable: keys(), policies: keys(), aliases }
    }
}

/// Lets things go wrong for some time. Returns what has, and when each was over.
fn trouble(
    scene: &Scene,
    devices: &mut [Device],
    options: Options,
    mut random: fastrand::Rng,
) -> Vec<(Fault, u64)> {
    let gone = || {
        scene.deaths.lock().unwrap_or_else(PoisonError::into_inner).push(scene.now());
    };
    let count = devices.len();
    let mut world = World { daemon: &scene.daemon, devices, gone: &gone, random: random.fork() };
    let mut ended = Vec::new();
    while scene.began.elapsed() < options.time {
        let act = Act::random(&mut random, count);
        thread::sleep(act.calm);
        if options.tells {
            eprintln!("{:7.1} s  {act}", scene.began.elapsed().as_secs_f64());
        }
        act.faults.iter().for_each(|fault| world.begin(*fault));
        thread::sleep(act.lasts);
        for fault in act.faults {
            world.end(fault);
            ended.push((fault, scene.now()));
        }
    }
    // What is under way gets its answer.
    thread::sleep(Duration::from_secs(2));
    ended
}

/// What clients were told, and which faults ended when.
type Told = (Vec<Notes>, Vec<(Fault, u64)>);

fn judge(
    options: Options,
    mut daemon: Daemon,
    targets: &Targets,
    (notes, ended): Told,
    deaths: &[u64],
) -> Report {
    let mut report = Report::of(options.seed, options.time, &notes);
    report.recoveries = recoveries(&ended, &notes);

    let keys = histories(notes.iter().flat_map(|notes| &notes.keys), deaths);
    let aliases = histories(notes.iter().flat_map(|notes| &notes.aliases), deaths);
    let policies = histories(notes.iter().flat_map(|notes| &notes.policies), deaths);
    report.histories(State::Enabled, keys, |number| format!("key {}", targets.keys[number]));
    report.histories(None, aliases, |number| targets.aliases[number].clone());
    report.histories(false, policies, |number| format!("policy of {}", targets.policies[number]));

    let by = Instant::now() + RETURN;
    while crate::http::devices_in_service(&daemon) < options.devices && Instant::now() < by {
        thread::sleep(Duration::from_millis(50));
    }
    let back = crate::http::devices_in_service(&daemon);
    if back < options.devices {
        report.wrong(format!("{back} of {} devices are in service again", options.devices));
    }
    enable(&daemon, targets);
    open_all(&daemon, &notes, &mut report);

    let (status, said) = daemon.stop_and_read();
    if !status.success() {
        report.wrong(format!("the daemon ended with {status}"));
    }
    audited(&daemon, &notes, &mut report);
    let sealed = notes.iter().flat_map(|notes| &notes.sealed);
    let planted: Vec<Secret> = sealed
        .take(PLANTED)
        .enumerate()
        .map(|(number, sealed)| Secret::new(&format!("plaintext {number}"), &sealed.plaintext))
        .collect();
    leaked(daemon.data(), &planted, &mut report);
    for (secret, places) in search_bytes("what the daemon wrote", said.as_bytes(), &planted) {
        report.wrong(format!("{secret} is there: {}", places.join("; ")));
    }
    report
}

/// The events of each object. What was not answered can take effect as long as its process lives.
fn histories<'n, O: Clone + 'n>(
    events: impl Iterator<Item = &'n (usize, Event<O>)>,
    deaths: &[u64],
) -> BTreeMap<usize, Vec<Event<O>>> {
    let mut histories: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (number, event) in events {
        let mut event = event.clone();
        if !event.answered {
            let after = deaths.partition_point(|death| *death <= event.begin);
            event.end = deaths.get(after).copied().unwrap_or(u64::MAX);
        }
        histories.entry(*number).or_default().push(event);
    }
    histories
}

/// How long after the end of each fault a use of a device had begun and succeeded.
fn recoveries(ended: &[(Fault, u64)], notes: &[Notes]) -> BTreeMap<&'static str, Recovery> {
    let mut served: Vec<(u64, u64)> =
        notes.iter().flat_map(|notes| notes.served.iter().copied()).collect();
    served.sort_unstable();
    let mut recoveries: BTreeMap<&'static str, Recovery> = BTreeMap::new();
    for (fault, at) in ended {
        let after = &served[served.partition_point(|(begin, _)| begin < at)..];
        let first = after.iter().take(10 * CLIENTS).map(|(_, end)| end - at).min();
        recoveries.entry(fault.name()).or_default().add(first.map(Duration::from_nanos));
    }
    recoveries
}

/// Lets every key be used again.
fn enable(daemon: &Daemon, targets: &Targets) {
    for id in &targets.keys {
        // Refused where it is not to be deleted.
        let _ = call(daemon, "CancelKeyDeletion", &json!({ "KeyId": id }));
        assert_eq!(call(daemon, "EnableKey", &json!({ "KeyId": id })).status, 200);
    }
    for id in &targets.policies {
        let body = json!({ "KeyId": id, "PolicyName": "default", "Policy": policy(false) });
        assert_eq!(call(daemon, "PutKeyPolicy", &body).status, 200);
    }
}

/// Opens every acknowledged ciphertext, and looks at every acknowledged key.
fn open_all(daemon: &Daemon, notes: &[Notes], report: &mut Report) {
    let sealed: Vec<&Sealed> = notes.iter().flat_map(|notes| &notes.sealed).collect();
    let made: Vec<&String> = notes.iter().flat_map(|notes| &notes.made).collect();
    report.ciphertexts = sealed.len();
    report.keys = made.len();
    let per_thread = |count: usize| count.div_ceil(CLIENTS).max(1);
    let wrong: Vec<String> = thread::scope(|scope| {
        let openers = sealed.chunks(per_thread(sealed.len())).map(|sealed| {
            scope.spawn(move || {
                let open = |sealed: &&&Sealed| {
                    let answer = call(daemon, "Decrypt", &json!({ "CiphertextBlob": sealed.blob }));
                    answer.status != 200 || !opens(&answer.json(), sealed)
                };
                let lost = sealed.iter().filter(open);
                lost.map(|sealed| format!("does not open: {}", sealed.blob)).collect::<Vec<_>>()
            })
        });
        let openers: Vec<_> = openers.collect();
        let lookers = made.chunks(per_thread(made.len())).map(|made| {
            scope.spawn(move || {
                let is_lost = |id: &&&String| {
                    call(daemon, "DescribeKey", &json!({ "KeyId": id })).status != 200
                };
                made.iter().filter(is_lost).map(|id| format!("key {id} is lost")).collect()
            })
        });
        let threads: Vec<_> = openers.into_iter().chain(lookers.collect::<Vec<_>>()).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    wrong.into_iter().for_each(|wrong| report.wrong(wrong));
}

/// The audit log is whole and has each answered request once.
fn audited(daemon: &Daemon, notes: &[Notes], report: &mut Report) {
    let log = daemon.data().join("audit");
    let (intact, verdict) = ctl::verify(&log);
    if !intact {
        report.wrong(format!("the audit log is not whole: {verdict}"));
    }
    let mut recorded: HashMap<String, usize> = HashMap::new();
    for file in files(&log).iter().filter(|file| file.extension().is_some_and(|e| e == "jsonl")) {
        for line in fs::read_to_string(file).expect("text").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            if let Some(id) = line["record"]["requestID"].as_str() {
                *recorded.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    report.records = recorded.values().sum();
    for (id, count) in recorded.iter().filter(|(_, count)| **count > 1) {
        report.wrong(format!("request {id} is recorded {count} times"));
    }
    let answered: BTreeSet<&String> = notes.iter().flat_map(|notes| &notes.answered).collect();
    for id in answered.into_iter().filter(|id| !recorded.contains_key(*id)) {
        report.wrong(format!("request {id} was answered and is not recorded"));
    }
}

/// Looks for plaintexts in every file of the data directory.
fn leaked(data: &Path, planted: &[Secret], report: &mut Report) {
    for file in files(data) {
        let bytes = fs::read(&file).expect("the tests may read it");
        for (secret, places) in search_bytes(&file.display().to_string(), &bytes, planted) {
            report.wrong(format!("{secret} is there: {}", places.join("; ")));
        }
        report.files += 1;
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| match path.symlink_metadata().expect("it is there").file_type() {
        kind if kind.is_dir() => files(&path),
        kind if kind.is_file() => vec![path],
        _ => Vec::new(),
    };
    paths.flat_map(below).collect()
}

impl Report {
    /// Judges the histories of one kind of object.
    fn histories<O>(
        &mut self,
        first: O::State,
        histories: BTreeMap<usize, Vec<Event<O>>>,
        name: impl Fn(usize) -> String,
    ) where
        O: Step + Clone + std::fmt::Debug,
    {
        for (number, events) in histories {
            self.objects += 1;
            self.events += events.len();
            if let Err(violation) = check(first.clone(), events) {
                self.wrong(format!("{}: {violation}", name(number)));
            }
        }
    }
}
