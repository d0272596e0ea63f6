//! Many connections that neither send nor read anything.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::daemon::Daemon;

/// Room for what a client does not read, in bytes; the kernel makes it a few kilobytes.
const LITTLE: usize = 2048;
/// How long a client waits until it takes it that its requests are read no more.
const PATIENCE: Duration = Duration::from_millis(20);

/// Lets this process have so many open files.
///
/// # Panics
/// If the system does not.
pub fn allow_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    assert!(hard >= count, "this test needs {count} open files; ulimit -Hn says {hard}");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("as allowed");
}

/// A connection to a daemon from one of the addresses of this machine, with hardly room for what is
/// not read.
///
/// # Panics
/// If the daemon does not listen on an IPv4 address.
///
/// # Errors
/// If there is no connection.
pub fn connect_from(address: Ipv4Addr, daemon: &Daemon) -> io::Result<TcpStream> {
    connect_to(daemon.address(), address)
}

/// The same to another port.
///
/// # Panics
/// If it is not one of an IPv4 address.
///
/// # Errors
/// If there is no connection.
pub fn connect_to(port: &str, address: Ipv4Addr) -> io::Result<TcpStream> {
    let to: SocketAddrV4 = port.parse().expect("an address");
    let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?;
    sockopt::set_socket_recv_buffer_size(&socket, LITTLE)?;
    bind(&socket, &SocketAddr::from((address, 0)))?;
    connect(&socket, &SocketAddr::from(to))?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One of 127.0.0.2 and so on, in turn.
#[must_use]
pub fn address(number: usize, of: u8) -> Ipv4Addr {
    let last = u8::try_from(number % usize::from(of)).expect("less than a byte");
    Ipv4Addr::new(127, 0, 0, 2 + last)
}

/// Writes until at most `most` bytes are sent or the daemon reads no more; how many were sent.
pub fn fill(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match stream.write(bytes) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

/// Whether the daemon has ended the connection; what it answered before is thrown away.
///
/// # Panics
/// If the system does not do as it is told.
#[must_use]
pub fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket can be made so");
    let mut bytes = [0; 16 << 10];
    let over = loop {
        match stream.read(&mut bytes) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
            Err(_) => break true,
        }
    };
    stream.set_nonblocking(false).expect("a socket can be made so");
    over
}

/// What a process has in memory, in bytes.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes << 10
}
