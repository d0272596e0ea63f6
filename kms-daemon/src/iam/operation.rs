//! The operations of the IAM and STS APIs: one row each in [`Operation`]'s table, one file for
//! each subject.

use kms_policy::Action;

use super::error::{Code, IamError};
use super::form::Form;
use super::{Iam, Node};
use crate::api::Service as KeyService;
use crate::audit::AuditFacts;
use crate::context::RequestContext;
use crate::principal::Principal;
use crate::sigv4::SigningService;

mod access_keys;
mod accounts;
mod attached;
mod backups;
mod boundaries;
mod call;
mod explain;
mod groups;
mod holder;
mod inline;
mod listing;
mod managed;
mod roles;
mod sts;
mod users;
mod versions;

use self::call::Call;
use super::record::{Group, Role, User};

/// An API: those of AWS, and Strongroom's own for what AWS has in another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Identities.
    Iam,
    /// Temporary credentials.
    Sts,
    /// Accounts of the installation.
    Strongroom,
}

impl Service {
    /// The API of a `Version` parameter.
    #[must_use]
    pub fn from_version(version: &str) -> Option<Self> {
        match version {
            "2010-05-08" => Some(Self::Iam),
            "2011-06-15" => Some(Self::Sts),
            "2026-11-26" => Some(Self::Strongroom),
            _ => None,
        }
    }

    /// The service in the scope of signatures.
    #[must_use]
    pub const fn signing(self) -> SigningService {
        match self {
            Self::Iam => SigningService::IAM,
            Self::Sts => SigningService::STS,
            Self::Strongroom => SigningService::STRONGROOM,
        }
    }

    /// `eventSource` of audit records.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Iam => "iam.amazonaws.com",
            Self::Sts => "sts.amazonaws.com",
            Self::Strongroom => "strongroom",
        }
    }

    /// The XML namespace of answers.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Strongroom => "urn:strongroom:2026-11-26",
        }
    }
}

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

            /// The parameters it has here.
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

// API, operation, CloudTrail's readOnly, parameters => handler
operations! {
    Iam CreateUser Writes ["UserName", "Path", "PermissionsBoundary"] => users::create;
    Iam GetUser Reads ["UserName"] => users::find;
    Iam ListUsers Reads ["PathPrefix", "Marker", "MaxItems"] => users::list;
    Iam DeleteUser Writes ["UserName"] => users::delete;
    Iam PutUserPolicy Writes ["UserName", "PolicyName", "PolicyDocument"] => inline::put::<User>;
    Iam GetUserPolicy Reads ["UserName", "PolicyName"] => inline::find::<User>;
    Iam ListUserPolicies Reads ["UserName", "Marker", "MaxItems"] => inline::list::<User>;
    Iam DeleteUserPolicy Writes ["UserName", "PolicyName"] => inline::delete::<User>;
    Iam PutUserPermissionsBoundary Writes ["UserName", "PermissionsBoundary"] => boundaries::put::<User>;
    Iam DeleteUserPermissionsBoundary Writes ["UserName"] => boundaries::delete::<User>;
    Iam CreateAccessKey Writes ["UserName"] => access_keys::create;
    Iam ListAccessKeys Reads ["UserName", "Marker", "MaxItems"] => access_keys::list;
    Iam UpdateAccessKey Writes ["UserName", "AccessKeyId", "Status"] => access_keys::update;
    Iam DeleteAccessKey Writes ["UserName", "AccessKeyId"] => access_keys::delete;
    Iam CreateGroup Writes ["GroupName", "Path"] => groups::create;
    Iam GetGroup Reads ["GroupName", "Marker", "MaxItems"] => groups::find;
    Iam ListGroups Reads ["PathPrefix", "Marker", "MaxItems"] => groups::list;
    Iam ListGroupsForUser Reads ["UserName", "Marker", "MaxItems"] => groups::list_for_user;
    Iam AddUserToGroup Writes ["GroupName", "UserName"] => groups::add_user;
    Iam RemoveUserFromGroup Writes ["GroupName", "UserName"] => groups::remove_user;
    Iam DeleteGroup Writes ["GroupName"] => groups::delete;
    Iam PutGroupPolicy Writes ["GroupName", "PolicyName", "PolicyDocument"] => inline::put::<Group>;
    Iam GetGroupPolicy Reads ["GroupName", "PolicyName"] => inline::find::<Group>;
    Iam ListGroupPolicies Reads ["GroupName", "Marker", "MaxItems"] => inline::list::<Group>;
    Iam DeleteGroupPolicy Writes ["GroupName", "PolicyName"] => inline::delete::<Group>;
    Iam CreateRole Writes ["RoleName", "Path", "AssumeRolePolicyDocument", "Description", "MaxSessionDuration", "PermissionsBoundary"] => roles::create;
    Iam GetRole Reads ["RoleName"] => roles::find;
    Iam ListRoles Reads ["PathPrefix", "Marker", "MaxItems"] => roles::list;
    Iam ListInstanceProfilesForRole Reads ["RoleName", "Marker", "MaxItems"] => roles::list_instance_profiles;
    Iam UpdateAssumeRolePolicy Writes ["RoleName", "PolicyDocument"] => roles::update_trust;
    Iam DeleteRole Writes ["RoleName"] => roles::delete;
    Iam PutRolePolicy Writes ["RoleName", "PolicyName", "PolicyDocument"] => inline::put::<Role>;
    Iam GetRolePolicy Reads ["RoleName", "PolicyName"] => inline::find::<Role>;
    Iam ListRolePolicies Reads ["RoleName", "Marker", "MaxItems"] => inline::list::<Role>;
    Iam DeleteRolePolicy Writes ["RoleName", "PolicyName"] => inline::delete::<Role>;
    Iam PutRolePermissionsBoundary Writes ["RoleName", "PermissionsBoundary"] => boundaries::put::<Role>;
    Iam DeleteRolePermissionsBoundary Writes ["RoleName"] => boundaries::delete::<Role>;
    Iam CreatePolicy Writes ["PolicyName", "Path", "PolicyDocument", "Description"] => managed::create;
    Iam GetPolicy Reads ["PolicyArn"] => managed::find;
    Iam CreatePolicyVersion Writes ["PolicyArn", "PolicyDocument", "SetAsDefault"] => versions::create;
    Iam GetPolicyVersion Reads ["PolicyArn", "VersionId"] => versions::find;
    Iam ListPolicyVersions Reads ["PolicyArn", "Marker", "MaxItems"] => versions::list;
    Iam SetDefaultPolicyVersion Writes ["PolicyArn", "VersionId"] => versions::set_default;
    Iam DeletePolicyVersion Writes ["PolicyArn", "VersionId"] => versions::delete;
    Iam ListPolicies Reads ["Scope", "PathPrefix", "Marker", "MaxItems"] => managed::list;
    Iam DeletePolicy Writes ["PolicyArn"] => managed::delete;
    Iam AttachUserPolicy Writes ["UserName", "PolicyArn"] => attached::attach::<User>;
    Iam DetachUserPolicy Writes ["UserName", "PolicyArn"] => attached::detach::<User>;
    Iam ListAttachedUserPolicies Reads ["UserName", "PathPrefix", "Marker", "MaxItems"] => attached::list::<User>;
    Iam AttachGroupPolicy Writes ["GroupName", "PolicyArn"] => attached::attach::<Group>;
    Iam DetachGroupPolicy Writes ["GroupName", "PolicyArn"] => attached::detach::<Group>;
    Iam ListAttachedGroupPolicies Reads ["GroupName", "PathPrefix", "Marker", "MaxItems"] => attached::list::<Group>;
    Iam AttachRolePolicy Writes ["RoleName", "PolicyArn"] => attached::attach::<Role>;
    Iam DetachRolePolicy Writes ["RoleName", "PolicyArn"] => attached::detach::<Role>;
    Iam ListAttachedRolePolicies Reads ["RoleName", "PathPrefix", "Marker", "MaxItems"] => attached::list::<Role>;
    Sts GetCallerIdentity Reads [] => sts::caller_identity;
    Sts AssumeRole Reads ["RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "ExternalId", "SourceIdentity"] => sts::assume_role;
    Sts GetSessionToken Reads ["DurationSeconds"] => sts::session_token;
    Strongroom CreateAccount Writes ["AccountId", "Name"] => accounts::create;
    Strongroom ListAccounts Reads ["Marker", "MaxItems"] => accounts::list;
    Strongroom ExplainAccess Reads ["PrincipalArn", "ActionName", "KeyId", "RegionName", "ContextEntries"] => explain::run;
    Strongroom PrepareBackup Writes [] => backups::prepare;
    Strongroom CompleteBackup Writes ["BackupId", "Path", "Bytes", "Sha256", "Domains"] => backups::complete;
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
        let name = format!("{}:{}", self.service().signing().name(), self.name());
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
        self.parameters().contains(&parameter)
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
            let bounded = |text: &str| text.chars().take(64).collect::<String>();
            let (action, version) = (bounded(action), bounded(version));
            let text = format!("Could not find operation {action} for version {version}");
            IamError::new(Code::InvalidAction, text)
        })
    }
}

impl Iam {
    /// Runs one operation of an authenticated caller.
    ///
    /// `facts` receives what the audit record needs, also when the operation is refused. `keys` are
    /// looked at for explanations only.
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
        let policies = self.policies(&request.principal).await?;
        let mut call = Call::new((self, keys), operation, (request, &policies), form, facts);
        call.record_parameters(operation.parameters());
        form.check_names(operation.parameters())?;
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
