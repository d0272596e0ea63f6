//! VPC endpoint services: names by which custom key stores reach proxies on private hosts. AWS has networks behind
//! such names; here the operator says which host a name stands for.

use super::{AllowedHost, Failure};
use kms_base::identifier::Scope;
use kms_keys::custom_store::VpcEndpointService;

/// Longest name, in bytes, as in the API.
const MAX_NAME: usize = 64;
/// What follows the first label of a name.
const SERVICES: &str = "amazonaws.vpce.";

/// A VPC endpoint service of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointService {
    /// The name, `com.amazonaws.vpce.REGION.vpce-svc-ID`.
    pub name: String,
    /// The account that has it, 12 digits. Stores of other accounts have to name it. `None` if all have it.
    pub owner: Option<String>,
    /// The host, whose name is the private DNS name of the service.
    pub host: AllowedHost,
}

impl EndpointService {
    /// Reads `SERVICE=HOST`, `SERVICE=HOST=ADDRESS:PORT`, or the same with `SERVICE@ACCOUNT`.
    ///
    /// # Errors
    /// What to say to whoever wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (service, host) = text.split_once('=').ok_or_else(|| {
            format!("{text:?} is not SERVICE[@ACCOUNT]=HOST or SERVICE[@ACCOUNT]=HOST=ADDRESS:PORT")
        })?;
        let (name, owner) = match service.split_once('@') {
            None => (service, None),
            Some((name, owner)) => (name, Some(owner.to_owned())),
        };
        let is_account =
            |owner: &String| owner.len() == 12 && owner.bytes().all(|c| c.is_ascii_digit());
        if let Some(owner) = owner.as_ref().filter(|owner| !is_account(owner)) {
            return Err(format!("{owner:?} is not an account of 12 digits"));
        }
        if region(name).is_none() {
            return Err(format!(
                "{name:?} is not the name of a VPC endpoint service, such as \
                 com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"
            ));
        }
        Ok(Self { name: name.to_owned(), owner, host: AllowedHost::parse(host)? })
    }

    /// Whether a store of a scope means this service: the name is in the Region of the store, and the account is the
    /// one that the store says, or else its own.
    fn is_meant(&self, meant: &VpcEndpointService, scope: &Scope) -> bool {
        let owner = meant.owner.as_ref().unwrap_or(&scope.account);
        self.name == meant.name
            && region(&self.name) == Some(&*scope.region)
            && self.owner.as_ref().is_none_or(|known| known == owner)
    }
}

/// The host of the service that a store of a scope means, as which it names `host`.
///
/// # Errors
/// [`Failure::NoService`] if there is no such service, [`Failure::ServiceHost`] if it has another host.
pub(super) fn host<'s>(
    services: &'s [EndpointService],
    meant: &VpcEndpointService,
    (host, scope): (&str, &Scope),
) -> Result<&'s AllowedHost, Failure> {
    let found = services.iter().find(|service| service.is_meant(meant, scope));
    let found = found.ok_or(Failure::NoService)?;
    match found.host.name == host {
        true => Ok(&found.host),
        false => Err(Failure::ServiceHost),
    }
}

/// The Region in the name of a service; `None` if it is not such a name.
fn region(name: &str) -> Option<&str> {
    let (first, rest) = name.split_once('.')?;
    let (region, id) = rest.strip_prefix(SERVICES)?.split_once('.')?;
    let id = id.strip_prefix("vpce-svc-")?;
    let of_id = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = matches!(first, "com" | "eu")
        && name.len() <= MAX_NAME
        && kms_base::identifier::is_region(region)
        && !id.is_empty()
        && id.bytes().all(of_id);
    is_name.then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "com.amazonaws.vpce.us-east-1.vpce-svc-0a1";

    #[test]
    fn services_have_names_and_hosts() {
        let read = |text: &str| EndpointService::parse(text);
        let service = read(&format!("{NAME}=XKS.internal.example")).unwrap();
        assert_eq!((service.name.as_str(), service.owner), (NAME, None));
        assert_eq!(service.host, AllowedHost::parse("xks.internal.example").unwrap());
        let service = read(&format!("{NAME}@111122223333=xks.example=192.0.2.1:8443")).unwrap();
        assert_eq!(service.owner.as_deref(), Some("111122223333"));
        assert_eq!(service.host.address, Some("192.0.2.1:8443".parse().unwrap()));
        for text in [
            "",
            NAME,
            "=xks.example",
            "vpce-svc-0=xks.example",
            "com.amazonaws.vpce.nowhere.vpce-svc-0=xks.example",
            "org.amazonaws.vpce.us-east-1.vpce-svc-0=xks.example",
            "com.amazonaws.vpce.us-east-1.vpce-svc-=xks.example",
            "com.amazonaws.vpce.us-east-1.vpce-svc-0=192.0.2.1",
            "com.amazonaws.vpce.us-east-1.vpce-svc-0=",
            "com.amazonaws.vpce.us-east-1.vpce-svc-0@1=xks.example",
            "com.amazonaws.vpce.us-east-1.vpce-svc-0@=xks.example",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let long = format!("com.amazonaws.vpce.us-east-1.vpce-svc-{}=a.example", "0".repeat(30));
        assert!(read(&long).is_err());
    }

    #[test]
    fn services_are_those_of_an_account_and_region() {
        let services = [EndpointService::parse(&format!("{NAME}@111122223333=a.example")).unwrap()];
        let find = |name: &str, owner: Option<&str>, account: &str, region: &str, as_host: &str| {
            let meant =
                VpcEndpointService { name: name.to_owned(), owner: owner.map(str::to_owned) };
            let scope = Scope::new(account, region);
            host(&services, &meant, (as_host, &scope)).map(|host| host.name.clone())
        };
        let (own, other) = ("111122223333", "444455556666");
        assert_eq!(find(NAME, None, own, "us-east-1", "a.example"), Ok("a.example".to_owned()));
        assert!(find(NAME, Some(own), other, "us-east-1", "a.example").is_ok());
        for (owner, account, region) in
            [(None, other, "us-east-1"), (Some(other), own, "us-east-1"), (None, own, "eu-west-1")]
        {
            let found = find(NAME, owner, account, region, "a.example");
            assert_eq!(found, Err(Failure::NoService), "{owner:?} {account} {region}");
        }
        let unknown = "com.amazonaws.vpce.us-east-1.vpce-svc-0a2";
        assert_eq!(find(unknown, None, own, "us-east-1", "a.example"), Err(Failure::NoService));
        assert_eq!(find(NAME, None, own, "us-east-1", "b.example"), Err(Failure::ServiceHost));
    }
}
