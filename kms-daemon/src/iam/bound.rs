//! The unique ids of the principals that policies and grants name, resolved when these are put: a
//! principal that is created again under an old name is a different one, and a renamed principal is
//! the same.

use std::collections::BTreeMap;

use kms_policy::NamedPrincipal;

use super::Iam;
use kms_keys::CatalogError;
use kms_keys::document::Bound;
use kms_keys::grant::Party;

impl Iam {
    /// The unique ids of the users and roles that a policy names, and of the roles whose sessions
    /// it names. Those that do not exist are left out.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn bound<'p>(
        &self,
        principals: impl Iterator<Item = &'p NamedPrincipal> + Send,
    ) -> Result<Bound, CatalogError> {
        let mut bound = Bound::new();
        for principal in principals {
            if let NamedPrincipal::User(arn)
            | NamedPrincipal::Role(arn)
            | NamedPrincipal::Session(arn) = principal
                && let Some(id) = self.unique_id(arn).await?
            {
                bound.insert(arn.to_string(), id);
            }
        }
        Ok(bound)
    }

    /// How a user, role or session is shown that was bound to a unique id when it had this ARN: by the
    /// present ARN, or by that id once it no longer exists.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn shown(&self, arn: &str, id: &str) -> Result<String, CatalogError> {
        if self.unique_id(arn).await?.as_deref() == Some(id) {
            return Ok(arn.to_owned());
        }
        let fields: Vec<&str> = arn.splitn(6, ':').collect();
        if let ["arn", partition, "iam", "", account, resource] = fields[..]
            && let Some(path) = resource.strip_prefix("user/")
        {
            // A user can have another path and another name.
            let last = path.rsplit('/').next().unwrap_or_default();
            let renamed = self.directory.renamed(id).await?;
            for name in [Some(last), renamed.as_deref()].into_iter().flatten() {
                let user = self.directory.user(account, name).await?;
                if let Some(user) = user.filter(|user| user.id == id) {
                    return Ok(user.arn().replacen("arn:aws:", &format!("arn:{partition}:"), 1));
                }
            }
        }
        let party = Party::Principal { arn: arn.to_owned(), id: Some(id.to_owned()) };
        Ok(party.lasting().into_owned())
    }

    /// Other names of those that a policy names, by which they are shown: new ones, or the unique ids
    /// of those that no longer exist.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn other_names<'b>(
        &self,
        bound: &'b Bound,
    ) -> Result<BTreeMap<&'b str, String>, CatalogError> {
        let mut names = BTreeMap::new();
        for (arn, id) in bound {
            let shown = self.shown(arn, id).await?;
            if shown != *arn {
                names.insert(arn.as_str(), shown);
            }
        }
        Ok(names)
    }

    /// The unique id of the user or role with an ARN, or of the role whose session has it, if it
    /// exists. The ARN may be of any partition.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn unique_id(&self, arn: &str) -> Result<Option<String>, CatalogError> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, resource] = parts[..] else {
            return Ok(None);
        };
        let here = |own: String| own.replacen("arn:aws:", &format!("arn:{partition}:"), 1) == arn;
        let last = resource.rsplit('/').next().unwrap_or_default();
        Ok(match (service, resource.split_once('/')) {
            ("iam", Some(("user", _))) => {
                let user = self.directory.user(account, last).await?;
                user.filter(|user| here(user.arn())).map(|user| user.id.clone())
            }
            ("iam", Some(("role", _))) => {
                let role = self.directory.role(account, last).await?;
                role.filter(|role| here(role.arn())).map(|role| role.id.clone())
            }
            ("sts", Some(("assumed-role", session))) => {
                // The ARN of a session has no path, that of its role may have one.
                let name = session.split('/').next().unwrap_or_default();
                let role = self.directory.role(account, name).await?;
                role.filter(|role| role.name == name).map(|role| role.id.clone())
            }
            _ => None,
        })
    }
}
