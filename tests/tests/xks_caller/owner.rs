//! `kmsctl key-store`: what the owner of a store sees.

use hsm_tests::people::told;

use super::rig::{Caller, Mode, response};
use super::{SLOW, behind_a_front, caller};

fn key_store(caller: &Caller, arguments: &[&str]) -> (i32, String) {
    let daemon = &caller.daemon;
    let credentials = daemon.credentials_file();
    let credentials = credentials.to_str().expect("UTF-8");
    let whole = [&["key-store"], arguments, &["--url", daemon.url(), "--credentials", credentials]];
    told(&whole.concat())
}

#[test]
fn connecting_says_what_comes_of_it() {
    let (_theirs, store, _, front) = behind_a_front();
    let caller = caller(&front, &SLOW);
    let id = caller.store("partner", &store);
    let (code, said) = key_store(&caller, &["connect", &id]);
    assert!(code == 0 && said.contains(&format!("{id} is connected")), "{code}: {said}");
    let (code, said) = key_store(&caller, &["list"]);
    assert!(code == 0 && said.contains("CONNECTED") && said.contains("https://"), "{code}: {said}");
    let (code, said) = key_store(&caller, &["disconnect", &id]);
    assert!(code == 0 && said.contains("is disconnected"), "{code}: {said}");

    front.set(Mode::Say(response(401, br#"{"errorName":"AuthenticationFailedException"}"#)));
    let (code, said) = key_store(&caller, &["connect", &id]);
    assert!(code == 1 && said.contains("XKS_PROXY_ACCESS_DENIED"), "{code}: {said}");
    assert!(said.contains(&format!("kmsctl key-store disconnect {id}")), "{said}");

    // A store of somebody else, or of nobody.
    let (code, said) = key_store(&caller, &["connect", "cks-00000000000000000"]);
    assert!(code == 2 && said.contains("CustomKeyStoreNotFoundException"), "{code}: {said}");
}
