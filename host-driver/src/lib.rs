//! Host side of the Strongroom HSM.
//!
//! From the wire up:
//!
//! | module | guarantees |
//! |---|---|
//! | [`transport`] | a byte stream to one device: serial line, TCP, unix socket, in-process pipe |
//! | `link` | frames, credit and correlation: each request gets its answer or a typed error |
//! | `session` | the authenticated channel, bound to the pinned identity of the device |
//! | [`device`] | typed calls to one device |
//! | [`audit`] | each receipt is checked against the device's audit chain; nothing is skipped |
//! | [`pool`] | calls go to a healthy device that has the algorithm, and elsewhere if it fails |
//! | [`caller`] | on whose behalf a call is made: fair shares, and nothing for callers who are gone |
//! | [`health`] | what each device of the pool is doing, for people and metrics |
//! | [`provision`] | brings fresh devices into service; restartable after any interruption |
//! | [`ceremony`] | changes of a domain: proposed, signed, handed over, followed by members that were away |
//! | [`approval`] | uses of keys that operators approve |
//! | [`attest`] | statements of devices about themselves and their keys, checked offline |
//! | [`recovery`] | backups that operators bring back by shares |
//! | [`firmware`] | replaces the firmware of one device |
//! | [`maintenance`] | self-tests and restart of one device |
//! | [`emulator`] | starts and supervises QEMU devices |
//! | [`stack`] | what functions left on the stack of a thread is overwritten |
//!
//! Nothing here needs an async runtime: each device has a thread of its own for what it sends,
//! and calls are plain futures that any executor, or [`block_on`], can wait for.

pub mod approval;
pub mod attest;
pub mod audit;
pub mod caller;
pub mod ceremony;
pub mod device;
pub mod emulator;
pub mod endpoint;
pub mod error;
pub mod firmware;
pub mod health;
pub mod host_key;
pub mod key_file;
mod link;
mod load;
pub mod maintenance;
pub mod pool;
pub mod provision;
pub mod recovery;
mod request;
mod session;
pub mod stack;
#[cfg(test)]
mod testing;
pub mod transport;
mod wait;

pub use caller::Caller;
pub use ceremony::OperatorKey;
pub use device::Device;
pub use emulator::Emulator;
pub use endpoint::Endpoint;
pub use error::CallError;
pub use host_key::HostKey;
pub use pool::Pool;
pub use request::Reply;
pub use wait::block_on;
