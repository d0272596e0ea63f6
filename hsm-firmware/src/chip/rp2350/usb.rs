//! The USB controller as a device, full speed (12.7), beneath the crate `usb-device`.
//!
//! Endpoints have one buffer of 64 bytes each, at a place of its own in the controller's memory. What an endpoint is
//! stands in that memory only. The controller answers the host with NAK as long as a buffer is not available to it, so
//! the host waits for a device that is busy.
//!
//! `rp235x-hal` 0.4 has a driver as well. It is made for `thumbv8m.main-none-eabihf` alone, which the P-256 assembly
//! is not.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

use super::super::register::Register;
use super::{CLEAR, SET, register};

const MEMORY: usize = 0x5010_0000;
const BASE: usize = 0x5011_0000;

// Registers (12.7.5).
const ADDRESS: usize = BASE;
const MAIN_CONTROL: usize = BASE + 0x40;
const SIE_CONTROL: usize = BASE + 0x4C;
const SIE_STATUS: usize = BASE + 0x50;
const BUFFER_STATUS: usize = BASE + 0x58;
const STALL_ARM: usize = BASE + 0x68;
const MUXING: usize = BASE + 0x74;
const POWER: usize = BASE + 0x78;
const INTERRUPT_ENABLE: usize = BASE + 0x90;
const INTERRUPTS: usize = BASE + 0x98;

/// On, as a device; the PHY is not isolated.
const DEVICE: u32 = 1;
/// To the PHY, connected by software.
const TO_PHY: u32 = 1 << 0 | 1 << 3;
/// The bus is powered: the board lives on it, and has no pin that would tell.
const POWERED: u32 = 1 << 2 | 1 << 3;
const PULL_UP: u32 = 1 << 16;
/// An interrupt for each buffer of endpoint 0.
const EACH_BUFFER: u32 = 1 << 29;
// Of the status: suspended, resumed, a setup packet, a bus reset.
const STATUS_SUSPENDED: u32 = 1 << 4;
const STATUS_RESUME: u32 = 1 << 11;
const STATUS_SETUP: u32 = 1 << 17;
const STATUS_RESET: u32 = 1 << 19;
// Of the interrupts: buffers, bus reset, suspended, resumed, a setup packet.
const BUFFERS: u32 = 1 << 4;
const BUS_RESET: u32 = 1 << 12;
const SUSPENDED: u32 = 1 << 14;
const RESUMED: u32 = 1 << 15;
const SETUP: u32 = 1 << 16;

// In the controller's memory (12.7.3): control words, buffer control words, buffers.
const BUFFER_CONTROL: usize = MEMORY + 0x80;
const BUFFER_0: usize = 0x100;
const BUFFERS_FROM: usize = 0x180;
/// Bytes of a buffer, and of the longest packet.
const PACKET: u32 = 64;
/// Endpoints of each direction that have a buffer here.
const ENDPOINTS: usize = 4;

// Control words: on, an interrupt for each buffer; the type from bit 26 on; the buffer's place.
const ENDPOINT_ON: u32 = 1 << 31 | 1 << 29;
const TYPE_SHIFT: u32 = 26;
// Buffer control words: full, data packet 1, stall, available to the controller, length.
const FULL: u32 = 1 << 15;
const DATA_1: u32 = 1 << 13;
const STALL: u32 = 1 << 11;
const AVAILABLE: u32 = 1 << 10;
const LENGTH: u32 = 0x3FF;

/// The controller. There is one.
#[derive(Debug)]
pub struct Bus {
    /// Endpoints that are taken; bit 2n is that towards the host.
    taken: AtomicU32,
    /// A setup packet has come and not been read.
    setup: AtomicBool,
}

impl Bus {
    /// Starts the controller, which must have been reset.
    pub(super) fn start() -> Self {
        for word in (MEMORY..MEMORY + BUFFER_0).step_by(size_of::<u32>()) {
            register(word).write(0);
        }
        register(MUXING).write(TO_PHY);
        register(POWER).write(POWERED);
        register(MAIN_CONTROL).write(DEVICE);
        register(SIE_CONTROL).write(EACH_BUFFER);
        Self { taken: AtomicU32::new(0), setup: AtomicBool::new(false) }
    }

    /// Finds the buffer of an endpoint that has been taken.
    fn buffer(&self, endpoint: EndpointAddress) -> Result<Buffer> {
        match self.taken.load(Ordering::Relaxed) & 1 << number(endpoint) {
            0 => Err(UsbError::InvalidEndpoint),
            _ => Ok(Buffer(number(endpoint))),
        }
    }

    /// Makes endpoint 0 and all others as they are after a bus reset.
    fn reset_endpoints(&self) {
        let taken = self.taken.load(Ordering::Relaxed);
        for number in (0..2 * ENDPOINTS).filter(|number| taken & 1 << number != 0) {
            match number {
                // Towards the host: the first packet is data packet 0.
                _ if number % 2 == 0 => Buffer(number).control().write(DATA_1),
                // Endpoint 0 gets a setup packet first, which has a place of its own.
                1 => Buffer(number).control().write(DATA_1),
                _ => Buffer(number).hand_over(PACKET),
            }
        }
    }

    fn read_setup(&self, out: &mut [u8]) -> Result<usize> {
        const SETUP_PACKET: usize = 8;
        let out = out.get_mut(..SETUP_PACKET).ok_or(UsbError::BufferOverflow)?;
        for (place, byte) in out.iter_mut().enumerate() {
            *byte = byte_at(place).read();
        }
        let towards_host = out.first().is_some_and(|kind| kind & 0x80 != 0);
        let has_data = out.get(6..8).is_some_and(|length| length != [0, 0]);
        register(SIE_STATUS).write(STATUS_SETUP);
        // Whatever follows is data packet 1, in both directions.
        let [to_host, from_host] = [Buffer(0), Buffer(1)];
        to_host.control().write(to_host.control().read() & !(DATA_1 | FULL | AVAILABLE));
        match towards_host || has_data {
            true => from_host.hand_over(DATA_1 | PACKET),
            false => from_host.control().write(DATA_1 | PACKET),
        }
        self.setup.store(false, Ordering::Relaxed);
        Ok(SETUP_PACKET)
    }
}

/// The buffer of an endpoint.
#[derive(Clone, Copy)]
struct Buffer(usize);

impl Buffer {
    fn control(self) -> Register<u32> {
        register(BUFFER_CONTROL + self.0 * size_of::<u32>())
    }

    /// Offset in the controller's memory.
    const fn place(self) -> usize {
        match self.0 {
            0 | 1 => BUFFER_0,
            number => BUFFERS_FROM + (number - 2) * PACKET as usize,
        }
    }

    /// Makes the buffer available to the controller, which runs on another clock: all else must be there before
    /// (12.7.3). Twelve cycles of the system are four of that clock.
    fn hand_over(self, control: u32) {
        self.control().write(control);
        for _ in 0..12 {
            // SAFETY: does nothing.
            unsafe { asm!("nop", options(nomem, nostack, preserves_flags)) };
        }
        self.control().write(control | AVAILABLE);
    }
}

/// Number of an endpoint in status registers, and of its words in the controller's memory.
fn number(endpoint: EndpointAddress) -> usize {
    2 * endpoint.index() + usize::from(endpoint.is_out())
}

fn byte_at(place: usize) -> Register<u8> {
    // SAFETY: only with places in the controller's memory, which takes bytes.
    unsafe { Register::new(MEMORY + place) }
}

impl UsbBus for Bus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        wanted: Option<EndpointAddress>,
        kind: EndpointType,
        packet: u16,
        _: u8,
    ) -> Result<EndpointAddress> {
        if u32::from(packet) > PACKET {
            return Err(UsbError::Unsupported);
        }
        let taken = self.taken.load(Ordering::Relaxed);
        let is_free = |endpoint: &EndpointAddress| {
            endpoint.index() < ENDPOINTS && taken & 1 << number(*endpoint) == 0
        };
        let endpoint = match wanted {
            Some(endpoint) => Some(endpoint).filter(is_free),
            None => (1..ENDPOINTS)
                .map(|index| EndpointAddress::from_parts(index, direction))
                .find(is_free),
        };
        let endpoint = endpoint.ok_or(UsbError::EndpointOverflow)?;
        self.taken.store(taken | 1 << number(endpoint), Ordering::Relaxed);
        if endpoint.index() > 0 {
            let kind = match kind {
                EndpointType::Control => return Err(UsbError::Unsupported),
                EndpointType::Isochronous { .. } => 1,
                EndpointType::Bulk => 2,
                EndpointType::Interrupt => 3,
            };
            #[allow(clippy::cast_possible_truncation)] // offsets in 4 KiB
            let place = Buffer(number(endpoint)).place() as u32;
            register(MEMORY + number(endpoint) * size_of::<u32>())
                .write(ENDPOINT_ON | kind << TYPE_SHIFT | place);
        }
        Ok(endpoint)
    }

    fn enable(&mut self) {
        register(INTERRUPT_ENABLE).write(BUFFERS | BUS_RESET | SUSPENDED | RESUMED | SETUP);
        register(SIE_CONTROL + SET).write(PULL_UP);
    }

    fn reset(&self) {
        register(SIE_STATUS).write(STATUS_RESET);
        register(BUFFER_STATUS).write(u32::MAX);
        self.setup.store(false, Ordering::Relaxed);
        self.reset_endpoints();
        register(ADDRESS).write(0);
    }

    fn set_device_address(&self, address: u8) {
        register(ADDRESS).write(u32::from(address & 0x7F));
    }

    fn write(&self, endpoint: EndpointAddress, bytes: &[u8]) -> Result<usize> {
        let buffer = self.buffer(endpoint)?;
        let control = buffer.control().read();
        if bytes.len() > PACKET as usize {
            return Err(UsbError::BufferOverflow);
        }
        if control & AVAILABLE != 0 {
            return Err(UsbError::WouldBlock);
        }
        for (place, byte) in (buffer.place()..).zip(bytes) {
            byte_at(place).write(*byte);
        }
        #[allow(clippy::cast_possible_truncation)] // 64 at most
        let length = bytes.len() as u32;
        buffer.hand_over(control & STALL | FULL | !control & DATA_1 | length);
        Ok(bytes.len())
    }

    fn read(&self, endpoint: EndpointAddress, out: &mut [u8]) -> Result<usize> {
        let buffer = self.buffer(endpoint)?;
        if endpoint.index() == 0 && self.setup.load(Ordering::Relaxed) {
            return self.read_setup(out);
        }
        let control = buffer.control().read();
        if control & (FULL | AVAILABLE) != FULL {
            return Err(UsbError::WouldBlock);
        }
        let length = (control & LENGTH) as usize;
        let out = out.get_mut(..length).ok_or(UsbError::BufferOverflow)?;
        for (place, byte) in (buffer.place()..).zip(out) {
            *byte = byte_at(place).read();
        }
        let next = control & STALL | !control & DATA_1 | PACKET;
        // A short packet ends what comes to endpoint 0; the next setup packet opens it again.
        match endpoint.index() > 0 || length == PACKET as usize {
            true => buffer.hand_over(next),
            false => buffer.control().write(next),
        }
        Ok(length)
    }

    fn set_stalled(&self, endpoint: EndpointAddress, stalled: bool) {
        let Ok(buffer) = self.buffer(endpoint) else { return };
        if endpoint.index() == 0 {
            let alias = if stalled { SET } else { CLEAR };
            register(STALL_ARM + alias).write(1 << number(endpoint));
        }
        let control = buffer.control().read();
        let stall = if stalled { STALL } else { 0 };
        buffer.control().write(control & !STALL | stall);
    }

    fn is_stalled(&self, endpoint: EndpointAddress) -> bool {
        self.buffer(endpoint).is_ok_and(|buffer| buffer.control().read() & STALL != 0)
    }

    fn suspend(&self) {}

    fn resume(&self) {}

    fn poll(&self) -> PollResult {
        let interrupts = register(INTERRUPTS).read();
        if interrupts & BUS_RESET != 0 {
            return PollResult::Reset;
        }
        let buffers = register(BUFFER_STATUS).read();
        if buffers == 0 && interrupts & SETUP == 0 {
            if interrupts & SUSPENDED != 0 {
                register(SIE_STATUS).write(STATUS_SUSPENDED);
                return PollResult::Suspend;
            }
            if interrupts & RESUMED != 0 {
                register(SIE_STATUS).write(STATUS_RESUME);
                return PollResult::Resume;
            }
            return PollResult::None;
        }
        // Those that have come from the host as well, although they are not read yet: the buffer says so, too, and
        // one that waits for room must not interrupt all the time.
        register(BUFFER_STATUS).write(buffers);
        let has_setup = interrupts & SETUP != 0;
        if has_setup {
            // What was to be sent belongs to an older request.
            let to_host = Buffer(0).control();
            to_host.write(to_host.read() & !AVAILABLE);
            self.setup.store(true, Ordering::Relaxed);
        }
        PollResult::Data {
            ep_out: every_other(buffers >> 1),
            ep_in_complete: every_other(buffers),
            ep_setup: u16::from(has_setup),
        }
    }
}

/// Bits 0, 2, 4 and so on.
fn every_other(bits: u32) -> u16 {
    (0..16).fold(0, |sum, at| sum | u16::from(bits >> (2 * at) & 1 != 0) << at)
}
