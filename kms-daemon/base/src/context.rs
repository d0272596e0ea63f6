//! What is known about a request before its operation is looked at.

use std::net::IpAddr;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::principal::Principal;

/// One authenticated request on its way through the API.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Chosen at random by the daemon: the `x-amzn-RequestId` of the answer, the `requestID` of the
    /// audit record and, as its 16 bytes, the audit tag of every device command of the request.
    pub request_id: Uuid,
    /// `eventID` of the caller's audit record. Allocated before the operation runs, so that an operation can
    /// store a reference to its own record.
    pub event_id: Uuid,
    /// Who signed the request.
    pub principal: Principal,
    /// Region of this endpoint, for example `us-east-1`.
    pub region: String,
    /// Address of the peer of the connection.
    pub source_ip: IpAddr,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// `User-Agent` header, at most 1,024 bytes.
    pub user_agent: Option<String>,
    /// `amz-sdk-invocation-id` header, at most 64 bytes: the same in each try of a call of an SDK.
    /// Not signed by all, so it identifies nobody.
    pub invocation: Option<String>,
    /// `Referer` header, at most 1,024 bytes.
    pub referer: Option<String>,
    /// Wall-clock time at which the request was complete.
    pub received: SystemTime,
}

impl RequestContext {
    /// `eventID` of the record that an account gets of the request.
    #[must_use]
    pub fn event_id_for(&self, account: &str) -> Uuid {
        match account == self.principal.account {
            true => self.event_id,
            false => copy_id(self.event_id, account),
        }
    }

    /// The 16 bytes a device chains into its audit entries for this request.
    #[must_use]
    pub fn audit_tag(&self) -> [u8; 16] {
        self.request_id.into_bytes()
    }
}

/// `eventID` of the copy that another account gets of a record. It is known before the record is
/// written, and tells nothing of the record's own id.
#[must_use]
pub fn copy_id(event_id: Uuid, account: &str) -> Uuid {
    let digest = Sha256::new().chain_update(event_id).chain_update(account).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
