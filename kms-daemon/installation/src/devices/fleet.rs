//! The devices of all Regions, each Region's started when it is needed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use host_driver::Pool;
use host_driver::endpoint::Endpoint;
use host_driver::health::Service;
use host_driver::pool::StockTargets;
use host_driver::provision::Step;
use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::domain::Kind;
use serde_json::json;

use super::members::Records;
use super::retired::{RetiredFlash, Stray, retired, strays};
use super::sink::Gate;
use super::{Devices, DevicesConfig, DevicesError, Pooled, Scope, in_words};
use crate::consistency::{Acceptance, Domains};
use crate::loss::loss;
use kms_audit::AuditLog;
use kms_base::hex;
use kms_base::identifier::is_region;

/// How long the devices of a Region may take to get into service.
const START: Duration = Duration::from_secs(60);
/// How long they are waited for once all of them have failed.
const FAILING: Duration = Duration::from_secs(10);
/// The same, if none of them was found to be usable.
const HOPELESS: Duration = Duration::from_secs(2);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// What starts the devices of Regions, and ends them.
pub struct Fleet {
    /// That of no Region yet, with the `--hsm` of all.
    pub(super) config: DevicesConfig,
    /// The Region of lines that name none.
    home: String,
    audit: Arc<AuditLog>,
    pub(super) domains: Arc<Domains>,
    stock: StockTargets,
    running: Mutex<BTreeMap<String, Pooled>>,
    retired: Mutex<Vec<RetiredFlash>>,
    strays: Mutex<Vec<Stray>>,
    /// What is recorded of the lines, and changed while they are in use.
    pub(super) records: Arc<Records>,
    /// Held while devices are added or removed.
    pub(super) changing: tokio::sync::Mutex<()>,
}

/// Why the devices of a Region are not in service.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// They do not start.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The runtime is shutting down.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Fleet {
    /// Devices as `config` says, whose `hsms` are those of all Regions and whose `region` is the
    /// one of lines that name none. `audit` takes audit entries that no call returns; `domains` are
    /// those of the keys.
    #[must_use]
    pub fn new(
        config: DevicesConfig,
        audit: Arc<AuditLog>,
        domains: Arc<Domains>,
        stock: StockTargets,
    ) -> Arc<Self> {
        let (home, running) = (config.region.clone(), Mutex::default());
        let (retired, strays) = (Mutex::default(), Mutex::default());
        let records = Arc::new(Records::of_data(&config.data));
        let changing = tokio::sync::Mutex::default();
        Arc::new(Self {
            config,
            home,
            audit,
            domains,
            stock,
            running,
            retired,
            strays,
            records,
            changing,
        })
    }

    /// Starts the devices of a Region, and waits until one is in service, or all of them fail: then
    /// they are tried again while the daemon runs.
    ///
    /// # Errors
    /// [`FleetError`], whose text says what to do.
    pub async fn start(self: Arc<Self>, region: String) -> Result<Arc<Pool>, FleetError> {
        let (fleet, name) = (Arc::clone(&self), region.clone());
        let starting = tokio::task::spawn_blocking(move || fleet.start_blocking(region));
        let (pool, gate, is_promising) = starting.await.map_err(|_| FleetError::Stopping)??;
        let begin = Instant::now();
        while pool.ready(Instant::now() + LOOK).await.is_err() {
            let failing = pool.health().iter().all(|device| device.service != Service::Starting);
            let patience = match (failing, is_promising && !gate.has_refused()) {
                (true, true) => FAILING,
                (true, false) => HOPELESS,
                (false, _) => START,
            };
            if begin.elapsed() < patience {
                continue;
            }
            for device in pool.health() {
                let error = device.last_error.unwrap_or_default();
                tracing::error!(region = name, hsm = device.name, error, "device not in service");
            }
            tracing::error!(
                region = name,
                "no device is in service: requests for this Region fail until one is; the devices \
                 are tried again all the time"
            );
            break;
        }
        let domain = pool.health().iter().find_map(|device| device.domain);
        if let Some(domain) = domain {
            self.record(&name, &domain).await;
        }
        if let Some(domain) = domain.filter(|domain| domain.kind == Kind::Development) {
            tracing::warn!(
                region = name,
                domain = %domain.domain,
                "DEVELOPMENT DOMAIN: its operator's key lies in the data directory, and whoever \
                 reads the directory owns every key. For keys that matter make it a production \
                 domain: kmsctl domain harden"
            );
        }
        Ok(pool)
    }

    /// Records which domain a Region's keys are of from now on, and who rules it.
    async fn record(&self, region: &str, domain: &DomainSummary) {
        let details = json!({
            "region": region,
            "domain": domain.domain.to_string(),
            "kind": in_words(domain.kind),
            "version": domain.version,
            "state": hex::encode(&domain.state),
        });
        if let Err(error) = self.audit.installation_event("UseDomain", &details).await {
            tracing::error!(region, error, "cannot record which domain is used");
        }
    }

    fn start_blocking(&self, region: String) -> Result<(Arc<Pool>, Arc<Gate>, bool), DevicesError> {
        let hsms = self.hsms_of(&region)?;
        if hsms.is_empty() {
            return Err(DevicesError::NoneFor(region));
        }
        let config = DevicesConfig { region: region.clone(), hsms, ..self.config.clone() };
        let devices = match Devices::start(&config) {
            // Nobody knows which devices are the right ones. The rest of the daemon can say so.
            Err(trouble @ DevicesError::Registry(_)) => {
                tracing::error!(region, "{trouble}");
                return self.run(region, Devices::unusable(&config, &trouble)?);
            }
            started => started?,
        };
        let bound = self.domains.bound(&region, devices.known_domain())?;
        let mut devices = devices.with_keys_of(bound);
        let mut fresh = false;
        let mut progress = |hsm: &str, step: &str| {
            fresh |= step == Step::Founded.to_string();
            tracing::info!(region, hsm, step, "provisioning");
        };
        for trouble in devices.bring_in(Scope::Own, &mut progress) {
            tracing::error!(region, "{trouble}");
        }
        if let Some(loss) = loss(&region, &devices.holders(), Some(0), false).filter(|_| fresh) {
            tracing::warn!("{}", loss.text);
        }
        let lines: Vec<String> = devices.lines().iter().map(|line| line.name.clone()).collect();
        self.note(retired(&self.config.data, &region, Some(&lines)));
        self.run(region, devices)
    }

    /// The lines of a Region: those of the settings, and those that a person has added.
    fn hsms_of(&self, region: &str) -> Result<Vec<String>, DevicesError> {
        let mut hsms = hsms_of(&self.config.hsms, region, &self.home);
        let written = |text: &String| text.parse::<Endpoint>().ok().map(|it| it.to_string());
        let known: Vec<_> = hsms.iter().filter_map(written).collect();
        match self.records.read(region) {
            Ok(registry) => {
                hsms.extend(registry.added().filter(|added| !known.contains(added)).cloned());
            }
            // Told of when they start.
            Err(DevicesError::Registry(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(hsms)
    }

    /// Puts the devices of a Region into a pool.
    fn run(
        &self,
        region: String,
        devices: Devices,
    ) -> Result<(Arc<Pool>, Arc<Gate>, bool), DevicesError> {
        let is_promising = devices.is_promising();
        let gate = Arc::new(Gate {
            ledger: self.domains.ledger(&self.config.data, &region),
            region: region.clone(),
            audit: Arc::clone(&self.audit),
            domains: Arc::clone(&self.domains),
            acceptance: Acceptance::of_data(&self.config.data),
            refused: AtomicBool::new(false),
            records: Arc::clone(&self.records),
        });
        let sink: Arc<Gate> = Arc::clone(&gate);
        let pooled = devices.pool(sink, self.stock)?;
        let pool = Arc::clone(&pooled.pool);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(region, pooled);
        Ok((pool, gate, is_promising))
    }

    /// Tells of the flashes of Regions that are not among these, which are served.
    pub fn note_others(&self, served: &[String]) {
        let all = std::fs::read_dir(self.config.data.join("hsm")).into_iter().flatten().flatten();
        let names = all.filter_map(|entry| entry.file_name().into_string().ok());
        let others = names.filter(|name| is_region(name) && !served.contains(name));
        others.for_each(|region| self.note(retired(&self.config.data, &region, None)));
    }

    /// Tells of the files beside the flashes that the daemon has not made.
    pub fn note_strays(&self) {
        let found = strays(&self.config.data);
        found.iter().for_each(|stray| tracing::warn!("{}", stray.explain()));
        *self.strays.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn note(&self, flashes: Vec<RetiredFlash>) {
        for flash in flashes {
            tracing::warn!("{}", flash.explain());
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(flash);
        }
    }

    /// Flashes of devices that are no longer in use.
    #[must_use]
    pub fn retired(&self) -> Vec<RetiredFlash> {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.iter().filter(|flash| flash.path.exists()).cloned().collect()
    }

    /// Files beside the flashes that may be copies of these.
    #[must_use]
    pub fn strays(&self) -> Vec<Stray> {
        let strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        strays.iter().filter(|stray| stray.0.exists()).cloned().collect()
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
