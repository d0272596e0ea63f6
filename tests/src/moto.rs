//! An S3-compatible service by others: moto's server, in a Python environment of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use crate::patience::until;
use crate::process::Process;
use crate::programs;

/// Where it listens: an address that nothing else is on, so that a port that was free just now is free yet.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 83, 1);

/// A running service. It takes any credentials, and keeps everything in memory.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    process: Process,
}

impl Moto {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let port = TcpListener::bind((HOST, 0)).and_then(|free| free.local_addr());
        Self::start_on(port.expect("a free port"))
    }

    /// The same, where one was before.
    ///
    /// # Panics
    /// As [`Moto::start`].
    #[must_use]
    pub fn start_on(address: SocketAddr) -> Self {
        let packages = programs::packages("moto");
        let mut command = Command::new(packages.join("bin/moto_server"));
        command.env("PYTHONPATH", packages);
        command.args(["-H", &address.ip().to_string(), "-p", &address.port().to_string()]);
        let process = Process::start(&mut command);
        until("moto listens", || TcpStream::connect(address).is_ok());
        Self { address, process }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, with all that it has.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
