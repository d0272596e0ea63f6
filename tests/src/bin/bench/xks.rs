//! Requests to an external key store, as another KMS sends them: over connections that it keeps, to a port of their
//! own.

use std::time::Duration;

use hsm_tests::xks::{Rig, to_decrypt, to_encrypt};
use serde_json::{Value, json};

use crate::load::{self, Run};

/// Connections: that of a single caller, of a few, and as many calls as AWS KMS has under way at its default rate.
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// What is to be reached on two cores at the most connections, with an in-process device.
const LEAST_PER_SECOND: f64 = 2000.0;
const MOST_P99: Duration = Duration::from_millis(50);
/// What another KMS sends for a data key of 256 bits: the ciphertext of its own layer. The encryption context is of a
/// common size, too.
const PLAINTEXT: [u8; 120] = [0x5a; 120];
const AAD: [u8; 64] = [b'a'; 64];

/// What one call did at one number of connections.
pub(crate) struct Row {
    call: &'static str,
    connections: usize,
    run: Run,
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "call": self.call,
            "connections": self.connections,
            "requests_per_second": crate::rounded(self.run.per_second),
            "cpu_us": self.run.cpu.as_micros(),
            "p50_us": self.run.percentile(50.0).as_micros(),
            "p99_us": self.run.percentile(99.0).as_micros(),
            "p999_us": self.run.percentile(99.9).as_micros(),
            "reached": self.reached(),
        })
    }

    /// Whether the goal is reached; `None` where there is none.
    fn reached(&self) -> Option<bool> {
        let is_most = CONNECTIONS.iter().all(|connections| *connections <= self.connections);
        let is_fast = self.run.per_second >= LEAST_PER_SECOND;
        is_most.then(|| is_fast && self.run.percentile(99.0) <= MOST_P99)
    }
}

/// Runs each call for `time` at each number of connections, on an in-process device.
pub(crate) fn measure(time: Duration) -> Vec<Row> {
    let rig = Rig::start();
    let (store, key) = rig.with_key("bench");
    let made = rig.encrypted(&store, &key, &PLAINTEXT, &AAD);
    let checked = to_encrypt(&PLAINTEXT, &AAD);
    let mut plain = checked.clone();
    plain["ciphertextDataIntegrityValueAlgorithm"].take();
    load::settle(&rig.daemon);
    let mut rows = Vec::new();
    for (call, what, body) in [
        ("encrypt", "encrypt", plain),
        // With an integrity value, for which the device decrypts again.
        ("encrypt, checked", "encrypt", checked),
        ("decrypt", "decrypt", to_decrypt(&made, &AAD)),
    ] {
        let path = format!("{}/keys/{key}/{what}", store.path);
        let host = rig.daemon.address();
        let sign = || rig.sign(&path, &body, &store.credentials).to_bytes(host);
        for connections in CONNECTIONS {
            let run = load::run((rig.address(), rig.daemon.id()), &sign, connections, time);
            rows.push(Row { call, connections, run });
        }
    }
    rows
}

/// One table, with the goal below it.
pub(crate) fn print(rows: &[Row]) {
    println!("\nsoft: requests to an external key store");
    println!(
        "{:<18}{:>6}{:>12}{:>10}{:>10}{:>10}{:>10}",
        "call", "conns", "requests/s", "CPU µs", "p50 ms", "p99 ms", "p99.9 ms"
    );
    for Row { call, connections, run } in rows {
        let [p50, p99, p999] =
            [50.0, 99.0, 99.9].map(|percent| run.percentile(percent).as_secs_f64() * 1e3);
        let (per_second, cpu) = (run.per_second, run.cpu.as_micros());
        println!(
            "{call:<18}{connections:>6}{per_second:>12.0}{cpu:>10}{p50:>10.2}{p99:>10.2}{p999:>10.2}"
        );
    }
    for row in rows {
        let Some(reached) = row.reached() else { continue };
        println!(
            "{} at {} connections: {LEAST_PER_SECOND} requests/s with p99 of {MOST_P99:?} or less {}",
            row.call,
            row.connections,
            if reached { "reached" } else { "NOT reached" },
        );
    }
}
