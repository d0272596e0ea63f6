//! A client that works on what others work on, too, and notes what it was told.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::thread;
use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use base64::prelude::Engine;
use serde_json::{Value, json};

use super::objects::{OfAlias, OfGrant, OfKey, OfPolicy, State};
use super::{GRANTEE, Key, REGIONS, Scene, Targets, Who};
use crate::daemon::{ACCOUNT, REGION};
use crate::history::{Event, Step as _};
use crate::http::{Answer, Connection, Request};
use crate::patience::PATIENCE;

/// How long a client waits after a fault of the service.
const RETRY: Duration = Duration::from_millis(100);
/// How long a client waits where nobody listens.
const AWAY: Duration = Duration::from_millis(20);
/// Keys that a client makes.
const MOST_KEYS: usize = 200;
/// Ciphertexts that a client keeps.
const MOST_SEALED: usize = 20_000;

/// An acknowledged ciphertext.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) plaintext: Vec<u8>,
    pub(super) blob: String,
    /// Whether its key is in both Regions.
    pub(super) is_shared: bool,
}

/// What was told of one object, and by which daemon.
#[derive(Clone, Debug)]
pub(super) struct Noted<O> {
    /// Of the objects of its kind.
    pub(super) number: usize,
    pub(super) daemon: usize,
    pub(super) event: Event<O>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) id: String,
    /// What was asked, the status, the code of an error, the daemon, and when it was begun, in milliseconds.
    pub(super) how: String,
}

/// What a client was told.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) keys: Vec<Noted<OfKey>>,
    pub(super) aliases: Vec<Noted<OfAlias>>,
    pub(super) policies: Vec<Noted<OfPolicy>>,
    pub(super) grants: Vec<Noted<OfGrant>>,
    pub(super) sealed: Vec<Sealed>,
    /// Keys that it made.
    pub(super) made: Vec<String>,
    /// Those of them that it has replicated to the second Region.
    pub(super) replicated: Vec<String>,
    /// Ids of requests that were answered, with when and how.
    pub(super) answered: Vec<Answered>,
    /// Begin and end of each use of a device that succeeded.
    pub(super) served: Vec<(u64, u64)>,
    /// Requests without an answer.
    pub(super) lost: u64,
    /// Refusals because a device or room was not to be had, by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Answers that nothing can explain.
    pub(super) wrong: Vec<String>,
}

/// What became of a request.
enum Told {
    Done(Value),
    /// Refused with this code, and without an effect.
    Refused(String),
    /// Not carried out: there was no room for it.
    Nothing,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// A request, its outcome and the time between.
struct Call {
    daemon: usize,
    begin: u64,
    end: u64,
    told: Told,
}

impl Call {
    fn note<O>(&self, number: usize, operation: O, answered: bool) -> Noted<O> {
        let Self { daemon, begin, end, .. } = *self;
        Noted { number, daemon, event: Event { begin, end, operation, answered } }
    }
}

pub(super) struct Client<'s> {
    scene: &'s Scene,
    random: fastrand::Rng,
    /// The daemon that it asks as long as that one answers.
    home: usize,
    /// An open connection to each daemon, if there is one.
    connections: Vec<Option<Connection>>,
    /// The last grants that it was told of, by key.
    granted: Vec<(usize, String)>,
    notes: Notes,
}

impl<'s> Client<'s> {
    pub(super) fn new(scene: &'s Scene, mut random: fastrand::Rng) -> Self {
        let daemons = scene.seats.len();
        let home = random.usize(..daemons);
        let connections = (0..daemons).map(|_| None).collect();
        Self { scene, random, home, connections, granted: Vec::new(), notes: Notes::default() }
    }

    /// Works until the end is announced.
    pub(super) fn run(mut self) -> Notes {
        while !self.scene.is_over() {
            match self.random.u8(..24) {
                0..7 => self.state(),
                7..11 => self.alias(),
                11..14 => self.policy(),
                14..18 => self.grant(),
                18..20 => self.seal(),
                20..23 => self.open(),
                _ => self.make(),
            }
        }
        self.notes
    }

    fn targets(&self) -> &'s Targets {
        &self.scene.targets
    }

    /// Does something with a key whose state changes.
    fn state(&mut self) {
        use OfKey::{Cancel, Disable, Enable, NotPending, Saw, Schedule};
        let number = self.random.usize(..self.targets().keys.len());
        let Key { region, id } = &self.targets().keys[number];
        let key = json!({ "KeyId": id });
        let chosen = match self.random.u8(..16) {
            // One that has replicas is not deleted before them.
            4..7 if self.targets().keys[number].is_multi_region() => 8,
            chosen => chosen,
        };
        let (operation, body, done) = match chosen {
            0..2 => ("EnableKey", key, Enable),
            2..4 => ("DisableKey", key, Disable),
            4 => {
                ("ScheduleKeyDeletion", json!({ "KeyId": id, "PendingWindowInDays": 7 }), Schedule)
            }
            5..7 => ("CancelKeyDeletion", key, Cancel),
            7..9 => ("DescribeKey", key, Saw(State::Enabled)),
            9..11 => {
                let body = json!({ "KeyId": id, "KeySpec": "AES_256" });
                ("GenerateDataKeyWithoutPlaintext", body, Saw(State::Enabled))
            }
            _ => ("Encrypt", json!({ "KeyId": id, "Plaintext": "AAAA" }), Saw(State::Enabled)),
        };
        let call = self.call_in(region, Who::Root, operation, &body);
        let (operation, answered) = match &call.told {
            Told::Done(answer) if operation == "DescribeKey" => {
                let state = match answer["KeyMetadata"]["KeyState"].as_str() {
                    Some("Enabled") => State::Enabled,
                    Some("Disabled") => State::Disabled,
                    Some("PendingDeletion") => State::Pending,
                    _ => return self.wrong(operation, &answer.to_string()),
                };
                (Saw(state), true)
            }
            Told::Done(_) => {
                if !matches!(done, Enable | Disable | Schedule | Cancel) {
                    self.notes.served.push((call.begin, call.end));
                }
                (done, true)
            }
            Told::Refused(code) => match (code.as_str(), done) {
                ("KMSInvalidStateException", Cancel) => (NotPending, true),
                ("KMSInvalidStateException", _) => (Saw(State::Pending), true),
                ("DisabledException", Saw(_)) => (Saw(State::Disabled), true),
                (code, _) => return self.wrong(operation, code),
            },
            // What only reads has no effect that anybody could see.
            Told::Nothing => return,
            Told::Unknown if matches!(done, Saw(_)) => return,
            Told::Unknown => (done, false),
        };
        self.notes.keys.push(call.note(number, operation, answered));
    }

    /// Does something with an alias.
    fn alias(&mut self) {
        use OfAlias::{Create, Delete, Saw, Taken, Update};
        let number = self.random.usize(..self.targets().aliases.len());
        let name = &self.targets().aliases[number];
        let target = self.random.usize(..self.targets().stable.len());
        let to = json!({ "AliasName": name, "TargetKeyId": self.targets().stable[target] });
        let (operation, body, done) = match self.random.u8(..8) {
            0..2 => ("CreateAlias", to, Create(target)),
            2..4 => ("UpdateAlias", to, Update(target)),
            4..6 => ("DeleteAlias", json!({ "AliasName": name }), Delete),
            _ => ("DescribeKey", json!({ "KeyId": name }), Saw(None)),
        };
        let call = self.call(operation, &body);
        let (operation, answered) = match &call.told {
            Told::Done(answer) if operation == "DescribeKey" => {
                let found = answer["KeyMetadata"]["KeyId"].as_str();
                let number = self.targets().stable.iter().position(|id| Some(id.as_str()) == found);
                if number.is_none() {
                    return self.wrong(operation, &answer.to_string());
                }
                (Saw(number), true)
            }
            Told::Done(_) => (done, true),
            Told::Refused(code) => match (code.as_str(), done) {
                ("AlreadyExistsException", Create(_)) => (Taken, true),
                ("NotFoundException", Update(_) | Delete | Saw(_)) => (Saw(None), true),
                (code, _) => return self.wrong(operation, code),
            },
            Told::Nothing => return,
            Told::Unknown if matches!(done, Saw(_)) => return,
            Told::Unknown => (done, false),
        };
        self.notes.aliases.push(call.note(number, operation, answered));
    }

    /// Uses a key whose policy denies that now and then, or changes the policy.
    fn policy(&mut self) {
        let number = self.random.usize(..self.targets().policies.len());
        let id = &self.targets().policies[number];
        let (operation, body, done) = if self.random.u8(..4) == 0 {
            let denies = self.random.bool();
            let body = json!({ "KeyId": id, "PolicyName": "default", "Policy": policy(denies) });
            ("PutKeyPolicy", body, OfPolicy::Put { denies })
        } else {
            let body = json!({ "KeyId": id, "Plaintext": "AAAA" });
            ("Encrypt", body, OfPolicy::Saw { denied: false })
        };
        let call = self.call(operation, &body);
        let puts = matches!(done, OfPolicy::Put { .. });
        let (operation, answered) = match &call.told {
            Told::Done(_) => (done, true),
            Told::Refused(code) if code == "AccessDeniedException" && !puts => {
                (OfPolicy::Saw { denied: true }, true)
            }
            Told::Refused(code) => return self.wrong(operation, code),
            Told::Unknown if puts => (done, false),
            Told::Nothing | Told::Unknown => return,
        };
        self.notes.policies.push(call.note(number, operation, answered));
    }

    /// Lets somebody else use a key, or not any more, or is them.
    fn grant(&mut self) {
        let number = self.random.usize(..self.targets().granted.len());
        let key = self.targets().granted[number].clone();
        let known = self.granted.iter().rfind(|(of, _)| *of == number).map(|(_, id)| id.clone());
        let (operation, body, who, done) = match (self.random.u8(..8), known) {
            (0, _) => {
                let body = json!({ "KeyId": key, "GranteePrincipal": GRANTEE, "Name": "chaos",
                    "RetiringPrincipal": GRANTEE, "Operations": ["Encrypt"] });
                ("CreateGrant", body, Who::Root, OfGrant::Create(None))
            }
            (1, Some(id)) => {
                let body = json!({ "KeyId": key, "GrantId": id });
                let retires = self.random.bool();
                let (operation, who) = if retires {
                    ("RetireGrant", Who::Grantee)
                } else {
                    ("RevokeGrant", Who::Root)
                };
                (operation, body, who, OfGrant::Revoke(number_of(&id)))
            }
            _ => {
                let body = json!({ "KeyId": key, "Plaintext": "AAAA" });
                ("Encrypt", body, Who::Grantee, OfGrant::Saw { allowed: true })
            }
        };
        let call = self.call_as(who, operation, &body);
        let (operation, answered) = match (&call.told, done) {
            (Told::Done(answer), OfGrant::Create(_)) => match answer["GrantId"].as_str() {
                Some(id) => {
                    self.granted.retain(|(of, _)| *of != number);
                    self.granted.push((number, id.to_owned()));
                    (OfGrant::Create(Some(number_of(id))), true)
                }
                None => return self.wrong(operation, &answer.to_string()),
            },
            (Told::Done(_), done) => (done, true),
            (Told::Refused(code), OfGrant::Saw { .. }) if code == "AccessDeniedException" => {
                (OfGrant::Saw { allowed: false }, true)
            }
            (Told::Refused(code), OfGrant::Revoke(id)) if code == "NotFoundException" => {
                (OfGrant::Gone(id), true)
            }
            (Told::Refused(code), _) => return self.wrong(operation, code),
            (Told::Unknown, done) if !done.only_reads() => (done, false),
            (Told::Nothing | Told::Unknown, _) => return,
        };
        self.notes.grants.push(call.note(number, operation, answered));
    }

    /// Encrypts something that it will want to have back.
    fn seal(&mut self) {
        let is_shared = !self.targets().shared.is_empty() && self.random.bool();
        let (region, key) = match is_shared {
            true => {
                let number = self.random.usize(..self.targets().shared.len());
                (self.some_region(), self.targets().shared[number].clone())
            }
            false => (REGION, self.some_key().to_owned()),
        };
        let mut plaintext = vec![0; self.random.usize(32..=256)];
        self.random.fill(&mut plaintext);
        let body = json!({ "KeyId": key, "Plaintext": STANDARD.encode(&plaintext) });
        let Call { begin, end, told, .. } = self.call_in(region, Who::Root, "Encrypt", &body);
        match told {
            Told::Done(answer) => match answer["CiphertextBlob"].as_str() {
                Some(blob) => {
                    self.notes.served.push((begin, end));
                    if self.notes.sealed.len() < MOST_SEALED {
                        let blob = blob.to_owned();
                        self.notes.sealed.push(Sealed { plaintext, blob, is_shared });
                    }
                }
                None => self.wrong("Encrypt", &answer.to_string()),
            },
            Told::Refused(code) => self.wrong("Encrypt", &code),
            Told::Nothing | Told::Unknown => {}
        }
    }

    /// Decrypts something that it has encrypted.
    fn open(&mut self) {
        if self.notes.sealed.is_empty() {
            return;
        }
        let at = self.random.usize(..self.notes.sealed.len());
        let sealed = self.notes.sealed[at].clone();
        let region = if sealed.is_shared { self.some_region() } else { REGION };
        let body = json!({ "CiphertextBlob": sealed.blob });
        let Call { begin, end, told, .. } = self.call_in(region, Who::Root, "Decrypt", &body);
        match told {
            Told::Done(answer) if opens(&answer, &sealed) => self.notes.served.push((begin, end)),
            Told::Done(_) => self.wrong("Decrypt", "another plaintext"),
            Told::Refused(code) => self.wrong("Decrypt", &code),
            Told::Nothing | Told::Unknown => {}
        }
    }

    /// Makes a key.
    fn make(&mut self) {
        if self.notes.made.len() >= MOST_KEYS {
            return;
        }
        let is_shared = !self.targets().shared.is_empty() && self.random.bool();
        match self.call("CreateKey", &json!({ "MultiRegion": is_shared })).told {
            Told::Done(answer) => match answer["KeyMetadata"]["KeyId"].as_str() {
                Some(id) => {
                    self.notes.made.push(id.to_owned());
                    if is_shared {
                        self.replicate(id);
                    }
                }
                None => self.wrong("CreateKey", &answer.to_string()),
            },
            Told::Refused(code) => self.wrong("CreateKey", &code),
            Told::Nothing | Told::Unknown => {}
        }
    }

    /// Has a key in the second Region as well.
    fn replicate(&mut self, id: &str) {
        let body = json!({ "KeyId": id, "ReplicaRegion": REGIONS[1] });
        match self.call("ReplicateKey", &body).told {
            Told::Done(_) => self.notes.replicated.push(id.to_owned()),
            // Another daemon may not know the key yet.
            Told::Refused(code) if code == "NotFoundException" => {}
            Told::Refused(code) => self.wrong("ReplicateKey", &code),
            Told::Nothing | Told::Unknown => {}
        }
    }

    fn some_region(&mut self) -> &'static str {
        REGIONS[self.random.usize(..REGIONS.len())]
    }

    /// One that stays enabled.
    fn some_key(&mut self) -> &str {
        let number = self.random.usize(..self.targets().stable.len() + self.notes.made.len());
        let made = number.checked_sub(self.targets().stable.len());
        made.map_or_else(|| &self.targets().stable[number], |made| &self.notes.made[made])
    }

    fn wrong(&mut self, operation: &str, what: &str) {
        self.notes.wrong.push(format!("{operation} was answered {what}"));
    }

    fn call(&mut self, operation: &str, body: &Value) -> Call {
        self.call_as(Who::Root, operation, body)
    }

    fn call_as(&mut self, who: Who, operation: &str, body: &Value) -> Call {
        self.call_in(REGION, who, operation, body)
    }

    /// Sends a request once, as soon as a daemon listens.
    fn call_in(&mut self, region: &str, who: Who, operation: &str, body: &Value) -> Call {
        let request = Request::new(operation, body.to_string());
        let daemons = self.connections.len();
        let elsewhere = self.random.u8(..8) == 0;
        let mut daemon = if elsewhere { self.random.usize(..daemons) } else { self.home };
        let (bytes, mut connection) = loop {
            let (bytes, address) = self.scene.sign(request.clone(), region, who, daemon);
            let kept = self.connections[daemon].take();
            if let Some(kept) = kept.and_then(still_open) {
                break (bytes, kept);
            }
            match Connection::try_to(&address, PATIENCE) {
                Ok(connection) => break (bytes, connection),
                Err(_) if self.scene.is_over() => {
                    let now = self.scene.now();
                    return Call { daemon, begin: now, end: now, told: Told::Nothing };
                }
                Err(_) => {
                    thread::sleep(AWAY);
                    daemon = (daemon + 1) % daemons;
                    self.home = daemon;
                }
            }
        };
        let begin = self.scene.now();
        let answer = connection.write(&bytes).and_then(|()| connection.read());
        let end = self.scene.now();
        if answer.is_ok() {
            self.connections[daemon] = Some(connection);
        }
        let told = match answer {
            Ok(answer) => self.read(operation, (daemon, begin), &answer),
            Err(error) => {
                self.notes.lost += 1;
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                    self.wrong(operation, &format!("nothing in {PATIENCE:?}"));
                }
                // It may take effect as long as its process lives.
                return Call { daemon, begin, end: u64::MAX, told: Told::Unknown };
            }
        };
        if matches!(told, Told::Unknown) {
            // As SDKs do. And too many changes of which nobody knows whether they were made cannot be put in order.
            thread::sleep(RETRY);
        }
        let end = if matches!(told, Told::Unknown) { end + self.scene.lingers } else { end };
        Call { daemon, begin, end, told }
    }

    fn read(&mut self, operation: &str, of: (usize, u64), answer: &Answer) -> Told {
        match answer.header("x-amzn-requestid") {
            Some(_) if self.is_only_counted(of, answer) => {}
            Some(id) => {
                let code = if answer.status < 400 { String::new() } else { answer.code() };
                let (daemon, begin) = (of.0, of.1 / 1_000_000);
                let how = format!(
                    "{operation}: {} {code}, by daemon {daemon}, begun at {begin} ms",
                    answer.status
                );
                self.notes.answered.push(Answered { id: id.to_owned(), how });
            }
            None => self.wrong(operation, "without a request id"),
        }
        if answer.status == 200 {
            // Some operations answer nothing.
            return Told::Done(serde_json::from_slice(&answer.body).unwrap_or(Value::Null));
        }
        let code = answer.code();
        let refused_unseen = code == "ThrottlingException" || self.is_out_of_time(of, answer);
        if answer.status < 500 && !refused_unseen {
            return Told::Refused(code);
        }
        *self.notes.refused.entry(code).or_default() += 1;
        if refused_unseen { Told::Nothing } else { Told::Unknown }
    }

    /// Whether the clock of the daemon was too far from that of the client.
    fn is_out_of_time(&self, (daemon, begin): (usize, u64), answer: &Answer) -> bool {
        answer.status >= 400
            && answer.code() == "InvalidSignatureException"
            && self.scene.clock_may_be_wrong(daemon, begin)
    }

    /// Whether the audit log has only the number of such answers, because who is not known and who comes too often does
    /// not write more to it than that; or not even that, because its disk is why the request failed.
    fn is_only_counted(&self, of: (usize, u64), answer: &Answer) -> bool {
        let is_throttled = || answer.status >= 400 && answer.code() == "ThrottlingException";
        let is_unwritten = answer.status >= 400 && self.scene.disk_may_fail(of.0);
        is_unwritten || self.is_out_of_time(of, answer) || is_throttled()
    }
}

/// A number for an id.
fn number_of(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The connection, unless the daemon has ended it.
fn still_open(mut connection: Connection) -> Option<Connection> {
    (!connection.is_over()).then_some(connection)
}

/// Whether this is the answer to `Decrypt`.
pub(super) fn opens(answer: &Value, sealed: &Sealed) -> bool {
    let plaintext = answer["Plaintext"].as_str().and_then(|text| STANDARD.decode(text).ok());
    plaintext.as_ref() == Some(&sealed.plaintext)
}

/// A key policy that lets the account do everything, or everything but to encrypt.
pub(super) fn policy(denies: bool) -> String {
    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    let all = json!({
        "Effect": "Allow", "Principal": { "AWS": root }, "Action": "kms:*", "Resource": "*",
    });
    let not = json!({
        "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*",
    });
    let statements = if denies { vec![all, not] } else { vec![all] };
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}
