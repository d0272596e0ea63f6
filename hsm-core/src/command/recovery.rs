//! Makes and opens backups that a number of operators restore together.

use hsm_protocol::command::decode;
use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::recovery::{
    DrillRecovery, Drilled, MakeRecovery, RecoverySet, RestoreDomain,
};
use hsm_protocol::domain::Ballot;
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{After, Context, Execute};
use crate::keystore::domain::{Domain, Fate};
use crate::keystore::recovery::{self, ALL_SHARES, MAX_BACKUP};
use crate::keystore::wrap;
use crate::platform::Platform;
use crate::secret::SecretBuf;

impl Execute for MakeRecovery {
    const ANSWER: usize = MAX_BACKUP + ALL_SHARES;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<RecoverySet<'o>, ErrorCode> {
        let (domain, identity, rng) = cx.module.fresh_export_parts()?;
        let (backup, shares) =
            scratch.split_at_mut_checked(MAX_BACKUP).ok_or(ErrorCode::INTERNAL)?;
        let (length, all) = recovery::make(domain, identity, rng, backup, shares)?;
        Ok(RecoverySet {
            backup: Bytes(backup.get(..length).unwrap_or_default()),
            shares: Bytes(shares.get(..all).unwrap_or_default()),
        })
    }
}

impl Execute for RestoreDomain<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        // The session is a stranger's; hosts of the domain open others.
        cx.after = After::CloseStrangers;
        let ballot: Ballot<'_> = decode(&self.ballot)?;
        let kind = cx.module.platform.kind();
        cx.module.change_domain(|domain, identity, rng| {
            recovery::open(&self.backup, &self.shares, identity, domain)?;
            match domain.change(&ballot, identity, rng)? {
                // A change that does not make this device a member brings nothing back here.
                Fate::Stays => domain.check_own(identity, kind),
                Fate::Ends => Err(ErrorCode::CHANGE_INVALID),
            }
        })
    }
}

impl Execute for DrillRecovery<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<Drilled, ErrorCode> {
        let (mut domain, mut secret) = (Domain::empty(), SecretBuf::new());
        recovery::open(&self.backup, &self.shares, cx.module.identity()?, &mut domain)?;
        cx.module.end_secrets();
        let attributes = wrap::unwrap(&domain, &self.key.token, &mut secret)?;
        cx.subject = attributes.material;
        if attributes.key != self.key.id {
            return Err(ErrorCode::KEY_MISMATCH);
        }
        let state = domain.state()?;
        Ok(Drilled {
            domain: state.domain,
            version: state.version,
            state: state.hash()?,
            material: attributes.material,
        })
    }
}
