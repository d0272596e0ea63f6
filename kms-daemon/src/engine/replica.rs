//! Multi-Region keys on their way from one Region's devices to another's.

use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica, ImportReplica, ReplicationKey};
use hsm_protocol::{AuditTag, Bytes, MaterialId};

use super::{Busy, Devices, Engine, refusal, response};
use crate::policy::{Authorized, Replication};
use kms_base::error::KmsError;
use kms_keys::KeyMaterial;

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
}

impl Devices<'_> {
    /// Wraps material of a multi-Region key for the devices of an approved domain.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can do it now.
    pub async fn export_replica(
        &mut self,
        key: &Authorized<Replication>,
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
        key: &Authorized<Replication>,
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
