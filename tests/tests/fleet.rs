//! `kmsctl device` on a running daemon: devices are drained, resumed, added, removed and quarantined, and a
//! restart changes nothing of that.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::http::{await_devices, call, get};
use hsm_tests::losses::{create, readiness};
use hsm_tests::patience::until;
use hsm_tests::people::told;
use serde_json::{Value, json};

/// Runs `kmsctl device` as the first account's root.
fn device(daemon: &Daemon, arguments: &[&str]) -> (i32, String) {
    let credentials = daemon.credentials_file();
    let credentials = credentials.to_str().expect("UTF-8");
    let whole = [&["device"], arguments, &["--url", daemon.url(), "--credentials", credentials]];
    told(&whole.concat())
}

fn done(daemon: &Daemon, arguments: &[&str]) -> String {
    let (code, said) = device(daemon, arguments);
    assert_eq!(code, 0, "{said}\n{}", daemon.output());
    said
}

fn refused(daemon: &Daemon, arguments: &[&str], why: &str) {
    let (code, said) = device(daemon, arguments);
    assert!(code == 2 && said.contains(why), "{code}: {said}");
}

fn list(daemon: &Daemon) -> Vec<Value> {
    let credentials = daemon.credentials_file();
    let credentials = credentials.to_str().expect("UTF-8");
    let (_, listed) =
        ctl::run(&["device", "list", "--url", daemon.url(), "--credentials", credentials]);
    listed.as_array().expect("a list").clone()
}

/// Encrypts something that was not encrypted before: equal requests of one second have one signature.
fn encrypt(daemon: &Daemon, key: &str) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    let context = json!({ "number": number });
    let body = json!({ "KeyId": key, "Plaintext": "c2VjcmV0", "EncryptionContext": context });
    let answer = call(daemon, "Encrypt", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn again(daemon: &mut Daemon) {
    assert!(daemon.stop().success(), "{}", daemon.output());
    daemon.restart();
}

fn state(daemon: &Daemon, name: &str) -> String {
    let devices = list(daemon);
    let found = devices.iter().find(|device| device["Name"] == name);
    found.map_or_else(|| "none".to_owned(), |device| device["State"].as_str().unwrap().to_owned())
}

fn await_state(daemon: &Daemon, name: &str, wanted: &str) {
    until(format!("{name} is {wanted}"), || state(daemon, name) == wanted);
}

/// Whether the audit log has a record that contains this.
fn is_recorded(daemon: &Daemon, part: &str) -> bool {
    let files = fs::read_dir(daemon.data().join("audit")).expect("the log").flatten();
    let mut texts = files.filter_map(|file| fs::read(file.path()).ok());
    texts.any(|text| String::from_utf8_lossy(&text).contains(part))
}

/// Requests of several clients while something is done, none of which may fail.
fn under_load(daemon: &Daemon, key: &str, disturb: impl FnOnce()) {
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    encrypt(daemon, key);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        disturb();
        stop.store(true, Ordering::Relaxed);
    });
    assert!(count.into_inner() > 0);
}

#[test]
fn without_a_number_a_new_region_gets_a_device_for_each_processor_and_keeps_them() {
    let mut daemon = Daemon::start(&[]);
    let processors = thread::available_parallelism().expect("it is known").get().min(4);
    let names = |daemon: &Daemon| {
        await_devices(daemon, processors);
        let devices = list(daemon);
        let of = |device: &Value| (device["Name"].to_string(), device["DeviceId"].to_string());
        devices.iter().map(of).collect::<Vec<_>>()
    };
    let first = names(&daemon);
    assert_eq!(first.len(), processors, "{first:?}");
    let key = create(&daemon);
    encrypt(&daemon, &key);
    again(&mut daemon);
    assert_eq!(names(&daemon), first);
    encrypt(&daemon, &key);

    // Those of an installation that has fewer stay as many: nobody has asked for another.
    let mut daemon = Daemon::start(&["soft:1"]);
    daemon.replace_hsms(&[]);
    again(&mut daemon);
    assert_eq!(list(&daemon).len(), 1);
}

#[test]
fn a_device_is_drained_under_load_and_stays_drained() {
    let mut daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    let key = create(&daemon);
    under_load(&daemon, &key, || {
        let said = done(&daemon, &["drain", "soft-0", "--wait"]);
        assert!(said.contains("soft-0 is drained"), "{said}");
        let answered = list(&daemon)[0]["Answered"].as_u64();
        (0..20).for_each(|_| encrypt(&daemon, &key));
        assert_eq!(list(&daemon)[0]["Answered"].as_u64(), answered, "it gets nothing new");
        refused(&daemon, &["drain", "soft-1"], "last device");
        refused(&daemon, &["remove", "soft-1"], "--force");
        refused(&daemon, &["drain", "soft-7"], "soft-0, soft-1");
    });
    until("it is on record", || is_recorded(&daemon, "DrainDevice"));
    let (ready, problems, _) = readiness(&daemon);
    assert!(ready && problems.contains("kmsctl device resume soft-0"), "{problems}");
    again(&mut daemon);
    await_state(&daemon, "soft-1", "in service");
    assert_eq!(state(&daemon, "soft-0"), "drained");
    under_load(&daemon, &key, || {
        done(&daemon, &["resume", "soft-0"]);
        assert_eq!(state(&daemon, "soft-0"), "in service");
    });
    // By force, even the last one.
    done(&daemon, &["drain", "soft-0"]);
    done(&daemon, &["drain", "soft-1", "--force", "--wait"]);
    assert_eq!(get(&daemon, "/readyz").status, 503);
    done(&daemon, &["resume", "soft-1"]);
    encrypt(&daemon, &key);
    let device = &list(&daemon)[1];
    for known in ["DeviceId", "Firmware", "Board", "DomainId", "LatencyP99Us"] {
        assert!(!device[known].is_null(), "{known}: {device}");
    }
    assert!(device["KeySpecs"].as_array().is_some_and(|specs| specs.len() > 3), "{device}");
}

/// Devices behind ports, of one domain except the last.
struct Bench {
    plugs: Vec<Plug>,
    boards: tempfile::TempDir,
    daemon: Daemon,
}

impl Bench {
    /// A daemon on the first of two devices of one domain.
    fn start(hsms: usize) -> Self {
        let boards = tempfile::tempdir().expect("a directory");
        let plugs: Vec<Plug> = (0..3).map(|_| Plug::empty()).collect();
        for (number, plug) in plugs.iter().enumerate() {
            plug.plug(&boards.path().join(number.to_string()));
        }
        let lines: Vec<&str> = plugs.iter().map(Plug::line).collect();
        let mut daemon = Daemon::stopped(&lines[..hsms]);
        let data = daemon.data().to_str().expect("UTF-8");
        let (code, said) = told(&["hsm", "provision", "--data", data, lines[0], lines[1]]);
        assert_eq!(code, 0, "{said}");
        daemon.restart();
        await_devices(&daemon, hsms);
        Self { plugs, boards, daemon }
    }
}

#[test]
fn devices_are_added_and_removed_for_good() {
    let mut bench = Bench::start(1);
    let [first, second, fresh] = [0, 1, 2].map(|index| bench.plugs[index].line().to_owned());
    let daemon = &mut bench.daemon;
    let key = create(daemon);
    refused(daemon, &["add", "tcp:nowhere"], "is not a device");
    refused(daemon, &["add", "soft:1"], "restart kmsd");
    refused(daemon, &["add", &fresh], "not provisioned");
    refused(daemon, &["add", &first], "already");
    refused(daemon, &["add", "unix:/nonexistent/line"], "cannot be reached");
    assert_eq!(list(daemon).len(), 1);
    under_load(daemon, &key, || {
        done(daemon, &["add", &second]);
        assert_eq!(state(daemon, &second), "in service");
        // The one of the settings goes: the added one has its work.
        done(daemon, &["remove", &first]);
        assert_eq!(state(daemon, &first), "none");
    });
    assert!(is_recorded(daemon, "AddDevice") && is_recorded(daemon, "RemoveDevice"));
    again(daemon);
    await_state(daemon, &second, "in service");
    assert_eq!(list(daemon).len(), 1, "{:?}", list(daemon));
    encrypt(daemon, &key);
    done(daemon, &["add", &first]);
    done(daemon, &["remove", &second]);
    again(daemon);
    await_state(daemon, &first, "in service");
    assert_eq!(list(daemon).len(), 1, "{:?}", list(daemon));
    encrypt(daemon, &key);
}

#[test]
fn a_device_that_is_another_one_is_quarantined_until_it_is_resumed() {
    let mut bench = Bench::start(2);
    let line = bench.plugs[1].line().to_owned();
    let daemon = &mut bench.daemon;
    let key = create(daemon);
    under_load(daemon, &key, || {
        bench.plugs[1].unplug();
        until("it is gone", || state(daemon, &line) != "in service");
        bench.plugs[1].plug(&bench.boards.path().join("an impostor"));
        await_state(daemon, &line, "quarantined");
    });
    let quarantined =
        format!("strongroom_device_quarantined{{region=\"us-east-1\",device=\"{line}\"}} 1");
    let told_everywhere = |daemon: &Daemon| {
        let metrics = String::from_utf8(get(daemon, "/metrics").body).expect("text");
        assert!(metrics.contains(&quarantined), "{metrics}");
        let (ready, problems, _) = readiness(daemon);
        assert!(ready, "the other one serves");
        assert!(problems.contains("QUARANTINED"), "{problems}");
        let (code, said) = device(daemon, &["list"]);
        assert!(code == 1 && said.contains("QUARANTINED"), "{code}: {said}");
    };
    told_everywhere(daemon);
    until("it is on record", || is_recorded(daemon, "QuarantineDevice"));
    refused(daemon, &["drain", &line], "quarantined");
    refused(daemon, &["resume", &line], "is expected");
    // The right one is back, and nobody has looked at it: a restart does not help either.
    bench.plugs[1].plug(&bench.boards.path().join("1"));
    again(daemon);
    await_devices(daemon, 1);
    assert_eq!(state(daemon, &line), "quarantined");
    told_everywhere(daemon);
    done(daemon, &["resume", &line]);
    await_devices(daemon, 2);
    again(daemon);
    await_devices(daemon, 2);
    encrypt(daemon, &key);
}

/// Nobody but the first account's root administers devices.
#[test]
fn other_accounts_do_not_administer_devices() {
    let daemon = Daemon::start(&["soft:2"]);
    await_devices(&daemon, 2);
    let credentials = daemon.credentials_file();
    let root = ["--url", daemon.url(), "--credentials", credentials.to_str().expect("UTF-8")];
    let (code, account) = ctl::run(&[&["account", "create"], &root[..]].concat());
    assert_eq!(code, 0, "{account}");
    let text = |member: &str| account["AccessKey"][member].as_str().expect("a text").to_owned();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let profile = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        text("AccessKeyId"),
        text("SecretAccessKey")
    );
    fs::write(file.path(), profile).expect("written");
    let other = ["--url", daemon.url(), "--credentials", file.path().to_str().expect("UTF-8")];
    for command in [
        &["list"][..],
        &["drain", "soft-0"],
        &["remove", "soft-0"],
        &["resume", "soft-0"],
        &["add", "tcp:a:1"],
    ] {
        let (code, said) = told(&[&["device"], command, &other].concat());
        assert!(code == 2 && said.contains("AccessDenied"), "{code}: {said}");
    }
    assert_eq!(state(&daemon, "soft-0"), "in service");
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
}
