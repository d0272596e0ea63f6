//! Somebody who can write to the cluster of etcd puts records there by which daemons tell each other about their domain:
//! ballots and keys that no member has made. Devices refuse them, nobody stops serving, and once they are gone the
//! domain can be changed again.

use std::time::Duration;

use hsm_tests::daemon::{Daemon, private_dir};
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{assert_opens, create, encrypt, readiness};
use hsm_tests::patience::until;
use hsm_tests::people::{Place, domain};
use kms_store::etcd::EtcdStore;
use kms_store::{Commit, Store as _, Transaction};
use serde_json::json;
use tokio::runtime::Runtime;

use super::Pair;
use super::domain_key::{agree, keys_of, submit};

/// How long the daemons have to look at a record: they do when it is written.
const TO_LOOK: Duration = Duration::from_secs(3);

/// The cluster, for whoever may write to it.
struct Attacker {
    runtime: Runtime,
    store: EtcdStore,
}

impl Attacker {
    fn of(pair: &Pair) -> Self {
        let runtime = Runtime::new().expect("threads");
        let opening = EtcdStore::open(pair.cluster.options("/strongroom"));
        let store = runtime.block_on(opening).expect("it is open");
        Self { runtime, store }
    }

    fn put(&self, key: &str, value: &[u8]) {
        let put = Transaction::new().put(key, value);
        let done = self.runtime.block_on(self.store.commit(put)).expect("it can be written");
        assert!(matches!(done, Commit::Applied { .. }), "{key}");
    }

    fn remove(&self, key: &str) {
        let gone = Transaction::new().delete(key);
        let done = self.runtime.block_on(self.store.commit(gone)).expect("it can be written");
        assert!(matches!(done, Commit::Applied { .. }), "{key}");
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.runtime.block_on(self.store.get(key.as_bytes())).expect("it can be read");
        found.value.map(|entry| entry.value.to_vec())
    }
}

/// The operators give the domain a new key.
fn rotate(daemon: &Daemon) {
    let files = private_dir();
    let file = files.path().join("change");
    let (code, said) = agree(daemon, &file, &["--rotate-key"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = submit(daemon, &file);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn what_others_have_written_about_a_domain_changes_no_device() {
    // Another domain, with a good ballot of its own.
    let other = Daemon::start(&["soft"]);
    await_devices(&other, 1);
    let second = domain(&Place::at(&other))["version"].as_u64().expect("a version") + 1;
    rotate(&other);
    let of_other = domain(&Place::at(&other))["domain"].as_str().expect("an id").to_owned();
    let file = other.data().join(format!("hsm/us-east-1/changes/{of_other}-{second}.ballot"));
    let foreign = std::fs::read(file).expect("a ballot");

    let pair = Pair::start();
    pair.await_ready();
    let attacker = Attacker::of(&pair);
    let daemons = [&pair.one, &pair.two];
    let shown = domain(&Place::at(&pair.one));
    let id = shown["domain"].as_str().expect("an id").to_owned();
    let version = shown["version"].as_u64().expect("a version");
    let ballot_of = |version: u64| format!("service/domain-changes/us-east-1/{id}/{version:010}");
    let blob = encrypt(&pair.one, &create(&pair.one));
    let version_at = |daemon: &Daemon| domain(&Place::at(daemon))["version"].as_u64();
    let all_serve = || {
        for daemon in daemons {
            assert_opens(daemon, &encrypt(daemon, &create(daemon)));
            assert_opens(daemon, &blob);
        }
    };

    let next = ballot_of(version + 1);
    let forged: [(&str, Vec<u8>); 4] = [
        ("nothing", Vec::new()),
        ("rubbish", vec![0xa5; 300]),
        ("a very long one", vec![1; 1 << 20]),
        ("a ballot of another domain", foreign),
    ];
    for (what, ballot) in &forged {
        attacker.put(&next, ballot);
        std::thread::sleep(TO_LOOK);
        for daemon in daemons {
            assert_eq!(version_at(daemon), Some(version), "{what}");
        }
        all_serve();
        // The operators' own change is not mixed up with it.
        let files = private_dir();
        let file = files.path().join("change");
        assert_eq!(agree(&pair.one, &file, &["--rotate-key"]).0, 0);
        let (code, said) = submit(&pair.one, &file);
        let names_it = said.contains(&next) && said.contains("Remove it");
        assert!(code != 0 && names_it, "{what}: {said}");
        assert_eq!(attacker.get(&next).as_ref(), Some(ballot), "{what}: it is kept as it is");
        attacker.remove(&next);
        println!("{what}: {said}");
    }

    // A change of the operators, and then the same ballot once more, as the next version.
    rotate(&pair.one);
    until("both have it", || daemons.iter().all(|daemon| keys_of(daemon) == json!([1, 2])));
    let good = attacker.get(&next).expect("the daemons have kept it");
    attacker.put(&ballot_of(version + 2), &good);
    std::thread::sleep(TO_LOOK);
    for daemon in daemons {
        assert_eq!(version_at(daemon), Some(version + 1), "a ballot counts once");
    }
    all_serve();
    attacker.remove(&ballot_of(version + 2));

    // Keys that no member has handed over: the device takes none of them.
    let members = daemons.map(|daemon| {
        let report = readiness(daemon).2;
        report["devices"][0]["device"].as_str().expect("an id").to_owned()
    });
    let of_member = |member: &String| format!("service/domain-keys/us-east-1/{member}");
    for member in &members {
        let version = u32::try_from(version + 2).expect("small").to_be_bytes();
        attacker.put(&of_member(member), &[&version[..], &[0x5a; 200]].concat());
    }
    rotate(&pair.one);
    std::thread::sleep(TO_LOOK);
    assert_opens(&pair.one, &blob);
    members.iter().for_each(|member| attacker.remove(&of_member(member)));
    until("both have the key that a member has made", || {
        daemons.iter().all(|daemon| keys_of(daemon) == json!([1, 2, 3]))
    });
    until("both make keys again", || {
        daemons.iter().all(|daemon| call(daemon, "CreateKey", &json!({})).status == 200)
    });
    all_serve();
}
