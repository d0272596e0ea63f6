//! A domain key is rotated under load: every key token is rewrapped, even though the daemon is
//! killed meanwhile, and the former domain key can only be removed afterwards.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hsm_tests::ctl;
use hsm_tests::daemon::{Credentials, Daemon};
use hsm_tests::http::{Request, await_devices, call, get};
use hsm_tests::losses::{assert_opens, create, decrypt, encrypt};
use hsm_tests::patience::until;
use serde_json::{Value, json};

use hsm_tests::people::{People, Place, domain, told};

const KEYS: usize = 2_100;
/// The number of requests at a time.
const THREADS: usize = 6;

/// Returns what `/readyz` reports about the tokens.
fn progress(daemon: &Daemon) -> Value {
    get(daemon, "/readyz").json()["rewraps"][0].clone()
}

fn remaining(daemon: &Daemon) -> Option<u64> {
    let progress = progress(daemon);
    progress["activeKey"].as_u64().filter(|key| *key == 2)?;
    progress["remaining"].as_u64()
}

/// Calls `work` for each item, in several threads, and returns the results.
fn each<T: Sync, R: Send + Default + Clone>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Vec<(usize, R)> = thread::scope(|scope| {
        let worker = || {
            scope.spawn(|| {
                let mut done = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return done };
                    done.push((index, work(item)));
                }
            })
        };
        let workers: Vec<_> = (0..THREADS).map(|_| worker()).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    let mut all = vec![R::default(); items.len()];
    done.into_iter().for_each(|(index, result)| all[index] = result);
    all
}

/// Uses keys until told to stop. Returns the number of requests.
fn load(daemon: &Daemon, blobs: &[String], stop: &AtomicBool) -> usize {
    let used = AtomicUsize::new(0);
    thread::scope(|scope| {
        for offset in 0..2 {
            let used = &used;
            scope.spawn(move || {
                for blob in blobs.iter().cycle().skip(offset * blobs.len() / 2) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let opened = decrypt(daemon, blob);
                    assert_eq!(opened.status, 200, "{opened:?}");
                    used.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    used.into_inner()
}

/// Creates a user with an access key, whose secret a device seals under the system key.
fn user(daemon: &Daemon) -> Credentials {
    let data = daemon.data().to_str().expect("UTF-8");
    let at = ["--data", data, "--url", daemon.url()];
    let (code, said) = ctl::text(&[&["iam", "user", "create", "ana"][..], &at].concat());
    assert_eq!(code, 0, "{said}");
    let (code, profile) = ctl::text(&[&["iam", "key", "create", "ana"][..], &at].concat());
    assert_eq!(code, 0, "{profile}");
    Credentials::of_profile(&profile)
}

fn who_is(daemon: &Daemon, who: &Credentials) -> u16 {
    let request = Request::form("2011-06-15", "GetCallerIdentity", &[]);
    request.signed_for("sts", who, daemon).send(daemon).status
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_rotated_domain_key_goes_once_nothing_is_under_it() {
    let people = People::new(&["ada", "bea", "cleo"]);
    let mut daemon = Daemon::stopped(&["soft:2"]);
    let data = daemon.data().to_owned();
    people.found(&data, "soft");
    people.agree(&Place::of(&data), "second", &["ada", "bea"], &["--add-device", "soft-1"]);
    assert_eq!(people.submit(&Place::of(&data), &["second"], &[]).0, 0);
    assert_eq!(told(&["hsm", "provision", "--data", text(&data), "soft:2"]).0, 0);
    daemon.replace_arguments(&["--rewrap-rate".to_owned(), "100".to_owned()]);
    daemon.restart();
    await_devices(&daemon, 2);
    let ana = user(&daemon);
    assert_eq!(who_is(&daemon, &ana), 200);
    let arns = each(&[(); KEYS], |()| create(&daemon));
    let blobs = each(&arns, |arn| encrypt(&daemon, arn));
    // Some keys have more than one material.
    for arn in arns.iter().take(20) {
        let rotated = call(&daemon, "RotateKeyOnDemand", &json!({ "KeyId": arn }));
        assert_eq!(rotated.status, 200, "{rotated:?}");
    }
    let tokens = KEYS as u64 + 20 + 1; // the last one is the system key's

    // The active domain key cannot be removed, even in a change that also replaces it.
    let place = Place::at(&daemon);
    for changes in [&["--remove-key", "1"][..], &["--remove-key", "1", "--rotate-key"]] {
        let (code, said) = people.propose(&place, "never", changes);
        assert!(code == 2 && said.contains("cannot be proposed"), "{changes:?}: {said}");
    }

    // The domain key is rotated under load. Every key works while its token is rewrapped.
    let stop = AtomicBool::new(false);
    let used = thread::scope(|scope| {
        let (daemon, blobs, stop) = (&daemon, &blobs, &stop);
        let loading = scope.spawn(move || load(daemon, blobs, stop));
        people.agree(&place, "rotate", &["ada", "cleo"], &["--rotate-key"]);
        let (code, said) = people.submit(&place, &["rotate"], &[]);
        assert_eq!(code, 0, "{said}");
        until("tokens are rewrapped", || {
            remaining(daemon).is_some_and(|left| left > 0 && left < tokens - 300)
        });
        let (code, said) = people.propose(&place, "early", &["--remove-key", "1"]);
        assert!(code == 2 && said.contains("still under domain key 1"), "{said}");
        let (_, shown) = ctl::text(&[&["domain", "show"][..], &place.flags()].concat());
        assert!(shown.contains("are rewrapped, at most 100 a second"), "{shown}");
        let (_, shown) = ctl::text(&["status", "--data", text(&data), "--url", daemon.url()]);
        assert!(shown.contains("TOKENS UNDER FORMER KEYS"), "{shown}");
        stop.store(true, Ordering::Relaxed);
        loading.join().expect("no panic")
    });
    assert!(used > 100, "{used} requests");

    // The power is cut in the middle; the next daemon continues the work.
    let before = remaining(&daemon).expect("it goes on");
    assert!(before > 100, "{before} tokens are left: too few for a cut in the middle");
    daemon.kill();
    daemon.restart();
    await_devices(&daemon, 2);
    until("it goes on", || remaining(&daemon).is_some());
    let after = remaining(&daemon).expect("it goes on");
    assert!(after <= before && after > 0, "{before} before, {after} after");
    let offline = Place::at(&daemon);
    let stop = AtomicBool::new(false);
    let used = thread::scope(|scope| {
        let (daemon, blobs, stop) = (&daemon, &blobs, &stop);
        let loading = scope.spawn(move || load(daemon, blobs, stop));
        until("nothing is left", || remaining(daemon) == Some(0));
        stop.store(true, Ordering::Relaxed);
        loading.join().expect("no panic")
    });
    let metrics = String::from_utf8(get(&daemon, "/metrics").body).expect("text");
    let gauge = "strongroom_rewrap_remaining_tokens{region=\"us-east-1\"} 0";
    assert!(metrics.contains(gauge), "{metrics}");
    eprintln!(
        "{tokens} tokens, {before} left at the cut, {after} after it, {used} requests meanwhile"
    );
    until("the count is known", || progress(&daemon)["tokens"] == json!({ "2": tokens }));
    let shown = domain(&offline);
    assert_eq!(shown["rewrap"]["tokens"], json!({ "2": tokens }), "{shown}");

    // The former domain key is removed. Nothing needs it, not even records that were read before.
    people.agree(&offline, "remove", &["ada", "bea"], &["--remove-key", "1"]);
    let (code, said) = people.submit(&offline, &["remove"], &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(domain(&offline)["domainKeys"], json!([2]));
    assert_eq!(who_is(&daemon, &ana), 200);
    each(&blobs, |blob| assert_opens(&daemon, blob));
    assert_opens(&daemon, &encrypt(&daemon, &create(&daemon)));
    daemon.kill();
    daemon.restart();
    await_devices(&daemon, 2);
    // The secret of an access key is opened again, under the system key.
    assert_eq!(who_is(&daemon, &ana), 200);
    assert_opens(&daemon, &blobs[KEYS / 2]);
    assert!(daemon.stop().success());
    let shown = domain(&Place::of(&data));
    assert_eq!(shown["rewrap"]["tokens"], json!({ "2": tokens + 1 }), "{shown}");
    let (intact, report) = ctl::verify(&data.join("audit"));
    assert!(intact, "{report}");
}

/// Where no daemon runs, `kmsctl` reads the store itself. An older store whose domain key is gone
/// is reported, and the rest works.
#[test]
fn a_store_of_before_is_told_of() {
    let people = People::new(&["ada", "bea", "cleo"]);
    let mut daemon = Daemon::stopped(&["soft"]);
    let data = daemon.data().to_owned();
    people.found(&data, "soft");
    daemon.replace_arguments(&["--rewrap-rate".to_owned(), "10000".to_owned()]);
    daemon.restart();
    await_devices(&daemon, 1);
    let arn = create(&daemon);
    let blob = encrypt(&daemon, &arn);
    assert!(daemon.stop().success());
    std::fs::copy(data.join("store.redb"), data.join("old.redb")).expect("copied");

    // The rotation happens without the daemon, and so does the attempt to remove the key.
    let place = Place::of(&data);
    people.agree(&place, "rotate", &["ada", "bea"], &["--rotate-key"]);
    assert_eq!(people.submit(&place, &["rotate"], &[]).0, 0);
    let shown = domain(&place);
    assert_eq!(shown["rewrap"]["remaining"], json!(1), "{shown}");
    let (code, said) = people.propose(&place, "early", &["--remove-key", "1"]);
    assert!(code == 2 && said.contains("1 key tokens of us-east-1 are still under"), "{said}");

    // At its start the daemon notices that tokens must be rewrapped.
    daemon.restart();
    await_devices(&daemon, 1);
    until("nothing is left", || remaining(&daemon) == Some(0));
    assert_opens(&daemon, &blob);
    people.agree(&Place::at(&daemon), "remove", &["ada", "bea"], &["--remove-key", "1"]);
    assert_eq!(people.submit(&Place::at(&daemon), &["remove"], &[]).0, 0);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());

    // The older store is put back and accepted: its key opens nothing, which is reported, and a new
    // key works.
    std::fs::copy(data.join("old.redb"), data.join("store.redb")).expect("copied");
    let refused = daemon.restart_refused();
    let code = refused.split("kmsctl accept ").nth(1).and_then(|rest| rest.split(' ').next());
    let code = code.unwrap_or_else(|| panic!("no code in {refused}")).to_owned();
    let (exit, said) = told(&["accept", &code, "--data", text(&data)]);
    assert_eq!(exit, 0, "{said}");
    daemon.restart();
    await_devices(&daemon, 1);
    let lost = || {
        let status = get(&daemon, "/readyz").json();
        let problems = status["problems"].to_string();
        problems.contains("under domain keys that the domain") && problems.contains("1 key tokens")
    };
    until("it is told", lost);
    assert_ne!(decrypt(&daemon, &blob).status, 200);
    assert_opens(&daemon, &encrypt(&daemon, &create(&daemon)));
}
