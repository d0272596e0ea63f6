//! Checkpoints of a real device, and a log that was rewritten as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_driver::pool::StockTargets;
use hsm_protocol::AuditTag;
use hsm_protocol::audit::Head;
use hsm_protocol::command::random::Random;
use kms_audit::chain::{Body, Line};
use kms_audit::{AuditLog, Kind, Position, checkpoint, verify};
use kms_installation::devices::{Devices, DevicesConfig, Scope};
use serde_json::json;

/// A log with entries of a device, between two checkpoints.
async fn vouched_log(data: &Path) -> PathBuf {
    let dir = data.join("audit");
    let (log, _) = AuditLog::open(&dir, json!({})).await.unwrap();
    let log = Arc::new(log);
    let config = DevicesConfig {
        data: data.to_owned(),
        region: "us-east-1".to_owned(),
        hsms: vec!["soft:1".to_owned()],
        firmware: None,
        link: None,
        roots: None,
    };
    let sink = Arc::clone(&log);
    let pooled = tokio::task::spawn_blocking(move || {
        let mut devices = Devices::start(&config).unwrap();
        devices.prepare(Scope::Own, &mut |_, _| {}).unwrap();
        devices.pool(sink, StockTargets::NONE).unwrap()
    })
    .await
    .unwrap();
    pooled.pool.ready(Instant::now() + Duration::from_secs(600)).await.unwrap();
    checkpoint(&log, &pooled.pool, false).await;
    let mut receipts = Vec::new();
    for _ in 0..3 {
        let reply = pooled.pool.call(&Random { length: 1 }, AuditTag([7; 16])).await.unwrap();
        receipts.push(reply.receipt.unwrap());
    }
    // The last entry is recorded while the device is asked: its checkpoint counts it already, and is
    // recorded behind it. It does not vouch for that record, so a second one closes the log.
    log.append(Kind::Request, &json!({ "eventID": "a" }), &receipts[..2]).await.unwrap();
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        log.append(Kind::Request, &json!({ "eventID": "b" }), &receipts[2..]).await.unwrap();
    };
    tokio::join!(checkpoint(&log, &pooled.pool, true), late);
    tokio::task::spawn_blocking(move || pooled.shut_down()).await.unwrap();
    dir
}

/// Rewrites the log with hashes that fit, as someone with access to the directory could.
fn rewrite(dir: &Path, mut change: impl FnMut(&mut Line)) {
    let path = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .unwrap();
    let (mut tip, mut lines) = (Position::default(), Vec::new());
    for line in fs::read_to_string(&path).unwrap().lines() {
        let mut line = Line::parse(line.as_bytes()).unwrap();
        change(&mut line);
        let receipts: Vec<_> = line.device.iter().map(|stored| stored.0).collect();
        tip = Body::new(line.kind, &line.record, &receipts).append_to(tip, line.store, &mut lines);
    }
    fs::write(path, lines).unwrap();
    fs::write(dir.join("HEAD"), format!("{:020} {}\n", tip.sequence, tip.hash)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_log_is_not_the_one_that_was_signed() {
    let data = tempfile::tempdir().unwrap();
    let dir = vouched_log(data.path()).await;
    let report = verify(&dir).unwrap();
    assert_eq!(report.fault, None);
    assert_eq!((report.records, report.vouched), (7, 6));
    assert_eq!((report.signers.len(), report.signers[0].checkpoint), (1, 3));
    rewrite(&dir, |_| {});
    assert_eq!(verify(&dir).unwrap().fault, None, "the same lines have the same hashes");

    rewrite(&dir, |line| {
        if line.event_id() == Some("a") {
            line.record["errorCode"] = json!("AccessDenied");
        }
    });
    let fault = verify(&dir).unwrap().fault.unwrap();
    assert_eq!((fault.line, fault.reason.as_str()), (6, "the device has signed another log"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_cannot_be_adapted() {
    let data = tempfile::tempdir().unwrap();
    let dir = vouched_log(data.path()).await;
    let mut hashes = Vec::new();
    rewrite(&dir, |line| {
        if line.kind == Kind::Checkpoint {
            // Another number of entries, to hide some that were removed.
            line.record["entries"] = json!(line.record["entries"].as_u64().unwrap() - 1);
        }
        hashes.push(line.hash);
    });
    let fault = verify(&dir).unwrap().fault.unwrap();
    assert!(fault.reason.contains("signature"), "{fault:?}");
    assert_eq!(fault.line, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_do_not_lead_to_the_signed_head_show() {
    let data = tempfile::tempdir().unwrap();
    let dir = vouched_log(data.path()).await;
    // The chain of the device is made anew from a changed entry on; only the signature is not.
    let mut before = None;
    rewrite(&dir, |line| {
        if line.event_id() == Some("b") {
            let receipt = &mut line.device[0].0;
            receipt.entry.tag = AuditTag([9; 16]);
            receipt.head = Head::extend(&before.unwrap(), &receipt.entry);
        }
        before = line.device.last().map(|stored| stored.0.head).or(before);
    });
    let fault = verify(&dir).unwrap().fault.unwrap();
    assert_eq!(fault.line, 6, "the second checkpoint");
    assert!(fault.reason.contains("signed another chain"), "{fault:?}");
}
