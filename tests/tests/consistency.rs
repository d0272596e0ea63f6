//! Store, audit log and devices that do not belong together: what does not fit is refused and named,
//! and the way on is there and is recorded.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{Request, await_devices};
use hsm_tests::losses::{
    Backup, accept, assert_intact, assert_opens, code_in, create, encrypt, events, keys,
};
use hsm_tests::process::signal_process;
use hsm_tests::{ctl, seed};
use rustix::process::Signal;

/// Kills of the test, each at a random moment.
const KILLS: u32 = 60;

#[test]
fn an_older_store_is_refused_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let first = create(&daemon);
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    daemon.restart();
    let later = [create(&daemon), create(&daemon)];
    assert!(daemon.stop().success());
    let new = Backup::of(&daemon);

    old.restore(&daemon, &["store.redb"]);
    let log = daemon.data().join("audit");
    let before = ctl::verify(&log).1["tip"].clone();
    let said = daemon.restart_refused();
    assert!(said.contains("is an older copy") && said.contains("2 keys are missing"), "{said}");
    assert!(later.iter().all(|arn| said.contains(arn)) && !said.contains(&first), "{said}");
    assert!(said.contains("Restore store.redb, audit and hsm from one backup"), "{said}");
    let code = code_in(&said);
    assert_eq!(code_in(&daemon.restart_refused()), code, "the same thing has the same code");
    assert_eq!(ctl::verify(&log).1["tip"], before, "a refusal writes nothing");
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    assert_eq!(ctl::run(&["accept", "00000000", "--data", &data]).0, 2);
    assert_eq!(code_in(&daemon.restart_refused()), code, "another code accepts nothing");

    // What belongs together starts.
    new.restore(&daemon, &["store.redb"]);
    daemon.restart();
    assert_eq!(keys(&daemon), 3);
    assert!(daemon.stop().success());

    // What was accepted starts, for good, and the log tells of it.
    old.restore(&daemon, &["store.redb"]);
    let code = code_in(&daemon.restart_refused());
    let accepted = accept(&daemon, &code);
    assert!(accepted["reason"].as_str().is_some_and(|text| text.contains(&later[0])), "{accepted}");
    daemon.restart();
    assert_eq!(keys(&daemon), 1);
    create(&daemon);
    assert!(daemon.stop().success());
    daemon.restart();
    assert!(daemon.stop().success());
    let events = events(&daemon, "AcceptMismatch");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["serviceEventDetails"]["code"], code);
    assert_intact(&daemon);
    assert!(!daemon.data().join("acceptance.json").exists());

    // The one that was given up is another store by now.
    new.restore(&daemon, &["store.redb"]);
    let said = daemon.restart_refused();
    assert!(said.contains("is not the one that the audit log"), "{said}");
}

#[test]
fn a_missing_store_is_refused_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let key = create(&daemon);
    assert!(daemon.stop().success());
    let store = daemon.data().join("store.redb");
    fs::remove_file(&store).expect("removed");
    let said = daemon.restart_refused();
    assert!(said.contains("There is no store") && said.contains(&key), "{said}");
    assert!(!store.exists(), "a refusal makes no store");
    fs::write(&store, "").expect("written");
    let again = daemon.restart_refused();
    assert_eq!(code_in(&again), code_in(&said), "an empty store counts as missing");
    accept(&daemon, &code_in(&said));
    daemon.restart();
    assert_eq!(keys(&daemon), 0);
    create(&daemon);
    assert!(daemon.stop().success());
    daemon.restart();
    assert_eq!(keys(&daemon), 1);
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 1);
    assert_intact(&daemon);
}

#[test]
fn an_audit_log_that_is_gone_or_older_is_refused_until_it_is_accepted() {
    let mut daemon = Daemon::start(&["soft"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    daemon.restart();
    assert_opens(&daemon, &blob); // no change of the store
    assert!(daemon.stop().success());
    let new = Backup::of(&daemon);

    old.restore(&daemon, &["audit"]);
    let said = daemon.restart_refused();
    assert!(said.contains("audit log (audit) is an older copy"), "{said}");
    new.restore(&daemon, &["audit"]);
    daemon.restart();
    assert!(daemon.stop().success());

    fs::remove_dir_all(daemon.data().join("audit")).expect("removed");
    let said = daemon.restart_refused();
    assert!(said.contains("There is no audit log"), "{said}");
    accept(&daemon, &code_in(&said));
    daemon.restart();
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    daemon.restart();
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 1);
    assert_intact(&daemon);

    // Another installation's log.
    let mut other = Daemon::start(&["soft"]);
    create(&other);
    assert!(other.stop().success());
    Backup::of(&other).restore(&daemon, &["audit"]);
    let said = daemon.restart_refused();
    assert!(said.contains("do not belong together"), "{said}");
}

#[test]
fn what_was_backed_up_together_is_restored_together() {
    let mut daemon = Daemon::start(&["soft:2"]);
    let blob = encrypt(&daemon, &create(&daemon));
    assert!(daemon.stop().success());
    let old = Backup::of(&daemon);
    for _ in 0..3 {
        daemon.restart();
        create(&daemon);
        assert!(daemon.stop().success());
    }
    let new = Backup::of(&daemon);
    let everything = ["store.redb", "audit", "hsm"];
    old.restore(&daemon, &everything);
    daemon.restart();
    await_devices(&daemon, 2);
    assert_eq!(keys(&daemon), 1);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_intact(&daemon);

    // Store and log alone: the devices' files know that there was more.
    new.restore(&daemon, &everything);
    old.restore(&daemon, &["store.redb", "audit"]);
    let said = daemon.restart_refused();
    assert!(said.contains("devices' files (hsm/us-east-1) know"), "{said}");
    accept(&daemon, &code_in(&said));
    daemon.restart();
    await_devices(&daemon, 2);
    assert_opens(&daemon, &blob);
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}

/// Whatever moment the daemon is killed at, what it leaves belongs together.
#[test]
fn no_kill_makes_a_start_refused() {
    let mut random = seed::random("no_kill_makes_a_start_refused");
    let mut daemon = Daemon::stopped(&["soft"]);
    let mut made = 0;
    for kill in 0..KILLS {
        // Now in the middle of a start, the first included.
        let said = daemon.kill_while_starting(Duration::from_millis(random.u64(1..600)));
        assert!(!said.contains("do not belong together"), "kill {kill}: {said}");
        if kill % 4 != 0 {
            continue;
        }
        daemon.restart();
        assert!(keys(&daemon) >= made, "kill {kill}: acknowledged keys are gone");
        // Now in the middle of changes.
        let patience = Duration::from_millis(random.u64(20..400));
        made += thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| make_keys(&daemon))).collect();
            thread::sleep(patience);
            signal_process(daemon.id(), Signal::KILL);
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum::<usize>()
        });
        daemon.kill();
    }
    daemon.restart();
    assert!(keys(&daemon) >= made && made > 0, "{made} keys were acknowledged");
    eprintln!("{made} keys acknowledged over {KILLS} kills while starting");
    assert!(daemon.stop().success());
    assert_eq!(events(&daemon, "AcceptMismatch").len(), 0);
    assert_eq!(events(&daemon, "DeviceOlderThanLog").len(), 0);
    assert_intact(&daemon);
}

/// Makes some keys, and returns how many were acknowledged before the daemon was gone.
fn make_keys(daemon: &Daemon) -> usize {
    let request = || Request::new("CreateKey", "{}").signed(daemon).to_bytes(daemon.address());
    let make = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(daemon.address())?;
        stream.write_all(&request())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    (0..8).map_while(|_| make().ok()).filter(|made| *made).count()
}
