//! Founds, joins and changes the domain, by a quorum of its operators.

use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{
    ChangeDomain, DescribeDomain, DescribedDomain, DomainInfo, DomainStatus, DomainSummary,
    ExportDomain, ExportedDomain, FoundDomain, JoinDomain, ReceiveKeys,
};
use hsm_protocol::domain::{Ballot, MAX_STATE};
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{After, Context, Execute};
use crate::keystore::domain::{Domain, Fate};
use crate::keystore::transfer;
use crate::platform::Platform;

impl Execute for FoundDomain<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        // The session is a stranger's; hosts of the domain open others.
        cx.after = After::CloseStrangers;
        let Self { state, votes, certificate } = &self;
        let kind = cx.module.platform.kind();
        cx.module.change_domain(|domain, identity, rng| {
            domain.found(state, votes, certificate.as_ref(), (identity, kind), rng)
        })
    }
}

impl Execute for JoinDomain<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        cx.after = After::CloseStrangers;
        let kind = cx.module.platform.kind();
        cx.module.change_domain(|domain, identity, _| {
            let mut exported = Domain::empty();
            transfer::import(identity, None, &self.token, &mut exported)?;
            domain.join(&exported, identity, kind)
        })
    }
}

impl Execute for ChangeDomain<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        let ballot: Ballot<'_> = decode(&self.ballot)?;
        let mut fate = Fate::Stays;
        let summary = cx.module.change_domain(|domain, identity, rng| {
            fate = domain.change(&ballot, identity, rng)?;
            Ok(())
        })?;
        match fate {
            Fate::Stays => cx.after = After::CloseStrangers,
            Fate::Ends => {
                cx.after = After::CloseAll;
                cx.module.zeroise()?;
            }
        }
        Ok(summary)
    }
}

impl Execute for ExportDomain {
    const ANSWER: usize = transfer::MAX_TOKEN;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<ExportedDomain<'o>, ErrorCode> {
        let (domain, identity, rng) = cx.module.export_parts()?;
        let length = transfer::export(domain, identity, self.member, rng, scratch)?;
        Ok(ExportedDomain { token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for ReceiveKeys<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        cx.module.change_domain(|domain, identity, _| {
            let mut exported = Domain::empty();
            let trusted = domain.state()?;
            transfer::import(identity, Some(trusted), &self.token, &mut exported)?;
            domain.receive(&exported)
        })
    }
}

impl Execute for DomainInfo {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainStatus, ErrorCode> {
        let device = cx.module.identity()?.device_id();
        let domain = cx.module.domain().map(Domain::summary).transpose()?;
        Ok(DomainStatus { device, domain })
    }
}

impl Execute for DescribeDomain {
    const ANSWER: usize = MAX_STATE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<DescribedDomain<'o>, ErrorCode> {
        let state = cx.module.domain().ok_or(ErrorCode::INTERNAL)?.state()?;
        let out = scratch.first_chunk_mut::<MAX_STATE>().ok_or(ErrorCode::INTERNAL)?;
        Ok(DescribedDomain { state: Bytes(state.encode(out)?) })
    }
}
