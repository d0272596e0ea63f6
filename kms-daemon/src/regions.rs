//! The Regions that the daemon serves. Each has devices of a domain of its own, so that nothing of
//! one Region opens in another but what was made for several.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use host_driver::ceremony::Ledger;
use host_driver::{OperatorKey, Pool};
use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::domain::DomainState;
use tokio::sync::watch;

use crate::engine::{DomainFound, Engine, Stated};
use crate::link::Peers;
use kms_base::error::KmsError;
use kms_base::identifier::is_region;
use kms_installation::report::RewrapReport;
use kms_keys::Barrier;

mod exchange;
mod removal;
mod replication;

use self::exchange::Spread;
pub use self::replication::Shared;

/// What starts the devices of a Region when it is first used.
pub type Opener = Box<dyn Fn(String) -> Opening + Send + Sync>;
/// A Region that is being opened; an error is a text for the log.
pub type Opening = Pin<Box<dyn Future<Output = Result<Arc<Pool>, String>> + Send>>;

/// Where the changes of a Region's domain are kept.
pub type LedgerOf = Box<dyn Fn(&str) -> Arc<dyn Ledger + Send + Sync> + Send + Sync>;

/// What rules the development domains of the Regions. Others are ruled by people.
pub struct Ruler {
    /// The operator.
    pub operator: OperatorKey,
    /// Where the changes of a Region's domain are kept.
    pub ledger: LedgerOf,
    /// Where the key tokens are: no domain key is removed that one is under.
    pub tokens: Arc<Barrier>,
}

/// The Regions of a daemon.
pub struct Regions {
    running: RwLock<BTreeMap<String, Arc<Region>>>,
    /// Starts others; `None` if those that run are all there are.
    opener: Option<Opener>,
    /// Held while a Region is opened, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
    /// Approves that the Regions exchange multi-Region keys, where nobody else has to.
    ruler: Ruler,
    /// The daemons of other Regions.
    peers: Peers,
    /// Counts changes of domains that were made here.
    changes: watch::Sender<u64>,
    /// Counts changes of the store's own key tokens: what was read before may be of no use.
    rewrapped: AtomicU64,
    /// How far tokens are under their domains' newest keys.
    rewraps: Mutex<BTreeMap<String, RewrapReport>>,
    /// How far changes of the domains have got to members that are connected to other daemons.
    spreads: Mutex<BTreeMap<String, Spread>>,
}

/// A Region with its devices.
pub struct Region {
    engine: Engine,
    /// Held while its domain is changed here.
    changing: tokio::sync::Mutex<()>,
}

impl Regions {
    /// These Regions.
    #[must_use]
    pub fn new(regions: impl IntoIterator<Item = (String, Arc<Pool>)>, ruler: Ruler) -> Self {
        let running = regions.into_iter().map(|(name, pool)| (name, Region::new(pool)));
        Self {
            running: RwLock::new(running.collect()),
            opener: None,
            opening: tokio::sync::Mutex::default(),
            ruler,
            peers: Peers::default(),
            changes: watch::Sender::default(),
            rewrapped: AtomicU64::default(),
            rewraps: Mutex::default(),
            spreads: Mutex::default(),
        }
    }

    /// The same, with the Regions of other daemons within reach.
    #[must_use]
    pub fn with_peers(mut self, peers: Peers) -> Self {
        self.peers = peers;
        self
    }

    /// The same, and any other Region from its first request on.
    #[must_use]
    pub fn and_any(mut self, opener: Opener) -> Self {
        self.opener = Some(opener);
        self
    }

    /// Whether requests may be for a Region.
    #[must_use]
    pub fn has(&self, region: &str) -> bool {
        let any = self.opener.is_some() && is_region(region) && !self.peers.has(region);
        self.region(region).is_some() || any
    }

    /// The daemons of other Regions.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The Regions that run, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The pools of the Regions that run, in alphabetical order.
    #[must_use]
    pub fn pools(&self) -> Vec<(String, Arc<Pool>)> {
        let running = self.lock();
        let pool = |(name, region): (&String, &Arc<Region>)| (name.clone(), region.engine.pool());
        running.iter().map(pool).collect()
    }

    /// The devices of a Region that runs.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if it does not.
    pub fn engine(&self, region: &str) -> Result<Engine, KmsError> {
        let found = self.region(region).map(|region| region.engine.clone());
        found.ok_or_else(|| KmsError::internal(format!("no devices serve {region}")))
    }

    /// Opens a Region that is used for the first time, unless it is another daemon's.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if it cannot be opened now.
    pub async fn open_if_served(&self, region: &str) -> Result<(), KmsError> {
        if self.has(region) { self.open(region).await } else { Ok(()) }
    }

    /// Opens a Region that is used for the first time.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if it cannot be opened now.
    pub async fn open(&self, region: &str) -> Result<(), KmsError> {
        if self.region(region).is_some() {
            return Ok(());
        }
        let opener = self.opener.as_ref().filter(|_| is_region(region));
        let opener = opener.ok_or_else(|| KmsError::internal(format!("{region} is not served")))?;
        let _alone = self.opening.lock().await;
        if self.region(region).is_some() {
            return Ok(());
        }
        let pool = opener(region.to_owned()).await.map_err(|reason| {
            KmsError::internal(format!("cannot open the Region {region}: {reason}"))
        })?;
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.insert(region.to_owned(), Region::new(pool));
        tracing::info!(region, "Region opened");
        Ok(())
    }

    /// Sees to it that the devices of the Region `own` exchange multi-Region keys with those of the domain
    /// `peer`: in a development domain it is approved now, in any other it must have been.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now; `Exception::UnsupportedOperation` if
    /// operators have to approve it first.
    pub async fn approve(&self, own: &str, peer: &DomainKeyInfo) -> Result<(), KmsError> {
        let region = self.region(own);
        let region = region.ok_or_else(|| KmsError::internal(format!("no devices serve {own}")))?;
        let _alone = region.changing.lock().await;
        let (operator, ledger) = (self.ruler.operator.clone(), (self.ruler.ledger)(own));
        region.engine.approve(peer, operator, ledger).await
    }

    /// The domain of a Region that runs.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now.
    pub async fn domain(&self, region: &str) -> Result<DomainFound, KmsError> {
        self.engine(region)?.domain().await
    }

    /// Hands a ballot over to the devices of a Region that runs; the state of its domain then.
    ///
    /// # Errors
    /// `Exception::Validation` if it cannot be made, too few have signed it, or it removes a domain key
    /// that a token in the store is under; `Exception::DependencyTimeout` if no device answers now.
    pub async fn change_domain(
        &self,
        region: &str,
        ballot: Vec<u8>,
    ) -> Result<DomainState, KmsError> {
        let found = self.region(region);
        let found =
            found.ok_or_else(|| KmsError::internal(format!("no devices serve {region}")))?;
        let _alone = found.changing.lock().await;
        let removal = self.prepare_removal(region, &found.engine, &ballot).await?;
        let changed = found.engine.change_domain(ballot, (self.ruler.ledger)(region)).await;
        if let Some(removal) = removal {
            self.finish_removal(removal, &found.engine, changed.is_ok()).await;
        }
        let state = changed?;
        self.changes.send_modify(|count| *count += 1);
        let (domain, version) = (state.domain, state.version);
        tracing::warn!(region, %domain, version, "the operators have changed the domain");
        Ok(state)
    }

    /// Tells of changes of domains that are made here.
    #[must_use]
    pub fn domain_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes that a token of the service's own was rewrapped.
    pub(crate) fn note_rewrapped(&self) {
        self.rewrapped.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that has happened. What was read of the store's own tokens while it was another number
    /// has to be read again.
    pub(crate) fn rewrapped(&self) -> u64 {
        self.rewrapped.load(Ordering::Acquire)
    }

    /// Notes how far the tokens of a Region are.
    pub(crate) fn note_rewrap(&self, report: RewrapReport) {
        let mut reports = self.rewraps.lock().unwrap_or_else(PoisonError::into_inner);
        reports.insert(report.region.clone(), report);
    }

    /// How far the tokens of each Region are under its domain's newest key, as it was last counted.
    #[must_use]
    pub fn rewraps(&self) -> Vec<RewrapReport> {
        let reports = self.rewraps.lock().unwrap_or_else(PoisonError::into_inner);
        reports.values().cloned().collect()
    }

    /// Puts the certificate of the device that has made a statement into it, if one is known.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now.
    pub async fn certified(&self, region: &str, statement: Vec<u8>) -> Result<Stated, KmsError> {
        self.engine(region)?.certified(statement, (self.ruler.ledger)(region)).await
    }

    /// What other domains know the domain of a Region by.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device, or no daemon, can say it now.
    pub async fn info(&self, region: &str) -> Result<DomainKeyInfo, KmsError> {
        match self.region(region) {
            // Not kept: it changes with the domain key.
            Some(found) => found.engine.replication_key().await,
            // Not kept: the other installation may have been made anew.
            None => Ok(self.peers.hello(region).await?),
        }
    }

    fn region(&self, name: &str) -> Option<Arc<Region>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Region>>> {
        // A map that is whole between any two of its methods: a panic elsewhere spoils nothing.
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Region {
    fn new(pool: Arc<Pool>) -> Arc<Self> {
        let changing = tokio::sync::Mutex::default();
        Arc::new(Self { engine: Engine::new(pool), changing })
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regions({})", self.names().join(", "))
    }
}
