//! The one gate between a decoded request and its handler.
//!
//! Every command of the table passes here: room in the audit chain, channel, role, module state, then the
//! handler, then the audit chain. Handlers check none of these.

use hsm_protocol::audit::{Note, Receipt, request_digest};
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::{Command, decode};
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::{ErrorCode, HostId, MaterialId, ModuleState, Opcode, Role, for_each_command};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::algorithm::Algorithm;
use crate::audit::{Chain, Event};
use crate::memory::Owner;
use crate::module::{Gate, Key, Module};
use crate::platform::Platform;

/// Bytes a handler gets for its answer besides twice the request's length: the longest data key
/// or public key, a blob's header, and room to spare.
pub(crate) const ANSWER: usize = 2048;

/// The caller.
#[derive(Clone, Copy)]
pub(crate) enum Caller {
    /// Somebody outside the channel.
    Anyone,
    /// The host of a session.
    Host {
        /// The session.
        session: u16,
        /// The host key.
        host: HostId,
        /// Its role.
        role: Role,
    },
}

/// A request on its way to its handler.
#[derive(Clone, Copy)]
pub(crate) struct Call<'b> {
    /// The caller.
    pub(crate) caller: Caller,
    /// Open sessions.
    pub(crate) sessions: u8,
    /// The command, its id and tag.
    pub(crate) head: RequestHead,
    /// The encoded request.
    pub(crate) body: &'b [u8],
}

/// What a handler works with.
pub(crate) struct Context<'m, P: Platform> {
    /// The module.
    pub(crate) module: &'m mut Module<P>,
    /// The caller.
    pub(crate) caller: Caller,
    /// Open sessions.
    pub(crate) sessions: u8,
    /// The key material the audit entry names; a handler sets it as soon as it knows it.
    pub(crate) subject: MaterialId,
    /// Whether the service is an approved one: false once a key that is not approved was used.
    pub(crate) approved: bool,
    /// What becomes of sessions after the answer.
    pub(crate) after: After,
    /// The request, as operators may have approved it.
    pub(crate) request: Request<'m>,
    /// The keys of this request whose approval was used up for it.
    granted: Granted,
}

/// A request as it came.
#[derive(Clone, Copy)]
pub(crate) struct Request<'b> {
    /// The command.
    pub(crate) opcode: Opcode,
    /// The encoded request.
    pub(crate) body: &'b [u8],
    /// The host that sent it.
    pub(crate) host: Option<HostId>,
}

/// Materials whose use was approved. No command uses more than two keys.
pub(crate) type Granted = heapless::Vec<MaterialId, 2>;

/// What of a key a command uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What everybody may know: nobody has to approve that.
    Public,
    /// The secret.
    Secret,
}

/// What the HSM does once the answer is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Continue,
    /// Ends this session.
    CloseSession(u16),
    /// Ends the sessions of hosts that are none of the domain, or have another role now.
    CloseStrangers,
    /// Ends all sessions.
    CloseAll,
}

/// A command's work. Everything about who may call and when is the table's business.
pub(crate) trait Execute: Command {
    /// Bytes of scratch memory besides twice the request's length.
    const ANSWER: usize = ANSWER;

    /// Does the work; the response may borrow from `scratch`.
    ///
    /// # Errors
    /// The command's own; none of the gate's.
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Self::Response<'o>, ErrorCode>;
}

impl<P: Platform> Context<'_, P> {
    /// Unwraps a key to use its secret; the audit entry names its material from then on.
    pub(crate) fn key(&mut self, key: &KeyRef<'_>, usage: KeyUsage) -> Result<Key<'_>, ErrorCode> {
        self.key_for(key, &[usage], Part::Secret)
    }

    /// Unwraps a key to use nothing but its public half.
    pub(crate) fn public_key(
        &mut self,
        key: &KeyRef<'_>,
        usage: KeyUsage,
    ) -> Result<Key<'_>, ErrorCode> {
        self.key_for(key, &[usage], Part::Public)
    }

    /// Unwraps a key for one of several usages.
    pub(crate) fn key_for(
        &mut self,
        key: &KeyRef<'_>,
        usages: &[KeyUsage],
        part: Part,
    ) -> Result<Key<'_>, ErrorCode> {
        let gate = Gate { usages, part, request: self.request, granted: &mut self.granted };
        let key = self.module.key(key, gate, &mut self.subject)?;
        self.approved &= key.is_approved();
        Ok(key)
    }

    /// The registry entry of a spec, tested before its first use.
    pub(crate) fn algorithm(&mut self, spec: KeySpec) -> Result<&'static dyn Algorithm, ErrorCode> {
        let algorithm = self.module.algorithm(spec)?;
        self.approved &= algorithm.is_approved();
        Ok(algorithm)
    }
}

macro_rules! dispatch_table {
    ($($number:literal $name:ident $family:ident::$request:ident $(<$lifetime:lifetime>)? => $response:ty,
       $roles:ident, $states:ident, audit = $audit:literal, idempotent = $idempotent:literal, pace = $pace:ident
       $(, hides($($hidden:ident),+))?;)+) => {
        /// Runs the command of a request and writes its response into `reply`; returns the
        /// response's length.
        pub(crate) fn dispatch<P: Platform>(
            module: &mut Module<P>,
            call: Call<'_>,
            scratch: &mut [u8],
            reply: &mut [u8],
        ) -> (Result<usize, ErrorCode>, After) {
            use hsm_protocol::command::{
                agree, approval, attest, audit, cipher, domain, firmware, import, key, mac, random, recovery,
                replica, session, sign, statement, system,
            };

            match call.head.opcode {
                $(Opcode::$name => {
                    run::<P, $family::$request $(<$lifetime>)?>(module, call, scratch, reply)
                })+
                _ => {
                    let head = ResponseHead::refusal(call.head.id, ErrorCode::UNKNOWN_COMMAND);
                    (head.write(reply), After::Continue)
                },
            }
        }
    };
}

for_each_command!(dispatch_table);

/// The gate. Never inlined: a frame for all commands in one would be as large as all of theirs.
#[inline(never)]
fn run<'b, P: Platform, C>(
    module: &mut Module<P>,
    call: Call<'b>,
    scratch: &mut [u8],
    reply: &mut [u8],
) -> (Result<usize, ErrorCode>, After)
where
    C: Execute + Deserialize<'b>,
{
    let Call { caller, sessions, head, body } = call;
    // A handler reaches only this much of the scratch memory, and all of it is zeroised below:
    // erasing the whole would cost more than most commands.
    let length = body.len().saturating_mul(2).saturating_add(C::ANSWER).min(scratch.len());
    let Some(scratch) = scratch.get_mut(..length) else {
        return (ResponseHead::refusal(head.id, ErrorCode::INTERNAL).write(reply), After::Continue);
    };
    let subject = MaterialId([0; 32]);
    let after = After::Continue;
    let host = match caller {
        Caller::Host { host, .. } => Some(host),
        Caller::Anyone => None,
    };
    let request = Request { opcode: head.opcode, body, host };
    let granted = Granted::new();
    let recording = match begin(module, C::AUDIT, caller, head) {
        Ok(recording) => recording,
        Err(full) => return (ResponseHead::refusal(head.id, full).write(reply), After::Continue),
    };
    let mut cx =
        Context { module, caller, sessions, subject, approved: true, after, request, granted };
    let admitted = admit::<P, C>(&cx);
    // Of what cannot be read nothing is known that could be recorded.
    let (answer, hidden) = match decode::<C>(body) {
        Ok(command) => {
            let hidden = command.hidden();
            let answer = admitted.and_then(|()| command.execute(&mut cx, scratch));
            (answer, Some(hidden))
        }
        Err(error) => (Err(admitted.err().unwrap_or(error)), None),
    };
    let Context { module, subject, approved, after, .. } = cx;

    let status = answer.as_ref().err().copied();
    let receipt = recording.zip(hidden).map(|((host, note), hidden)| {
        let opcode = C::OPCODE;
        let event = Event { opcode, result: status, host, subject, note };
        record(&mut module.audit, &event, body, hidden)
    });
    let head = ResponseHead { id: head.id, status, receipt, approved };
    let written = match &answer {
        Ok(answer) => respond(&head, answer, reply),
        Err(_) => head.write(reply),
    };
    drop(answer);
    scratch.zeroize();
    if let Some(error) = status {
        module.fail_on(error);
    }
    (written, after)
}

/// Whether this caller may call this command now.
fn admit<P: Platform, C: Command>(cx: &Context<'_, P>) -> Result<(), ErrorCode> {
    match cx.caller {
        Caller::Anyone if !C::ROLES.is_public() => return Err(ErrorCode::CHANNEL_REQUIRED),
        Caller::Host { role, .. } if !C::ROLES.is_public() && !C::ROLES.contains(role) => {
            return Err(ErrorCode::ROLE_DENIED);
        }
        _ => {}
    }
    match C::STATES.contains(cx.module.state()) {
        true => Ok(()),
        false => Err(ErrorCode::STATE_DENIED),
    }
}

/// Who is to be recorded with what, if the command is audited; takes note of the entries that the host
/// has.
///
/// # Errors
/// [`ErrorCode::AUDIT_FULL`] if there is no room for an entry.
#[inline(never)] // once for all commands
fn begin<P: Platform>(
    module: &mut Module<P>,
    is_audited: bool,
    caller: Caller,
    head: RequestHead,
) -> Result<Option<(HostId, Note)>, ErrorCode> {
    let (true, Caller::Host { host, .. }, Some(note)) = (is_audited, caller, head.note) else {
        return Ok(None);
    };
    module.audit.take(note.taken);
    // Before it is in a domain nobody keeps a log of what it does.
    match module.audit.is_full() && module.state() == ModuleState::Operational {
        true => Err(ErrorCode::AUDIT_FULL),
        false => Ok(Some((host, note))),
    }
}

/// Adds the entry of a command, with the digest of its request.
#[inline(never)] // once for all commands
fn record<O: Owner>(chain: &mut Chain<O>, event: &Event, body: &[u8], hidden: usize) -> Receipt {
    chain.extend(event, request_digest(event.opcode, body, hidden))
}

fn respond(
    head: &ResponseHead,
    answer: &impl Serialize,
    reply: &mut [u8],
) -> Result<usize, ErrorCode> {
    let head = head.write(reply)?;
    let rest = reply.get_mut(head..).ok_or(ErrorCode::TOO_LARGE)?;
    let body = postcard::to_slice(answer, rest)?.len();
    head.checked_add(body).ok_or(ErrorCode::TOO_LARGE)
}
