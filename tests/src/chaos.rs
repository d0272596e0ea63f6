//! Clients of a few daemons while everything below and around them fails: `cargo xtask chaos`.
//!
//! Several clients work on the same keys, aliases and policies while a schedule, which a seed repeats,
//! kills, pauses and stops daemons, their emulated devices and the members of the cluster that is their
//! store, and troubles the devices' lines. Afterwards:
//!
//! - The histories of all objects are linearizable ([`crate::history`]): no acknowledged change is lost,
//!   none is undone or done twice, and nothing is allowed after an acknowledged disable or deny. Several
//!   daemons may answer by what was true [`STALE`] before the request.
//! - Every acknowledged ciphertext opens, and every acknowledged key is there.
//! - The audit logs are whole, and have each answered request once.
//! - No plaintext is in a file of a daemon or of the store, or in what a daemon wrote.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use kms_store::etcd::testing::EtcdCluster;
use serde_json::json;

mod client;
mod faults;
mod judge;
mod line;
mod objects;
mod report;

pub use self::faults::{Act, Fault};
pub use self::line::Trouble;
pub use self::report::Report;

use self::client::Client;
use self::faults::{Device, World};
use crate::ctl;
use crate::daemon::{Credentials, Daemon};
use crate::etcd;
use crate::http::{Request, await_devices, call};

/// Clients that work at the same time.
const CLIENTS: usize = 8;
/// Objects of each kind. Few, so that clients meet.
const OBJECTS: usize = 3;
/// Members of the cluster of etcd.
const MEMBERS: usize = 3;
/// How long after its acknowledgement a change may be unknown to another daemon (ADR 39).
pub const STALE: Duration = Duration::from_secs(1);
/// How long etcd may take to carry out what nobody waits for any more: longer than its own deadline for a
/// request, of 5 s and two elections.
const LINGERS: Duration = Duration::from_secs(10);

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Repeats the schedule of faults and what clients choose to do, though not when each happens.
    pub seed: u64,
    /// How long faults happen.
    pub time: Duration,
    /// Daemons. Several have a cluster of etcd as their store.
    pub daemons: usize,
    /// Emulated devices, at least one for each daemon.
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

/// A daemon, whichever process it is.
struct Seat {
    daemon: RwLock<Daemon>,
    credentials: Credentials,
    /// When its processes were gone.
    deaths: Mutex<Vec<u64>>,
}

/// What clients share.
struct Scene {
    seats: Vec<Seat>,
    targets: Targets,
    began: Instant,
    over: AtomicBool,
    /// How long after the end of its process, or an error, a change may still happen, in nanoseconds.
    lingers: u64,
    /// How old what a daemon knows may be, in nanoseconds.
    stale: u64,
}

impl Scene {
    fn new(daemons: Vec<Daemon>, targets: Targets) -> Self {
        let several = daemons.len() > 1;
        let if_several = |time: Duration| if several { nanoseconds(time) } else { 0 };
        let seats = daemons.into_iter().map(|daemon| Seat {
            credentials: daemon.credentials(),
            daemon: RwLock::new(daemon),
            deaths: Mutex::default(),
        });
        Self {
            seats: seats.collect(),
            targets,
            began: Instant::now(),
            over: AtomicBool::new(false),
            lingers: if_several(LINGERS),
            stale: if_several(STALE),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    /// A process of this daemon is gone.
    fn died(&self, daemon: usize) {
        let mut deaths = self.seats[daemon].deaths.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.push(self.now());
    }

    /// A request's bytes, for a daemon as it runs now, and its address.
    fn sign(&self, request: Request, daemon: usize) -> (Vec<u8>, String) {
        let Seat { daemon, credentials, .. } = &self.seats[daemon];
        let daemon = daemon.read().expect("no client has failed");
        let request = request.signed_by(credentials, &daemon);
        (request.to_bytes(daemon.address()), daemon.address().to_owned())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("centuries have passed")
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
/// If a daemon, a device or etcd does not start, or a daemon does not stop when it is asked to.
#[must_use]
pub fn run(options: Options) -> Report {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let devices = options.devices.max(options.daemons);
    let mut devices: Vec<_> = (0..devices).map(|_| Device::new(random.fork())).collect();
    let mut cluster = (options.daemons > 1).then(|| EtcdCluster::with_users(MEMBERS));
    let daemons = provisioned(options.daemons, &devices, cluster.as_ref());
    let targets = Targets::make(&daemons[0]);
    let scene = Scene::new(daemons, targets);
    let clients: Vec<_> = (0..CLIENTS).map(|_| random.fork()).collect();
    let (notes, ended) = thread::scope(|scope| {
        let clients: Vec<_> = clients
            .into_iter()
            .map(|random| scope.spawn(|| Client::new(&scene, random).run()))
            .collect();
        let end = End(&scene);
        let random = random.fork();
        let mut world =
            World { scene: &scene, devices: &mut devices, cluster: &mut cluster, random };
        let ended = trouble(&mut world, options);
        drop(end);
        let notes = clients.into_iter().map(|client| client.join().expect("a client fails"));
        (notes.collect::<Vec<_>>(), ended)
    });
    let store = cluster.as_ref().map(|cluster| directory(&cluster.authority()));
    judge::judge(options, scene, &devices, store.as_deref(), &(notes, ended))
}

/// The directory that a file is in.
fn directory(file: &Path) -> std::path::PathBuf {
    file.parent().expect("a file is in a directory").to_owned()
}

/// The devices of one of so many daemons.
fn devices_of(daemon: usize, daemons: usize, devices: &[Device]) -> Vec<String> {
    devices.iter().skip(daemon).step_by(daemons).map(Device::endpoint).collect()
}

/// Daemons whose devices are these, all of one domain.
fn provisioned(count: usize, devices: &[Device], cluster: Option<&EtcdCluster>) -> Vec<Daemon> {
    fn borrowed(lines: &[String]) -> Vec<&str> {
        lines.iter().map(String::as_str).collect()
    }
    let lines: Vec<_> = devices.iter().map(Device::endpoint).collect();
    let mut daemons: Vec<Daemon> = Vec::new();
    for number in 0..count {
        let own = devices_of(number, count, devices);
        let mut daemon = Daemon::stopped(&borrowed(&own));
        if let Some(cluster) = cluster {
            daemon.replace_arguments(&etcd::arguments(cluster));
        }
        match daemons.first() {
            None => {
                let data = daemon.data().to_str().expect("UTF-8");
                let provision = ["hsm", "provision", "--data", data];
                let (code, said) = ctl::text(&[&provision[..], &borrowed(&lines)[..]].concat());
                assert_eq!(code, 0, "{said}");
            }
            // The same host to all devices.
            Some(first) => etcd::same_host(first, &daemon),
        }
        daemon.restart();
        await_devices(&daemon, own.len());
        daemons.push(daemon);
    }
    daemons
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
fn trouble(world: &mut World<'_>, options: Options) -> Vec<(Fault, u64)> {
    let (scene, numbers) = (world.scene, world.numbers());
    let mut random = world.random.fork();
    let mut ended = Vec::new();
    while scene.began.elapsed() < options.time {
        let act = Act::random(&mut random, numbers);
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
