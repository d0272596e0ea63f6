//! Backups of a data directory, without a daemon.

use crate::last_backup::LastBackup;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host_driver::transport::loopback::{self, Loopback};
use hsm_firmware::board::host::{Config as DeviceConfig, FlashImage, HostDevice, Registry};
use serde_json::json;

use super::*;
use crate::data_dir::DataDir;
use kms_audit::{AuditLog, Kind, LogOptions, Policy, verify as verify_log};
use kms_base::passphrase::Passphrase;
use kms_store::{RedbStore, Store, Transaction};

const FLASH: &[u8] = b"the domain key in the clear";

/// A data directory as a daemon leaves it.
struct Rig {
    dir: tempfile::TempDir,
    store: Arc<RedbStore>,
    audit: Arc<AuditLog>,
    snapshots: Snapshots,
}

/// Makes a directory that no other user can read, as data directories have to be.
fn private(path: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for (path, content) in [
            ("hosts/provisioner.pem", &b"a host key"[..]),
            ("credentials", b"a secret"),
            ("hsm/us-east-1/soft-0.flash", FLASH),
            ("lock", b""),
            ("reserve", b"room"),
            ("credentials.new", b"half"),
        ] {
            private(data.join(path).parent().unwrap());
            fs::write(data.join(path), content).unwrap();
        }
        let domain = "d0".repeat(16);
        let registry =
            json!({ "format": 1, "domain": domain, "devices": { "soft-0": "11".repeat(16) } });
        fs::write(data.join("hsm/us-east-1/devices.json"), registry.to_string()).unwrap();
        let store = Arc::new(RedbStore::open(&data.join("store.redb")).unwrap());
        let options = LogOptions {
            policy: Policy { segment_size: 4000, ..Policy::default() },
            ..LogOptions::default()
        };
        let log = AuditLog::open_with(&data.join("audit"), json!({}), options).await.unwrap().0;
        let audit = Arc::new(log);
        let snapshots = Snapshots::new(&data, Arc::clone(&store), Arc::clone(&audit));
        Self { dir, store, audit, snapshots }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As a request does it: first the store, then the log.
    async fn work(&self, number: u64) {
        change(&self.store, &self.audit, number).await;
    }

    async fn back_up(&self, name: &str, devices: Devices) -> Result<Created, BackupError> {
        let snapshot = self.snapshots.prepare().await.unwrap();
        self.write(name, devices, &snapshot)
    }

    fn write(
        &self,
        name: &str,
        devices: Devices,
        snapshot: &Prepared,
    ) -> Result<Created, BackupError> {
        let (data, passphrase) = (&self.data(), &passphrase());
        let creation = Creation { data, snapshot, devices, passphrase };
        create(&self.file(name), &creation, &mut |_, _| {})
    }

    fn restore(&self, name: &str, to: &str) -> Result<Restored, BackupError> {
        let (file, to) = (self.file(name), self.file(to));
        // It needs no runtime, and has one of its own.
        std::thread::scope(|scope| {
            let restored = scope.spawn(|| restore(&file, &passphrase(), &to, &mut |_, _| {}));
            restored.join().unwrap()
        })
    }
}

async fn change(store: &RedbStore, audit: &AuditLog, number: u64) {
    let count = Transaction::new().put("count", number.to_be_bytes());
    let _ = store.commit(count).await.unwrap();
    audit.append(Kind::ServiceEvent, &json!({ "count": number }), &[]).await.unwrap();
}

fn passphrase() -> Passphrase {
    Passphrase::of_file(b"a passphrase for tests").unwrap()
}

/// The count in a store, and the last one in a log.
async fn counts(data: &Path) -> (u64, u64) {
    let store = RedbStore::open(&data.join("store.redb")).unwrap();
    let entry = store.get(b"count").await.unwrap().value.unwrap();
    let stored = u64::from_be_bytes((*entry.value).try_into().unwrap());
    let mut names: Vec<_> =
        fs::read_dir(data.join("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let log: String = names
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let told = log.rsplit_once("\"count\":").unwrap().1;
    let digits: String = told.chars().take_while(char::is_ascii_digit).collect();
    (stored, digits.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back() {
    let rig = Rig::new().await;
    for number in 1..=40 {
        rig.work(number).await;
    }
    let made = rig.back_up("one.backup", Devices::With).await.unwrap();
    let paths: Vec<_> = made.manifest.files.iter().map(|file| file.path.as_str()).collect();
    for left_out in ["lock", "reserve", "credentials.new"] {
        assert!(!paths.contains(&left_out), "{paths:?}");
    }
    assert!(paths.contains(&"hosts/provisioner.pem") && paths.contains(&"audit/HEAD"));
    assert_eq!(made.manifest.domains_held(), ["d0".repeat(16)]);
    let raw = fs::read(&made.path).unwrap();
    for secret in [FLASH, b"a host key", b"a secret", b"devices.json"] {
        assert!(!raw.windows(secret.len()).any(|bytes| bytes == secret));
    }
    let verified = verify(&made.path, &passphrase(), &mut |_, _| {}).unwrap();
    assert_eq!((&verified.sha256, verified.bytes), (&made.sha256, made.bytes));
    assert_eq!(verified.manifest.as_ref(), Some(&made.manifest));

    let restored = rig.restore("one.backup", "again").unwrap();
    assert_eq!((restored.fault, &restored.manifest), (None, &made.manifest));
    let again = rig.file("again");
    for path in ["hosts/provisioner.pem", "credentials", "hsm/us-east-1/soft-0.flash"] {
        assert_eq!(fs::read(again.join(path)).unwrap(), fs::read(rig.data().join(path)).unwrap());
    }
    assert_eq!(counts(&again).await, (40, 40));
    assert_eq!(verify_log(&again.join("audit")).unwrap().fault, None);
    let store = RedbStore::open(&again.join("store.redb")).unwrap();
    let last = LastBackup::read(&store).await.unwrap().unwrap();
    assert_eq!((last.sha256, last.domains), (made.sha256, vec!["d0".repeat(16)]));
    drop(DataDir::open(&again).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_and_log_are_of_one_moment_while_they_are_written() {
    let rig = Rig::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (store, audit, stopped) =
        (Arc::clone(&rig.store), Arc::clone(&rig.audit), Arc::clone(&stop));
    rig.work(1).await;
    let writer = tokio::spawn(async move {
        let mut number = 1;
        while !stopped.load(Ordering::Relaxed) {
            number += 1;
            change(&store, &audit, number).await;
        }
        number
    });
    let mut seen = Vec::new();
    while seen.len() < 8 {
        let snapshot = rig.snapshots.prepare().await.unwrap();
        let name = format!("{}.backup", seen.len());
        rig.write(&name, Devices::Without, &snapshot).unwrap();
        rig.restore(&name, &name.replace("backup", "data")).unwrap();
        let data = rig.file(&name.replace("backup", "data"));
        let (stored, told) = counts(&data).await;
        // One writer: it may have been between the two, as at a power cut.
        assert!(stored == told || stored == told + 1, "{stored} in the store, {told} in the log");
        assert_eq!(verify_log(&data.join("audit")).unwrap().fault, None);
        seen.push(stored);
    }
    stop.store(true, Ordering::Relaxed);
    let last = writer.await.unwrap();
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]) && seen[0] < last, "{seen:?}, {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_the_flashes_is_never_newer_than_the_log() {
    let rig = Rig::new().await;
    rig.work(1).await;
    let mark = rig.data().join("hsm/us-east-1/mark.json");
    fs::write(&mark, "as of the snapshot").unwrap();
    let snapshot = rig.snapshots.prepare().await.unwrap();
    fs::write(&mark, "later").unwrap();
    // A flash is: a device that was restarted meanwhile is one that the log does not know of yet.
    fs::write(rig.data().join("hsm/us-east-1/soft-0.flash"), "later").unwrap();
    rig.write("one.backup", Devices::With, &snapshot).unwrap();
    rig.restore("one.backup", "again").unwrap();
    let read = |name| fs::read_to_string(rig.file("again/hsm/us-east-1").join(name)).unwrap();
    assert_eq!((&*read("mark.json"), &*read("soft-0.flash")), ("as of the snapshot", "later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_devices_hold_is_somebodys_decision() {
    let rig = Rig::new().await;
    rig.work(1).await;
    let refused = rig.back_up("x.backup", Devices::Undecided).await.unwrap_err();
    assert!(matches!(&refused, BackupError::DevicesUndecided(names) if names == "soft-0"));
    assert!(!rig.file("x.backup").exists() && !rig.file("x.backup.partial").exists());
    let without = rig.back_up("x.backup", Devices::Without).await.unwrap();
    assert!(without.manifest.files.iter().all(|file| !file.path.ends_with(".flash")));
    assert_eq!(without.manifest.domains_held(), [""; 0]);
    fs::remove_file(rig.data().join("hsm/us-east-1/soft-0.flash")).unwrap();
    rig.back_up("y.backup", Devices::Undecided).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten_and_nothing_is_restored_twice() {
    let rig = Rig::new().await;
    rig.work(1).await;
    rig.back_up("one.backup", Devices::With).await.unwrap();
    let before = fs::read(rig.file("one.backup")).unwrap();
    let refused = rig.back_up("one.backup", Devices::With).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists(_)), "{refused}");
    assert_eq!(fs::read(rig.file("one.backup")).unwrap(), before);

    let running = DataDir::open(&rig.data()).unwrap();
    let refused = rig.restore("one.backup", "data").unwrap_err().to_string();
    assert!(refused.contains("another kmsd or kmsctl is running"), "{refused}");
    drop(running);
    assert!(matches!(rig.restore("one.backup", "data"), Err(BackupError::NotEmpty(_))));
    let full = rig.file("full");
    private(&full);
    fs::write(full.join("anything"), "").unwrap();
    assert!(matches!(rig.restore("one.backup", "full"), Err(BackupError::NotEmpty(_))));
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1, "it was left as it was");
    // The root of a file system of its own is as good as empty.
    let volume = rig.file("volume");
    private(&volume.join("lost+found"));
    rig.restore("one.backup", "volume").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_or_cut_off_leaves_nothing_behind() {
    let rig = Rig::new().await;
    for number in 1..=200 {
        rig.work(number).await;
    }
    let made = rig.back_up("one.backup", Devices::With).await.unwrap();
    let whole = fs::read(&made.path).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    fs::write(rig.file("altered.backup"), &altered).unwrap();
    fs::write(rig.file("short.backup"), &whole[..whole.len() - 100]).unwrap();
    for name in ["altered", "short"] {
        let file = rig.file(&format!("{name}.backup"));
        assert!(checksum(&file, &mut |_, _| {}).is_err());
        assert!(verify(&file, &passphrase(), &mut |_, _| {}).is_err());
        let refused = rig.restore(&format!("{name}.backup"), name).unwrap_err();
        assert!(
            matches!(refused, BackupError::Altered(_) | BackupError::Incomplete),
            "{name}: {refused}"
        );
        let left: Vec<_> = fs::read_dir(rig.file(name)).unwrap().map(|e| e.unwrap()).collect();
        assert!(left.iter().all(|entry| entry.file_name() == "lock"), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_restore_is_refused_by_everybody() {
    let rig = Rig::new().await;
    rig.work(1).await;
    rig.back_up("one.backup", Devices::With).await.unwrap();
    rig.restore("one.backup", "half").unwrap();
    let half = rig.file("half");
    fs::write(half.join("restoring"), "").unwrap();
    let refused = DataDir::open(&half).unwrap_err().to_string();
    assert!(refused.contains("restored in part"), "{refused}");
    assert!(matches!(rig.restore("one.backup", "half"), Err(BackupError::HalfRestored(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_taken_over_and_another_is_waited_for() {
    let rig = Rig::new().await;
    rig.work(1).await;
    // A snapshot, and half a backup.
    fs::create_dir_all(rig.data().join("backup/00")).unwrap();
    fs::write(rig.file("one.backup.partial"), "half of it").unwrap();
    fs::set_permissions(rig.file("one.backup.partial"), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(verify(&rig.file("one.backup.partial"), &passphrase(), &mut |_, _| {}).is_err());
    let snapshot = rig.snapshots.prepare().await.unwrap();
    assert_eq!(fs::read_dir(rig.data().join("backup")).unwrap().count(), 1);
    rig.write("one.backup", Devices::With, &snapshot).unwrap();
    assert!(!rig.file("one.backup.partial").exists());

    let other = fs::File::create(rig.file("two.backup.partial")).unwrap();
    other.lock().unwrap();
    let refused = rig.write("two.backup", Devices::With, &snapshot).unwrap_err();
    assert!(matches!(refused, BackupError::UnderWay(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_backup_is_remembered_once_it_is_whole() {
    let rig = Rig::new().await;
    rig.work(1).await;
    let first = rig.snapshots.prepare().await.unwrap();
    let second = rig.snapshots.prepare().await.unwrap();
    assert!(!first.directory.exists() && second.directory.exists());
    let done = Done {
        path: "/backup/x".to_owned(),
        bytes: 1,
        sha256: "ab".to_owned(),
        domains: Vec::new(),
    };
    let proof = second.proof().unwrap();
    let late = rig.snapshots.complete(&first.id, &proof, done.clone()).await.unwrap_err();
    assert!(matches!(late, SnapshotError::Unknown));
    assert_eq!(LastBackup::read(&*rig.store).await.unwrap(), None);
    let last = rig.snapshots.complete(&second.id, &proof, done).await.unwrap();
    assert_eq!(LastBackup::read(&*rig.store).await.unwrap(), Some(last));
    assert!(!rig.data().join("backup").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_goes_with_the_flash() {
    let rig = Rig::new().await;
    rig.work(1).await;
    fs::remove_file(rig.data().join("hsm/us-east-1/soft-0.flash")).unwrap();
    let board = "hsm/us-east-1/qemu-0/board";
    private(&rig.data().join("hsm/us-east-1/qemu-0"));
    fs::write(rig.data().join(board), "mps2_an386\n").unwrap();
    // It is not a secret, so nobody has to decide about it.
    rig.back_up("without.backup", Devices::Undecided).await.unwrap();
    rig.restore("without.backup", "without").unwrap();
    assert!(!rig.file("without").join(board).exists());
    fs::write(rig.data().join("hsm/us-east-1/qemu-0/flash.img"), FLASH).unwrap();
    rig.back_up("with.backup", Devices::With).await.unwrap();
    rig.restore("with.backup", "with").unwrap();
    assert_eq!(fs::read_to_string(rig.file("with").join(board)).unwrap(), "mps2_an386\n");
    assert!(rig.file("with").join("hsm/us-east-1/qemu-0/flash.img").exists());
}

/// Copies that people make before they try something, and what they call them.
const COPIES: [&str; 7] = [
    "hsm/us-east-1/soft-0.flash.old",
    "hsm/us-east-1/soft-0.flash~",
    "hsm/us-east-1/away/soft-0.flash",
    "hsm/us-east-1/qemu-1/flash.img.1",
    "hsm/us-east-1/devices.json.old",
    "hsm/us-east-1.old/soft-0.flash",
    "hsm/copy",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_flash_is_a_flash() {
    let rig = Rig::new().await;
    rig.work(1).await;
    fs::remove_file(rig.data().join("hsm/us-east-1/soft-0.flash")).unwrap();
    for (number, copy) in COPIES.into_iter().enumerate() {
        let path = rig.data().join(copy);
        private(path.parent().unwrap());
        fs::write(&path, FLASH).unwrap();
        // Not even one alone goes unseen.
        let refused = rig.back_up("x.backup", Devices::Undecided).await.unwrap_err();
        assert!(
            matches!(&refused, BackupError::DevicesUndecided(names) if names == copy),
            "{copy}: {refused}"
        );
        let snapshot = rig.snapshots.prepare().await.unwrap();
        assert!(!snapshot.directory.join(copy).exists(), "{copy} is in the snapshot");
        let name = format!("{number}.backup");
        let made = rig.write(&name, Devices::Without, &snapshot).unwrap();
        assert_eq!(made.left_out, [copy]);
        assert!(made.manifest.files.iter().all(|file| file.path != copy), "{copy}");
        rig.restore(&name, &number.to_string()).unwrap();
        assert!(!rig.file(&number.to_string()).join(copy).exists(), "{copy}");
        // With devices it is there, and nobody counts on it.
        let with = format!("{number}.with");
        let made = rig.back_up(&with, Devices::With).await.unwrap();
        assert_eq!((made.manifest.domains_held(), made.left_out), (Vec::new(), Vec::new()));
        rig.restore(&with, &format!("{number}-with")).unwrap();
        assert_eq!(fs::read(rig.file(&format!("{number}-with")).join(copy)).unwrap(), FLASH);
        fs::remove_file(&path).unwrap();
        let all = rig.data().join("hsm/us-east-1.old");
        let _ = fs::remove_dir(all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_elsewhere_in_the_directory_is_known_by_what_is_in_it() {
    let rig = Rig::new().await;
    rig.work(1).await;
    fs::remove_file(rig.data().join("hsm/us-east-1/soft-0.flash")).unwrap();
    // As the firmware of a device in this process writes it.
    let image = rig.file("image");
    let device = HostDevice::spawn(DeviceConfig {
        flash: FlashImage::File(image.clone()),
        sealing_key: None,
        registry: Registry::default(),
    })
    .unwrap();
    let (near, far) = loopback::pair();
    let Loopback { mut reader, writer } = far;
    let read = move |out: &mut [u8], patience| Ok(reader.read_timeout(out, patience));
    device.attach(read, writer).unwrap();
    let by = Instant::now() + Duration::from_secs(600);
    while !fs::read(&image).unwrap().windows(8).any(|bytes| bytes == b"committd") {
        assert!(Instant::now() < by, "nothing is written to the flash");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop((near, device));
    let flash = fs::read(&image).unwrap();
    // As it is, as half of it is, and behind the header of an archive.
    for (name, content) in [
        ("kept", flash.clone()),
        ("half", flash[..flash.len() / 2].to_vec()),
        ("kept.tar", [vec![0; 512], flash.clone()].concat()),
    ] {
        fs::write(rig.data().join(name), content).unwrap();
        let made = rig.back_up(&format!("{name}.backup"), Devices::Without).await.unwrap();
        assert_eq!(made.left_out, [name]);
        assert!(made.manifest.files.iter().all(|file| file.path != name), "{name}");
        fs::remove_file(rig.data().join(name)).unwrap();
    }
    let made = rig.back_up("none.backup", Devices::Undecided).await.unwrap();
    assert_eq!(made.left_out, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_not_written_to_what_it_is_of() {
    let rig = Rig::new().await;
    rig.work(1).await;
    private(&rig.data().join("backups"));
    private(&rig.file("elsewhere/below"));
    symlink(rig.file("elsewhere"), rig.data().join("linked")).unwrap();
    for target in ["data/x", "data/backups/x", "data/linked/x", "elsewhere/x", "elsewhere/below/x"]
    {
        let refused = check_target(&rig.file(target), &rig.data()).unwrap_err();
        assert!(matches!(refused, BackupError::Inside { .. }), "{target}: {refused}");
        let refused = rig.back_up(target, Devices::With).await.unwrap_err();
        assert!(matches!(refused, BackupError::Inside { .. }), "{target}: {refused}");
        assert!(!rig.file(target).exists(), "{target}");
    }
    check_target(&rig.file("x"), &rig.data()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_read_a_snapshot_says_that_there_is_a_backup() {
    let rig = Rig::new().await;
    rig.work(1).await;
    let domain = "d0".repeat(16);
    let done = |domains: &[&str]| Done {
        path: "/nowhere".to_owned(),
        bytes: 1,
        sha256: "00".repeat(32),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
    };
    let snapshot = rig.snapshots.prepare().await.unwrap();
    let proof = snapshot.proof().unwrap();
    for wrong in ["", "00", &"00".repeat(32), &proof[1..]] {
        let refused = rig.snapshots.complete(&snapshot.id, wrong, done(&[&domain])).await;
        assert!(matches!(refused, Err(SnapshotError::Unproven)), "{wrong}");
    }
    // Nor does a backup hold what was not there.
    let other = "d1".repeat(16);
    let refused = rig.snapshots.complete(&snapshot.id, &proof, done(&[&domain, &other])).await;
    assert!(matches!(refused, Err(SnapshotError::NoFlash(named)) if named == other));
    assert_eq!(LastBackup::read(&*rig.store).await.unwrap(), None);
    rig.snapshots.complete(&snapshot.id, &proof, done(&[&domain])).await.unwrap();
    assert_eq!(
        LastBackup::read(&*rig.store).await.unwrap().unwrap().domains,
        std::slice::from_ref(&domain)
    );
    // It was good once.
    let again = rig.snapshots.complete(&snapshot.id, &proof, done(&[&domain])).await;
    assert!(matches!(again, Err(SnapshotError::Unknown)));
    // A flash that is lost is in no backup, and a copy of it is nothing to count on.
    let flash = rig.data().join("hsm/us-east-1/soft-0.flash");
    fs::rename(&flash, flash.with_extension("flash.old")).unwrap();
    let snapshot = rig.snapshots.prepare().await.unwrap();
    let proof = snapshot.proof().unwrap();
    let refused = rig.snapshots.complete(&snapshot.id, &proof, done(&[&domain])).await;
    assert!(matches!(refused, Err(SnapshotError::NoFlash(_))));
    // The proof is in no backup.
    let made = rig.write("x.backup", Devices::With, &snapshot).unwrap();
    assert!(made.manifest.files.iter().all(|file| !file.path.contains("proof")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_has_an_end() {
    let rig = Rig::new().await;
    rig.work(1).await;
    let directory = rig.data().join("backup");
    let snapshot = rig.snapshots.prepare().await.unwrap();
    let proof = snapshot.proof().unwrap();
    assert_eq!(snapshot::LIFETIME.as_secs(), 3600);
    assert!(!rig.snapshots.expire_older(snapshot::LIFETIME).await && directory.exists());
    assert!(rig.snapshots.expire_older(Duration::ZERO).await && !directory.exists());
    assert!(!rig.snapshots.expire_older(Duration::ZERO).await);
    let done = Done {
        path: "/nowhere".to_owned(),
        bytes: 1,
        sha256: "00".repeat(32),
        domains: Vec::new(),
    };
    let late = rig.snapshots.complete(&snapshot.id, &proof, done).await;
    assert!(matches!(late, Err(SnapshotError::Unknown)));
    // And with the daemon.
    rig.snapshots.prepare().await.unwrap();
    assert!(directory.exists());
    rig.snapshots.end().await;
    assert!(!directory.exists());
    assert!(matches!(rig.snapshots.prepare().await, Err(SnapshotError::Stopping)));
    assert!(!directory.exists());
}
