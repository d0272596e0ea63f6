//! Keys each use of which operators approve: what waits for them, and the requests that are sent again.
//!
//! A request that lacks approval is refused with what has to be signed. Once operators have signed it and
//! that was handed over, the caller sends the same request again, unchanged: it goes to the one device
//! that holds the approval, which takes it once. So clients need nothing new. All of it is in memory, as in
//! the device: a restart of either ends what was asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use host_driver::approval::{Draft, Pending};
use host_driver::pool::{Needs, Route};
use host_driver::{CallError, Pool, Reply};
use hsm_protocol::approval::{Challenge, RequestDigest};
use hsm_protocol::command::approval::{Approve, PermitDeletion, RequireApproval};
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::domain::Rule;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::key_spec::Origin;
use hsm_protocol::token::KeyToken;
use hsm_protocol::{Bytes, Command, DeviceId, ErrorCode, KeyId, MaterialId, Opcode};

use super::{Busy, Devices, Engine, current, record_form, refusal, response};
use crate::policy::{Authorized, Ownership};
use kms_base::error::{Exception, KmsError};
use kms_ceremony::{fingerprint, rule_in_words};
use kms_keys::{KeyMaterial, KeyRecord};
use kms_model::action;

/// Requests that wait or were approved, of all callers: as many as a device keeps for one host.
const MAX_ENTRIES: usize = 8;
/// Of one caller, so that nobody takes the places of all.
const MAX_PER_CALLER: usize = 4;
/// How long a device keeps a request.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// SHA-256 of what operators sign, its first 16 bytes.
pub type ApprovalId = [u8; 16];

/// Requests of a Region's devices that operators are to approve, oldest first.
#[derive(Debug, Default)]
pub(super) struct Approvals(Mutex<Vec<Entry>>);

/// A request that waits for operators, or has their approval.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What people compare.
    pub id: ApprovalId,
    /// ARN of the caller.
    pub caller: String,
    /// What is to be signed, and the request.
    pub pending: Pending,
    /// Whether it was signed by enough operators.
    pub is_approved: bool,
    since: Instant,
    /// The boot of the device that knows the request.
    boot: Option<u64>,
}

/// Which request.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    caller: &'w str,
    key: KeyId,
    material: MaterialId,
    opcode: Opcode,
    request: &'w RequestDigest,
}

impl Entry {
    fn is(&self, wanted: &Wanted<'_>) -> bool {
        let asked = self.pending.asked();
        self.caller == wanted.caller
            && (asked.key, asked.material) == (wanted.key, wanted.material)
            && (asked.opcode, &asked.request) == (wanted.opcode, wanted.request)
    }

    /// The device that knows the request.
    fn device(&self) -> DeviceId {
        self.pending.asked().device
    }
}

impl Approvals {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // A list that is whole between any two of its methods.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that a device still knows, by what is known here.
    fn live(&self, boot_of: impl Fn(DeviceId) -> Option<u64>) -> Vec<Entry> {
        let mut entries = self.lock();
        entries.retain(|entry| {
            let now = boot_of(entry.device());
            let is_same_boot = now.is_none() || now == entry.boot;
            is_same_boot && entry.since.elapsed() < VALIDITY
        });
        entries.clone()
    }

    /// Whether there is room for another request of a caller; makes some by forgetting the oldest of its
    /// own that nobody has approved.
    fn make_room(&self, caller: &str) -> Result<(), KmsError> {
        let mut entries = self.lock();
        let own = entries.iter().filter(|entry| entry.caller == caller).count();
        if own < MAX_PER_CALLER && entries.len() < MAX_ENTRIES {
            return Ok(());
        }
        let is_own = |entry: &Entry| entry.caller == caller && !entry.is_approved;
        match entries.iter().position(is_own) {
            Some(place) => {
                entries.remove(place);
                Ok(())
            }
            None => Err(KmsError::new(
                Exception::KmsInvalidState,
                "As many requests as there can be wait for the approval of operators, or have it and \
                 were not sent again. Try again when one of them is done.",
            )),
        }
    }

    fn keep(&self, entry: Entry) {
        self.lock().push(entry);
    }

    fn forget(&self, id: &ApprovalId) {
        self.lock().retain(|entry| entry.id != *id);
    }

    /// Forgets all, as devices do when their domain changes.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }
}

/// The rule that a key token has, by its own word: a device believes its own reading only.
#[must_use]
pub fn rule_of(token: &[u8]) -> Option<Rule> {
    KeyToken::parse(token).ok().and_then(|token| token.attributes.approval)
}

/// The rule of a key's current material.
#[must_use]
pub fn rule_of_key(key: &KeyRecord) -> Option<Rule> {
    key.current_material().and_then(|material| rule_of(&material.token))
}

/// What a caller is told whose request lacks approval. `KMSInvalidStateException` is in the service model
/// of each operation that uses a key, and SDKs do not send such a request again by themselves.
fn required(entry: &Entry) -> KmsError {
    use base64::Engine as _;
    let asked = entry.pending.asked();
    let (rule, id) = (rule_in_words(asked.rule), fingerprint(&entry.id));
    let message = base64::engine::general_purpose::STANDARD.encode(asked.message());
    KmsError::new(
        Exception::KmsInvalidState,
        format!(
            "This use of the key needs the approval of {rule}. The request has the fingerprint {id}: \
             fetch it (kmsctl key request {id}), have it signed (kmsctl key approve), hand the signatures \
             over (kmsctl key submit), and send the same request again, unchanged, within a day."
        ),
    )
    // It has the digest of the whole request: who reads the log and has the key's token could find a short
    // plaintext by trying.
    .and_unrecorded(&format!(" What is signed, in Base64: {message}"))
}

impl Devices<'_> {
    /// Calls a device with a command that uses the secrets of `keys`, and sees to operators' approval
    /// where their tokens say that it is needed.
    pub(super) async fn call_using<C: Command>(
        &mut self,
        keys: &[KeyRef<'_>],
        command: &C,
        needs: impl Into<Needs>,
        busy: Busy,
    ) -> Result<Reply<C>, KmsError> {
        let guarded = |key: &&KeyRef<'_>| rule_of(&key.token).is_some();
        match keys.iter().any(|key| guarded(&key)) {
            false => self.call(command, needs, busy).await,
            true => {
                let guarded: Vec<KeyRef<'_>> = keys.iter().filter(guarded).copied().collect();
                self.call_guarded(&guarded, command, needs.into(), busy).await
            }
        }
    }

    async fn call_guarded<C: Command>(
        &mut self,
        keys: &[KeyRef<'_>],
        command: &C,
        needs: Needs,
        busy: Busy,
    ) -> Result<Reply<C>, KmsError> {
        let caller = self.request.map(|request| request.principal.caller_arn());
        let caller = caller.ok_or_else(|| KmsError::internal("nobody asks for a guarded use"))?;
        let draft = Draft::of(command).map_err(|error| refusal(error, busy))?;
        let digest = draft.digest();
        // The second time round is after a device has forgotten what it was asked.
        for _ in 0..2 {
            let found = self.found(keys, &caller, (draft.opcode(), &digest))?;
            if let Some(entry) = found.iter().flatten().find(|entry| !entry.is_approved) {
                return Err(required(entry));
            }
            let device = found.iter().flatten().map(Entry::device).next();
            if let Some(place) = found.iter().position(Option::is_none) {
                let key = keys.get(place).ok_or_else(|| KmsError::internal("no such key"))?;
                let route = Route { needs, device, ..Route::default() };
                return Err(self.ask(*key, &draft, caller, route, busy).await?);
            }
            let answer =
                self.attempt_at(command, Route { needs, device, ..Route::default() }).await;
            let lacks = |error: &CallError| {
                matches!(error, CallError::Refused { code: ErrorCode::APPROVAL_REQUIRED, .. })
            };
            let is_forgotten = answer.as_ref().err().is_some_and(lacks);
            let is_answered = matches!(&answer, Ok(_) | Err(CallError::Refused { .. }));
            if is_answered {
                found.iter().flatten().for_each(|entry| self.approvals.forget(&entry.id));
            }
            if !is_forgotten {
                return answer.map_err(|error| refusal(error, busy));
            }
        }
        Err(KmsError::internal("a device forgets what it is asked"))
    }

    /// What is known of the approval of each key; one for material that comes twice.
    fn found(
        &self,
        keys: &[KeyRef<'_>],
        caller: &str,
        (opcode, request): (Opcode, &RequestDigest),
    ) -> Result<Vec<Option<Entry>>, KmsError> {
        let live = self.approvals.live(|device| self.pool.boot_of(device));
        let find = |key: &KeyRef<'_>| {
            let token = KeyToken::parse(&key.token).map_err(KmsError::internal)?;
            let material = token.attributes.material;
            let wanted = Wanted { caller, key: key.id, material, opcode, request };
            Ok(live.iter().find(|entry| entry.is(&wanted)).cloned())
        };
        keys.iter().map(find).collect()
    }

    /// Asks a device what has to be signed; what the caller is told.
    async fn ask(
        &mut self,
        key: KeyRef<'_>,
        draft: &Draft,
        caller: String,
        route: Route,
        busy: Busy,
    ) -> Result<KmsError, KmsError> {
        self.approvals.make_room(&caller)?;
        let reply = self.attempt_at(&draft.ask(key), route).await;
        let reply = reply.map_err(|error| refusal(error, busy))?;
        let (asked, receipt) = (response(&reply)?, reply.receipt);
        let receipt = receipt.ok_or_else(|| KmsError::internal("a device gave no receipt"))?;
        let pending = draft.answered(asked, key.id, receipt.device).map_err(KmsError::internal)?;
        let entry = Entry {
            id: pending.fingerprint(),
            caller,
            pending,
            is_approved: false,
            since: Instant::now(),
            boot: Some(receipt.epoch),
        };
        let told = required(&entry);
        self.approvals.keep(entry);
        Ok(told)
    }

    /// Binds a rule to all material of a key; the material with its new tokens.
    ///
    /// # Errors
    /// `Exception::UnsupportedOperation` for keys whose material is elsewhere too; `Exception::Validation`
    /// if the operators that there are could not meet the rule, or if it is weaker than the one in force;
    /// `Exception::DependencyTimeout` if no device can do it now.
    pub async fn require_approval(
        &mut self,
        key: &Authorized<Ownership>,
        rule: Rule,
    ) -> Result<Vec<KeyMaterial>, KmsError> {
        let elsewhere = match () {
            () if key.origin != Origin::AWS_KMS => {
                Some("was imported, and whoever made it may have it")
            }
            () if key.external.is_some() => {
                Some("is one of two layers, and the proxy of the other one cannot ask operators")
            }
            () if key.multi_region.is_some() => {
                Some("is for other Regions, with operators of their own")
            }
            () if key.service.is_some() => Some("is of a service that cannot ask operators"),
            () => None,
        };
        if let Some(reason) = elsewhere {
            let text = format!("The material of {} {reason}; no approval can guard it.", key.arn());
            return Err(KmsError::new(Exception::UnsupportedOperation, text));
        }
        let mut bound = Vec::with_capacity(key.materials.len());
        for material in &key.materials {
            let former = KeyRef { id: key.id.device(), token: Bytes(&material.token) };
            let command = RequireApproval { key: former, rule };
            let reply = self.attempt(&command, Some(key.spec)).await.map_err(cannot_bind)?;
            let made = response(&reply)?;
            if made.material != material.id {
                return Err(KmsError::internal("a device has bound a rule to other material"));
            }
            bound.push(KeyMaterial { token: made.token.to_vec(), ..material.clone() });
        }
        Ok(bound)
    }

    /// Has the deletion of a key permitted, if operators have to: of its current material, for all.
    ///
    /// # Errors
    /// `Exception::KmsInvalidState` with what is to be signed; `Exception::KeyUnavailable` if no device can
    /// tell now.
    pub async fn permit_deletion(
        &mut self,
        key: &Authorized<action::ScheduleKeyDeletion>,
    ) -> Result<(), KmsError> {
        if rule_of_key(key).is_none() {
            return Ok(());
        }
        let key_ref = current(key)?;
        let command = PermitDeletion { key: key_ref };
        response(
            &self.call_using(&[key_ref], &command, Some(key.spec), Busy::KeyUnavailable).await?,
        )
    }

    /// Hands operators' signatures over to the device that waits for them.
    ///
    /// # Errors
    /// `Exception::NotFound` if no such request waits, here or at the device; `Exception::Validation` if
    /// the signatures are not enough; `Exception::DependencyTimeout` if the device does not answer now.
    pub async fn approve(&mut self, id: &ApprovalId, votes: Votes) -> Result<Entry, KmsError> {
        let live = self.approvals.live(|device| self.pool.boot_of(device));
        let entry = live.into_iter().find(|entry| entry.id == *id).ok_or_else(unknown)?;
        if entry.is_approved {
            return Ok(entry);
        }
        let challenge: Challenge = entry.pending.asked().challenge;
        let route = Route { device: Some(entry.device()), ..Route::default() };
        let answer = self.attempt_at(&Approve { challenge, votes }, route).await;
        match answer {
            Ok(_) => {}
            Err(CallError::Refused { code, .. }) => {
                return Err(match code {
                    ErrorCode::APPROVAL_UNKNOWN => {
                        self.approvals.forget(id);
                        unknown()
                    }
                    ErrorCode::QUORUM_MISSING => KmsError::new(
                        Exception::Validation,
                        "Too few operators of the domain have signed this request; the key says how many \
                         have to.",
                    ),
                    ErrorCode::SIGNATURE_INVALID => KmsError::new(
                        Exception::Validation,
                        "A signature is not of an operator of the domain over this request.",
                    ),
                    code => KmsError::internal(code),
                });
            }
            Err(error) => return Err(refusal(error, Busy::DependencyTimeout)),
        }
        let mut entries = self.approvals.lock();
        if let Some(kept) = entries.iter_mut().find(|kept| kept.id == *id) {
            kept.is_approved = true;
        }
        Ok(Entry { is_approved: true, ..entry })
    }

    /// The same as [`Devices::attempt`], by a route.
    async fn attempt_at<C: Command>(
        &mut self,
        command: &C,
        route: Route,
    ) -> Result<Reply<C>, CallError> {
        let answer = self.pool.call_with(command, self.tag, route).await;
        self.note(&answer);
        answer
    }

    /// Takes the receipt of an answer.
    pub(super) fn note<C>(&mut self, answer: &Result<Reply<C>, CallError>) {
        let receipt = match answer {
            Ok(reply) => reply.receipt,
            Err(CallError::Refused { receipt: Some(receipt), .. }) => Some(**receipt),
            Err(_) => None,
        };
        self.receipts.extend(receipt.map(record_form));
    }
}

impl Engine {
    /// The requests that wait for operators, or have their approval.
    #[must_use]
    pub fn pending_approvals(&self) -> Vec<Entry> {
        let pool: &Pool = &self.pool;
        self.approvals.live(|device| pool.boot_of(device))
    }
}

/// Refuses what cannot be sent twice the same.
pub(super) fn refuse_unrepeatable(what: &'static str) -> KmsError {
    let text = format!(
        "Operators have to approve each use of this key, and {what} cannot be approved: it is never the \
         same request twice. Use another key for it."
    );
    KmsError::new(Exception::KmsInvalidState, text)
}

fn unknown() -> KmsError {
    KmsError::new(
        Exception::NotFound,
        "No such request waits for approval. It was used or forgotten: devices forget them when they \
         restart, when their domain changes, and after a day. Send the request again, and have that signed.",
    )
}

fn cannot_bind(error: CallError) -> KmsError {
    let text = match &error {
        CallError::Refused { code: ErrorCode::RULES_DENIED, .. } => {
            "The operators of the domain could not meet this rule: it asks for more of them, or for more \
             security officers, than there are, or for none."
        }
        CallError::Refused { code: ErrorCode::APPROVAL_BOUND, .. } => {
            "The key has a rule that asks for more; a rule is made stricter, never weaker."
        }
        _ => return refusal(error, Busy::DependencyTimeout),
    };
    KmsError::new(Exception::Validation, text)
}

#[cfg(test)]
mod tests {
    use hsm_protocol::command::approval::ApprovalRequest;
    use hsm_protocol::{DomainId, HostId};

    use super::*;

    fn entry(number: u8, caller: &str) -> Entry {
        let body = vec![number];
        let opcode = Opcode::Sign;
        let asked = ApprovalRequest {
            domain: DomainId([1; 16]),
            device: DeviceId([2; 16]),
            host: HostId([3; 16]),
            key: KeyId::single_region([4; 16]),
            material: MaterialId([5; 32]),
            rule: Rule { total: 2, officers: 1 },
            opcode,
            request: hsm_protocol::approval::digest(opcode, &body),
            challenge: [number; 16],
        };
        let pending = Pending::new(asked, body).unwrap();
        Entry {
            id: pending.fingerprint(),
            caller: caller.to_owned(),
            pending,
            is_approved: false,
            since: Instant::now(),
            boot: Some(7),
        }
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let approvals = Approvals::default();
        for number in (0..).take(MAX_PER_CALLER) {
            approvals.make_room("ana").unwrap();
            approvals.keep(entry(number, "ana"));
        }
        let kept = |approvals: &Approvals| -> Vec<_> {
            approvals.live(|_| Some(7)).iter().map(|e| e.pending.asked().challenge[0]).collect()
        };
        approvals.make_room("ana").unwrap();
        assert_eq!(kept(&approvals), [1, 2, 3], "the oldest of her own gives way");
        approvals.keep(entry(4, "ana"));
        for number in 10..14 {
            approvals.make_room("bob").unwrap();
            approvals.keep(entry(number, "bob"));
        }
        let refused = approvals.make_room("eve").unwrap_err();
        assert_eq!(refused.exception(), Exception::KmsInvalidState);
        assert_eq!(kept(&approvals).len(), MAX_ENTRIES, "all of them are there");
        for entry in approvals.lock().iter_mut() {
            entry.is_approved = true;
        }
        assert!(approvals.make_room("ana").is_err(), "what was approved does not give way");
    }

    #[test]
    fn what_a_device_has_forgotten_is_forgotten() {
        let approvals = Approvals::default();
        approvals.keep(entry(1, "ana"));
        assert_eq!(approvals.live(|_| None).len(), 1, "out of service is not restarted");
        assert_eq!(approvals.live(|_| Some(7)).len(), 1);
        assert!(approvals.live(|_| Some(8)).is_empty(), "another boot");
        approvals.keep(Entry {
            since: Instant::now().checked_sub(VALIDITY).unwrap(),
            ..entry(2, "ana")
        });
        assert!(approvals.live(|_| Some(7)).is_empty(), "a day has passed");
    }

    #[test]
    fn an_approval_is_of_its_caller_and_request() {
        let kept = entry(1, "ana");
        let asked = *kept.pending.asked();
        let wanted = Wanted {
            caller: "ana",
            key: asked.key,
            material: asked.material,
            opcode: asked.opcode,
            request: &asked.request,
        };
        assert!(kept.is(&wanted));
        for other in [
            Wanted { caller: "bob", ..wanted },
            Wanted { key: KeyId::single_region([9; 16]), ..wanted },
            Wanted { material: MaterialId([9; 32]), ..wanted },
            Wanted { opcode: Opcode::Decrypt, ..wanted },
            Wanted { request: &[9; 32], ..wanted },
        ] {
            assert!(!kept.is(&other));
        }
    }

    /// SDKs read it as the exception of that operation, and a person finds in it what to do.
    #[test]
    fn a_refusal_has_what_is_to_be_signed() {
        use base64::Engine as _;
        let entry = entry(1, "ana");
        let told = required(&entry);
        assert_eq!((told.exception(), told.status()), (Exception::KmsInvalidState, 400));
        let text = told.message().unwrap();
        let (_, message) = text.rsplit_once(' ').unwrap();
        let message = base64::engine::general_purpose::STANDARD.decode(message).unwrap();
        assert_eq!(message, entry.pending.asked().message());
        assert!(text.contains(&fingerprint(&entry.id)), "{text}");
        let recorded = told.recorded_message().unwrap();
        assert!(recorded.contains(&fingerprint(&entry.id)) && recorded.ends_with("a day."));
    }
}
