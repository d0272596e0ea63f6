//! `docs/operations.md`, typed line by line: every command of the page is run here, and what the page
//! says one sees is compared.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kms::primitives::Blob;
use hsm_firmware::board::host::{Config as DeviceConfig, FlashImage, HostDevice, Registry};
use hsm_tests::environment;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../docs/operations.md");
/// Paths of the page that are elsewhere here.
const PATHS: [&str; 3] = ["/var/lib/strongroom", "/backup", "/etc/strongroom"];
/// Any text, on the page.
const ANY: char = '…';
/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line that is typed, and what is seen.
#[derive(Debug, Clone)]
struct Step {
    /// On which machine; empty for the only one.
    on: String,
    command: String,
    seen: Vec<String>,
}

/// The commands of the page under their headings. What comes before the first one has none.
fn sections() -> Vec<(String, Vec<Step>)> {
    let mut sections: Vec<(String, Vec<Step>)> = vec![(String::new(), Vec::new())];
    let mut inside = false;
    for line in PAGE.lines() {
        let (_, steps) = sections.last_mut().expect("the first");
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(heading) = line.strip_prefix("## ") {
            sections.push((heading.to_owned(), Vec::new()));
        } else if inside {
            match line.split_once("$ ").filter(|(on, _)| on.chars().all(char::is_alphanumeric)) {
                Some((on, command)) => steps.push(Step {
                    on: on.to_owned(),
                    command: command.to_owned(),
                    seen: Vec::new(),
                }),
                None => steps.last_mut().expect("a command").seen.push(line.to_owned()),
            }
        }
    }
    sections.retain(|(_, steps)| !steps.is_empty());
    sections
}

fn section(heading: &str) -> Vec<Step> {
    let all: BTreeMap<_, _> = sections().into_iter().collect();
    all.get(heading).unwrap_or_else(|| panic!("no {heading} on the page")).clone()
}

/// A machine with the package installed, as far as the page can tell.
struct Machine {
    root: TempDir,
    /// Names on the page, and what they are here.
    names: Vec<(String, String)>,
}

impl Machine {
    /// With these values of `hsm` in its `kmsd.toml`, and a passphrase. The daemon does not run.
    fn new(hsms: &[&str], names: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for dir in ["var/lib", "backup", "etc/strongroom", "bin"] {
            fs::create_dir_all(root.path().join(dir)).expect("made");
        }
        let names = names.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let machine = Self { root, names };
        let hsms: Vec<_> = hsms.iter().map(|hsm| machine.here(hsm)).collect();
        let config = format!(
            "data = {:?}\nlisten = \"127.0.0.1:0\"\nregion = \"us-east-1\"\nhsm = {hsms:?}\n",
            machine.path("/var/lib/strongroom")
        );
        fs::write(machine.path("/etc/strongroom").join("kmsd.toml"), config).expect("written");
        machine.program("sudo", SUDO);
        machine.program("systemctl", SYSTEMCTL);
        machine.program("scp", "exec cp \"$@\"");
        machine.program(
            "kmsctl",
            "export AWS_ENDPOINT_URL_KMS=$(cat \"$ROOT/url\" 2>/dev/null || echo http://127.0.0.1:9)\n\
             exec \"$KMSCTL\" \"$@\"",
        );
        machine.follow("Once: a passphrase for backups");
        machine
    }

    /// The same, with the daemon running.
    fn running(hsms: &[&str], names: &[(&str, &str)]) -> Self {
        let machine = Self::new(hsms, names);
        machine.run("sudo systemctl start strongroom");
        machine
    }

    /// The same, with one more name.
    fn named(mut self, name: &str, here: &str) -> Self {
        self.names.push((name.to_owned(), here.to_owned()));
        self
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.root.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{text}\n")).expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }

    /// Where a path of the page is.
    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A text of the page as it is here.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        let text = PATHS
            .iter()
            .fold(text.to_owned(), |text, path| text.replace(path, &format!("{root}{path}")));
        self.names.iter().fold(text, |text, (name, here)| text.replace(name.as_str(), here))
    }

    /// Types all lines under a heading.
    fn follow(&self, heading: &str) {
        self.type_in(&section(heading));
    }

    fn type_in(&self, steps: &[Step]) {
        // What the page says once for all.
        let once = section("");
        let all: Vec<&Step> = once.iter().chain(steps).collect();
        let mut script = String::new();
        for (number, step) in all.iter().enumerate() {
            let command = self.here(&step.command);
            script.push_str(&format!(
                "echo '@@@{number}'\n{{ {command}\n}} 2>&1\necho \"@@@= $?\"\n"
            ));
        }
        let output = self.bash(&script);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for (number, step) in all.iter().enumerate() {
            let begun = text.split_once(&format!("@@@{number}\n")).map(|(_, rest)| rest);
            let (seen, rest) = begun
                .and_then(|rest| rest.split_once("@@@= "))
                .unwrap_or_else(|| panic!("{} was not run: {text}", step.command));
            let status = rest.lines().next().unwrap_or_default();
            assert_eq!(status, "0", "{}\n{seen}", step.command);
            self.compare(step, seen);
        }
    }

    /// What the page says one sees must be seen, in this order.
    fn compare(&self, step: &Step, seen: &str) {
        let mut lines = seen.lines();
        for expected in &step.seen {
            let wanted = self.here(expected);
            assert!(
                wanted.trim() == "…" || lines.any(|line| matches(&wanted, line)),
                "{}: {expected:?} is not seen in:\n{seen}",
                step.command
            );
        }
    }

    /// Types a line that is not on the page; what it writes.
    fn run(&self, command: &str) -> String {
        let output = self.bash(&self.here(command));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}{wrong}");
        text
    }

    fn bash(&self, script: &str) -> Output {
        let root = self.root.path();
        Command::new("/bin/bash")
            .arg("-c")
            .arg(script)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", root.join("bin").display()))
            .env("HOME", root)
            .env("ROOT", root)
            .env("KMSD", environment::kmsd())
            .env("KMSCTL", environment::kmsctl())
            .env("FINGERPRINT", self.here("FINGERPRINT"))
            .stdin(Stdio::null())
            .output()
            .expect("bash runs")
    }

    fn json(&self, command: &str) -> Value {
        let text = self.run(&format!("kmsctl --json {command}"));
        serde_json::from_str(&text).expect("one document")
    }

    /// The status, once it is as it should be.
    fn status_with(&self, good: impl Fn(&Value) -> bool) -> Value {
        let by = Instant::now() + PATIENCE;
        loop {
            let status = self.json("status");
            if good(&status) {
                return status;
            }
            assert!(Instant::now() < by, "the status stays {status:#}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn client(&self) -> Client {
        let text = fs::read_to_string(self.path("/var/lib/strongroom").join("credentials"))
            .expect("the daemon made it");
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let found = lines.find(|(key, _)| key.trim() == name).expect("complete").1;
            found.trim().to_owned()
        };
        let (id, secret) = (value("aws_access_key_id"), value("aws_secret_access_key"));
        let url = fs::read_to_string(self.root.path().join("url")).expect("it runs");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(url.trim())
            .credentials_provider(Credentials::new(id, secret, None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Client::from_conf(config)
    }

    /// Something encrypted under a new key.
    fn seal(&self) -> Blob {
        let client = self.client();
        block_on(async {
            let key = client.create_key().send().await.expect("made");
            let key = key.key_metadata.expect("metadata").key_id;
            let sealed = client.encrypt().key_id(key).plaintext(Blob::new(*b"kept")).send();
            sealed.await.expect("encrypted").ciphertext_blob.expect("a blob")
        })
    }

    fn opens(&self, blob: &Blob) -> bool {
        let client = self.client();
        let opened = block_on(client.decrypt().ciphertext_blob(blob.clone()).send());
        opened.is_ok_and(|opened| opened.plaintext == Some(Blob::new(*b"kept")))
    }

    /// The names of the events in the audit log.
    fn events(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.path("/var/lib/strongroom/audit")).expect("a log") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                text.push_str(&fs::read_to_string(path).expect("read"));
            }
        }
        text
    }

    /// Has only these devices from the next start on.
    fn only(&self, hsm: &str) {
        self.run(&format!(
            "sudo systemctl stop strongroom && \
             sed -i 's|^hsm = .*|hsm = [\"{hsm}\"]|' /etc/strongroom/kmsd.toml && \
             sudo systemctl start strongroom"
        ));
    }

    fn process(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.root.path().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            if thread::panicking() {
                let log = fs::read_to_string(self.root.path().join("log"));
                eprintln!("--- kmsd\n{}---", log.unwrap_or_default());
            }
            let _ = kill_process(process, Signal::KILL);
            while test_kill_process(process).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// The package's user is not here, and whoever runs the test may do all of this.
const SUDO: &str = r#"
if [ "$1" = install ]; then
    shift
    kept=()
    while [ $# -gt 0 ]; do
        case "$1" in -o|-g) shift 2 ;; *) kept+=("$1"); shift ;; esac
    done
    exec install "${kept[@]}"
fi
exec "$@""#;

/// Starts and stops the daemon as its unit does, and waits for it.
const SYSTEMCTL: &str = r#"
[ "${*: -1}" = strongroom ] || exit 5
case "$1" in
start|enable)
    : > "$ROOT/log"
    setsid "$KMSD" --config "$ROOT/etc/strongroom/kmsd.toml" > "$ROOT/log" 2>&1 < /dev/null &
    echo $! > "$ROOT/pid"
    for _ in $(seq 1200); do
        sed -n 's/^listening on //p' "$ROOT/log" > "$ROOT/url"
        [ -s "$ROOT/url" ] && exit 0
        kill -0 "$(cat "$ROOT/pid")" 2>/dev/null || break
        sleep 0.05
    done
    cat "$ROOT/log"
    exit 1 ;;
stop|disable)
    [ -e "$ROOT/pid" ] || exit 0
    kill -TERM "$(cat "$ROOT/pid")" 2>/dev/null
    while kill -0 "$(cat "$ROOT/pid")" 2>/dev/null; do sleep 0.02; done
    rm -f "$ROOT/pid" "$ROOT/url" ;;
*) exit 4 ;;
esac"#;

/// How many devices are in service.
fn in_service(status: &Value) -> usize {
    let devices = status["devices"].as_array().into_iter().flatten();
    devices.filter(|device| device["inService"] == true).count()
}

/// Whether a line is as the page says.
fn matches(wanted: &str, line: &str) -> bool {
    let parts: Vec<&str> = wanted.split(ANY).collect();
    let (Some((first, rest)), line) = (parts.split_first(), line.trim_end()) else { return false };
    let Some((last, middle)) = rest.split_last() else { return line == *first };
    let Some(mut left) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(task)
}

/// A fresh device behind a TCP port; its line.
fn device() -> String {
    let config =
        DeviceConfig { flash: FlashImage::Memory, sealing_key: None, registry: Registry::default() };
    let device = HostDevice::spawn(config).expect("it starts");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let writer = stream.expect("a line");
            device.attach(writer.try_clone().expect("cloned"), writer).expect("it runs");
        }
    });
    format!("tcp:{address}")
}

/// A machine with these of three devices, provisioned, and the daemon running.
fn with_lines(hsms: &[&str]) -> Machine {
    let lines = [device(), device(), device()];
    let names = [
        ("tcp:hsm-a:9000", lines[0].as_str()),
        ("tcp:hsm-b:9000", &lines[1]),
        ("tcp:hsm-c:9000", &lines[2]),
    ];
    let machine = Machine::new(hsms, &names);
    machine.run(&format!("kmsctl hsm provision --data /var/lib/strongroom {}", hsms.join(" ")));
    machine.run("sudo systemctl start strongroom");
    machine
}

fn data(machine: &Machine) -> String {
    machine.path("/var/lib/strongroom").display().to_string()
}

/// A test for each heading, and the list of them.
macro_rules! page {
    ($($test:ident: $heading:literal, $body:expr;)+) => {
        $(
            #[test]
            fn $test() {
                let body: fn(&str) = $body;
                body($heading);
            }
        )+

        #[test]
        fn every_command_of_the_page_is_run() {
            // The first one is typed before each of the others.
            let run = ["", $($heading),+];
            let on_page: Vec<String> = sections().into_iter().map(|(name, _)| name).collect();
            assert_eq!(on_page, run);
        }
    };
}

page! {
    a_passphrase: "Once: a passphrase for backups", |_| {
        let machine = Machine::new(&["soft"], &[]);
        let file = machine.path("/etc/strongroom/backup.passphrase");
        assert_eq!(fs::read(&file).expect("made").len(), 33);
        assert_eq!(fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
    };
    what_there_is: "How are we?", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        machine.seal();
        machine.status_with(|status| status["losses"][0]["keys"] == 1);
        machine.follow(heading);
        let text = machine.run("kmsctl status");
        let risk = text.split_once("AT RISK\n").expect("it is told of").1;
        assert!(risk.lines().all(|line| line.chars().count() <= 80), "{risk}");
        // The first start with a fresh domain has said so.
        let log = fs::read_to_string(machine.root.path().join("log")).expect("read");
        assert!(log.contains("If soft-0 is lost, every key that us-east-1 gets is lost"), "{log}");
    };
    a_backup: "Back up", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        let (blob, process) = (machine.seal(), machine.process());
        machine.follow(heading);
        assert_eq!(machine.process(), process, "nothing was stopped");
        assert!(machine.opens(&blob));
        let status = machine.status_with(|status| !status["lastBackup"].is_null());
        assert_eq!(status["losses"], serde_json::json!([]), "{status:#}");
        let path = machine.path("/backup/strongroom.1").display().to_string();
        assert_eq!(status["lastBackup"]["path"], path);
        let events = machine.events();
        assert!(events.contains("\"CompleteBackup\"") && events.contains(&path));
        // What it was made of is not left in the data directory.
        assert!(!machine.path("/var/lib/strongroom/backup").exists());
    };
    a_look_at_a_backup: "Check a backup", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        machine.seal();
        machine.follow("Back up");
        machine.follow(heading);
    };
    a_restore: "Restore", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        let before = machine.seal();
        machine.follow("Back up");
        let after = machine.seal();
        machine.follow(heading);
        assert!(machine.opens(&before) && !machine.opens(&after));
        assert!(machine.events().contains("\"RestoreBackup\""));
        assert!(machine.path("/var/lib/strongroom.old/store.redb").exists());
        machine.run(&format!("kmsctl audit verify {}/audit", data(&machine)));
        let status = machine.status_with(|status| !status["lastBackup"].is_null());
        assert_eq!(status["losses"], serde_json::json!([]), "{status:#}");
    };
    an_upgrade: "Upgrade", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        let blob = machine.seal();
        machine.follow(heading);
        assert!(machine.opens(&blob));
    };
    a_move: "Move to another machine", |heading| {
        let old = Machine::running(&["soft"], &[]);
        let blob = old.seal();
        let moved = old.path("/backup/moving").display().to_string();
        let new = Machine::new(&["soft"], &[]).named("FILE-ON-OLD", &moved);
        fs::copy(old.path("/etc/strongroom/backup.passphrase"), new.path("/etc/strongroom/backup.passphrase"))
            .expect("it came along");
        let steps = section(heading);
        let (first, second): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| step.on == "old");
        old.type_in(&first);
        let of_old = |step: Step| {
            let command = step.command.replace("old:/backup/moving", "FILE-ON-OLD");
            Step { command, ..step }
        };
        let second: Vec<Step> = second.into_iter().map(of_old).collect();
        new.type_in(&second);
        assert!(new.opens(&blob));
        assert!(old.process().is_none());
    };
    a_second_device: "Let a second device join", |heading| {
        let machine = with_lines(&["tcp:hsm-a:9000"]);
        let blob = machine.seal();
        machine.status_with(|status| status["losses"][0]["keys"] == 1);
        machine.follow(heading);
        let status = machine.status_with(|status| in_service(status) == 2);
        assert_eq!(status["losses"], serde_json::json!([]), "{status:#}");
        machine.only("tcp:hsm-b:9000");
        assert!(machine.opens(&blob));
    };
    a_new_device_on_a_line: "Replace a device on a line", |heading| {
        let machine = with_lines(&["tcp:hsm-a:9000", "tcp:hsm-b:9000"]);
        let blob = machine.seal();
        machine.follow(heading);
        machine.only("tcp:hsm-c:9000");
        assert!(machine.opens(&blob));
    };
    a_new_device_in_the_directory: "Replace a device in the data directory", |heading| {
        let machine = Machine::running(&["soft:2"], &[]);
        let blob = machine.seal();
        machine.run("sudo systemctl stop strongroom");
        let flash = machine.path("/var/lib/strongroom/hsm/us-east-1/soft-1.flash");
        fs::remove_file(&flash).expect("it was there");
        machine.follow(heading);
        assert!(machine.opens(&blob) && flash.exists());
        machine.status_with(|status| in_service(status) == 2);
    };
    a_host_goes: "Take a host away", |heading| {
        let machine = with_lines(&["tcp:hsm-a:9000"]);
        let blob = machine.seal();
        let other = Machine::new(&["tcp:hsm-a:9000"], &[]);
        let key = other.json(&format!("hsm key --data {}", data(&other)));
        let key = key["cryptoUser"].as_str().expect("a key").to_owned();
        machine.run("sudo systemctl stop strongroom");
        let enrolled = machine.json(&format!("hsm enrol tcp:hsm-a:9000 --key {key} --data {}", data(&machine)));
        machine.run("sudo systemctl start strongroom");
        let host = enrolled["host"].as_str().expect("a host").to_owned();
        let machine = machine.named("FINGERPRINT", &host);
        machine.follow(heading);
        assert!(machine.opens(&blob));
        machine.run("sudo systemctl stop strongroom");
        let hosts = machine.json(&format!("hsm hosts tcp:hsm-a:9000 --data {}", data(&machine)));
        assert!(!hosts.to_string().contains(&host), "{hosts}");
    };
    a_device_goes: "Take a device away", |heading| {
        let machine = with_lines(&["tcp:hsm-a:9000", "tcp:hsm-b:9000"]);
        let blob = machine.seal();
        machine.follow(heading);
        assert!(machine.opens(&blob));
        let state = machine.run("kmsctl --json hsm status tcp:hsm-b:9000 || true");
        assert!(state.contains("\"Zeroised\"") || state.contains("\"Uninitialised\""), "{state}");
    };
    all_goes: "Take everything away", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        machine.seal();
        machine.follow("Back up");
        machine.follow(heading);
        for path in ["/var/lib/strongroom", "/backup/strongroom.1"] {
            assert!(!machine.path(path).exists(), "{path}");
        }
    };
    a_new_beginning: "Start anew", |heading| {
        let machine = Machine::running(&["soft"], &[]);
        let blob = machine.seal();
        machine.run("sudo systemctl stop strongroom");
        fs::remove_file(machine.path("/var/lib/strongroom/hsm/us-east-1/soft-0.flash"))
            .expect("it was there");
        machine.follow(heading);
        assert!(!machine.opens(&blob));
        assert!(machine.opens(&machine.seal()));
        assert!(machine.path("/var/lib/strongroom.lost/audit").exists());
    };
}
