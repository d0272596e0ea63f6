//! A module that is loaded, and the session with its token.

use std::collections::HashMap;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use crate::Fault;
use crate::message::{Answer, Pin, Presence, Reply, Request};

/// A token.
pub(crate) struct Opened {
    module: Pkcs11,
    slot: Slot,
    session: Option<Session>,
    /// Where keys are that were found; for this session only.
    pub(super) found: HashMap<Vec<u8>, ObjectHandle>,
    /// Both halves of the key pair that keys come to this token with.
    pub(super) transport: Option<(ObjectHandle, ObjectHandle)>,
}

impl Opened {
    /// Loads a module and finds its token. If several have the label, it is the one of that serial number.
    pub(super) fn new(
        path: &str,
        label: &str,
        serial: Option<&str>,
    ) -> Result<(Self, Reply), Fault> {
        let module = Pkcs11::new(path)?;
        let started = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        started.map_err(|_| Fault::Module)?;
        let mut slots = Vec::new();
        for slot in module.get_slots_with_initialized_token()? {
            // What one slot says does not count against another.
            let Ok(info) = module.get_token_info(slot) else { continue };
            if info.label().trim_end() == label {
                slots.push((slot, presence(&info).serial));
            }
        }
        let named = slots.iter().filter(|(_, found)| serial == Some(found.as_str()));
        let slot = match (&slots[..], &named.collect::<Vec<_>>()[..]) {
            // The daemon sees whether it is the right one.
            ([(slot, _)], _) | (_, [(slot, _)]) => *slot,
            ([], _) => return Err(Fault::NoToken),
            _ => return Err(Fault::Ambiguous),
        };
        let opened = Self { module, slot, session: None, found: HashMap::new(), transport: None };
        let presence = presence(&opened.info()?);
        Ok((opened, Reply::Present(presence)))
    }

    fn info(&self) -> Result<TokenInfo, Fault> {
        Ok(self.module.get_token_info(self.slot)?)
    }

    /// The session of the user who is logged in.
    pub(super) fn session(&self) -> Result<&Session, Fault> {
        self.session.as_ref().ok_or(Fault::NoUser)
    }

    pub(super) fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Open { .. } => Err(Fault::Malformed),
            Request::Login { pin, asked } => self.login(&pin, asked),
            Request::Probe => {
                self.session()?.get_session_info()?;
                Ok(Reply::Present(presence(&self.info()?)))
            }
            request => self.use_keys(request),
        }
    }

    fn login(&mut self, pin: &Pin, asked: bool) -> Answer {
        let info = self.info()?;
        if !info.user_pin_initialized() {
            return Err(Fault::NoUser);
        }
        if info.user_pin_locked() {
            return Err(Fault::PinLocked);
        }
        if info.user_pin_final_try() && !asked {
            return Err(Fault::PinAtRisk);
        }
        let session = self.module.open_rw_session(self.slot)?;
        session.login(UserType::User, Some(&AuthPin::new(pin.0.as_str().into())))?;
        self.session = Some(session);
        Ok(Reply::Done)
    }
}

fn presence(info: &TokenInfo) -> Presence {
    Presence {
        label: info.label().trim_end().to_owned(),
        serial: info.serial_number().trim_end().to_owned(),
        pin_at_risk: info.user_pin_final_try() || info.user_pin_locked(),
    }
}
