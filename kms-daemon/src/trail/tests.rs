//! Delivery to a directory, with a clock that stands still and one HSM: what arrives, in which order,
//! with which signatures, whatever fails meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::{Pkcs1v15Sign, PublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::api::tests::device::regions;

use kms_audit::{Kind, LogOptions, Policy, event_time};
use kms_base::clock::ManualClock;
use kms_base::hex;
use kms_query::{Code, IamError};
use kms_store::{Commit, Entry, MemoryStore, Page, Snapshot, StoreFuture, Transaction, Watch};

const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";
/// 2027-01-15T08:00:00Z.
const BEGIN: u64 = 1_800_000_000_000;

struct Rig {
    dir: TempDir,
    store: Arc<Flaky>,
    audit: Arc<AuditLog>,
    clock: Arc<ManualClock>,
    trails: Arc<Trails>,
    records: usize,
}

/// A store that fails once, before or after it has taken a change.
struct Flaky {
    inner: MemoryStore,
    /// Commits until the one that fails, counted down; twice as many as commits, as each can fail in
    /// two ways.
    left: AtomicUsize,
}

impl Store for Flaky {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        self.inner.get(key)
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        self.inner.range(range)
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            let failure = || StoreError::Engine("the power failed".to_owned());
            let left = |count: usize| count.checked_sub(1);
            if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) == Ok(1) {
                return Err(failure());
            }
            let done = self.inner.commit(transaction).await;
            match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
                Ok(1) => Err(failure()),
                _ => done,
            }
        })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        self.inner.watch(after)
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn lag(&self) -> std::time::Duration {
        self.inner.lag()
    }
}

impl Rig {
    async fn new() -> Self {
        Self::with(Policy::default()).await
    }

    async fn with(policy: Policy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("far/logs")).unwrap();
        let place = (ACCOUNT.to_owned(), REGION.to_owned());
        let options = LogOptions { policy, place, ..LogOptions::default() };
        let log = dir.path().join("audit");
        kms_base::durable::create_private_dir(&log).unwrap();
        let (audit, _) = AuditLog::open_with(&log, json!({}), options).await.unwrap();
        let store = Arc::new(Flaky { inner: MemoryStore::new(), left: AtomicUsize::new(0) });
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN)));
        let audit = Arc::new(audit);
        let trails = trails(&dir, &store, &audit, &clock);
        Self { dir, store, audit, clock, trails, records: 0 }
    }

    /// The daemon is ended and started again.
    fn restart(&mut self) {
        self.trails = trails(&self.dir, &self.store, &self.audit, &self.clock);
    }

    fn id(&self) -> TrailId {
        let (account, region) = (ACCOUNT.to_owned(), REGION.to_owned());
        TrailId { account, region, name: "main".to_owned() }
    }

    async fn logging(&self, settings: Settings) {
        let bucket = Some("logs".to_owned());
        let settings = Settings { bucket, validation: Some(true), ..settings };
        self.trails.create(&self.id(), &settings).await.unwrap();
        self.trails.start(&self.id()).await.unwrap();
    }

    async fn record(&mut self, region: &str) {
        let now = SystemTime::from(self.clock.now());
        let record = json!({
            "eventTime": event_time(now),
            "eventID": format!("id-{}", self.records),
            "eventSource": "kms.amazonaws.com",
            "awsRegion": region,
            "recipientAccountId": ACCOUNT,
            "filling": "x".repeat(300),
        });
        self.audit.append(Kind::Request, &record, &[]).await.unwrap();
        self.records += 1;
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn settle(&self) -> Result<(), String> {
        let mut delivery = Delivery::new(Arc::clone(&self.trails), self.id());
        delivery.settle().await.map_err(|error| error.to_string())
    }

    fn bucket(&self) -> PathBuf {
        self.dir.path().join("far/logs")
    }

    /// All objects whose names have this in them, in the order of their names.
    fn objects(&self, part: &str) -> Vec<String> {
        let (mut found, mut waiting) = (BTreeSet::new(), vec![self.bucket()]);
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    let name = path.strip_prefix(self.bucket()).unwrap();
                    found.insert(name.to_str().unwrap().to_owned());
                }
            }
        }
        found.into_iter().filter(|name| name.contains(part) && name.ends_with(".gz")).collect()
    }

    fn content(&self, object: &str) -> Vec<u8> {
        let file = fs::File::open(self.bucket().join(object)).unwrap();
        let mut content = Vec::new();
        GzDecoder::new(file).read_to_end(&mut content).unwrap();
        content
    }

    /// Follows the digests of a Region from the newest to the first, with their signatures, and reads
    /// the files that they name: the ids of the records in order, and how many digests there are.
    async fn verified(&self, region: &str) -> (Vec<String>, usize) {
        let (public, fingerprint, _) = self.trails.public_key(region).await.unwrap().unwrap();
        let public = PublicKey::from_pkcs1_der(&BASE64.decode(public).unwrap()).unwrap();
        let digests = self.objects(&format!("CloudTrail-Digest/{region}/"));
        let (mut ids, mut end) = (Vec::new(), None);
        let mut previous = (Value::Null, Value::Null, Value::Null);
        for object in &digests {
            let content = self.content(object);
            let digest: Value = serde_json::from_slice(&content).unwrap();
            assert_eq!(digest["digestS3Object"], **object);
            assert_eq!(digest["digestS3Bucket"], "logs");
            assert_eq!(digest["digestPublicKeyFingerprint"], *fingerprint);
            let (last, hash, signature) = &previous;
            assert_eq!(digest["previousDigestS3Object"], *last, "{object}");
            assert_eq!(digest["previousDigestHashValue"], *hash, "{object}");
            assert_eq!(digest["previousDigestSignature"], *signature, "{object}");
            let begin = &digest["digestStartTime"];
            assert!(end.as_ref().is_none_or(|end| end == begin), "nothing lies between digests");
            end = Some(digest["digestEndTime"].clone());
            let beside = format!("{object}.signature");
            let beside = fs::read_to_string(self.bucket().join(beside)).unwrap();
            let signature = beside.split("signature: ").nth(1).unwrap().trim().to_owned();
            let hash = hex::encode(&Sha256::digest(&content));
            let text = format!(
                "{}\nlogs/{object}\n{hash}\n{}",
                digest["digestEndTime"].as_str().unwrap(),
                digest["previousDigestSignature"].as_str().unwrap_or("null"),
            );
            let bytes: [u8; 256] = hex::decode(&signature).unwrap();
            let scheme = Pkcs1v15Sign::new::<Sha256>();
            public.verify(scheme, &Sha256::digest(&text), &bytes).expect("the signature");
            for file in digest["logFiles"].as_array().unwrap() {
                let content = self.content(file["s3Object"].as_str().unwrap());
                assert_eq!(file["hashValue"], hex::encode(&Sha256::digest(&content)));
                let records: Value = serde_json::from_slice(&content).unwrap();
                let records = records["Records"].as_array().unwrap();
                assert!(!records.is_empty());
                let times = || records.iter().map(|record| record["eventTime"].as_str().unwrap());
                assert_eq!(file["oldestEventTime"], times().min().unwrap());
                assert_eq!(file["newestEventTime"], times().max().unwrap());
                ids.extend(records.iter().map(|one| one["eventID"].as_str().unwrap().to_owned()));
            }
            previous = (json!(object), json!(hash), json!(signature));
        }
        (ids, digests.len())
    }

    fn expected(&self, numbers: impl Iterator<Item = usize>) -> Vec<String> {
        numbers.map(|number| format!("id-{number}")).collect()
    }
}

fn trails(
    dir: &TempDir,
    store: &Arc<Flaky>,
    audit: &Arc<AuditLog>,
    clock: &Arc<ManualClock>,
) -> Arc<Trails> {
    let (store, clock): (Arc<dyn Store>, Arc<dyn Clock>) = (store.clone(), clock.clone());
    Arc::new(Trails::new(Setup {
        store,
        regions: regions(2),
        audit: Arc::clone(audit),
        clock,
        place: Some(Place::Directory(dir.path().join("far"))),
        schedule: Schedule::default(),
    }))
}

#[test]
fn intervals_are_multiples() {
    let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
    let schedule = Schedule::default();
    assert_eq!(schedule.end_after(at(0)), at(300));
    assert_eq!(schedule.end_after(at(299)), at(300));
    assert_eq!(schedule.end_after(at(300)), at(600));
    assert_eq!(schedule.digest_after(at(3599)), at(3600));
    assert_eq!((schedule.grace(), Schedule { files: 1, digests: 1 }.grace()), (2000, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_each_interval_and_digests_each_hour_also_empty_ones() {
    let mut rig = Rig::new().await;
    rig.record(REGION).await; // before logging began
    rig.logging(Settings::default()).await;
    for _ in 0..3 {
        rig.record(REGION).await;
        rig.advance(100);
    }
    rig.settle().await.unwrap();
    assert_eq!(rig.objects("").len(), 0, "the grace of the interval is not over");
    rig.advance(2);
    rig.settle().await.unwrap();
    let files = rig.objects("CloudTrail/us-east-1/2027/01/15/");
    assert_eq!(files.len(), 1, "{files:?}");
    let name = "AWSLogs/111122223333/CloudTrail/us-east-1/2027/01/15/111122223333_CloudTrail_\
                us-east-1_20270115T0805Z_";
    assert!(files[0].starts_with(name), "{files:?}");
    assert_eq!(rig.objects("Digest").len(), 0);
    rig.advance(3 * 3600);
    rig.record(REGION).await;
    rig.advance(3600);
    rig.settle().await.unwrap();
    let (ids, digests) = rig.verified(REGION).await;
    assert_eq!(ids, rig.expected(1..5));
    assert_eq!(digests, 4);
    // Once more, by another process: nothing changes.
    let before = rig.objects("");
    rig.restart();
    rig.settle().await.unwrap();
    assert_eq!(rig.objects(""), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_for_a_day_gets_everything_in_order() {
    let policy = Policy { segment_size: 64 << 10, keep: Some(1), ..Policy::default() };
    let mut rig = Rig::with(policy).await;
    rig.logging(Settings { multi_region: Some(true), ..Settings::default() }).await;
    let away = rig.dir.path().join("away");
    fs::rename(rig.bucket(), &away).unwrap();
    for number in 0..24 * 12 {
        rig.record(if number % 3 == 0 { "eu-west-1" } else { REGION }).await;
        rig.advance(300);
        if number % 50 == 0 {
            rig.advance(2);
            let error = rig.settle().await.unwrap_err();
            assert!(error.contains("no directory"), "{error}");
        }
    }
    // Nobody removes what is yet to be delivered, however old it is.
    let far = SystemTime::now() + Duration::from_secs(100 * 24 * 3600);
    rig.audit.keep_files(far).await.unwrap();
    rig.restart();
    rig.trails.all().await.unwrap();
    rig.trails.hold_least();
    rig.audit.keep_files(far).await.unwrap();
    assert!(rig.trails.reports()[0].lag_seconds >= 24 * 3600);
    fs::rename(&away, rig.bucket()).unwrap();
    rig.advance(3600);
    rig.settle().await.unwrap();
    let (ids, digests) = rig.verified(REGION).await;
    assert_eq!(ids, rig.expected((0..24 * 12).filter(|number| number % 3 != 0)));
    assert_eq!(digests, 25);
    let (ids, digests) = rig.verified("eu-west-1").await;
    assert_eq!(ids, rig.expected((0..24 * 12).filter(|number| number % 3 == 0)));
    assert_eq!(digests, 25);
    // Now it is no longer needed.
    let files = || fs::read_dir(rig.audit.directory()).unwrap().count();
    let before = files();
    rig.audit.keep_files(far).await.unwrap();
    assert!(files() < before, "{} of {before}", files());
}

/// The daemon ends at each commit of the store, before and after it; what is delivered in the end is
/// the same, record by record.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_commit_loses_and_repeats_nothing() {
    let mut crashes = 0;
    for left in 1.. {
        let mut rig = Rig::new().await;
        rig.logging(Settings { multi_region: Some(true), ..Settings::default() }).await;
        for number in 0..8 {
            rig.record(if number % 2 == 0 { "eu-west-1" } else { REGION }).await;
            rig.advance(200);
        }
        rig.advance(2 * 3600);
        // The keys are made before, as they are once only.
        for region in [REGION, "eu-west-1"] {
            rig.trails.keys.ensure(region, rig.clock.now()).await.unwrap();
        }
        rig.store.left.store(left, Ordering::SeqCst);
        let crashed = rig.settle().await.is_err();
        rig.store.left.store(0, Ordering::SeqCst);
        crashes += usize::from(crashed);
        rig.restart();
        // Records that come meanwhile are of later files.
        rig.record(REGION).await;
        rig.settle().await.unwrap();
        rig.advance(3600);
        rig.settle().await.unwrap();
        let (ids, digests) = rig.verified(REGION).await;
        assert_eq!((ids, digests), (rig.expected([1, 3, 5, 7, 8].into_iter()), 3), "{left}");
        let (ids, _) = rig.verified("eu-west-1").await;
        assert_eq!(ids, rig.expected([0, 2, 4, 6].into_iter()), "{left}");
        // Every file that is there is in a digest.
        assert_eq!(rig.objects("_CloudTrail_").len(), 9, "{left}");
        if !crashed {
            break;
        }
    }
    assert!(crashes > 20, "{crashes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_ends_the_chain_and_who_starts_begins_another() {
    let mut rig = Rig::new().await;
    rig.logging(Settings::default()).await;
    rig.record(REGION).await;
    rig.advance(10);
    rig.trails.stop(&rig.id()).await.unwrap();
    rig.record(REGION).await; // the request itself, in the same second
    rig.advance(60);
    rig.record(REGION).await; // not delivered
    rig.settle().await.unwrap();
    let (ids, digests) = rig.verified(REGION).await;
    assert_eq!((ids, digests), (rig.expected(0..2), 1));
    assert_eq!(rig.trails.reports(), []);
    let (trail, status) = rig.trails.status(&rig.id()).await.unwrap();
    assert!(!trail.is_logging() && status.digest_delivered.is_some());
    rig.advance(3 * 3600);
    rig.settle().await.unwrap();
    assert_eq!(rig.objects("Digest").len(), 1, "nothing while it is stopped");
    rig.trails.start(&rig.id()).await.unwrap();
    rig.trails.start(&rig.id()).await.unwrap();
    rig.record(REGION).await;
    rig.advance(3600 + 2);
    rig.settle().await.unwrap();
    let digests = rig.objects("Digest");
    assert_eq!(digests.len(), 2, "{digests:?}");
    let second: Value = serde_json::from_slice(&rig.content(&digests[1])).unwrap();
    assert_eq!(second["previousDigestS3Object"], Value::Null);
    let file = second["logFiles"][0]["s3Object"].as_str().unwrap();
    let records: Value = serde_json::from_slice(&rig.content(file)).unwrap();
    assert_eq!(records["Records"][0]["eventID"], "id-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn trails_have_names_buckets_and_limits() {
    let rig = Rig::new().await;
    let settings =
        |bucket: &str| Settings { bucket: Some(bucket.to_owned()), ..Settings::default() };
    let named = |name: &str| TrailId { name: name.to_owned(), ..rig.id() };
    let code = |outcome: Result<Trail, IamError>| outcome.unwrap_err().code();
    let none = rig.trails.create(&rig.id(), &settings("none")).await;
    assert_eq!(code(none), Code::S3BucketDoesNotExistException);
    let none = rig.trails.create(&rig.id(), &settings("../far")).await;
    assert_eq!(code(none), Code::InvalidS3BucketNameException);
    for name in ["main", "two", "three", "four", "five"] {
        rig.trails.create(&named(name), &settings("logs")).await.unwrap();
    }
    let again = rig.trails.create(&rig.id(), &settings("logs")).await;
    assert_eq!(code(again), Code::TrailAlreadyExistsException);
    let sixth = rig.trails.create(&named("six"), &settings("logs")).await;
    assert_eq!(code(sixth), Code::MaximumNumberOfTrailsExceededException);
    let wrong =
        Settings { multi_region: Some(true), global_events: Some(false), ..Settings::default() };
    let wrong = rig.trails.update(&rig.id(), &wrong).await;
    assert_eq!(code(wrong), Code::InvalidParameterCombinationException);
    let prefix = Settings { prefix: Some("a/b".to_owned()), ..Settings::default() };
    let trail = rig.trails.update(&rig.id(), &prefix).await.unwrap();
    assert_eq!((trail.prefix.as_deref(), trail.bucket.as_str()), (Some("a/b"), "logs"));
    rig.trails.delete(&rig.id()).await.unwrap();
    assert_eq!(code(rig.trails.find(&rig.id()).await), Code::TrailNotFoundException);
    let gone = rig.trails.start(&rig.id()).await.unwrap_err();
    assert_eq!(gone.code(), Code::TrailNotFoundException);
}

/// Another account's records, and those of other Regions, are not of a trail.
#[tokio::test(flavor = "multi_thread")]
async fn a_trail_of_one_region_has_no_others() {
    let mut rig = Rig::new().await;
    rig.logging(Settings::default()).await;
    rig.record("eu-west-1").await;
    rig.record(REGION).await;
    let other = json!({
        "eventTime": event_time(rig.clock.now().into()),
        "eventID": "other",
        "awsRegion": REGION,
        "recipientAccountId": "999999999999",
    });
    rig.audit.append(Kind::Request, &other, &[]).await.unwrap();
    let global = json!({
        "eventTime": event_time(rig.clock.now().into()),
        "eventID": "global",
        "eventSource": "iam.amazonaws.com",
        "awsRegion": "eu-west-1",
        "recipientAccountId": ACCOUNT,
    });
    rig.audit.append(Kind::Request, &global, &[]).await.unwrap();
    rig.advance(3602);
    rig.settle().await.unwrap();
    let (ids, _) = rig.verified(REGION).await;
    assert_eq!(ids, ["id-1", "global"]);
    assert_eq!(rig.objects("/eu-west-1/").len(), 0);
}
