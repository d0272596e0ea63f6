//! Configuration of `kmsd`: flags, environment, a TOML file, defaults, in this order.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Parser;
use host_driver::pool::StockTargets;

use crate::http::Cors;
use crate::job::rewrap::DEFAULT_RATE;
use crate::link::PeerAddress;
use crate::quota::Quotas;
use crate::trail::{Place, Schedule};
use kms_audit::Policy;
use kms_base::identifier::is_region;
use kms_base::log::{self, LogFormat};
use kms_base::space::DiskPolicy;
use kms_installation::data_dir::{NoHome, default_data};
use kms_installation::devices::{Link, hsms_of};
use kms_installation::settings::{CommandLine, Settings};
pub use kms_installation::store_place::EtcdSettings;
use kms_pkcs11::Modules;

/// Most key pairs of one spec that the pool can hold.
const MAX_STOCK: usize = 64;
/// Most key tokens of a Region that may be rewrapped in a second.
const MAX_REWRAP_RATE: u32 = 10_000;

mod durability;
mod listen;
mod modules;
mod proxies;
mod replica;

use self::durability::{audit_policy, disk_policy, refusals, trail_place, trail_schedule};
pub use self::listen::Listen;
pub use self::proxies::XksProxies;
pub use self::replica::ReplicaSettings;

/// The Region if none is given.
const FIRST_REGION: &str = "us-east-1";
/// Stands for all Regions.
const ANY_REGION: &str = "any";
/// Longest clock difference that may be allowed, in minutes.
const MAX_CLOCK_WINDOW: u64 = 15;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line is wrong, or asks for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file does not parse.
    #[error("{path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: Box<toml::de::Error>,
    },
    /// There is no place for the data directory.
    #[error(transparent)]
    Home(#[from] NoHome),
    /// A value is invalid.
    #[error("{0}")]
    Value(String),
}

/// The configuration of `kmsd`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where health and metrics are served, if not with the API.
    pub admin_listen: Option<Listen>,
    /// Connections that one address may have; a quarter of all by default.
    pub connections_per_address: Option<usize>,
    /// The data directory: everything that the daemon keeps.
    pub data: PathBuf,
    /// The etcd cluster that has the records; `None` for the data directory.
    pub etcd: Option<EtcdSettings>,
    /// Where copies of the store are kept.
    pub replica: Option<ReplicaSettings>,
    /// The devices, in the form of `--hsm`.
    pub hsms: Vec<String>,
    /// The first of [`Config::regions`], for devices and keys that name no Region.
    pub region: String,
    /// The Regions, for example `us-east-1`.
    pub regions: Vec<String>,
    /// Whether further Regions are opened when they are first used.
    pub any_region: bool,
    /// The account, 12 digits.
    pub account: String,
    /// File with root credentials to use instead of those in the data directory.
    pub root_credentials: Option<PathBuf>,
    /// Firmware image of QEMU devices.
    pub firmware: Option<PathBuf>,
    /// Line of QEMU devices.
    pub link: Option<Link>,
    /// Certificate chain and private key in PEM, for TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Further names for the certificate that the daemon makes: host names in lower case, or
    /// addresses.
    pub tls_names: Vec<String>,
    /// Origins whose pages may use the API.
    pub cors: Cors,
    /// RSA key pairs that devices generate before they are asked for.
    pub rsa_stock: StockTargets,
    /// Key tokens of a Region that are rewrapped in a second.
    pub rewrap_rate: NonZeroU32,
    /// Roots of attestation documents: `aws-nitro`, or certificates in PEM.
    pub attestation_roots: Vec<String>,
    /// Clock difference allowed to clients, in minutes, 1 to 15.
    pub clock_window: u64,
    /// Levels of the log.
    pub log: String,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Request quotas, in the form of `--quota`.
    pub quotas: Vec<String>,
    /// How the files of the audit log are closed, compressed, delivered and removed.
    pub audit: Policy,
    /// Where the buckets of trails are.
    pub trails: Option<Place>,
    /// How often trails are delivered.
    pub trail_schedule: Schedule,
    /// Refusals a second for which an address without a valid signature is told the reason.
    pub refusal_rate: u32,
    /// Room that is kept free on the disk.
    pub disk: DiskPolicy,
    /// The daemons of other Regions.
    pub peers: Vec<PeerAddress>,
    /// Where the daemons of other Regions reach this one.
    pub link_listen: Option<Listen>,
    /// Where external key stores are served.
    pub xks_listen: Option<Listen>,
    /// Whose certificates clients of [`Config::xks_listen`] have to show: a file of authorities, PEM, and
    /// the names in the certificates.
    pub xks_clients: Option<(PathBuf, Vec<String>)>,
    /// Which external key store proxies may be called, and how.
    pub xks_proxies: Option<XksProxies>,
    /// Which PKCS#11 modules may be run, and how.
    pub modules: Option<Modules>,
    /// Whether the development interface is on, and the seed file, if there is one.
    pub development: Option<Option<PathBuf>>,
}

/// Checks the settings, with defaults for what is not given.
fn resolve(given: Settings) -> Result<Config, ConfigError> {
    let (audit, disk) = (audit_policy(&given)?, disk_policy(&given)?);
    let (refusal_rate, xks_proxies) = (refusals(&given)?, proxies::resolve(&given)?);
    let (trail_schedule, modules) = (trail_schedule(&given)?, modules::resolve(&given)?);
    let etcd = EtcdSettings::of(&given).map_err(value)?;
    let replica = replica::resolve(&given)?;
    let home = given.region.iter().flatten().find(|region| *region != ANY_REGION);
    let trails = trail_place(&given, home.map_or(FIRST_REGION, String::as_str))?;
    let tls = match (given.tls_cert, given.tls_key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(value("tls-cert and tls-key belong together: give both or none")),
    };
    let development = match (given.dev.unwrap_or(false), given.seed) {
        (true, seed) => Some(seed),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(value("seed is for development and tests only; add --dev"));
        }
    };
    let mut regions = given.region.unwrap_or_default();
    let named = regions.len();
    regions.retain(|region| region != ANY_REGION);
    let any_region = regions.len() < named;
    if regions.is_empty() {
        regions.push(FIRST_REGION.to_owned());
    }
    if any_region && development.is_none() {
        return Err(value("region any is for development and tests only; add --dev"));
    }
    let tls_names = tls_names(&given.tls_name.unwrap_or_default())?;
    if tls.is_some() && !tls_names.is_empty() {
        return Err(value(
            "tls-name is for the certificate that kmsd makes; with tls-cert, leave it out",
        ));
    }
    let place = |flag: &str, text: Option<String>| {
        text.map(|text| Listen::resolve(flag, &text)).transpose()
    };
    let xks_clients = given.xks_client_ca.map(|authorities| {
        let of_aws = |region: &String| format!("cks.kms.{region}.amazonaws.com");
        let names = given.xks_client_name.unwrap_or_else(|| regions.iter().map(of_aws).collect());
        (authorities, names)
    });
    let config = Config {
        listen: place("listen", given.listen)?
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8700)).into()),
        admin_listen: place("admin-listen", given.admin_listen)?,
        connections_per_address: given.connections_per_address,
        data: given.data.map_or_else(default_data, Ok)?,
        etcd,
        replica,
        hsms: given.hsm.unwrap_or_else(|| vec!["soft".to_owned()]),
        region: regions[0].clone(),
        regions,
        any_region,
        account: given.account.unwrap_or_else(|| "0".repeat(12)),
        root_credentials: given.root_credentials,
        firmware: given.firmware,
        link: given.link,
        tls,
        tls_names,
        cors: Cors::parse(&given.cors_origin.unwrap_or_default()).map_err(value)?,
        rsa_stock: given.rsa_stock.as_deref().map_or_else(|| Ok(StockTargets::default()), stock)?,
        rewrap_rate: rewrap_rate(given.rewrap_rate)?,
        attestation_roots: given.attestation_root.unwrap_or_default(),
        clock_window: given.clock_window.unwrap_or(5),
        log: given.log.unwrap_or_else(|| "info".to_owned()),
        log_format: given.log_format.unwrap_or_default(),
        quotas: given.quota.unwrap_or_default(),
        audit,
        trails,
        trail_schedule,
        refusal_rate,
        disk,
        peers: peers(&given.peer.unwrap_or_default())?,
        link_listen: place("link-listen", given.link_listen)?,
        xks_listen: place("xks-listen", given.xks_listen)?,
        xks_clients,
        xks_proxies,
        modules,
        development,
    };
    config.check()?;
    Ok(config)
}

/// Reads names for a certificate.
fn tls_names(texts: &[String]) -> Result<Vec<String>, ConfigError> {
    let read = |text: &String| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(address.to_string());
        }
        let of_label = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(of_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        match text.len() <= 253 && text.split('.').all(is_label) {
            true => Ok(text.to_ascii_lowercase()),
            false => Err(value(format_args!(
                "tls-name {text:?} is neither a host name nor an address, such as kms.example or \
                 192.0.2.1; give each name, without port or wildcard"
            ))),
        }
    };
    texts.iter().map(read).collect()
}

/// Reads the daemons of other Regions.
fn peers(texts: &[String]) -> Result<Vec<PeerAddress>, ConfigError> {
    let read = |text: &String| {
        let wrong = || value(format_args!("peer {text:?} is not REGION=HOST:PORT,CERTIFICATE"));
        PeerAddress::parse(text).ok_or_else(wrong)
    };
    texts.iter().map(read).collect()
}

/// Reads the number of key tokens that are rewrapped in a second.
fn rewrap_rate(rate: Option<u32>) -> Result<NonZeroU32, ConfigError> {
    let Some(rate) = rate else { return Ok(DEFAULT_RATE) };
    let rate = NonZeroU32::new(rate).filter(|rate| rate.get() <= MAX_REWRAP_RATE);
    rate.ok_or_else(|| value("rewrap-rate must be 1 to 10000 key tokens a second"))
}

/// Reads numbers of key pairs.
fn stock(numbers: &[usize]) -> Result<StockTargets, ConfigError> {
    match *numbers {
        [rsa_2048, rsa_3072, rsa_4096] if numbers.iter().all(|number| *number <= MAX_STOCK) => {
            Ok(StockTargets { rsa_2048, rsa_3072, rsa_4096 })
        }
        _ => Err(value("rsa-stock must be three numbers up to 64, for 2048, 3072 and 4096 bits")),
    }
}

impl Config {
    /// Reads the command line, the environment and the configuration file.
    ///
    /// # Errors
    /// [`ConfigError`], whose text says what to change.
    pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let CommandLine { config, settings } = CommandLine::try_parse_from(arguments)?;
        let file = config.map_or_else(|| Ok(Settings::default()), |path| read(&path))?;
        resolve(settings.or(file))
    }

    /// Whether requests to a port come over TLS.
    #[must_use]
    pub fn needs_tls(&self, port: &Listen) -> bool {
        self.tls.is_some() || !self.tls_names.is_empty() || !port.is_loopback()
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(value(format_args!("account {:?} is not 12 digits", self.account)));
        }
        for (index, region) in self.regions.iter().enumerate() {
            if !is_region(region) {
                return Err(value(format_args!("{region:?} is not a Region name like us-east-1")));
            }
            if self.regions[..index].contains(region) {
                return Err(value(format_args!("region {region} is given twice")));
            }
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let region = &peer.region;
            if self.regions.contains(region) {
                return Err(value(format_args!("region {region} is served here, not by a peer")));
            }
            if self.peers[..index].iter().any(|other| other.region == *region) {
                return Err(value(format_args!("two peers are given for {region}")));
            }
        }
        if self.link_listen.is_some() && self.peers.is_empty() {
            return Err(value("link-listen is for peers; name them with --peer"));
        }
        self.check_external_stores()?;
        self.check_hsms()?;
        if !(1..=MAX_CLOCK_WINDOW).contains(&self.clock_window) {
            return Err(value("clock-window must be 1 to 15 minutes"));
        }
        if self.connections_per_address == Some(0) {
            return Err(value("connections-per-address must be at least 1"));
        }
        log::parse(&self.log).map_err(value)?;
        Quotas::parse(&self.quotas).map_err(value)?;
        Ok(())
    }

    /// Checks that clients who have to show a certificate can.
    fn check_external_stores(&self) -> Result<(), ConfigError> {
        let Some((_, names)) = &self.xks_clients else { return Ok(()) };
        let Some(listen) = &self.xks_listen else {
            return Err(value("xks-client-ca is for external key stores; add --xks-listen"));
        };
        if !self.needs_tls(listen) {
            let text = "xks-client-ca requires TLS on --xks-listen; add --tls-name, or --tls-cert";
            return Err(value(text));
        }
        match names.is_empty() || names.iter().any(String::is_empty) {
            true => Err(value("xks-client-name is empty; leave it out for the names of AWS KMS")),
            false => Ok(()),
        }
    }

    /// Checks that each Region has devices, and each device a Region.
    fn check_hsms(&self) -> Result<(), ConfigError> {
        if self.hsms.is_empty() {
            return Err(value("hsm names no device; leave it out for an in-process one"));
        }
        for region in &self.regions {
            if hsms_of(&self.hsms, region, &self.region).is_empty() {
                return Err(value(format_args!(
                    "there is no hsm for {region}; add one, for example --hsm {region}=soft"
                )));
            }
        }
        for hsm in &self.hsms {
            if let Some((region, _)) = hsm.split_once('=')
                && is_region(region)
                && !self.any_region
                && !self.regions.iter().any(|known| known == region)
            {
                return Err(value(format_args!(
                    "hsm {hsm} is for a Region that is not served; add --region {region}"
                )));
            }
        }
        Ok(())
    }
}

fn value(reason: impl fmt::Display) -> ConfigError {
    ConfigError::Value(reason.to_string())
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|reason| ConfigError::Syntax { path: path.to_owned(), reason: Box::new(reason) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &[&str]) -> Result<Config, ConfigError> {
        let arguments = ["kmsd", "--data", "/data"].iter().chain(arguments);
        Config::load(arguments.map(OsString::from))
    }

    #[test]
    fn defaults() {
        let config = load(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8700");
        assert_eq!(
            (config.region.as_str(), config.account.as_str()),
            ("us-east-1", "000000000000")
        );
        assert_eq!(config.hsms, ["soft"]);
        assert!(!config.needs_tls(&config.listen));
        assert_eq!((config.cors, config.log.as_str()), (Cors::default(), "info"));
        assert_eq!((config.audit, config.disk), (Policy::default(), DiskPolicy::default()));
        assert_eq!((config.refusal_rate, config.rewrap_rate.get()), (50, 20));
        assert_eq!((config.admin_listen, config.connections_per_address), (None, None));
    }

    #[test]
    fn flags_come_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kmsd.toml");
        let text = "region = 'eu-central-1'\naccount = '123456789012'\nhsm = ['qemu:2', 'soft']\n\
                    link = 'uart'\nclock-window = 15\nrsa-stock = [4, 0, 1]\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let config = load(&["--config", path, "--region", "us-gov-west-1"]).unwrap();
        assert_eq!(
            (config.region.as_str(), config.account.as_str()),
            ("us-gov-west-1", "123456789012")
        );
        assert_eq!(config.hsms, ["qemu:2", "soft"]);
        assert_eq!((config.link, config.clock_window), (Some(Link::Uart), 15));
        let stock = StockTargets { rsa_2048: 4, rsa_3072: 0, rsa_4096: 1 };
        assert_eq!(config.rsa_stock, stock);
        let config = load(&["--config", path, "--hsm", "soft", "--hsm", "unix:/x"]).unwrap();
        assert_eq!(config.hsms, ["soft", "unix:/x"]);
    }

    #[test]
    fn regions_are_repeated_or_any() {
        let config = load(&["--region", "eu-west-1", "--region", "us-east-1"]).unwrap();
        assert_eq!((config.region.as_str(), config.any_region), ("eu-west-1", false));
        assert_eq!(config.regions, ["eu-west-1", "us-east-1"]);
        let config = load(&["--region", "any", "--dev"]).unwrap();
        assert_eq!((config.region.as_str(), config.any_region), ("us-east-1", true));
        for (arguments, text) in [
            (&["--region", "us-east-1,us-east-1"][..], "twice"),
            (&["--region", "any"], "--dev"),
            (&["--region", "us-east-1,eu-west-1", "--hsm", "unix:/x"], "--hsm eu-west-1=soft"),
            (&["--hsm", "soft,eu-west-1=unix:/x"], "--region eu-west-1"),
            (&["--peer", "eu-west-1=host:1"], "REGION=HOST:PORT,CERTIFICATE"),
            (&["--peer", "us-east-1=host:1,c.pem"], "served here"),
            (&["--link-listen", "127.0.0.1:1"], "--peer"),
        ] {
            let error = load(arguments).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn impossible_values_are_named() {
        for (arguments, text) in [
            (["--account", "12"], "12 digits"),
            (["--region", "nowhere"], "Region name"),
            (["--clock-window", "16"], "1 to 15"),
            (["--rsa-stock", "1,2"], "three numbers"),
            (["--rsa-stock", "1,2,65"], "up to 64"),
            (["--tls-cert", "x"], "--tls-key"),
            (["--listen", "localhost"], "localhost:8700"),
            (["--seed", "x"], "--dev"),
            (["--quota", "aws,CreateKey"], "NAME=RATE"),
            (["--audit-segment-size", "1K"], "audit-segment-size"),
            (["--audit-segment-age", "25"], "1 to 24 hours"),
            (["--audit-keep", "0"], "forever"),
            (["--disk-reserve", "2G"], "disk-reserve"),
            (["--refusal-rate", "0"], "refusal-rate"),
            (["--rewrap-rate", "0"], "1 to 10000"),
            (["--rewrap-rate", "10001"], "1 to 10000"),
            (["--connections-per-address", "0"], "at least 1"),
        ] {
            let error = load(&arguments).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_file_with_a_misspelt_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kmsd.toml");
        std::fs::write(&path, "regoin = 'eu-central-1'\n").unwrap();
        let error = load(&["--config", path.to_str().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("regoin") && error.contains("kmsd.toml"), "{error}");
    }

    #[test]
    fn other_addresses_need_tls() {
        let needs_tls = |arguments: &[&str]| {
            let config = load(arguments).unwrap();
            config.needs_tls(config.admin_listen.as_ref().unwrap_or(&config.listen))
        };
        assert!(needs_tls(&["--listen", "0.0.0.0:8700"]));
        assert!(!needs_tls(&["--listen", "[::1]:8700"]));
        assert!(needs_tls(&["--tls-cert", "c", "--tls-key", "k"]));
        assert!(needs_tls(&["--admin-listen", "0.0.0.0:8702"]));
        assert!(!needs_tls(&["--listen", "0.0.0.0:8700", "--admin-listen", "127.0.0.1:8702"]));
        assert!(!needs_tls(&["--listen", "localhost:8700"]));
        assert!(needs_tls(&["--tls-name", "kms.example"]));
    }

    #[test]
    fn names_for_the_certificate() {
        let config =
            load(&["--tls-name", "KMS.example,2001:DB8::1", "--tls-name", "[::2]"]).unwrap();
        assert_eq!(config.tls_names, ["kms.example", "2001:db8::1", "::2"]);
        for wrong in ["kms.example:8700", "*.example", "https://kms.example", "", "a..b", "a-"] {
            let error = load(&["--tls-name", wrong]).unwrap_err().to_string();
            assert!(error.contains("192.0.2.1"), "{wrong}: {error}");
        }
        let both = ["--tls-name", "kms.example", "--tls-cert", "c", "--tls-key", "k"];
        assert!(load(&both).unwrap_err().to_string().contains("--tls-name"));
    }

    #[test]
    fn origins_and_levels_are_checked() {
        let config = load(&["--cors-origin", "https://a.example,http://localhost:3000"]).unwrap();
        let expected = Cors::parse(&["https://a.example", "http://localhost:3000"]).unwrap();
        assert_eq!(config.cors, expected);
        for (arguments, text) in [
            (["--cors-origin", "null"], "sandboxed"),
            (["--log", "nonsense"], "info,host_driver=debug"),
            (["--listen", "8700"], "localhost:8700"),
        ] {
            let error = load(&arguments).unwrap_err().to_string();
            assert!(error.contains(text), "{arguments:?}: {error}");
        }
    }
}
