//! Multi-Region keys on their way from one Region's devices to another's.

use std::sync::Arc;

use host_driver::ceremony::{self, CeremonyError, Ledger};
use host_driver::device::Device;
use host_driver::{CallError, OperatorKey, Pool};
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica, ImportReplica, ReplicationKey};
use hsm_protocol::domain::Change;
use hsm_protocol::{AuditTag, Bytes, MaterialId};

use super::{Busy, Devices, Engine, refusal, response};
use crate::ceremony::PeerText;
use crate::error::{Exception, KmsError};
use crate::key::{KeyMaterial, KeyRecord};
use crate::policy::Authorized;

/// Tries of a change that others interfere with.
const MAX_TRIES: usize = 8;

impl Engine {
    /// What other domains know the domain of these devices by.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can say it now.
    pub async fn replication_key(&self) -> Result<DomainKeyInfo, KmsError> {
        // Not audited, so the tag goes nowhere.
        let reply = self.pool.call(&ReplicationKey, AuditTag::default()).await;
        response(&reply.map_err(|error| refusal(error, Busy::DependencyTimeout))?)
    }

    /// Sees to it that every device in service exchanges multi-Region keys with the domain `peer`. Where
    /// `operator` rules alone, it approves the domain if that is not done yet.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now; `Exception::UnsupportedOperation` if
    /// other operators have to approve it.
    pub async fn approve(
        &self,
        peer: &DomainKeyInfo,
        operator: OperatorKey,
        ledger: Arc<dyn Ledger + Send + Sync>,
    ) -> Result<(), KmsError> {
        let (pool, peer) = (self.pool(), *peer);
        let approving =
            tokio::task::spawn_blocking(move || approve(&pool, &peer, &operator, &*ledger));
        let approved = approving.await.map_err(KmsError::internal)?;
        approved.map_err(|error| match error {
            CeremonyError::Call(error) => refusal(error, Busy::DependencyTimeout),
            CeremonyError::NotOurs(domain) => {
                let info = PeerText(peer);
                let text = format!(
                    "The operators of the domain {domain} have not approved that multi-Region keys are \
                     exchanged with the domain {}. They do so with: kmsctl domain propose add-peer {info}",
                    peer.domain
                );
                KmsError::new(Exception::UnsupportedOperation, text)
            }
            error => KmsError::internal(error),
        })
    }
}

/// Blocks.
fn approve(
    pool: &Pool,
    peer: &DomainKeyInfo,
    operator: &OperatorKey,
    ledger: &dyn Ledger,
) -> Result<(), CeremonyError> {
    let mut outcome = Err(CallError::Unavailable { reason: "all of them are busy".into() }.into());
    for _ in 0..MAX_TRIES {
        let devices = pool.devices();
        let devices: Vec<&Device> = devices.iter().map(AsRef::as_ref).collect();
        if devices.is_empty() {
            break;
        }
        let mut is_approved = true;
        for device in &devices {
            if !device.domain_state()?.approves(peer) {
                // It may only have missed the change.
                ceremony::follow(device, ledger, &devices)?;
                is_approved &= device.domain_state()?.approves(peer);
            }
        }
        if is_approved {
            return Ok(());
        }
        outcome = ceremony::change(&devices, &[Change::AddPeer(*peer)], operator, ledger);
        match outcome {
            // What the other one did may have been the same.
            Err(CeremonyError::Overtaken) => {}
            outcome => return outcome.map(drop),
        }
    }
    outcome.map(drop)
}

impl Devices<'_> {
    /// Wraps material of a multi-Region key for the devices of an approved domain.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can do it now.
    pub async fn export_replica(
        &mut self,
        key: &Authorized<KeyRecord>,
        material: &KeyMaterial,
        peer: DomainKeyInfo,
    ) -> Result<Vec<u8>, KmsError> {
        let token = Bytes(&material.token);
        let command = ExportReplica { key: KeyRef { id: key.id.device(), token }, peer };
        let reply = self.call(&command, Some(key.spec), Busy::DependencyTimeout).await?;
        Ok(response(&reply)?.token.to_vec())
    }

    /// Takes material of a multi-Region key from the devices of an approved domain, and returns
    /// the key token of this one.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can do it now; `Exception::KmsInternal` if it
    /// is not the material it should be.
    pub async fn import_replica(
        &mut self,
        key: &Authorized<KeyRecord>,
        material: &MaterialId,
        peer: DomainKeyInfo,
        token: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        let command = ImportReplica { id: key.id.device(), peer, token: Bytes(token) };
        let reply = self.call(&command, Some(key.spec), Busy::DependencyTimeout).await?;
        let made = response(&reply)?;
        if made.material != *material {
            return Err(KmsError::internal("a replica has other material than its primary"));
        }
        Ok(made.token.to_vec())
    }
}
