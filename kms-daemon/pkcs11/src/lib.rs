//! PKCS#11 tokens (OASIS PKCS #11 version 2.40) that somebody else owns, each behind a process of its own.
//!
//! A module is a shared library of a vendor: it may crash, hang, or answer what is not true. So it never runs in
//! the daemon. [`worker::run`] is the process that loads it, for one token; [`Token`] is the daemon's end, which
//! starts the process, kills it when it does not answer in time, and starts it again, with longer and longer
//! pauses. Between them are two pipes with typed messages in bounded frames. PINs go over the pipe only, and are
//! erased at both ends.

mod fault;
mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod message;
mod reply;
mod settings;
mod shares;
mod token;
mod watch;
pub mod worker;

pub use self::fault::Fault;
pub use self::message::{MAX_DATA, MAX_RANDOM, Presence};
pub use self::reply::Sealed;
pub use self::settings::{Modules, WORKER};
pub use self::shares::{Share, Shares};
pub use self::token::{Place, Report, Token};
pub use self::watch::Watch;
