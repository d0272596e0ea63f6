//! `kmsd` from start to stop.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::Service;
use crate::audit::{AuditError, AuditLog, LogOptions, checkpoint, keep_checkpoints, keep_log};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::consistency::{ConsistencyError, Domains, Fitting};
use crate::credentials::{Credentials, CredentialsError};
use crate::development::{Seed, SeedError};
use crate::devices::{DevicesConfig, Fleet, FleetError, HostKeys, RootError, fingerprints};
use crate::durable;
use crate::files;
use crate::http::{Development, Front, Limits, Memory, Pages, Server};
use crate::iam::{Iam, Setup};
use crate::key::identifier::is_region;
use crate::key::{CatalogError, deletion, import, last_usage, rotation};
use crate::link::{self, Link, LinkSetupError, Peers};
use crate::metrics::Metrics;
use crate::quota::Quotas;
use crate::regions::{Opener, Regions};
use crate::sigv4::Verifier;
use crate::space::Space;
use crate::status::DaemonStatus;
use crate::store::{RedbStore, Store};
use crate::tls::{self, TlsError};

/// Connections for health and metrics.
const ADMIN_CONNECTIONS: usize = 64;
/// Files that are open beside connections: those of health and metrics, those that are about to be
/// closed, devices, links, store and audit log.
const OTHER_FILES: u64 = 384;
/// How often keys of the seed are tried again while there are no devices.
const SEED: Duration = Duration::from_secs(1);
/// Connections that are served however few files may be open.
const LEAST_CONNECTIONS: usize = 32;

/// Why the daemon does not run; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}; choose another with --data DIR")]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("another kmsd or kmsctl is running on {0}; stop it, or choose another --data DIR")]
    InUse(PathBuf),
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {source}; choose another with {flag} ADDR:PORT")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Where it was given.
        flag: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// No access keys.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No devices.
    #[error(transparent)]
    Devices(#[from] FleetError),
    /// No root of attestation documents.
    #[error(transparent)]
    Root(#[from] RootError),
    /// No audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// No store, or one that does not fit the rest.
    #[error(transparent)]
    Consistency(#[from] ConsistencyError),
    /// The store's content cannot be read.
    #[error("cannot read the store: {0}")]
    Catalog(#[from] CatalogError),
    /// No seed, or keys of it were refused.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// A quota is none.
    #[error("{0}")]
    Quota(String),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No link to other daemons.
    #[error(transparent)]
    Link(#[from] LinkSetupError),
    /// The operating system refused something else.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Exclusive use of a data directory, until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if missing, and takes its lock.
    ///
    /// # Errors
    /// [`DaemonError::InUse`] if another process has it.
    pub fn open(path: &Path) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Data { path: path.to_owned(), source };
        durable::create_private_dir(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DaemonError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Runs the daemon until SIGINT or SIGTERM. `ready` is told the URL once requests are served.
///
/// # Errors
/// [`DaemonError`] if the daemon cannot start.
pub async fn run(config: Config, ready: impl FnOnce(&str)) -> Result<(), DaemonError> {
    // Before anything else, so that a signal during the start is not missed.
    let stop = stop_signal()?;
    let development = development(&config)?;
    let data = DataDir::open(&config.data)?;
    // From here on no other daemon serves from this directory.
    let begin = SystemTime::now();
    let roots = credentials(&config, data.path())?;
    // The ports before the devices: a port in use shows at once.
    let limits = limits(&config, files::raise());
    let server = listen(&config, (config.listen, "--listen"), limits, data.path()).await?;
    let (server, admin) = match config.admin_listen {
        None => (server, None),
        Some(address) => {
            let limits =
                Limits { connections: ADMIN_CONNECTIONS, address: ADMIN_CONNECTIONS, ..limits };
            let admin = listen(&config, (address, "--admin-listen"), limits, data.path()).await?;
            (server.serving(Pages::Api), Some(admin.serving(Pages::Reports)))
        }
    };
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "region": config.region,
        "regions": config.regions,
        "anyRegion": config.any_region,
        "account": config.account,
        "hsm": config.hsms,
        "development": config.development.is_some(),
    });
    let space = Arc::new(Space::new(data.path(), config.disk));
    let path = data.path().join("audit");
    let fitting = Fitting::open(data.path(), &path, Some(Arc::clone(&space))).await?;
    let store = fitting.store();
    let options = LogOptions {
        policy: config.audit.clone(),
        refusal_rate: config.refusal_rate,
        space: Some(space),
        place: (config.account.clone(), config.region.clone()),
        store: Some(fitting.now()),
    };
    let (found, settling) = fitting.into_parts();
    let (audit, opened) = AuditLog::open_found(found, about, options).await?;
    let audit = Arc::new(audit);
    tracing::info!(sequence = opened.position.sequence, "audit log open");
    let marks = Arc::new(settling.finish(&audit).await?);

    let link = Link::of(&config, data.path()).await?;
    let (peers, link) = (link.peers, link.server);
    let starting = start(&config, &data, (peers, roots), Arc::clone(&audit), store);
    let mut stop = std::pin::pin!(stop);
    let started = tokio::select! {
        started = starting => started?,
        () = &mut stop => return Ok(()),
    };
    let Started { service, iam, jobs, fleet, store } = started;
    let regions = Arc::clone(service.regions());
    let status = Arc::new(
        DaemonStatus::new(&config, Arc::clone(&audit), Arc::clone(&regions), Arc::clone(&store))
            .with_fleet(Arc::clone(&fleet)),
    );
    let probe = tokio::spawn(Arc::clone(&status).watch_store());
    let (log, all) = (Arc::clone(&audit), Arc::clone(&regions));
    let written = Arc::clone(&marks);
    let checkpoints = tokio::spawn(async move { keep_checkpoints(&log, &all, &written).await });
    let log = Arc::clone(&audit);
    let keeping = tokio::spawn(async move { keep_log(&log).await });
    let usage = Arc::clone(service.usage());
    let window = Duration::from_secs(config.clock_window * 60);
    let verifier = Verifier::new(Arc::new(move |region| regions.has(region)), window);
    let verifier = match config.development {
        Some(_) => verifier, // restarted at will, by clients with any clock
        None => verifier.since(begin),
    };
    let metrics = Metrics::new();
    let front = Arc::new(Front {
        service: service.with_authorization(metrics.authorization()),
        verifier,
        iam,
        audit: Arc::clone(&audit),
        metrics,
        readiness: status,
        region: config.region.clone(),
        account: config.account.clone(),
        development,
        memory: Memory::default(),
    });
    let seeding = sow(&front, &fleet).await?;
    let mut linked = vec![tokio::spawn(link::run(Arc::clone(&front)))];
    linked.extend(link.map(|link| tokio::spawn(link.run(Arc::clone(&front)))));
    let url = |server: &Server| server.url().map_err(system("read the bound address"));
    if let Some(admin) = &admin {
        tracing::info!(url = url(admin)?, "health and metrics are served");
    }
    ready(&url(&server)?);
    let (stopping, stopped) = watch::channel(false);
    let stopped = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let admin = admin.map(|admin| tokio::spawn(admin.run(Arc::clone(&front), stopped())));
    let serving = server.run(front, stopped());
    tokio::join!(serving, async move {
        stop.await;
        let _ = stopping.send(true);
    });
    if let Some(admin) = admin {
        let _ = admin.await;
    }

    tracing::info!("stopping");
    let seeding = seeding.into_iter();
    for job in jobs.into_iter().chain([probe, checkpoints, keeping]).chain(linked).chain(seeding) {
        job.abort();
        let _ = job.await;
    }
    if let Err(error) = usage.flush().await {
        tracing::error!(%error, "cannot write when keys were last used");
    }
    drop(usage);
    let mut names = Vec::new();
    for (region, pool) in fleet.pools() {
        checkpoint(&audit, &pool).await;
        names.push(region);
    }
    marks.write(&audit, &names).await;
    drop(marks);
    // The pools before the audit log: it hands over the last audit entries of the devices.
    let stopped = tokio::task::spawn_blocking(move || {
        fleet.shut_down();
        drop((store, audit, data));
    });
    stopped.await.map_err(|error| system("stop")(io::Error::other(error)))
}

/// What requests are served with.
struct Started {
    iam: Arc<Iam>,
    service: Service,
    /// What the service does by itself.
    jobs: [JoinHandle<()>; 4],
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
}

async fn start(
    config: &Config,
    data: &DataDir,
    (peers, roots): (Peers, Credentials),
    audit: Arc<AuditLog>,
    store: Arc<RedbStore>,
) -> Result<Started, DaemonError> {
    let domains = Domains::of(Arc::clone(&store), data.path().join("store.redb"));
    let bound = domains.regions()?;
    let store: Arc<dyn Store> = store;
    let devices = DevicesConfig {
        data: data.path().to_owned(),
        region: config.region.clone(),
        hsms: config.hsms.clone(),
        firmware: config.firmware.clone(),
        link: config.link,
        roots: Some(fingerprints(&config.attestation_roots)?),
    };
    let fleet = Fleet::new(devices, Arc::clone(&audit), domains, config.rsa_stock);
    let mut running = Vec::new();
    let first = first_regions(config, data.path(), bound);
    fleet.note_others(&first);
    for region in first {
        let pool = Arc::clone(&fleet).start(region.clone()).await?;
        running.push((region, pool));
    }
    let keys = HostKeys::of_data(data.path()).map_err(FleetError::from)?;
    let regions = Regions::new(running, keys.provisioner).with_peers(peers);
    let regions = Arc::new(match config.any_region {
        true => regions.and_any(opener(&fleet)),
        false => regions,
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let service =
        Service::open(Arc::clone(&store), Arc::clone(&regions), Arc::clone(&clock)).await?;
    let quotas = Quotas::parse(&config.quotas).map_err(DaemonError::Quota)?;
    let iam = Iam::open(Setup {
        store: Arc::clone(&store),
        regions: Arc::clone(&regions),
        region: config.region.clone(),
        clock: Arc::clone(&clock),
        account: config.account.clone(),
        roots,
    });
    let iam = Arc::new(iam.await?);
    let service = service.with_quotas(quotas).with_identities(Arc::clone(&iam));
    let service = match config.development {
        Some(_) => service.in_development(),
        None => service,
    };
    let catalog = || Arc::clone(service.catalog());
    let (when, log) = (|| Arc::clone(&clock), || Arc::clone(&audit));
    let jobs = [
        tokio::spawn(deletion::run(catalog(), when(), log())),
        tokio::spawn(rotation::run(catalog(), regions, when(), log())),
        tokio::spawn(import::run(catalog(), when(), log())),
        tokio::spawn(last_usage::run(Arc::clone(service.usage()))),
    ];
    Ok(Started { service, iam, jobs, fleet, store })
}

/// The Regions to start with: with `--region any` those that were used before as well, by the devices'
/// files and by the store, whose keys are `bound`.
fn first_regions(config: &Config, data: &Path, bound: Vec<String>) -> Vec<String> {
    let mut regions = config.regions.clone();
    let used = fs::read_dir(data.join("hsm")).into_iter().flatten().flatten();
    let used = used.filter_map(|entry| entry.file_name().into_string().ok()).chain(bound);
    if config.any_region {
        regions.extend(used.filter(|name| is_region(name)));
    }
    let mut seen = BTreeSet::new();
    regions.retain(|region| seen.insert(region.clone()));
    regions
}

/// Starts the devices of Regions that are used for the first time.
fn opener(fleet: &Arc<Fleet>) -> Opener {
    let fleet = Arc::downgrade(fleet);
    Box::new(move |region| {
        let fleet = fleet.upgrade();
        Box::pin(async move {
            let fleet = fleet.ok_or("the daemon is stopping")?;
            fleet.start(region).await.map_err(|error| error.to_string())
        })
    })
}

/// Makes the keys of the seed, now or once there are devices.
async fn sow(front: &Arc<Front>, fleet: &Fleet) -> Result<Option<JoinHandle<()>>, SeedError> {
    let Some(development) = &front.development else { return Ok(None) };
    let mut ready = true;
    for (_, pool) in fleet.pools() {
        ready &= pool.ready(Instant::now()).await.is_ok();
    }
    if ready {
        let made = development.seed.apply(front).await?;
        tracing::info!(made, "keys of the seed are there");
        return Ok(None);
    }
    tracing::warn!("the keys of the seed are made once there are devices");
    let front = Arc::clone(front);
    Ok(Some(tokio::spawn(async move {
        let Some(development) = &front.development else { return };
        loop {
            match development.seed.apply(&front).await {
                Ok(made) => return tracing::info!(made, "keys of the seed are there"),
                Err(error) => tracing::debug!(%error, "keys of the seed are not there yet"),
            }
            tokio::time::sleep(SEED).await;
        }
    })))
}

/// What `--dev` adds. The seed is read before anything is started.
fn development(config: &Config) -> Result<Option<Development>, SeedError> {
    let Some(seed) = &config.development else { return Ok(None) };
    tracing::warn!(
        "DEVELOPMENT MODE: clients choose key ids and key material, and anybody who reaches the \
         port can destroy all keys. Never use it with keys that matter"
    );
    let seed = seed.as_deref().map(Seed::load).transpose()?.unwrap_or_default();
    Ok(Some(Development { seed, ..Development::default() }))
}

fn credentials(config: &Config, data: &Path) -> Result<Credentials, DaemonError> {
    if let Some(path) = &config.root_credentials {
        return Ok(Credentials::load(path, &config.account)?);
    }
    let path = data.join("credentials");
    let (credentials, made) = Credentials::load_or_create(&path, &config.account)?;
    if made {
        tracing::info!(path = %path.display(), "made the account root's access key");
    }
    Ok(credentials)
}

/// Binds a port.
async fn listen(
    config: &Config,
    (address, flag): (SocketAddr, &'static str),
    limits: Limits,
    data: &Path,
) -> Result<Server, DaemonError> {
    let tls = tls(config, address, data)?;
    let bound = Server::bind(address, tls, limits).await;
    bound.map_err(|source| DaemonError::Listen { address, flag, source })
}

/// As many connections as there are file descriptors for.
fn limits(config: &Config, files: u64) -> Limits {
    let limits = Limits::default();
    let room = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let connections = limits.connections.min(room.max(LEAST_CONNECTIONS));
    if connections < limits.connections {
        tracing::warn!(
            connections,
            "this process may have {files} open files only: fewer connections are served than \
             {}; raise the hard limit (ulimit -Hn, LimitNOFILE=) to {}",
            limits.connections,
            limits.connections as u64 + OTHER_FILES,
        );
    }
    let address = config.connections_per_address.unwrap_or(connections / 4);
    Limits { connections, address, ..limits }
}

fn tls(
    config: &Config,
    address: SocketAddr,
    data: &Path,
) -> Result<Option<Arc<ServerConfig>>, DaemonError> {
    let (certificate, key) = match &config.tls {
        Some(given) => given.clone(),
        None if config.needs_tls(address) => {
            let addresses = [Some(config.listen), config.admin_listen];
            let names = addresses.into_iter().flatten().map(|address| address.ip());
            let (certificate, key) = tls::own_certificate(data, names)?;
            tracing::info!(
                "TLS with the daemon's own certificate; clients need AWS_CA_BUNDLE={}",
                certificate.display()
            );
            (certificate, key)
        }
        None => return Ok(None),
    };
    Ok(Some(tls::load(&certificate, &key)?))
}

/// Completes at the first SIGINT or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>, DaemonError> {
    let listen = |kind| signal(kind).map_err(system("listen for signals"));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::System { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("another kmsd or kmsctl is running on"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = DataDir::open(&dir.path().join("file")).unwrap_err().to_string();
        assert!(error.contains("--data DIR"), "{error}");
    }
}
