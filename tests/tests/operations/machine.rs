//! A machine with the package installed, as far as `docs/operations.md` can tell, and the page's lines.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kms::primitives::Blob;
use hsm_tests::environment;
use hsm_tests::patience::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../docs/operations.md");
/// Paths of the page that are elsewhere here.
const PATHS: [&str; 3] = ["/var/lib/strongroom", "/backup", "/etc/strongroom"];
/// Any text, on the page.
const ANY: char = '…';
/// A line that is typed, and what is seen.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// On which machine; empty for the only one.
    pub(crate) on: String,
    pub(crate) command: String,
    pub(crate) seen: Vec<String>,
}

/// The commands of the page under their headings. What comes before the first one has none.
pub(crate) fn sections() -> Vec<(String, Vec<Step>)> {
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

pub(crate) fn section(heading: &str) -> Vec<Step> {
    let all: BTreeMap<_, _> = sections().into_iter().collect();
    all.get(heading).unwrap_or_else(|| panic!("no {heading} on the page")).clone()
}

/// A machine with the package installed, as far as the page can tell.
pub(crate) struct Machine {
    pub(crate) root: TempDir,
    /// Names on the page, and what they are here.
    names: Vec<(String, String)>,
}

impl Machine {
    /// With these values of `hsm` in its `kmsd.toml`, and a passphrase. The daemon does not run.
    pub(crate) fn new(hsms: &[&str], names: &[(&str, &str)]) -> Self {
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
        // On the other machine nobody asks for more than the name.
        machine.program("ssh", "[ \"$1\" = old ] && shift && exec \"$@\"");
        machine.program("kmsctl", KMSCTL);
        machine.follow("Once: a passphrase for backups");
        machine
    }

    /// The same, with the daemon running.
    pub(crate) fn running(hsms: &[&str], names: &[(&str, &str)]) -> Self {
        let machine = Self::new(hsms, names);
        machine.run("sudo systemctl start strongroom");
        machine
    }

    /// The same, with one more name.
    pub(crate) fn named(mut self, name: &str, here: &str) -> Self {
        self.names.push((name.to_owned(), here.to_owned()));
        self
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.root.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{text}\n")).expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }

    /// Where a path of the page is.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A text of the page as it is here.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().to_str().expect("UTF-8");
        let text = PATHS.iter().fold(text.to_owned(), |text, path| moved(&text, path, root));
        self.names.iter().fold(text, |text, (name, here)| text.replace(name.as_str(), here))
    }

    /// Types all lines under a heading.
    pub(crate) fn follow(&self, heading: &str) {
        self.type_in(&section(heading));
    }

    pub(crate) fn type_in(&self, steps: &[Step]) {
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
            // Of a log that a daemon is writing, the end is not proven yet.
            let unproven = step.command.contains("audit verify") && status == "3";
            assert!(status == "0" || unproven, "{}: {status}\n{seen}", step.command);
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

    /// Types a line that is not on the page, after what the page says once for all; what it writes.
    pub(crate) fn run(&self, command: &str) -> String {
        let once = section("");
        let lines = once.iter().map(|step| step.command.as_str()).chain([command]);
        let lines: Vec<_> = lines.map(|line| self.here(line)).collect();
        let output = self.bash(&lines.join("\n"));
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
            .stdin(Stdio::null())
            .output()
            .expect("bash runs")
    }

    pub(crate) fn json(&self, command: &str) -> Value {
        let text = self.run(&format!("kmsctl --json {command}"));
        serde_json::from_str(&text).expect("one document")
    }

    /// The status, once it is as it should be.
    pub(crate) fn status_with(&self, good: impl Fn(&Value) -> bool) -> Value {
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
    pub(crate) fn seal(&self) -> Blob {
        let client = self.client();
        block_on(async {
            let key = client.create_key().send().await.expect("made");
            let key = key.key_metadata.expect("metadata").key_id;
            let sealed = client.encrypt().key_id(key).plaintext(Blob::new(*b"kept")).send();
            sealed.await.expect("encrypted").ciphertext_blob.expect("a blob")
        })
    }

    pub(crate) fn opens(&self, blob: &Blob) -> bool {
        let client = self.client();
        let opened = block_on(client.decrypt().ciphertext_blob(blob.clone()).send());
        opened.is_ok_and(|opened| opened.plaintext == Some(Blob::new(*b"kept")))
    }

    /// The names of the events in the audit log.
    pub(crate) fn events(&self) -> String {
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
    pub(crate) fn only(&self, hsm: &str) {
        self.run(&format!(
            "sudo systemctl stop strongroom && \
             sed -i 's|^hsm = .*|hsm = [\"{hsm}\"]|' /etc/strongroom/kmsd.toml && \
             sudo systemctl start strongroom"
        ));
    }

    pub(crate) fn process(&self) -> Option<Pid> {
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
            let by = Instant::now() + PATIENCE;
            while is_alive(process) && Instant::now() < by {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Whether a process runs. One that has ended may wait for its parent forever.
fn is_alive(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// The package's user is not here, and whoever runs the test may do all of this, but for what that user
/// may not: it is not an administrator. Who may read and write what is seen by `tests/package/lifecycle.sh`.
const SUDO: &str = r#"
if [ -n "$SERVICE_USER" ]; then
    echo "strongroom is not in the sudoers file." >&2
    exit 1
fi
if [ "$1" = -u ]; then
    [ "$2" = strongroom ] || exit 1
    export SERVICE_USER=1
    shift 2
fi
if [ "$1" = install ]; then
    shift
    kept=()
    while [ $# -gt 0 ]; do
        case "$1" in -o|-g) [ "$2" = strongroom ] || exit 1; shift 2 ;; *) kept+=("$1"); shift ;; esac
    done
    exec install "${kept[@]}"
fi
# As sudo does: nothing of the caller's own environment, but for what these stand-ins need.
exec env -i PATH="$PATH" HOME="$HOME" ROOT="$ROOT" KMSD="$KMSD" KMSCTL="$KMSCTL" \
    SERVICE_USER="$SERVICE_USER" "$@""#;

/// Nobody but the service's user and the daemon's administrator by `sudo` gets at its data.
const KMSCTL: &str = r#"
if [ -z "$SERVICE_USER" ]; then
    echo "only the user strongroom may read /var/lib/strongroom" >&2
    exit 1
fi
export AWS_ENDPOINT_URL_KMS=$(cat "$ROOT/url" 2>/dev/null || echo http://127.0.0.1:9)
exec "$KMSCTL" "$@""#;

/// Starts and stops the daemon as its unit does, and waits for it.
const SYSTEMCTL: &str = r#"
[ "${*: -1}" = strongroom ] || exit 5
alive() { grep -s '^State:' "/proc/$(cat "$ROOT/pid")/status" | grep -qv Z; }
case "$1" in
start|enable)
    : > "$ROOT/log"
    setsid "$KMSD" --config "$ROOT/etc/strongroom/kmsd.toml" > "$ROOT/log" 2>&1 < /dev/null &
    echo $! > "$ROOT/pid"
    for _ in $(seq 12000); do
        sed -n 's/^listening on //p' "$ROOT/log" > "$ROOT/url"
        [ -s "$ROOT/url" ] && exit 0
        alive || break
        sleep 0.05
    done
    cat "$ROOT/log"
    exit 1 ;;
stop|disable)
    [ -e "$ROOT/pid" ] || exit 0
    kill -TERM "$(cat "$ROOT/pid")" 2>/dev/null
    while alive; do sleep 0.02; done
    rm -f "$ROOT/pid" "$ROOT/url" ;;
*) exit 4 ;;
esac"#;

/// The text with each `path` below `root`, but for what is within a longer path.
fn moved(text: &str, path: &str, root: &str) -> String {
    let mut parts = text.split(path);
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let within = done.ends_with(|last: char| last.is_alphanumeric() || "./_-".contains(last));
        if !within {
            done.push_str(root);
        }
        done.push_str(path);
        done.push_str(part);
    }
    done
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
