//! The devices of all Regions, each Region's started when it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use host_driver::audit::AuditSink;
use host_driver::pool::StockTargets;
use host_driver::provision::Step;
use host_driver::{CallError, Pool};

use super::{Devices, DevicesConfig, DevicesError, Pooled, Scope};
use crate::key::identifier::is_region;
use crate::loss::loss;

/// How long the devices of a Region may take to get into service.
const START: Duration = Duration::from_secs(60);

/// What starts the devices of Regions, and ends them.
pub struct Fleet {
    /// That of no Region yet, with the `--hsm` of all.
    config: DevicesConfig,
    /// The Region of lines that name none.
    home: String,
    sink: Arc<dyn AuditSink>,
    stock: StockTargets,
    running: Mutex<BTreeMap<String, Pooled>>,
}

/// Why the devices of a Region are not in service.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// They do not start.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// They have started, but none got into service.
    #[error("no device got into service: {0}")]
    NotReady(CallError),
    /// The runtime is shutting down.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Fleet {
    /// Devices as `config` says, whose `hsms` are those of all Regions and whose `region` is the
    /// one of lines that name none. `sink` takes audit entries that no call returns.
    #[must_use]
    pub fn new(config: DevicesConfig, sink: Arc<dyn AuditSink>, stock: StockTargets) -> Arc<Self> {
        let home = config.region.clone();
        Arc::new(Self { config, home, sink, stock, running: Mutex::default() })
    }

    /// Starts the devices of a Region, and waits until one is in service.
    ///
    /// # Errors
    /// [`FleetError`], whose text says what to do.
    pub async fn start(self: Arc<Self>, region: String) -> Result<Arc<Pool>, FleetError> {
        let fleet = Arc::clone(&self);
        let starting = tokio::task::spawn_blocking(move || fleet.start_blocking(region));
        let pool = starting.await.map_err(|_| FleetError::Stopping)??;
        pool.ready(Instant::now() + START).await.map_err(FleetError::NotReady)?;
        Ok(pool)
    }

    fn start_blocking(&self, region: String) -> Result<Arc<Pool>, DevicesError> {
        let hsms = hsms_of(&self.config.hsms, &region, &self.home);
        if hsms.is_empty() {
            return Err(DevicesError::NoneFor(region));
        }
        let config = DevicesConfig { region: region.clone(), hsms, ..self.config.clone() };
        let mut devices = Devices::start(&config)?;
        let mut fresh = false;
        let mut progress = |hsm: &str, step: &str| {
            fresh |= step == Step::DomainCreated.to_string();
            tracing::info!(region, hsm, step, "provisioning");
        };
        let holders = devices.prepare(Scope::Own, &mut progress)?;
        if let Some(loss) = loss(&region, &holders, Some(0), false).filter(|_| fresh) {
            tracing::warn!("{}", loss.text);
        }
        let pooled = devices.pool(Arc::clone(&self.sink), self.stock)?;
        let pool = Arc::clone(&pooled.pool);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(region, pooled);
        Ok(pool)
    }

    /// The pools of the Regions that were started.
    #[must_use]
    pub fn pools(&self) -> Vec<(String, Arc<Pool>)> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|(region, pooled)| (region.clone(), Arc::clone(&pooled.pool))).collect()
    }

    /// Closes the pools, then ends the devices that run here. Blocks.
    pub fn shut_down(&self) {
        let running = &mut *self.running.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(running).into_values().for_each(Pooled::shut_down);
    }
}

/// Of the values of `--hsm`, those of a Region. A line leads to one device, so it belongs to the
/// Region it names, or to `home`; devices that the daemon runs itself it runs for each Region.
#[must_use]
pub fn hsms_of(hsms: &[String], region: &str, home: &str) -> Vec<String> {
    let of_region = |hsm: &String| match hsm.split_once('=') {
        Some((name, endpoint)) if is_region(name) => (name == region).then(|| endpoint.to_owned()),
        _ => {
            let own = ["soft", "qemu"].contains(&hsm.split(':').next().unwrap_or_default());
            (own || region == home).then(|| hsm.clone())
        }
    };
    hsms.iter().filter_map(of_region).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_one_region() {
        let hsms = ["soft:2", "tcp:host:1", "eu-west-1=tcp:host:2", "unix:/a=b"].map(str::to_owned);
        let of = |region| hsms_of(&hsms, region, "us-east-1");
        assert_eq!(of("us-east-1"), ["soft:2", "tcp:host:1", "unix:/a=b"]);
        assert_eq!(of("eu-west-1"), ["soft:2", "tcp:host:2"]);
        assert_eq!(of("eu-west-2"), ["soft:2"]);
    }
}
