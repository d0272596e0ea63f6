//! A cluster of etcd on loopback, for tests: members that can be killed and started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use super::options::{Endpoint, EtcdOptions, Login, client_tls};

/// Where Debian's package `etcd-server` has the program.
const PROGRAM: &str = "etcd";
/// How long a member may take to take connections.
const TO_START: Duration = Duration::from_secs(60);
/// The password of the user that [`EtcdCluster::with_users`] makes.
const PASSWORD: &str = "correct horse battery staple";

/// A running cluster. It ends when it is dropped.
pub struct EtcdCluster {
    directory: TempDir,
    members: Vec<Member>,
    is_secure: bool,
    has_users: bool,
}

struct Member {
    process: Option<Process>,
    client: u16,
    peer: u16,
}

/// A shell with etcd in the background: statics are not dropped when a test program ends, and the
/// shell notices that.
struct Process {
    shell: Child,
    etcd: u32,
}

/// Runs what comes after the directory until a line or the end comes on the standard input. At the
/// end the directory goes as well.
const SUPERVISOR: &str = r#"
directory=$1; shift
"$@" </dev/null >/dev/null &
etcd=$!
echo $etcd
read -r line
kill -9 $etcd
wait $etcd
[ "$line" = keep ] || rm -rf "$directory"
"#;

impl Process {
    fn spawn(directory: &Path, log: fs::File, command: &Command) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(directory)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = shell.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("the number of the process");
        Self { shell, etcd: line.trim().parse().expect("a number") }
    }

    fn kill(mut self) {
        let mut input = self.shell.stdin.take().expect("its input");
        input.write_all(b"keep\n").expect("told");
        self.shell.wait().expect("ended");
    }
}

impl EtcdCluster {
    /// A cluster of so many members, without TLS and users.
    ///
    /// # Panics
    /// If etcd cannot be started.
    #[must_use]
    pub fn start(members: usize) -> Self {
        Self::start_with(members, false)
    }

    /// A cluster of so many members that take connections over TLS only, from clients with a
    /// certificate of the cluster's authority, and only as the user `kmsd`.
    ///
    /// # Panics
    /// If etcd cannot be started or set up.
    #[must_use]
    pub fn with_users(members: usize) -> Self {
        let mut cluster = Self::start_with(members, true);
        fs::write(cluster.password(), PASSWORD).expect("a file for the password");
        let commands: [&[&str]; 7] = [
            &["user", "add", "root:root"],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "kmsd"],
            &["role", "grant-permission", "kmsd", "--prefix=true", "readwrite", "/strongroom/"],
            &["user", "add", &format!("kmsd:{PASSWORD}")],
            &["user", "grant-role", "kmsd", "kmsd"],
            &["auth", "enable"],
        ];
        for command in commands {
            cluster.etcdctl(command);
        }
        cluster.has_users = true;
        cluster
    }

    fn start_with(members: usize, is_secure: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        if is_secure {
            make_certificates(directory.path());
        }
        let ports = free_ports(2 * members);
        let members = ports.chunks(2);
        let members = members.map(|p| Member { process: None, client: p[0], peer: p[1] });
        let members = members.collect();
        let mut cluster = Self { directory, members, is_secure, has_users: false };
        for member in 0..cluster.members.len() {
            cluster.spawn(member);
        }
        for member in 0..cluster.members.len() {
            cluster.wait(member);
        }
        cluster
    }

    /// Ends a member without warning (SIGKILL).
    ///
    /// # Panics
    /// If the member does not run.
    pub fn kill(&mut self, member: usize) {
        self.members[member].process.take().expect("a member that runs").kill();
    }

    /// Starts a member that was killed, with the data that it had.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, member: usize) {
        self.spawn(member);
        self.wait(member);
    }

    /// The directory with the data of a member that was killed.
    #[must_use]
    pub fn data(&self, member: usize) -> PathBuf {
        self.directory.path().join(format!("m{member}"))
    }

    /// Removes the data of a member that was killed.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn forget(&self, member: usize) {
        fs::remove_dir_all(self.data(member)).expect("removed");
    }

    /// Makes an authority and certificates in the place of the former ones. Members use them once they are restarted.
    pub fn renew_certificates(&self) {
        make_certificates(self.directory.path());
    }

    /// Process of a member, for signals.
    ///
    /// # Panics
    /// If the member does not run.
    #[must_use]
    pub fn process(&self, member: usize) -> u32 {
        self.members[member].process.as_ref().expect("a member that runs").etcd
    }

    /// The URLs of the members, as `--store etcd:` takes them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let scheme = self.scheme();
        self.members.iter().map(|m| format!("{scheme}://127.0.0.1:{}", m.client)).collect()
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A client's certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("client.pem")
    }

    /// The private key of the client's certificate.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("client.key")
    }

    /// The file with the password of the user `kmsd`.
    #[must_use]
    pub fn password(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    /// What a store needs to open the cluster under a prefix.
    ///
    /// # Panics
    /// If a file cannot be read.
    #[must_use]
    pub fn options(&self, prefix: &str) -> EtcdOptions {
        let endpoints = self.urls().into_iter().map(|url| Endpoint::parse(&url).expect("a URL"));
        let own = (self.certificate(), self.key());
        let tls = self
            .is_secure
            .then(|| client_tls(&self.authority(), Some((&own.0, &own.1))).expect("certificates"));
        let login = self
            .has_users
            .then(|| Login::read("kmsd".to_owned(), &self.password()).expect("a password"));
        EtcdOptions { endpoints: endpoints.collect(), prefix: prefix.to_owned(), tls, login }
    }

    /// Runs `etcdctl`, as root, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.urls().join(",")]);
        if self.is_secure {
            command.arg("--cacert").arg(self.authority());
            command.arg("--cert").arg(self.certificate()).arg("--key").arg(self.key());
        }
        if self.has_users {
            command.args(["--user", "root:root"]);
        }
        let output = command.args(arguments).output().expect("etcdctl of package etcd-client");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }

    fn spawn(&mut self, number: usize) {
        let scheme = self.scheme();
        let named =
            |(n, member): (usize, &Member)| format!("m{n}={scheme}://127.0.0.1:{}", member.peer);
        let peers: Vec<_> = self.members.iter().enumerate().map(named).collect();
        let directory = self.directory.path();
        let member = &self.members[number];
        let client = format!("{scheme}://127.0.0.1:{}", member.client);
        let peer = format!("{scheme}://127.0.0.1:{}", member.peer);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(directory.join(format!("m{number}.log")))
            .expect("a log");
        let mut command = Command::new(PROGRAM);
        command
            .args(["--name", &format!("m{number}"), "--initial-cluster", &peers.join(",")])
            .arg("--data-dir")
            .arg(directory.join(format!("m{number}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--logger", "zap", "--log-outputs", "stderr"]);
        if self.is_secure {
            for side in ["", "peer-"] {
                command.arg(format!("--{side}client-cert-auth"));
                for (flag, file) in [
                    ("cert-file", "member.pem"),
                    ("key-file", "member.key"),
                    ("trusted-ca-file", "ca.pem"),
                ] {
                    command.arg(format!("--{side}{flag}")).arg(directory.join(file));
                }
            }
        }
        self.members[number].process = Some(Process::spawn(directory, log, &command));
    }

    /// Waits until a member answers.
    fn wait(&self, number: usize) {
        let begin = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut options = self.options("/strongroom/waiting");
        options.endpoints = vec![options.endpoints[number].clone()];
        let answers = || {
            let opening = super::EtcdStore::open(options.clone());
            // Not from within another runtime.
            thread::scope(|scope| scope.spawn(|| runtime.block_on(opening).is_ok()).join())
        };
        while !answers().expect("no panic") {
            let log = self.directory.path().join(format!("m{number}.log"));
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(begin.elapsed() < TO_START, "etcd does not start: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        self.members.iter_mut().filter_map(|member| member.process.take()).for_each(Process::kill);
    }
}

/// Ports on loopback that nobody has.
fn free_ports(count: usize) -> Vec<u16> {
    let bound: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    bound.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

/// Makes an authority, and certificates of members and of a client.
fn make_certificates(directory: &Path) {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };
    let write = |name: &str, text: String| fs::write(directory.join(name), text).expect("written");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", params.self_signed(&key).expect("a certificate").pem());
    let authority = Issuer::new(params, key);
    for name in ["member", "client"] {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // With users, etcd takes the common name for one.
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}
