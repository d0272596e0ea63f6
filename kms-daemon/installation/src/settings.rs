//! The settings of `kmsd` as they are given: by flag, environment or file. `kmsd` checks them; `kmsctl` makes manuals of them.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use kms_base::log::LogFormat;
use serde::{Deserialize, Deserializer};

use crate::devices::Link;

/// Compression of closed files of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip, RFC 1952.
    Gzip,
}

/// The key management service on Strongroom HSMs, with the AWS KMS API.
#[derive(Debug, Parser)]
#[command(name = "kmsd", version = crate::VERSION, max_term_width = 100)]
pub struct CommandLine {
    /// Read settings from this TOML file; its keys are the long flags.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    /// The settings.
    pub settings: Settings,
}

/// What the command line accepts.
#[must_use]
pub fn command() -> clap::Command {
    <CommandLine as clap::CommandFactory>::command()
}

/// Settings as given: by flag or environment, or in the file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Address to listen on, or a name that resolves to one [default: 127.0.0.1:8700]; addresses other than
    /// loopback require TLS.
    #[arg(long, value_name = "ADDR:PORT", env = "STRONGROOM_LISTEN")]
    pub listen: Option<String>,
    /// Serve /healthz, /readyz and /metrics here, out of reach of clients; with the API, serve only /healthz
    /// [default: all with the API].
    #[arg(long, value_name = "ADDR:PORT", env = "STRONGROOM_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,
    /// Connections that one address may have; for IPv6, one network of 64 bits [default: a quarter of all,
    /// 1024].
    #[arg(long, value_name = "N", env = "STRONGROOM_CONNECTIONS_PER_ADDRESS")]
    pub connections_per_address: Option<usize>,
    /// Directory of store, audit log and credentials [default: in the user's data directory].
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
    pub data: Option<PathBuf>,
    /// Where keys, policies and identities are kept: etcd:URL,URL,… for an etcd cluster that several daemons
    /// share [default: store.redb in the data directory].
    #[arg(long, value_name = "etcd:URL,…", env = "STRONGROOM_STORE")]
    pub store: Option<String>,
    /// What the keys in etcd start with; one for each installation [default: /strongroom].
    #[arg(long, value_name = "PREFIX", env = "STRONGROOM_STORE_PREFIX", requires = "store")]
    pub store_prefix: Option<String>,
    /// Authorities that vouch for the members of the etcd cluster, PEM; required for https.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_CA", requires = "store")]
    pub store_ca: Option<PathBuf>,
    /// Certificate chain that is shown to etcd, PEM [default: none].
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_CERT", requires = "store_key")]
    pub store_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_KEY", requires = "store_cert")]
    pub store_key: Option<PathBuf>,
    /// User of etcd [default: none].
    #[arg(
        long,
        value_name = "NAME",
        env = "STRONGROOM_STORE_USER",
        requires = "store_password_file"
    )]
    pub store_user: Option<String>,
    /// File with the password of that user in its first line.
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_STORE_PASSWORD_FILE",
        requires = "store_user"
    )]
    pub store_password_file: Option<PathBuf>,
    /// Keep sealed copies of the store in this directory, on another medium [default: none].
    #[arg(
        long,
        value_name = "DIR",
        env = "STRONGROOM_REPLICA",
        requires = "replica_passphrase_file"
    )]
    pub replica: Option<PathBuf>,
    /// File whose first line is the passphrase of the copies, 12 bytes or more.
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_REPLICA_PASSPHRASE_FILE",
        requires = "replica"
    )]
    pub replica_passphrase_file: Option<PathBuf>,
    /// Seconds between copies of a store that changes, 1 to 86400 [default: 30].
    #[arg(long, value_name = "SECONDS", env = "STRONGROOM_REPLICA_INTERVAL", requires = "replica")]
    pub replica_interval: Option<u64>,
    /// Devices: soft[:N], qemu[:BOARD][:N], serial:PATH, tcp:HOST:PORT, unix:PATH, with REGION=… in front for
    /// one Region only; repeatable [default: soft]. soft alone stands for the in-process devices that are there,
    /// and in a new Region for one for each processor, at most four. BOARD is an emulated board, such as mps2_an505 [default:
    /// that of the flash in the data directory, else qemu_riscv32].
    #[arg(long, value_name = "HSM", env = "STRONGROOM_HSM", value_delimiter = ',')]
    pub hsm: Option<Vec<String>>,
    /// Region that clients sign for, each with an HSM domain of its own; repeatable, or any, which
    /// opens Regions as they are used [default: us-east-1].
    #[arg(long, env = "STRONGROOM_REGION", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_more")]
    pub region: Option<Vec<String>>,
    /// Account number [default: 000000000000].
    #[arg(long, env = "STRONGROOM_ACCOUNT")]
    pub account: Option<String>,
    /// Use the root access keys of this shared-credentials file [default: make DIR/credentials].
    #[arg(long, value_name = "FILE", env = "STRONGROOM_ROOT_CREDENTIALS")]
    pub root_credentials: Option<PathBuf>,
    /// Firmware image for qemu devices, as built by `cargo xtask firmware`; of their board.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_FIRMWARE")]
    pub firmware: Option<PathBuf>,
    /// Line to qemu devices [default: the board's own].
    #[arg(long, env = "STRONGROOM_LINK")]
    pub link: Option<Link>,
    /// Certificate chain for TLS, PEM; read again at SIGHUP [default: made when TLS is needed, and renewed].
    #[arg(long, value_name = "FILE", env = "STRONGROOM_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Host name or address by which clients call this daemon, for the certificate that it makes [default:
    /// localhost and the addresses of --listen]; requires TLS; repeatable. Its authority can vouch for names
    /// below a name as well: prefer kms.example.com to example.com.
    #[arg(
        long,
        value_name = "NAME",
        env = "STRONGROOM_TLS_NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert"
    )]
    pub tls_name: Option<Vec<String>>,
    /// Origin whose pages may use the API from a browser, such as https://app.example, or * for
    /// all; repeatable [default: none].
    #[arg(long, value_name = "ORIGIN", env = "STRONGROOM_CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origin: Option<Vec<String>>,
    /// RSA key pairs to keep ready, of 2048, 3072 and 4096 bits [default: 2,1,1].
    #[arg(long, value_name = "N,N,N", env = "STRONGROOM_RSA_STOCK", value_delimiter = ',')]
    pub rsa_stock: Option<Vec<usize>>,
    /// Key tokens of a Region that are rewrapped in a second, 1 to 10000, after a domain key was rotated
    /// [default: 20].
    #[arg(long, value_name = "RATE", env = "STRONGROOM_REWRAP_RATE")]
    pub rewrap_rate: Option<u32>,
    /// Let devices seal results to environments that these roots vouch for: aws-nitro, or a root certificate
    /// in PEM; repeatable [default: none].
    #[arg(long, value_name = "ROOT", env = "STRONGROOM_ATTESTATION_ROOT", value_delimiter = ',')]
    pub attestation_root: Option<Vec<String>>,
    /// Minutes that a client's clock may differ, 1 to 15 [default: 5].
    #[arg(long, value_name = "MINUTES", env = "STRONGROOM_CLOCK_WINDOW")]
    pub clock_window: Option<u64>,
    /// Log levels: off, error, warn, info, debug or trace, and TARGET=LEVEL for parts, such as
    /// info,host_driver=debug [default: info].
    #[arg(long, value_name = "LEVELS", env = "STRONGROOM_LOG")]
    pub log: Option<String>,
    /// Form of log lines on standard error [default: text].
    #[arg(long, value_name = "FORM", env = "STRONGROOM_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Requests per second of an account: aws for AWS's defaults, or NAME=RATE such as CreateKey=5 or
    /// symmetric=1000; repeatable [default: no limit].
    #[arg(long, value_name = "QUOTA", env = "STRONGROOM_QUOTA", value_delimiter = ',')]
    pub quota: Option<Vec<String>>,
    /// Another daemon that serves a Region, with the certificate of its link; repeatable.
    #[arg(
        long,
        value_name = "REGION=HOST:PORT,CERT",
        env = "STRONGROOM_PEER",
        value_delimiter = ';'
    )]
    pub peer: Option<Vec<String>>,
    /// Address where daemons of other Regions reach this one [default: none].
    #[arg(long, value_name = "ADDR:PORT", env = "STRONGROOM_LINK_LISTEN")]
    pub link_listen: Option<String>,
    /// Address where external key stores are served to another KMS (see kmsctl xks); addresses other than
    /// loopback require TLS [default: none].
    #[arg(long, value_name = "ADDR:PORT", env = "STRONGROOM_XKS_LISTEN")]
    pub xks_listen: Option<String>,
    /// Let only clients connect to --xks-listen that show a certificate of these authorities, PEM; requires
    /// TLS; read again at SIGHUP [default: no certificate is asked for].
    #[arg(long, value_name = "FILE", env = "STRONGROOM_XKS_CLIENT_CA", requires = "xks_listen")]
    pub xks_client_ca: Option<PathBuf>,
    /// Name that the certificate of such a client must have as its common name or as a DNS name; repeatable
    /// [default: cks.kms.REGION.amazonaws.com of each --region, the names of AWS KMS].
    #[arg(
        long,
        value_name = "NAME",
        env = "STRONGROOM_XKS_CLIENT_NAME",
        value_delimiter = ',',
        requires = "xks_client_ca"
    )]
    pub xks_client_name: Option<Vec<String>>,
    /// Host on which custom key stores of accounts may have external key store proxies; repeatable. It is
    /// reached on port 443 of what the name resolves to, or at ADDRESS:PORT [default: none, so that there are
    /// no external key stores].
    #[arg(
        long,
        value_name = "HOST[=ADDRESS:PORT]",
        env = "STRONGROOM_XKS_PROXY_ALLOW",
        value_delimiter = ','
    )]
    pub xks_proxy_allow: Option<Vec<String>>,
    /// VPC endpoint service that custom key stores of accounts may name, and the host of its proxy, the private DNS
    /// name; repeatable. With @ACCOUNT it is of that account; others have to name the owner [default: none].
    #[arg(
        long,
        value_name = "SERVICE[@ACCOUNT]=HOST[=ADDRESS:PORT]",
        env = "STRONGROOM_XKS_PROXY_VPC",
        value_delimiter = ','
    )]
    pub xks_proxy_vpc: Option<Vec<String>>,
    /// Authorities of the certificates of such proxies, PEM, beside those of the system.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_XKS_PROXY_CA")]
    pub xks_proxy_ca: Option<PathBuf>,
    /// Certificate chain, PEM, to show to such proxies [default: none].
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_XKS_PROXY_CERT",
        requires = "xks_proxy_key"
    )]
    pub xks_proxy_cert: Option<PathBuf>,
    /// Private key of --xks-proxy-cert, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "STRONGROOM_XKS_PROXY_KEY",
        requires = "xks_proxy_cert"
    )]
    pub xks_proxy_key: Option<PathBuf>,
    /// Milliseconds that a call of such a proxy may take, 50 to 5000 [default: 250, as at AWS KMS].
    #[arg(long, value_name = "MS", env = "STRONGROOM_XKS_PROXY_TIMEOUT")]
    pub xks_proxy_timeout: Option<u64>,
    /// PKCS#11 module, an absolute path, whose tokens custom key stores of type AWS_CLOUDHSM may be on;
    /// repeatable. It is run as the daemon's user, in processes of its own [default: none, so that there are no
    /// such stores].
    #[arg(long, value_name = "PATH", env = "STRONGROOM_PKCS11_MODULE", value_delimiter = ',')]
    pub pkcs11_module: Option<Vec<PathBuf>>,
    /// Environment variable that these modules see, such as SOFTHSM2_CONF; repeatable [default: none].
    #[arg(
        long,
        value_name = "NAME",
        env = "STRONGROOM_PKCS11_ENV",
        value_delimiter = ',',
        requires = "pkcs11_module"
    )]
    pub pkcs11_env: Option<Vec<String>>,
    /// Milliseconds that a use of a key in a token may take, 50 to 60000; logins and new keys may take five
    /// times that [default: 2000].
    #[arg(long, value_name = "MS", env = "STRONGROOM_PKCS11_TIMEOUT", requires = "pkcs11_module")]
    pub pkcs11_timeout: Option<u64>,
    /// Processes of modules that may run at once, 2 to 4096; each token of a connected custom key store has one, and
    /// no store gets more than half of them [default: 128].
    #[arg(
        long,
        value_name = "NUMBER",
        env = "STRONGROOM_PKCS11_PROCESSES",
        requires = "pkcs11_module"
    )]
    pub pkcs11_processes: Option<usize>,
    /// Size at which a new file of the audit log is begun, 64K to 1G [default: 16M].
    #[arg(long, value_name = "SIZE", env = "STRONGROOM_AUDIT_SEGMENT_SIZE")]
    pub audit_segment_size: Option<String>,
    /// Hours after which a new file is begun, 1 to 24; each day (UTC) has a file of its own anyway [default:
    /// 24].
    #[arg(long, value_name = "HOURS", env = "STRONGROOM_AUDIT_SEGMENT_AGE")]
    pub audit_segment_age: Option<u64>,
    /// Compression of closed files of the audit log: none, or gzip [default: none].
    #[arg(long, value_name = "FORM", env = "STRONGROOM_AUDIT_COMPRESS")]
    pub audit_compress: Option<Compression>,
    /// Directory to which closed files of the audit log are copied, and their records as files in
    /// CloudTrail's form below AWSLogs in it [default: none].
    #[arg(long, value_name = "DIR", env = "STRONGROOM_AUDIT_DELIVER")]
    pub audit_deliver: Option<PathBuf>,
    /// Days for which files of the audit log are kept, and at least until they are delivered if delivery is
    /// configured; or forever [default: forever].
    #[arg(long, value_name = "DAYS", env = "STRONGROOM_AUDIT_KEEP")]
    pub audit_keep: Option<String>,
    /// Where the buckets of trails are: a directory that has a directory for each, or the URL of an
    /// S3-compatible service, with a comma and the Region of its signatures if that is not the first of
    /// --region [default: none].
    #[arg(long, value_name = "DIR|URL[,REGION]", env = "STRONGROOM_TRAIL_STORE")]
    pub trail_store: Option<String>,
    /// File with the access key for the trail store, in the form of ~/.aws/credentials [default: the
    /// variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the machine's own role].
    #[arg(long, value_name = "FILE", env = "STRONGROOM_TRAIL_CREDENTIALS")]
    pub trail_credentials: Option<PathBuf>,
    /// Seconds between files of a trail, and between its digests, a multiple of the first [default:
    /// 300,3600].
    #[arg(
        long,
        value_name = "SECONDS,SECONDS",
        env = "STRONGROOM_TRAIL_INTERVAL",
        value_delimiter = ','
    )]
    pub trail_interval: Option<Vec<u64>>,
    /// Refusals a second for which an address without a valid signature is told the reason; further ones get
    /// ThrottlingException [default: 50].
    #[arg(long, value_name = "RATE", env = "STRONGROOM_REFUSAL_RATE")]
    pub refusal_rate: Option<u32>,
    /// Room on the disk that is kept for administration, 0 or 1M to 1G [default: 16M].
    #[arg(long, value_name = "SIZE", env = "STRONGROOM_DISK_RESERVE")]
    pub disk_reserve: Option<String>,
    /// Free room below which /readyz and the log warn, at most a quarter of the disk
    /// [default: 512M].
    #[arg(long, value_name = "SIZE", env = "STRONGROOM_DISK_WARN")]
    pub disk_warn: Option<String>,
    /// For development and tests only: --seed, chosen key ids and key material, a reset call.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", env = "STRONGROOM_DEV")]
    pub dev: Option<bool>,
    /// Make the keys of this TOML file when starting, and after a reset; with --dev.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_SEED")]
    pub seed: Option<PathBuf>,
}

impl Settings {
    /// Takes each setting from `self`, else from `file`.
    pub fn or(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            admin_listen: self.admin_listen.or(file.admin_listen),
            connections_per_address: self.connections_per_address.or(file.connections_per_address),
            data: self.data.or(file.data),
            store: self.store.or(file.store),
            store_prefix: self.store_prefix.or(file.store_prefix),
            store_ca: self.store_ca.or(file.store_ca),
            store_cert: self.store_cert.or(file.store_cert),
            store_key: self.store_key.or(file.store_key),
            store_user: self.store_user.or(file.store_user),
            store_password_file: self.store_password_file.or(file.store_password_file),
            replica: self.replica.or(file.replica),
            replica_passphrase_file: self.replica_passphrase_file.or(file.replica_passphrase_file),
            replica_interval: self.replica_interval.or(file.replica_interval),
            hsm: self.hsm.or(file.hsm),
            region: self.region.or(file.region),
            account: self.account.or(file.account),
            root_credentials: self.root_credentials.or(file.root_credentials),
            firmware: self.firmware.or(file.firmware),
            link: self.link.or(file.link),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            tls_name: self.tls_name.or(file.tls_name),
            cors_origin: self.cors_origin.or(file.cors_origin),
            rsa_stock: self.rsa_stock.or(file.rsa_stock),
            rewrap_rate: self.rewrap_rate.or(file.rewrap_rate),
            attestation_root: self.attestation_root.or(file.attestation_root),
            clock_window: self.clock_window.or(file.clock_window),
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
            quota: self.quota.or(file.quota),
            peer: self.peer.or(file.peer),
            link_listen: self.link_listen.or(file.link_listen),
            xks_listen: self.xks_listen.or(file.xks_listen),
            xks_client_ca: self.xks_client_ca.or(file.xks_client_ca),
            xks_client_name: self.xks_client_name.or(file.xks_client_name),
            xks_proxy_allow: self.xks_proxy_allow.or(file.xks_proxy_allow),
            xks_proxy_vpc: self.xks_proxy_vpc.or(file.xks_proxy_vpc),
            xks_proxy_ca: self.xks_proxy_ca.or(file.xks_proxy_ca),
            xks_proxy_cert: self.xks_proxy_cert.or(file.xks_proxy_cert),
            xks_proxy_key: self.xks_proxy_key.or(file.xks_proxy_key),
            xks_proxy_timeout: self.xks_proxy_timeout.or(file.xks_proxy_timeout),
            pkcs11_module: self.pkcs11_module.or(file.pkcs11_module),
            pkcs11_env: self.pkcs11_env.or(file.pkcs11_env),
            pkcs11_timeout: self.pkcs11_timeout.or(file.pkcs11_timeout),
            pkcs11_processes: self.pkcs11_processes.or(file.pkcs11_processes),
            audit_segment_size: self.audit_segment_size.or(file.audit_segment_size),
            audit_segment_age: self.audit_segment_age.or(file.audit_segment_age),
            audit_compress: self.audit_compress.or(file.audit_compress),
            audit_deliver: self.audit_deliver.or(file.audit_deliver),
            audit_keep: self.audit_keep.or(file.audit_keep),
            trail_store: self.trail_store.or(file.trail_store),
            trail_credentials: self.trail_credentials.or(file.trail_credentials),
            trail_interval: self.trail_interval.or(file.trail_interval),
            refusal_rate: self.refusal_rate.or(file.refusal_rate),
            disk_reserve: self.disk_reserve.or(file.disk_reserve),
            disk_warn: self.disk_warn.or(file.disk_warn),
            dev: self.dev.or(file.dev),
            seed: self.seed.or(file.seed),
        }
    }
}

/// One text or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(Some(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    }))
}
