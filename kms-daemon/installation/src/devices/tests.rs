//! Provisioning with real devices: in this process, and behind a TCP port.

use std::time::{Duration, Instant};

use host_driver::audit::NoLog;
use host_driver::pool::StockTargets;
use hsm_protocol::AuditTag;
use hsm_protocol::command::random::Random;

use super::*;
use kms_base::hex;

mod remote;

use self::remote::remote;

fn config(data: &Path, hsms: &[&str]) -> DevicesConfig {
    DevicesConfig {
        data: data.to_owned(),
        region: "us-east-1".to_owned(),
        hsms: hsms.iter().map(|hsm| (*hsm).to_owned()).collect(),
        firmware: None,
        link: None,
        roots: None,
    }
}

/// Starts and prepares; returns the steps that were taken.
fn prepared(
    data: &Path,
    hsms: &[&str],
    scope: Scope,
) -> Result<(Devices, Vec<String>), DevicesError> {
    let mut devices = Devices::start(&config(data, hsms))?;
    let mut steps = Vec::new();
    devices.prepare(scope, &mut |line, step| steps.push(format!("{line}: {step}")))?;
    Ok((devices, steps))
}

#[test]
fn fresh_devices_form_a_domain_once() {
    let dir = tempfile::tempdir().unwrap();
    let (devices, steps) = prepared(dir.path(), &["soft:2"], Scope::Own).unwrap();
    assert_eq!(steps, ["soft-0: founded a development domain", "soft-1: joined the domain"]);
    let domain = devices.registry.domain().unwrap();
    let known = ["soft-0", "soft-1"].map(|name| devices.registry.device(name).unwrap());
    drop(devices);

    let (devices, steps) = prepared(dir.path(), &["soft", "soft"], Scope::Own).unwrap();
    assert_eq!(steps, [""; 0]);
    assert_eq!(devices.registry.domain(), Some(domain));
    let pooled = devices.pool(Arc::new(NoLog), StockTargets::NONE).unwrap();
    let by = Instant::now() + Duration::from_secs(600);
    host_driver::block_on(pooled.pool.ready(by)).unwrap();
    let reply = pooled.pool.call_blocking(&Random { length: 8 }, AuditTag([1; 16])).unwrap();
    assert_eq!(reply.response().unwrap().bytes.len(), 8);
    while !report("us-east-1", &pooled.pool.health()).iter().all(|device| device.in_service) {
        assert!(Instant::now() < by);
        std::thread::sleep(Duration::from_millis(10));
    }
    let found = report("us-east-1", &pooled.pool.health());
    assert_eq!(found[1].device, Some(known[1].to_string()));
    assert_eq!(found[0].domain, Some(domain.to_string()));
    assert_eq!(found[0].board.as_deref(), Some("host"));
    pooled.shut_down();

    // A third one, later.
    let (_, steps) = prepared(dir.path(), &["soft:3"], Scope::Own).unwrap();
    assert_eq!(steps.last().unwrap(), "soft-2: joined the domain");
}

fn flash(data: &Path, name: &str) -> PathBuf {
    data.join(format!("hsm/us-east-1/{name}.flash"))
}

#[test]
fn lost_and_swapped_devices_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    drop(prepared(dir.path(), &["soft:2"], Scope::Own).unwrap());
    let kept = dir.path().join("kept");
    std::fs::rename(flash(dir.path(), "soft-0"), &kept).unwrap();
    let error = prepared(dir.path(), &["soft:2"], Scope::Own).err().unwrap();
    assert!(matches!(error, DevicesError::FlashMissing { .. }), "{error}");
    assert!(!flash(dir.path(), "soft-0").exists(), "no other device is made in its place");
    std::fs::copy(flash(dir.path(), "soft-1"), flash(dir.path(), "soft-0")).unwrap();
    let error = prepared(dir.path(), &["soft:2"], Scope::Own).err().unwrap();
    assert!(matches!(error, DevicesError::AnotherDevice { .. }), "{error}");
    std::fs::rename(kept, flash(dir.path(), "soft-0")).unwrap();

    // All of the domain is gone, and the pins with it: no new domain is made silently.
    let mut devices = prepared(dir.path(), &["soft:2"], Scope::Own).unwrap().0;
    let domain = devices.registry.domain().unwrap();
    devices.lines[0].name = "soft-9".to_owned();
    devices.lines.truncate(1);
    let fresh = remote().parse::<Endpoint>().unwrap();
    let Endpoint::Line(line) = fresh else { unreachable!() };
    devices.lines[0].connector = line.connector();
    let error = devices.prepare(Scope::Own, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, DevicesError::DomainLost { domain: lost, .. } if lost == domain));
}

/// Devices, as the keys of a domain see them.
fn with_keys(data: &Path, hsms: &[&str], domain: DomainId) -> (Devices, Vec<DevicesError>) {
    let store = data.join("store.redb");
    let bound = Bound { domain, devices: vec![DeviceId([7; 16])], store };
    let mut devices = Devices::start(&config(data, hsms)).unwrap().with_keys_of(Some(bound));
    let troubles = devices.bring_in(Scope::Own, &mut |_, step| panic!("{step}"));
    (devices, troubles)
}

#[test]
fn keys_without_their_devices_get_no_new_domain() {
    let dir = tempfile::tempdir().unwrap();
    let domain = DomainId([9; 16]);
    let (devices, troubles) = with_keys(dir.path(), &["soft:2"], domain);
    assert!(!devices.is_promising() && troubles.len() == 2, "{troubles:?}");
    let text = troubles[0].to_string();
    for part in [
        &domain.to_string(),
        &DeviceId([7; 16]).to_string(),
        "every one of them is permanently lost",
        "soft-0.flash (no file)",
        "store.redb",
        "fresh data directory",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!dir.path().join("hsm").exists(), "what is restored finds nothing in its place");

    // A device of another domain is none of theirs.
    drop(devices);
    let other = tempfile::tempdir().unwrap();
    drop(prepared(other.path(), &["soft:1"], Scope::Own).unwrap());
    std::fs::rename(other.path().join("hsm"), dir.path().join("hsm")).unwrap();
    std::fs::remove_dir_all(dir.path().join("hosts")).unwrap();
    std::fs::rename(other.path().join("hosts"), dir.path().join("hosts")).unwrap();
    let (_, troubles) = with_keys(dir.path(), &["soft:1"], domain);
    assert!(matches!(troubles[..], [DevicesError::AnotherDomain { .. }]), "{troubles:?}");
}

/// What is wrong with one device keeps the other from nothing, and a flash that is put back is used.
#[test]
fn a_missing_flash_of_two_is_told_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    drop(prepared(dir.path(), &["soft:2"], Scope::Own).unwrap());
    let kept = dir.path().join("kept");
    std::fs::rename(flash(dir.path(), "soft-1"), &kept).unwrap();
    let mut devices = Devices::start(&config(dir.path(), &["soft:2"])).unwrap();
    let troubles = devices.bring_in(Scope::Own, &mut |_, step| panic!("{step}"));
    assert!(devices.is_promising() && troubles.len() == 1, "{troubles:?}");
    let pooled = devices.pool(Arc::new(NoLog), StockTargets::NONE).unwrap();
    let by = Instant::now() + Duration::from_secs(600);
    host_driver::block_on(pooled.pool.ready(by)).unwrap();
    let report = || report("us-east-1", &pooled.pool.health());
    let said =
        |text: &str| report()[1].last_error.as_ref().is_some_and(|error| error.contains(text));
    while !said("kmsctl hsm forget soft-1") {
        assert!(Instant::now() < by, "{:?}", report());
        std::thread::sleep(Duration::from_millis(10));
    }
    std::fs::rename(kept, flash(dir.path(), "soft-1")).unwrap();
    while !report().iter().all(|device| device.in_service) {
        assert!(Instant::now() < by, "{:?}", report());
        std::thread::sleep(Duration::from_millis(10));
    }
    pooled.shut_down();

    // A fresh one takes its place once that was asked for.
    std::fs::remove_file(flash(dir.path(), "soft-1")).unwrap();
    let lost = super::devices_of(dir.path(), "us-east-1").unwrap()[1].1.clone();
    super::forget(dir.path(), DeviceId(hex::decode(&lost).unwrap())).unwrap();
    let (_, steps) = prepared(dir.path(), &["soft:2"], Scope::Own).unwrap();
    assert_eq!(steps.last().unwrap(), "soft-1: joined the domain");
}

#[test]
fn devices_of_the_time_of_one_region_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let devices = prepared(dir.path(), &["soft:1"], Scope::Own).unwrap().0;
    let domain = devices.registry.domain();
    drop(devices);
    let (hsm, former) = (dir.path().join("hsm"), dir.path().join("hsm-of-one-region"));
    // As it was; then with the power cut between the steps.
    std::fs::rename(hsm.join("us-east-1"), dir.path().join("kept")).unwrap();
    std::fs::remove_dir(&hsm).unwrap();
    std::fs::rename(dir.path().join("kept"), &hsm).unwrap();
    let check = || {
        let (devices, steps) = prepared(dir.path(), &["soft:1"], Scope::Own).unwrap();
        assert_eq!((devices.registry.domain(), steps.len()), (domain, 0));
    };
    check();
    std::fs::rename(hsm.join("us-east-1"), &former).unwrap();
    check();
    std::fs::rename(hsm.join("us-east-1"), &former).unwrap();
    std::fs::remove_dir(&hsm).unwrap();
    check();
}

#[test]
fn devices_of_others_are_provisioned_on_request_only() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (remote(), remote());
    let error = prepared(dir.path(), &[&first], Scope::Own).err().unwrap().to_string();
    assert!(error.ends_with(&format!("run: kmsctl hsm provision {first}")), "{error}");

    let (_, steps) = prepared(dir.path(), &[&first, &second], Scope::All).unwrap();
    assert_eq!(steps[0], format!("{first}: founded a development domain"));
    assert_eq!(steps[1], format!("{second}: joined the domain"));
    let (devices, steps) = prepared(dir.path(), &[&first, &second], Scope::Own).unwrap();
    assert!(steps.is_empty() && devices.registry.device(&first).is_some());

    // One of another data directory is of another domain.
    let other = tempfile::tempdir().unwrap();
    drop(prepared(other.path(), &["soft:1"], Scope::Own).unwrap());
    let error = prepared(other.path(), &["soft:1", &first], Scope::All).err().unwrap();
    assert!(error.to_string().contains("does not know this host"), "{error}");
}

#[test]
fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let start =
        |hsms: &[&str]| Devices::start(&config(dir.path(), hsms)).err().unwrap().to_string();
    assert!(start(&["hard"]).contains("soft[:N]"));
    assert!(start(&["qemu"]).contains("--firmware"));
    assert!(start(&["unix:/x", "unix:/x"]).contains("unix:/x is given twice"));
    let running = prepared(dir.path(), &["soft:1"], Scope::Own).unwrap();
    let second = Devices::start(&config(dir.path(), &["soft:1"])).unwrap();
    let error = second.lines[0].connector.connect().err().unwrap().to_string();
    assert!(error.contains("another device is running on it"), "{error}");
    drop(running);
}
