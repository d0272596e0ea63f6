//! The time that an authorization decision takes, as the daemon measures it: from the verified
//! signature to the key that may be used.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::http::{Connection, Request, call};
use hsm_tests::{costly, ctl};
use serde_json::{Value, json};

/// Requests of each case before it is measured.
const WARM_UP: usize = 200;
/// Clients at a time.
const CONNECTIONS: usize = 8;
/// What a decision should stay under. A bucket of the histogram ends there.
const BUDGET: Duration = Duration::from_micros(5);

/// What deciding about one kind of request costs.
pub(crate) struct Row {
    case: &'static str,
    decisions: f64,
    mean: Duration,
    /// Half of the decisions took at most this: the end of a bucket of the histogram.
    median: Duration,
    /// Share of the decisions within [`BUDGET`].
    within: f64,
}

impl Row {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "case": self.case,
            "decisions": self.decisions,
            "mean_ns": self.mean.as_nanos(),
            "median_at_most_ns": self.median.as_nanos(),
            "share_within_5_us": self.within,
        })
    }
}

/// Measures every case for `time`.
pub(crate) fn measure(time: Duration) -> Vec<Row> {
    let daemon = Daemon::start(&["soft"]);
    let ana = user(&daemon);
    let root = daemon.credentials();
    let context = json!({ "team": "red" });
    let encrypt = |key: &str| {
        let body = json!({ "KeyId": key, "Plaintext": "AAAA", "EncryptionContext": context });
        Request::new("Encrypt", body.to_string())
    };
    let plain = create(&daemon, None);
    let direct = create(&daemon, Some(&direct_policy()));
    let granted = create(&daemon, Some(&granting_policy()));
    let grants: Vec<Value> = (0..50)
        .map(|number| {
            json!({
                "KeyId": granted, "GranteePrincipal": ANA, "Operations": ["Encrypt", "Decrypt"],
                "Constraints": { "EncryptionContextSubset": { "team": team(number) } },
            })
        })
        .collect();
    grants.iter().for_each(|grant| drop(call(&daemon, "CreateGrant", grant)));
    let worst = create(&daemon, None);
    costly::put_the_worst(&daemon, &worst, "*aaaaaaaab#*");
    let longest = Request::new("Encrypt", costly::encrypt(&worst).to_string());
    let cases = [
        ("root, default policy", encrypt(&plain), &root),
        ("user, identity and group policies", encrypt(&plain), &ana),
        ("user, named by the key policy", encrypt(&direct), &ana),
        ("user, one of 50 grants", encrypt(&granted), &ana),
        ("the worst policy, a long request", longest, &root),
    ];
    let rows = cases.iter().map(|(case, request, who)| run(&daemon, case, request, who, time));
    rows.collect()
}

const ANA: &str = "arn:aws:iam::000000000000:user/ana";

/// One grant in fifty is for the team of the requests.
fn team(number: usize) -> &'static str {
    if number == 25 { "red" } else { "blue" }
}

/// A policy of eight statements, of which the last allows what is measured.
fn identity_policy() -> String {
    let others = (0..6).map(|number| {
        json!({
            "Sid": format!("Other{number}"), "Effect": "Allow",
            "Action": ["kms:Encrypt", "kms:Decrypt"],
            "Resource": format!("arn:aws:kms:*:000000000000:key/{number:08}-*"),
            "Condition": { "StringLike": { "kms:RequestAlias": format!("alias/{number}/*") } },
        })
    });
    let deny = json!({
        "Effect": "Deny", "Action": "kms:*", "Resource": "*",
        "Condition": { "NotIpAddress": { "aws:SourceIp": ["127.0.0.0/8", "::1/128"] } },
    });
    let allow = json!({
        "Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "arn:aws:kms:*:000000000000:key/*",
        "Condition": { "StringEquals": { "kms:EncryptionContext:team": ["blue", "red"] } },
    });
    let statements: Vec<Value> = others.chain([deny, allow]).collect();
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn direct_policy() -> String {
    let administer = json!({
        "Effect": "Allow", "Principal": { "AWS": "000000000000" }, "Resource": "*",
        "Action": ["kms:Create*", "kms:Describe*", "kms:Put*", "kms:ScheduleKeyDeletion"],
    });
    let user = json!({
        "Effect": "Allow", "Principal": { "AWS": ANA }, "Resource": "*",
        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
        "Condition": { "StringEquals": { "kms:EncryptionContext:team": "red" } },
    });
    json!({ "Version": "2012-10-17", "Statement": [administer, user] }).to_string()
}

fn granting_policy() -> String {
    let root = json!({
        "Effect": "Allow", "Principal": { "AWS": "000000000000" }, "Resource": "*",
        "Action": ["kms:CreateGrant", "kms:PutKeyPolicy"],
    });
    json!({ "Version": "2012-10-17", "Statement": root }).to_string()
}

/// A user with a policy of its own, and one of its group.
fn user(daemon: &Daemon) -> Credentials {
    let files = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, content: String| {
        let path = files.path().join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let group = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": ["kms:ListKeys", "kms:ListAliases"], "Resource": "*" } });
    let (own, group) = (file("own", identity_policy()), file("group", group.to_string()));
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let place = ["--data", &data, "--url", daemon.url()];
    let run = |arguments: &[&str]| {
        let (code, text) = ctl::text(&[&["iam"], arguments, &place].concat());
        assert_eq!(code, 0, "{arguments:?}: {text}");
    };
    run(&["user", "create", "ana"]);
    run(&["group", "create", "all"]);
    run(&["group", "add", "all", "ana"]);
    run(&["policy", "put", "--user", "ana", "own", &own]);
    run(&["policy", "put", "--group", "all", "group", &group]);
    let (_, key) = ctl::run(&[&["iam", "key", "create", "ana"][..], &place].concat());
    let text = |member: &str| key["AccessKey"][member].as_str().expect("a text").to_owned();
    Credentials { id: text("AccessKeyId"), secret: text("SecretAccessKey") }
}

fn create(daemon: &Daemon, policy: Option<&str>) -> String {
    let key = call(daemon, "CreateKey", &json!({ "Policy": policy })).json();
    key["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned()
}

fn run(
    daemon: &Daemon,
    case: &'static str,
    request: &Request,
    who: &Credentials,
    time: Duration,
) -> Row {
    let exchange = |connection: &mut Connection| {
        let signed = request.clone().signed_by(who, daemon);
        connection.write(&signed.to_bytes(daemon.address())).expect("the daemon reads");
        let answer = connection.read().expect("the daemon answers");
        assert_eq!(answer.status, 200, "{case}: {}", answer.body.escape_ascii());
    };
    let mut first = Connection::open(daemon);
    (0..WARM_UP).for_each(|_| exchange(&mut first));
    let before = Decisions::of(daemon);
    let begin = Instant::now();
    let client = || {
        let mut connection = Connection::open(daemon);
        while begin.elapsed() < time {
            exchange(&mut connection);
        }
    };
    thread::scope(|scope| (0..CONNECTIONS).for_each(|_| drop(scope.spawn(client))));
    let after = Decisions::of(daemon);
    let decisions = after.count - before.count;
    let mean = Duration::from_secs_f64((after.sum - before.sum) / decisions);
    // How many took at most so long, by the ends of the buckets.
    let counts: Vec<(f64, f64)> = after
        .buckets
        .iter()
        .zip(before.buckets)
        .map(|((end, after), (_, before))| (*end, after - before))
        .collect();
    let median = counts.iter().find(|(_, count)| *count >= decisions / 2.0);
    let within = counts.iter().find(|(end, _)| *end >= BUDGET.as_secs_f64());
    Row {
        case,
        decisions,
        mean,
        median: Duration::from_secs_f64(median.expect("half of them").0),
        within: within.expect("a bucket").1 / decisions,
    }
}

/// The daemon's histogram of decisions.
struct Decisions {
    count: f64,
    sum: f64,
    /// Ends of the buckets, in seconds, and how many took at most so long.
    buckets: Vec<(f64, f64)>,
}

impl Decisions {
    fn of(daemon: &Daemon) -> Self {
        let page = Request {
            method: "GET".to_owned(),
            path: "/metrics".to_owned(),
            ..Request::new("", "")
        };
        let page = String::from_utf8(page.send(daemon).body).expect("UTF-8");
        let values: Vec<(&str, f64)> = page
            .lines()
            .filter_map(|line| line.strip_prefix("strongroom_authorization_duration_seconds_"))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name, value.parse().expect("a number")))
            .collect();
        let value = |wanted: &str| values.iter().find(|(name, _)| *name == wanted).map(|(_, v)| *v);
        let bucket = |(name, count): &(&str, f64)| {
            let end = name.strip_prefix("bucket{le=\"")?.strip_suffix("\"}")?;
            Some((end.parse().ok().filter(|end: &f64| end.is_finite())?, *count))
        };
        Self {
            count: value("count").expect("a count"),
            sum: value("sum").expect("a sum"),
            buckets: values.iter().filter_map(bucket).collect(),
        }
    }
}

/// One table.
pub(crate) fn print(rows: &[Row]) {
    println!("\nsoft: deciding about a request, as the daemon measures it");
    println!(
        "{:<36}{:>10}{:>10}{:>14}{:>13}",
        "case", "decisions", "mean us", "median us", "under 5 us"
    );
    for Row { case, decisions, mean, median, within } in rows {
        let us = |time: &Duration| time.as_secs_f64() * 1e6;
        let (median, within) = (format!("<= {:.1}", us(median)), within * 100.0);
        println!("{case:<36}{decisions:>10.0}{:>10.2}{median:>14}{within:>12.1}%", us(mean));
    }
}
