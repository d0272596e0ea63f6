//! The operations of IAM, STS and the other services beside KMS: one row each in [`Operation`]'s table, one file for
//! each subject.

use kms_base::text::bounded;
use kms_policy::Action;

use super::{Management, Node};
use crate::api::Service as KeyService;
use kms_audit::AuditFacts;
use kms_base::context::RequestContext;
use kms_base::principal::Principal;
use kms_query::{Code, Form, IamError};

mod access_keys;
mod account_details;
mod account_summary;
mod accounts;
mod attached;
mod attestations;
mod backups;
mod boundaries;
mod call;
mod clusters;
mod credential_report;
mod devices;
mod domains;
mod entities;
mod events;
mod explain;
mod external_stores;
mod groups;
mod guarded_keys;
mod holder;
mod inline;
mod last_used;
mod listing;
mod managed;
mod nothing;
mod regions;
mod rename;
mod roles;
mod scrubs;
mod service;
mod simulate;
mod sts;
mod tagged_keys;
mod tags;
mod trails;
mod users;
mod versions;

use self::call::Call;
pub use self::service::{Protocol, Service};
use crate::iam::record::{Group, ManagedPolicy, Role, User};

macro_rules! operations {
    ($($service:ident $name:ident $effect:ident [$($parameter:literal),*] => $run:path;)+) => {
        /// An operation. The variants are the rows of the operation table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of the APIs")]
        pub enum Operation {
            $($name,)+
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The `Action` parameter.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Its API.
            #[must_use]
            pub const fn service(self) -> Service {
                match self { $(Self::$name => Service::$service,)+ }
            }

            /// CloudTrail's `readOnly`.
            #[must_use]
            pub const fn is_read_only(self) -> bool {
                match self { $(Self::$name => matches!(Effect::$effect, Effect::Reads),)+ }
            }

            /// The parameters it has here; the names of lists are followed by `[]`.
            const fn parameters(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($parameter),*],)+ }
            }
        }

        async fn dispatch(operation: Operation, call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
            match operation {
                $(Operation::$name => Box::pin($run(call)).await,)+
            }
        }
    };
}

enum Effect {
    Reads,
    Writes,
}

// API, operation, CloudTrail's readOnly, parameters (lists with []) => handler
operations! {
    Iam CreateUser Writes ["UserName", "Path", "PermissionsBoundary", "Tags[]"] => users::create;
    Iam GetUser Reads ["UserName"] => users::find;
    Iam ListUsers Reads ["PathPrefix", "Marker", "MaxItems"] => users::list;
    Iam UpdateUser Writes ["UserName", "NewPath", "NewUserName"] => rename::user;
    Iam DeleteUser Writes ["UserName"] => users::delete;
    Iam TagUser Writes ["UserName", "Tags[]"] => tags::put::<User>;
    Iam UntagUser Writes ["UserName", "TagKeys[]"] => tags::delete::<User>;
    Iam ListUserTags Reads ["UserName", "Marker", "MaxItems"] => tags::list::<User>;
    Iam PutUserPolicy Writes ["UserName", "PolicyName", "PolicyDocument"] => inline::put::<User>;
    Iam GetUserPolicy Reads ["UserName", "PolicyName"] => inline::find::<User>;
    Iam ListUserPolicies Reads ["UserName", "Marker", "MaxItems"] => inline::list::<User>;
    Iam DeleteUserPolicy Writes ["UserName", "PolicyName"] => inline::delete::<User>;
    Iam PutUserPermissionsBoundary Writes ["UserName", "PermissionsBoundary"] => boundaries::put::<User>;
    Iam DeleteUserPermissionsBoundary Writes ["UserName"] => boundaries::delete::<User>;
    Iam CreateAccessKey Writes ["UserName"] => access_keys::create;
    Iam ListAccessKeys Reads ["UserName", "Marker", "MaxItems"] => access_keys::list;
    Iam UpdateAccessKey Writes ["UserName", "AccessKeyId", "Status"] => access_keys::update;
    Iam GetAccessKeyLastUsed Reads ["AccessKeyId"] => last_used::access_key;
    Iam DeleteAccessKey Writes ["UserName", "AccessKeyId"] => access_keys::delete;
    Iam CreateGroup Writes ["GroupName", "Path"] => groups::create;
    Iam GetGroup Reads ["GroupName", "Marker", "MaxItems"] => groups::find;
    Iam ListGroups Reads ["PathPrefix", "Marker", "MaxItems"] => groups::list;
    Iam ListGroupsForUser Reads ["UserName", "Marker", "MaxItems"] => groups::list_for_user;
    Iam AddUserToGroup Writes ["GroupName", "UserName"] => groups::add_user;
    Iam RemoveUserFromGroup Writes ["GroupName", "UserName"] => groups::remove_user;
    Iam UpdateGroup Writes ["GroupName", "NewPath", "NewGroupName"] => rename::group;
    Iam DeleteGroup Writes ["GroupName"] => groups::delete;
    Iam PutGroupPolicy Writes ["GroupName", "PolicyName", "PolicyDocument"] => inline::put::<Group>;
    Iam GetGroupPolicy Reads ["GroupName", "PolicyName"] => inline::find::<Group>;
    Iam ListGroupPolicies Reads ["GroupName", "Marker", "MaxItems"] => inline::list::<Group>;
    Iam DeleteGroupPolicy Writes ["GroupName", "PolicyName"] => inline::delete::<Group>;
    Iam CreateRole Writes ["RoleName", "Path", "AssumeRolePolicyDocument", "Description", "MaxSessionDuration", "PermissionsBoundary", "Tags[]"] => roles::create;
    Iam GetRole Reads ["RoleName"] => roles::find;
    Iam ListRoles Reads ["PathPrefix", "Marker", "MaxItems"] => roles::list;
    Iam ListInstanceProfilesForRole Reads ["RoleName", "Marker", "MaxItems"] => roles::list_instance_profiles;
    Iam UpdateAssumeRolePolicy Writes ["RoleName", "PolicyDocument"] => roles::update_trust;
    Iam UpdateRole Writes ["RoleName", "Description", "MaxSessionDuration"] => roles::update;
    Iam UpdateRoleDescription Writes ["RoleName", "Description"] => roles::describe_anew;
    Iam DeleteRole Writes ["RoleName"] => roles::delete;
    Iam TagRole Writes ["RoleName", "Tags[]"] => tags::put::<Role>;
    Iam UntagRole Writes ["RoleName", "TagKeys[]"] => tags::delete::<Role>;
    Iam ListRoleTags Reads ["RoleName", "Marker", "MaxItems"] => tags::list::<Role>;
    Iam PutRolePolicy Writes ["RoleName", "PolicyName", "PolicyDocument"] => inline::put::<Role>;
    Iam GetRolePolicy Reads ["RoleName", "PolicyName"] => inline::find::<Role>;
    Iam ListRolePolicies Reads ["RoleName", "Marker", "MaxItems"] => inline::list::<Role>;
    Iam DeleteRolePolicy Writes ["RoleName", "PolicyName"] => inline::delete::<Role>;
    Iam PutRolePermissionsBoundary Writes ["RoleName", "PermissionsBoundary"] => boundaries::put::<Role>;
    Iam DeleteRolePermissionsBoundary Writes ["RoleName"] => boundaries::delete::<Role>;
    Iam CreatePolicy Writes ["PolicyName", "Path", "PolicyDocument", "Description", "Tags[]"] => managed::create;
    Iam GetPolicy Reads ["PolicyArn"] => managed::find;
    Iam CreatePolicyVersion Writes ["PolicyArn", "PolicyDocument", "SetAsDefault"] => versions::create;
    Iam GetPolicyVersion Reads ["PolicyArn", "VersionId"] => versions::find;
    Iam ListPolicyVersions Reads ["PolicyArn", "Marker", "MaxItems"] => versions::list;
    Iam SetDefaultPolicyVersion Writes ["PolicyArn", "VersionId"] => versions::set_default;
    Iam DeletePolicyVersion Writes ["PolicyArn", "VersionId"] => versions::delete;
    Iam ListPolicies Reads ["Scope", "OnlyAttached", "PolicyUsageFilter", "PathPrefix", "Marker", "MaxItems"] => managed::list;
    Iam ListEntitiesForPolicy Reads ["PolicyArn", "EntityFilter", "PolicyUsageFilter", "PathPrefix", "Marker", "MaxItems"] => entities::list;
    Iam DeletePolicy Writes ["PolicyArn"] => managed::delete;
    Iam TagPolicy Writes ["PolicyArn", "Tags[]"] => tags::put::<ManagedPolicy>;
    Iam UntagPolicy Writes ["PolicyArn", "TagKeys[]"] => tags::delete::<ManagedPolicy>;
    Iam ListPolicyTags Reads ["PolicyArn", "Marker", "MaxItems"] => tags::list::<ManagedPolicy>;
    Iam AttachUserPolicy Writes ["UserName", "PolicyArn"] => attached::attach::<User>;
    Iam DetachUserPolicy Writes ["UserName", "PolicyArn"] => attached::detach::<User>;
    Iam ListAttachedUserPolicies Reads ["UserName", "PathPrefix", "Marker", "MaxItems"] => attached::list::<User>;
    Iam AttachGroupPolicy Writes ["GroupName", "PolicyArn"] => attached::attach::<Group>;
    Iam DetachGroupPolicy Writes ["GroupName", "PolicyArn"] => attached::detach::<Group>;
    Iam ListAttachedGroupPolicies Reads ["GroupName", "PathPrefix", "Marker", "MaxItems"] => attached::list::<Group>;
    Iam AttachRolePolicy Writes ["RoleName", "PolicyArn"] => attached::attach::<Role>;
    Iam DetachRolePolicy Writes ["RoleName", "PolicyArn"] => attached::detach::<Role>;
    Iam ListAttachedRolePolicies Reads ["RoleName", "PathPrefix", "Marker", "MaxItems"] => attached::list::<Role>;
    Iam GetAccountSummary Reads [] => account_summary::run;
    Iam GetAccountAuthorizationDetails Reads ["Filter[]", "Marker", "MaxItems"] => account_details::run;
    Iam GenerateCredentialReport Reads [] => credential_report::generate;
    Iam GetCredentialReport Reads [] => credential_report::find;
    Iam GenerateServiceLastAccessedDetails Reads ["Arn", "Granularity"] => last_used::generate_services;
    Iam GetServiceLastAccessedDetails Reads ["JobId", "Marker", "MaxItems"] => last_used::services;
    Iam SimulatePrincipalPolicy Reads ["PolicySourceArn", "PolicyInputList[]", "PermissionsBoundaryPolicyInputList[]", "ActionNames[]", "ResourceArns[]", "ResourcePolicy", "ResourceOwner", "CallerArn", "ContextEntries[]", "Marker", "MaxItems"] => simulate::principal;
    Iam SimulateCustomPolicy Reads ["PolicyInputList[]", "PermissionsBoundaryPolicyInputList[]", "ActionNames[]", "ResourceArns[]", "ResourcePolicy", "ResourceOwner", "CallerArn", "ContextEntries[]", "Marker", "MaxItems"] => simulate::custom;
    Iam GetLoginProfile Reads ["UserName"] => nothing::login_profile;
    Iam DeleteLoginProfile Writes ["UserName"] => nothing::login_profile;
    Iam GetAccountPasswordPolicy Reads [] => nothing::password_policy;
    Iam ListAccountAliases Reads ["Marker", "MaxItems"] => nothing::account_aliases;
    Iam ListMFADevices Reads ["UserName", "Marker", "MaxItems"] => nothing::mfa_devices;
    Iam ListVirtualMFADevices Reads ["AssignmentStatus", "Marker", "MaxItems"] => nothing::virtual_mfa_devices;
    Iam ListSigningCertificates Reads ["UserName", "Marker", "MaxItems"] => nothing::signing_certificates;
    Iam ListSSHPublicKeys Reads ["UserName", "Marker", "MaxItems"] => nothing::ssh_public_keys;
    Iam ListServiceSpecificCredentials Reads ["UserName", "ServiceName", "AllUsers", "Marker", "MaxItems"] => nothing::service_credentials;
    Iam ListServerCertificates Reads ["PathPrefix", "Marker", "MaxItems"] => nothing::server_certificates;
    Iam ListSAMLProviders Reads [] => nothing::saml_providers;
    Iam ListOpenIDConnectProviders Reads [] => nothing::oidc_providers;
    Sts GetCallerIdentity Reads [] => sts::caller_identity;
    Sts AssumeRole Reads ["RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "PolicyArns[]", "Tags[]", "TransitiveTagKeys[]", "ExternalId", "SourceIdentity"] => sts::assume_role;
    Sts GetSessionToken Reads ["DurationSeconds"] => sts::session_token;
    Strongroom CreateAccount Writes ["AccountId", "Name"] => accounts::create;
    Strongroom ListAccounts Reads ["Marker", "MaxItems"] => accounts::list;
    Strongroom DescribeDomain Reads ["RegionName"] => domains::describe;
    Strongroom ChangeDomain Writes ["RegionName", "Ballot"] => domains::change;
    Strongroom MakeRecovery Writes ["RegionName"] => domains::make_recovery;
    Strongroom AttestKey Reads ["RegionName", "KeyId", "Nonce"] => attestations::key;
    Strongroom AttestDevice Reads ["RegionName", "DeviceId", "Nonce"] => attestations::device;
    Strongroom DescribeKeyProtection Reads ["RegionName", "KeyId"] => attestations::describe;
    Strongroom RequireApproval Writes ["RegionName", "KeyId", "Approvals", "Officers"] => guarded_keys::require;
    Strongroom ListApprovals Reads ["RegionName"] => guarded_keys::list;
    Strongroom DescribeApproval Reads ["RegionName", "ApprovalId"] => guarded_keys::describe;
    Strongroom SubmitApproval Writes ["RegionName", "ApprovalId", "Votes"] => guarded_keys::submit;
    Strongroom ExplainAccess Reads ["PrincipalArn", "ActionName", "KeyId", "RegionName", "ContextEntries[]"] => explain::run;
    Strongroom CreateExternalKeyStore Writes ["RegionName", "Prefix", "KeyIds[]", "PolicyDocument"] => external_stores::create;
    Strongroom ListExternalKeyStores Reads [] => external_stores::list;
    Strongroom GetExternalKeyStore Reads ["Prefix"] => external_stores::find;
    Strongroom AddExternalKeyStoreKey Writes ["Prefix", "KeyId"] => external_stores::add_key;
    Strongroom RemoveExternalKeyStoreKey Writes ["Prefix", "KeyId"] => external_stores::remove_key;
    Strongroom PutExternalKeyStorePolicy Writes ["Prefix", "PolicyDocument"] => external_stores::put_policy;
    Strongroom DeleteExternalKeyStorePolicy Writes ["Prefix"] => external_stores::delete_policy;
    Strongroom RotateExternalKeyStoreCredential Writes ["Prefix"] => external_stores::rotate_credential;
    Strongroom RetireExternalKeyStoreCredential Writes ["Prefix", "AccessKeyId"] => external_stores::retire_credential;
    Strongroom DeleteExternalKeyStore Writes ["Prefix"] => external_stores::delete;
    Strongroom RegisterCluster Writes ["AccountId", "RegionName", "Module", "Tokens[]", "TrustAnchor", "Single"] => clusters::register;
    Strongroom ListClusters Reads ["AccountId", "RegionName"] => clusters::list;
    Strongroom GetCluster Reads ["AccountId", "RegionName", "ClusterId"] => clusters::find;
    Strongroom AcceptToken Writes ["AccountId", "RegionName", "ClusterId", "Token", "SerialNumber", "WithoutKeys"] => clusters::accept;
    Strongroom RemoveCluster Writes ["AccountId", "RegionName", "ClusterId"] => clusters::remove;
    Ec2 DescribeRegions Reads ["RegionName[]", "Filter[]", "AllRegions", "DryRun"] => regions::describe;
    Tagging GetResources Reads ["PaginationToken", "TagFilters[]", "ResourcesPerPage", "TagsPerPage", "ResourceTypeFilters[]", "IncludeComplianceDetails", "ExcludeCompliantResources", "ResourceARNList[]"] => tagged_keys::list;
    CloudTrail CreateTrail Writes ["Name", "S3BucketName", "S3KeyPrefix", "SnsTopicName", "IncludeGlobalServiceEvents", "IsMultiRegionTrail", "EnableLogFileValidation", "CloudWatchLogsLogGroupArn", "CloudWatchLogsRoleArn", "KmsKeyId", "IsOrganizationTrail", "TagsList[]", "RecursiveLogging"] => trails::create;
    CloudTrail UpdateTrail Writes ["Name", "S3BucketName", "S3KeyPrefix", "SnsTopicName", "IncludeGlobalServiceEvents", "IsMultiRegionTrail", "EnableLogFileValidation", "CloudWatchLogsLogGroupArn", "CloudWatchLogsRoleArn", "KmsKeyId", "IsOrganizationTrail", "RecursiveLogging"] => trails::update;
    CloudTrail DeleteTrail Writes ["Name"] => trails::delete;
    CloudTrail StartLogging Writes ["Name"] => trails::start;
    CloudTrail StopLogging Writes ["Name"] => trails::stop;
    CloudTrail GetTrail Reads ["Name"] => trails::find;
    CloudTrail GetTrailStatus Reads ["Name"] => trails::status;
    CloudTrail DescribeTrails Reads ["trailNameList[]", "includeShadowTrails"] => trails::describe;
    CloudTrail ListTrails Reads ["NextToken"] => trails::list;
    CloudTrail ListPublicKeys Reads ["StartTime", "EndTime", "NextToken"] => trails::public_keys;
    CloudTrail LookupEvents Reads ["LookupAttributes[]", "StartTime", "EndTime", "EventCategory", "MaxResults", "NextToken"] => events::look_up;
    Strongroom ListDevices Reads ["RegionName"] => devices::list;
    Strongroom DrainDevice Writes ["RegionName", "DeviceName", "Force"] => devices::drain;
    Strongroom ResumeDevice Writes ["RegionName", "DeviceName"] => devices::resume;
    Strongroom AddDevice Writes ["RegionName", "Endpoint"] => devices::add;
    Strongroom RemoveDevice Writes ["RegionName", "DeviceName", "Force"] => devices::remove;
    Strongroom PrepareBackup Writes [] => backups::prepare;
    Strongroom CompleteBackup Writes ["BackupId", "Proof", "Path", "Bytes", "Sha256", "Domains"] => backups::complete;
    Strongroom StartScrub Writes ["Rate"] => scrubs::start;
    Strongroom DescribeScrub Reads [] => scrubs::describe;
}

/// What `iam:PermissionsBoundary` is in requests of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    /// They have none.
    None,
    /// The boundary that is to be set.
    OfRequest,
    /// That of the user or role whose permissions are to change.
    OfTarget,
}

impl Operation {
    /// Its action, as policies name it.
    ///
    /// # Errors
    /// [`UnknownAction`] for operations that no policy is about.
    fn action(self) -> Result<Action, UnknownAction> {
        let name = format!("{}:{}", self.service().prefix(), self.name());
        Action::parse(&name).ok_or(UnknownAction(name))
    }

    /// Whether it is served when only administration is: what takes access keys away, and what the
    /// account root does.
    pub(crate) const fn is_administration(self, principal: &Principal) -> bool {
        matches!(self, Self::DeleteAccessKey | Self::UpdateAccessKey)
            || (principal.is_root() && !matches!(self, Self::GetSessionToken))
    }

    /// Whether it has a parameter of that name.
    #[cfg(test)]
    pub(super) fn takes(self, parameter: &str) -> bool {
        self.parameters().iter().any(|known| kms_query::name_of(known) == parameter)
    }

    /// Whether its requests have `iam:PolicyARN`.
    const fn attaches(self) -> bool {
        matches!(
            self,
            Self::AttachGroupPolicy
                | Self::AttachRolePolicy
                | Self::AttachUserPolicy
                | Self::DetachGroupPolicy
                | Self::DetachRolePolicy
                | Self::DetachUserPolicy
        )
    }

    /// Whether keys of tags that differ in case only are two: those of policies are.
    const fn has_cased_tags(self) -> bool {
        matches!(self, Self::CreatePolicy | Self::TagPolicy)
    }

    /// The action that is needed as well if the request has tags.
    const fn tagging(self) -> Option<Action> {
        match self {
            Self::CreatePolicy => Some(Action::TagPolicy),
            Self::CreateRole => Some(Action::TagRole),
            Self::CreateUser => Some(Action::TagUser),
            _ => None,
        }
    }

    /// As the service authorization reference of IAM has it.
    const fn boundary(self) -> Boundary {
        match self {
            Self::CreateRole
            | Self::CreateUser
            | Self::PutRolePermissionsBoundary
            | Self::PutUserPermissionsBoundary => Boundary::OfRequest,
            Self::AttachRolePolicy
            | Self::AttachUserPolicy
            | Self::DeleteRolePermissionsBoundary
            | Self::DeleteRolePolicy
            | Self::DeleteUserPermissionsBoundary
            | Self::DeleteUserPolicy
            | Self::DetachRolePolicy
            | Self::DetachUserPolicy
            | Self::PutRolePolicy
            | Self::PutUserPolicy => Boundary::OfTarget,
            _ => Boundary::None,
        }
    }

    /// The operation of that name in an API.
    ///
    /// # Errors
    /// [`Code::InvalidAction`].
    pub fn find(service: Option<Service>, action: &str, version: &str) -> Result<Self, IamError> {
        let mut all = Self::ALL.iter().copied();
        let found = all.find(|row| Some(row.service()) == service && row.name() == action);
        found.ok_or_else(|| {
            let (action, version) = (bounded(action, 64), bounded(version, 64));
            let text = match service.map(Service::protocol) {
                Some(Protocol::Json) => format!("There is no operation {action} here"),
                _ => format!("Could not find operation {action} for version {version}"),
            };
            IamError::new(Code::InvalidAction, text)
        })
    }
}

impl Management {
    /// Runs one operation of an authenticated principal.
    ///
    /// `facts` receives what the audit record needs, also when the operation is refused.
    ///
    /// # Errors
    /// What the client is to see.
    pub async fn call(
        &self,
        operation: Operation,
        request: &RequestContext,
        form: &Form,
        facts: &mut AuditFacts,
        keys: &KeyService,
    ) -> Result<Option<Node>, IamError> {
        let policies = self.iam.policies(&request.principal).await?;
        let mut call = Call::new((self, keys), operation, (request, &policies), form, facts);
        call.record_parameters(operation.parameters());
        form.check_names(operation.parameters())?;
        call.read_tags(operation.parameters())?;
        dispatch(operation, &mut call).await
    }
}

/// An operation that no policy is about.
#[derive(Debug, thiserror::Error)]
#[error("no policy is about {0}")]
struct UnknownAction(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_iam_is_an_action() {
        for operation in Operation::ALL.iter().filter(|row| row.service() == Service::Iam) {
            let action = operation.action().unwrap();
            assert_eq!(action.name(), format!("iam:{}", operation.name()));
        }
        let actions = Action::ALL.iter().filter(|action| action.name().starts_with("iam:"));
        let offered = Operation::ALL.iter().filter(|row| row.service() == Service::Iam);
        assert_eq!(actions.count(), offered.count(), "an action that nothing is about");
    }
}
