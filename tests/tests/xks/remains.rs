//! What is left in the daemon's memory: nothing of plaintexts, nor of credentials that are not used any more.

use hsm_tests::patience::at_rest;
use hsm_tests::remains::{Secret, search};
use hsm_tests::xks::{Rig, Store, assert_opens};

#[test]
fn nothing_is_left_of_plaintexts_and_former_credentials() {
    let rig = Rig::start();
    let (former, key) = rig.with_key("partner");
    let mut plaintext = [0; 48];
    getrandom::fill(&mut plaintext).expect("random numbers");
    let made = rig.encrypted(&former, &key, &plaintext, b"aad");
    assert_opens(&rig.decrypt(&former, &key, &made, b"aad"), &plaintext);
    let current = Store::of(&rig.ctl(&["rotate-credential", "partner"]));
    assert_opens(&rig.decrypt(&current, &key, &made, b"aad"), &plaintext);

    let of = |name: &str, store: &Store| Secret::new(name, store.credentials.secret.as_bytes());
    let secrets = [
        Secret::new("plaintext", &plaintext),
        of("former credential", &former),
        of("current credential", &current),
    ];
    let there = || {
        at_rest(rig.daemon.id());
        search(rig.daemon.id(), &secrets).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(there(), ["current credential", "former credential"], "in use");
    rig.ctl(&["retire-credential", "partner", &former.credentials.id]);
    assert_eq!(there(), ["current credential"], "one is retired");
    rig.delete("partner");
    assert!(there().is_empty(), "deleted");
}
