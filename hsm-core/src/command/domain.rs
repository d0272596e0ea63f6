//! Provisioning: hosts and domains.

use hsm_protocol::command::domain::{
    CreateDomain, DomainInfo, DomainStatus, DomainSummary, EnrolHost, EnrolledHost, ExportDomain,
    ExportedDomain, HostList, Initialise, JoinDomain, ListHosts, RemoveHost,
};
use hsm_protocol::{Bytes, ErrorCode, Role};

use crate::dispatch::{After, Caller, Context, Execute};
use crate::keystore::domain::Domain;
use crate::keystore::transfer;
use crate::platform::Platform;

impl Execute for Initialise {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<EnrolledHost, ErrorCode> {
        let Caller::Host { host, .. } = cx.caller else { return Err(ErrorCode::INTERNAL) };
        // The session has the role of a stranger; its host opens another as provisioner.
        cx.after = After::CloseAll;
        cx.module.change_hosts(|hosts| hosts.enrol(host, Role::Provisioner))
    }
}

impl Execute for EnrolHost {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<EnrolledHost, ErrorCode> {
        self.key.to_point()?;
        let host = self.key.host_id();
        let former = cx.module.hosts().role(host);
        let enrolled = cx.module.change_hosts(|hosts| hosts.enrol(host, self.role))?;
        if former.is_some_and(|former| former != self.role) {
            cx.after = After::CloseHost(host);
        }
        Ok(enrolled)
    }
}

impl Execute for RemoveHost {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        cx.module.change_hosts(|hosts| hosts.remove(self.host))?;
        cx.after = After::CloseHost(self.host);
        Ok(())
    }
}

impl Execute for ListHosts {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<HostList<'o>, ErrorCode> {
        let mut end = 0usize;
        for row in cx.module.hosts().iter() {
            let free = scratch.get_mut(end..).unwrap_or_default();
            end = end.saturating_add(postcard::to_slice(row, free)?.len());
        }
        Ok(HostList { rows: Bytes(scratch.get(..end).unwrap_or_default()) })
    }
}

impl Execute for CreateDomain {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        let domain = cx.module.change_domain(|domain, identity, rng| {
            domain.found(identity.document(), rng);
            Ok(())
        })?;
        Ok(domain.summary())
    }
}

impl Execute for ExportDomain {
    const ANSWER: usize = transfer::MAX_TOKEN;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<ExportedDomain<'o>, ErrorCode> {
        self.joiner.verify()?;
        cx.module.change_domain(|domain, _, _| match domain.exists() {
            true => domain.add_member(&self.joiner),
            false => Err(ErrorCode::INTERNAL),
        })?;
        let (domain, identity, rng) = cx.module.export_parts()?;
        let length = transfer::export(domain, identity, &self.joiner, rng, scratch)?;
        Ok(ExportedDomain { token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for JoinDomain<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainSummary, ErrorCode> {
        self.exporter.verify()?;
        let domain = cx.module.change_domain(|domain, identity, _| {
            transfer::import(identity, &self.exporter, &self.token, domain)
        })?;
        Ok(domain.summary())
    }
}

impl Execute for DomainInfo {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainStatus, ErrorCode> {
        let device = cx.module.identity()?.device_id();
        Ok(DomainStatus { device, domain: cx.module.domain().map(Domain::summary) })
    }
}
