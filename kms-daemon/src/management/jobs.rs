//! Reports that were requested, until somebody fetches them.
//!
//! The daemon that received the request remembers it, and makes the report when it is fetched.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use kms_base::clock::Timestamp;

/// Reports that are remembered; the oldest are forgotten first.
const MAX_JOBS: usize = 1024;

/// A report that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The caller's account.
    pub(super) account: String,
    /// The ARN that it is about.
    pub(super) arn: String,
    /// When it was asked for.
    pub(super) created: Timestamp,
}

/// The reports of a daemon.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    jobs: HashMap<String, Job>,
    order: VecDeque<String>,
}

impl Jobs {
    /// Remembers a report under a new id.
    pub(super) fn add(&self, job: Job) -> String {
        let id = Uuid::new_v4().to_string();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.order.len() >= MAX_JOBS
            && let Some(oldest) = known.order.pop_front()
        {
            known.jobs.remove(&oldest);
        }
        known.order.push_back(id.clone());
        known.jobs.insert(id.clone(), job);
        id
    }

    /// The report with an id, if somebody of the account has asked for it.
    pub(super) fn find(&self, id: &str, account: &str) -> Option<Job> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.jobs.get(id).filter(|job| job.account == account).cloned()
    }
}
