//! The link over USB: a serial port (CDC-ACM), by the crates `usb-device` and `usbd-serial`.
//!
//! The interrupt handler answers the host's control requests, also while a command runs for seconds, and moves
//! received bytes to a ring. When the ring is full, packets stay where they are, and the host waits.

use core::cell::RefCell;

use critical_section::Mutex;
use usb_device::LangID;
use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::{
    StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbDeviceState, UsbVidPid,
};
use usbd_serial::{CdcAcmClass, USB_CLASS_CDC};

use super::ring::Ring;
use super::uart_port;

/// Vendor and product. Those that pid.codes sets aside for tests: a product needs its own.
const TEST_DEVICE: UsbVidPid = UsbVidPid(0x1209, 0x0001);
/// Bytes of the longest packet.
const PACKET: u16 = 64;
/// Bytes that are sent in a packet. A packet that is not full ends the host's read.
const SENT: usize = PACKET as usize - 1;

/// The serial port and its receive ring of `N` bytes, shared between main loop and interrupt handler.
pub struct Serial<B: UsbBus + 'static, const N: usize> {
    ring: &'static Ring<N>,
    link: Mutex<RefCell<Option<Link<B>>>>,
}

struct Link<B: UsbBus + 'static> {
    device: UsbDevice<'static, B>,
    class: CdcAcmClass<'static, B>,
}

impl<B: UsbBus, const N: usize> Serial<B, N> {
    /// A port that has not started, and its ring.
    #[must_use]
    pub(super) const fn new(ring: &'static Ring<N>) -> Self {
        Self { ring, link: Mutex::new(RefCell::new(None)) }
    }

    /// Connects to a started controller; once. The host sees the chip's number and the product's name. The
    /// controller's interrupt must be served from now on.
    pub(super) fn start(
        &self,
        bus: &'static UsbBusAllocator<B>,
        number: &'static str,
        product: &'static str,
    ) {
        let class = CdcAcmClass::new(bus, PACKET);
        let strings = StringDescriptors::new(LangID::EN_US)
            .manufacturer("Strongroom")
            .product(product)
            .serial_number(number);
        let builder = UsbDeviceBuilder::new(bus, TEST_DEVICE).device_class(USB_CLASS_CDC);
        let builder = builder.strings(&[strings]).and_then(|builder| builder.max_packet_size_0(64));
        // One language, and a length that USB has: neither can fail.
        let Ok(builder) = builder else { return };
        critical_section::with(|section| {
            // From here on the controller interrupts, and only the link can take away why.
            let device = builder.build();
            self.link.borrow(section).replace(Some(Link { device, class }));
        });
    }

    /// Serves the controller's interrupt.
    pub fn interrupt(&self) {
        self.with(|link| {
            link.device.poll(&mut [&mut link.class]);
            link.receive(self.ring);
        });
    }

    /// Does something to a port that has started, while no interrupt is served.
    fn with<R>(&self, f: impl FnOnce(&mut Link<B>) -> R) -> Option<R> {
        critical_section::with(|section| {
            let mut link = self.link.borrow(section).try_borrow_mut().ok()?;
            link.as_mut().map(f)
        })
    }
}

impl<B: UsbBus> Link<B> {
    /// Moves packets to the ring as long as there is room for the longest.
    fn receive<const N: usize>(&mut self, ring: &Ring<N>) {
        let mut packet = [0; PACKET as usize];
        while ring.room() >= packet.len()
            && let Ok(length) = self.class.read_packet(&mut packet)
        {
            for byte in packet.iter().take(length) {
                // There is room, and only this side puts.
                let _ = ring.put(*byte);
            }
        }
    }

    /// Whether a program on the host has opened the port.
    fn is_open(&self) -> bool {
        self.device.state() == UsbDeviceState::Configured && self.class.dtr()
    }
}

impl<B: UsbBus, const N: usize> uart_port::Uart for Serial<B, N> {
    fn receive(&self, out: &mut [u8]) -> usize {
        let count = self.ring.take(out);
        if count > 0 {
            // A packet that waits raises no interrupt any more.
            self.with(|link| link.receive(self.ring));
        }
        count
    }

    fn transmit(&self, bytes: &[u8]) -> usize {
        let packet = bytes.get(..SENT).unwrap_or(bytes);
        let sent = self.with(|link| match link.is_open() {
            // While the packet before it is under way none is taken; its end interrupts.
            true => link.class.write_packet(packet).unwrap_or(0),
            // Nobody reads: what nobody has asked for must not wait for the next who does.
            false => bytes.len(),
        });
        sent.unwrap_or(bytes.len())
    }
}
