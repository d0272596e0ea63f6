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
/// Keys of a page of `ListKeys`.
const PAGE: usize = 100;

/// What one operation did at one number of connections.
pub(crate) struct Row {
    operation: &'static str,
    connections: usize,
    run: Run,
}

/// What a server did in some time.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// Processor time of the server for each request.
    pub(crate) cpu: Duration,
    /// In order of length.
    latencies: Vec<Duration>,
}

impl Run {
    /// The latency that so many percent of requests stay within.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let at = (self.latencies.len() - 1) as f64 * percent / 100.0;
        self.latencies[at as usize]
    }
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "operation": self.operation,
            "connections": self.connections,
            "requests_per_second": crate::rounded(self.run.per_second),
            "p50_us": self.run.percentile(50.0).as_micros(),
            "p99_us": self.run.percentile(99.0).as_micros(),
            "cpu_us": self.run.cpu.as_micros(),
        })
    }
}

/// Runs every operation for `time` at each number of connections.
pub(crate) fn measure(hsm: &str, connections: &[usize], time: Duration) -> Vec<Row> {
    let daemon = Daemon::start(&[hsm]);
    let mut rows = Vec::new();
    let operations = operations(&daemon, hsm == "soft");
    settle(&daemon);
    for (operation, body) in operations {
        let request = request(operation, &body);
        let sign = || request.clone().signed(&daemon).to_bytes(daemon.address());
        for &connections in connections {
            let run = run((daemon.address(), daemon.id()), &sign, connections, time);
            rows.push(Row { operation, connections, run });
        }
    }
    rows
}

/// The request of a row, whose name begins with its operation.
pub(crate) fn request(row: &str, body: &Value) -> Request {
    Request::new(row.split(' ').next().unwrap_or(row), body.to_string())
}

/// A request body for each row, on keys made for it; RSA, too, where a device is fast enough.
pub(crate) fn operations(daemon: &Daemon, with_rsa: bool) -> Vec<(&'static str, Value)> {
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
    let mut rows = vec![
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
    ];
    if with_rsa {
        let rsa = create("RSA_2048", "SIGN_VERIFY");
        let algorithm = "RSASSA_PSS_SHA_256";
        let sign = json!({ "KeyId": rsa, "Message": plaintext, "SigningAlgorithm": algorithm });
        rows.push(("Sign RSA_2048", sign));
    }
    for _ in 0..PAGE {
        create("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    }
    rows.push(("ListKeys", json!({ "Limit": PAGE })));
    // Last, as what it makes stays.
    rows.push(("CreateKey", json!({ "Description": "benchmark" })));
    rows
}

/// Waits until the daemon has nothing to do any more: after its start, devices make key pairs in
/// advance, which would be measured otherwise.
pub(crate) fn settle(daemon: &Daemon) {
    let begin = Instant::now();
    loop {
        let before = cpu_time(daemon.id());
        thread::sleep(Duration::from_millis(500));
        if cpu_time(daemon.id()) - before <= Duration::from_millis(10) {
            return;
        }
        assert!(begin.elapsed() < MOST_WORK, "the daemon never comes to rest");
    }
}

/// Processor time of a process so far, in and outside the kernel (proc_pid_stat(5), fields 14 and 15).
fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // After the name, which may have blanks in it.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 on every architecture that kmsd runs on.
    Duration::from_millis(ticks * 10)
}

/// Sends requests to a server for `time`, as bytes that `sign` makes; the server is at an address and a
/// process.
pub(crate) fn run(
    (address, process): (&str, u32),
    sign: &(impl Fn() -> Vec<u8> + Sync),
    connections: usize,
    time: Duration,
) -> Run {
    let start = Barrier::new(connections + 1);
    let worker = || {
        let mut connection = Connection::to(address);
        let mut latencies = Vec::new();
        let (mut bytes, mut signed) = (sign(), Instant::now());
        exchange(&mut connection, &bytes); // connects and warms up, unmeasured
        start.wait();
        let begin = Instant::now();
        while begin.elapsed() < time {
            // The benchmark is of the server, which verifies each request, not of the signer; and
            // equal requests of one second are signed alike.
            if signed.elapsed() > SIGNED {
                (bytes, signed) = (sign(), Instant::now());
            }
            let sent = Instant::now();
            exchange(&mut connection, &bytes);
            latencies.push(sent.elapsed());
        }
        latencies
    };
    let (mut latencies, cpu) = thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(worker)).collect();
        start.wait();
        let before = cpu_time(process);
        let latencies: Vec<Duration> =
            workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect();
        (latencies, cpu_time(process).saturating_sub(before))
    });
    latencies.sort_unstable();
    #[allow(clippy::cast_precision_loss)] // far below 2^52 requests
    let per_second = latencies.len() as f64 / time.as_secs_f64();
    let cpu = cpu / u32::try_from(latencies.len()).expect("fewer than 2^32 requests");
    Run { per_second, cpu, latencies }
}

fn exchange(connection: &mut Connection, request: &[u8]) {
    connection.write(request).expect("the daemon reads");
    let answer = connection.read().expect("the daemon answers");
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
}

/// One table for an HSM.
pub(crate) fn print(hsm: &str, rows: &[Row]) {
    println!("\n{hsm}: requests at the HTTP port");
    println!(
        "{:<18}{:>6}{:>12}{:>12}{:>12}{:>12}",
        "operation", "conns", "requests/s", "p50 ms", "p99 ms", "CPU µs"
    );
    for Row { operation, connections, run } in rows {
        let [p50, p99] = [50.0, 99.0].map(|percent| run.percentile(percent).as_secs_f64() * 1e3);
        let (per_second, cpu) = (run.per_second, run.cpu.as_micros());
        println!(
            "{operation:<18}{connections:>6}{per_second:>12.0}{p50:>12.2}{p99:>12.2}{cpu:>12}"
        );
    }
}
