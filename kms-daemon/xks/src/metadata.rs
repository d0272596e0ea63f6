//! What a request says of the request to AWS KMS behind it.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::XksError;
use crate::path::Call;

/// Longest ARN, in bytes.
const MAX_ARN: usize = 2048;
/// Longest of the other members, in bytes. The API has no bound for them.
const MAX_TEXT: usize = 256;

/// `requestMetadata`: who uses which KMS key, and how. It is whatever the holder of a credential says.
///
/// Members that are optional in a call, or that a call does not have, are `None`. Unknown members are
/// ignored, as later versions may add some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMetadata {
    /// The caller of AWS KMS. Not always an ARN: also a service principal, or `AWS Internal`.
    pub aws_principal_arn: Option<String>,
    /// The VPC of the caller, if it used an endpoint of the key owner's account.
    pub aws_source_vpc: Option<String>,
    /// The VPC endpoint, likewise.
    pub aws_source_vpce: Option<String>,
    /// The operation of AWS KMS. Unknown ones are valid.
    #[serde(default)]
    pub kms_operation: String,
    /// The ARN of the KMS key. `CreateKey` does not have one yet.
    pub kms_key_arn: Option<String>,
    /// The id of the request to AWS KMS, by which records are joined. Opaque.
    #[serde(default)]
    pub kms_request_id: String,
    /// The service through which AWS KMS was called, for example `ebs`.
    pub kms_via_service: Option<String>,
}

impl RequestMetadata {
    /// Checks lengths, and that everything is there that a call must have.
    ///
    /// # Errors
    /// `ValidationException`.
    pub(crate) fn check(self, call: Call<'_>) -> Result<Self, XksError> {
        let is_key = call.key().is_some();
        let uses_key = matches!(call, Call::Encrypt(_) | Call::Decrypt(_));
        for (name, value, max, required) in [
            ("awsPrincipalArn", self.aws_principal_arn.as_deref(), MAX_ARN, is_key),
            ("awsSourceVpc", self.aws_source_vpc.as_deref(), MAX_TEXT, false),
            ("awsSourceVpce", self.aws_source_vpce.as_deref(), MAX_TEXT, false),
            ("kmsOperation", Some(&*self.kms_operation), MAX_TEXT, true),
            ("kmsKeyArn", self.kms_key_arn.as_deref(), MAX_ARN, uses_key),
            ("kmsRequestId", Some(&*self.kms_request_id), MAX_TEXT, true),
            ("kmsViaService", self.kms_via_service.as_deref(), MAX_TEXT, false),
        ] {
            let valid = match value {
                None => !required,
                Some(text) => (1..=max).contains(&text.len()),
            };
            if !valid {
                let text = format!("requestMetadata.{name} must have 1 to {max} characters.");
                return Err(XksError::invalid(text));
            }
        }
        Ok(self)
    }

    /// Returns the members that are there, for the audit record.
    #[must_use]
    pub fn recorded(&self) -> Map<String, Value> {
        let optional = [
            ("awsPrincipalArn", self.aws_principal_arn.as_deref()),
            ("awsSourceVpc", self.aws_source_vpc.as_deref()),
            ("awsSourceVpce", self.aws_source_vpce.as_deref()),
            ("kmsOperation", Some(&*self.kms_operation)),
            ("kmsKeyArn", self.kms_key_arn.as_deref()),
            ("kmsRequestId", Some(&*self.kms_request_id)),
            ("kmsViaService", self.kms_via_service.as_deref()),
        ];
        let known = |(name, value): (&str, Option<&str>)| Some((name.to_owned(), value?.into()));
        optional.into_iter().filter_map(known).collect()
    }
}
