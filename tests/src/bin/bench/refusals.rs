//! The time that refusals of access keys take, and whether it reveals the reason.
//!
//! All requests go over one connection, in random order, and are equally long.

use std::time::{Duration, Instant};

use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::http::{Connection, Request};
use serde_json::{Value, json};

const IAM: &str = "2010-05-08";
/// The kind that the others are compared with.
const FIRST: &str = "unknown access key id";

/// Times of one kind of request.
pub(crate) struct Row {
    kind: &'static str,
    count: usize,
    median: f64,
    /// Mean and its standard error, of all but the slowest tenth, in microseconds.
    mean: f64,
    error: f64,
    /// Welch's t against the first kind.
    t: f64,
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "kind": self.kind,
            "requests": self.count,
            "median_us": crate::rounded(self.median),
            "mean_us": crate::rounded(self.mean),
            "standard_error_us": crate::rounded(self.error),
            "welch_t": crate::rounded(self.t),
        })
    }
}

/// Sends requests for `time`.
pub(crate) fn measure(hsm: &str, time: Duration) -> Vec<Row> {
    let daemon = Daemon::start(&[hsm]);
    let root = daemon.credentials();
    let (user, disabled, deleted) = (key(&daemon), key(&daemon), key(&daemon));
    let (user, _) = user;
    let (disabled, of_disabled) = disabled;
    let (deleted, of_deleted) = deleted;
    let named =
        |name: String, key: &Credentials| [("UserName", name), ("AccessKeyId", key.id.clone())];
    let mut inactive = named(of_disabled, &disabled).to_vec();
    inactive.push(("Status", "Inactive".to_owned()));
    change(&daemon, "UpdateAccessKey", &inactive);
    change(&daemon, "DeleteAccessKey", &named(of_deleted, &deleted));
    let stranger = Credentials { id: format!("AKIA{}", "X".repeat(16)), secret: "s".repeat(40) };
    let wrong = |key: &Credentials| Credentials { secret: "w".repeat(40), ..key.clone() };
    let kinds = [
        (FIRST, stranger.clone()),
        ("the same again", Credentials { id: format!("AKIA{}", "Y".repeat(16)), ..stranger }),
        ("wrong secret of a user", wrong(&user)),
        ("wrong secret of the root", wrong(&root)),
        ("disabled key", disabled),
        ("deleted key", deleted),
    ];
    // A signature that is refused may come again: nothing is signed while the clock runs.
    let requests = kinds.each_ref().map(|(_, who)| {
        let request = Request::new("ListKeys", "{}").signed_by(who, &daemon);
        request.to_bytes(daemon.address())
    });
    let mut connection = Connection::open(&daemon);
    let mut times: [Vec<f64>; 6] = Default::default();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let kind = fastrand::usize(..kinds.len());
        let sent = Instant::now();
        connection.write(&requests[kind]).expect("the daemon reads");
        let answer = connection.read().expect("the daemon answers");
        let took = sent.elapsed().as_secs_f64() * 1e6;
        assert_eq!(answer.status, 400, "{}", answer.body.escape_ascii());
        // The first second is for the caches.
        if begin.elapsed() > Duration::from_secs(1) {
            times[kind].push(took);
        }
    }
    let summaries = times.each_mut().map(|times| summarise(times));
    let (_, _, first, first_error) = summaries[0];
    let rows = kinds.iter().zip(summaries);
    rows.map(|((kind, _), (count, median, mean, error))| {
        let t = (mean - first) / error.hypot(first_error);
        Row { kind, count, median, mean, error, t }
    })
    .collect()
}

/// Count, median, mean of the fastest nine tenths, and its standard error.
#[allow(clippy::cast_precision_loss)] // far below 2^52 requests
fn summarise(times: &mut [f64]) -> (usize, f64, f64, f64) {
    times.sort_unstable_by(f64::total_cmp);
    let kept = &times[..times.len() * 9 / 10];
    let count = kept.len() as f64;
    let mean = kept.iter().sum::<f64>() / count;
    let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (times.len(), times[times.len() / 2], mean, (variance / count).sqrt())
}

/// A new access key that has been used, and the user that it is of.
fn key(daemon: &Daemon) -> (Credentials, String) {
    let name = format!("user{}", fastrand::u32(..));
    change(daemon, "CreateUser", &[("UserName", name.clone())]);
    let made = change(daemon, "CreateAccessKey", &[("UserName", name.clone())]);
    let made = &made["CreateAccessKeyResponse"]["CreateAccessKeyResult"]["AccessKey"];
    let text = |member: &str| made[member].as_str().expect("a text").to_owned();
    let key = Credentials { id: text("AccessKeyId"), secret: text("SecretAccessKey") };
    let request = Request::new("ListKeys", "{}").signed_by(&key, daemon);
    assert_eq!(request.send(daemon).code(), "AccessDeniedException", "signed, and not allowed");
    (key, name)
}

fn change(daemon: &Daemon, action: &str, parameters: &[(&str, String)]) -> Value {
    let parameters: Vec<_> =
        parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let request = Request::form(IAM, action, &parameters);
    let answer = request.signed_for("iam", &daemon.credentials(), daemon).send(daemon);
    assert_eq!(answer.status, 200, "{action}: {}", answer.body.escape_ascii());
    answer.json()
}

/// One table.
pub(crate) fn print(rows: &[Row]) {
    println!("\nrefusals of access keys, in microseconds; t against an {FIRST}");
    println!("{:<26}{:>9}{:>9}{:>9}{:>8}{:>8}", "", "requests", "median", "mean", "error", "t");
    for Row { kind, count, median, mean, error, t } in rows {
        println!("{kind:<26}{count:>9}{median:>9.1}{mean:>9.1}{error:>8.2}{t:>8.1}");
    }
}
