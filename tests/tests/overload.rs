//! Ten times more requests than a daemon can serve: what gets in is served in time, the rest is told at once, one
//! account's flood does not take what is another one's, and the daemon can be looked at and administered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::ctl;
use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::flood::{allow_files, resident};
use hsm_tests::http::{Connection, Request, await_devices, call, get};
use hsm_tests::losses::assert_intact;
use hsm_tests::patience::until;
use serde_json::{Value, json};

/// Clients with which a daemon is busy, and no more.
const BUSY: usize = 16;
/// Clients of the account that floods.
const FLOOD: usize = 400;
/// Clients of the other account.
const MODEST: usize = 4;
/// How long each part takes.
const PART: Duration = Duration::from_secs(8);

/// What clients of one account have seen.
#[derive(Default)]
struct Seen {
    served: Vec<Duration>,
    throttled: Vec<Duration>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.served.extend(other.served);
        self.throttled.extend(other.throttled);
    }
}

fn at(times: &mut [Duration], per_cent: usize) -> Duration {
    times.sort_unstable();
    times.get(times.len() * per_cent / 100).or(times.last()).copied().unwrap_or_default()
}

/// Calls until it is time to stop, on one connection.
fn client(daemon: &Daemon, who: &Credentials, key: &str, number: usize, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut connection = Connection::open(daemon);
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // No two requests are the same, so none is taken for a replay.
        let context = json!({ "client": number.to_string(), "round": round.to_string() });
        let body = json!({ "KeyId": key, "Plaintext": "c2VjcmV0", "EncryptionContext": context });
        let request = Request::new("Encrypt", body.to_string()).signed_by(who, daemon);
        let begin = Instant::now();
        let answer =
            connection.write(&request.to_bytes(daemon.address())).and_then(|()| connection.read());
        // A connection may be ended to make room; the client makes another one.
        let Ok(answer) = answer else {
            connection = Connection::open(daemon);
            continue;
        };
        match answer.status {
            200 => seen.served.push(begin.elapsed()),
            _ => {
                assert_eq!(answer.code(), "ThrottlingException", "{answer:?}");
                seen.throttled.push(begin.elapsed());
            }
        }
    }
    seen
}

/// Runs clients of accounts together; what those of each have seen.
fn run<const N: usize>(
    daemon: &Daemon,
    accounts: [(usize, &Credentials, &str); N],
    meanwhile: impl FnOnce(),
) -> [Seen; N] {
    let stop = AtomicBool::new(false);
    let seen = [const { Mutex::new(None) }; N];
    thread::scope(|scope| {
        for ((count, who, key), seen) in accounts.iter().zip(&seen) {
            for number in 0..*count {
                let stop = &stop;
                scope.spawn(move || {
                    let own = client(daemon, who, key, number, stop);
                    let mut all = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    all.get_or_insert_with(Seen::default).add(own);
                });
            }
        }
        let begin = Instant::now();
        meanwhile();
        thread::sleep(PART.saturating_sub(begin.elapsed()));
        stop.store(true, Ordering::Relaxed);
    });
    seen.map(|seen| seen.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_default())
}

fn key_of(daemon: &Daemon, who: &Credentials) -> String {
    let answer = Request::new("CreateKey", "{}").signed_by(who, daemon).send(daemon);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned()
}

/// Makes an account.
fn account(daemon: &Daemon) -> Credentials {
    let credentials = daemon.credentials_file();
    let credentials = credentials.to_str().expect("UTF-8");
    let (code, made) =
        ctl::run(&["account", "create", "--url", daemon.url(), "--credentials", credentials]);
    assert_eq!(code, 0, "{made}");
    let text = |member: &str| made["AccessKey"][member].as_str().expect("a text").to_owned();
    Credentials { id: text("AccessKeyId"), secret: text("SecretAccessKey") }
}

/// How long this takes.
fn timed(what: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    what();
    begin.elapsed()
}

#[test]
fn ten_times_what_can_be_served() {
    allow_files(4000);
    let daemon = Daemon::start(&["soft:2"]);
    let root = daemon.credentials();
    let (flooding, modest) = (account(&daemon), account(&daemon));
    let keys = [&flooding, &modest].map(|who| key_of(&daemon, who));
    let [flooding, modest] = [(&flooding, &*keys[0]), (&modest, &*keys[1])];

    let [mut alone] = run(&daemon, [(BUSY, flooding.0, flooding.1)], || {});
    assert!(alone.throttled.is_empty(), "a busy daemon turns nobody away");
    let before = resident(daemon.id());
    let mut looked = Vec::new();
    let (mut highest, mut administered) = (0, Duration::ZERO);
    let accounts = [(FLOOD, flooding.0, flooding.1), (MODEST, modest.0, modest.1)];
    let [mut flood, mut other] = run(&daemon, accounts, || {
        thread::sleep(Duration::from_secs(1));
        for _ in 0..5 {
            for page in ["/healthz", "/readyz", "/metrics"] {
                looked.push(timed(|| assert_eq!(get(&daemon, page).status, 200)));
            }
            highest = highest.max(resident(daemon.id()));
        }
        administered = timed(|| {
            let parameters = [("RegionName", "us-east-1")];
            let list = Request::form("2026-11-26", "ListDevices", &parameters);
            let list =
                list.header("Accept", "application/json").signed_for("strongroom", &root, &daemon);
            let answer = list.send(&daemon);
            assert_eq!(answer.status, 200, "{answer:?}");
            let devices: Value = answer.json();
            assert!(devices.to_string().contains("soft-1"), "{devices}");
        });
    });
    let rate = |seen: &Seen| seen.served.len() as u64 / PART.as_secs();
    let total = flood.served.len() + flood.throttled.len();
    println!(
        "alone, {BUSY} clients: {}/s, p50 {:?}, p99 {:?}\n\
         flood, {FLOOD} clients: {}/s served, p50 {:?}, p99 {:?}; {} of {total} turned away, p50 {:?}, p99 {:?}\n\
         other account, {MODEST} clients: {}/s served, p50 {:?}, p99 {:?}; {} turned away\n\
         memory {} MiB before, {} MiB at most; pages at most {:?}; administration {administered:?}",
        rate(&alone),
        at(&mut alone.served, 50),
        at(&mut alone.served, 99),
        rate(&flood),
        at(&mut flood.served, 50),
        at(&mut flood.served, 99),
        flood.throttled.len(),
        at(&mut flood.throttled, 50),
        at(&mut flood.throttled, 99),
        rate(&other),
        at(&mut other.served, 50),
        at(&mut other.served, 99),
        other.throttled.len(),
        before >> 20,
        highest >> 20,
        looked.iter().max(),
    );
    assert!(!flood.throttled.is_empty(), "more came than can be served");
    assert!(!flood.served.is_empty(), "the flood is served as far as it goes");
    assert!(at(&mut flood.served, 99) < Duration::from_secs(5), "what gets in is served in time");
    assert!(at(&mut flood.throttled, 50) < Duration::from_secs(2), "the rest is told at once");
    // The modest account asks for a hundredth of what the flood does.
    let turned_away = other.throttled.len();
    assert!(other.served.len() > 9 * turned_away, "{} {turned_away}", other.served.len());
    let (own, floods) = (other.served.len() * FLOOD, flood.served.len() * MODEST);
    assert!(own > floods, "each of its clients gets at least what one of the flood gets");
    assert!(looked.iter().all(|took| *took < Duration::from_secs(5)), "{looked:?}");
    assert!(administered < Duration::from_secs(10), "{administered:?}");
    assert!(highest < before + (256 << 20), "{before} {highest}");
}

/// Clients that have given up cost no device anything: what waits for it on their behalf is not sent to it any more.
#[test]
fn calls_of_clients_that_have_gone_are_not_made() {
    const CLIENTS: u64 = 100;
    let mut daemon = Daemon::start(&["soft"]);
    await_devices(&daemon, 1);
    let made = call(&daemon, "CreateKey", &json!({})).json();
    let key = made["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned();
    let device = || get(&daemon, "/readyz").json()["devices"][0].clone();
    let answered = || device()["answered"].as_u64().expect("a number");
    let request = |number: u64| {
        // Each takes a device a good while.
        let body = json!({ "KeyId": key, "KeyPairSpec": "RSA_2048",
            "EncryptionContext": { "number": number.to_string() } });
        let operation = "GenerateDataKeyPairWithoutPlaintext";
        Request::new(operation, body.to_string()).signed(&daemon).to_bytes(daemon.address())
    };
    let requests: Vec<_> = (0..CLIENTS).map(request).collect();
    let before = answered();
    let mut clients: Vec<_> = requests.iter().map(|_| Connection::open(&daemon)).collect();
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.write(request).expect("written");
    }
    until("the device works on them", || answered() > before);
    drop(clients);
    // Somebody who stays is served at once.
    let body = json!({ "KeyId": key, "Plaintext": "AAAA" });
    assert_eq!(call(&daemon, "Encrypt", &body).status, 200);
    // What was done is on record, whether or not anybody has learned of it.
    // Nor does anything wait on their behalf.
    let begin = Instant::now();
    assert!(daemon.stop().success());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    let (_, report) = ctl::verify(&daemon.data().join("audit"));
    let entries = report["devices"][0]["entries"].as_u64().expect("a number");
    println!("the device has done {entries} commands for {CLIENTS} clients who left");
    // What it had in hand, 32 commands at most, and a few for other reasons.
    assert!(entries < CLIENTS / 2, "{entries} commands for nobody");
    assert_intact(&daemon);
}
