//! Trails: audit records delivered as AWS CloudTrail delivers them, to a directory and to a bucket of a
//! service, through kills of the daemon and absences of the bucket.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{call, get};
use hsm_tests::moto::Moto;
use hsm_tests::patience::until;
use hsm_tests::trails::{begin, done, trail};
use hsm_tests::{ctl, python};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Paths of all files below a directory that have this in them, in order.
fn files(root: &Path, part: &str) -> Vec<String> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => waiting.push(path),
                false => drop(found.insert(path.to_str().expect("UTF-8").to_owned())),
            }
        }
    }
    found.into_iter().filter(|name| name.contains(part) && name.ends_with(".json.gz")).collect()
}

fn read(path: &str) -> Value {
    let mut text = String::new();
    let file = fs::File::open(path).expect("a file");
    GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

/// The ids of the records in the files that the digests name, in their order; each digest continues
/// the one before it.
fn digested(root: &Path) -> Vec<String> {
    let (mut ids, mut previous) = (Vec::new(), Value::Null);
    for path in files(root, "/CloudTrail-Digest/") {
        let digest = read(&path);
        assert_eq!(digest["previousDigestS3Object"], previous, "{path}");
        previous = digest["digestS3Object"].clone();
        for file in digest["logFiles"].as_array().expect("files") {
            let file = root.join(file["s3Object"].as_str().expect("a name"));
            let records = read(file.to_str().expect("UTF-8"));
            let records = records["Records"].as_array().expect("records");
            ids.extend(
                records.iter().map(|one| one["eventID"].as_str().expect("an id").to_owned()),
            );
        }
    }
    ids
}

/// The ids of all records of the daemon's own log from the first `StartLogging` on.
fn recorded(daemon: &Daemon) -> Vec<String> {
    let log = daemon.data().join("audit");
    let (code, text) = ctl::text(&["--json", "audit", "query", log.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{text}");
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of_trail = records.skip_while(|record| record["eventName"] != "StartLogging");
    of_trail.map(|record| record["eventID"].as_str().expect("an id").to_owned()).collect()
}

/// Killed again and again while it delivers: every record arrives once, in the log's order.
#[test]
fn kills_lose_and_repeat_nothing() {
    let far = tempfile::tempdir().expect("a directory");
    let bucket = far.path().join("logs");
    fs::create_dir(&bucket).expect("a bucket");
    let place = far.path().to_str().expect("UTF-8");
    let mut daemon = Daemon::start_with(
        &["soft"],
        &["--trail-store", place, "--trail-interval", "1,2", "--rsa-stock", "1,0,0"],
    );
    begin(&daemon, "logs");
    for round in 0..12u32 {
        for _ in 0..5 {
            assert_eq!(call(&daemon, "GenerateRandom", &json!({ "NumberOfBytes": 1 })).status, 200);
        }
        // At another place of its second each time.
        thread::sleep(Duration::from_millis(u64::from(round * 370 % 1900)));
        daemon.kill();
        daemon.restart();
    }
    let wanted = recorded(&daemon);
    assert!(wanted.len() > 60, "{}", wanted.len());
    until("all is in digests", || digested(&bucket).len() >= wanted.len());
    let arrived = digested(&bucket);
    assert_eq!(arrived[..wanted.len()], wanted);
    let status = done(&trail(&daemon, "GetTrailStatus", &json!({ "Name": "main" })));
    assert_eq!(status["IsLogging"], true);
    let metrics = String::from_utf8(get(&daemon, "/metrics").body).expect("text");
    let label = "{trail=\"arn:aws:cloudtrail:us-east-1:000000000000:trail/main\"}";
    assert!(metrics.contains(&format!("strongroom_trail_up{label} 1")), "{metrics}");
    assert!(metrics.contains(&format!("strongroom_trail_lag_seconds{label}")), "{metrics}");
    assert!(ctl::verify(&daemon.data().join("audit")).0, "the log itself is intact");
}

/// A daemon whose trails are at the service, with these seconds between files and between digests; and where
/// its key for the service is.
fn delivering_to(moto: &Moto, interval: &str) -> (Daemon, TempDir) {
    let secret = tempfile::tempdir().expect("a directory");
    let key = secret.path().join("credentials");
    fs::write(&key, "[default]\naws_access_key_id=AKIA\naws_secret_access_key=secret\n")
        .expect("a file");
    let (url, key) = (moto.url(), key.to_str().expect("UTF-8"));
    let trails = ["--trail-store", &url, "--trail-credentials", key, "--trail-interval", interval];
    let arguments = [&trails[..], &["--rsa-stock", "1,0,0"]].concat();
    (Daemon::start_with(&["soft"], &arguments), secret)
}

/// While the bucket is away, the daemon serves, says so, and delivers all of it afterwards.
#[test]
fn a_service_that_is_away_gets_everything_later() {
    let mut moto = Moto::start();
    let (daemon, _secret) = delivering_to(&moto, "1,2");
    let settings = json!({ "Name": "main", "S3BucketName": "logs" });
    let none = trail(&daemon, "CreateTrail", &settings);
    assert_eq!(none.code(), "S3BucketDoesNotExistException");
    make_bucket(&moto);
    begin(&daemon, "logs");
    until("something is delivered", || listed(&moto).contains("/CloudTrail/"));
    let address = moto.address();
    moto.kill();
    for _ in 0..20 {
        assert_eq!(call(&daemon, "GenerateRandom", &json!({ "NumberOfBytes": 1 })).status, 200);
    }
    let status = || done(&trail(&daemon, "GetTrailStatus", &json!({ "Name": "main" })));
    until("the failure is told", || status()["LatestDeliveryError"].is_string());
    let report = get(&daemon, "/readyz").json();
    assert_eq!(report["ready"], true, "{report}");
    let problems = report["problems"].to_string();
    assert!(problems.contains("trail/main has not been delivered for"), "{problems}");
    let told = report.to_string();
    assert!(!told.contains(&address.to_string()), "where the bucket is, is nobody's: {report}");
    let moto = Moto::start_on(address);
    make_bucket(&moto);
    until("it is delivered again", || listed(&moto).contains("/CloudTrail-Digest/"));
    until("nothing is wrong any more", || status()["LatestDeliveryError"].is_null());
}

/// A request to the service, which asks for no signature.
fn plain(moto: &Moto, method: &str, path: &str) -> String {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(moto.address()).expect("it listens");
    let host = moto.address();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

fn make_bucket(moto: &Moto) {
    let made = plain(moto, "PUT", "/logs");
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
}

fn listed(moto: &Moto) -> String {
    plain(moto, "GET", "/logs?list-type=2")
}

/// `aws cloudtrail validate-logs`, boto3 and the AWS CLI, as they are.
#[test]
fn clients_of_cloudtrail() {
    let moto = Moto::start();
    let url = moto.url();
    let (daemon, _secret) = delivering_to(&moto, "1,3");
    let own = daemon.url().to_owned();
    python::run_with(
        "test_trails.py",
        &daemon,
        &[("AWS_ENDPOINT_URL_S3", &url), ("AWS_ENDPOINT_URL_CLOUDTRAIL", &own)],
    );
}
