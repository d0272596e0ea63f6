//! Tells the Regions of other daemons what has changed here, until they know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::link::message::{Gone, Promote};
use crate::link::{LinkError, Place};
use crate::policy::service;
use kms_audit::AuditError;
use kms_base::error::KmsError;
use kms_base::identifier::Scope;
use kms_keys::catalog::{FoundOutboxEntry, Update, What};
use kms_keys::multi_region::Tokens;
use kms_keys::{KeyRecord, Stored};
use kms_store::Lease;

/// How often outbox entries are tried again that could not be sent.
const INTERVAL: Duration = Duration::from_secs(5);

/// How often other daemons are asked whether they are there.
const GREETING: Duration = Duration::from_secs(15);

/// Sends the entries of the outbox whenever the daemon holds the lease, until the task is aborted.
pub(super) async fn run(app: Arc<App>, lease: Arc<Lease>) {
    loop {
        lease.held().await;
        let woken = app.service.outbox().woken();
        let _ = tokio::time::timeout(INTERVAL, woken).await;
        super::once(&app, "outbox", send_all(&app)).await;
    }
}

/// Asks the other daemons now and then whether they are there, until the task is aborted.
pub async fn greet(app: Arc<App>) {
    loop {
        app.service.regions().peers().greet().await;
        tokio::time::sleep(GREETING).await;
    }
}

/// Sends all entries of the outbox that can be sent now; returns how many are left.
pub(crate) async fn send_all(app: &App) -> Result<usize, KmsError> {
    let service = &app.service;
    let (mut left, mut unreachable) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    let mut page = service.catalog().outbox(None).await?;
    while let Some(last) = page.last().cloned() {
        for entry in &page {
            if unreachable.contains(&entry.region) {
                *left.entry(entry.region.clone()).or_default() += 1;
                continue;
            }
            match send(app, entry).await {
                Ok(()) => service.catalog().outbox_entry_sent(entry).await?,
                Err(error) => {
                    *left.entry(entry.region.clone()).or_default() += 1;
                    tracing::warn!(key = %entry.key, %error, "a Region is to be told later");
                    unreachable.insert(entry.region.clone());
                }
            }
        }
        page = service.catalog().outbox(Some(&last)).await?;
    }
    service.regions().peers().note_outbox(&left);
    Ok(left.values().sum())
}

async fn send(app: &App, entry: &FoundOutboxEntry) -> Result<(), KmsError> {
    let service = &app.service;
    let from = &entry.content.from;
    let there = Place { scope: Scope::new(&*from.account, &*entry.region), key: entry.key };
    let peers = service.regions().peers();
    if entry.content.what == What::Gone {
        let gone = Gone { place: there, from: from.region.clone() };
        return Ok(peers.ask(&entry.region, &gone).await?);
    }
    let Some(key) = service.catalog().key(from, entry.key).await? else { return Ok(()) };
    if key.is_replica() {
        return Ok(()); // whoever is primary now tells the others
    }
    match entry.content.what {
        What::Moves => promote(app, &key, there).await,
        _ => synchronise(app, &key, there).await,
    }
}

async fn synchronise(app: &App, key: &Stored<KeyRecord>, there: Place) -> Result<(), KmsError> {
    let mut receipts = Vec::new();
    let tag = Uuid::new_v4().into_bytes();
    // One that was told of a Region has it in its record.
    let Some(authorized) = service::vouched_by_record(Stored::clone(key)) else { return Ok(()) };
    let regions = app.service.regions();
    let told = regions.tell((tag, &mut receipts), &authorized, key, there, false).await;
    if !receipts.is_empty() {
        let recorded = app.audit.device_entries(&receipts).await;
        recorded.map_err(AuditError::refuse)?;
    }
    told
}

/// Asks a replica to become the primary, and becomes a replica.
async fn promote(app: &App, key: &Stored<KeyRecord>, there: Place) -> Result<(), KmsError> {
    synchronise(app, key, there.clone()).await?;
    let service = &app.service;
    let shared = key.shared().ok_or_else(|| KmsError::internal("a key without Regions"))?;
    let from = key.scope.region.clone();
    let region = there.scope.region.clone();
    let promote = Promote { place: there, from, shared };
    let asked = service.regions().peers().ask(&region, &promote).await;
    let settled = key.settled();
    let (next, refusal) = match asked {
        Ok(shared) => (settled.sharing(&shared, &Tokens::new()), None),
        Err(LinkError::Refused { error, .. }) => (settled, Some(error)),
        Err(unreachable) => return Err(unreachable.into()),
    };
    let catalog = service.catalog();
    let mut changes = vec![(Stored::clone(key), next.clone())];
    if let (None, Some(shared)) = (&refusal, next.shared()) {
        for related in catalog.related(key).await? {
            let told = related.sharing(&shared, &Tokens::new());
            changes.push((related, told));
        }
    }
    match (catalog.change_related(&changes, None, &[]).await?, refusal) {
        (Update::Conflict, _) => Err(KmsError::internal("the key is changing, again later")),
        (Update::Applied, Some(error)) => {
            tracing::error!(key = %key.arn(), region, %error, "the primary stays where it is");
            Ok(())
        }
        (Update::Applied, None) => Ok(()),
    }
}
