//! The daemon's port as people set it up: names, certificates, the first page, what `kmsctl` finds
//! there, and what it says when something is wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::daemon::{Credentials, Daemon, reserved_address};
use hsm_tests::environment;
use hsm_tests::http::{Connection, Request, call};
use hsm_tests::patience::PATIENCE;
use hsm_tests::process::signal_process;
use hsm_tests::tls::{TlsClient, make_certificate};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Runs a program with these variables and no others.
fn run(program: &Path, home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).envs(variables.iter().copied()).args(arguments);
    command.stdin(Stdio::null()).output().expect("the program runs")
}

/// Runs `kmsctl`: its exit code and what it wrote, standard error included.
fn kmsctl(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let output = run(&environment::kmsctl(), home, variables, arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8(text).expect("UTF-8"))
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn developers_use_the_credentials_of_every_emulator() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "[default]\naws_access_key_id = test\naws_secret_access_key = test\n")
        .expect("written");
    let path = text(file.path());
    let daemon = Daemon::start_with(&["soft"], &["--dev", "--root-credentials", &path]);
    let test = Credentials { id: "test".into(), secret: "test".into() };
    let request = |who| Request::new("ListKeys", "{}").signed_by(who, &daemon).send(&daemon);
    assert_eq!(request(&test).status, 200);
    let wrong = Credentials { secret: "Test".into(), ..test.clone() };
    assert_eq!(request(&wrong).code(), "InvalidSignatureException");
    let large = "x".repeat(20_000);
    let refused = Request::new("CreateAlias", json!({ "AliasName": large }).to_string())
        .signed_by(&test, &daemon)
        .send(&daemon);
    assert_eq!(refused.code(), "ValidationException", "a long body is read for this key, too");
    let said = Daemon::refused(&["--root-credentials", &path]);
    assert!(said.contains("16 to 128"), "{said}");
}

#[test]
fn names_are_listened_on() {
    let daemon = Daemon::start_on("localhost:0", &["soft"]);
    let port = daemon.url().strip_prefix("http://localhost:").expect("the name in the URL");
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
    let mut reached = 0;
    for address in ["127.0.0.1", "[::1]"] {
        let names: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs("localhost:1")
            .expect("localhost has an address")
            .map(|address| address.ip().to_string())
            .collect();
        if names.contains(&address.trim_matches(['[', ']']).to_owned()) {
            reached += usize::from(TcpStream::connect(format!("{address}:{port}")).is_ok());
        }
    }
    assert!(reached >= 1, "no address of localhost is served");
    let said = Daemon::refused(&["--admin-listen", "no-such-host.invalid:1"]);
    assert!(said.contains("no-such-host.invalid has no address"), "{said}");
}

#[test]
fn a_certificate_has_the_names_that_clients_use_and_follows_them() {
    let mut daemon = Daemon::start_with(&["soft"], &["--tls-name", "kms.test"]);
    let file = daemon.data().join("tls/certificate.pem");
    let connect = |daemon: &Daemon, name: &str, trusted: &str| {
        TlsClient::connect(daemon.address(), name, trusted).map(|mut client| client.health())
    };
    assert!(daemon.url().starts_with("https://127.0.0.1:"), "{}", daemon.url());
    let first = fs::read_to_string(&file).expect("made");
    for name in ["kms.test", "localhost", "127.0.0.1"] {
        connect(&daemon, name, &first).expect("it is for this name");
    }
    let wrong = connect(&daemon, "other.test", &first).expect_err("it is not").to_string();
    assert!(wrong.contains("not valid for name"), "{wrong}");
    // The same names, the same certificate.
    daemon.stop();
    daemon.restart();
    assert_eq!(fs::read_to_string(&file).expect("there"), first);
    // Others, another one, and the log says that clients need it.
    daemon.stop();
    daemon.replace_arguments(&["--tls-name".to_owned(), "other.test".to_owned()]);
    daemon.restart();
    daemon.await_output("clients need the new file");
    let second = fs::read_to_string(&file).expect("made");
    connect(&daemon, "other.test", &second).expect("it is for this name now");
    connect(&daemon, "kms.test", &second).expect_err("and not for that");
    // Where it listens is among its names.
    daemon.stop();
    daemon.replace_arguments(&[
        "--listen".to_owned(),
        "127.0.0.2:0".to_owned(),
        "--tls-name".to_owned(),
        "x.test".to_owned(),
    ]);
    daemon.restart();
    let third = fs::read_to_string(&file).expect("made");
    connect(&daemon, "127.0.0.2", &third).expect("it is for its own address");
}

#[test]
fn a_certificate_is_replaced_while_connections_are_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let first = make_certificate(&certificate, &key);
    let arguments = ["--tls-cert", &text(&certificate), "--tls-key", &text(&key)];
    let daemon = Daemon::start_with(&["soft"], &arguments);
    let connect = |trusted: &str| TlsClient::connect(daemon.address(), "localhost", trusted);
    let mut open = connect(&first).expect("trusted");
    open.health();
    let shown = open.certificate();

    // Half a replacement, as a program that copies files makes one, and then garbage.
    let second_dir = tempfile::tempdir().expect("a directory");
    let (other, other_key) = (second_dir.path().join("c.pem"), second_dir.path().join("k.pem"));
    let second = make_certificate(&other, &other_key);
    fs::copy(&other, &certificate).expect("copied");
    signal_process(daemon.id(), Signal::HUP);
    daemon.await_output("the one from before is still served");
    assert_eq!(connect(&first).expect("still").certificate(), shown);
    daemon.await_output("c.pem"); // it says which
    // A connection that is idle for ten seconds is ended, on a slow machine as well.
    open.health();

    fs::copy(&other_key, &key).expect("copied");
    reload_by_unit(&daemon);
    daemon.await_output("the certificate was read again");
    open.health();
    let mut new = connect(&second).expect("the new one is served");
    assert_ne!(new.certificate(), shown);
    new.health();
    connect(&first).expect_err("the old one is not");
    open.health();
    assert!(open.health().starts_with("HTTP/1.1 200 "), "the old connection goes on");
}

/// What `systemctl reload strongroom` does.
fn reload_by_unit(daemon: &Daemon) {
    let unit = environment::root().join("packaging/strongroom.service");
    let unit = fs::read_to_string(unit).expect("the unit");
    let command =
        unit.lines().find_map(|line| line.strip_prefix("ExecReload=")).expect("a command");
    let process = daemon.id().to_string();
    let status = Command::new("sh").args(["-c", command]).env("MAINPID", process).status();
    assert!(status.expect("sh runs").success(), "{command}");
}

#[test]
fn a_hangup_without_tls_changes_nothing() {
    let daemon = Daemon::start(&["soft"]);
    signal_process(daemon.id(), Signal::HUP);
    daemon.await_output("nothing to read again");
    assert_eq!(call(&daemon, "ListKeys", &json!({})).status, 200);
}

#[test]
fn a_port_in_use_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    let dir = tempfile::tempdir().expect("a directory");
    let peer = dir.path().join("peer.pem");
    let _ = make_certificate(&peer, &dir.path().join("peer-key.pem"));
    let peer = format!("eu-west-1=127.0.0.1:1,{}", peer.display());
    for arguments in [
        &["--listen", &taken.1][..],
        &["--listen", "127.0.0.1:0", "--admin-listen", &taken.1],
        &["--listen", "127.0.0.1:0", "--link-listen", &taken.1, "--peer", &peer],
    ] {
        let data = dir.path().join("new/data");
        let path = text(&data);
        let all = [&["--data", &path][..], arguments].concat();
        let output = run(&environment::kmsd(), dir.path(), &[], &all);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("cannot listen on"), "{said}");
        assert!(said.contains(&taken.1) && said.contains("listen"), "{said}");
        assert!(!dir.path().join("new").exists(), "{arguments:?} left a directory");
    }
}

#[test]
fn a_data_directory_that_others_can_read_is_refused() {
    let mut daemon = Daemon::start(&["soft"]);
    assert!(daemon.stop().success());
    let open = |mode| fs::set_permissions(daemon.data(), fs::Permissions::from_mode(mode));
    open(0o755).expect("changed");
    let said = daemon.restart_refused();
    let advice = format!("chmod 700 {}", fs::canonicalize(daemon.data()).expect("there").display());
    assert!(said.contains("mode 0755") && said.contains(&advice), "{said}");
    let (code, said) = kmsctl(
        daemon.data(),
        &[],
        &["hsm", "provision", "--data", &text(daemon.data()), "unix:/nowhere"],
    );
    assert!(code == 2 && said.contains(&advice), "{said}");
    open(0o700).expect("changed");
    daemon.restart();
}

#[test]
fn what_is_logged_can_be_chosen() {
    let logged = |variables: &[(&str, &str)], arguments: &[&str]| {
        let dir = tempfile::tempdir().expect("a directory");
        let data = text(&dir.path().join("data"));
        let mut child = Command::new(environment::kmsd())
            .env_clear()
            .envs(variables.iter().copied())
            .args(["--data", &data, "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kmsd runs");
        // It has started, or ended, when it has said where it listens.
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        let _ = BufReader::new(stdout).read_line(&mut line).expect("a line, or the end");
        if let Some(address) = line.trim().strip_prefix("listening on http://") {
            // Bytes that are not a request are worth a line for whoever looks for faults.
            let mut stream = TcpStream::connect(address).expect("the daemon listens");
            stream.write_all(&[0; 64]).expect("sent");
            let _ = stream.read_to_end(&mut Vec::new());
            signal_process(child.id(), Signal::TERM);
        }
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    assert!(logged(&[], &[]).contains("INFO"));
    assert_eq!(logged(&[("STRONGROOM_LOG", "error")], &[]), "");
    assert!(logged(&[("STRONGROOM_LOG", "debug")], &[]).contains("DEBUG"));
    assert_eq!(logged(&[("STRONGROOM_LOG", "debug")], &["--log", "off"]), "", "the flag decides");
    let wrong = logged(&[("STRONGROOM_LOG", "verbose")], &[]);
    assert!(wrong.contains("info,host_driver=debug"), "{wrong}");
    let help = run(&environment::kmsd(), Path::new("/"), &[], &["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("STRONGROOM_LOG"), "it is documented");
}

/// Whoever starts the daemon may stop reading what it says.
#[test]
fn a_daemon_whose_output_nobody_reads_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let port = reserved_address();
    let mut child = Command::new(environment::kmsd())
        .env_clear()
        .env("STRONGROOM_LOG", "debug")
        .args(["--data", &text(&data), "--listen", &port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kmsd runs");
    drop((child.stdout.take(), child.stderr.take()));
    let by = Instant::now() + PATIENCE;
    let healthy = loop {
        if let Ok(mut stream) = TcpStream::connect(port) {
            let _ =
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            if answer.starts_with("HTTP/1.1 200 ") {
                break true;
            }
        }
        if Instant::now() > by || child.try_wait().expect("a child").is_some() {
            break false;
        }
        thread::sleep(Duration::from_millis(50));
    };
    signal_process(child.id(), Signal::TERM);
    let status = child.wait().expect("it ends");
    assert!(healthy && status.success(), "{status:?}");
}

#[test]
fn a_browser_and_clients_that_look_at_case() {
    let daemon = Daemon::start_with(&["soft"], &["--cors-origin", "https://app.example"]);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(daemon.address()).expect("the daemon listens");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let page = ask("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<h1>Strongroom</h1>"), "{page}");
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'none'"), "{page}");
    let preflight = ask("OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-amz-target\r\n\
         Connection: close\r\n\r\n");
    assert!(
        preflight.contains("\r\nAccess-Control-Allow-Origin: https://app.example\r\n"),
        "{preflight}"
    );
    let request = Request::new("ListKeys", "{}").signed(&daemon).header("connection", "close");
    let request = String::from_utf8(request.to_bytes(daemon.address())).expect("text");
    let answer = ask(&request);
    assert!(
        answer.contains("\r\nContent-Length: ") && answer.contains("\r\nX-Amzn-Requestid: "),
        "{answer}"
    );
}

/// The daemon that `kmsctl` asks is the one that the AWS CLI would, and it says which that is.
#[test]
fn kmsctl_finds_the_daemon_that_is_configured() {
    let (one, other) = (Daemon::start(&["soft"]), Daemon::start(&["soft:2"]));
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir(home.path().join(".aws")).expect("made");
    let config = format!(
        "[profile other]\nendpoint_url = {}\nregion = us-east-1\n[profile service]\nservices = \
         local\nendpoint_url = http://127.0.0.1:1\n[services local]\nkms =\n  endpoint_url = {}\n",
        other.url(),
        one.url()
    );
    fs::write(home.path().join(".aws/config"), config).expect("written");
    let ask = |variables: &[(&str, &str)], arguments: &[&str]| {
        kmsctl(home.path(), variables, &[&["status"][..], arguments].concat())
    };
    let closed = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    for (variables, arguments, daemon, origin) in [
        (&[("AWS_ENDPOINT_URL", other.url())][..], &[][..], &other, "AWS_ENDPOINT_URL"),
        (&[("AWS_ENDPOINT_URL_KMS", one.url()), closed], &[], &one, "AWS_ENDPOINT_URL_KMS"),
        (&[closed], &["--url", other.url()], &other, "--url"),
        (&[closed], &["--endpoint-url", one.url()], &one, "--url"),
        (&[("AWS_PROFILE", "other")], &[], &other, "profile other"),
        (&[("AWS_PROFILE", "other")], &["--profile", "service"], &one, "[services local]"),
    ] {
        let (code, said) = ask(variables, arguments);
        assert_eq!(code, 0, "{variables:?} {arguments:?}: {said}");
        assert!(said.contains(&format!("kmsd at {}: ready", daemon.url())), "{said}");
        assert!(said.contains(origin), "{said}");
        let instance = fs::read_to_string(daemon.data().join("instance")).expect("made");
        assert!(said.contains(instance.trim()), "it says which one: {said}");
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    }
    let (code, said) = ask(&[closed], &[]);
    assert!(code == 2 && said.contains("127.0.0.1:1 (from AWS_ENDPOINT_URL)"), "{said}");
    // Told to look at a directory, it does not speak of another daemon as ready.
    let (code, said) = ask(&[("AWS_ENDPOINT_URL", other.url())], &["--data", &text(other.data())]);
    assert!(code == 0 && said.contains(&text(other.data())), "{said}");
    let (code, said) = ask(&[("AWS_ENDPOINT_URL", other.url())], &["--data", &text(one.data())]);
    assert!(
        code == 2 && said.contains("is a different one") && said.contains("AWS_ENDPOINT_URL"),
        "{said}"
    );
    let (code, said) = ask(&[("AWS_ENDPOINT_URL", other.url())], &["--json"]);
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, report["endpointFrom"].as_str()), (0, Some("AWS_ENDPOINT_URL")), "{said}");
}

/// Identities are asked for where the AWS CLI asks for them, and else where KMS is.
#[test]
fn kmsctl_asks_for_identities_at_their_own_endpoint() {
    let daemon = Daemon::start(&["soft"]);
    let (home, data) = (tempfile::tempdir().expect("a directory"), text(daemon.data()));
    let list = |variables: &[(&str, &str)]| {
        let key = ("AWS_SHARED_CREDENTIALS_FILE", format!("{data}/credentials"));
        let variables = [variables, &[(key.0, key.1.as_str())]].concat();
        kmsctl(home.path(), &variables, &["iam", "user", "list"])
    };
    let closed = "http://127.0.0.1:1";
    let [of_kms, of_iam] = ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_IAM"];
    for variables in [
        &[(of_iam, daemon.url()), ("AWS_ENDPOINT_URL", closed), (of_kms, closed)][..],
        &[(of_kms, daemon.url())],
        &[("AWS_ENDPOINT_URL", daemon.url()), (of_kms, closed)],
    ] {
        let (code, said) = list(variables);
        assert_eq!(code, 0, "{variables:?}: {said}");
    }
    let (code, said) = list(&[(of_iam, closed), (of_kms, daemon.url())]);
    assert!(code == 2 && said.contains("(from AWS_ENDPOINT_URL_IAM)"), "{said}");
}

/// Access keys: of the data directory, of a profile, of the environment.
#[test]
fn kmsctl_signs_with_the_configured_access_key() {
    let daemon = Daemon::start(&["soft"]);
    let (home, data) = (tempfile::tempdir().expect("a directory"), text(daemon.data()));
    let endpoint = ("AWS_ENDPOINT_URL", daemon.url());
    let list = |variables: &[(&str, &str)], arguments: &[&str]| {
        kmsctl(home.path(), variables, &[&["iam", "user", "list"][..], arguments].concat())
    };
    let Credentials { id, secret } = daemon.credentials();
    let key = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret.as_str())];
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIAAAAAAAAAAAAAAAAA"), ("AWS_SECRET_ACCESS_KEY", "x")];
    assert_eq!(list(&[endpoint], &["--data", &data]).0, 0);
    assert_eq!(list(&[endpoint, key[0], key[1]], &[]).0, 0);
    assert_eq!(list(&[endpoint, ("STRONGROOM_DATA", &data)], &[]).0, 0);
    let credentials = text(&daemon.credentials_file());
    assert_eq!(list(&[endpoint, ("AWS_SHARED_CREDENTIALS_FILE", &credentials)], &[]).0, 0);
    // A flag comes before what the environment has.
    assert_eq!(list(&[endpoint, wrong[0], wrong[1]], &["--data", &data]).0, 0);
    let (code, said) = list(&[endpoint, wrong[0], wrong[1]], &[]);
    assert!(
        code == 2 && said.contains("AKIAAAAAAAAAAAAAAAAA at") && said.contains(daemon.url()),
        "{said}"
    );
    fs::create_dir(home.path().join(".aws")).expect("made");
    let profile = format!("[admin]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(home.path().join(".aws/credentials"), profile).expect("written");
    assert_eq!(list(&[endpoint], &["--profile", "admin"]).0, 0);
    assert_eq!(list(&[endpoint, ("AWS_PROFILE", "admin")], &[]).0, 0);
    assert_eq!(list(&[endpoint, wrong[0], wrong[1]], &["--profile", "admin"]).0, 0);
    let (code, said) = list(&[endpoint], &["--profile", "nobody"]);
    assert!(code == 2 && said.contains("nobody is in none of"), "{said}");
    assert!(!said.contains(&secret));
}

/// What a person reads who has the wrong scheme, name or file.
#[test]
fn kmsctl_says_what_to_do_about_tls() {
    let plain = Daemon::start(&["soft"]);
    let over_tls = Daemon::start_with(&["soft"], &["--tls-name", "kms.test"]);
    let home = tempfile::tempdir().expect("a directory");
    let file = text(&over_tls.data().join("tls/certificate.pem"));
    let other = home.path().join("other.pem");
    let _ = make_certificate(&other, &home.path().join("key.pem"));
    let wrong_scheme = |daemon: &Daemon| match daemon.url().strip_prefix("https") {
        Some(rest) => format!("http{rest}"),
        None => daemon.url().replacen("http", "https", 1),
    };
    let status = |variables: &[(&str, &str)], url: &str, arguments: &[&str]| {
        kmsctl(home.path(), variables, &[&["status", "--url", url][..], arguments].concat())
    };
    assert_eq!(status(&[], over_tls.url(), &["--ca", &file]).0, 0);
    assert_eq!(status(&[("AWS_CA_BUNDLE", &file)], over_tls.url(), &[]).0, 0);
    assert_eq!(status(&[], over_tls.url(), &["--data", &text(over_tls.data())]).0, 0);
    for (url, arguments, advice) in [
        (wrong_scheme(&plain), vec!["--ca", &file], format!("use {}", plain.url())),
        (wrong_scheme(&over_tls), vec![], format!("use {}", over_tls.url())),
        (over_tls.url().to_owned(), vec![], "--ca FILE".to_owned()),
        (
            over_tls.url().to_owned(),
            vec!["--ca", &text(&other)],
            "DIR/tls/certificate.pem".to_owned(),
        ),
        (
            over_tls.url().to_owned(),
            vec!["--ca", "/nowhere.pem"],
            "/nowhere.pem (from --ca)".to_owned(),
        ),
    ] {
        let (code, said) = status(&[], &url, &arguments);
        assert!(code == 2 && said.contains(&advice), "{url}: no {advice:?} in {said}");
    }
    // So does the daemon, in its log.
    over_tls.await_output("a client speaks plain HTTP where TLS is spoken");
    over_tls.await_output("a client does not trust this daemon's certificate");
    plain.await_output("a client speaks TLS where plain HTTP is spoken");
    // Other programs are told on the wire.
    let mut connection = Connection::open(&over_tls);
    connection.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let answer = connection.read().expect("an answer");
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("https://"), "{answer:?}");
}

#[test]
fn a_certificate_for_other_names_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (home.path().join("c.pem"), home.path().join("k.pem"));
    let _ = make_certificate(&certificate, &key);
    let (certificate, key) = (text(&certificate), text(&key));
    let daemon = Daemon::start_with(&["soft"], &["--tls-cert", &certificate, "--tls-key", &key]);
    let status =
        |url: &str| kmsctl(home.path(), &[], &["status", "--url", url, "--ca", &certificate]);
    let (code, said) = status(daemon.url());
    assert!(code == 2 && said.contains("is not for 127.0.0.1"), "{said}");
    assert!(said.contains("localhost") && said.contains("--tls-name 127.0.0.1"), "{said}");
    assert_eq!(status(&daemon.url().replace("127.0.0.1", "localhost")).0, 0);
}

/// `kmsctl … | head -1` ends well, and says nothing about it.
#[test]
fn a_pipe_that_is_closed_is_no_error() {
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(environment::kmsctl())
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("kmsctl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {output:?}");
    };
    let mut daemon = Daemon::start(&["soft"]);
    let _made = call(&daemon, "CreateKey", &json!({}));
    let url = daemon.url().to_owned();
    unread(&["status", "--url", &url]);
    unread(&["--json", "status", "--url", &url]);
    assert!(daemon.stop().success());
    let audit = text(&daemon.data().join("audit"));
    let anchor = text(&daemon.data().join("anchor.json"));
    unread(&["audit", "anchor", &audit, "--output", &anchor]);
    unread(&["audit", "verify", &audit, "--trust-anchor", &anchor]);
    unread(&["usage", &audit]);
    unread(&["--help"]);
}
