//! What people install: the Debian package, from its installation to its end, and the container.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use hsm_tests::environment;
use hsm_tests::programs::skip;

/// On a copy of this machine that is thrown away; see `tests/package/lifecycle.sh`.
#[test]
fn a_package_is_installed_started_upgraded_and_removed() {
    if let Some(missing) = missing(&["dpkg", "unshare", "setpriv", "adduser"]) {
        return skip("the Debian package", &format!("there is no {missing}"));
    }
    if !rustix::process::geteuid().is_root() {
        return skip("the Debian package", "only root may install packages, even on a copy");
    }
    let [old, new] = environment::debian_packages();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "sh"])
        .arg(environment::root().join("tests/package/lifecycle.sh"))
        .args([old, new, environment::root().join("docs/operations.md")])
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    assert!(said.ends_with("--- done\n"), "{said}\n{errors}");
    for line in said.lines() {
        if let Some(reason) = line.strip_prefix("SKIPPED: ") {
            skip("part of the Debian package", reason);
        }
    }
    println!("{said}");
}

/// What can be said of the Containerfile without a program that builds it.
#[test]
fn the_container_runs_what_it_has_as_somebody_else_than_root() {
    let text = fs::read_to_string(environment::root().join("packaging/Containerfile")).expect("it");
    let text = text.replace("\\\n", " ");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let of = |word: &str| {
        let lines = lines.iter().filter_map(|line| line.split_once(' '));
        lines.filter(|(name, _)| *name == word).map(|(_, rest)| rest.trim()).collect::<Vec<_>>()
    };
    for image in of("FROM") {
        let name = image.split(' ').next().expect("a name");
        let tag = name.rsplit(':').next().expect("a tag");
        assert!(name.starts_with("docker.io/") && name.contains(':') && tag != "latest", "{image}");
    }
    assert_eq!(of("USER"), ["strongroom"]);
    let last = lines.iter().rposition(|line| line.starts_with("FROM")).expect("a stage");
    let runs = lines[last..].iter().position(|line| line.starts_with("USER")).expect("it is there");
    let entry = lines[last..].iter().position(|line| line.starts_with("ENTRYPOINT")).expect("too");
    assert!(runs < entry);
    let copied = of("COPY").join(" ");
    assert!(copied.contains("/release/kmsd ") && copied.ends_with(" /usr/bin/"), "{copied}");
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/bin/kmsd\"]"]);
    // The compiler is the oldest that the workspace takes, or newer.
    let manifest = fs::read_to_string(environment::root().join("Cargo.toml")).expect("it");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let wanted = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    assert!(text.contains(&format!("/rust:{wanted}-")), "rust {wanted} is wanted");
    // Variables are those that the daemon knows.
    let help = Command::new(environment::kmsd()).arg("--help").output().expect("kmsd runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for setting in of("ENV").iter().flat_map(|line| line.split(' ')) {
        let (name, _) = setting.split_once('=').expect("a value");
        assert!(help.contains(&format!("[env: {name}=")), "{name}");
    }
    // What is not to be sent to the builder is the same for each of them.
    let ignored = [".containerignore", ".dockerignore"]
        .map(|name| fs::read_to_string(environment::root().join(name)).expect("it is there"));
    assert_eq!(ignored[0], ignored[1]);
}

#[test]
fn a_container_is_built_and_says_its_version() {
    let able = |program: &&str| {
        let info = Command::new(program).arg("info").output();
        info.is_ok_and(|output| output.status.success())
    };
    let Some(program) = ["podman", "buildah", "docker"].into_iter().find(able) else {
        return skip("the container", "neither podman nor buildah nor docker works here");
    };
    let build = if program == "buildah" { "bud" } else { "build" };
    let run = |command: &mut Command| {
        let output = command.current_dir(environment::root()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let argument = format!("STRONGROOM_COMMIT={commit}");
    run(Command::new(program)
        .args([build, "--build-arg", &argument, "-t", "strongroom-test"])
        .args(["-f", "packaging/Containerfile", "."]));
    if program != "buildah" {
        let said = run(Command::new(program).args(["run", "--rm", "strongroom-test", "--version"]));
        assert!(said.contains("(0123456789ab)"), "{said}");
    }
}

/// The long flags of `kmsd`, each whole.
fn flags() -> BTreeSet<String> {
    let help = Command::new(environment::kmsd()).arg("--help").output().expect("kmsd runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flags: BTreeSet<_> = lines.flat_map(flags_in).collect();
    assert!(flags.len() > 20, "{flags:?}");
    flags
}

fn flags_in(text: &str) -> Vec<String> {
    let parts = text.split("--").skip(1);
    let word = |part: &str| {
        part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>()
    };
    parts.map(word).collect()
}

/// Each setting, also one that is commented out, is a flag of exactly this name, and `kmsd` takes them all
/// except for the files and devices that are not here.
#[test]
fn the_settings_of_the_package_are_understood() {
    let text = fs::read_to_string(environment::root().join("packaging/kmsd.toml")).expect("it");
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let settings: Vec<_> = lines.filter(|line| line.contains(" = ")).collect();
    let names: BTreeSet<_> =
        settings.iter().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    assert!(names.len() >= 6, "{names:?}");
    let flags = flags();
    for name in &names {
        assert!(flags.contains(*name), "kmsd has no --{name}");
    }
    // All of them together, each once; what is not here is refused after all were read.
    let (mut once, mut file) = (BTreeSet::new(), String::new());
    for line in settings.iter().rev() {
        let (name, _) = line.split_once(" = ").expect("a setting");
        if once.insert(name) {
            file.push_str(&format!("{line}\n"));
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let run = |more: &str| {
        let config = dir.path().join("kmsd.toml");
        let data = dir.path().join("data");
        let text = file.replace("/var/lib/strongroom", data.to_str().expect("UTF-8"));
        let text = text.replace(":8700", ":0");
        fs::write(&config, format!("{text}{more}")).expect("written");
        let ended = Command::new(environment::kmsd()).arg("--config").arg(&config).output();
        String::from_utf8(ended.expect("kmsd runs").stderr).expect("UTF-8")
    };
    let refused = run("");
    assert!(refused.contains("/etc/strongroom/tls"), "{refused}");
    let refused = run("flavour = \"sweet\"\n");
    assert!(refused.contains("flavour"), "{refused}");
}

/// The unit runs a program of the package with a file of the package, in the directory of its settings.
#[test]
fn the_unit_fits_the_package() {
    let read =
        |path: &str| fs::read_to_string(environment::root().join(path)).expect("it is there");
    let unit = read("packaging/strongroom.service");
    let of = |name: &str| {
        let values = unit.lines().filter_map(|line| line.split_once('='));
        values.filter(|(key, _)| *key == name).map(|(_, value)| value).collect::<Vec<_>>()
    };
    let start = of("ExecStart").join(" ");
    let (program, arguments) = start.split_once(' ').expect("arguments");
    let package = read("xtask/src/package.rs");
    assert_eq!(program, "/usr/bin/kmsd");
    assert!(package.contains("usr/bin/{name}") && package.contains("(\"kmsd\", &programs.kmsd)"));
    let words: Vec<_> = arguments.split(' ').collect();
    let [flag, file] = words.as_slice() else { panic!("{words:?}") };
    assert!(flags().contains(flag.trim_start_matches("--")), "kmsd has no {flag}");
    assert!(package.contains(&format!("{:?}", file.trim_start_matches('/'))), "{file}");
    // What is writable is where the settings put the data, and it is there from the installation on.
    let settings: toml::Table = read("packaging/kmsd.toml").parse().expect("TOML");
    let data = settings["data"].as_str().expect("a path");
    assert_eq!(format!("/var/lib/{}", of("StateDirectory").join("")), data);
    assert_eq!(of("ProtectSystem"), ["strict"]);
    let (user, installed) = (of("User").join(""), read("packaging/debian/postinst"));
    assert!(installed.contains(&format!("install -d -m 0700 -o {user} -g {user} {data}\n")));
    // The pages of the manual that it names are made.
    let dir = tempfile::tempdir().expect("a directory");
    let made = Command::new(environment::kmsctl())
        .args(["generate", "manual"])
        .arg(dir.path())
        .status()
        .expect("kmsctl runs");
    assert!(made.success());
    for page in of("Documentation").join(" ").split(' ') {
        let name = page.strip_prefix("man:").expect("a page of the manual");
        let name = name.trim_end_matches(')').replace('(', ".");
        let text = fs::read_to_string(dir.path().join(&name)).expect("it was made");
        if name == "kmsd.8" {
            // Hyphens are escaped, and changes of font end a word.
            let plain = text.replace("\\-", "-").replace("\\f", " ");
            let told: BTreeSet<_> = flags_in(&plain).into_iter().collect();
            let missing: Vec<_> = flags().difference(&told).cloned().collect();
            assert!(missing.is_empty(), "{missing:?} are not in {name}");
        }
    }
}

/// Systemd reads the drop-in for PKCS#11 modules that the documentation shows, every line of it, together with the
/// unit.
#[test]
fn the_drop_in_for_modules_is_one_of_systemd() {
    let page = environment::root().join("docs/cloudhsm-key-store.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once("```ini\n").expect("a drop-in");
    let (drop_in, _) = rest.split_once("```").expect("its end");
    if missing(&["systemd-analyze"]).is_some() {
        return skip("the drop-in of systemd", "there is no systemd-analyze");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let unit = environment::root().join("packaging/strongroom.service");
    let unit = fs::read_to_string(unit).expect("the unit");
    let start = "/usr/bin/kmsd --config /etc/strongroom/kmsd.toml";
    assert!(unit.contains(start));
    let at = dir.path().join("strongroom.service");
    fs::write(&at, unit.replace(start, "/bin/true")).expect("written");
    fs::create_dir(dir.path().join("strongroom.service.d")).expect("a directory");
    let verify = |drop_in: &str| {
        let place = dir.path().join("strongroom.service.d/pkcs11.conf");
        fs::write(place, drop_in).expect("written");
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&at)
            // The colon at the end adds the units of the machine.
            .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display()))
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(verify(drop_in), (true, String::new()));
    let (_, said) = verify(&drop_in.replace("ReadWritePaths=", "ReadWritePath="));
    assert!(said.contains("ReadWritePath"), "it would be said: {said}");
}

#[test]
fn versions_are_told() {
    for (name, program) in [("kmsd", environment::kmsd()), ("kmsctl", environment::kmsctl())] {
        let output = Command::new(program).arg("--version").output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let version = format!("{name} {} (", env!("CARGO_PKG_VERSION"));
        assert!(said.starts_with(&version) && said.ends_with(")\n"), "{said}");
    }
}

/// The first of the programs that is not on PATH.
fn missing<'p>(programs: &[&'p str]) -> Option<&'p str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let there = |program: &str| places.iter().any(|place| Path::new(place).join(program).is_file());
    programs.iter().copied().find(|program| !there(program))
}
