//! Provisioning, cut off before and after each message, and run again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use host_driver::ceremony::{self, CeremonyError};
use host_driver::device::Device;
use host_driver::provision::{Goal, ProvisionError, Step};
use host_driver::transport::{Connector, Halves, Sender, Transport, TransportError};
use host_driver::{CallError, HostKey};
use hsm_protocol::command::random::Random;
use hsm_protocol::domain::{Change, Host};
use hsm_protocol::{ErrorCode, Role};

use crate::rig::{Hsm, Keys, options, tag};

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

fn open(hsm: &Hsm, user: &HostKey) -> Device {
    let device = Device::open(hsm, None, options()).unwrap();
    device.authenticate(user).unwrap();
    device
}

#[test]
fn a_fresh_device_is_brought_into_service_once() {
    let (hsm, keys) = (Hsm::new(), Keys::new());
    let mut steps = Vec::new();
    let create = || Goal::Create("tests");
    let first = keys.with(&hsm, create(), &mut |step| steps.push(step)).unwrap();
    assert_eq!(steps, [Step::Founded]);
    works(&hsm, &keys.user);

    steps.clear();
    assert_eq!(keys.with(&hsm, create(), &mut |step| steps.push(step)).unwrap(), first);
    assert_eq!(steps, []);

    let error = Keys::new().provision(&hsm).unwrap_err();
    assert!(matches!(error, ProvisionError::NotOurs { .. }), "{error}");
    // A host of the domain is not its operator.
    let stranger = Keys { user: keys.user.clone(), ..Keys::new() };
    let joiner = Hsm::new();
    let error = stranger.with(&joiner, Goal::Join(&[&hsm]), &mut |_| {}).unwrap_err();
    let is_told = matches!(error, ProvisionError::Ceremony(CeremonyError::NotOurs(_)));
    assert!(is_told && error.to_string().contains("kmsctl domain propose"), "{error}");
}

#[test]
fn a_member_that_was_away_follows() {
    let keys = Keys::new();
    let (one, two) = (Hsm::new(), Hsm::new());
    keys.provision(&one).unwrap();
    keys.with(&two, Goal::Join(&[&one]), &mut |_| {}).unwrap();
    // Two changes while the second is away: a host, and another domain key.
    let late = HostKey::generate();
    let host = Change::AddHost(Host { key: late.public(), role: Role::CryptoUser });
    let first = open(&one, &keys.user);
    let rotate = Change::RotateKey { maker: first.id() };
    for change in [host, rotate] {
        ceremony::change(&[&first], &[change], &keys.operator, &keys.ballots).unwrap();
    }
    let state = first.domain_state().unwrap();
    drop(first); // a device serves one line
    assert_eq!(open(&two, &keys.user).domain().unwrap().unwrap().version, 2);
    let mut steps = Vec::new();
    let done = keys.with(&two, Goal::Join(&[&one]), &mut |step| steps.push(step)).unwrap();
    assert_eq!(steps, [Step::Followed]);
    assert_eq!((done.domain.version, done.domain.has_keys), (4, true));
    assert_eq!(open(&two, &keys.user).domain_state().unwrap(), state);
    works(&two, &late);
    // With nobody who has the key, it waits for it.
    let third = Hsm::new();
    keys.with(&third, Goal::Join(&[&one, &two]), &mut |_| {}).unwrap();
    let [first, second, third] = [&one, &two, &third].map(|hsm| open(hsm, &keys.user));
    ceremony::change(&[&first], &[rotate], &keys.operator, &keys.ballots).unwrap();
    assert!(ceremony::follow(&third, &keys.ballots, &[]).unwrap());
    assert!(!third.domain().unwrap().unwrap().has_keys);
    assert!(ceremony::follow(&third, &keys.ballots, &[&second, &first]).unwrap());
    assert!(third.domain().unwrap().unwrap().has_keys);
}

#[test]
fn a_refused_change_is_not_kept() {
    let (hsm, keys) = (Hsm::new(), Keys::new());
    keys.provision(&hsm).unwrap();
    let device = open(&hsm, &keys.user);
    let state = device.domain_state().unwrap();
    let unknown = Change::RemoveHost(HostKey::generate().id());
    let refused = ceremony::change(&[&device], &[unknown], &keys.operator, &keys.ballots);
    let invalid = matches!(refused, Err(CeremonyError::Invalid(ErrorCode::CHANGE_INVALID)));
    assert!(invalid, "{refused:?}");
    // One that the device refuses: signed by nobody.
    let host = Change::AddHost(Host { key: HostKey::generate().public(), role: Role::Auditor });
    let proposed = ceremony::propose(&state, &[host]).unwrap();
    let ballot = proposed.ballot(&[]).unwrap();
    let refused = ceremony::submit(&[&device], &ballot, &keys.ballots).unwrap_err();
    assert!(refused.to_string().contains("Too few operators"), "{refused}");
    assert!(!ceremony::follow(&device, &keys.ballots, &[]).unwrap());
    assert_eq!(device.domain_state().unwrap(), state);
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
fn founding_survives_a_cut_at_any_message() {
    cut_everywhere(|left, cut| {
        let (inner, keys) = (Hsm::new(), Keys::new());
        let cutter = Cutter { inner: inner.clone(), left, cut };
        let outcome = keys.provision(&cutter);
        if let Err(error) = &outcome {
            let is_down = matches!(
                error,
                ProvisionError::Call(CallError::LinkDown { .. })
                    | ProvisionError::Ceremony(CeremonyError::Call(CallError::LinkDown { .. }))
            );
            assert!(is_down, "{cut:?}: {error}");
        }
        let provisioned = keys.provision(&inner).unwrap();
        assert_eq!(provisioned.domain.members, 1);
        works(&inner, &keys.user);
        outcome.is_ok()
    });
}

#[test]
fn joining_survives_a_cut_at_any_message() {
    cut_everywhere(|left, cut| {
        let keys = Keys::new();
        let (member, joiner) = (Hsm::new(), Hsm::new());
        let domain = keys.provision(&member).unwrap().domain.domain;
        let cut_member = Cutter { inner: member.clone(), left: Arc::clone(&left), cut };
        let cut_joiner = Cutter { inner: joiner.clone(), left, cut };
        let outcome = keys.with(&cut_joiner, Goal::Join(&[&cut_member]), &mut |_| {});
        let again = keys.with(&joiner, Goal::Join(&[&member]), &mut |_| {}).unwrap();
        assert_eq!(again.domain.domain, domain);
        let (one, two) = (open(&member, &keys.user), open(&joiner, &keys.user));
        ceremony::follow(&one, &keys.ballots, &[&two]).unwrap();
        assert_eq!(one.domain_state().unwrap(), two.domain_state().unwrap(), "{cut:?}");
        drop((one, two)); // a device serves one line
        works(&joiner, &keys.user);
        outcome.is_ok()
    });
}

#[test]
fn a_zeroised_device_starts_over() {
    let (hsm, keys) = (Hsm::new(), Keys::new());
    let first = keys.provision(&hsm).unwrap();
    let device = open(&hsm, &keys.user);
    let zeroise = Change::Zeroise(device.id());
    // The device answers and is gone; whether it could answer is of no matter.
    let _ = ceremony::change(&[&device], &[zeroise], &keys.operator, &keys.ballots);
    drop(device);
    let second = Keys::new().provision(&hsm).unwrap();
    assert_ne!(first.domain.domain, second.domain.domain);
}

#[test]
fn a_host_that_the_domain_does_not_have_is_told_so() {
    let (hsm, _) = Hsm::provisioned();
    let device = Device::open(&hsm, None, options()).unwrap();
    let error = device.authenticate(&HostKey::generate()).unwrap_err();
    assert!(matches!(error, CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)), "{error}");
    assert!(error.to_string().contains("enrolled"));
}
