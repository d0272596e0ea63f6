//! Virtio over memory-mapped registers (VIRTIO 1.2, section 4.2; device version 2).

pub mod console;
pub mod entropy;
mod queue;

use queue::QueueAddresses;

use super::register::{Register, halves};

const MAGIC: u32 = 0x7472_6976; // "virt"
const VERSION: u32 = 2;

// Register offsets, section 4.2.2.
const MAGIC_VALUE: usize = 0x000;
const VERSION_NUMBER: usize = 0x004;
const DEVICE_ID: usize = 0x008;
const DEVICE_FEATURES: usize = 0x010;
const DEVICE_FEATURES_SEL: usize = 0x014;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SEL: usize = 0x024;
const QUEUE_SEL: usize = 0x030;
const QUEUE_NUM_MAX: usize = 0x034;
const QUEUE_NUM: usize = 0x038;
const QUEUE_READY: usize = 0x044;
const QUEUE_NOTIFY: usize = 0x050;
const INTERRUPT_STATUS: usize = 0x060;
const INTERRUPT_ACK: usize = 0x064;
const STATUS: usize = 0x070;
const QUEUE_DESC: usize = 0x080;
const QUEUE_DRIVER: usize = 0x090;
const QUEUE_DEVICE: usize = 0x0A0;

// Device status bits, section 2.1.
const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;

/// `VIRTIO_F_VERSION_1`, bit 32: bit 0 of the second feature word.
const VERSION_1: u32 = 1;

/// What sits behind a transport (section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum DeviceKind {
    /// Console, section 5.3.
    Console = 3,
    /// Entropy source, section 5.4.
    Entropy = 4,
}

/// The device is not there, or refuses what every device of its kind must accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtioError;

/// The registers of one transport.
#[derive(Clone, Copy, Debug)]
pub struct Transport(usize);

impl Transport {
    /// The transport at a base address.
    ///
    /// # Safety
    /// `base` must be that of a virtio-mmio register block.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self(base)
    }

    /// Whether a device of this kind is behind the transport.
    #[must_use]
    pub fn is(self, kind: DeviceKind) -> bool {
        self.register(MAGIC_VALUE).read() == MAGIC
            && self.register(VERSION_NUMBER).read() == VERSION
            && self.register(DEVICE_ID).read() == kind as u32
    }

    /// Takes back the device's interrupt.
    pub fn acknowledge_interrupt(self) {
        let status = self.register(INTERRUPT_STATUS).read();
        self.register(INTERRUPT_ACK).write(status);
    }

    /// Resets the device and negotiates no feature but `VIRTIO_F_VERSION_1` (section 3.1.1).
    fn reset_and_negotiate(self) -> Result<(), VirtioError> {
        let status = self.register(STATUS);
        status.write(0);
        status.write(ACKNOWLEDGE);
        status.write(ACKNOWLEDGE | DRIVER);
        self.register(DEVICE_FEATURES_SEL).write(1);
        if self.register(DEVICE_FEATURES).read() & VERSION_1 == 0 {
            return Err(VirtioError);
        }
        for (word, features) in [(0, 0), (1, VERSION_1)] {
            self.register(DRIVER_FEATURES_SEL).write(word);
            self.register(DRIVER_FEATURES).write(features);
        }
        status.write(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if status.read() & FEATURES_OK == 0 { Err(VirtioError) } else { Ok(()) }
    }

    /// Tells the device where a queue is (section 4.2.3.2).
    fn set_queue(self, queue: u32, at: &QueueAddresses) -> Result<(), VirtioError> {
        self.register(QUEUE_SEL).write(queue);
        if self.register(QUEUE_READY).read() != 0 || self.register(QUEUE_NUM_MAX).read() < at.size {
            return Err(VirtioError);
        }
        self.register(QUEUE_NUM).write(at.size);
        for (register, address) in
            [(QUEUE_DESC, at.descriptors), (QUEUE_DRIVER, at.available), (QUEUE_DEVICE, at.used)]
        {
            let [low, high] = halves(address as u64);
            self.register(register).write(low);
            self.register(register + 4).write(high);
        }
        self.register(QUEUE_READY).write(1);
        Ok(())
    }

    /// Starts the device.
    fn start(self) {
        self.register(STATUS).write(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Tells the device that a queue has new buffers.
    fn notify(self, queue: u32) {
        self.register(QUEUE_NOTIFY).write(queue);
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised a virtio-mmio block; these offsets are its registers. The
        // device reaches only the queues it is given, whose memory `Queue` treats as shared.
        unsafe { Register::new(self.0 + offset) }
    }
}
