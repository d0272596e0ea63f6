//! Requests at the HTTP port: closed loop, one outstanding request for each connection.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Connection, Request, call};
use serde_json::{Value, json};

/// How long a signed request is sent again.
const SIGNED: Duration = Duration::from_secs(1);
/// The longest that a daemon works by itself after its start.
const MOST_WORK: Duration = Duration::from_secs(180);

/// What one operation did at one number of connections.
pub(crate) struct Row {
    operation: &'static str,
    connections: usize,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Processor time of the daemon for each request.
    cpu: Duration,
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "operation": self.operation,
            "connections": self.connections,
            "requests_per_second": crate::rounded(self.per_second),
            "p50_us": self.p50.as_micros(),
            "p99_us": self.p99.as_micros(),
            "cpu_us": self.cpu.as_micros(),
        })
    }
}

/// Runs every operation for `time` at each number of connections.
pub(crate) fn measure(hsm: &str, connections: &[usize], time: Duration) -> Vec<Row> {
    let daemon = Daemon::start(&[hsm]);
    let mut rows = Vec::new();
    let operations = operations(&daemon);
    settle(&daemon);
    for (operation, body) in operations {
        let request = Request::new(operation, body.to_string());
        for &connections in connections {
            let before = cpu_time(&daemon);
            let latencies = run(&daemon, &request, connections, time);
            let cpu = cpu_time(&daemon).saturating_sub(before);
            rows.push(summarise(operation, connections, latencies, (time, cpu)));
        }
    }
    rows
}

/// A request body for each operation, on keys made for it.
fn operations(daemon: &Daemon) -> Vec<(&'static str, Value)> {
    let create = |spec: &str, usage: &str| {
        let answer = call(daemon, "CreateKey", &json!({ "KeySpec": spec, "KeyUsage": usage }));
        answer.json()["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned()
    };
    let aes = create("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let ecc = create("ECC_NIST_P256", "SIGN_VERIFY");
    let hmac = create("HMAC_256", "GENERATE_VERIFY_MAC");
    let plaintext = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let context = json!({ "purpose": "benchmark" });
    let encrypt = json!({ "KeyId": aes, "Plaintext": plaintext, "EncryptionContext": context });
    let blob = call(daemon, "Encrypt", &encrypt).json()["CiphertextBlob"].clone();
    let sign = json!({
        "KeyId": ecc, "Message": plaintext, "SigningAlgorithm": "ECDSA_SHA_256",
    });
    let signature = call(daemon, "Sign", &sign).json()["Signature"].clone();
    let verify = json!({
        "KeyId": ecc, "Message": plaintext, "SigningAlgorithm": "ECDSA_SHA_256",
        "Signature": signature,
    });
    vec![
        ("DescribeKey", json!({ "KeyId": aes })),
        ("Encrypt", encrypt),
        ("Decrypt", json!({ "CiphertextBlob": blob, "EncryptionContext": context })),
        ("GenerateDataKey", json!({ "KeyId": aes, "KeySpec": "AES_256" })),
        ("Sign", sign),
        ("Verify", verify),
        (
            "GenerateMac",
            json!({ "KeyId": hmac, "Message": plaintext, "MacAlgorithm": "HMAC_SHA_256" }),
        ),
    ]
}

/// Waits until the daemon has nothing to do any more: after its start, devices make key pairs in
/// advance, which would be measured otherwise.
fn settle(daemon: &Daemon) {
    let begin = Instant::now();
    loop {
        let before = cpu_time(daemon);
        thread::sleep(Duration::from_millis(500));
        if cpu_time(daemon) - before <= Duration::from_millis(10) {
            return;
        }
        assert!(begin.elapsed() < MOST_WORK, "the daemon never comes to rest");
    }
}

/// Processor time of the daemon so far, in and outside the kernel (proc_pid_stat(5), fields 14 and 15).
fn cpu_time(daemon: &Daemon) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).expect("it runs");
    // After the name, which may have blanks in it.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 on every architecture that kmsd runs on.
    Duration::from_millis(ticks * 10)
}

/// The latency of each request that started within `time`.
fn run(daemon: &Daemon, request: &Request, connections: usize, time: Duration) -> Vec<Duration> {
    let start = Barrier::new(connections);
    let sign = || (request.clone().signed(daemon).to_bytes(daemon.address()), Instant::now());
    let worker = || {
        let mut connection = Connection::open(daemon);
        let mut latencies = Vec::new();
        let (mut bytes, mut signed) = sign();
        exchange(&mut connection, &bytes); // connects and warms up, unmeasured
        start.wait();
        let begin = Instant::now();
        while begin.elapsed() < time {
            // The benchmark is of the daemon, which verifies each request, not of the signer; and
            // equal requests of one second are signed alike.
            if signed.elapsed() > SIGNED {
                (bytes, signed) = sign();
            }
            let sent = Instant::now();
            exchange(&mut connection, &bytes);
            latencies.push(sent.elapsed());
        }
        latencies
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

fn exchange(connection: &mut Connection, request: &[u8]) {
    connection.write(request).expect("the daemon reads");
    let answer = connection.read().expect("the daemon answers");
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
}

fn summarise(
    operation: &'static str,
    connections: usize,
    mut latencies: Vec<Duration>,
    (time, cpu): (Duration, Duration),
) -> Row {
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    #[allow(clippy::cast_precision_loss)] // far below 2^52 requests
    let per_second = latencies.len() as f64 / time.as_secs_f64();
    let cpu = cpu / u32::try_from(latencies.len()).expect("fewer than 2^32 requests");
    Row { operation, connections, per_second, p50: percentile(50), p99: percentile(99), cpu }
}

/// One table for an HSM.
pub(crate) fn print(hsm: &str, rows: &[Row]) {
    println!("\n{hsm}: requests at the HTTP port");
    println!(
        "{:<18}{:>6}{:>12}{:>12}{:>12}{:>12}",
        "operation", "conns", "requests/s", "p50 ms", "p99 ms", "CPU µs"
    );
    for Row { operation, connections, per_second, p50, p99, cpu } in rows {
        let (p50, p99) = (p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
        let cpu = cpu.as_micros();
        println!(
            "{operation:<18}{connections:>6}{per_second:>12.0}{p50:>12.2}{p99:>12.2}{cpu:>12}"
        );
    }
}
