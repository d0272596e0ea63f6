//! Clients of a few daemons while everything below and around them fails: `cargo xtask chaos`.
//!
//! Several clients work on the same keys, aliases and policies while a schedule, which a seed repeats,
//! kills, pauses and stops daemons, their emulated devices and the members of the cluster that is their
//! store, troubles the devices' lines and the links to the members, drains devices, fills and breaks disks, and sets
//! clocks. Afterwards:
//!
//! - The histories of all objects are linearizable ([`crate::history`]): no acknowledged change is lost,
//!   none is undone or done twice, and nothing is allowed after an acknowledged disable, deny or revoke. Several
//!   daemons may answer by what was true [`STALE`] before the request.
//! - Every acknowledged ciphertext opens, and every acknowledged key is there.
//! - The audit logs are whole, and have each answered request once.
//! - No plaintext is in a file of a daemon or of the store, or in what a daemon wrote.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use self::line::Link;
use crate::clocks::{self, Clocks};
use crate::ctl;
use crate::daemon::{Credentials, Daemon, REGION};
use crate::disk::FailingDisk;
use crate::etcd;
use crate::http::{Request, await_devices, call};
use crate::programs;

/// Clients that work at the same time.
const CLIENTS: usize = 8;
/// Objects of each kind. Few, so that clients meet.
const OBJECTS: usize = 3;
/// Members of the cluster of etcd.
const MEMBERS: usize = 3;
/// Size of the disk of a daemon, in MiB: of an hour, twice. What is not on it takes no memory.
const DISK: u64 = 6 << 10;
/// The Regions of a run with two.
const REGIONS: [&str; 2] = [REGION, "eu-west-1"];
/// Who may use some keys by a grant only.
const GRANTEE: &str = "arn:aws:iam::000000000000:user/grantee";
/// How long after its acknowledgement a change may be unknown to another daemon (ADR 39).
pub const STALE: Duration = Duration::from_secs(1);
/// How long etcd may take to carry out what nobody waits for any more: longer than its own deadline for a
/// request, of 5 s and two elections.
const LINGERS: Duration = Duration::from_secs(10);

/// How long a daemon may take to see that its disk has room again.
const ROOM_AGAIN: Duration = Duration::from_secs(2);

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Repeats the schedule of faults and what clients choose to do, though not when each happens.
    pub seed: u64,
    /// How long faults happen.
    pub time: Duration,
    /// Daemons. Several have a cluster of etcd as their store.
    pub daemons: usize,
    /// Emulated devices, at least one for each daemon and Region.
    pub devices: usize,
    /// Regions, 1 or 2; keys of both are in two.
    pub regions: usize,
    /// Another `kmsd`: every second daemon runs that one at first, and each start after a fault may be of either.
    pub beside: Option<PathBuf>,
    /// Whether a line on standard error tells of each fault.
    pub tells: bool,
}

/// On whose behalf a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The account's root.
    Root,
    /// [`GRANTEE`].
    Grantee,
}

/// A key, and the Region that it is used in.
struct Key {
    region: &'static str,
    id: String,
}

impl Key {
    /// Whether it is in other Regions as well, where it has states of its own.
    fn is_multi_region(&self) -> bool {
        self.id.starts_with("mrk-")
    }
}

/// What the clients work on.
struct Targets {
    /// Keys whose state changes.
    keys: Vec<Key>,
    /// Keys that stay enabled.
    stable: Vec<String>,
    /// Keys that stay enabled in both Regions.
    shared: Vec<String>,
    /// Keys whose policy changes.
    policies: Vec<String>,
    /// Keys that [`GRANTEE`] may use now and then.
    granted: Vec<String>,
    aliases: Vec<String>,
}

/// A daemon, whichever process it is.
struct Seat {
    daemon: RwLock<Daemon>,
    credentials: Credentials,
    /// When its processes were gone.
    deaths: Mutex<Vec<u64>>,
    /// Up to when it may fail because its disk does.
    failing_until: AtomicU64,
    /// Up to when requests that are begun may be told that they were signed at the wrong time.
    wrong_until: AtomicU64,
}

/// What clients share.
struct Scene {
    seats: Vec<Seat>,
    targets: Targets,
    grantee: Credentials,
    began: Instant,
    over: AtomicBool,
    /// How long after the end of its process, or an error, a change may still happen, in nanoseconds.
    lingers: u64,
    /// How old what a daemon knows may be, in nanoseconds.
    stale: u64,
}

impl Scene {
    fn new(daemons: Vec<Daemon>, targets: Targets, grantee: Credentials) -> Self {
        let several = daemons.len() > 1;
        let if_several = |time: Duration| if several { nanoseconds(time) } else { 0 };
        let seats = daemons.into_iter().map(|daemon| Seat {
            credentials: daemon.credentials(),
            daemon: RwLock::new(daemon),
            deaths: Mutex::default(),
            failing_until: AtomicU64::default(),
            wrong_until: AtomicU64::default(),
        });
        Self {
            seats: seats.collect(),
            targets,
            grantee,
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

    /// The disk of a daemon takes nothing from now on, or takes something again.
    fn note_disk(&self, daemon: usize, fails: bool) {
        let until = if fails { u64::MAX } else { self.now() + nanoseconds(ROOM_AGAIN) };
        self.seats[daemon].failing_until.store(until, Ordering::Release);
    }

    fn disk_may_fail(&self, daemon: usize) -> bool {
        self.now() <= self.seats[daemon].failing_until.load(Ordering::Acquire)
    }

    /// The clock of a daemon is wrong from now on, or right again.
    fn note_clock(&self, daemon: usize, is_wrong: bool) {
        let until = if is_wrong { u64::MAX } else { self.now() };
        self.seats[daemon].wrong_until.store(until, Ordering::Release);
    }

    /// Whether the clock of a daemon may have been wrong for a request that was begun then.
    fn clock_may_be_wrong(&self, daemon: usize, begin: u64) -> bool {
        begin <= self.seats[daemon].wrong_until.load(Ordering::Acquire)
    }

    /// A request's bytes, for a daemon as it runs now, and its address.
    fn sign(&self, request: Request, region: &str, who: Who, daemon: usize) -> (Vec<u8>, String) {
        let Seat { daemon, credentials, .. } = &self.seats[daemon];
        let credentials = match who {
            Who::Root => credentials,
            Who::Grantee => &self.grantee,
        };
        let daemon = daemon.read().expect("no client has failed");
        let request = request.signed_in(region, "kms", credentials, &daemon);
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
    let devices = options.devices.max(options.daemons * options.regions);
    let region = |number: usize| REGIONS[(number / options.daemons) % options.regions];
    let mut devices: Vec<_> =
        (0..devices).map(|number| Device::new(region(number), random.fork())).collect();
    let mut cluster = (options.daemons > 1).then(|| EtcdCluster::with_users(MEMBERS));
    let links = links(options.daemons, cluster.as_ref(), &mut random);
    let clocks = Clocks::of(options.daemons);
    let rig = Rig {
        devices: &devices,
        cluster: cluster.as_ref(),
        links: &links,
        clocks: clocks.as_ref(),
    };
    let (daemons, disks) = rig.provisioned(&options);
    let targets = Targets::make(&daemons[0], options.regions);
    let grantee = grantee(&daemons[0]);
    let scene = Scene::new(daemons, targets, grantee);
    let clients: Vec<_> = (0..CLIENTS).map(|_| random.fork()).collect();
    let (notes, ended) = thread::scope(|scope| {
        let clients: Vec<_> = clients
            .into_iter()
            .map(|random| scope.spawn(|| Client::new(&scene, random).run()))
            .collect();
        let end = End(&scene);
        let random = random.fork();
        let (links, clocks, beside) = (&links, clocks.as_ref(), options.beside.as_deref());
        let (devices, cluster, disks) = (&mut devices, &mut cluster, disks.as_deref().ok());
        let mut world =
            World { scene: &scene, devices, cluster, disks, links, clocks, beside, random };
        let ended = trouble(&mut world, &options);
        drop(end);
        let notes = clients.into_iter().map(|client| client.join().expect("a client fails"));
        (notes.collect::<Vec<_>>(), ended)
    });
    let store = cluster.as_ref().map(|cluster| directory(&cluster.authority()));
    let mut left_out = Vec::new();
    left_out.extend(clocks.is_none().then(|| format!("clocks were not set: {}", clocks::MISSING)));
    left_out
        .extend(disks.as_ref().err().map(|reason| format!("no disk was full or failed: {reason}")));
    left_out.iter().for_each(|text| programs::skip("chaos", text));
    let told = (notes, ended);
    let mut report = judge::judge(&options, scene, disks, &devices, store.as_deref(), &told);
    report.left_out = left_out;
    report
}

/// The directory that a file is in.
fn directory(file: &Path) -> std::path::PathBuf {
    file.parent().expect("a file is in a directory").to_owned()
}

/// The devices of one of so many daemons, in the form of `--hsm`.
fn devices_of(daemon: usize, daemons: usize, devices: &[Device]) -> Vec<String> {
    let own = devices.iter().skip(daemon).step_by(daemons);
    own.map(|device| format!("{}={}", device.region(), device.endpoint())).collect()
}

/// What daemons are put together with.
struct Rig<'r> {
    devices: &'r [Device],
    cluster: Option<&'r EtcdCluster>,
    links: &'r [Vec<Link>],
    clocks: Option<&'r Clocks>,
}

impl Rig<'_> {
    /// Daemons whose devices are these, all of one domain.
    fn provisioned(&self, options: &Options) -> (Vec<Daemon>, Result<Vec<FailingDisk>, String>) {
        fn borrowed(lines: &[String]) -> Vec<&str> {
            lines.iter().map(String::as_str).collect()
        }
        let regions = &REGIONS[..options.regions];
        let (mut daemons, mut disks) = (Vec::<Daemon>::new(), Ok(Vec::new()));
        for number in 0..options.daemons {
            let own = devices_of(number, options.daemons, self.devices);
            let mut daemon = Daemon::stopped(&borrowed(&own));
            disks = disks.and_then(|mut disks: Vec<FailingDisk>| {
                disks.push(FailingDisk::mount(daemon.data(), DISK, true)?);
                Ok(disks)
            });
            let mut arguments: Vec<String> =
                regions.iter().flat_map(|region| ["--region", region]).map(str::to_owned).collect();
            if let Some(cluster) = self.cluster {
                let url = |link: &Link| format!("https://127.0.0.1:{}", link.port());
                let urls: Vec<_> = self.links[number].iter().map(url).collect();
                arguments.extend(etcd::arguments_through(cluster, &urls));
            }
            daemon.replace_arguments(&arguments);
            if let Some(clocks) = self.clocks {
                clocks.give(number, &mut daemon);
            }
            daemon.set_program(options.beside.clone().filter(|_| number % 2 == 1));
            match daemons.first() {
                None => {
                    let data = daemon.data().to_str().expect("UTF-8");
                    for region in regions {
                        let there = self.devices.iter().filter(|it| it.region() == *region);
                        let lines: Vec<_> = there.map(Device::endpoint).collect();
                        let provision = ["hsm", "provision", "--data", data, "--region", region];
                        let arguments = [&provision[..], &borrowed(&lines)[..]].concat();
                        let (code, said) = ctl::text(&arguments);
                        assert_eq!(code, 0, "{said}");
                    }
                }
                // The same host to all devices.
                Some(first) => etcd::same_host(first, &daemon),
            }
            daemon.restart();
            await_devices(&daemon, own.len());
            daemons.push(daemon);
        }
        (daemons, disks)
    }
}

/// The links of each daemon to the members of the cluster.
fn links(
    daemons: usize,
    cluster: Option<&EtcdCluster>,
    random: &mut fastrand::Rng,
) -> Vec<Vec<Link>> {
    let urls = cluster.map(EtcdCluster::urls).unwrap_or_default();
    let port = |url: &String| url.rsplit(':').next().and_then(|port| port.parse().ok());
    let ports: Vec<u16> = urls.iter().map(|url| port(url).expect("a port")).collect();
    let mut of_daemon = || ports.iter().map(|port| Link::new(*port, random.fork())).collect();
    (0..daemons).map(|_| of_daemon()).collect()
}

/// An access key of [`GRANTEE`], who may do nothing without a grant.
fn grantee(daemon: &Daemon) -> Credentials {
    let at = ["--data", daemon.data().to_str().expect("UTF-8"), "--url", daemon.url()];
    let (code, said) = ctl::text(&[&["iam", "user", "create", "grantee"][..], &at].concat());
    assert_eq!(code, 0, "{said}");
    let (code, profile) = ctl::text(&[&["iam", "key", "create", "grantee"][..], &at].concat());
    assert_eq!(code, 0, "{profile}");
    Credentials::of_profile(&profile)
}

impl Targets {
    fn make(daemon: &Daemon, regions: usize) -> Self {
        let made = |is_multi_region: bool| {
            let made = call(daemon, "CreateKey", &json!({ "MultiRegion": is_multi_region })).json();
            made["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned()
        };
        let replicated = || {
            let id = made(true);
            for region in &REGIONS[1..regions] {
                let body = json!({ "KeyId": id, "ReplicaRegion": region });
                let answer = call(daemon, "ReplicateKey", &body);
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            id
        };
        let keys = || -> Vec<String> { (0..OBJECTS).map(|_| made(false)).collect() };
        let aliases = (0..OBJECTS).map(|number| format!("alias/chaos/{number}")).collect();
        let mut states: Vec<Key> =
            keys().into_iter().map(|id| Key { region: REGION, id }).collect();
        let mut shared = Vec::new();
        if regions > 1 {
            let id = replicated();
            states.extend(REGIONS.map(|region| Key { region, id: id.clone() }));
            shared.extend((0..OBJECTS).map(|_| replicated()));
        }
        let (stable, policies, granted) = (keys(), keys(), keys());
        Self { keys: states, stable, shared, policies, granted, aliases }
    }
}

/// Lets things go wrong for some time. Returns what has, and when each was over.
fn trouble(world: &mut World<'_>, options: &Options) -> Vec<(Fault, u64)> {
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
