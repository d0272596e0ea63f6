//! The `KeyId` parameter: four forms of naming a key.

use super::{AliasName, KeyId, Scope};
use crate::error::{Exception, KmsError};

/// The answer to an alias where only a key will do.
const NO_ALIASES: &str = "Key Aliases are not supported for this operation.";

/// Which forms an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// Key id or key ARN.
    Key,
    /// Key id, key ARN, alias name or alias ARN.
    KeyOrAlias,
}

/// A named key, not yet looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRef {
    /// By id.
    Key(Scope, KeyId),
    /// By alias.
    Alias(Scope, AliasName),
}

impl KeyRef {
    /// Reads a key identifier. Bare ids and aliases belong to `home`, the caller's account and
    /// the Region of the endpoint.
    ///
    /// # Errors
    /// [`Exception::NotFound`] for an ARN of another Region and for text that names nothing;
    /// `malformed_arn` for text that only starts as an ARN, and for the name or ARN of an
    /// alias where only a key will do.
    pub fn parse(
        text: &str,
        forms: Forms,
        home: &Scope,
        malformed_arn: Exception,
    ) -> Result<Self, KmsError> {
        if text.starts_with("arn:") {
            let arn = parse_arn(text)
                .ok_or_else(|| KmsError::new(malformed_arn, format!("Invalid arn {text}")))?;
            if forms == Forms::Key && arn.alias().is_some() {
                return Err(KmsError::new(malformed_arn, NO_ALIASES));
            }
            let region = &arn.scope().region;
            if *region != home.region {
                return Err(KmsError::new(Exception::NotFound, format!("Invalid arn {region}")));
            }
            return Ok(arn);
        }
        if let Some(id) = KeyId::parse(text) {
            return Ok(Self::Key(home.clone(), id));
        }
        match AliasName::parse(text) {
            Some(alias) if forms == Forms::KeyOrAlias => Ok(Self::Alias(home.clone(), alias)),
            Some(_) => Err(KmsError::new(malformed_arn, NO_ALIASES)),
            None => Err(KmsError::new(Exception::NotFound, format!("Invalid keyId '{text}'"))),
        }
    }

    /// The account and Region named, or assumed.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        match self {
            Self::Key(scope, _) | Self::Alias(scope, _) => scope,
        }
    }

    /// The alias, if the key was named by one.
    #[must_use]
    pub const fn alias(&self) -> Option<&AliasName> {
        match self {
            Self::Key(..) => None,
            Self::Alias(_, alias) => Some(alias),
        }
    }

    /// What is answered when nothing has this name.
    #[must_use]
    pub fn not_found(&self) -> KmsError {
        let text = match self {
            Self::Key(scope, id) => format!("Key '{}' does not exist", scope.key_arn(*id)),
            Self::Alias(scope, alias) => format!("Alias {} is not found.", scope.alias_arn(alias)),
        };
        KmsError::new(Exception::NotFound, text)
    }
}

/// Reads the ARN of a key; `None` if it is not one.
#[must_use]
pub fn parse_key_arn(text: &str) -> Option<(Scope, KeyId)> {
    match parse_arn(text)? {
        KeyRef::Key(scope, id) => Some((scope, id)),
        KeyRef::Alias(..) => None,
    }
}

/// Reads `arn:<partition>:kms:<region>:<account>:key/<id>` or `…:alias/<name>`.
fn parse_arn(text: &str) -> Option<KeyRef> {
    let mut fields = text.splitn(6, ':');
    let mut field = || fields.next();
    let (_, partition, service) = (field()?, field()?, field()?);
    let (region, account, resource) = (field()?, field()?, field()?);
    let scope = Scope::new(account, region);
    let well_formed = service == "kms"
        && partition == scope.partition()
        && is_region(region)
        && account.len() == 12
        && account.bytes().all(|digit| digit.is_ascii_digit());
    if !well_formed {
        return None;
    }
    if let Some(id) = resource.strip_prefix("key/") {
        return Some(KeyRef::Key(scope, KeyId::parse(id)?));
    }
    Some(KeyRef::Alias(scope, AliasName::parse(resource)?))
}

/// The Region pattern of the service model: `^([a-z]+-){2,3}\d+$`.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('-').collect();
    let number = parts.pop().unwrap_or_default();
    (2..=3).contains(&parts.len())
        && parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    fn parse(text: &str, forms: Forms) -> Result<KeyRef, KmsError> {
        let home = Scope::new("000000000000", "us-east-1");
        KeyRef::parse(text, forms, &home, Exception::InvalidArn)
    }

    fn refusal(text: &str, forms: Forms) -> String {
        parse(text, forms).unwrap_err().to_string()
    }

    #[test]
    fn four_forms_are_read() {
        let home = Scope::new("000000000000", "us-east-1");
        let key = KeyRef::Key(home.clone(), KeyId::parse(ID).unwrap());
        let alias = KeyRef::Alias(home, AliasName::parse("alias/a:b").unwrap());
        let arn = |resource: &str| format!("arn:aws:kms:us-east-1:000000000000:{resource}");
        for (text, expected) in [
            (ID.to_owned(), &key),
            (arn(&format!("key/{ID}")), &key),
            ("alias/a:b".to_owned(), &alias),
            (arn("alias/a:b"), &alias),
        ] {
            assert_eq!(&parse(&text, Forms::KeyOrAlias).unwrap(), expected);
        }
        assert_eq!(parse(ID, Forms::Key).unwrap(), key);
    }

    #[test]
    fn another_account_is_kept_and_another_region_is_not_found() {
        let foreign = format!("arn:aws:kms:us-east-1:111122223333:key/{ID}");
        assert_eq!(parse(&foreign, Forms::Key).unwrap().scope().account, "111122223333");
        let elsewhere = format!("arn:aws:kms:eu-west-1:000000000000:key/{ID}");
        assert_eq!(refusal(&elsewhere, Forms::Key), "NotFoundException: Invalid arn eu-west-1");
    }

    #[test]
    fn what_names_nothing_is_not_found() {
        for text in ["payments", "alias/", "1234", "alias/a b"] {
            let expected = format!("NotFoundException: Invalid keyId '{text}'");
            assert_eq!(refusal(text, Forms::KeyOrAlias), expected);
        }
    }

    #[test]
    fn aliases_are_refused_where_only_a_key_will_do() {
        let expected = "InvalidArnException: Key Aliases are not supported for this operation.";
        let arn = |account: &str| format!("arn:aws:kms:us-east-1:{account}:alias/a");
        let absent = "arn:aws:kms:eu-west-1:000000000000:alias/a";
        for text in ["alias/a", &arn("000000000000"), &arn("111122223333"), absent] {
            assert_eq!(refusal(text, Forms::Key), expected, "{text}");
        }
    }

    #[test]
    fn malformed_arns_are_told_apart() {
        for text in [
            "arn:",
            "arn:aws:kms:us-east-1:000000000000",
            "arn:aws:s3:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-1:00000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us east:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-1:000000000000:key/1234",
            "arn:aws:kms:us-east-1:000000000000:alias/",
        ] {
            assert!(refusal(text, Forms::KeyOrAlias).starts_with("InvalidArnException"), "{text}");
        }
    }

    #[test]
    fn regions_follow_the_pattern() {
        for region in ["us-east-1", "us-gov-west-1", "eu-central-12"] {
            assert!(is_region(region));
        }
        for region in ["", "local", "us-1", "us-east-", "us--east-1", "a-b-c-d-1", "US-east-1"] {
            assert!(!is_region(region), "{region}");
        }
    }
}
