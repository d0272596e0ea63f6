//! Patterns of ARNs: six fields, matched one by one.
//!
//! Source: the IAM User Guide, "ARN condition operators" and "IAM JSON policy elements: Resource".

use crate::budget::Metered;
use crate::error::Fault;
use crate::glob::Price;
use crate::pattern::{Pattern, Syntax, Unresolved, split_fields};

const FIELDS: usize = 6;

/// A pattern of ARNs. A wildcard does not reach beyond its field; only the last field has colons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArnPattern {
    /// `*`: in a `Resource` element anything, elsewhere any ARN.
    Anything,
    /// A variable that stands for a whole ARN.
    Variable(Pattern),
    /// The fields.
    Fields(Box<[Pattern; FIELDS]>),
}

impl ArnPattern {
    /// Reads the value of an ARN operator.
    pub(crate) fn parse(text: &str, variables: bool) -> Result<Self, Fault> {
        if text == "*" {
            return Ok(Self::Anything);
        }
        let syntax = Syntax { wildcards: true, variables };
        let fields = split_fields(text, FIELDS.saturating_sub(1), variables);
        if fields.len() == 1 {
            let whole = Pattern::parse(text, syntax)?;
            if whole.is_variable() {
                return Ok(Self::Variable(whole));
            }
        }
        let patterns: Vec<Pattern> =
            fields.iter().map(|field| Pattern::parse(field, syntax)).collect::<Result<_, _>>()?;
        let patterns: Box<[Pattern; FIELDS]> = patterns
            .into_boxed_slice()
            .try_into()
            .map_err(|_| Fault::Value { wanted: "an ARN", value: text.to_owned() })?;
        Ok(Self::Fields(patterns))
    }

    /// Reads an element of `Resource`. Fields that are left out are `*`; only the last can have
    /// variables.
    pub(crate) fn parse_resource(text: &str, variables: bool) -> Result<Self, Fault> {
        if text == "*" {
            return Ok(Self::Anything);
        }
        let mut fields = split_fields(text, FIELDS.saturating_sub(1), variables).into_iter();
        if fields.next() != Some("arn") || fields.len() == 0 {
            return Err(Fault::Resource(text.to_owned()));
        }
        let mut next = || match fields.next() {
            None => Ok(Pattern::Anything),
            Some(field) if variables && field.contains("${") => {
                Err(Fault::Variable(text.to_owned()))
            }
            Some(field) => Ok(Pattern::with_wildcards(field)),
        };
        let (partition, service, region, account) = (next()?, next()?, next()?, next()?);
        let resource = match fields.next() {
            None => Pattern::Anything,
            Some(field) => Pattern::parse(field, Syntax { wildcards: true, variables })?,
        };
        let arn = Pattern::Exact("arn".into());
        Ok(Self::Fields(Box::new([arn, partition, service, region, account, resource])))
    }

    /// What it takes to compare an ARN with it, at most.
    pub(crate) fn price(&self) -> Price {
        let own = Price::fixed(12);
        match self {
            Self::Anything => own,
            Self::Variable(pattern) => own.and(pattern.price()),
            Self::Fields(patterns) => patterns.iter().map(Pattern::price).fold(own, Price::and),
        }
    }

    /// Whether a resource is named by the pattern.
    pub(crate) fn matches_resource(
        &self,
        resource: &str,
        context: &Metered<'_>,
    ) -> Result<bool, Unresolved> {
        match self {
            Self::Anything => Ok(true),
            pattern => pattern.matches(resource, context),
        }
    }

    /// Whether `text` is an ARN that matches.
    pub(crate) fn matches(&self, text: &str, context: &Metered<'_>) -> Result<bool, Unresolved> {
        match self {
            Self::Anything => Ok(text.splitn(FIELDS, ':').count() == FIELDS),
            Self::Variable(pattern) => pattern.matches(text, context),
            Self::Fields(patterns) => {
                context.spend(12)?;
                let mut fields = text.splitn(FIELDS, ':');
                for pattern in patterns.iter() {
                    let Some(field) = fields.next() else { return Ok(false) };
                    if !pattern.matches(field, context)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No request, with all steps left.
    fn nothing() -> Metered<'static> {
        Metered::new(&())
    }

    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234";

    #[test]
    fn fields_are_matched_one_by_one() {
        for (pattern, text, expected) in [
            (KEY, KEY, true),
            ("arn:aws:kms:*:111122223333:key/*", KEY, true),
            ("arn:*:*:*:*:*", KEY, true),
            ("arn:aws:kms:eu-*-1:1111????3333:key/1*", KEY, true),
            ("*", KEY, true),
            ("*", "not an ARN", false),
            ("arn:aws:kms:*:key/1234:", KEY, false),
            ("arn:aws:k*:111122223333:key/1234:", KEY, false),
            ("arn:aws:kms:*:alias/*:", KEY, false),
            ("arn:aws:kms:EU-west-1:*:*", KEY, false),
            ("arn:aws:s3:::a*c", "arn:aws:s3:::a:b:c", true),
            ("arn:aws:s3:::*", "arn:aws:s3:::", true),
            ("arn:aws:s3:::*", "arn:aws:s3::", false),
        ] {
            let pattern = ArnPattern::parse(pattern, false).map(|p| p.matches(text, &nothing()));
            assert!(pattern.is_err() || pattern == Ok(Ok(expected)), "{text}");
        }
        for text in ["", "arn", "arn:aws:kms", "arn:aws:iam::*", "key/1234"] {
            assert!(ArnPattern::parse(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn resources_may_leave_fields_out() {
        for (pattern, expected) in [
            ("*", true),
            ("arn:*", true),
            ("arn:aws:kms", true),
            ("arn:aws:kms:*", true),
            ("arn:aws:kms:*:111122223333", true),
            ("arn:aws:kms:us-*", false),
            ("arn:aws:s3", false),
            ("arn:aws:kms:*:*:alias/*", false),
            ("arn:aws:*:key/1234", false),
        ] {
            let own = ArnPattern::parse_resource(pattern, true).unwrap();
            assert_eq!(own.matches_resource(KEY, &nothing()), Ok(expected), "{pattern}");
            // An action that is about no resource is allowed by `*` alone.
            assert_eq!(own.matches_resource("*", &nothing()), Ok(pattern == "*"), "{pattern}");
        }
        for text in ["", "**", "arn", "a*", "key/1234", "ARN:aws:kms:::", "${aws:username}"] {
            assert!(ArnPattern::parse_resource(text, true).is_err(), "{text}");
        }
        assert!(
            ArnPattern::parse_resource("arn:aws:kms:${aws:RequestedRegion}:1:key/x", true).is_err()
        );
        assert!(
            ArnPattern::parse_resource("arn:aws:kms:${aws:RequestedRegion}:1:key/x", false).is_ok()
        );
        assert!(ArnPattern::parse_resource("arn:aws:kms:::key/${aws:username", true).is_err());
    }
}
