//! Tells the Regions of other daemons what has changed here, until they know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::link::message::{Gone, Promote};
use crate::link::{LinkError, Place};
use crate::policy::service;
use kms_base::error::KmsError;
use kms_keys::catalog::{FoundErrand, Update, What};
use kms_keys::multi_region::Tokens;
use kms_keys::{KeyRecord, Scope, Stored};

/// How often errands are tried that could not be done.
const INTERVAL: Duration = Duration::from_secs(5);

/// How often other daemons are asked whether they are there.
const GREETING: Duration = Duration::from_secs(15);

/// Does errands, until the task is aborted.
pub async fn run(app: Arc<App>) {
    loop {
        let woken = app.service.errands().woken();
        let _ = tokio::time::timeout(INTERVAL, woken).await;
        super::once(&app, "outbox", do_all(&app)).await;
    }
}

/// Asks the other daemons now and then whether they are there, until the task is aborted.
pub async fn greet(app: Arc<App>) {
    loop {
        app.service.regions().peers().greet().await;
        tokio::time::sleep(GREETING).await;
    }
}

/// Does all errands that can be done now; returns how many are left.
pub(crate) async fn do_all(app: &App) -> Result<usize, KmsError> {
    let service = &app.service;
    let (mut left, mut unreachable) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    let mut page = service.catalog().errands(None).await?;
    while let Some(last) = page.last().cloned() {
        for errand in &page {
            if unreachable.contains(&errand.region) {
                *left.entry(errand.region.clone()).or_default() += 1;
                continue;
            }
            match run_errand(app, errand).await {
                Ok(()) => service.catalog().errand_done(errand).await?,
                Err(error) => {
                    *left.entry(errand.region.clone()).or_default() += 1;
                    tracing::warn!(key = %errand.key, %error, "a Region is to be told later");
                    unreachable.insert(errand.region.clone());
                }
            }
        }
        page = service.catalog().errands(Some(&last)).await?;
    }
    service.regions().peers().note_errands(&left);
    Ok(left.values().sum())
}

async fn run_errand(app: &App, errand: &FoundErrand) -> Result<(), KmsError> {
    let service = &app.service;
    let from = &errand.errand.from;
    let there = Place { scope: Scope::new(&*from.account, &*errand.region), key: errand.key };
    let peers = service.regions().peers();
    if errand.errand.what == What::Gone {
        let gone = Gone { place: there, from: from.region.clone() };
        return Ok(peers.ask(&errand.region, &gone).await?);
    }
    let Some(key) = service.catalog().key(from, errand.key).await? else { return Ok(()) };
    if key.is_replica() {
        return Ok(()); // whoever is primary now tells the others
    }
    match errand.errand.what {
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
        recorded.map_err(KmsError::internal)?;
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
