//! `kmsd` from start to stop.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admission::Admission;
use crate::api::Service;
use crate::app::App;
use crate::cluster::Clusters;
use crate::config::{Config, EtcdSettings, Listen};
use crate::credentials::Credentials;
use crate::development::{Development, Seed, SeedError};
use crate::http::{Front, Limits, Memory, Pages, Server};
use crate::iam::{Iam, Setup};
use crate::job::scrub::ScrubMetrics;
use crate::job::{self, Jobs};
use crate::link::Peers;
use crate::link_server::{self, Link};
use crate::management::Management;
use crate::metrics::Metrics;
use crate::quota::Quotas;
use crate::regions::{Opener, Regions, Ruler};
use crate::status::DaemonStatus;
use crate::trail::{self, Trails};
use hsm_firmware::chip::program;
use kms_audit::{AuditLog, LogOptions, checkpoint};
use kms_base::clock::{Clock, SystemClock};
use kms_base::files;
use kms_base::identifier::is_region;
use kms_base::space::Space;
use kms_installation::backup::Snapshots;
use kms_installation::consistency::{Domains, Fitting};
use kms_installation::data_dir::DataDir;
use kms_installation::devices::{DevicesConfig, Fleet, FleetError, HostKeys, fingerprints};
use kms_installation::tls::{self, TlsError};
use kms_keys::Barrier;
use kms_sigv4::Verifier;
use kms_store::{EtcdStore, RedbStore, Store, import};

mod elsewhere;
mod failure;
mod ports;
mod replica;

use elsewhere::{Elsewhere, reached};
pub use failure::DaemonError;
use ports::{
    certificate, external_over_tls, external_stores, keep_certificate, limits, listen, proxies,
};
use replica::Copies;

/// The limit on connections for health and metrics.
const ADMIN_CONNECTIONS: usize = 64;
/// How long threads that wait for a device may go on waiting at the end.
const TO_STOP: Duration = Duration::from_secs(1);
/// When what only a start needs has run, jobs included.
const STARTED: Duration = Duration::from_secs(5);
/// The time in which code that runs often has run: jobs have periods of up to a minute.
const SELDOM: Duration = Duration::from_secs(60);
/// The time between attempts to create the keys of the seed while there are no devices.
const SEED: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGINT or SIGTERM. Calls `ready` with the URL once requests are served.
/// `ready` is not a type parameter, because the whole daemon would then be compiled with each
/// program that calls this function.
///
/// # Errors
/// [`DaemonError`] if the daemon cannot start.
pub fn run(config: Config, ready: fn(&str)) -> Result<(), DaemonError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().on_thread_park(kms_base::memory::before_waiting);
    let runtime = runtime.build().map_err(system("start threads"))?;
    let ended = runtime.block_on(serve(config, ready));
    // A start interrupted by a signal may still wait for a device.
    runtime.shutdown_timeout(TO_STOP);
    ended
}

async fn serve(config: Config, ready: fn(&str)) -> Result<(), DaemonError> {
    // This comes first, so that a signal during the start is not missed.
    let stop = stop_signal()?;
    let hangup = || signal(SignalKind::hangup()).map_err(system("listen for signals"));
    let (hangup, hangup_of_clients, hangup_of_store) = (hangup()?, hangup()?, hangup()?);
    let development = development(&config)?;
    // Ports are bound before anything else, so that one in use shows at once and leaves nothing
    // behind.
    let limits = limits(&config, files::raise());
    let server = listen((&config.listen, "--listen"), limits).await?;
    let (server, admin) = match &config.admin_listen {
        None => (server, None),
        Some(place) => {
            let limits =
                Limits { connections: ADMIN_CONNECTIONS, address: ADMIN_CONNECTIONS, ..limits };
            let admin = listen((place, "--admin-listen"), limits).await?;
            (server.serving(Pages::Api), Some(admin.serving(Pages::Reports)))
        }
    };
    let external = external_stores(&config, limits).await?;
    let link = link_server::bind(&config).await?;
    let data = DataDir::open(&config.data)?;
    // From here on, no other daemon serves from this directory.
    let begin = Instant::now();
    let roots = credentials(&config, data.path())?;
    let certificate = certificate(&config, data.path())?;
    let over_tls = |server: Server, place: &Listen| -> Result<Server, TlsError> {
        match &certificate {
            Some(served) if config.needs_tls(place) => Ok(server.over_tls(served.config()?)),
            _ => Ok(server),
        }
    };
    let server = over_tls(server, &config.listen)?;
    let admin = match (admin, &config.admin_listen) {
        (Some(admin), Some(place)) => Some(over_tls(admin, place)?),
        _ => None,
    };
    let (external, clients) = match (external, &config.xks_listen, &certificate) {
        (Some(server), Some(place), Some(served)) if config.needs_tls(place) => {
            let (server, clients) = external_over_tls(&config, server, served)?;
            (Some(server), clients)
        }
        (external, ..) => (external, None),
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
    let etcd = etcd(&config).await?;
    let place = config.etcd.as_ref().map(EtcdSettings::place);
    let space_of_store = Some(Arc::clone(&space));
    let elsewhere = etcd.as_deref().map(reached);
    let elsewhere = place.as_deref().zip(elsewhere);
    let fitting = Fitting::open(data.path(), &path, space_of_store, elsewhere).await?;
    let store = fitting.store();
    let elsewhere = Elsewhere::of(etcd.as_ref(), &store, config.etcd.clone());
    let copies = Copies::of(&config, data.path(), &store, etcd.as_ref())?;
    let options = LogOptions {
        policy: config.audit.clone(),
        refusal_rate: config.refusal_rate,
        space: Some(space),
        place: (config.account.clone(), config.region.clone()),
        store: Some(fitting.now()),
        ..LogOptions::default()
    };
    let (found, settling) = fitting.into_parts();
    let (audit, opened) = AuditLog::open_found(found, about, options).await?;
    let audit = Arc::new(audit);
    tracing::info!(sequence = opened.position.sequence, "audit log open");
    let marks = Arc::new(settling.finish(&audit).await?);

    let link = Link::of(&config, data.path(), link)?;
    let (peers, link) = (link.peers, link.server);
    let starting = start(&config, &data, (peers, roots), Arc::clone(&audit), (store, etcd));
    let mut stop = std::pin::pin!(stop);
    let started = tokio::select! {
        started = starting => started?,
        () = &mut stop => return Ok(()),
    };
    let Started { service, iam, fleet, store, snapshots, trails } = started;
    let regions = Arc::clone(service.regions());
    let status = Arc::new(
        DaemonStatus::new(&config, Arc::clone(&audit), Arc::clone(&regions), Arc::clone(&store))
            .with_fleet(Arc::clone(&fleet))
            .with_keys(Arc::clone(service.catalog()))
            .with_backups(Some(Arc::clone(&snapshots)))
            .in_directory(data.path())
            .with_trails(Arc::clone(&trails))
            .with_proxies(service.proxies().cloned())
            .with_clusters(service.clusters().cloned())
            .of_instance(data.instance()?),
    );
    let usage = Arc::clone(service.usage());
    let identities = Arc::clone(&iam);
    let window = Duration::from_secs(config.clock_window * 60);
    let verifier = Verifier::new(Arc::new(move |region| regions.has(region)), window);
    let verifier = match config.development {
        Some(_) => verifier, // restarts often; client clocks may be wrong
        None => verifier.since(begin),
    };
    let mut metrics = Metrics::new().with_store(data.path().join("store.redb"));
    let places = [
        ("listen", Some(&config.listen)),
        ("admin", config.admin_listen.as_ref()),
        ("xks", config.xks_listen.as_ref()),
    ];
    for (name, place) in places {
        if let (Some(served), Some(place)) = (&certificate, place)
            && config.needs_tls(place)
        {
            metrics = metrics.with_served(name, Arc::clone(served));
        }
    }
    let of_link = data.path().join("link").join("certificate.pem");
    if !config.peers.is_empty()
        && let Some(end) = tls::expiry(&of_link)?
    {
        metrics.certificate("link", end);
    }
    if let Some(proxies) = service.proxies() {
        metrics.add(|registry| proxies.metrics().register(registry));
    }
    if let Some(clusters) = service.clusters() {
        metrics.add(|registry| clusters.metrics().register(registry));
    }
    let scrub = Arc::new(ScrubMetrics::default());
    metrics.add(|registry| scrub.register(registry));
    let management = Management::new(Arc::clone(&iam))
        .with_snapshots(Arc::clone(&snapshots))
        .with_fleet(Arc::clone(&fleet))
        .with_trails(Arc::clone(&trails));
    let app = Arc::new(App {
        service: service.with_authorization(metrics.authorization()),
        management,
        iam,
        verifier,
        audit: Arc::clone(&audit),
        admission: Admission::default(),
        metrics,
        region: config.region.clone(),
        account: config.account.clone(),
    });
    let seeding = sow(&app, development.as_ref(), &fleet).await?;
    let mut jobs = Jobs::start(
        &app,
        job::Setup {
            store: Arc::clone(&store),
            snapshots: Arc::clone(&snapshots),
            trails,
            marks: Arc::clone(&marks),
            rewrap_rate: config.rewrap_rate,
            scrub,
            replica: copies.as_ref().map(|copies| copies.replica()),
        },
    );
    jobs.run(Arc::clone(&status).watch_store());
    jobs.run(keep_certificate(certificate, hangup));
    jobs.run(give_back_code());
    if let Some(elsewhere) = &elsewhere {
        jobs.run(Arc::clone(elsewhere).keep(hangup_of_store));
    }
    if let Some(clients) = clients {
        jobs.run(clients.keep(hangup_of_clients));
    }
    if let Some(copies) = copies {
        app.metrics.add(|registry| copies.register(registry));
        jobs.run(copies.run());
    }
    if let Some(link) = link {
        jobs.run(link.run(Arc::clone(&app)));
    }
    let front = Arc::new(Front {
        app,
        readiness: status,
        development,
        memory: Memory::default(),
        memory_of_stores: Memory::of_stores(),
        cors: config.cors.clone(),
    });
    let url = |server: &Server, place: &Listen| {
        let address = server.address().map_err(system("read the bound address"))?;
        Ok::<_, DaemonError>(place.url(server.scheme(), address.port()))
    };
    if let (Some(admin), Some(place)) = (&admin, &config.admin_listen) {
        tracing::info!(url = url(admin, place)?, "health and metrics are served");
    }
    if let (Some(external), Some(place)) = (&external, &config.xks_listen) {
        tracing::info!(url = url(external, place)?, "external key stores are served");
    }
    ready(&url(&server, &config.listen)?);
    let (stopping, stopped) = watch::channel(false);
    let stopped = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let others: Vec<_> = admin
        .into_iter()
        .chain(external)
        .map(|server| tokio::spawn(server.run(Arc::clone(&front), stopped())))
        .collect();
    let serving = server.run(front, stopped());
    tokio::join!(serving, async move {
        stop.await;
        let _ = stopping.send(true);
    });
    for other in others {
        let _ = other.await;
    }

    tracing::info!("stopping");
    jobs.end().await;
    if let Some(elsewhere) = elsewhere {
        elsewhere.note().await;
    }
    if let Some(seeding) = seeding {
        seeding.abort();
        let _ = seeding.await;
    }
    snapshots.end().await;
    drop(snapshots);
    if let Err(error) = usage.flush().await {
        tracing::error!(%error, "cannot store when keys were last used");
    }
    if let Err(error) = identities.flush_uses().await {
        tracing::error!(%error, "cannot store when identities were last used");
    }
    drop((usage, identities));
    let mut names = Vec::new();
    for (region, pool) in fleet.pools() {
        checkpoint(&audit, &pool, true).await;
        names.push(region);
    }
    marks.write(&audit, &names).await;
    drop(marks);
    // The pools stop before the audit log, because they hand over the last audit entries of the
    // devices.
    let stopped = tokio::task::spawn_blocking(move || {
        fleet.shut_down();
        drop((store, audit, data));
    });
    stopped.await.map_err(|error| system("stop")(io::Error::other(error)))
}

/// Gives back the memory of code that runs seldom, first of what only the start has run.
async fn give_back_code() {
    let mut pause = STARTED;
    loop {
        tokio::time::sleep(pause).await;
        if let Err(error) = program::give_back() {
            return tracing::debug!(%error, "the memory of code cannot be given back");
        }
        pause = SELDOM;
    }
}

/// What the daemon needs to serve requests.
struct Started {
    iam: Arc<Iam>,
    service: Service,
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    snapshots: Arc<Snapshots>,
    trails: Arc<Trails>,
}

async fn start(
    config: &Config,
    data: &DataDir,
    (peers, roots): (Peers, Credentials),
    audit: Arc<AuditLog>,
    (store, etcd): (Arc<RedbStore>, Option<Arc<EtcdStore>>),
) -> Result<Started, DaemonError> {
    let domains = match (&etcd, &config.etcd) {
        (Some(etcd), Some(settings)) => {
            let records = Arc::clone(etcd) as Arc<dyn Store>;
            Domains::of_shared(Arc::clone(&store), records, settings.place().into())
        }
        _ => Domains::of(Arc::clone(&store), data.path().join("store.redb")),
    };
    let bound = domains.regions()?;
    let snapshots = Snapshots::new(data.path(), Arc::clone(&store), Arc::clone(&audit));
    let snapshots = Arc::new(snapshots);
    let tokens = match etcd {
        Some(etcd) => Barrier::new(etcd),
        None => Barrier::new(store),
    };
    let store: Arc<dyn Store> = Arc::clone(&tokens) as Arc<dyn Store>;
    let devices = DevicesConfig {
        data: data.path().to_owned(),
        region: config.region.clone(),
        hsms: config.hsms.clone(),
        firmware: config.firmware.clone(),
        link: config.link,
        roots: Some(fingerprints(&config.attestation_roots)?),
    };
    let fleet = Fleet::new(devices, Arc::clone(&audit), Arc::clone(&domains), config.rsa_stock);
    let mut running = Vec::new();
    let first = first_regions(config, data.path(), bound);
    fleet.note_others(&first);
    for region in first {
        let pool = Arc::clone(&fleet).start(region.clone()).await?;
        running.push((region, pool));
    }
    fleet.note_strays();
    let keys = HostKeys::of_data(data.path()).map_err(FleetError::from)?;
    let path = data.path().to_owned();
    let ruler = Ruler {
        operator: keys.operator,
        ledger: Box::new(move |region| domains.ledger(&path, region)),
        tokens,
    };
    let regions = Regions::new(running, ruler).with_peers(peers);
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
    let trails = Arc::new(Trails::new(trail::Setup {
        store: Arc::clone(&store),
        regions: Arc::clone(&regions),
        audit: Arc::clone(&audit),
        clock: Arc::clone(&clock),
        place: config.trails.clone(),
        schedule: config.trail_schedule,
    }));
    let iam = Arc::new(iam.await?);
    let service = service.with_quotas(quotas).with_identities(Arc::clone(&iam));
    let service = match &config.xks_proxies {
        Some(settings) => service.with_proxies(Arc::new(proxies(settings)?)),
        None => service,
    };
    let service = match &config.modules {
        Some(modules) => service.with_clusters(Arc::new(Clusters::new(modules.clone()))),
        None => service,
    };
    let service = match config.development {
        Some(_) => service.in_development(),
        None => service,
    };
    Ok(Started { service, iam, fleet, store, snapshots, trails })
}

/// Opens the store on etcd, if the records are there.
async fn etcd(config: &Config) -> Result<Option<Arc<EtcdStore>>, DaemonError> {
    let Some(settings) = &config.etcd else { return Ok(None) };
    let place = settings.place();
    let opened = EtcdStore::open(settings.options()?).await;
    let failed = |source| DaemonError::Cluster { place: place.clone(), source };
    let opened = opened.map_err(failed)?;
    import::ensure_whole(&opened).await.map_err(failed)?;
    tracing::info!(place, "the records are in etcd");
    Ok(Some(Arc::new(opened)))
}

/// Returns the Regions to start with. With `--region any` these include Regions that were used
/// before, as found in the devices' files and in the store, whose keys are `bound`.
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

/// Returns what starts the devices of a Region when it is used for the first time.
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

/// Creates the keys of the seed, now or once there are devices.
async fn sow(
    app: &Arc<App>,
    development: Option<&Arc<Development>>,
    fleet: &Fleet,
) -> Result<Option<JoinHandle<()>>, SeedError> {
    let Some(development) = development else { return Ok(None) };
    let mut ready = true;
    for (_, pool) in fleet.pools() {
        ready &= pool.ready(Instant::now()).await.is_ok();
    }
    if ready {
        let made = development.seed.apply(app).await?;
        tracing::info!(made, "the keys of the seed exist");
        return Ok(None);
    }
    tracing::warn!("the keys of the seed will be made once there are devices");
    let (app, development) = (Arc::clone(app), Arc::clone(development));
    Ok(Some(tokio::spawn(async move {
        loop {
            match development.seed.apply(&app).await {
                Ok(made) => return tracing::info!(made, "the keys of the seed exist"),
                Err(error) => tracing::debug!(%error, "the keys of the seed do not exist yet"),
            }
            tokio::time::sleep(SEED).await;
        }
    })))
}

/// Returns what `--dev` adds. The seed is read before anything is started.
fn development(config: &Config) -> Result<Option<Arc<Development>>, SeedError> {
    let Some(seed) = &config.development else { return Ok(None) };
    tracing::warn!(
        "DEVELOPMENT MODE: clients choose key ids and key material, and anybody who reaches the \
         port can destroy all keys. Never use it with keys that matter"
    );
    let seed = seed.as_deref().map(Seed::load).transpose()?.unwrap_or_default();
    Ok(Some(Arc::new(Development { seed, ..Development::default() })))
}

fn credentials(config: &Config, data: &Path) -> Result<Credentials, DaemonError> {
    if let Some(path) = &config.root_credentials {
        return Ok(match config.development {
            Some(_) => Credentials::load_for_development(path, &config.account)?,
            None => Credentials::load(path, &config.account)?,
        });
    }
    let path = data.join("credentials");
    if config.development.is_some() && path.exists() {
        return Ok(Credentials::load_for_development(&path, &config.account)?);
    }
    let (credentials, made) = Credentials::load_or_create(&path, &config.account)?;
    if made {
        tracing::info!(path = %path.display(), "made the account root's access key");
    }
    Ok(credentials)
}

/// Completes at the first SIGINT or SIGTERM, or when the terminal that the daemon was started in is
/// closed.
fn stop_signal() -> Result<impl Future<Output = ()>, DaemonError> {
    let listen = |kind| signal(kind).map_err(system("listen for signals"));
    let (mut interrupt, mut terminate, mut hangup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    let had_terminal = io::stdin().is_terminal();
    Ok(async move {
        // Anybody may send SIGHUP, so check that the terminal is really closed.
        let closed = async {
            while hangup.recv().await.is_some() {
                if had_terminal && !io::stdin().is_terminal() {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = closed => {}
        }
    })
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::System { what, source }
}
