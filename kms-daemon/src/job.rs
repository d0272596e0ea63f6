//! What the daemon does by itself, without a request. [`Jobs`] starts all of it together and ends it together.
//!
//! Jobs with a period and the outbox are logged and counted in one way (`strongroom_job_runs_total`,
//! `strongroom_job_time_seconds_total`, `strongroom_job_last_success_timestamp_seconds`). Rewrapping, the delivery of
//! trails and the keeping of log files have metrics of their own.
//!
//! Several daemons on one store do nothing twice: a change is guarded by the revision that the job has read, so that
//! only the first of them applies.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::trail::Trails;
use kms_audit::keep_log;
use kms_installation::backup::Snapshots;
use kms_installation::consistency::Marks;
use kms_store::Store;

pub mod checkpoints;
pub mod deletion;
pub mod expiry;
pub mod outbox;
pub mod rewrap;
pub mod rotation;

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
}

/// The jobs of a daemon.
pub(crate) struct Jobs(Vec<JoinHandle<()>>);

impl Jobs {
    /// Starts all of them. Needs a Tokio runtime.
    pub(crate) fn start(app: &Arc<App>, setup: Setup) -> Self {
        let Setup { store, snapshots, trails, marks, rewrap_rate } = setup;
        let regions = || Arc::clone(app.service.regions());
        let mut jobs = Self(Vec::new());

        jobs.every(app, "deletion", deletion::INTERVAL, |app: Arc<App>| async move {
            deletion::destroy_due(app.service.catalog(), app.service.now(), &*app.audit).await
        });
        jobs.every(app, "rotation", rotation::INTERVAL, |app: Arc<App>| async move {
            let service = &app.service;
            rotation::rotate_due(service.catalog(), service.regions(), service.now(), &*app.audit)
                .await
        });
        jobs.every(app, "expiry", expiry::INTERVAL, |app: Arc<App>| async move {
            expiry::expire_due(app.service.catalog(), app.service.now(), &*app.audit).await
        });
        jobs.every(app, "key-uses", KEY_USES, |app: Arc<App>| async move {
            app.service.usage().flush().await
        });
        jobs.every(app, "identity-uses", IDENTITY_USES, |app: Arc<App>| async move {
            app.iam.flush_uses().await
        });
        let last = Arc::new(checkpoints::Last::default());
        jobs.every(app, "checkpoints", checkpoints::INTERVAL, move |app: Arc<App>| {
            let (marks, last) = (Arc::clone(&marks), Arc::clone(&last));
            async move {
                let regions = app.service.regions();
                Ok::<_, String>(checkpoints::make(&app.audit, regions, &marks, &last).await)
            }
        });
        jobs.run(outbox::run(Arc::clone(app)));
        jobs.run(outbox::greet(Arc::clone(app)));
        jobs.run(rewrap::run(store, regions(), rewrap_rate, Arc::clone(&app.audit)));
        jobs.run(snapshots.expire());
        jobs.run(trails.run());
        let audit = Arc::clone(&app.audit);
        jobs.run(async move { keep_log(&audit).await });
        jobs
    }

    /// Starts another one.
    pub(crate) fn run(&mut self, job: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(job));
    }

    /// Does `work` at once, and then every `period`. What fails is logged, counted and tried again the next time.
    fn every<F, E>(
        &mut self,
        app: &Arc<App>,
        name: &'static str,
        period: Duration,
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
                interval.tick().await;
                once(&app, name, work(Arc::clone(&app))).await;
            }
        });
    }

    /// Ends all of them, whatever they are doing, and waits for that.
    pub(crate) async fn end(self) {
        for job in &self.0 {
            job.abort();
        }
        for job in self.0 {
            let _ = job.await;
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
