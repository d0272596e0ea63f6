//! Which records somebody asks for: who did what, with which key, from where, and when.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, Time, UtcOffset};

use super::facts::is_key_arn;
use super::record::{ACCESS_DENIED, event_time};
use kms_base::identifier::alias::PREFIX;

/// Codes of requests that were refused because of their sender, besides those of policies.
const UNKNOWN_CALLER: [&str; 12] = [
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorizedException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
/// Events that tell how many requests were refused.
const COUNTS: [&str; 2] = [super::strangers::UNAUTHENTICATED, "RequestsRefusedOnFullDisk"];

/// What a record must be like. Of several values of one kind, one must fit.
#[derive(Debug, Default)]
pub struct Query {
    since: Option<String>,
    until: Option<String>,
    users: Vec<String>,
    keys: Vec<KeyName>,
    actions: Vec<String>,
    denied: bool,
    sources: Vec<Network>,
    /// Which keys the aliases of [`Query::keys`] stand for, by account and Region.
    aliases: BTreeMap<(String, String, String), String>,
}

/// A key as somebody names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyName {
    /// `alias/…`, in any account and Region.
    Alias(String),
    /// An ARN, of a key or an alias.
    Arn(String),
    /// A key id, or its beginning of at least eight characters.
    Id(String),
}

impl Query {
    /// All records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those from `since` on, and before `until`.
    #[must_use]
    pub fn between(mut self, since: Option<OffsetDateTime>, until: Option<OffsetDateTime>) -> Self {
        let text = |time: OffsetDateTime| event_time(time.into());
        (self.since, self.until) = (since.map(text), until.map(text));
        self
    }

    /// Those of a user, a role, one of its sessions, or an access key: a name, an id, an ARN, or
    /// `root`.
    #[must_use]
    pub fn by(mut self, users: &[String]) -> Self {
        self.users = users.to_vec();
        self
    }

    /// Those about a key: its id, ARN, alias or alias ARN.
    #[must_use]
    pub fn about(mut self, keys: &[String]) -> Self {
        let named = |text: &String| match text {
            alias if alias.starts_with(PREFIX) => KeyName::Alias(alias.clone()),
            arn if arn.starts_with("arn:") => KeyName::Arn(arn.clone()),
            id => KeyName::Id(id.clone()),
        };
        self.keys = keys.iter().map(named).collect();
        self
    }

    /// Those of an action, such as `Decrypt`, `kms:Decrypt` or `Generate*`.
    #[must_use]
    pub fn of(mut self, actions: &[String]) -> Self {
        self.actions = actions.to_vec();
        self
    }

    /// Requests that were refused because of their caller: by policies, or for their signature.
    #[must_use]
    pub fn only_denied(mut self, denied: bool) -> Self {
        self.denied = denied;
        self
    }

    /// Those from an address or a network.
    #[must_use]
    pub fn from(mut self, sources: &[Network]) -> Self {
        self.sources = sources.to_vec();
        self
    }

    /// The first day whose records are needed, `YYYYMMDD`. What an alias stands for is in records of
    /// any age.
    #[must_use]
    pub fn first_day(&self) -> Option<String> {
        let is_alias = |key: &KeyName| match key {
            KeyName::Alias(_) => true,
            KeyName::Arn(arn) => !is_key_arn(arn),
            KeyName::Id(_) => false,
        };
        let since = self.since.as_ref().filter(|_| !self.keys.iter().any(is_alias))?;
        Some(since.chars().filter(char::is_ascii_digit).take(8).collect())
    }

    /// Whether a record is one that is asked for. Records must be shown in their order, all of them:
    /// they tell what aliases stand for.
    pub fn takes(&mut self, record: &Value) -> bool {
        self.follow_aliases(record);
        let time = record["eventTime"].as_str().unwrap_or_default();
        let in_time = self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until);
        in_time
            && (self.users.is_empty() || self.users.iter().any(|user| is_by(record, user)))
            && (self.actions.is_empty() || self.actions.iter().any(|action| is_of(record, action)))
            && (self.keys.is_empty() || self.keys.iter().any(|key| self.is_about(record, key)))
            && (!self.denied || was_denied(record))
            && (self.sources.is_empty() || self.is_from(record))
    }

    /// `CreateAlias`, `UpdateAlias` and `DeleteAlias` tell what an alias stands for from now on.
    fn follow_aliases(&mut self, record: &Value) {
        let event = record["eventName"].as_str().unwrap_or_default();
        let about = ["CreateAlias", "UpdateAlias", "DeleteAlias"].contains(&event);
        if self.keys.is_empty() || !about || !record["errorCode"].is_null() {
            return;
        }
        let Some(name) = record["requestParameters"]["aliasName"].as_str() else { return };
        let wanted = self.keys.iter().any(|key| match key {
            KeyName::Alias(alias) => alias == name,
            KeyName::Arn(arn) => arn.ends_with(&format!(":{name}")),
            KeyName::Id(_) => false,
        });
        if !wanted {
            return;
        }
        let place = place_of(record, name);
        // Records before 2026-11 name the key among the resources only, the new one last.
        let keys = resources(record).filter(|arn| is_key_arn(arn));
        let key = record["responseElements"]["keyId"].as_str().or_else(|| keys.last());
        match key.filter(|_| event != "DeleteAlias") {
            Some(key) => drop(self.aliases.insert(place, key.to_owned())),
            None => drop(self.aliases.remove(&place)),
        }
    }

    fn is_about(&self, record: &Value, key: &KeyName) -> bool {
        let names = |name: &str| names_of(record).any(|named| named == name);
        match key {
            KeyName::Id(id) => resources(record).chain(names_of(record)).any(|name| {
                let last = name.rsplit('/').next().unwrap_or(name);
                let is_key = name == last || name.starts_with("arn:") && is_key_arn(name);
                is_key && (last == id || (id.len() >= 8 && last.starts_with(id.as_str())))
            }),
            KeyName::Arn(arn) if is_key_arn(arn) => {
                resources(record).any(|resource| resource == arn) || names(arn)
            }
            KeyName::Arn(arn) => {
                let mut parts = arn.splitn(6, ':').skip(3);
                let (region, account) = (parts.next(), parts.next());
                let name = parts.next().unwrap_or_default();
                let here = Some(record["awsRegion"].as_str().unwrap_or_default()) == region
                    && record["recipientAccountId"].as_str() == account;
                resources(record).any(|resource| resource == arn)
                    || names(arn)
                    || (here && (names(name) || self.is_target(record, name)))
            }
            KeyName::Alias(name) => {
                let suffix = format!(":{name}");
                resources(record).chain(names_of(record)).any(|named| named.ends_with(&suffix))
                    || names(name)
                    || self.is_target(record, name)
            }
        }
    }

    /// Whether a record is about the key that an alias stands for now.
    fn is_target(&self, record: &Value, alias: &str) -> bool {
        let target = self.aliases.get(&place_of(record, alias));
        target.is_some_and(|key| resources(record).any(|resource| resource == key))
    }

    fn is_from(&self, record: &Value) -> bool {
        let source = record["sourceIPAddress"].as_str().unwrap_or_default();
        // Counts of refusals are of an address, or of a network of IPv6.
        let address = source.split('/').next().and_then(|text| text.parse().ok());
        address.is_some_and(|address| self.sources.iter().any(|network| network.has(address)))
    }
}

/// Account and Region of a record, and an alias in them.
fn place_of(record: &Value, alias: &str) -> (String, String, String) {
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    (text("recipientAccountId"), text("awsRegion"), alias.to_owned())
}

/// ARNs of the resources of a record.
pub fn resources(record: &Value) -> impl Iterator<Item = &str> {
    record["resources"].as_array().into_iter().flatten().filter_map(|one| one["ARN"].as_str())
}

/// Keys and aliases, as the request named them.
fn names_of(record: &Value) -> impl Iterator<Item = &str> {
    let parameters = &record["requestParameters"];
    ["keyId", "targetKeyId", "sourceKeyId", "destinationKeyId", "aliasName"]
        .into_iter()
        .filter_map(|name| parameters[name].as_str())
}

fn is_by(record: &Value, user: &str) -> bool {
    let identity = &record["userIdentity"];
    let context = &identity["sessionContext"];
    let issuer = &context["sessionIssuer"];
    if user == "root" && identity["type"] == "Root" {
        return true;
    }
    let values = [
        &identity["userName"],
        &identity["arn"],
        &identity["principalId"],
        &identity["accessKeyId"],
        &issuer["userName"],
        &issuer["arn"],
        &issuer["principalId"],
        &context["sourceIdentity"],
    ];
    // `user/ana`, `role/deploy` and `deploy/session` are the ends of ARNs.
    let ends = [format!(":{user}"), format!("/{user}")];
    values.into_iter().filter_map(Value::as_str).any(|value| {
        let is_end = value.starts_with("arn:") && ends.iter().any(|end| value.ends_with(end));
        value == user || is_end
    })
}

fn is_of(record: &Value, action: &str) -> bool {
    let (service, name) = match action.split_once(':') {
        Some((service, name)) => (Some(service), name),
        None => (None, action),
    };
    let source = record["eventSource"].as_str().unwrap_or_default();
    let here = source.split('.').next().unwrap_or_default();
    let event = record["eventName"].as_str().unwrap_or_default();
    service.is_none_or(|service| service.eq_ignore_ascii_case(here)) && fits(event, name)
}

/// Whether a name fits a pattern with `*`, whatever their case. Time grows with the product of their
/// lengths at most.
fn fits(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Whether a request was refused because of its sender.
fn was_denied(record: &Value) -> bool {
    let code = record["errorCode"].as_str();
    let event = record["eventName"].as_str().unwrap_or_default();
    code.is_some_and(|code| code == ACCESS_DENIED || UNKNOWN_CALLER.contains(&code))
        || COUNTS.contains(&event)
}

/// An address, or a network: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        let (whole, ours, theirs) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (32, u128::from(ours.to_bits()), u128::from(theirs.to_bits()))
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (128, ours.to_bits(), theirs.to_bits()),
            _ => return false,
        };
        let free = u32::from(whole - self.bits);
        ours.checked_shr(free).unwrap_or(0) == theirs.checked_shr(free).unwrap_or(0)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is neither an address nor a network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

/// Reads a point in time, as of `now`: RFC 3339, a day, `today`, `yesterday`, `now`, or how long ago:
/// `90s`, `30m`, `2h`, `3d`, `1w`. Days begin at midnight UTC, as those of the log do.
///
/// # Errors
/// A text that says what is read.
pub fn parse_time(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    let now = now.to_offset(UtcOffset::UTC);
    let midnight = now.replace_time(Time::MIDNIGHT);
    let known = match text {
        "now" => Some(now),
        "today" => Some(midnight),
        "yesterday" => midnight.checked_sub(Duration::DAY),
        _ => None,
    };
    let ago = || {
        let at = text.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = text[..at].parse().ok()?;
        let unit = match &text[at..] {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            "w" => 7 * 24 * 60 * 60,
            _ => return None,
        };
        now.checked_sub(Duration::seconds(number.checked_mul(unit)?))
    };
    let day = || {
        let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
        Some(day.midnight().assume_utc())
    };
    let exact = || Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC));
    known.or_else(ago).or_else(day).or_else(exact).ok_or_else(|| {
        format!(
            "{text} is not a time; give 2026-11-28T09:00:00Z, 2026-11-28, yesterday, today, now, or how \
             long ago, such as 90s, 30m, 2h, 3d or 1w"
        )
    })
}

#[cfg(test)]
mod tests;
