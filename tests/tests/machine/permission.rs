//! What the user that the daemon runs as may not read or write: it is named, with the reason, and nothing else changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use hsm_tests::daemon::Daemon;
use hsm_tests::environment;
use hsm_tests::http::{await_devices, call};
use hsm_tests::losses::{assert_intact, assert_opens, create, encrypt};
use hsm_tests::programs;
use hsm_tests::remains::files;
use rustix::process::geteuid;
use serde_json::json;

use super::start;

/// A user without rights of its own.
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

/// `kmsd` as another user. Root may read and write everything.
fn as_nobody(place: &Path) -> PathBuf {
    let daemon = place.join("kmsd.bin");
    fs::copy(environment::kmsd(), &daemon).expect("copied");
    let script = place.join("kmsd");
    let text = format!(
        "#!/bin/sh\nexec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {} \"$@\"\n",
        daemon.display()
    );
    fs::write(&script, text).expect("written");
    [place, &daemon, &script].iter().for_each(|path| set_mode(path, 0o755));
    script
}

#[test]
fn what_may_not_be_read_is_named() {
    if !geteuid().is_root() {
        return programs::skip("permissions", "only root can run a daemon as another user");
    }
    let place = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::stopped(&["soft"]);
    let data = daemon.data().to_owned();
    chown(&data, Some(NOBODY), Some(NOBODY)).expect("root may");
    daemon.set_program(Some(as_nobody(place.path())));
    daemon.restart();
    await_devices(&daemon, 1);
    let key = create(&daemon);
    let blob = encrypt(&daemon, &key);
    assert!(daemon.stop().success());

    let directories = ["audit", "hsm", "hsm/us-east-1"].map(|name| data.join(name));
    let mut places = files(&data);
    places.extend(directories);
    let (mut told, mut unclear) = (Vec::new(), Vec::new());
    for path in places {
        let name = path.strip_prefix(&data).expect("in it").display().to_string();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        set_mode(&path, 0);
        let said = start(&mut daemon, &blob);
        if daemon.is_running() {
            let (status, said) = daemon.stop_and_read();
            assert!(status.success() && !said.contains("panicked"), "{name}: {said}");
        }
        match said {
            None => println!("{name}: the daemon does without it"),
            Some(said) => {
                let last = name.rsplit('/').next().expect("a name");
                let is_clear = said.contains(last) && said.contains("Permission denied");
                if !is_clear || said.contains("panicked") {
                    unclear.push(format!("{name}: {said}"));
                }
                told.push(name);
            }
        }
        // The daemon may have made another one in its place.
        if path.exists() {
            set_mode(&path, mode);
        }
    }
    assert!(unclear.is_empty(), "{}", unclear.join("\n"));
    for name in ["store.redb", "credentials", "audit", "hsm/us-east-1/soft-0.flash"] {
        assert!(told.iter().any(|told| told == name), "{name}: {told:?}");
    }
    daemon.restart();
    await_devices(&daemon, 1);
    assert_opens(&daemon, &blob);
    let described = call(&daemon, "DescribeKey", &json!({ "KeyId": key }));
    assert_eq!(described.status, 200, "{described:?}");
    assert!(daemon.stop().success());
    assert_intact(&daemon);
}
