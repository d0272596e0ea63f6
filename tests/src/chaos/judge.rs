//! What the clients were told is compared with what is there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Answered, Noted, Notes, Sealed, opens, policy};
use super::faults::Device;
use super::objects::State;
use super::report::{Recovery, Report};
use super::{CLIENTS, Fault, Key, Options, REGIONS, Scene, Targets, devices_of};
use crate::ctl;
use crate::daemon::{Daemon, REGION};
use crate::disk::FailingDisk;
use crate::history::{Event, Step, check};
use crate::http::{Answer, call_in, devices_in_service, get};
use crate::patience::{PATIENCE, until};
use crate::remains::{Secret, files, search_bytes};

/// Plaintexts that are looked for in files.
const PLANTED: usize = 64;
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What clients were told, and which faults ended when.
type Told = (Vec<Notes>, Vec<(Fault, u64)>);

pub(super) fn judge(
    options: &Options,
    scene: Scene,
    disks: Result<Vec<FailingDisk>, String>,
    devices: &[Device],
    store: Option<&Path>,
    (notes, ended): &Told,
) -> Report {
    let mut report = Report::of(options, notes);
    let rules = Rules::of(&scene);
    let Scene { seats, targets, grantee, .. } = scene;
    let daemons = seats.into_iter().map(|seat| seat.daemon.into_inner().expect("no client failed"));
    let mut daemons: Vec<Daemon> = daemons.collect();
    // Unmounted before the directories that they are in are removed.
    let _disks = disks;
    let begin = Instant::now();
    for (number, daemon) in daemons.iter().enumerate() {
        let wanted = devices_of(number, daemons.len(), devices).len();
        until(format_args!("daemon {number} is ready, with {wanted} devices"), || {
            get(daemon, "/readyz").status == 200 && devices_in_service(daemon) == wanted
        });
    }
    report.back = begin.elapsed();

    report.recoveries = recoveries(ended, notes);
    let keys = rules.histories(notes.iter().flat_map(|notes| &notes.keys));
    let aliases = rules.histories(notes.iter().flat_map(|notes| &notes.aliases));
    let policies = rules.histories(notes.iter().flat_map(|notes| &notes.policies));
    let grants = rules.histories(notes.iter().flat_map(|notes| &notes.grants));
    report.histories(None, grants, |number| format!("grant on {}", targets.granted[number]));
    report.histories(State::Enabled, keys, |number| {
        let Key { region, id } = &targets.keys[number];
        format!("key {id} in {region}")
    });
    report.histories(None, aliases, |number| targets.aliases[number].clone());
    report.histories(false, policies, |number| format!("policy of {}", targets.policies[number]));

    enable(&daemons[0], &targets);
    // What others have cached is that old.
    thread::sleep(Duration::from_nanos(rules.stale));
    open_all(&daemons, notes, &mut report);

    // Some of each client.
    let sealed = notes.iter().flat_map(|notes| notes.sealed.iter().take(PLANTED / CLIENTS));
    let planted = sealed.enumerate();
    let planted = planted
        .map(|(number, sealed)| Secret::new(&format!("plaintext {number}"), &sealed.plaintext));
    let secret = Secret::new("the grantee's secret access key", grantee.secret.as_bytes());
    let planted: Vec<Secret> = planted.chain([secret]).collect();
    let said = daemons.iter_mut().map(|daemon| {
        let (status, said) = daemon.stop_and_read();
        if !status.success() {
            report.wrong(format!("a daemon ended with {status}"));
        }
        said
    });
    let said = said.collect::<Vec<_>>().concat();
    audited(&daemons, notes, &mut report);
    let directories = daemons.iter().map(Daemon::data).chain(store);
    directories.for_each(|directory| leaked(directory, &planted, &mut report));
    for (secret, places) in search_bytes("what daemons wrote", said.as_bytes(), &planted) {
        report.wrong(format!("{secret} is there: {}", places.join("; ")));
    }
    report
}

/// How answers may be explained.
struct Rules {
    /// When processes of each daemon were gone.
    deaths: Vec<Vec<u64>>,
    lingers: u64,
    stale: u64,
}

impl Rules {
    fn of(scene: &Scene) -> Self {
        let deaths = scene.seats.iter().map(|seat| {
            let mut deaths = seat.deaths.lock().unwrap_or_else(PoisonError::into_inner).clone();
            deaths.sort_unstable();
            deaths
        });
        Self { deaths: deaths.collect(), lingers: scene.lingers, stale: scene.stale }
    }

    /// The events of each object. What got no answer can take effect as long as its process lives, and
    /// what a daemon only remembers may be that old.
    fn histories<'n, O: Step + Clone + 'n>(
        &self,
        noted: impl Iterator<Item = &'n Noted<O>>,
    ) -> BTreeMap<usize, Vec<Event<O>>> {
        let mut histories: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Noted { number, daemon, event } in noted {
            let mut event = event.clone();
            if event.end == u64::MAX {
                let deaths = &self.deaths[*daemon];
                let death = deaths.get(deaths.partition_point(|death| *death <= event.begin));
                event.end = death.map_or(u64::MAX, |death| death + self.lingers);
            }
            if event.operation.only_reads() {
                event.begin = event.begin.saturating_sub(self.stale);
            }
            histories.entry(*number).or_default().push(event);
        }
        histories
    }
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

/// Calls until the answer is not that something is out of reach.
fn insist(daemon: &Daemon, operation: &str, body: &Value) -> Answer {
    insist_in(daemon, REGION, operation, body)
}

fn insist_in(daemon: &Daemon, region: &str, operation: &str, body: &Value) -> Answer {
    let by = Instant::now() + PATIENCE;
    loop {
        let answer = call_in(daemon, region, operation, body);
        if answer.status < 500 || Instant::now() > by {
            return answer;
        }
        thread::sleep(PAUSE);
    }
}

/// Lets every key be used again.
fn enable(daemon: &Daemon, targets: &Targets) {
    for Key { region, id } in &targets.keys {
        // Refused where it is not to be deleted.
        let _ = insist_in(daemon, region, "CancelKeyDeletion", &json!({ "KeyId": id }));
        let enabled = insist_in(daemon, region, "EnableKey", &json!({ "KeyId": id }));
        assert_eq!(enabled.status, 200, "{enabled:?}");
    }
    for id in &targets.policies {
        let body = json!({ "KeyId": id, "PolicyName": "default", "Policy": policy(false) });
        let put = insist(daemon, "PutKeyPolicy", &body);
        assert_eq!(put.status, 200, "{put:?}");
    }
}

/// Opens every acknowledged ciphertext, and looks at every acknowledged key, at all daemons in turn.
fn open_all(daemons: &[Daemon], notes: &[Notes], report: &mut Report) {
    let sealed: Vec<&Sealed> = notes.iter().flat_map(|notes| &notes.sealed).collect();
    let made = notes.iter().flat_map(|notes| &notes.made).map(|id| (REGION, id));
    let replicated = notes.iter().flat_map(|notes| &notes.replicated).map(|id| (REGIONS[1], id));
    let made: Vec<(&str, &String)> = made.chain(replicated).collect();
    report.ciphertexts = sealed.len();
    report.keys = made.len();
    let per_thread = |count: usize| count.div_ceil(CLIENTS).max(1);
    let wrong: Vec<String> = thread::scope(|scope| {
        let openers = sealed.chunks(per_thread(sealed.len())).zip(daemons.iter().cycle());
        let openers = openers.map(|(sealed, daemon)| {
            scope.spawn(move || {
                let open = |sealed: &&&Sealed| {
                    let regions = if sealed.is_shared { &REGIONS[..] } else { &REGIONS[..1] };
                    regions.iter().any(|region| {
                        let body = json!({ "CiphertextBlob": sealed.blob });
                        let answer = insist_in(daemon, region, "Decrypt", &body);
                        answer.status != 200 || !opens(&answer.json(), sealed)
                    })
                };
                let lost = sealed.iter().filter(open);
                lost.map(|sealed| format!("does not open: {}", sealed.blob)).collect::<Vec<_>>()
            })
        });
        let openers: Vec<_> = openers.collect();
        let lookers = made.chunks(per_thread(made.len())).zip(daemons.iter().cycle());
        let lookers = lookers.map(|(made, daemon)| {
            scope.spawn(move || {
                let is_lost = |(region, id): &&(&str, &String)| {
                    insist_in(daemon, region, "DescribeKey", &json!({ "KeyId": id })).status != 200
                };
                let lost = made.iter().filter(is_lost);
                lost.map(|(region, id)| format!("key {id} of {region} is lost")).collect()
            })
        });
        let threads: Vec<_> = openers.into_iter().chain(lookers.collect::<Vec<_>>()).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    wrong.into_iter().for_each(|wrong| report.wrong(wrong));
}

/// The audit logs are whole and have each answered request once.
fn audited(daemons: &[Daemon], notes: &[Notes], report: &mut Report) {
    let mut recorded: HashMap<String, usize> = HashMap::new();
    for daemon in daemons {
        let log = daemon.data().join("audit");
        let (intact, verdict) = ctl::verify(&log);
        if !intact {
            report.wrong(format!("an audit log is not whole: {verdict}"));
        }
        let is_text = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "jsonl");
        for file in files(&log).into_iter().filter(is_text) {
            for line in fs::read_to_string(file).expect("text").lines() {
                let line: Value = serde_json::from_str(line).expect("JSON");
                if let Some(id) = line["record"]["requestID"].as_str() {
                    *recorded.entry(id.to_owned()).or_default() += 1;
                }
            }
        }
    }
    report.records = recorded.values().sum();
    for (id, count) in recorded.iter().filter(|(_, count)| **count > 1) {
        report.wrong(format!("request {id} is recorded {count} times"));
    }
    let answered = notes.iter().flat_map(|notes| &notes.answered);
    for Answered { id, how } in answered.filter(|answer| !recorded.contains_key(&answer.id)) {
        report.wrong(format!("request {id} was answered and is not recorded: {how}"));
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
