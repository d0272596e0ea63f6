//! Each file of an installation is damaged in turn: either the daemon starts and everything is right, or it says which
//! file it is. It never ends in a panic, and with the file as it was it starts again.

use std::fs;
use std::path::PathBuf;

use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{Backup, assert_opens, create, encrypt};
use hsm_tests::remains::files;
use serde_json::json;

use super::start;

/// Damages the content of a file.
type Change = fn(&mut Vec<u8>);

/// What happens to a file.
const DAMAGES: [(&str, Change); 3] = [
    ("is cut off", |bytes| bytes.truncate(bytes.len() / 2)),
    ("has a bit flipped", |bytes| {
        let middle = bytes.len() / 2;
        bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 0x10);
    }),
    ("is all zeroes", |bytes| bytes.fill(0)),
];

#[test]
fn whatever_file_is_damaged_the_daemon_says_so_or_does_without_it() {
    let mut daemon = Daemon::start(&["soft"]);
    await_devices(&daemon, 1);
    let key = create(&daemon);
    let alias = json!({ "AliasName": "alias/a", "TargetKeyId": key });
    assert_eq!(call(&daemon, "CreateAlias", &alias).status, 200);
    let blob = encrypt(&daemon, &key);
    assert!(daemon.stop().success());
    let whole = Backup::of(&daemon);
    let data = daemon.data().to_owned();
    let found: Vec<PathBuf> = files(&data);
    assert!(found.len() > 8, "{found:?}");
    let mut told = 0;
    for file in &found {
        let name = file.strip_prefix(&data).expect("in it").display().to_string();
        for (damage, change) in DAMAGES {
            let mut bytes = fs::read(file).expect("the tests may read it");
            let before = bytes.clone();
            change(&mut bytes);
            if bytes == before {
                continue;
            }
            fs::write(file, &bytes).expect("written");
            match start(&mut daemon, &blob) {
                None => println!("{name} {damage}: the daemon does without it"),
                Some(said) => {
                    let file = name.rsplit('/').next().expect("a name");
                    let names_it = said.contains(file)
                        || said.contains("the device is halted: Non-volatile storage");
                    let advises = [
                        "back from a",
                        "estore it",
                        "restore them",
                        "Restore",
                        "no access key",
                        "profile",
                    ];
                    assert!(names_it && !said.contains("panicked"), "{name} {damage}: {said}");
                    assert!(
                        advises.iter().any(|advice| said.contains(advice)),
                        "{name} {damage}: {said}"
                    );
                    told += 1;
                }
            }
            if daemon.is_running() {
                let (status, said) = daemon.stop_and_read();
                assert!(status.success() && !said.contains("panicked"), "{name} {damage}: {said}");
            }
            whole.restore_all(&daemon);
        }
    }
    assert!(told >= 12, "{told}");
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
}
