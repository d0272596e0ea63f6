//! A check of the store gives way to requests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, call, get};
use hsm_tests::losses::create;
use hsm_tests::patience::until;
use serde_json::json;

use super::{Rig, scrub};

/// Callers at the same time, for one device.
const CALLERS: usize = 4;

fn yields(daemon: &Daemon) -> u64 {
    let page = String::from_utf8(get(daemon, "/metrics").body).expect("text");
    let line = page.lines().find(|line| line.starts_with("strongroom_scrub_yields_total "));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).expect("a number")
}

#[test]
fn a_check_of_the_store_waits_while_devices_are_busy() {
    let rig = Rig::new();
    let mut daemon = Daemon::start(&["soft"]);
    await_devices(&daemon, 1);
    (0..20).for_each(|_| drop(create(&daemon)));
    let signs = json!({ "KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY" });
    let made = call(&daemon, "CreateKey", &signs).json();
    let slow = made["KeyMetadata"]["KeyId"].as_str().expect("a key id").to_owned();
    // Nothing else is to do.
    let (code, quiet) = scrub(&rig, &daemon, &["--rate", "1000"]);
    assert_eq!((code, &quiet["faults"]), (0, &json!(0)), "{quiet}");
    let before = yields(&daemon);

    let (over, signed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let body = json!({ "KeyId": slow, "Message": "AAAA",
                    "SigningAlgorithm": "RSASSA_PSS_SHA_256" });
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(call(&daemon, "Sign", &body).status, 200);
                    signed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("the device is busy", || signed.load(Ordering::Relaxed) > 2 * CALLERS as u64);
        let (code, busy) = scrub(&rig, &daemon, &["--rate", "1000"]);
        over.store(true, Ordering::Relaxed);
        // It gives way, and comes to its end all the same.
        assert_eq!((code, &busy["opened"]), (0, &quiet["opened"]), "{busy}");
    });
    let yielded = yields(&daemon) - before;
    println!("gave way {yielded} times, {} signatures meanwhile", signed.load(Ordering::Relaxed));
    assert!(yielded >= 5, "{yielded}");
    assert!(daemon.stop().success());
}
