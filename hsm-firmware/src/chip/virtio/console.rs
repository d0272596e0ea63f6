//! Virtio console (VIRTIO 1.2, section 5.3), one port: the fast serial link.
//!
//! Received bytes are read where the device put them. The device drops output that its host does
//! not take in time, so the link relies on the protocol's credit.

use super::queue::{Direction, Queue, QueueMemory};
use super::{DeviceKind, Transport, VirtioError};
use crate::serve::Port;

const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;

/// Receive buffers: 64 KiB in all, as many as the device announces in `rx_bytes`.
pub const RX_BUFFERS: usize = 32;
/// Bytes of a receive buffer.
pub const RX_BUFFER: usize = 2048;
/// Transmit buffers.
pub const TX_BUFFERS: usize = 16;
/// Bytes of a transmit buffer.
pub const TX_BUFFER: usize = 4096;

/// Receive buffers that are given back to the device at a time: each notification costs.
const RETURN_BATCH: usize = RX_BUFFERS / 4;

/// Memory that the console shares with the device.
pub struct ConsoleMemory {
    receive: QueueMemory<RX_BUFFERS, RX_BUFFER>,
    transmit: QueueMemory<TX_BUFFERS, TX_BUFFER>,
}

impl Default for ConsoleMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl ConsoleMemory {
    /// Unused memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { receive: QueueMemory::new(), transmit: QueueMemory::new() }
    }
}

/// A started console.
pub struct Console {
    transport: Transport,
    receive: Queue<RX_BUFFERS, RX_BUFFER>,
    transmit: Queue<TX_BUFFERS, TX_BUFFER>,
    /// The receive buffer being read, and the bytes of it that are left.
    reading: Option<(usize, usize, usize)>,
    /// Receive buffers that were read and not yet given back.
    unreturned: usize,
    /// Transmit buffers that belong to the driver.
    free: heapless::Vec<usize, TX_BUFFERS>,
}

impl Console {
    /// Starts the console behind a transport.
    ///
    /// # Errors
    /// [`VirtioError`] if there is none.
    pub fn start(
        transport: Transport,
        memory: &'static mut ConsoleMemory,
    ) -> Result<Self, VirtioError> {
        if !transport.is(DeviceKind::Console) {
            return Err(VirtioError);
        }
        transport.reset_and_negotiate()?;
        let mut receive = Queue::new(&mut memory.receive, Direction::FromDevice);
        let mut transmit = Queue::new(&mut memory.transmit, Direction::ToDevice);
        transport.set_queue(RECEIVE, &receive.addresses())?;
        transport.set_queue(TRANSMIT, &transmit.addresses())?;
        transport.start();
        for buffer in 0..RX_BUFFERS {
            receive.offer(buffer, RX_BUFFER);
        }
        if receive.publish() {
            transport.notify(RECEIVE);
        }
        transmit.want_interrupts(false);
        let free = (0..TX_BUFFERS).collect();
        Ok(Self { transport, receive, transmit, reading: None, unreturned: 0, free })
    }

    fn return_buffer(&mut self, buffer: usize) {
        self.receive.offer(buffer, RX_BUFFER);
        self.unreturned += 1;
        if self.unreturned >= RETURN_BATCH {
            self.unreturned = 0;
            if self.receive.publish() {
                self.transport.notify(RECEIVE);
            }
        }
    }

    fn reclaim(&mut self) {
        while let Some((buffer, _)) = self.transmit.take() {
            // There are as many places as buffers, and `take` gives each back once.
            let _ = self.free.push(buffer);
        }
    }
}

impl Port for Console {
    fn received(&mut self) -> &[u8] {
        if self.reading.is_none() {
            self.reading = self.receive.take().map(|(buffer, len)| (buffer, 0, len));
        }
        match self.reading {
            Some((buffer, start, end)) => {
                self.receive.buffer(buffer).get(start..end).unwrap_or_default()
            }
            None => &[],
        }
    }

    fn consume(&mut self, count: usize) {
        if let Some((buffer, start, end)) = &mut self.reading {
            *start += count;
            if *start >= *end {
                let buffer = *buffer;
                self.reading = None;
                self.return_buffer(buffer);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.reclaim();
        let mut sent = 0;
        for chunk in bytes.chunks(TX_BUFFER) {
            let Some(buffer) = self.free.pop() else { break };
            if let Some(place) = self.transmit.buffer(buffer).get_mut(..chunk.len()) {
                place.copy_from_slice(chunk);
            }
            self.transmit.offer(buffer, chunk.len());
            sent += chunk.len();
        }
        if sent > 0 && self.transmit.publish() {
            self.transport.notify(TRANSMIT);
        }
        // Only a caller that has to wait needs waking. Look again after asking, as a buffer may
        // have come back before.
        let full = sent < bytes.len();
        self.transmit.want_interrupts(full);
        if full {
            self.reclaim();
        }
        sent
    }
}
