//! Operators whose keys are in PKCS#11 tokens, by the real programs, with SoftHSM2: they found a domain, sign its
//! changes, hold recovery shares and hand them over, and their keys are nowhere but in the tokens.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use hsm_tests::daemon::Daemon;
use hsm_tests::environment;
use hsm_tests::http::await_devices;
use hsm_tests::losses::{assert_opens, create, encrypt};
use hsm_tests::programs::skip;
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, domain, told};

/// Where Debian and Ubuntu put SoftHSM2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "87654321";

/// Whether there is SoftHSM2; said where it is missing.
fn is_there() -> bool {
    let there = Path::new(MODULE).exists();
    if !there {
        skip("operator_token", "SoftHSM2 is missing; apt-get install softhsm2");
    }
    there
}

/// An operator with a file, and two with a token each.
struct Tokens(People);

impl Tokens {
    fn new() -> Self {
        let people = People::new(&["cleo"]);
        fs::create_dir(people.path("tokens")).expect("a directory");
        let stored = people.text("tokens");
        let config = format!("directories.tokendir = {stored}\nobjectstore.backend = file\n");
        fs::write(people.path("softhsm2.conf"), config).expect("written");
        fs::write(people.path("pin"), format!("{PIN}\n")).expect("written");
        fs::write(people.path("wrong-pin"), "00000000\n").expect("written");
        let tokens = Self(people);
        for name in ["ada", "bea"] {
            let made = Command::new("softhsm2-util")
                .env("SOFTHSM2_CONF", tokens.0.path("softhsm2.conf"))
                .args(["--init-token", "--free", "--label", name])
                .args(["--so-pin", "12345678", "--pin", PIN])
                .output()
                .expect("SoftHSM2 has it");
            assert!(made.status.success(), "{made:?}");
            let public = tokens.0.text(&format!("{name}.pub"));
            let said = tokens.must(&["operator", "new", &public], &tokens.key(name));
            assert!(said["fingerprint"].is_string(), "{said}");
        }
        tokens
    }

    /// The key of an operator, as `kmsctl` takes it.
    fn key(&self, name: &str) -> Vec<String> {
        match name {
            "cleo" | "dora" => {
                let key = self.0.text(&format!("{name}.key"));
                let passphrase = self.0.text("passphrase");
                ["--key", &key, "--key-passphrase-file", &passphrase].map(str::to_owned).to_vec()
            }
            name => self.in_token(name, "pin"),
        }
    }

    fn in_token(&self, name: &str, pin: &str) -> Vec<String> {
        let pin = self.0.text(pin);
        ["--pkcs11", MODULE, "--token", name, "--pin-file", &pin].map(str::to_owned).to_vec()
    }

    /// Runs `kmsctl` where the tokens are plugged in: exit code, and what it said on both outputs.
    fn run(&self, arguments: &[&str], more: &[String]) -> (i32, String) {
        let output = Command::new(environment::kmsctl())
            .env("SOFTHSM2_CONF", self.0.path("softhsm2.conf"))
            .arg("--json")
            .args(arguments)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("kmsctl runs");
        let code = output.status.code().expect("an exit code");
        let [out, error] = [output.stdout, output.stderr];
        let [out, error] = [out, error].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        (code, if code == 0 { out } else { out + &error })
    }

    fn must(&self, arguments: &[&str], more: &[String]) -> Value {
        let (code, said) = self.run(arguments, more);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        serde_json::from_str(&said).expect("a document")
    }

    fn sign(&self, name: &str, file: &str) {
        let file = self.0.text(file);
        let shown = self.must(&["domain", "show", &file], &[]);
        let expect = shown["fingerprint"].as_str().expect("it").to_owned();
        self.must(&["domain", "sign", &file, "--expect", &expect], &self.key(name));
    }
}

/// Hands a share over for what `begin` wrote.
struct HandOver<'a> {
    tokens: &'a Tokens,
    backup: String,
    begun: Value,
    request: String,
}

impl<'a> HandOver<'a> {
    fn begin(tokens: &'a Tokens, place: &Place, backup: &str, what: &[&str], to: &str) -> Self {
        let directory = tokens.0.text(to);
        let file = format!("{backup}/domain.backup");
        let first = ["domain", what[0], "begin"];
        let begin = ["--backup", &file, "--output", &directory];
        let all = [&first, &what[1..], &begin, place.flags().as_slice()].concat();
        let begun = tokens.must(&all, &[]);
        let request = format!("{directory}/request");
        Self { tokens, backup: backup.to_owned(), begun, request }
    }

    /// `name` hands over the share of `of` with this key: exit code, and what was said.
    fn attempt(&self, (name, of): (&str, &str), key: &[String], output: &str) -> (i32, String) {
        let people = &self.tokens.0;
        let public =
            self.tokens.must(&["operator", "show", &people.text(&format!("{of}.pub"))], &[]);
        let id = public["fingerprint"].as_str().expect("it").replace('-', "");
        let share = format!("{}/{id}.share", self.backup);
        let (share_key, passphrase) =
            (people.text(&format!("{name}.share-key")), people.text("passphrase"));
        let expect = self.begun["requestFingerprint"].as_str().expect("it");
        let output = people.text(output);
        let arguments = [
            "domain",
            "hand-over",
            &self.request,
            "--share",
            &share,
            "--share-key",
            &share_key,
            "--share-passphrase-file",
            &passphrase,
            "--expect",
            expect,
            "--output",
            &output,
        ];
        self.tokens.run(&arguments, key)
    }

    fn by(&self, name: &str, output: &str) -> String {
        let (code, said) = self.attempt((name, name), &self.tokens.key(name), output);
        assert_eq!(code, 0, "{name}: {said}");
        self.tokens.0.text(output)
    }
}

/// Two of three operators have their keys in tokens. They found the domain, hold shares, and hand them over in a
/// drill; one of the tokens is lost, and its operator replaced; then everything is lost, and they bring it back.
#[test]
fn operators_with_tokens_bring_a_domain_back() {
    if !is_there() {
        return;
    }
    let tokens = Tokens::new();
    let people = &tokens.0;
    let mut daemon = Daemon::stopped(&["soft"]);
    let place = Place::of(daemon.data());
    let founding = people.text("founding");
    let operators = ["ada.pub", "bea.pub", "cleo.pub"].map(|name| people.text(name));
    let mut init = vec!["domain", "init", "soft", "--quorum", "2", "--emulated-members"];
    operators.iter().for_each(|path| init.extend(["--operator", path]));
    init.extend(["--output", &founding]);
    let (code, said) = told(&[init.as_slice(), &place.flags()].concat());
    assert_eq!(code, 0, "{said}");
    // Nothing is accepted from somebody who has the token and not the PIN.
    let sign = ["domain", "sign", &founding, "--expect", "0000"];
    let (code, said) = tokens.run(&sign, &tokens.in_token("ada", "wrong-pin"));
    assert_eq!(code, 2, "{said}");
    tokens.sign("ada", "founding");
    tokens.sign("bea", "founding");
    let (code, said) = people.submit(&place, &["founding"], &["--hsm", "soft"]);
    assert_eq!(code, 0, "{said}");
    daemon.restart();
    await_devices(&daemon, 1);
    let place = Place::at(&daemon);
    let blob = encrypt(&daemon, &create(&daemon));

    // Share keys of all three; the token says that they are its operator's.
    let id = domain(&place)["domain"].as_str().expect("an id").to_owned();
    let new_share = |name: &str, key: &[String]| {
        let file = people.text(&format!("{name}.share-key"));
        let passphrase = people.text("passphrase");
        let first = ["operator", "new-share", &file, "--domain", &id];
        tokens.run(&[&first[..], &["--share-passphrase-file", &passphrase]].concat(), key)
    };
    let (code, said) = new_share("ada", &tokens.in_token("ada", "wrong-pin"));
    assert!(code == 2 && said.contains("PKCS#11 module"), "{said}");
    assert!(!people.path("ada.share-key").exists(), "nothing is left of what was refused");
    // Nobody is there to be asked for the PIN, which has an option of its own.
    let (code, said) = new_share("ada", &tokens.in_token("ada", "pin")[..4]);
    assert!(code == 2 && said.contains("--pin-file FILE"), "{said}");
    let (code, said) = new_share("ada", &tokens.in_token("ada", "no-such-file"));
    assert!(code == 2 && said.contains("cannot read the PIN from"), "{said}");
    let mut changes = vec!["--recovery".to_owned(), "2".to_owned()];
    for name in ["ada", "bea", "cleo"] {
        let (code, said) = new_share(name, &tokens.key(name));
        assert_eq!(code, 0, "{name}: {said}");
        changes.extend(["--holder".to_owned(), people.text(&format!("{name}.holder"))]);
    }
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    let (code, said) = people.propose(&place, "hold", &changes);
    assert_eq!(code, 0, "{said}");
    tokens.sign("ada", "hold");
    tokens.sign("cleo", "hold");
    let (code, said) = people.submit(&place, &["hold"], &[]);
    assert_eq!(code, 0, "{said}");
    let back_up = |to: &str, data_to: &str| {
        let (to, from, passphrase) =
            (people.text(to), people.text(data_to), people.text("passphrase"));
        tokens.must(&[&["domain", "backup", &to][..], &place.flags()].concat(), &[]);
        let back_up = ["backup", &from, "--without-devices", "--passphrase-file", &passphrase];
        let (data, url) = (daemon.data().to_str().expect("UTF-8"), daemon.url());
        let (code, said) = told(&[&back_up[..], &["--data", data, "--url", url]].concat());
        assert_eq!(code, 0, "{said}");
        (to, from)
    };
    let passphrase = people.text("passphrase");
    let (backup, from) = back_up("backup", "data.backup");

    // A drill.
    let drill = HandOver::begin(&tokens, &place, &backup, &["drill"], "drill");
    for ((name, of), key, because) in [
        (("ada", "ada"), tokens.in_token("ada", "wrong-pin"), "PKCS#11 module"),
        (("ada", "ada"), tokens.in_token("bea", "pin"), "another operator's"),
        (("ada", "bea"), tokens.in_token("ada", "pin"), "another operator's"),
        (("bea", "ada"), tokens.in_token("ada", "pin"), "another share key"),
        (("ada", "ada"), tokens.in_token("dora", "pin"), "no token labelled"),
    ] {
        let (code, said) = drill.attempt((name, of), &key, "never");
        assert!(code == 2 && said.contains(because), "{because}: {said}");
        assert!(!people.path("never").exists(), "something was handed over");
    }
    let handed = [drill.by("ada", "ada.1"), drill.by("bea", "bea.1")];
    let directory = people.text("drill");
    let mut finish = vec!["domain", "drill", "finish", &directory];
    finish.extend(["--from", &from, "--passphrase-file", &passphrase]);
    handed.iter().for_each(|file| finish.extend(["--handover", file]));
    let drilled = tokens.must(&finish, &[]);
    assert_eq!((&drilled["opened"], &drilled["failed"]), (&json!(1), &json!([])), "{drilled}");

    // Bea's token is lost. Dora comes in her place, also as who holds a share; the domain key is replaced, and
    // what is backed up from then on has nothing for Bea.
    let (bea, dora) = (people.text("bea.pub"), people.text("dora.key"));
    let shown = tokens.must(&["operator", "show", &bea], &[]);
    let bea = shown["fingerprint"].as_str().expect("it").replace('-', "");
    let new = ["operator", "new", &dora, "--key-passphrase-file", &passphrase];
    tokens.must(&new, &[]);
    let (code, said) = new_share("dora", &tokens.key("dora"));
    assert_eq!(code, 0, "{said}");
    let holders = ["ada", "cleo", "dora"].map(|name| people.text(&format!("{name}.holder")));
    let dora = people.text("dora.pub");
    let mut replace = vec!["--remove-operator", &bea, "--add-operator", &dora, "--recovery", "2"];
    holders.iter().for_each(|holder| replace.extend(["--holder", holder]));
    let (code, said) = people.propose(&place, "replace", &replace);
    assert_eq!(code, 0, "{said}");
    tokens.sign("ada", "replace");
    tokens.sign("cleo", "replace");
    let (code, said) = people.submit(&place, &["replace"], &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(domain(&place)["domainKeys"], json!([1, 2]));
    let (backup, from) = back_up("backup-2", "data-2.backup");
    assert!(
        !Path::new(&format!("{backup}/{bea}.share")).exists(),
        "a share for the operator who left"
    );

    // Everything is lost, and restored on another machine.
    daemon.kill();
    let mut back = Daemon::stopped(&["soft"]);
    let data = back.data().to_str().expect("UTF-8").to_owned();
    fs::remove_dir_all(back.data()).expect("removed");
    let (code, said) = told(&["restore", &from, "--data", &data, "--passphrase-file", &passphrase]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(told(&["hsm", "forget", "soft-0", "--data", &data]).0, 0);
    let place = Place::of(back.data());
    let restore = HandOver::begin(&tokens, &place, &backup, &["restore", "soft-0"], "back");
    fs::copy(people.path("back/change"), people.path("change")).expect("carried");
    tokens.sign("ada", "change");
    tokens.sign("dora", "change");
    let handed = [restore.by("ada", "ada.2"), restore.by("cleo", "cleo.2")];
    let (file, change) = (format!("{backup}/domain.backup"), people.text("change"));
    let mut finish = vec!["domain", "restore", "finish", "soft-0", "--backup", &file];
    finish.extend(["--change", &change]);
    handed.iter().for_each(|file| finish.extend(["--handover", file]));
    tokens.must(&[finish.as_slice(), &place.flags()].concat(), &[]);
    back.restart();
    await_devices(&back, 1);
    assert_opens(&back, &blob);
}
