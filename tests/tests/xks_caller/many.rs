//! Many stores whose proxies are slow at the same time: those of others and ordinary keys are served meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hsm_tests::flood::resident;
use hsm_tests::http::call;
use hsm_tests::patience::until;
use serde_json::json;

use super::rig::{Front, Mode, text, to_decrypt, to_encrypt};
use super::{Rig, caller};

/// Stores with slow proxies; one more is as many as there may be.
const SLOW_STORES: usize = 9;
/// Callers of each: together more than may be under way, and fewer than the daemon serves at a time.
const CALLERS: usize = 28;
/// How late the slow proxies respond: in time, so that they are never left alone.
const LATE: Duration = Duration::from_secs(2);
/// The most calls under way, where each store has one at least.
const MOST: usize = 128 + SLOW_STORES + 1;

#[test]
fn slow_proxies_of_many_stores_leave_room_for_others() {
    let theirs = Rig::start();
    let front = Front::start(theirs.address());
    let caller = caller(&front, &["--xks-proxy-timeout", "5000"]);
    let with_key = |prefix: &str| {
        let (store, external) = theirs.with_key(prefix);
        let id = caller.connected(prefix, &store);
        let key = text(&caller.key(&id, &external)["KeyId"]);
        caller.ok("Encrypt", &to_encrypt(&key, b"x"))["CiphertextBlob"].take()
    };
    let slow: Vec<_> = (0..SLOW_STORES).map(|number| with_key(&format!("slow-{number}"))).collect();
    let good = with_key("good");
    let ordinary = text(&caller.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"]);
    let before = resident(caller.daemon.id());

    front.set(Mode::Delay("/slow-", LATE));
    let (over, served, turned_away) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for blob in slow.iter().flat_map(|blob| std::iter::repeat_n(blob, CALLERS)) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = call(&caller.daemon, "Decrypt", &to_decrypt(blob));
                    if answer.status == 200 {
                        served.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let code = answer.code();
                    assert_eq!(code, "KMSInvalidStateException", "the daemon has room for all");
                    turned_away.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        until("there are more calls than may be", || turned_away.load(Ordering::Relaxed) > 100);
        let (mut most, served_before) = (0, served.load(Ordering::Relaxed));
        until("the slow ones are served as well", || {
            for _ in 0..10 {
                let answer = caller.call("Decrypt", &to_decrypt(&good));
                assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
                caller.ok("Encrypt", &to_encrypt(&ordinary, b"x"));
            }
            most = most.max(resident(caller.daemon.id()));
            served.load(Ordering::Relaxed) > served_before + SLOW_STORES
        });
        over.store(true, Ordering::Relaxed);
        let grown = most.saturating_sub(before) >> 20;
        println!("{} calls at a time, {grown} MiB more", front.most_under_way());
        assert!(grown < 100, "{grown} MiB more");
    });
    assert!(front.most_under_way() <= MOST, "{} calls at a time", front.most_under_way());
    // Nothing is left of it.
    front.set(Mode::Forward);
    for blob in &slow {
        until("the store is served again", || {
            caller.call("Decrypt", &to_decrypt(blob)).status == 200
        });
    }
}
