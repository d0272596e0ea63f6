//! Latency in large accounts: one request at a time, in an account with ever more keys, each with an alias, a
//! grant and tags; the time that the daemon takes to start, and its memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Connection, Request};
use serde_json::{Value, json};

/// Connections that fill the account.
const FILLERS: usize = 16;
/// Requests measured of each operation.
const SAMPLES: usize = 400;
/// Grants that one principal may retire, whatever the number of keys.
const RETIRABLE: usize = 100;
const PLAINTEXT: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// What was measured at one number of keys.
pub(crate) struct Stage {
    keys: usize,
    start: Duration,
    /// Resident memory of the daemon, in bytes: right after the start, and after all requests.
    memory: [u64; 2],
    /// Bytes of the store's file.
    store: u64,
    /// Median and 99th percentile of each operation.
    latencies: BTreeMap<&'static str, [Duration; 2]>,
}

impl Stage {
    pub(crate) fn to_json(&self) -> Value {
        let latency = |[p50, p99]: &[Duration; 2]| json!({ "p50_us": p50.as_micros(), "p99_us": p99.as_micros() });
        let latencies: serde_json::Map<_, _> =
            self.latencies.iter().map(|(name, both)| ((*name).to_owned(), latency(both))).collect();
        json!({
            "keys": self.keys,
            "start_ms": self.start.as_millis(),
            "memory_after_start": self.memory[0],
            "memory_after_requests": self.memory[1],
            "store": self.store,
            "operations": latencies,
        })
    }
}

/// Fills one daemon up to each number of keys, and measures there.
pub(crate) fn measure(stages: &[usize]) -> Vec<Stage> {
    let mut daemon = Daemon::start(&["soft"]);
    let mut ids: Vec<String> = Vec::new();
    let measure = |keys: &usize| {
        eprintln!("filling the account up to {keys} keys …");
        fill(&daemon, &mut ids, *keys);
        daemon.stop();
        let begin = Instant::now();
        daemon.restart();
        let start = begin.elapsed();
        let before = memory(&daemon);
        let latencies = operations(&daemon, &ids);
        let store = daemon.data().join("store.redb").metadata().expect("a store").len();
        Stage { keys: *keys, start, memory: [before, memory(&daemon)], store, latencies }
    };
    stages.iter().map(measure).collect()
}

fn fill(daemon: &Daemon, ids: &mut Vec<String>, keys: usize) {
    let next = AtomicUsize::new(ids.len());
    let worker = || {
        let mut client = Client::new(daemon);
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= keys {
                return made;
            }
            if number % 10_000 == 9_999 {
                eprintln!("  {} keys", number + 1);
            }
            let tags = json!([{ "TagKey": "number", "TagValue": number.to_string() }]);
            let key = client.call("CreateKey", &json!({ "Tags": tags }));
            let id = key["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned();
            let alias = format!("alias/number/{number}");
            client.call("CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": id }));
            client.call("CreateGrant", &grant(&id, number));
            made.push(id);
        }
    };
    let made = thread::scope(|scope| {
        let workers: Vec<_> = (0..FILLERS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("no panic")).collect::<Vec<_>>()
    });
    ids.extend(made);
}

fn grant(id: &str, number: usize) -> Value {
    // Other accounts: they need not exist.
    let retiring = if number < RETIRABLE { 0 } else { number };
    json!({
        "KeyId": id,
        "GranteePrincipal": format!("arn:aws:iam::{number:012}:root"),
        "RetiringPrincipal": format!("arn:aws:iam::{retiring:012}:root"),
        "Operations": ["Encrypt", "Decrypt"],
    })
}

/// The latencies of each operation, on keys from all over the account.
fn operations(daemon: &Daemon, ids: &[String]) -> BTreeMap<&'static str, [Duration; 2]> {
    let mut client = Client::new(daemon);
    // A stride that meets every key before it meets one again.
    let stride = (ids.len() * 618 / 1000) | 1;
    let some = |n: usize| &ids[n * stride % ids.len()];
    let blobs: Vec<Value> = (0..SAMPLES)
        .map(|n| {
            let input = json!({ "KeyId": some(n), "Plaintext": PLAINTEXT });
            client.call("Encrypt", &input)["CiphertextBlob"].clone()
        })
        .collect();
    let retiring = "arn:aws:iam::000000000000:root";
    let mut marker = Value::Null;
    let mut all = BTreeMap::new();
    let mut take = |name, times: Vec<Duration>| {
        all.insert(name, percentiles(times));
    };
    take("DescribeKey", client.time("DescribeKey", |n| json!({ "KeyId": some(n + SAMPLES) })));
    take(
        "Encrypt",
        client
            .time("Encrypt", |n| json!({ "KeyId": some(n + 2 * SAMPLES), "Plaintext": PLAINTEXT })),
    );
    take("Decrypt", client.time("Decrypt", |n| json!({ "CiphertextBlob": blobs[n] })));
    take("ListAliases of a key", client.time("ListAliases", |n| json!({ "KeyId": some(n) })));
    take("ListGrants", client.time("ListGrants", |n| json!({ "KeyId": some(n) })));
    take(
        "ListRetirableGrants",
        client
            .time("ListRetirableGrants", |_| json!({ "RetiringPrincipal": retiring, "Limit": 50 })),
    );
    let mut pages = Vec::new();
    for _ in 0..SAMPLES {
        let input = match &marker {
            Value::Null => json!({ "Limit": 100 }),
            marker => json!({ "Limit": 100, "Marker": marker }),
        };
        let (answer, took) = client.timed("ListKeys", &input);
        marker = answer["NextMarker"].clone();
        pages.push(took);
    }
    take("ListKeys page of 100", pages);
    let mut made = Vec::new();
    take(
        "CreateKey",
        (0..SAMPLES / 4)
            .map(|_| {
                let (key, took) = client.timed("CreateKey", &json!({}));
                made.push(key["KeyMetadata"]["KeyId"].clone());
                took
            })
            .collect(),
    );
    take(
        "CreateAlias",
        made.iter()
            .map(|id| {
                let alias = format!("alias/{}", id.as_str().expect("a key id"));
                client.timed("CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": id })).1
            })
            .collect(),
    );
    take(
        "CreateGrant",
        made.iter()
            .map(|id| {
                client.timed("CreateGrant", &grant(id.as_str().expect("a key id"), RETIRABLE)).1
            })
            .collect(),
    );
    all
}

fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| times[(times.len() - 1) * percent / 100])
}

/// A connection that signs what it sends.
struct Client<'d> {
    daemon: &'d Daemon,
    connection: Connection,
    address: String,
}

impl<'d> Client<'d> {
    fn new(daemon: &'d Daemon) -> Self {
        let address = daemon.address().to_owned();
        Self { daemon, connection: Connection::open(daemon), address }
    }

    fn call(&mut self, operation: &str, input: &Value) -> Value {
        self.timed(operation, input).0
    }

    /// The answer, and the time from the first byte sent to the last one received.
    fn timed(&mut self, operation: &str, input: &Value) -> (Value, Duration) {
        let request = Request::new(operation, input.to_string()).signed(self.daemon);
        let request = request.to_bytes(&self.address);
        let sent = Instant::now();
        self.connection.write(&request).expect("the daemon reads");
        let answer = self.connection.read().expect("the daemon answers");
        let took = sent.elapsed();
        assert_eq!(answer.status, 200, "{operation}: {}", answer.body.escape_ascii());
        (if answer.body.is_empty() { Value::Null } else { answer.json() }, took)
    }

    fn time(&mut self, operation: &str, input: impl Fn(usize) -> Value) -> Vec<Duration> {
        (0..SAMPLES).map(|n| self.timed(operation, &input(n)).1).collect()
    }
}

/// Resident memory of the daemon, in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.id());
    let status = std::fs::read_to_string(path).expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kilobytes = line.trim().trim_end_matches(" kB").trim();
    kilobytes.parse::<u64>().expect("a number") * 1024
}

/// One table, a column for each number of keys.
pub(crate) fn print(stages: &[Stage]) {
    let columns = |name: &str, cell: &dyn Fn(&Stage) -> String| {
        let cells: String = stages.iter().map(|stage| format!("{:>16}", cell(stage))).collect();
        println!("{name:<24}{cells}");
    };
    println!("\nsoft: one request at a time, by the number of keys; p50 / p99 in ms");
    columns("keys", &|stage| stage.keys.to_string());
    let Some(first) = stages.first() else { return };
    for name in first.latencies.keys() {
        columns(name, &|stage| {
            let [p50, p99] = stage.latencies[name].map(|time| time.as_secs_f64() * 1e3);
            format!("{p50:.2} / {p99:.2}")
        });
    }
    columns("start, s", &|stage| format!("{:.2}", stage.start.as_secs_f64()));
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20).to_string();
    columns("memory after start, MiB", &|stage| megabytes(stage.memory[0]));
    columns("memory after all, MiB", &|stage| megabytes(stage.memory[1]));
    columns("store, MiB", &|stage| megabytes(stage.store));
}
