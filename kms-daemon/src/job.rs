//! What the daemon does by itself, without a request. [`Jobs`] starts all of it together and ends it together.
//!
//! Jobs with a period and the outbox are logged and counted in one way (`strongroom_job_runs_total`,
//! `strongroom_job_time_seconds_total`, `strongroom_job_last_success_timestamp_seconds`). Rewrapping, checks of
//! the store, the delivery of trails and the keeping of log files have metrics of their own.
//!
//! What is to be done once for all daemons on a store is done by the one that holds the [`Lease`]: deletion, rotation,
//! expiry, the outbox, rewrapping and checks of the store. A change is guarded by the revision that the job has read all the same, so that
//! nothing is done twice if the lease passes on in the middle of it.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::app::App;
use crate::trail::Trails;
use kms_audit::keep_log;
use kms_installation::backup::Snapshots;
use kms_installation::consistency::Marks;
use kms_installation::transfer::Replica;
use kms_store::{Lease, SCHEDULED_WORK, Store};

pub mod checkpoints;
pub(crate) mod clusters;
pub mod deletion;
mod exchange;
pub mod expiry;
pub mod outbox;
mod proxies;
pub mod rewrap;
pub mod rotation;
pub(crate) mod scrub;

/// Time between two writes of when keys were last used.
const KEY_USES: Duration = Duration::from_secs(10);
/// Time between two writes of when identities were last used.
const IDENTITY_USES: Duration = Duration::from_secs(60);

/// What jobs work on, beside the application.
pub(crate) struct Setup {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) trails: Arc<Trails>,
    pub(crate) marks: Arc<Marks>,
    /// Most key tokens of a Region that are rewrapped in a second.
    pub(crate) rewrap_rate: NonZeroU32,
    pub(crate) scrub: Arc<scrub::ScrubMetrics>,
    /// The copies of the store, if this daemon makes any.
    pub(crate) replica: Option<Arc<Replica>>,
}

/// Which daemons on a store do a job.
enum Runs {
    /// Each of them, for what it knows itself.
    Everywhere,
    /// The one that holds the lease.
    Once(Arc<Lease>),
}

impl Runs {
    /// Waits until the next run of this daemon is due.
    async fn due(&self, interval: &mut Interval) {
        loop {
            if let Self::Once(lease) = self {
                lease.held().await;
            }
            interval.tick().await;
            match self {
                // It has passed on meanwhile.
                Self::Once(lease) if !lease.is_held() => {}
                _ => return,
            }
        }
    }
}

/// The jobs of a daemon.
pub(crate) struct Jobs {
    tasks: Vec<JoinHandle<()>>,
    lease: Arc<Lease>,
}

impl Jobs {
    /// Starts all of them. Needs a Tokio runtime.
    pub(crate) fn start(app: &Arc<App>, setup: Setup) -> Self {
        let Setup { store, snapshots, trails, marks, rewrap_rate, scrub, replica } = setup;
        let regions = || Arc::clone(app.service.regions());
        let lease =
            Arc::new(Lease::new(Arc::clone(&store), SCHEDULED_WORK, Uuid::new_v4().into_bytes()));
        let mut jobs = Self { tasks: Vec::new(), lease: Arc::clone(&lease) };
        let once = || Runs::Once(Arc::clone(&lease));
        let kept = Arc::clone(&lease);
        jobs.run(async move { kept.keep().await });

        jobs.every(app, "deletion", (deletion::INTERVAL, once()), |app: Arc<App>| async move {
            deletion::destroy_due(app.service.catalog(), app.service.now(), &*app).await
        });
        jobs.every(app, "rotation", (rotation::INTERVAL, once()), |app: Arc<App>| async move {
            let service = &app.service;
            rotation::rotate_due(service.catalog(), service.regions(), service.now(), &*app.audit)
                .await
        });
        jobs.every(app, "expiry", (expiry::INTERVAL, once()), |app: Arc<App>| async move {
            expiry::expire_due(app.service.catalog(), app.service.now(), &*app.audit).await
        });
        jobs.every(app, "key-uses", (KEY_USES, Runs::Everywhere), |app: Arc<App>| async move {
            app.service.usage().flush().await
        });
        jobs.every(
            app,
            "identity-uses",
            (IDENTITY_USES, Runs::Everywhere),
            |app: Arc<App>| async move { app.iam.flush_uses().await },
        );
        jobs.every(
            app,
            "xks-proxies",
            (proxies::INTERVAL, Runs::Everywhere),
            |app: Arc<App>| async move { proxies::check(&app).await },
        );
        let last = Arc::new(checkpoints::Last::default());
        jobs.every(
            app,
            "checkpoints",
            (checkpoints::INTERVAL, Runs::Everywhere),
            move |app: Arc<App>| {
                let (marks, last) = (Arc::clone(&marks), Arc::clone(&last));
                async move {
                    let regions = app.service.regions();
                    Ok::<_, String>(checkpoints::make(&app.audit, regions, &marks, &last).await)
                }
            },
        );
        jobs.run(outbox::run(Arc::clone(app), Arc::clone(&lease)));
        jobs.run(outbox::greet(Arc::clone(app)));
        jobs.run(exchange::run(Arc::clone(&store), regions()));
        let scrubbed = (Arc::clone(&store), replica);
        jobs.run(scrub::run(Arc::clone(app), scrubbed, Arc::clone(&lease), scrub));
        jobs.run(rewrap::run(store, lease, regions(), rewrap_rate, Arc::clone(&app.audit)));
        jobs.run(snapshots.expire());
        jobs.run(trails.run());
        let audit = Arc::clone(&app.audit);
        jobs.run(async move { keep_log(&audit).await });
        jobs
    }

    /// Starts another one.
    pub(crate) fn run(&mut self, job: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(job));
    }

    /// Does `work` at once, and then every `period`. What fails is logged, counted and tried again the next time.
    fn every<F, E>(
        &mut self,
        app: &Arc<App>,
        name: &'static str,
        (period, runs): (Duration, Runs),
        work: impl Fn(Arc<App>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<usize, E>> + Send,
        E: Display + Send,
    {
        let app = Arc::clone(app);
        self.run(async move {
            let mut interval = tokio::time::interval(period);
            // Never two times in a row to catch up.
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                runs.due(&mut interval).await;
                once(&app, name, work(Arc::clone(&app))).await;
            }
        });
    }

    /// Ends all of them, whatever they are doing, waits for that, and gives the lease up.
    pub(crate) async fn end(self) {
        for job in &self.tasks {
            job.abort();
        }
        for job in self.tasks {
            let _ = job.await;
        }
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "the lease on scheduled work is not given up; it ends by itself");
        }
    }
}

/// One run of a job, counted. A failure is logged: the job is tried again.
async fn once<E: Display>(
    app: &App,
    name: &'static str,
    work: impl Future<Output = Result<usize, E>>,
) {
    let begin = Instant::now();
    let done = work.await;
    app.metrics.job(name, done.is_ok(), begin.elapsed());
    if let Err(error) = done {
        tracing::error!(job = name, %error, "the job failed; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kms_store::{MemoryStore, TERM};
    use tokio::time::{interval, sleep};

    use super::*;

    /// A daemon that counts the runs of a job.
    fn daemon(store: &Arc<dyn Store>, n: u8, everywhere: bool) -> (Arc<AtomicUsize>, Jobs) {
        let lease = Arc::new(Lease::new(Arc::clone(store), SCHEDULED_WORK, [n; 16]));
        let mut jobs = Jobs { tasks: Vec::new(), lease: Arc::clone(&lease) };
        let kept = Arc::clone(&lease);
        jobs.run(async move { kept.keep().await });
        let runs = if everywhere { Runs::Everywhere } else { Runs::Once(lease) };
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        jobs.run(async move {
            let mut interval = interval(Duration::from_secs(1));
            loop {
                runs.due(&mut interval).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        (count, jobs)
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_daemons_one_does_what_is_to_be_done_once() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::shared());
        let (first, jobs) = daemon(&store, 1, false);
        sleep(Duration::from_millis(1)).await;
        let (second, _other) = daemon(&store, 2, false);
        let (third, _everywhere) = daemon(&store, 3, true);
        sleep(Duration::from_millis(10_500)).await;
        let count = |runs: &AtomicUsize| runs.load(Ordering::Relaxed);
        assert_eq!((count(&first), count(&second), count(&third)), (11, 0, 11));
        // It goes, and the other one takes over.
        jobs.end().await;
        sleep(TERM).await;
        assert_eq!(count(&first), 11);
        assert!(count(&second) >= 9, "{}", count(&second));
    }
}
