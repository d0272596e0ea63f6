//! Devices that a person adds, removes, drains and resumes while the daemon runs.
//!
//! What was decided is in `hsm/REGION/devices.json`, beside what is known of the lines, so the next start goes
//! on with it; so is a quarantine, which a restart does not lift.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use host_driver::Pool;
use host_driver::endpoint::{BadEndpoint, Endpoint};
use host_driver::pool::{Held, Member, MemberError};

use super::registry::Registry;
use super::{Devices, DevicesConfig, DevicesError, Fleet, Scope};

/// How long a device may take to come into service when a person asks for it.
const PATIENCE: Duration = Duration::from_secs(25);

/// Why a person's change of the devices was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The Region has no devices.
    #[error("no devices serve {0}")]
    Region(String),
    /// The text is not an endpoint.
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    /// Such devices are made at the start.
    #[error(
        "{0} names devices that kmsd runs itself, and makes when it starts: give it as --hsm and restart kmsd"
    )]
    Own(String),
    /// It does not fit.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The pool refuses.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// There is nothing at the end of the line.
    #[error("{0} cannot be reached, or does not know this host; see `kmsctl hsm status {0}`")]
    Unknown(String),
    /// The runtime is shutting down.
    #[error("the daemon is stopping")]
    Stopping,
}

/// The records of the lines, one file for each Region. They are read anew for each change.
pub(super) struct Records {
    /// The directory of all Regions' devices.
    all: PathBuf,
    alone: Mutex<()>,
}

impl Records {
    pub(super) fn of_data(data: &Path) -> Self {
        Self { all: data.join("hsm"), alone: Mutex::default() }
    }

    pub(super) fn read(&self, region: &str) -> Result<Registry, DevicesError> {
        Registry::load(&self.all.join(region))
    }

    /// Makes a change; durable on return.
    pub(super) fn change(
        &self,
        region: &str,
        change: impl FnOnce(&mut Registry) -> Result<(), DevicesError>,
    ) -> Result<(), DevicesError> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut self.read(region)?)
    }
}

impl Fleet {
    /// Gives a device no calls any more, also after a restart; it finishes those that it has.
    ///
    /// # Errors
    /// [`ChangeError`]; [`MemberError::Last`] unless `force`.
    pub async fn drain(&self, region: &str, name: &str, force: bool) -> Result<(), ChangeError> {
        let _alone = self.changing.lock().await;
        self.pool_of(region)?.drain(name, force)?;
        self.records.change(region, |registry| registry.hold(name, Some(&Held::Drained)))?;
        tracing::warn!(region, name, "device is drained, as was asked for");
        Ok(())
    }

    /// Brings a device back that was drained or quarantined, if it passes what devices pass at the start, and its
    /// self-tests if it was quarantined.
    ///
    /// # Errors
    /// [`ChangeError`]; it stays as it was unless that is [`MemberError::Pending`].
    pub async fn resume(&self, region: &str, name: &str) -> Result<(), ChangeError> {
        let _alone = self.changing.lock().await;
        let outcome = self.pool_of(region)?.resume(name, Instant::now() + PATIENCE).await;
        match &outcome {
            Ok(()) | Err(MemberError::Pending(_)) => {
                self.records.change(region, |registry| registry.hold(name, None))?;
                tracing::info!(region, name, "device is resumed, as was asked for");
            }
            Err(_) => {}
        }
        Ok(outcome?)
    }

    /// Takes a device in, also after a restart, if it passes what devices pass at the start. Returns its name, and
    /// whether it is in service; a removed one that the daemon runs itself is at the next start.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn add(
        self: Arc<Self>,
        region: &str,
        endpoint: &str,
    ) -> Result<(String, bool), ChangeError> {
        let _alone = self.changing.lock().await;
        let pool = self.pool_of(region)?;
        if endpoint.parse::<Endpoint>().is_err() && self.records.read(region)?.is_removed(endpoint)
        {
            self.records.change(region, |registry| registry.put_back(endpoint))?;
            return Ok((endpoint.to_owned(), false));
        }
        let Endpoint::Line(line) = endpoint.parse()? else {
            return Err(ChangeError::Own(endpoint.to_owned()));
        };
        let name = line.to_string();
        if pool.health().iter().any(|device| device.name == name) {
            return Err(MemberError::Repeated(name).into());
        }
        let (fleet, of, line) = (Arc::clone(&self), region.to_owned(), name.clone());
        let looking = tokio::task::spawn_blocking(move || fleet.look_at(&of, &line));
        let member = looking.await.map_err(|_| ChangeError::Stopping)??;
        pool.add(member, Instant::now() + PATIENCE).await?;
        let health = pool.health().into_iter().find(|device| device.name == name);
        let known = health.and_then(|device| Some((device.device?, device.domain?.domain)));
        let recorded = self.records.change(region, |registry| {
            registry.add(&name)?;
            registry.hold(&name, None)?;
            known.map_or(Ok(()), |(device, domain)| registry.record(&name, device, domain))
        });
        if let Err(error) = recorded {
            // What is not on record is not taken in.
            pool.remove(&name, true)?;
            return Err(error.into());
        }
        tracing::warn!(region, name, "device is added, as was asked for");
        Ok((name, true))
    }

    /// Takes a device out, also after a restart; it finishes the calls that it has.
    ///
    /// # Errors
    /// [`ChangeError`]; [`MemberError::Last`] unless `force`.
    pub async fn remove(&self, region: &str, name: &str, force: bool) -> Result<(), ChangeError> {
        let _alone = self.changing.lock().await;
        self.pool_of(region)?.remove(name, force)?;
        self.records.change(region, |registry| registry.remove(name))?;
        tracing::warn!(region, name, "device is removed, as was asked for");
        Ok(())
    }

    fn pool_of(&self, region: &str) -> Result<Arc<Pool>, ChangeError> {
        let found = self.pools().into_iter().find(|(name, _)| name == region);
        found.map(|(_, pool)| pool).ok_or_else(|| ChangeError::Region(region.to_owned()))
    }

    /// Looks at the device of a line as at the start. Blocks.
    fn look_at(&self, region: &str, line: &str) -> Result<Member, ChangeError> {
        // A line that was removed is looked at all the same.
        let config = DevicesConfig {
            region: region.to_owned(),
            hsms: vec![line.to_owned()],
            ..self.config.clone()
        };
        let devices = Devices::start_also_removed(&config)?;
        let bound = self.domains.bound(region, devices.known_domain());
        let bound = bound.map_err(DevicesError::from)?;
        let mut devices = devices.with_keys_of(bound);
        let mut progress = |hsm: &str, step: &str| tracing::info!(region, hsm, step, "added");
        if let Some(trouble) = devices.bring_in(Scope::Own, &mut progress).into_iter().next() {
            return Err(trouble.into());
        }
        if !devices.is_promising() {
            return Err(ChangeError::Unknown(line.to_owned()));
        }
        devices.into_member().ok_or_else(|| ChangeError::Unknown(line.to_owned()))
    }
}
