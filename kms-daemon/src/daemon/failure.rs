//! Why the daemon cannot run.

use std::io;

use crate::credentials::CredentialsError;
use crate::development::SeedError;
use kms_audit::AuditError;
use kms_installation::consistency::ConsistencyError;
use kms_installation::data_dir::DataDirError;
use kms_installation::devices::{FleetError, RootError};
use kms_installation::link_identity::LinkSetupError;
use kms_installation::tls::TlsError;
use kms_installation::transfer::TransferError;
use kms_keys::CatalogError;
use kms_store::StoreError;
use kms_store::etcd::EtcdOptionsError;

/// Why the daemon cannot run; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {source}; choose another with {flag} ADDR:PORT")]
    Listen {
        /// The address and port.
        address: String,
        /// The option that gave the address.
        flag: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The access keys cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The devices cannot be used.
    #[error(transparent)]
    Devices(#[from] FleetError),
    /// The root certificate of attestation documents cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The audit log cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The store cannot be opened, or does not fit the rest.
    #[error(transparent)]
    Consistency(#[from] ConsistencyError),
    /// The options of the etcd cluster cannot be used.
    #[error(transparent)]
    Etcd(#[from] EtcdOptionsError),
    /// The etcd cluster cannot be used.
    #[error("cannot use {place}: {source}")]
    Cluster {
        /// The members and the prefix.
        place: String,
        /// What the cluster says.
        source: StoreError,
    },
    /// The store cannot be copied.
    #[error(transparent)]
    Replica(#[from] TransferError),
    /// The store's content cannot be read.
    #[error("cannot read the store: {0}")]
    Catalog(#[from] CatalogError),
    /// The seed cannot be used, or some of its keys were refused.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// A `--quota` value could not be parsed.
    #[error("{0}")]
    Quota(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The link to other daemons cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkSetupError),
    /// The operating system refused another operation.
    #[error("cannot {what}: {source}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}
