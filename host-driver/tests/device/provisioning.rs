//! Provisioning, cut off before and after each message, and run again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use host_driver::device::Device;
use host_driver::provision::{Goal, Plan, ProvisionError, Step, provision};
use host_driver::transport::{Connector, Halves, Sender, Transport, TransportError};
use host_driver::{CallError, HostKey};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::system::Zeroise;
use hsm_protocol::{AuditTag, ErrorCode, Role};

use crate::rig::{Hsm, options, provision_alone, tag};

/// What of the message at which the line is cut still arrives.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Nothing.
    Before,
    /// All; its answer does not.
    After,
}

/// Cuts the line at the message with this number, counted over all lines.
struct Cutter {
    inner: Hsm,
    left: Arc<AtomicU32>,
    cut: Cut,
}

impl Connector for Cutter {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let inner = self.inner.connect()?;
        Ok(Box::new(CutLine { inner, left: Arc::clone(&self.left), cut: self.cut }))
    }
}

struct CutLine {
    inner: Box<dyn Transport>,
    left: Arc<AtomicU32>,
    cut: Cut,
}

impl Transport for CutLine {
    fn split(self: Box<Self>) -> Result<Halves, TransportError> {
        let Halves { sender, receiver } = self.inner.split()?;
        let sender = Box::new(CutSender { inner: sender, left: self.left, cut: self.cut });
        Ok(Halves { sender, receiver })
    }
}

struct CutSender {
    inner: Box<dyn Sender>,
    left: Arc<AtomicU32>,
    cut: Cut,
}

impl Sender for CutSender {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return self.inner.send(bytes);
        }
        if let Cut::After = self.cut {
            self.inner.send(bytes)?;
        }
        Err(TransportError::Closed)
    }

    fn close(&mut self) {
        self.inner.close();
    }
}

fn works(hsm: &Hsm, user: &HostKey) {
    let device = Device::open(hsm, None, options()).unwrap();
    device.authenticate(user).unwrap();
    device.call_blocking(&Random { length: 8 }, tag(1)).unwrap();
}

#[test]
fn a_fresh_device_is_brought_into_service_once() {
    let hsm = Hsm::new();
    let (provisioner, user) = (HostKey::generate(), HostKey::generate());
    let hosts = [(user.public(), Role::CryptoUser)];
    let plan = Plan {
        provisioner: &provisioner,
        hosts: &hosts,
        goal: Goal::Create,
        roots: None,
        options: options(),
    };
    let mut steps = Vec::new();
    let first = provision(&hsm, &plan, &mut |step| steps.push(step)).unwrap();
    let enrolled = Step::Enrolled(user.id(), Role::CryptoUser);
    assert_eq!(steps, [Step::Initialised, enrolled, Step::DomainCreated]);
    works(&hsm, &user);

    steps.clear();
    assert_eq!(provision(&hsm, &plan, &mut |step| steps.push(step)).unwrap(), first);
    assert_eq!(steps, []);

    let stranger = HostKey::generate();
    let error = provision_alone(&hsm, &stranger, &[]).unwrap_err();
    assert!(matches!(error, ProvisionError::NotProvisioner { .. }), "{error}");
    let error = provision_alone(&hsm, &user, &[]).unwrap_err();
    assert!(matches!(error, ProvisionError::NotProvisioner { .. }), "{error}");
}

/// Runs `attempt` with the line cut at the first, second, … message until it is not reached.
fn cut_everywhere(mut attempt: impl FnMut(Arc<AtomicU32>, Cut) -> bool) {
    for cut in [Cut::Before, Cut::After] {
        let mut finished = false;
        for message in 1..60 {
            finished = attempt(Arc::new(AtomicU32::new(message)), cut);
            if finished {
                assert!(message > 5, "the line was hardly used");
                break;
            }
        }
        assert!(finished);
    }
}

#[test]
fn creating_a_domain_survives_a_cut_at_any_message() {
    cut_everywhere(|left, cut| {
        let inner = Hsm::new();
        let (provisioner, user) = (HostKey::generate(), HostKey::generate());
        let hosts = [(user.public(), Role::CryptoUser)];
        let cutter = Cutter { inner: inner.clone(), left, cut };
        let outcome = provision_alone(&cutter, &provisioner, &hosts);
        if let Err(error) = &outcome {
            assert!(
                matches!(error, ProvisionError::Call(CallError::LinkDown { .. })),
                "{cut:?}: {error}"
            );
        }
        let provisioned = provision_alone(&inner, &provisioner, &hosts).unwrap();
        assert_eq!(provisioned.domain.members, 1);
        works(&inner, &user);
        outcome.is_ok()
    });
}

#[test]
fn joining_survives_a_cut_at_any_message() {
    cut_everywhere(|left, cut| {
        let (provisioner, user) = (HostKey::generate(), HostKey::generate());
        let hosts = [(user.public(), Role::CryptoUser)];
        let (member, joiner) = (Hsm::new(), Hsm::new());
        let domain = provision_alone(&member, &provisioner, &hosts).unwrap().domain.domain;

        let cut_member = Cutter { inner: member.clone(), left: Arc::clone(&left), cut };
        let cut_joiner = Cutter { inner: joiner.clone(), left, cut };
        let plan = |goal| Plan {
            provisioner: &provisioner,
            hosts: &hosts,
            goal,
            roots: None,
            options: options(),
        };
        let outcome = provision(&cut_joiner, &plan(Goal::Join(&cut_member)), &mut |_| {});
        let again = provision(&joiner, &plan(Goal::Join(&member)), &mut |_| {}).unwrap();
        assert_eq!(again.domain.domain, domain);
        works(&joiner, &user);
        outcome.is_ok()
    });
}

#[test]
fn a_zeroised_device_starts_over() {
    let hsm = Hsm::new();
    let provisioner = HostKey::generate();
    let first = provision_alone(&hsm, &provisioner, &[]).unwrap();
    let device = Device::open(&hsm, None, options()).unwrap();
    device.authenticate(&provisioner).unwrap();
    device.call_blocking(&Zeroise, AuditTag::default()).unwrap();
    drop(device);
    let second = provision_alone(&hsm, &HostKey::generate(), &[]).unwrap();
    assert_ne!(first.domain.domain, second.domain.domain);
}

#[test]
fn a_host_that_is_not_enrolled_is_told_so() {
    let (hsm, _) = Hsm::provisioned();
    let device = Device::open(&hsm, None, options()).unwrap();
    let error = device.authenticate(&HostKey::generate()).unwrap_err();
    assert!(matches!(error, CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)), "{error}");
    assert!(error.to_string().contains("enrolled"));
}
