//! `kmsctl hsm hosts`, `remove`, `self-test`, `reset` and `zeroise`, as an operator uses them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use host_driver::device::{Device, Options};
use host_driver::endpoint::{Endpoint, Line};
use host_driver::error::CallError;
use host_driver::host_key::HostKey;
use hsm_protocol::ErrorCode;
use hsm_tests::emulator::{Attachment, Emulator, FLASH};
use hsm_tests::environment;
use hsm_tests::flash::domain_key;
use hsm_tests::patience::PATIENCE;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

/// Exit codes: well, not well, could not be done.
const GOOD: i32 = 0;
const BAD: i32 = 1;
const FAILED: i32 = 2;

/// What a command left.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("an exit code");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(self) -> Value {
        assert_eq!(self.code, GOOD, "{self:?}");
        serde_json::from_str(&self.out).expect("one document")
    }

    fn failed(self, because: &str) {
        assert_eq!(self.code, FAILED, "{self:?}");
        assert!(self.err.contains(because), "{because}: {self:?}");
    }
}

/// An operator with a data directory.
struct Operator(TempDir);

impl Operator {
    fn new() -> Self {
        Self(hsm_tests::daemon::private_dir())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(environment::kmsctl());
        command.arg("hsm").args(arguments).env("STRONGROOM_DATA", self.0.path());
        command
    }

    /// Runs a command with nobody at a terminal.
    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        Ended::of(command.stdin(Stdio::null()).output().expect("kmsctl runs"))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    /// Runs a command at a terminal, where this is typed.
    fn type_in(&self, typed: &str, arguments: &[&str]) -> Ended {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let name = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
        let flags = i32::try_from(OFlags::NOCTTY.bits()).expect("a flag");
        let terminal = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name);
        let mut keyboard = File::from(master);
        writeln!(keyboard, "{typed}").expect("typed");
        let mut command = self.command(arguments);
        command.stdin(terminal.expect("a terminal"));
        let output = command.output().expect("kmsctl runs");
        drop(keyboard);
        Ended::of(output)
    }

    fn host(&self, name: &str) -> HostKey {
        HostKey::load_or_generate(&self.0.path().join("hosts").join(name)).expect("a host key")
    }
}

fn connect(line: &Path) -> Device {
    let Ok(Endpoint::Line(line)) = format!("unix:{}", line.display()).parse() else {
        panic!("{line:?} is a line")
    };
    let connector = Line::connector(&line);
    let options = Options { patience: PATIENCE, deadline: PATIENCE };
    Device::open(&*connector, None, options).expect("the device introduces itself")
}

fn last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}

fn roles(hosts: &Value) -> Vec<&str> {
    let rows = hosts["hosts"].as_array().expect("rows").iter();
    let mut roles: Vec<_> = rows.map(|row| row["role"].as_str().expect("a role")).collect();
    roles.sort_unstable();
    roles
}

/// The life of a device at the end of a line, from first to second identity.
#[test]
fn an_emulated_device_from_provisioning_to_a_new_identity() {
    let directory = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::boot(directory.path(), Attachment::CONSOLE);
    emulator.await_start();
    let line = &format!("unix:{}", emulator.line().display());
    let (ours, theirs) = (Operator::new(), Operator::new());

    ours.run(&["hosts", line]).failed("kmsctl hsm provision");
    ours.run(&["reset", line]).failed("Uninitialised");
    assert_eq!(ours.run(&["provision", line]).code, GOOD);
    theirs.run(&["hosts", line]).failed("no host keys");

    // Hosts come and go.
    let key = theirs.json(&["key"])["cryptoUser"].as_str().expect("a key").to_owned();
    theirs.run(&["hosts", line]).failed("does not know the host");
    assert_eq!(ours.run(&["enrol", line, "--key", &key]).code, GOOD);
    let hosts = ours.json(&["hosts", line]);
    assert_eq!(roles(&hosts), ["CryptoUser", "CryptoUser"]);
    let text = theirs.run(&["hosts", line]);
    assert_eq!(text.code, GOOD, "any host may ask: {text:?}");
    assert!(text.out.lines().all(|line| line.len() <= 80), "{text:?}");
    let (guest, own) = (theirs.host("crypto-user.pem"), ours.host("crypto-user.pem"));
    connect(emulator.line()).authenticate(&guest).expect("enrolled");
    let prefix = &guest.id().to_string()[..12];
    // A host is not an operator.
    theirs.run(&["remove", line, prefix, "--yes"]).failed("kmsctl domain propose");
    ours.run(&["remove", line, "", "--yes"]).failed("does not know a host");
    ours.run(&["remove", line, prefix]).failed("--yes");
    ours.type_in("yes", &["remove", line, prefix]).failed("nothing was changed");
    assert_eq!(ours.json(&["hosts", line]), hosts, "nothing has changed so far");
    assert_eq!(ours.type_in(&prefix[..8], &["remove", line, prefix]).code, GOOD);
    assert_eq!(roles(&ours.json(&["hosts", line])), ["CryptoUser"]);
    match connect(emulator.line()).authenticate(&guest) {
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)) => {}
        other => panic!("a removed host got {other:?}"),
    }
    theirs.run(&["hosts", line]).failed("does not know the host");

    let tested = theirs.run(&["self-test", line]);
    tested.failed("does not know the host");
    let tested = ours.json(&["self-test", line]);
    let specs = tested["keySpecs"].as_array().expect("names").len();
    assert!(tested["tests"].as_u64().expect("a number") > specs as u64, "{tested}");
    assert!(tested["durationUs"].as_u64().expect("a number") > 0, "{tested}");
    assert_eq!((&tested["passed"], &tested["state"]), (&true.into(), &"Operational".into()));

    // A line that another program has, and keeps: who waited for it would wait for good.
    let busy = emulator.connect();
    ours.run(&["hosts", line]).failed("stop it first");
    drop(busy);

    // The domain key is in the flash of this board, which seals nothing.
    let (before, domain) = {
        let device = connect(emulator.line());
        device.authenticate(&own).expect("enrolled");
        (device.id().to_string(), device.domain().expect("answered").expect("a domain").domain)
    };
    let image = directory.path().join(FLASH);
    let flash = fs::read(&image).expect("the flash");
    let domain_key = domain_key(&flash, domain.as_bytes());

    // Nothing but the right fingerprint will do.
    let stranger = "00000000000000000000000000000000";
    ours.run(&["zeroise", line]).failed("no terminal");
    ours.run(&["zeroise", line, "--yes", "--device", stranger]).failed("nothing was changed");
    theirs.run(&["zeroise", line, "--yes"]).failed("does not know the host");
    let wrong = ours.type_in("00000000", &["zeroise", line]);
    assert!(wrong.err.contains(&before) && wrong.err.contains(&domain.to_string()), "{wrong:?}");
    assert!(wrong.err.contains("every key of the domain is"), "{wrong:?}");
    wrong.failed("nothing was changed");
    assert_eq!(ours.json(&["status", line])[0]["state"], "Operational");

    let right = ours.type_in(&before[..8], &["zeroise", line]);
    assert_eq!(right.code, GOOD, "{right:?}");
    assert!(right.out.contains("Zeroised") && right.out.contains("kmsctl hsm reset"), "{right:?}");
    let flash = fs::read(&image).expect("the flash");
    for half in domain_key.chunks(16) {
        assert_eq!(last(&flash, half), None, "the domain key is in the flash");
    }
    ours.run(&["hosts", line]).failed("kmsctl hsm reset");

    let reset = ours.json(&["reset", line]);
    assert_eq!(reset["before"]["state"], "Zeroised");
    assert_eq!(reset["after"]["state"], "Uninitialised");
    assert_ne!(reset["after"]["device"], before);
    assert_eq!(reset["after"]["device"], connect(emulator.line()).id().to_string());

    // It is as good as new: with a new data directory it serves.
    let next = Operator::new();
    assert_eq!(next.run(&["provision", line]).code, GOOD);
    assert_eq!(roles(&next.json(&["hosts", line])), ["CryptoUser"]);
}

/// A damaged record is there again after each restart, and the command says so.
#[test]
fn a_device_whose_error_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut emulator = Emulator::boot(directory.path(), Attachment::CONSOLE);
    emulator.await_start();
    let line = format!("unix:{}", emulator.line().display());
    let operator = Operator::new();
    assert_eq!(operator.run(&["provision", &line]).code, GOOD);
    let signature = connect(emulator.line()).identity().signature.to_bytes();
    emulator.kill();
    drop(emulator);
    // Layout 1 of the identity: version u8 | signing, link and join key | signature
    let image = directory.path().join(FLASH);
    let mut flash = fs::read(&image).expect("the flash");
    let records: Vec<_> =
        (96..flash.len()).filter(|at| flash[*at..].starts_with(&signature)).collect();
    assert!(!records.is_empty(), "an identity record");
    for signature in records {
        flash[signature - 96] ^= 1;
    }
    fs::write(&image, flash).expect("written");

    let emulator = Emulator::boot(directory.path(), Attachment::CONSOLE);
    emulator.await_start();
    operator.run(&["zeroise", &line, "--yes"]).failed("kmsctl hsm reset");
    let reset = operator.run(&["reset", &line, "--json"]);
    assert_eq!(reset.code, BAD, "{reset:?}");
    let document: Value = serde_json::from_str(&reset.out).expect("one document");
    for when in ["before", "after"] {
        assert_eq!(document[when]["state"], "Error", "{document}");
        assert!(document[when]["error"].is_string(), "{document}");
    }
    let text = operator.run(&["reset", &line]);
    assert_eq!(text.code, BAD, "{text:?}");
    assert!(text.out.contains("do not use the device"), "{text:?}");
}

/// The devices that the daemon keeps in its data directory, while no daemon runs.
#[test]
fn an_in_process_device_of_a_data_directory() {
    let operator = Operator::new();
    operator.run(&["hosts", "soft-0"]).failed("there is no soft-0");
    assert_eq!(operator.run(&["provision", "soft:2"]).code, GOOD);
    operator.run(&["hosts", "soft:2"]).failed("not one device");
    assert_eq!(roles(&operator.json(&["hosts", "soft-1"])), ["CryptoUser"]);
    let tested = operator.json(&["self-test", "soft-1"]);
    assert_eq!(tested["passed"], true, "{tested}");
    let own = operator.host("crypto-user.pem").id().to_string();
    operator.run(&["remove", "soft-1", &own, "--yes"]).failed("the only host");
    let guest = Operator::new().json(&["key"])["cryptoUser"].as_str().expect("a key").to_owned();
    let enrolled = operator.json(&["enrol", "soft-1", "--key", &guest, "--role", "auditor"]);
    assert_eq!(roles(&operator.json(&["hosts", "soft-1"])), ["Auditor", "CryptoUser"]);
    // soft-0 was not asked, and follows when it is in service again: this does it.
    assert_eq!(roles(&operator.json(&["hosts", "soft-0"])), ["CryptoUser"]);
    assert_eq!(operator.run(&["provision", "soft:2"]).code, GOOD);
    assert_eq!(roles(&operator.json(&["hosts", "soft-0"])), ["Auditor", "CryptoUser"]);
    let guest = enrolled["host"].as_str().expect("a host").to_owned();
    assert_eq!(operator.json(&["remove", "soft-0", &guest, "--yes"])["host"], guest);

    let before = operator.json(&["hosts", "soft-1"])["device"].as_str().expect("id").to_owned();
    let done = operator.json(&["zeroise", "soft-1", "--yes", "--device", &before]);
    assert_eq!((&done["state"], &done["members"]), (&"Zeroised".into(), &2.into()), "{done}");
    let reset = operator.json(&["reset", "soft-1"]);
    assert_eq!(reset["after"]["state"], "Uninitialised", "{reset}");
    let after = &reset["after"]["device"];
    assert_ne!(*after, before);

    // It joins again, as the new device that it is.
    let provisioned = operator.run(&["provision", "soft:2"]);
    assert_eq!(provisioned.code, GOOD, "{provisioned:?}");
    assert!(provisioned.err.contains("soft-1: joined the domain"), "{provisioned:?}");
    assert_eq!(operator.json(&["hosts", "soft-1"])["device"], *after);

    // A daemon has the directory: said at once.
    let lock = OpenOptions::new().write(true).open(operator.0.path().join("lock")).expect("it");
    lock.try_lock().expect("no daemon runs");
    operator.run(&["hosts", "soft-0"]).failed("another kmsd or kmsctl");
}
