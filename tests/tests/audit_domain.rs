//! A domain as the trust anchor of an audit log: what its members have signed counts, also of those that
//! joined later, as the operators have signed; nobody else's.

use std::fs;
use std::path::Path;

use hsm_tests::ctl;
use hsm_tests::daemon::Daemon;
use hsm_tests::device::Plug;
use hsm_tests::http::{await_devices, get};
use hsm_tests::losses::{assert_opens, create, encrypt};
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, domain, told};

const PROVEN: i32 = 0;
const UNUSABLE: i32 = 2;
const UNPROVEN: i32 = 3;

fn verify(log: &Path, anchor: &str, more: &[&str]) -> (i32, Value) {
    let log = log.to_str().expect("UTF-8");
    ctl::run(&[&["audit", "verify", log, "--trust-anchor", anchor], more].concat())
}

#[test]
fn members_of_the_domain_vouch_and_nobody_else() {
    let people = People::new(&["ada", "bea", "cleo"]);
    let boards = tempfile::tempdir().expect("a directory");
    let [one, two] = ["one", "two"].map(|name| {
        let plug = Plug::empty();
        plug.plug(&boards.path().join(name));
        plug
    });
    let mut daemon = Daemon::stopped(&[one.line(), two.line()]);
    let data = daemon.data().to_owned();
    let text = data.to_str().expect("UTF-8").to_owned();
    people.found(&data, one.line());
    let place = Place::of(&data);
    let anchor = people.text("anchor.json");
    let show = ["--json", "domain", "show", "--trust-anchor", &anchor];
    let (code, said) = told(&[&show[..], &place.flags()].concat());
    assert_eq!(code, 0, "{said}");
    let shown: Value = serde_json::from_str(&said).expect("a document");
    let written = fs::read_to_string(&anchor).expect("written");
    let written: Value = serde_json::from_str(&written).expect("a document");
    assert_eq!(
        (&written["kind"], &written["stateHash"], &written["version"]),
        (&json!("domain"), &shown["state"], &json!(1)),
        "what the operators have signed"
    );
    assert_eq!(told(&[&show[..], &place.flags()].concat()).0, 2, "it is not replaced by mistake");

    // By the founding device, before the second one is in.
    people.agree(&place, "second", &["ada", "bea"], &["--add-device", two.line()]);
    assert_eq!(people.submit(&place, &["second"], &[]).0, 0);
    assert_eq!(told(&["hsm", "provision", "--data", &text, one.line(), two.line()]).0, 0);
    daemon.restart();
    await_devices(&daemon, 2);
    let blob = encrypt(&daemon, &create(&daemon));
    let first = get(&daemon, "/readyz").json()["devices"][0]["device"].clone();
    let at = Place::at(&daemon);
    people.agree(
        &at,
        "out",
        &["bea", "cleo"],
        &["--remove-device", first.as_str().expect("an id")],
    );
    let (code, said) = people.submit(&at, &["out"], &[]);
    assert_eq!(code, 0, "{said}");
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    assert_eq!(domain(&at)["version"], 3);
    assert!(daemon.stop().success());
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());

    // The one that is left is a member by what the operators have signed since.
    let log = data.join("audit");
    let (code, report) = verify(&log, &anchor, &[]);
    assert_eq!(code, PROVEN, "{report}");
    assert_ne!(report["proof"]["device"], first, "the removed one counts no more");
    let trusted = report["signers"].as_array().expect("a list");
    let trusted: Vec<&Value> = trusted.iter().filter(|signer| signer["trusted"] == true).collect();
    assert_eq!(trusted.len(), 1, "{report}");

    // Without those changes nobody knows it.
    let empty = tempfile::tempdir().expect("a directory");
    let elsewhere = ["--data", empty.path().to_str().expect("UTF-8")];
    let (code, report) = verify(&log, &anchor, &elsewhere);
    assert_eq!(code, UNPROVEN, "{report}");

    // A change that the operators have not signed.
    let changes = data.join("hsm/us-east-1/changes");
    let name = format!("{}-3.ballot", shown["domain"].as_str().expect("an id"));
    let ballot = fs::read(changes.join(&name)).expect("the ballot");
    let mut forged = ballot.clone();
    let last = forged.last_mut().expect("not empty");
    *last ^= 1;
    fs::write(changes.join(&name), &forged).expect("written");
    let (code, _) = verify(&log, &anchor, &[]);
    assert_eq!(code, UNUSABLE);
    fs::write(changes.join(&name), &ballot).expect("written");
    assert_eq!(verify(&log, &anchor, &[]).0, PROVEN);
    // A state that its hash does not name.
    let other = people.text("other.json");
    let mut changed = written.clone();
    changed["version"] = json!(2);
    fs::write(&other, changed.to_string()).expect("written");
    assert_eq!(verify(&log, &other, &[]).0, UNUSABLE);

    // A whole log of devices of somebody's own.
    let mut stranger = Daemon::start(&["soft"]);
    let blob = encrypt(&stranger, &create(&stranger));
    assert_opens(&stranger, &blob);
    assert!(stranger.stop().success());
    let (code, report) = verify(&stranger.data().join("audit"), &anchor, &[]);
    assert_eq!((code, &report["proof"]), (UNPROVEN, &Value::Null), "{report}");
}
