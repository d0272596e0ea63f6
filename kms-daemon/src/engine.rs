//! Keys at work: every use of key material, by a device of the pool.
//!
//! Keys are taken only as [`Authorized`] for the action that a command is, so nothing here can run
//! before that was decided, or vouched for by the service (`policy::service`). What comes back stays in the driver's zeroising buffers; callers borrow from them.

use std::sync::Arc;

use host_driver::pool::{Needs, Route};
use host_driver::{CallError, Pool, Reply};
use hsm_protocol::command::{key, random};
use hsm_protocol::{AuditTag, Bytes, Command};

use crate::admission::on_behalf;
use crate::envelope::Envelope;
use crate::policy::{Authorized, AuthorizedAccount};
use host_driver::audit::DeviceReceipt;
use kms_base::context::RequestContext;
use kms_base::error::{Exception, KmsError};
use kms_keys::KeyRecord;
use kms_model::action;

mod agreement;
mod approval;
mod attest;
mod cipher;
mod domain;
mod keys;
mod recipient;
mod refusal;
mod replica;
mod signature;

use self::approval::Approvals;
use self::recipient::Verified;
use self::refusal::{Busy, refusal};

pub use self::approval::{ApprovalId, Entry as ApprovalEntry, rule_of, rule_of_key};
pub use self::attest::Stated;
pub use self::cipher::{Ciphertext, MakesPairs, Side};
pub use self::domain::DomainFound;
pub use self::recipient::{Delivered, Delivery, Receiver};

/// The devices that use keys.
#[derive(Clone)]
pub struct Engine {
    pool: Arc<Pool>,
    verified: Arc<Verified>,
    approvals: Arc<Approvals>,
}

/// The devices as one request uses them: commands carry its tag, and their receipts go to its
/// audit record.
pub struct Devices<'a> {
    pool: &'a Pool,
    verified: &'a Verified,
    approvals: &'a Approvals,
    tag: AuditTag,
    receipts: &'a mut Vec<DeviceReceipt>,
    /// The request, if a client may try it again.
    request: Option<&'a RequestContext>,
}

impl Engine {
    /// An engine over a pool of devices of one domain.
    #[must_use]
    pub fn new(pool: Arc<Pool>) -> Self {
        Self { pool, verified: Arc::default(), approvals: Arc::default() }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }

    /// The devices, for the request with the given audit tag.
    pub fn devices<'a>(
        &'a self,
        audit_tag: [u8; AuditTag::SIZE],
        receipts: &'a mut Vec<DeviceReceipt>,
    ) -> Devices<'a> {
        let (pool, verified, approvals) = (&*self.pool, &*self.verified, &*self.approvals);
        let tag = AuditTag(audit_tag);
        Devices { pool, verified, approvals, tag, receipts, request: None }
    }
}

impl<'a> Devices<'a> {
    /// The same for a client's request: if it gives up, its next try has its place in the queue for
    /// key pairs.
    #[must_use]
    pub fn serving(mut self, request: &'a RequestContext) -> Self {
        self.request = Some(request);
        self
    }
}

impl Devices<'_> {
    /// Random bytes of the devices' DRBG.
    ///
    /// # Errors
    /// [`Exception::DependencyTimeout`] if no device can do it now.
    pub async fn random<'k>(
        &mut self,
        _account: &AuthorizedAccount<action::GenerateRandom>,
        length: u16,
        receiver: Receiver<'k>,
    ) -> Result<Delivery<'k, random::Random>, KmsError> {
        self.deliver(random::Random { length }, None, receiver, None, Busy::DependencyTimeout).await
    }

    /// Calls a device that supports keys like `key`, of which the command uses the public half only.
    async fn use_public<C: Command, A>(
        &mut self,
        key: &Authorized<A>,
        command: &C,
    ) -> Result<Reply<C>, KmsError> {
        self.call(command, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// The same for the secret of its material `used`.
    async fn use_key<C: Command, A>(
        &mut self,
        key: &Authorized<A>,
        used: key::KeyRef<'_>,
        command: &C,
    ) -> Result<Reply<C>, KmsError> {
        self.call_using(&[used], command, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// Calls a device that supports what the command needs.
    async fn call<C: Command>(
        &mut self,
        command: &C,
        needs: impl Into<Needs>,
        busy: Busy,
    ) -> Result<Reply<C>, KmsError> {
        self.attempt(command, needs).await.map_err(|error| refusal(error, busy))
    }

    /// The same, with what went wrong.
    async fn attempt<C: Command>(
        &mut self,
        command: &C,
        needs: impl Into<Needs>,
    ) -> Result<Reply<C>, CallError> {
        let (caller, deadline) = on_behalf(self.pool.limit());
        let route = Route { needs: needs.into(), deadline, caller, ..Route::default() };
        let answer = self.pool.call_with(command, self.tag, route).await;
        self.note(&answer);
        answer
    }
}

/// The response in a reply's buffer.
///
/// # Errors
/// [`Exception::KmsInternal`] if it does not decode.
pub fn response<C: Command>(reply: &Reply<C>) -> Result<C::Response<'_>, KmsError> {
    reply.response().map_err(KmsError::internal)
}

/// The material that encrypts, signs and computes MACs.
fn current(record: &KeyRecord) -> Result<key::KeyRef<'_>, KmsError> {
    let material = record
        .current_material()
        .filter(|material| material.is_present())
        .ok_or_else(|| KmsError::internal(format!("{} has no key material", record.arn())))?;
    Ok(key::KeyRef { id: record.id.device(), token: Bytes(&material.token) })
}

/// The material that a blob was made with.
fn of_blob<'k>(record: &'k KeyRecord, blob: Envelope<'_>) -> Result<key::KeyRef<'k>, KmsError> {
    let material = record
        .material(&blob.material)
        .filter(|material| material.is_present() && blob.is_bare(record.external.is_some()))
        .ok_or_else(|| KmsError::bare(Exception::InvalidCiphertext))?;
    Ok(key::KeyRef { id: record.id.device(), token: Bytes(&material.token) })
}

/// A receipt as audit records hold it.
fn record_form(receipt: host_driver::audit::DeviceReceipt) -> DeviceReceipt {
    let host_driver::audit::DeviceReceipt { device, epoch, entry, head } = receipt;
    DeviceReceipt { device, epoch, entry, head }
}
