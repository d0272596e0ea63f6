//! The end of the link that serves other daemons: see [`crate::link`].

mod receive;
mod server;
mod setup;
#[cfg(test)]
mod tests;

pub use self::server::LinkServer;
pub use self::setup::{Link, bind};
