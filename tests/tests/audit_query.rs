//! `kmsctl audit query`, `tail` and `export`: who did what, from the files of the log alone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Request, call, get};
use hsm_tests::patience::until;
use hsm_tests::{ctl, environment, programs};
use serde_json::{Value, json};

/// A daemon that served some requests, and the id of the key that they used.
fn used_daemon(more: &[&str]) -> (Daemon, String) {
    let daemon = Daemon::start_with(&["soft"], more);
    let made = call(&daemon, "CreateKey", &json!({})).json();
    let key = made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned();
    let alias = json!({ "AliasName": "alias/first", "TargetKeyId": key });
    assert_eq!(call(&daemon, "CreateAlias", &alias).status, 200);
    use_key(&daemon);
    assert_eq!(call(&daemon, "DescribeKey", &json!({ "KeyId": "alias/none" })).status, 400);
    assert_eq!(Request::new("ListKeys", "{}").send(&daemon).status, 400, "not signed");
    (daemon, key)
}

fn use_key(daemon: &Daemon) {
    let body = json!({ "KeyId": "alias/first", "Plaintext": "c2VjcmV0" });
    let blob = call(daemon, "Encrypt", &body).json()["CiphertextBlob"].take();
    assert_eq!(call(daemon, "Decrypt", &json!({ "CiphertextBlob": blob })).status, 200);
}

fn log_of(daemon: &Daemon) -> String {
    daemon.data().join("audit").to_str().expect("UTF-8").to_owned()
}

/// The records that a query finds, and its exit code.
fn query(arguments: &[&str]) -> (i32, Vec<Value>) {
    let all = [&["--json", "audit", "query"], arguments].concat();
    let (code, text) = ctl::text(&all);
    (code, text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

fn names(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["eventName"].as_str().expect("a name")).collect()
}

#[test]
fn who_decrypted_what() {
    let (daemon, key) = used_daemon(&[]);
    let log = log_of(&daemon);
    // While the daemon runs, from its log or its data directory.
    let (code, records) = query(&[&log, "--since", "1h", "--action", "Decrypt"]);
    assert_eq!((code, names(&records)), (0, vec!["Decrypt"]));
    let record = &records[0];
    assert_eq!(record["eventVersion"], "1.11");
    assert_eq!(record["userIdentity"]["type"], "Root");
    assert_eq!(record["additionalEventData"]["keyMaterialId"].as_str().map(str::len), Some(64));
    let data = daemon.data().to_str().expect("UTF-8");
    assert_eq!(query(&[data, "--action", "kms:decrypt"]).1, records);
    let count = |more: &[&str]| query(&[&[log.as_str()], more].concat()).1.len();
    let all = count(&[]);
    assert!(all >= 6);
    assert_eq!(count(&["--until", "yesterday"]), 0);
    assert_eq!(count(&["--since", "yesterday"]), all);
    let (_, everything) = query(&[&log]);
    let own = everything.iter().filter(|record| record["eventType"] == "AwsServiceEvent").count();
    let of_root = count(&["--user", "root"]);
    assert_eq!(of_root, all - own - 1, "all but the daemon's own and the one that nobody signed");
    assert_eq!(count(&["--user", "nobody"]), 0);
    // Decrypt names no key; an alias is the key that it stands for.
    for key in [&key, &key[..8], "alias/first"] {
        let (_, found) = query(&[&log, "--key", key, "--action", "*crypt"]);
        assert_eq!(names(&found), ["Encrypt", "Decrypt"], "{key}");
    }
    assert_eq!(names(&query(&[&log, "--denied"]).1), ["ListKeys"]);
    assert_eq!(count(&["--source", "127.0.0.0/8"]), all - own);
    assert_eq!(count(&["--source", "10.0.0.0/8"]), 0);
    let (_, last) = query(&[&log, "--limit", "2"]);
    assert_eq!(names(&last), ["DescribeKey", "ListKeys"]);
    for wrong in [["--since", "noon"], ["--source", "here"], ["--limit", "0"]] {
        let (code, _) = ctl::text(&[&["audit", "query", &log], &wrong[..]].concat());
        assert_eq!(code, 2, "{wrong:?}");
    }
    let (code, _) = ctl::text(&["audit", "query", "/nowhere"]);
    assert_eq!(code, 2);
}

#[test]
fn the_table_fits() {
    let (daemon, key) = used_daemon(&[]);
    for (columns, least) in [("60", 40), ("80", 60), ("120", 90), ("200", 120)] {
        let output = Command::new(environment::kmsctl())
            .args(["audit", "query", &log_of(&daemon)])
            .env("COLUMNS", columns)
            .output()
            .expect("kmsctl runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let width = text.lines().map(|line| line.chars().count()).max().expect("lines");
        assert!((least..=columns.parse().expect("a number")).contains(&width), "{columns}: {text}");
        let row = text.lines().find(|line| line.contains("Decrypt")).expect("a row");
        assert!(row.contains(" root ") && row.contains(&key[..8]), "{row}");
    }
}

/// The log is read from what is left here and what was delivered, in either form; what is missing is
/// told, and costs the exit code.
#[test]
fn delivered_and_compressed_files_are_read_and_gaps_are_told() {
    let far = tempfile::tempdir().expect("a directory");
    let target = far.path().to_str().expect("UTF-8").to_owned();
    let arguments =
        ["--audit-segment-size", "64K", "--audit-compress", "gzip", "--audit-deliver", &target];
    let (mut daemon, _) = used_daemon(&arguments);
    for _ in 0..300 {
        use_key(&daemon);
    }
    let delivered = |end: &str| files(far.path(), end).len();
    // Of a file that is being delivered one form may be there without the other.
    until("files are delivered, each whole", || {
        delivered(".jsonl.gz") >= 5 && delivered(".json.gz") >= 5 && undelivered(&daemon) == 0
    });
    assert!(daemon.stop().success());
    let log = log_of(&daemon);
    let (code, all) = query(&[&log, "--action", "Decrypt"]);
    assert_eq!((code, all.len()), (0, 301));
    // Without what is here and was delivered, the rest of it is there.
    let here = files(Path::new(&log), ".jsonl.gz");
    here[..2].iter().for_each(|path| fs::remove_file(path).expect("removed"));
    let (code, left) = query(&[&log, "--action", "Decrypt"]);
    assert!(code == 1 && left.len() < 301, "{code} {}", left.len());
    let (code, both) = query(&[&log, &target, "--action", "Decrypt"]);
    assert_eq!((code, both), (0, all.clone()));
    // In CloudTrail's form as well: all that was delivered.
    let trail = format!("{target}/AWSLogs");
    let (code, records) = query(&[&trail, "--action", "Decrypt"]);
    let (_, plain) = query(&[&target, "--action", "Decrypt"]);
    assert_eq!((code, records.len()), (0, plain.len()));
    assert!(records.iter().all(|record| all.contains(record)));
    // The delivered log is one that can be verified.
    assert!(ctl::verify(far.path()).0);
    // A file in the middle is gone.
    fs::remove_file(&files(far.path(), ".jsonl.gz")[2]).expect("removed");
    let output = Command::new(environment::kmsctl())
        .args(["audit", "query", &target])
        .output()
        .expect("kmsctl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("missing"), "{said}");
}

/// Bytes of closed files that are yet to be delivered.
fn undelivered(daemon: &Daemon) -> u64 {
    let page = String::from_utf8(get(daemon, "/metrics").body).expect("text");
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix("strongroom_audit_undelivered_bytes "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("it is not in {page}"))
}

/// Files at any depth, in order.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_str().is_some_and(|name| name.ends_with(end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_log_is_followed_over_rotations_until_nobody_reads() {
    let arguments = ["--audit-segment-size", "64K", "--audit-compress", "gzip"];
    let (daemon, _) = used_daemon(&arguments);
    let mut tail = Command::new(environment::kmsctl())
        .args(["--json", "audit", "tail", &log_of(&daemon), "--action", "Decrypt"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kmsctl runs");
    let mut lines = BufReader::new(tail.stdout.take().expect("piped")).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str::<Value>(&line).expect("JSON")["eventID"].clone()
    };
    // What is there first: then it follows.
    let mut seen = vec![next()];
    let rounds = 300;
    for _ in 0..rounds {
        use_key(&daemon);
    }
    seen.extend((0..rounds).map(|_| next()));
    let (_, all) = query(&[&log_of(&daemon), "--action", "Decrypt"]);
    let ids: Vec<Value> = all.iter().map(|record| record["eventID"].clone()).collect();
    assert_eq!(seen, ids[ids.len() - seen.len()..], "each once, in order");
    assert!(
        files(Path::new(&log_of(&daemon)), ".jsonl").len()
            + files(Path::new(&log_of(&daemon)), ".gz").len()
            > 5
    );
    // Nothing comes any more, and still it notices that nobody reads.
    drop(lines);
    let mut status = None;
    until("it ends for nobody", || {
        status = tail.try_wait().expect("it runs");
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let (daemon, _) = used_daemon(&[]);
    for _ in 0..20 {
        use_key(&daemon);
    }
    let mut query = Command::new(environment::kmsctl())
        .args(["--json", "audit", "query", &log_of(&daemon)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kmsctl runs");
    drop(query.stdout.take());
    let output = query.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{:?} {said}", output.status);
}

/// The most memory that a query of a file of CloudTrail's form takes, in KiB.
fn peak(records: usize) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let name = "000000000000_CloudTrail_us-east-1_20261127T1200Z_abcdefgh01234567.json.gz";
    // Python has a gzip; what counts is how it is read.
    let script = "import gzip, json, sys\nout = gzip.open(sys.argv[1], 'wt', 1)\n\
                  out.write('{\"Records\":[')\nfor n in range(int(sys.argv[2])):\n    \
                  out.write((',' if n else '') + json.dumps({'eventName': 'Decrypt', \
                  'eventTime': '2026-11-27T12:00:00Z', 'eventID': str(n), 'pad': 'x' * 600}))\n\
                  out.write(']}')\nout.close()\n";
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(dir.path().join(name))
        .arg(records.to_string())
        .status()
        .expect("python3 runs");
    assert!(made.success());
    let mut child = Command::new(environment::kmsctl())
        .args(["--json", "audit", "query"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kmsctl runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (mut count, mut most) = (0, 0);
    for line in lines {
        line.expect("text");
        count += 1;
        if count % 1000 == 0 || count == records {
            let path = format!("/proc/{}/status", child.id());
            let status = fs::read_to_string(path).unwrap_or_default();
            let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = high.and_then(|high| high.trim().strip_suffix(" kB")?.parse().ok());
            most = most.max(kib.unwrap_or(0));
        }
    }
    assert_eq!(count, records);
    assert!(child.wait().expect("it ends").success());
    most
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let (small, large) = (peak(2_000), peak(60_000));
    // 40 MB more are read.
    assert!(large < small + 4096, "{small} KiB for 2,000 records, {large} for 60,000");
}

/// A program of others that reads CloudTrail's files: trailscraper, in a Python environment of its own.
#[test]
fn a_program_for_cloudtrail_reads_the_export() {
    let (daemon, key) = used_daemon(&[]);
    let far = tempfile::tempdir().expect("a directory");
    let target = far.path().to_str().expect("UTF-8");
    let (code, said) = ctl::text(&["audit", "export", &log_of(&daemon), "--to", target]);
    assert_eq!(code, 0, "{said}");
    let written = files(far.path(), ".json.gz");
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(said.contains("AWSLogs/000000000000/CloudTrail/us-east-1/"), "{said}");

    let packages = programs::packages("trailscraper");
    let trailscraper = || {
        let mut program = Command::new(packages.join("bin/trailscraper"));
        program.env("PYTHONPATH", &packages);
        program
    };
    let output = trailscraper()
        .args(["select", "--log-dir", target, "--from=-1days", "--to", "now"])
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .expect("trailscraper runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let records = found["Records"].as_array().expect("records");
    let (_, all) = query(&[&log_of(&daemon)]);
    assert_eq!(records.len(), all.len());
    assert!(text.contains(&key));
    // And makes of them the policy that would have been enough.
    let mut generate = trailscraper()
        .arg("generate")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("trailscraper runs");
    generate.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let policy = generate.wait_with_output().expect("it ends").stdout;
    let policy = String::from_utf8_lossy(&policy);
    assert!(policy.contains("kms:Decrypt") && policy.contains("kms:Encrypt"), "{policy}");
}
