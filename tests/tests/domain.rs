//! Domains that only their operators change together: ceremonies by the real programs, and the attacks
//! of somebody who has less than a quorum of them.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aws_sdk_kms::primitives::Blob;
use host_driver::device::{Device, Options};
use host_driver::endpoint::Endpoint;
use host_driver::{CallError, HostKey};
use hsm_tests::ctl;
use hsm_tests::daemon::{Daemon, private_dir};
use hsm_tests::device::Plug;
use hsm_tests::http::{await_devices, get};
use hsm_tests::losses::{assert_opens, create, encrypt};
use hsm_tests::patience::until;
use hsm_tests::sdk::client_in;
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, domain, told};

#[path = "domain/attacks.rs"]
mod attacks;
const NAMES: [&str; 3] = ["ada", "bea", "cleo"];

fn readiness(daemon: &Daemon) -> Value {
    get(daemon, "/readyz").json()
}

/// A device of somebody else's, at the end of a line, as a host of a data directory.
fn device(line: &str, host: &HostKey) -> Device {
    let Ok(Endpoint::Line(line)) = line.parse() else { panic!("{line} is a line") };
    let device = Device::open(&*line.connector(), None, Options::default()).expect("it is there");
    device.authenticate(host).expect("a host of the domain");
    device
}

fn host_of(data: &Path) -> HostKey {
    HostKey::load(&data.join("hosts/crypto-user.pem")).expect("a host key")
}

/// Two of three operators found a domain, add a device and hosts, and put one out again; all by files,
/// while the daemon serves.
#[test]
fn from_a_first_day_to_a_second_device() {
    let people = People::new(&NAMES);
    let boards = tempfile::tempdir().expect("a directory");
    let (one, two) = (Plug::empty(), Plug::empty());
    one.plug(&boards.path().join("one"));
    two.plug(&boards.path().join("two"));
    let mut daemon = Daemon::stopped(&[one.line()]);
    let data = daemon.data().to_owned();
    let text = data.to_str().expect("UTF-8").to_owned();

    // What cannot be a production domain is said before anybody signs.
    let init = |more: &[&str]| {
        let (ada, bea) = (people.text("ada.pub"), people.text("bea.pub"));
        let file = people.text("refused");
        let first = ["domain", "init", one.line(), "--data", &text, "--output", &file];
        told(&[&first[..], &["--operator", &ada, "--operator", &bea], more].concat())
    };
    for (more, because) in [
        (&["--quorum", "1", "--emulated-members"][..], "at least two signatures"),
        (&["--quorum", "3", "--emulated-members"], "2 operators cannot be 3"),
        (&["--quorum", "2"], "--emulated-members"),
        (&["--quorum", "2", "--emulated-members", "--operator", &people.text("ada.pub")], "twice"),
    ] {
        let (code, said) = init(more);
        assert!(code == 2 && said.contains(because), "{more:?}: {said}");
    }
    assert!(!people.path("refused").exists());

    people.found(&data, one.line());
    let (code, said) =
        people.submit(&Place::of(&data), &["founding-us-east-1"], &["--hsm", one.line()]);
    assert_eq!(code, 0, "once more does no harm: {said}");
    daemon.restart();
    await_devices(&daemon, 1);
    let place = Place::at(&daemon);
    let blob = encrypt(&daemon, &create(&daemon));
    let status = readiness(&daemon);
    assert_eq!(status["devices"][0]["domainKind"], "production", "{status}");
    assert!(status["developmentDomains"].is_null(), "{status}");
    assert!(!daemon.output().contains("DEVELOPMENT DOMAIN"));

    // A host of another machine, and the second device, by copies that two people sign apart.
    let other = private_dir();
    let other_text = other.path().to_str().expect("UTF-8");
    let (_, key) = ctl::run(&["hsm", "key", "--data", other_text]);
    let key = key["cryptoUser"].as_str().expect("a key");
    let changes = ["--add-host", key, "--add-device", two.line()];
    let (code, said) = people.propose(&place, "more", &changes);
    assert_eq!(code, 0, "{said}");
    let shown: Value = serde_json::from_str(&said).expect("a document");
    let words = shown["text"].as_str().expect("words");
    for part in
        ["gets the domain keys", "IN PROCESS", "is admitted", "2 operators", "Signed by: nobody"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    fs::copy(people.path("more"), people.path("more-bea")).expect("carried");
    people.sign("ada", "more");
    people.sign("bea", "more-bea");
    let (code, said) = people.submit(&place, &["more"], &[]);
    assert!(code == 2 && said.contains("too few operators"), "{said}");
    let (code, said) = people.submit(&place, &["more", "more-bea"], &[]);
    assert_eq!(code, 0, "{said}");
    let now = domain(&place);
    assert_eq!((&now["version"], now["hosts"].as_array().map(Vec::len)), (&json!(2), Some(2)));
    assert_eq!(now["devices"].as_array().map(Vec::len), Some(2));
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());

    // Another one does not join by that, whatever the daemon's machine asks for.
    let stranger = Plug::empty();
    stranger.plug(&boards.path().join("stranger"));
    let (code, said) = told(&["hsm", "provision", "--data", &text, one.line(), stranger.line()]);
    let advice = format!("kmsctl domain propose --add-device {}", stranger.line());
    assert!(code == 2 && said.contains(&advice), "{said}");

    // The second device takes the keys over; then it serves alone.
    let (code, said) = told(&["hsm", "provision", "--data", &text, one.line(), two.line()]);
    assert_eq!(code, 0, "{said}");
    drop(device(two.line(), &host_of(other.path())));
    daemon.replace_hsms(&[one.line(), two.line()]);
    daemon.restart();
    await_devices(&daemon, 2);
    one.unplug();
    assert_opens(&daemon, &blob);

    // The host is put out while a device is away, which follows when it is back.
    let id = host_of(other.path()).id().to_string();
    people.agree(&Place::at(&daemon), "less", &["bea", "cleo"], &["--remove-host", &id[..8]]);
    let (code, said) = people.submit(&Place::at(&daemon), &["less"], &[]);
    assert_eq!(code, 0, "{said}");
    one.plug(&boards.path().join("one"));
    await_devices(&daemon, 2);
    until("both devices tell the new version", || {
        let status = readiness(&daemon);
        let devices = status["devices"].as_array().expect("devices").iter();
        devices.map(|device| device["domainVersion"].clone()).eq([3, 3])
    });
    assert!(daemon.stop().success());
    let audit = ctl::verify(&data.join("audit"));
    assert!(audit.0, "{}", audit.1);
    for line in [one.line(), two.line()] {
        let Ok(Endpoint::Line(found)) = line.parse() else { panic!("{line} is a line") };
        let opened = Device::open(&*found.connector(), None, Options::default()).expect("there");
        let refused = opened.authenticate(&host_of(other.path()));
        assert!(matches!(refused, Err(CallError::Handshake(_))), "{line}: {refused:?}");
    }
}

/// A signature is for one change of one state of one domain, and files say what they are.
#[test]
fn what_is_not_agreed_is_refused() {
    let people = People::new(&NAMES);
    let daemon = Daemon::stopped(&["soft"]);
    let elsewhere = private_dir();
    people.found(daemon.data(), "soft");
    let place = &Place::of(daemon.data());
    fs::remove_file(people.path("founding-us-east-1")).expect("removed");
    people.found(elsewhere.path(), "soft");
    let host = |_| {
        let dir = private_dir();
        let (_, key) = ctl::run(&["hsm", "key", "--data", dir.path().to_str().expect("UTF-8")]);
        key["cryptoUser"].as_str().expect("a key").to_owned()
    };
    let [first, second] = [1, 2].map(host);

    // Who signs says what they expect to sign, and can.
    let (code, said) = people.propose(place, "one", &["--add-auditor", &first]);
    assert_eq!(code, 0, "{said}");
    let wrong = "0000-0000-0000-0000-0000-0000-0000-0000";
    for (who, passphrase, expect, because) in [
        ("ada", "passphrase", Some(wrong), "nothing was signed"),
        ("ada", "wrong", None, "does not open"),
    ] {
        let (code, said) = people.try_sign(who, "one", passphrase, expect);
        assert!(code == 2 && said.contains(because), "{because}: {said}");
    }
    let stranger = People::new(&["eve"]);
    fs::copy(stranger.path("eve.key"), people.path("eve.key")).expect("copied");
    let (code, said) = people.try_sign("eve", "one", "passphrase", None);
    assert!(code == 2 && said.contains("not an operator"), "{said}");

    // One operator is one, however often.
    people.sign("ada", "one");
    fs::copy(people.path("one"), people.path("copy")).expect("copied");
    people.sign("ada", "copy");
    let (code, said) = people.submit(place, &["one", "copy"], &[]);
    assert!(code == 2 && said.contains("too few"), "{said}");

    // Another change of the same state, signed before the first was made; then another domain.
    people.agree(place, "other", &["ada", "bea"], &["--add-auditor", &second]);
    let (code, said) = people.submit(place, &["one", "other"], &[]);
    assert!(code == 2 && said.contains("another proposal"), "{said}");
    people.sign("bea", "one");
    let (code, said) = people.submit(&Place::of(elsewhere.path()), &["one"], &[]);
    assert!(code == 2 && said.contains("for another domain"), "{said}");
    assert_eq!(people.submit(place, &["one"], &[]).0, 0);
    for stale in ["one", "other"] {
        let (code, said) = people.submit(place, &[stale], &[]);
        assert!(code == 2 && said.contains("for another domain, version or state"), "{said}");
    }

    // Signatures under another proposal, and a state that was changed in the file.
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(people.path(name)).expect("a file")).expect("JSON")
    };
    people.agree(place, "next", &["ada", "bea"], &["--remove-host", &first_host(place)]);
    let (mut forged, good) = (read("other"), read("next"));
    forged["signatures"] = good["signatures"].clone();
    fs::write(people.path("forged"), forged.to_string()).expect("written");
    let (code, said) = people.submit(place, &["forged"], &[]);
    assert!(code == 2 && said.contains("has a signature that is not"), "{said}");
    let mut forged = good.clone();
    forged["state"] = read("other")["state"].clone();
    fs::write(people.path("forged"), forged.to_string()).expect("written");
    let (code, said) = people.submit(place, &["forged"], &[]);
    assert!(code == 2 && said.contains("cannot be made"), "{said}");
    assert_eq!(domain(place)["version"], 2);

    // Nobody may leave less behind than the rules need.
    let ada = domain(place)["operators"][0].as_str().expect("an id").to_owned();
    for (changes, because) in [
        (&["--remove-operator", &ada, "--quorum", "3"][..], "cannot be proposed"),
        (&["--quorum", "1"], "cannot be proposed"),
        (&["--emulated-members", "no"], "cannot be proposed"),
    ] {
        let (code, said) = people.propose(place, "never", changes);
        assert!(code == 2 && said.contains(because), "{changes:?}: {said}");
    }
}

/// The fingerprint of the host that was added last.
fn first_host(place: &Place) -> String {
    let hosts = domain(place)["hosts"].clone();
    hosts.as_array().and_then(|all| all.last()?.as_str().map(str::to_owned)).expect("a host")
}

/// Of two ceremonies at once one is made, and the devices agree on which.
#[test]
fn of_two_ceremonies_at_once_one_is_made() {
    let people = People::new(&NAMES);
    let mut daemon = Daemon::stopped(&["soft"]);
    people.found(daemon.data(), "soft");
    daemon.restart();
    let place = Place::at(&daemon);
    for round in 0..4 {
        let files = ["a", "b", "c"].map(|name| format!("{name}{round}"));
        for file in &files {
            let dir = private_dir();
            let (_, key) = ctl::run(&["hsm", "key", "--data", dir.path().to_str().expect("UTF-8")]);
            let key = key["cryptoUser"].as_str().expect("a key");
            people.agree(&place, file, &["ada", "bea"], &["--add-auditor", key]);
        }
        let codes = thread::scope(|scope| {
            let (people, place) = (&people, &place);
            let submit = |file| scope.spawn(move || people.submit(place, &[file], &[]));
            let all: Vec<_> = files.iter().map(|file| submit(file.as_str())).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<_>>()
        });
        let made = codes.iter().filter(|(code, _)| *code == 0).count();
        assert_eq!(made, 1, "{codes:?}");
        assert_eq!(domain(&place)["version"], round + 2);
    }
}

/// `kmsctl` is killed anywhere between the steps of a ceremony. It was made or not, is made by the same
/// file after that, and all devices come to the same state.
#[test]
fn a_ceremony_that_is_cut_off_is_made_or_not() {
    let people = People::new(&NAMES);
    let mut daemon = Daemon::stopped(&["soft:2"]);
    let data = daemon.data().to_owned();
    let place = &Place::of(&data);
    people.found(&data, "soft");
    people.agree(place, "second", &["ada", "bea"], &["--add-device", "soft-1"]);
    assert_eq!(people.submit(place, &["second"], &[]).0, 0);
    let text = data.to_str().expect("UTF-8").to_owned();
    assert_eq!(told(&["hsm", "provision", "--data", &text, "soft:2"]).0, 0);
    let mut made = [0, 0];
    for round in 0..12_u32 {
        let before = domain(place)["version"].as_u64().expect("a version");
        let dir = private_dir();
        let (_, key) = ctl::run(&["hsm", "key", "--data", dir.path().to_str().expect("UTF-8")]);
        let key = key["cryptoUser"].as_str().expect("a key").to_owned();
        let (file, last) = (format!("round{round}"), first_host(place));
        // Rotation, too: the other device has to get the key.
        let changes: &[&str] = match round % 4 {
            0 if round < 9 => &["--rotate-key"],
            _ if before.is_multiple_of(2) => &["--add-auditor", &key],
            _ if domain(place)["hosts"].as_array().map(Vec::len) > Some(1) => {
                &["--remove-host", &last]
            }
            _ => &["--add-auditor", &key],
        };
        people.agree(place, &file, &["ada", "cleo"], changes);
        people.submit_cut_off(place, &file, Duration::from_millis(u64::from(round) * 16));
        let after = domain(place)["version"].as_u64().expect("a version");
        made[usize::from(after > before)] += 1;
        if after == before {
            let (code, said) = people.submit(place, &[&file], &[]);
            assert_eq!(code, 0, "round {round}: {said}");
        }
        assert_eq!(domain(place)["version"], before + 1, "round {round}");
    }
    eprintln!("{} ceremonies were cut off before, {} after they were made", made[0], made[1]);
    assert!(made[0] > 0, "no ceremony was cut off");
    daemon.restart();
    await_devices(&daemon, 2);
    let status = readiness(&daemon);
    assert_eq!(status["devices"][0]["domainVersion"], status["devices"][1]["domainVersion"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert_opens(&daemon, &blob);
}

/// A development domain says what it is everywhere, and becomes a real one under its keys.
#[test]
fn a_development_domain_is_hardened_under_load() {
    let people = People::new(&NAMES);
    let mut daemon = Daemon::start(&["soft"]);
    assert!(daemon.output().contains("DEVELOPMENT DOMAIN"), "no banner");
    let data = daemon.data().to_owned();
    let text = data.to_str().expect("UTF-8").to_owned();
    let status = readiness(&daemon);
    assert_eq!(status["developmentDomains"], json!(["us-east-1"]), "{status}");
    let (_, shown) = ctl::text(&["status", "--data", &text, "--url", daemon.url()]);
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains("DEVELOPMENT DOMAIN") && shown.contains("kmsctl domain harden"),
        "{shown}"
    );
    let arn = create(&daemon);
    let blob = encrypt(&daemon, &arn);
    // Its changes are made by the key in the data directory, as its devices' and hosts' are.
    let place = Place::at(&daemon);
    let (code, said) = people.propose(&place, "rotate", &["--rotate-key"]);
    assert_eq!(code, 0, "{said}");
    let shown: Value = serde_json::from_str(&said).expect("a document");
    let expect = shown["fingerprint"].as_str().expect("it");
    let file = people.text("rotate");
    let sign = ["domain", "sign", &file, "--development", "--data", &text, "--expect", expect];
    let (code, said) = told(&sign);
    assert_eq!(code, 0, "{said}");
    let (code, said) = people.submit(&place, &["rotate"], &[]);
    assert_eq!(code, 0, "{said}");
    assert_opens(&daemon, &blob);
    let operators: Vec<String> = NAMES.map(|name| people.text(&format!("{name}.pub"))).to_vec();
    let url = daemon.url().to_owned();
    let mut harden = vec!["domain", "harden", "--data", &text, "--url", &url];
    operators.iter().for_each(|operator| harden.extend(["--operator", operator]));
    harden.extend(["--quorum", "2"]);
    let (code, said) = told(&[harden.as_slice(), &["--yes"]].concat());
    assert!(code == 2 && said.contains("--emulated-members"), "{said}");
    let (code, said) = told(&[harden.as_slice(), &["--emulated-members"]].concat());
    assert!(code == 2 && said.contains("no terminal"), "{said}");
    let (code, said) = told(&[harden.as_slice(), &["--emulated-members", "--yes"]].concat());
    assert_eq!(code, 0, "{said}");

    assert_opens(&daemon, &blob);
    assert_opens(&daemon, &encrypt(&daemon, &arn));
    let now = domain(&Place::at(&daemon));
    assert_eq!((&now["kind"], &now["domainKeys"]), (&json!("Production"), &json!([1, 2, 3])));
    let rotated = encrypt(&daemon, &create(&daemon));
    assert_opens(&daemon, &rotated);
    assert!(daemon.stop().success());

    // The key in the data directory rules nothing any more, by any command.
    let (_, key) = ctl::run(&["hsm", "key", "--data", &text]);
    let key = key["cryptoUser"].as_str().expect("a key");
    let enrol = ["hsm", "enrol", "soft-0", "--data", &text, "--key", key, "--role", "auditor"];
    let zeroise = ["hsm", "zeroise", "soft-0", "--data", &text, "--yes"];
    for command in [&enrol[..], &zeroise] {
        let (code, said) = told(command);
        assert!(code == 2 && said.contains("kmsctl domain propose"), "{command:?}: {said}");
    }
    let (code, said) = told(&[harden.as_slice(), &["--emulated-members", "--yes"]].concat());
    assert!(code == 2 && said.contains("production domain already"), "{said}");
    daemon.restart();
    assert!(!daemon.output().contains("DEVELOPMENT DOMAIN"));
    assert_opens(&daemon, &blob);
    assert_opens(&daemon, &rotated);
}

/// Multi-Region keys leave for a domain only once the operators of both have approved just that one.
#[tokio::test]
async fn a_region_gets_keys_once_both_domains_operators_say_so() {
    const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
    let people = People::new(&NAMES);
    let mut daemon = Daemon::stopped(&["soft"]);
    for region in REGIONS {
        people.found_at(&Place::of(daemon.data()).in_region(region), "soft");
    }
    daemon.replace_arguments(&["--region".to_owned(), REGIONS.join(",")]);
    daemon.restart();
    let [here, there] = REGIONS.map(|region| client_in(region, &daemon));
    let made = here.create_key().multi_region(true).send().await.expect("made");
    let id = made.key_metadata.expect("metadata").key_id;
    let replicate =
        async || here.replicate_key().key_id(&id).replica_region(REGIONS[1]).send().await;
    let [one, other] = REGIONS.map(|region| Place::at(&daemon).in_region(region));
    let peers = [&other, &one].map(|place| domain(place)["peer"].as_str().expect("it").to_owned());
    let refused = replicate().await.expect_err("nobody has approved it").into_service_error();
    let text = refused.to_string();
    assert!(text.contains(&format!("--add-peer {}", peers[0])), "{text}");
    for (place, peer, file) in [(&one, &peers[0], "one"), (&other, &peers[1], "other")] {
        assert!(replicate().await.is_err(), "both have to approve it");
        people.agree(place, file, &["ada", "bea"], &["--add-peer", peer]);
        let (code, said) = people.submit(place, &[file], &[]);
        assert_eq!(code, 0, "{said}");
    }
    replicate().await.expect("approved");
    let sealed = here.encrypt().key_id(&id).plaintext(Blob::new("x")).send().await.expect("sealed");
    let opened = there.decrypt().ciphertext_blob(sealed.ciphertext_blob.expect("a blob"));
    let opened = opened.send().await.expect("opened");
    assert_eq!(opened.plaintext.expect("a plaintext").as_ref(), b"x");
}

/// Where there is a device CA, a device is what it says, and no other joins, whoever signs.
#[test]
fn only_what_the_device_ca_certifies_joins() {
    let people = People::new(&NAMES);
    let boards = tempfile::tempdir().expect("a directory");
    let plugs = ["one", "two", "three"].map(|name| {
        let plug = Plug::empty();
        plug.plug(&boards.path().join(name));
        plug
    });
    let [one, two, three] = plugs.each_ref().map(Plug::line);
    let id = |line: &str| {
        let (_, status) = ctl::run(&["hsm", "status", line]);
        status[0]["device"].as_str().expect("an id").to_owned()
    };
    let ca = |name: &str| {
        let (key, passphrase) = (people.text(name), people.text("passphrase"));
        let (code, said) = told(&["device-ca", "new", &key, "--key-passphrase-file", &passphrase]);
        assert_eq!(code, 0, "{said}");
    };
    ca("ca.key");
    ca("forger.key");
    let certify_as = |kind: &str, line: &str, device: &str, key: &str, file: &str| {
        told(&[
            "device-ca",
            "certify",
            line,
            "--device",
            device,
            "--key",
            &people.text(key),
            "--key-passphrase-file",
            &people.text("passphrase"),
            "--kind",
            kind,
            "--output",
            &people.text(file),
        ])
    };
    let certify = |line: &str, device: &str, key: &str, file: &str| {
        certify_as("in-process", line, device, key, file)
    };
    let (code, said) = certify(one, &id(two), "ca.key", "never");
    assert!(code == 2 && said.contains("nothing was certified"), "{said}");
    for (line, key, file) in
        [(one, "ca.key", "one"), (two, "ca.key", "two"), (three, "forger.key", "forged")]
    {
        assert_eq!(certify(line, &id(line), key, file).0, 0);
    }
    let (code, said) = certify(one, &id(one), "ada.key", "never");
    assert!(code == 2 && said.contains("a device CA's key"), "an operator's key: {said}");

    let daemon = Daemon::stopped(&[one]);
    let place = Place::of(daemon.data());
    let init = |certificate: Option<&str>, file: &str| {
        let pubs = NAMES.map(|name| people.text(&format!("{name}.pub")));
        let (ca, file) = (people.text("ca.pub"), people.text(file));
        let certificate = certificate.map(|name| people.text(name));
        let mut all = vec!["domain", "init", one, "--quorum", "2", "--device-ca", &ca];
        all.push("--emulated-members");
        pubs.iter().for_each(|path| all.extend(["--operator", path]));
        all.extend(["--output", &file]);
        all.extend(certificate.iter().flat_map(|path| ["--certificate", path.as_str()]));
        told(&[all.as_slice(), place.flags().as_slice()].concat())
    };
    for (certificate, because) in [
        (None, "--certificate"),
        (Some("two"), "is not for device"),
        (Some("forged"), "not for device"),
    ] {
        let (code, said) = init(certificate, "never");
        assert!(code == 2 && said.contains(because), "{certificate:?}: {said}");
    }
    let (code, said) = init(Some("one"), "founding");
    assert_eq!(code, 0, "{said}");
    people.sign("bea", "founding");
    people.sign("cleo", "founding");
    let (code, said) = people.submit(&place, &["founding"], &["--hsm", one]);
    assert_eq!(code, 0, "{said}");

    for (joiner, because) in
        [(three.to_owned(), "does not vouch"), (people.text("forged"), "does not vouch")]
    {
        let (code, said) = people.propose(&place, "never", &["--add-device", &joiner]);
        assert!(code == 2 && said.contains(because), "{joiner}: {said}");
    }
    people.agree(&place, "two-joins", &["ada", "bea"], &["--add-device", &people.text("two")]);
    let (code, said) = people.submit(&place, &["two-joins"], &[]);
    assert_eq!(code, 0, "{said}");
    let text = daemon.data().to_str().expect("UTF-8");
    let (code, said) = told(&["hsm", "provision", "--data", text, one, two]);
    assert_eq!(code, 0, "{said}");

    // The CA's word makes no hardware of it: the device knows what it was built for.
    assert_eq!(certify_as("hardware", three, &id(three), "ca.key", "exalted").0, 0);
    let exalted = people.text("exalted");
    people.agree(&place, "three-joins", &["ada", "bea"], &["--add-device", &exalted]);
    let (code, said) = people.submit(&place, &["three-joins"], &[]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = told(&["hsm", "provision", "--data", text, one, three]);
    assert!(code == 2 && said.contains("takes this device for hardware"), "{code}: {said}");
}
