//! Recovery shares by the real programs: every device is lost, and operators bring the domain back together;
//! drills beside a daemon that serves; and what whoever has less than enough shares gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use host_driver::device::{Device, Options};
use host_driver::endpoint::Endpoint;
use host_driver::{CallError, HostKey, ceremony};
use hsm_protocol::domain::{DomainState, Vote};
use hsm_protocol::identity::Signature;
use hsm_protocol::token::recovery::Handover;
use hsm_protocol::{ErrorCode, ModuleState, OperatorId};
use hsm_tests::ctl;
use hsm_tests::daemon::{Daemon, private_dir};
use hsm_tests::device::Plug;
use hsm_tests::flash::domain_key;
use hsm_tests::http::{await_devices, get};
use hsm_tests::losses::{assert_opens, create, decrypt, encrypt};
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, domain, told};

const NAMES: [&str; 3] = ["ada", "bea", "cleo"];

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

fn parsed(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Operators with share keys.
struct Holders(People);

impl Holders {
    fn new() -> Self {
        Self(People::new(&NAMES))
    }

    /// Has each of them make a share key for a domain, and the domain take them as holders.
    fn hold(&self, place: &Place, named: &str) {
        let id = domain(place)["domain"].as_str().expect("an id").to_owned();
        let people = &self.0;
        let mut changes = vec!["--recovery".to_owned(), "2".to_owned()];
        for name in NAMES {
            let (code, said) = told(&[
                "operator",
                "new-share",
                &people.text(&format!("{name}.{named}")),
                "--domain",
                &id,
                "--share-passphrase-file",
                &people.text("passphrase"),
                "--key",
                &people.text(&format!("{name}.key")),
                "--key-passphrase-file",
                &people.text("passphrase"),
            ]);
            assert_eq!(code, 0, "{said}");
            // The ending of the file is replaced.
            fs::rename(
                people.path(&format!("{name}.holder")),
                people.path(&format!("{name}.{named}.holder")),
            )
            .expect("moved");
            changes.push("--holder".to_owned());
            changes.push(people.text(&format!("{name}.{named}.holder")));
        }
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let file = format!("hold-{named}");
        people.agree(place, &file, &["ada", "bea"], &changes);
        let (code, said) = people.submit(place, &[&file], &[]);
        assert_eq!(code, 0, "{said}");
    }

    fn id(&self, name: &str) -> String {
        let (_, shown) = ctl::run(&["operator", "show", &self.0.text(&format!("{name}.pub"))]);
        shown["fingerprint"].as_str().expect("it").replace('-', "")
    }

    /// The share of an operator in the directory of a backup.
    fn share(&self, backup: &Path, name: &str) -> PathBuf {
        backup.join(format!("{}.share", self.id(name)))
    }

    /// An operator hands a share over: exit code and what was said.
    fn try_hand_over(
        &self,
        request: &Path,
        (name, named): (&str, &str),
        share: &Path,
        expect: Option<&str>,
        output: &str,
    ) -> (i32, String) {
        let people = &self.0;
        let request = text(request);
        told(&[
            "--json",
            "domain",
            "hand-over",
            &request,
            "--share",
            &text(share),
            "--share-key",
            &people.text(&format!("{name}.{named}")),
            "--share-passphrase-file",
            &people.text("passphrase"),
            "--key",
            &people.text(&format!("{name}.key")),
            "--key-passphrase-file",
            &people.text("passphrase"),
            "--expect",
            expect.unwrap_or_default(),
            "--output",
            &people.text(output),
        ])
    }

    fn hand_over(&self, begun: &Begun, backup: &Path, name: &str, output: &str) -> String {
        let share = self.share(backup, name);
        let expect = Some(begun.fingerprint.as_str());
        let (code, said) =
            self.try_hand_over(&begun.request, (name, "share"), &share, expect, output);
        assert_eq!(code, 0, "{name}: {said}");
        self.0.text(output)
    }
}

/// What `begin` wrote.
struct Begun {
    directory: PathBuf,
    request: PathBuf,
    fingerprint: String,
}

fn begin(what: &str, place: &Place, hsm: &[&str], backup: &Path, directory: &Path) -> Begun {
    let (backup, to) = (text(&backup.join("domain.backup")), text(directory));
    let more = ["--backup", &backup, "--output", &to];
    let (code, said) =
        told(&[&["--json", "domain", what, "begin"], hsm, &more, &place.flags()].concat());
    assert_eq!(code, 0, "{said}");
    let begun = parsed(&said);
    assert!(begun["text"].as_str().expect("words").contains("opens there only"), "{begun}");
    Begun {
        directory: directory.to_owned(),
        request: directory.join("request"),
        fingerprint: begun["requestFingerprint"].as_str().expect("it").to_owned(),
    }
}

/// A backup of the installation without its devices.
fn back_up_data(daemon: &Daemon, people: &People, name: &str) -> String {
    let (file, data) = (people.text(name), text(daemon.data()));
    let passphrase = people.text("passphrase");
    let (code, said) = told(&[
        "backup",
        &file,
        "--without-devices",
        "--data",
        &data,
        "--url",
        daemon.url(),
        "--passphrase-file",
        &passphrase,
    ]);
    assert_eq!(code, 0, "{said}");
    file
}

fn back_up_domain(place: &Place, directory: &Path) -> Value {
    let to = text(directory);
    let (code, said) = told(&[&["--json", "domain", "backup", &to][..], &place.flags()].concat());
    assert_eq!(code, 0, "{said}");
    parsed(&said)
}

/// Every device is gone, and so is the disk. Two operators with their shares, two signatures, the backup of the
/// domain and that of the installation bring everything back; the old ciphertexts open through the port.
#[test]
fn what_was_lost_with_every_device_comes_back() {
    let holders = Holders::new();
    let people = &holders.0;
    let mut daemon = Daemon::stopped(&["soft:2"]);
    people.found(daemon.data(), "soft");
    let place = Place::of(daemon.data());
    people.agree(&place, "second", &["ada", "bea"], &["--add-device", "soft-1"]);
    assert_eq!(people.submit(&place, &["second"], &[]).0, 0);
    assert_eq!(told(&["hsm", "provision", "--data", &text(daemon.data()), "soft:2"]).0, 0);
    daemon.restart();
    await_devices(&daemon, 2);
    let place = Place::at(&daemon);
    let blobs: Vec<String> = (0..30).map(|_| encrypt(&daemon, &create(&daemon))).collect();

    // Nobody holds a share yet; one share is not enough to be allowed.
    let never = people.path("never");
    let to = text(&never);
    let (code, said) = told(&[&["domain", "backup", &to][..], &place.flags()].concat());
    assert!(code == 2 && said.contains("kmsctl operator new-share"), "{said}");
    assert!(!never.exists());
    holders.hold(&place, "share");
    let (code, said) = people.propose(
        &place,
        "one",
        &["--recovery", "1", "--holder", &people.text("ada.share.holder")],
    );
    assert!(code == 2 && said.contains("as many shares as the largest rule"), "{said}");
    let (_, shown) = ctl::text(&[&["domain", "show"][..], &place.flags()].concat());
    assert!(shown.contains("any 2 of these 3 operators together restore every key"), "{shown}");

    // The backups, while the daemon serves.
    let backup = people.path("backup");
    let made = back_up_domain(&place, &backup);
    assert_eq!((&made["threshold"], made["shares"].as_array().map(Vec::len)), (&json!(2), Some(3)));
    let data_backup = back_up_data(&daemon, people, "data.backup");

    // Everything is lost.
    daemon.kill();
    drop(daemon);

    // Another machine. First the data, then the domain.
    let mut back = Daemon::stopped(&["soft"]);
    let data = text(back.data());
    fs::remove_dir_all(back.data()).expect("removed");
    let passphrase = people.text("passphrase");
    let (code, said) =
        told(&["restore", &data_backup, "--data", &data, "--passphrase-file", &passphrase]);
    assert_eq!(code, 0, "{said}");
    let place = Place::of(back.data());
    let (directory, file) = (text(&people.path("no")), text(&backup.join("domain.backup")));
    let refused = [
        "domain", "restore", "begin", "soft-0", "--data", &data, "--backup", &file, "--output",
        &directory,
    ];
    let (code, said) = told(&refused);
    assert!(code == 2 && said.contains("kmsctl hsm forget soft-0"), "{said}");
    for line in ["soft-0", "soft-1"] {
        let (code, said) = told(&["hsm", "forget", line, "--data", &data]);
        assert_eq!(code, 0, "{said}");
    }
    let begun = begin("restore", &place, &["soft-0"], &backup, &people.path("restoring"));
    // No other domain is made of the device meanwhile, and nothing serves.
    back.restart();
    assert_ne!(decrypt(&back, &blobs[0]).status, 200);
    assert!(back.stop().success());

    let change = begun.directory.join("change");
    fs::copy(&change, people.path("change")).expect("carried");
    let cleo = holders.hand_over(&begun, &backup, "cleo", "cleo.handover");
    let finish = |handovers: &[&str]| {
        let (file, change) = (text(&backup.join("domain.backup")), people.text("change"));
        let mut all =
            vec!["domain", "restore", "finish", "soft-0", "--backup", &file, "--change", &change];
        handovers.iter().for_each(|it| all.extend(["--handover", it]));
        told(&[all.as_slice(), &place.flags()].concat())
    };
    let (code, said) = finish(&[&cleo]);
    assert!(code == 2 && said.contains("too few operators have signed the change"), "{said}");
    people.sign("ada", "change");
    people.sign("bea", "change");
    let (code, said) = finish(&[&cleo]);
    assert!(code == 2 && said.contains("1 shares are not enough"), "{said}");
    let (code, said) = finish(&[&cleo, &cleo]);
    assert!(code == 2 && said.contains("do not open together"), "twice the same is one: {said}");
    let ada = holders.hand_over(&begun, &backup, "ada", "ada.handover");
    let (code, said) = finish(&[&cleo, &ada]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = finish(&[&cleo, &ada]);
    assert_eq!(code, 0, "once more does no harm: {said}");

    // It serves, under a new domain key; tokens follow; the lost devices are none of it.
    back.restart();
    await_devices(&back, 1);
    blobs.iter().for_each(|blob| assert_opens(&back, blob));
    let now = domain(&Place::at(&back));
    assert_eq!(
        (&now["domainKeys"], now["devices"].as_array().map(Vec::len)),
        (&json!([1, 2]), Some(1))
    );
    assert_opens(&back, &encrypt(&back, &create(&back)));
    hsm_tests::patience::until("every token is under the new key", || {
        let rewraps = get(&back, "/readyz").json()["rewraps"][0].clone();
        rewraps["activeKey"] == json!(2) && rewraps["remaining"] == json!(0)
    });
    blobs.iter().for_each(|blob| assert_opens(&back, blob));
    let next = back_up_domain(&Place::at(&back), &people.path("next"));
    assert_eq!(next["version"], now["version"]);
    // To go back to the earlier state would be a second history.
    assert!(back.stop().success());
    let (code, said) = told(&[
        "domain", "restore", "begin", "soft-1", "--data", &data, "--backup", &file, "--output",
        &directory,
    ]);
    assert!(code == 2 && said.contains("a second history"), "{said}");
}

/// A drill opens keys of the backups in a fresh device while the daemon serves, and says so; one that would not
/// bring all keys back says that.
#[test]
fn a_drill_beside_a_daemon_that_serves() {
    let holders = Holders::new();
    let people = &holders.0;
    let mut daemon = Daemon::stopped(&["soft"]);
    people.found(daemon.data(), "soft");
    daemon.restart();
    await_devices(&daemon, 1);
    let place = Place::at(&daemon);
    let arns: Vec<String> = (0..40).map(|_| create(&daemon)).collect();
    let blobs: Vec<String> = arns.iter().map(|arn| encrypt(&daemon, arn)).collect();
    holders.hold(&place, "share");
    let backup = people.path("backup");
    back_up_domain(&place, &backup);
    let data_backup = back_up_data(&daemon, people, "data.backup");
    let passphrase = people.text("passphrase");
    let finish = |begun: &Begun, from: &str, sample: &str, handed: &[String]| {
        let directory = text(&begun.directory);
        let mut all = vec!["--json", "domain", "drill", "finish", &directory, "--sample", sample];
        all.extend(["--from", from, "--passphrase-file", &passphrase]);
        handed.iter().for_each(|it| all.extend(["--handover", it.as_str()]));
        told(&all)
    };

    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (daemon, blobs, stop, served) = (&daemon, &blobs, &stop, &served);
        let serving = scope.spawn(move || {
            for blob in blobs.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                assert_opens(daemon, blob);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        let begun = begin("drill", &place, &[], &backup, &people.path("drill"));
        let handed = ["bea", "cleo"]
            .map(|name| holders.hand_over(&begun, &backup, name, &format!("{name}.1")));
        let (code, said) = finish(&begun, &data_backup, "15", &handed[..1]);
        assert!(code == 2 && said.contains("1 shares are not enough"), "{said}");
        let (code, said) = finish(&begun, &data_backup, "15", &handed);
        assert_eq!(code, 0, "{said}");
        let shown = parsed(&said);
        assert_eq!((&shown["sample"], &shown["opened"]), (&json!(15), &json!(15)), "{shown}");
        assert_eq!((&shown["tokens"], &shown["failed"]), (&json!(40), &json!([])), "{shown}");
        assert!(!begun.directory.join("device").exists(), "the device is erased");
        assert!(!begun.directory.join("restored").exists(), "the data is gone");
        let files = fs::read_dir(&begun.directory).expect("a directory").count();
        assert_eq!(files, 1, "the request is left");
        stop.store(true, Ordering::Relaxed);
        serving.join().expect("no panic");
    });
    assert!(served.load(Ordering::Relaxed) > 20, "{served:?} requests were served meanwhile");
    assert_eq!(domain(&place)["version"], 2, "the domain is as it was");

    // In words, of all tokens; then with a key of after the backup: the drill says what would be missing.
    let maker = ["--rotate-key"];
    people.agree(&place, "rotate", &["ada", "bea"], &maker);
    assert_eq!(people.submit(&place, &["rotate"], &[]).0, 0);
    create(&daemon);
    let later = back_up_data(&daemon, people, "later.backup");
    let begun = begin("drill", &place, &[], &backup, &people.path("drill2"));
    let handed =
        ["ada", "cleo"].map(|name| holders.hand_over(&begun, &backup, name, &format!("{name}.2")));
    let (code, said) = finish(&begun, &later, "1000", &handed);
    assert_eq!(code, 1, "{said}");
    let shown: Value = serde_json::Deserializer::from_str(&said)
        .into_iter::<Value>()
        .next()
        .expect("a document")
        .expect("JSON");
    let failed = shown["failed"].as_array().expect("a list");
    assert!(!failed.is_empty(), "{shown}");
    assert!(failed[0]["reason"].as_str().expect("it").contains("under domain key 2"), "{shown}");
    assert_eq!(shown["sample"], json!(41));
}

/// Each share is one operator's, of one backup, for one device; a host that keeps all that passes through its
/// hands still opens nothing.
#[test]
fn less_than_enough_opens_nothing() {
    let holders = Holders::new();
    let people = &holders.0;
    let mut daemon = Daemon::stopped(&["soft"]);
    people.found(daemon.data(), "soft");
    let place = Place::of(daemon.data());
    holders.hold(&place, "share");
    let backup = people.path("backup");
    back_up_domain(&place, &backup);
    let again = people.path("again");
    back_up_domain(&place, &again);
    daemon.restart();
    await_devices(&daemon, 1);
    create(&daemon);
    assert!(daemon.stop().success());

    // Another domain of the same people.
    let elsewhere = private_dir();
    fs::rename(people.path("founding-us-east-1"), people.path("founded")).expect("moved");
    people.found(elsewhere.path(), "soft");
    let other = Place::of(elsewhere.path());
    let (code, said) = people.propose(
        &other,
        "foreign",
        &["--recovery", "2", "--holder", &people.text("ada.share.holder")],
    );
    assert!(code == 2 && said.contains("have it made for this one"), "{said}");
    holders.hold(&other, "other");
    let foreign = people.path("foreign");
    back_up_domain(&other, &foreign);

    // The device that is to restore is the attacker's host's; another one is at hand.
    let boards = tempfile::tempdir().expect("a directory");
    let (target, spare) = (Plug::empty(), Plug::empty());
    target.plug(&boards.path().join("target"));
    spare.plug(&boards.path().join("spare"));
    let fresh = private_dir();
    let begun =
        begin("restore", &Place::of(fresh.path()), &[target.line()], &backup, &people.path("go"));
    let expect = Some(begun.fingerprint.as_str());
    let ada = holders.share(&backup, "ada");
    let try_it = |who: (&str, &str), share: &Path, expect: Option<&str>| {
        let (code, said) = holders.try_hand_over(&begun.request, who, share, expect, "never");
        assert!(!people.path("never").exists(), "something was handed over: {said}");
        (code, said)
    };
    let wrong = "0000-0000-0000-0000-0000-0000-0000-0000";
    for (who, share, expect, because) in [
        (("ada", "share"), ada.clone(), Some(wrong), "nothing was signed"),
        (("bea", "share"), ada.clone(), expect, "another operator's"),
        (("ada", "other"), ada.clone(), expect, "another share key"),
        (("ada", "share"), holders.share(&again, "ada"), expect, "of another backup"),
        (("ada", "other"), holders.share(&foreign, "ada"), expect, "of another backup"),
    ] {
        let (code, said) = try_it(who, &share, expect);
        assert!(code == 2 && said.contains(because), "{because}: {said}");
    }
    // A share that was changed, in each of its parts; and a backup in it that was.
    let good = json_of(&ada);
    let bytes = part(&good["share"]);
    for at in [30, 60, 100, 140, 170, bytes.len() - 1] {
        let changed = people.path(&format!("changed-{at}"));
        let read = fs::read_to_string(&ada).expect("a file");
        let (from, to) = (base64(&bytes), base64(&flip(&bytes, at)));
        fs::write(&changed, read.replace(&from, &to)).expect("written");
        let (code, said) = try_it(("ada", "share"), &changed, expect);
        assert_eq!(code, 2, "{at}: {said}");
    }
    let mut made_up = good.clone();
    made_up["of"]["backup"] = json!(base64(&flip(&part(&good["of"]["backup"]), 200)));
    fs::write(people.path("made-up"), made_up.to_string()).expect("written");
    let (code, said) = try_it(("ada", "share"), &people.path("made-up"), expect);
    assert!(code == 2 && said.contains("of another backup"), "{said}");

    // What the host has seen once everybody has done their part.
    let handed = ["ada", "bea"]
        .map(|name| holders.hand_over(&begun, &backup, name, &format!("{name}.handover")));
    let change = begun.directory.join("change");
    fs::copy(&change, people.path("change")).expect("carried");
    people.sign("bea", "change");
    people.sign("cleo", "change");
    let of = json_of(&backup.join("domain.backup"));
    let state = DomainState::decode(&part(&of["state"])).expect("a state");
    let ballot = ballot(&state, &json_of(&people.path("change")));
    let of = part(&of["backup"]);
    let handover = |file: &String| part(&json_of(Path::new(file))["handover"]);
    let handovers: Vec<[u8; Handover::SIZE]> =
        handed.iter().map(|file| handover(file).try_into().expect("a handover")).collect();

    // Nothing of it is, or has, the domain key, which is in the flash of the device that is left.
    let flash = fs::read(daemon.data().join("hsm/us-east-1/soft-0.flash")).expect("a flash");
    let key = domain_key(&flash, state.domain.as_bytes());
    let mut seen = 0;
    for dir in
        [&backup, &again, &begun.directory, &people.path("change"), &PathBuf::from(&handed[0])]
    {
        visit(dir, &mut |path, content| {
            seen += 1;
            let decoded = everything(content);
            for half in key.chunks(16) {
                let found = decoded.iter().any(|bytes| bytes.windows(16).any(|it| it == half));
                assert!(!found, "the domain key is in {}", path.display());
            }
        });
    }
    assert!(seen >= 11, "{seen} files");

    // The host has a device of its own, and everything: it opens there in no way.
    let attacker = open(spare.line());
    attacker.authenticate(&HostKey::generate()).expect("a fresh device lets anybody in");
    let code =
        |outcome: Result<hsm_protocol::command::domain::DomainSummary, CallError>| match outcome {
            Err(CallError::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        };
    let restore = |backup: &[u8], handovers: &[[u8; Handover::SIZE]]| {
        code(attacker.restore_domain(backup, handovers, &ballot))
    };
    assert_eq!(restore(&of, &handovers), ErrorCode::RECOVERY_INVALID, "for another device");
    assert_eq!(restore(&of, &[]), ErrorCode::SHARES_MISSING);
    let renamed: Vec<[u8; Handover::SIZE]> = handovers
        .iter()
        .map(|handover| {
            let mut renamed = *handover;
            let at = Handover::SIZE - 64 - 48 - 33 - 16;
            renamed[at..at + 16].copy_from_slice(attacker.id().as_bytes());
            renamed
        })
        .collect();
    assert_eq!(restore(&of, &renamed), ErrorCode::RECOVERY_INVALID, "renamed");
    assert_eq!(attacker.status().expect("it answers").state, ModuleState::Uninitialised);
    // Nor does the right device take a backup with fewer shares, changed handovers, or another backup.
    let right = open(target.line());
    right.authenticate(&HostKey::generate()).expect("fresh");
    let restore = |backup: &[u8], handovers: &[[u8; Handover::SIZE]]| {
        code(right.restore_domain(backup, handovers, &ballot))
    };
    assert_eq!(restore(&of, &handovers[..1]), ErrorCode::SHARES_MISSING);
    for at in [1, 40, 90, 120, 200] {
        let mut changed = handovers.clone();
        changed[0][at] ^= 1;
        assert_eq!(restore(&of, &changed), ErrorCode::RECOVERY_INVALID, "byte {at}");
    }
    let second = part(&json_of(&again.join("domain.backup"))["backup"]);
    assert_eq!(restore(&second, &handovers), ErrorCode::RECOVERY_INVALID);
    for at in [5, 60, 110, 300] {
        assert_eq!(restore(&flip(&of, at), &handovers), ErrorCode::RECOVERY_INVALID, "byte {at}");
    }
    // As it was meant, it works: the refusals are not for another reason.
    right.restore_domain(&of, &handovers, &ballot).expect("enough of everything");
}

fn open(line: &str) -> Device {
    let Ok(Endpoint::Line(line)) = line.parse() else { panic!("{line} is a line") };
    Device::open(&*line.connector(), None, Options::default()).expect("it is there")
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON")
}

/// What is in Base64.
fn part(text: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let text = text.as_str().expect("a text");
    base64::engine::general_purpose::STANDARD.decode(text).expect("Base64")
}

/// What a signed file hands over to a device.
fn ballot(state: &DomainState, file: &Value) -> Vec<u8> {
    let bytes = |text: &Value| -> Vec<u8> {
        let text = text.as_str().expect("digits");
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("digits");
        (0..text.len()).step_by(2).map(byte).collect()
    };
    let vote = |row: &Value| Vote {
        operator: OperatorId(bytes(&row["operator"]).try_into().expect("an id")),
        signature: Signature::from_bytes(&bytes(&row["signature"]).try_into().expect("one")),
    };
    let votes: Vec<Vote> =
        file["signatures"].as_array().expect("a list").iter().map(vote).collect();
    let proposed = ceremony::read(state, part(&file["proposal"])).expect("a proposal");
    proposed.ballot(&votes).expect("short")
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] ^= 1;
    changed
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A file as it is, and what is in Base64 in it.
fn everything(content: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let runs = content.split(|byte| !in_base64(byte)).filter(|run| run.len() > 40);
    let decoded = runs.filter_map(|run| base64::engine::general_purpose::STANDARD.decode(run).ok());
    decoded.chain([content.to_vec()]).collect()
}

fn visit(path: &Path, seen: &mut dyn FnMut(&Path, &[u8])) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            visit(&entry.path(), seen);
        }
    } else {
        seen(path, &fs::read(path).expect("read"));
    }
}
