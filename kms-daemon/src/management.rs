//! The services beside KMS: IAM and STS, regions of EC2, trails and events of CloudTrail, tagged resources, and
//! the administration of an installation. One row each in [`Operation`]'s table, one file for each subject.

use std::sync::Arc;

use crate::iam::Iam;
use crate::trail::Trails;
use kms_installation::backup::Snapshots;
use kms_installation::devices::Fleet;

pub(crate) mod answer;
mod check;
mod jobs;
mod operation;
mod source_position;
#[cfg(test)]
mod tests;

pub use self::answer::{Format, Node, Refusal};
pub use self::operation::{Operation, Protocol, Service};

use self::jobs::Jobs;

/// What the operations work on.
pub struct Management {
    iam: Arc<Iam>,
    jobs: Jobs,
    /// What backups are made of; `None` where there is nothing to back up.
    snapshots: Option<Arc<Snapshots>>,
    /// The trails; `None` where there is no log.
    trails: Option<Arc<Trails>>,
    /// The devices; `None` where there are none to administer.
    fleet: Option<Arc<Fleet>>,
}

impl Management {
    /// The operations on these identities.
    #[must_use]
    pub fn new(iam: Arc<Iam>) -> Self {
        Self { iam, jobs: Jobs::default(), snapshots: None, trails: None, fleet: None }
    }

    /// The same, for an installation that can be backed up.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Arc<Snapshots>) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// The same, for an installation with these devices.
    #[must_use]
    pub fn with_fleet(mut self, fleet: Arc<Fleet>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// The same, for an installation whose records are delivered.
    #[must_use]
    pub fn with_trails(mut self, trails: Arc<Trails>) -> Self {
        self.trails = Some(trails);
        self
    }
}
