//! Virtio entropy device (VIRTIO 1.2, section 5.4).

use zeroize::Zeroize;

use super::queue::{Direction, Queue, QueueMemory};
use super::{DeviceKind, Transport, VirtioError};
use crate::chip::clint::Clint;
use crate::chip::hart;

const REQUEST: u32 = 0;
/// Bytes asked for at a time.
const BUFFER: usize = 64;
/// The host's generator answers in milliseconds; after this it never will.
const PATIENCE_US: u64 = 5_000_000;

/// Memory that the entropy device writes to.
#[derive(Default)]
pub struct EntropyMemory(QueueMemory<1, BUFFER>);

impl EntropyMemory {
    /// Unused memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(QueueMemory::new())
    }
}

/// A started entropy device.
pub struct Entropy {
    transport: Transport,
    queue: Queue<1, BUFFER>,
    clint: Clint,
    /// A request that was given up is still with the device.
    pending: bool,
}

impl Entropy {
    /// Starts the entropy device behind a transport. The timer limits the wait for it.
    ///
    /// # Errors
    /// [`VirtioError`] if there is none.
    pub fn start(
        transport: Transport,
        memory: &'static mut EntropyMemory,
        clint: Clint,
    ) -> Result<Self, VirtioError> {
        if !transport.is(DeviceKind::Entropy) {
            return Err(VirtioError);
        }
        transport.reset_and_negotiate()?;
        let queue = Queue::new(&mut memory.0, Direction::FromDevice);
        transport.set_queue(REQUEST, &queue.addresses())?;
        transport.start();
        Ok(Self { transport, queue, clint, pending: false })
    }

    /// Fills `out` with what the device delivers.
    ///
    /// # Errors
    /// [`VirtioError`] if nothing comes for five seconds; `out` is of no use then.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), VirtioError> {
        let mut rest = out;
        while !rest.is_empty() {
            let len = self.request(rest.len().min(BUFFER))?;
            let buffer = self.queue.buffer(0);
            let (filled, unfilled) =
                core::mem::take(&mut rest).split_at_mut_checked(len).ok_or(VirtioError)?;
            filled.copy_from_slice(buffer.get(..len).ok_or(VirtioError)?);
            buffer.zeroize();
            rest = unfilled;
        }
        Ok(())
    }

    /// Has the device write up to `len` bytes to the buffer, and returns how many there are.
    fn request(&mut self, len: usize) -> Result<usize, VirtioError> {
        if !self.pending {
            self.queue.offer(0, len);
            self.pending = true;
            if self.queue.publish() {
                self.transport.notify(REQUEST);
            }
        }
        let deadline = self.clint.now_us().saturating_add(PATIENCE_US);
        self.clint.set_alarm_us(deadline);
        // The alarm stays set: its interrupt sets the one of the watchdog.
        loop {
            if let Some((_, written)) = self.queue.take() {
                self.pending = false;
                return Ok(written.min(len));
            }
            if self.clint.now_us() >= deadline {
                return Err(VirtioError);
            }
            hart::wait();
        }
    }
}
