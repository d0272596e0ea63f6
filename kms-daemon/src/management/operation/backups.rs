//! Snapshots for backups, taken for the root of the first account. No secret leaves through this API:
//! the snapshot stays in the data directory, where `kmsctl backup` reads it. A proof in the snapshot
//! shows that it was read: a root's access key alone cannot claim that there is a backup.

use serde_json::json;

use super::call::Call;
use crate::management::{Node, check};
use kms_base::error::{Exception, KmsError};
use kms_installation::backup::{Done, SnapshotError, Snapshots};
use kms_query::{Code, IamError};

/// Longest name of a file that is recorded, in bytes.
const MAX_PATH: usize = 4096;
/// Most domains of one backup: one for each Region there can be.
const MAX_DOMAINS: usize = 64;

pub(super) async fn prepare(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let prepared = snapshots(call)?.prepare().await.map_err(refused)?;
    let (revision, sequence) = (prepared.store_revision.0, prepared.audit.sequence);
    call.element("backupId", json!(prepared.id));
    call.element("storeRevision", json!(revision));
    call.element("auditSequence", json!(sequence));
    Ok(Some(Node::Members(vec![
        ("BackupId", Node::from(prepared.id)),
        ("CreateDate", Node::from(prepared.created)),
        ("StoreRevision", Node::from(revision.to_string())),
        ("AuditSequence", Node::from(sequence.to_string())),
        ("AuditHash", Node::from(prepared.audit.hash.to_string())),
    ])))
}

pub(super) async fn complete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let form = call.form;
    let path = form.required("Path")?;
    if path.len() > MAX_PATH {
        return Err(IamError::invalid(format!("Path has more than {MAX_PATH} bytes.")));
    }
    let bytes = form.required("Bytes")?.parse::<u64>();
    let bytes = bytes.map_err(|_| IamError::invalid("Bytes is a number."))?;
    let sha256 = hex(form.required("Sha256")?, "Sha256", 64)?;
    let domains = form.optional("Domains").unwrap_or_default().split(',');
    let domains = domains.filter(|domain| !domain.is_empty()).take(MAX_DOMAINS + 1);
    let domains =
        domains.map(|domain| hex(domain, "Domains", 32)).collect::<Result<Vec<_>, _>>()?;
    if domains.len() > MAX_DOMAINS {
        return Err(IamError::invalid(format!("Domains has more than {MAX_DOMAINS} items.")));
    }
    let done = Done { path: path.to_owned(), bytes, sha256, domains };
    let id = check::text(form, "BackupId", 32)?.unwrap_or_default();
    // It is good once, so that it may be recorded.
    let proof = form.required("Proof")?;
    let last = snapshots(call)?.complete(&id, proof, done).await.map_err(refused)?;
    tracing::info!(path = last.path, bytes = last.bytes, "a backup was made");
    Ok(Some(Node::Members(vec![("CreateDate", Node::from(last.created))])))
}

fn snapshots<'a>(call: &Call<'a>) -> Result<&'a Snapshots, IamError> {
    let snapshots = call.management.snapshots.as_deref();
    snapshots.ok_or_else(|| KmsError::internal("nothing to back up").into())
}

fn hex(text: &str, name: &str, length: usize) -> Result<String, IamError> {
    match text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(IamError::invalid(format!("{name} is {length} hexadecimal digits."))),
    }
}

/// The root is told why: it is who can do something about it.
fn refused(error: SnapshotError) -> IamError {
    match error {
        SnapshotError::Unknown => IamError::new(Code::NoSuchEntity, error.to_string()),
        SnapshotError::Unproven | SnapshotError::NoFlash(_) | SnapshotError::Elsewhere(_) => {
            IamError::invalid(error.to_string())
        }
        error => KmsError::new(Exception::KmsInternal, error.to_string()).into(),
    }
}
