//! Operators with keys of their own, and their commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::{ctl, environment};

/// Where a domain is reached: a data directory, and the daemon that runs on it, if one does.
#[derive(Clone, Debug)]
pub struct Place {
    data: String,
    url: Option<String>,
    region: &'static str,
}

impl Place {
    /// No daemon runs there.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        let data = data.to_str().expect("UTF-8").to_owned();
        Self { data, url: None, region: "us-east-1" }
    }

    /// A daemon runs there.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    #[must_use]
    pub fn at(daemon: &Daemon) -> Self {
        Self { url: Some(daemon.url().to_owned()), ..Self::of(daemon.data()) }
    }

    /// The domain of another Region there.
    #[must_use]
    pub fn in_region(self, region: &'static str) -> Self {
        Self { region, ..self }
    }

    /// The flags of `kmsctl` that lead there.
    #[must_use]
    pub fn flags(&self) -> Vec<&str> {
        let url = self.url.iter().flat_map(|url| ["--url", url.as_str()]);
        ["--data", &self.data, "--region", self.region].into_iter().chain(url).collect()
    }
}

/// Some operators, each with a key in a file under a passphrase.
#[derive(Debug)]
pub struct People {
    dir: TempDir,
}

impl People {
    /// Operators of these names.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run, or refuses it.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let dir = crate::daemon::private_dir();
        let people = Self { dir };
        std::fs::write(people.path("passphrase"), "correct horse battery staple\n")
            .expect("written");
        std::fs::write(people.path("wrong"), "correct horse battery stable\n").expect("written");
        for name in names {
            let (code, made) = ctl::run(&[
                "operator",
                "new",
                &people.text(&format!("{name}.key")),
                "--key-passphrase-file",
                &people.text("passphrase"),
            ]);
            assert_eq!(code, 0, "{made}");
        }
        people
    }

    /// Where a file of theirs is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Signs a file; what it is after that.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run, or refuses it.
    pub fn sign(&self, who: &str, file: &str) -> Value {
        let (code, signed) = self.try_sign(who, file, "passphrase", None);
        assert_eq!(code, 0, "{who} {file}: {signed}");
        serde_json::from_str(&signed).expect("a document")
    }

    /// Signs a file, whose fingerprint is expected to be this one, else the right one.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run.
    #[must_use]
    pub fn try_sign(
        &self,
        who: &str,
        file: &str,
        passphrase: &str,
        expect: Option<&str>,
    ) -> (i32, String) {
        let file = self.text(file);
        let right = match expect {
            Some(_) => String::new(),
            None => ctl::run(&["domain", "show", &file]).1["fingerprint"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        told(&[
            "--json",
            "domain",
            "sign",
            &file,
            "--key",
            &self.text(&format!("{who}.key")),
            "--key-passphrase-file",
            &self.text(passphrase),
            "--expect",
            expect.unwrap_or(&right),
        ])
    }

    /// Proposes changes of the domain of a data directory.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run.
    #[must_use]
    pub fn propose(&self, place: &Place, file: &str, changes: &[&str]) -> (i32, String) {
        let file = self.text(file);
        let first = ["--json", "domain", "propose", "--output", &file];
        told(&[&first, place.flags().as_slice(), changes].concat())
    }

    /// The same, where it has to be possible, and signed by these.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run, or refuses it.
    pub fn agree(&self, place: &Place, file: &str, who: &[&str], changes: &[&str]) {
        let (code, said) = self.propose(place, file, changes);
        assert_eq!(code, 0, "{changes:?}: {said}");
        who.iter().for_each(|who| drop(self.sign(who, file)));
    }

    /// Hands files over to the domain of a data directory.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run.
    #[must_use]
    pub fn submit(&self, place: &Place, files: &[&str], more: &[&str]) -> (i32, String) {
        let files: Vec<_> = files.iter().map(|file| self.text(file)).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let flags = place.flags();
        told(&[&["domain", "submit"], flags.as_slice(), files.as_slice(), more].concat())
    }

    /// Begins to hand a file over, and is cut off after a while.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run.
    pub fn submit_cut_off(&self, place: &Place, file: &str, after: Duration) {
        let mut child = Command::new(environment::kmsctl())
            .args(["domain", "submit", &self.text(file)])
            .args(place.flags())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kmsctl runs");
        std::thread::sleep(after);
        let _ = child.kill();
        child.wait().expect("it ends");
    }

    /// Founds a production domain of three operators, two of whom have to sign, on a device.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run, or refuses it.
    pub fn found(&self, data: &Path, hsm: &str) {
        self.found_at(&Place::of(data), hsm);
    }

    /// The same, for the Region of a place.
    ///
    /// # Panics
    /// If `kmsctl` cannot be run, or refuses it.
    pub fn found_at(&self, place: &Place, hsm: &str) {
        let file = format!("founding-{}", place.region);
        let init = [
            "domain",
            "init",
            hsm,
            "--operator",
            &self.text("ada.pub"),
            "--operator",
            &self.text("bea.pub"),
            "--operator",
            &self.text("cleo.pub"),
            "--quorum",
            "2",
            "--emulated-members",
            "--output",
            &self.text(&file),
        ];
        let (code, said) = told(&[&init, place.flags().as_slice()].concat());
        assert_eq!(code, 0, "{said}");
        self.sign("ada", &file);
        self.sign("cleo", &file);
        let (code, said) = self.submit(place, &[&file], &["--hsm", hsm]);
        assert_eq!(code, 0, "{said}");
    }
}

/// The domain of a data directory, as `kmsctl domain show` has it.
///
/// # Panics
/// If `kmsctl` cannot be run, or cannot reach it.
#[must_use]
pub fn domain(place: &Place) -> Value {
    let (code, shown) = told(&[&["--json", "domain", "show"], place.flags().as_slice()].concat());
    assert_eq!(code, 0, "{shown}");
    serde_json::from_str(&shown).expect("a document")
}

/// Runs `kmsctl`: exit code, and what it said on both outputs.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn told(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(environment::kmsctl())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("kmsctl runs");
    let code = output.status.code().expect("an exit code");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    (code, if code == 0 { out } else { out + &error })
}
