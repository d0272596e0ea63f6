//! Requests at the HTTP port: closed loop, one outstanding request for each connection.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Connection, Request, call};
use serde_json::{Value, json};

/// How long a signed request is sent again.
const SIGNED: Duration = Duration::from_secs(1);

/// What one operation did at one number of connections.
pub(crate) struct Row {
    operation: &'static str,
    connections: usize,
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "operation": self.operation,
            "connections": self.connections,
            "requests_per_second": crate::rounded(self.per_second),
            "p50_us": self.p50.as_micros(),
            "p99_us": self.p99.as_micros(),
        })
    }
}

/// Runs every operation for `time` at each number of connections.
pub(crate) fn measure(hsm: &str, connections: &[usize], time: Duration) -> Vec<Row> {
    let daemon = Daemon::start(&[hsm]);
    let mut rows = Vec::new();
    for (operation, body) in operations(&daemon) {
        let request = Request::new(operation, body.to_string());
        for &connections in connections {
            let latencies = run(&daemon, &request, connections, time);
            rows.push(summarise(operation, connections, latencies, time));
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
    time: Duration,
) -> Row {
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    #[allow(clippy::cast_precision_loss)] // far below 2^52 requests
    let per_second = latencies.len() as f64 / time.as_secs_f64();
    Row { operation, connections, per_second, p50: percentile(50), p99: percentile(99) }
}

/// One table for an HSM.
pub(crate) fn print(hsm: &str, rows: &[Row]) {
    println!("\n{hsm}: requests at the HTTP port");
    println!(
        "{:<18}{:>6}{:>12}{:>12}{:>12}",
        "operation", "conns", "requests/s", "p50 ms", "p99 ms"
    );
    for Row { operation, connections, per_second, p50, p99 } in rows {
        let (p50, p99) = (p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
        println!("{operation:<18}{connections:>6}{per_second:>12.0}{p50:>12.2}{p99:>12.2}");
    }
}
