//! A domain key is replaced and removed at one of two daemons on a store, whose devices are each connected to one of
//! them.

use std::path::Path;
use std::time::{Duration, Instant};

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Answer, await_devices, call, get};
use hsm_tests::losses::{assert_opens, create, encrypt};
use hsm_tests::patience::until;
use hsm_tests::people::{Place, domain, told};
use hsm_tests::{ctl, daemon};
use serde_json::{Value, json};

use super::Pair;

/// Proposes a change of the development domain of a daemon, signed by the key in its data directory.
pub(super) fn agree(daemon: &Daemon, file: &Path, change: &[&str]) -> (i32, String) {
    let (place, file) = (Place::at(daemon), file.to_str().expect("UTF-8"));
    let flags = place.flags();
    let propose = [&["domain", "propose", "--output", file], flags.as_slice(), change].concat();
    let (code, said) = told(&propose);
    if code != 0 {
        return (code, said);
    }
    let fingerprint = ctl::run(&["domain", "show", file]).1["fingerprint"].clone();
    let expect = ["--expect", fingerprint.as_str().expect("a fingerprint")];
    let sign = ["domain", "sign", file, "--development", "--data", flags[1]];
    told(&[&sign[..], &expect].concat())
}

pub(super) fn submit(daemon: &Daemon, file: &Path) -> (i32, String) {
    let (place, file) = (Place::at(daemon), file.to_str().expect("UTF-8"));
    told(&[&["domain", "submit", file], place.flags().as_slice()].concat())
}

/// The domain keys of a daemon's device, once it can say them.
pub(super) fn keys_of(daemon: &Daemon) -> Value {
    let place = Place::at(daemon);
    let (_, shown) = ctl::run(&[&["domain", "show"], place.flags().as_slice()].concat());
    shown["domainKeys"].clone()
}

/// Metadata of a key that is certain to be there.
fn describe(daemon: &Daemon, key: &str) -> Answer {
    call(daemon, "DescribeKey", &json!({ "KeyId": key }))
}

#[test]
fn a_domain_key_that_is_replaced_and_removed_at_one_daemon_is_so_at_the_other() {
    let Pair { cluster: _cluster, mut one, mut two, _plugs, _boards } = Pair::start();
    for daemon in [&one, &two] {
        until("both daemons are ready", || get(daemon, "/readyz").status == 200);
    }
    let keys = [create(&one), create(&two), create(&one)];
    let mut blobs: Vec<String> = keys.iter().map(|key| encrypt(&one, key)).collect();
    let files = daemon::private_dir();
    let [rotate, remove, again] = ["rotate", "remove", "again"].map(|name| files.path().join(name));

    // Both serve. The other daemon's device follows by itself, and gets the key from the first one's.
    let (code, said) = agree(&one, &rotate, &["--rotate-key"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = submit(&one, &rotate);
    assert_eq!(code, 0, "{said}");
    let begin = Instant::now();
    until("the other one has it", || {
        keys_of(&two) == json!([1, 2]) && call(&two, "CreateKey", &json!({})).status == 200
    });
    eprintln!("the other daemon makes keys under the new domain key after {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10));
    until("all tokens are rewrapped", || {
        [&one, &two].iter().any(|daemon| domain(&Place::at(daemon))["rewrap"]["remaining"] == 0)
    });
    for daemon in [&one, &two] {
        blobs.iter().for_each(|blob| assert_opens(daemon, blob));
    }

    // The former one is removed while the other daemon is away.
    assert!(two.stop().success());
    let (code, said) = agree(&one, &remove, &["--remove-key", "1"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = submit(&one, &remove);
    assert_eq!(code, 0, "{said}");
    assert_eq!(domain(&Place::at(&one))["domainKeys"], json!([2]));
    let (code, said) = agree(&one, &again, &["--rotate-key"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = submit(&one, &again);
    assert_eq!(code, 0, "{said}");
    blobs.push(encrypt(&one, &create(&one)));

    // Neither a ballot nor a key is brought to it by a person.
    two.restart();
    await_devices(&two, 1);
    until("it decides", || get(&two, "/readyz").status == 200);
    assert_eq!(domain(&Place::at(&two))["domainKeys"], json!([2, 3]));
    for key in &keys {
        assert_eq!(describe(&two, key).status, 200);
    }
    blobs.push(encrypt(&one, &create(&two)));
    for daemon in [&one, &two] {
        blobs.iter().for_each(|blob| assert_opens(daemon, blob));
    }
    for daemon in [&mut one, &mut two] {
        assert!(daemon.stop().success());
        let (intact, report) = ctl::verify(&daemon.data().join("audit"));
        assert!(intact, "{report}");
    }
}
