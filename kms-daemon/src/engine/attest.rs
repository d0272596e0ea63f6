//! Statements of devices about keys and about themselves.

use host_driver::attest::with_certificate;
use host_driver::ceremony::Ledger;
use host_driver::pool::Route;
use hsm_protocol::attestation::Signed;
use hsm_protocol::command::statement::{AttestDevice, AttestKey};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{Bytes, DeviceId};

use super::{Busy, Devices, Engine, current, refusal, response};
use crate::policy::{Authorized, Ownership};
use kms_base::error::{Exception, KmsError};

/// A statement, and what the domain knows about the CA that vouches for its device.
#[derive(Debug, Clone)]
pub struct Stated {
    /// The device that made it.
    pub device: DeviceId,
    /// COSE_Sign1, with the device's certificate where one is known.
    pub statement: Vec<u8>,
    /// Whether it carries a certificate.
    pub is_certified: bool,
    /// The device CA of the domain.
    pub device_ca: Option<PublicKey>,
}

impl Devices<'_> {
    /// A device's statement about the current material of a key.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can make it now.
    pub async fn attest_key(
        &mut self,
        key: &Authorized<Ownership>,
        nonce: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        let command = AttestKey { key: current(key)?, nonce: Bytes(nonce) };
        let reply = self.call(&command, Some(key.spec), Busy::KeyUnavailable).await?;
        Ok(response(&reply)?.statement.to_vec())
    }

    /// A device's statement about itself; of any device if none is named.
    ///
    /// # Errors
    /// `Exception::NotFound` if the device is not in service; `Exception::DependencyTimeout` if none is.
    pub async fn attest_device(
        &mut self,
        device: Option<DeviceId>,
        nonce: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        if let Some(device) = device.filter(|device| self.pool.boot_of(*device).is_none()) {
            let text = format!("No device {device} is in service here.");
            return Err(KmsError::new(Exception::NotFound, text));
        }
        let command = AttestDevice { nonce: Bytes(nonce) };
        let route = Route { device, ..Route::default() };
        let answer = self.pool.call_with(&command, self.tag, route).await;
        self.note(&answer);
        let reply = answer.map_err(|error| refusal(error, Busy::DependencyTimeout))?;
        Ok(response(&reply)?.statement.to_vec())
    }
}

impl Engine {
    /// Puts the certificate of the device that has made a statement into it, if one is known.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now; `Exception::KmsInternal` if what was
    /// certified cannot be read.
    pub async fn certified(
        &self,
        statement: Vec<u8>,
        ledger: std::sync::Arc<dyn Ledger + Send + Sync>,
    ) -> Result<Stated, KmsError> {
        let device = Signed::parse(&statement).map_err(KmsError::internal)?.device;
        let state = self.domain().await?.state;
        let Some(ca) = state.device_ca else {
            return Ok(Stated { device, statement, is_certified: false, device_ca: None });
        };
        let pool = self.pool();
        let found = tokio::task::spawn_blocking(move || {
            let devices = pool.devices();
            let of_device = devices.iter().find(|found| found.id() == device);
            let Some(identity) = of_device.map(|found| *found.identity()) else { return Ok(None) };
            let certificate = ledger.certificate(&state, &identity)?;
            Ok::<_, std::io::Error>(certificate.map(|certificate| (certificate, identity)))
        });
        let found = found.await.map_err(KmsError::internal)?.map_err(KmsError::internal)?;
        let Some((certificate, identity)) = found else {
            return Ok(Stated { device, statement, is_certified: false, device_ca: Some(ca) });
        };
        let der = certificate.to_der(&ca, &identity).map_err(KmsError::internal)?;
        let statement = with_certificate(&statement, &der).map_err(KmsError::internal)?;
        Ok(Stated { device, statement, is_certified: true, device_ca: Some(ca) })
    }
}
