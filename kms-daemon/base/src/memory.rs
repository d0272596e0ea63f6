//! The process's memory, which secrets pass through: what is given back is erased, what there is is
//! not written to disk by the operating system, nor read by others.
//!
//! Types that hold secrets are zeroised where they end. What they cannot reach are the buffers of
//! libraries: Base64 text while JSON is read, what HTTP and TLS put together. So both programs have
//! [`Heap`] as their allocator, which erases every block that is freed; and connections erase what
//! stays allocated between requests.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use host_driver::stack;
use mimalloc::MiMalloc;
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};
use zeroizing_alloc::ZeroAlloc;

/// An allocator that erases each block before it is free. The one behind it gives memory back to the
/// operating system when a flood of connections is over; that of glibc keeps most.
pub type Heap = ZeroAlloc<MiMalloc>;

/// The allocator of the programs of this package: `#[global_allocator]` is theirs to say.
pub const HEAP: Heap = ZeroAlloc(MiMalloc);

/// Bytes of stack that are erased after steps of requests: well above what a step needs, most of all
/// where nothing is optimised.
const STACK: usize = if cfg!(debug_assertions) { 768 * 1024 } else { 128 * 1024 };
/// Steps after which the stack of a thread is erased although the thread has more to do.
const STEPS: u32 = 8;

thread_local! {
    /// Steps of this thread since its stack was erased.
    static TAKEN: Cell<u32> = const { Cell::new(0) };
}

static LOCKED: AtomicBool = AtomicBool::new(false);

/// Why the memory of this process is less protected than it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprotected {
    /// The operating system would still write the memory into a core dump.
    #[error("core dumps cannot be turned off: {0}; turn them off for this service")]
    CoreDumps(Errno),
    /// Memory may be locked up to a limit only; beyond it, allocations would fail.
    #[error(
        "memory may be swapped out, as no more than {0} bytes may be locked; set \
         LimitMEMLOCK=infinity in its systemd unit, or turn off or encrypt swap"
    )]
    Limit(u64),
    /// The operating system refused to lock it.
    #[error("memory may be swapped out: it cannot be locked: {0}; turn off or encrypt swap")]
    Lock(Errno),
}

/// Turns off core dumps, and reading of the memory by other processes of the same user.
///
/// # Errors
/// [`Unprotected::CoreDumps`].
pub fn refuse_dumps() -> Result<(), Unprotected> {
    // Children have their own say about the second, not about the first.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(Unprotected::CoreDumps)?;
    // A handler that cores are piped to is not bound by the limit.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Unprotected::CoreDumps)
}

/// Keeps all memory of this process out of swap, from now on, if it may be without a limit.
///
/// # Errors
/// [`Unprotected`], if that is not possible.
pub fn lock() -> Result<(), Unprotected> {
    let limit = getrlimit(Resource::Memlock);
    // A limit that the process may raise itself does not bind it.
    let unlimited = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Memlock, unlimited);
    let is_privileged =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(limit), false) = (limit.maximum, is_privileged) {
        // Reserved address space counts, such as that of stacks: some limit would do, none is sure.
        return Err(Unprotected::Limit(limit));
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(Unprotected::Lock)?;
    LOCKED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether [`lock`] has succeeded.
#[must_use]
pub fn is_locked() -> bool {
    LOCKED.load(Ordering::Relaxed)
}

/// A future that leaves nothing on the stacks of the threads that it runs on.
pub struct LeavingNoStack<F>(Pin<Box<F>>);

/// The same future, leaving nothing on the stacks of the threads that it runs on: they are erased after
/// some steps, or once the thread has nothing to do, if its runtime calls [`before_waiting`] then.
pub fn leaving_no_stack<F: Future>(future: F) -> LeavingNoStack<F> {
    LeavingNoStack(Box::pin(future))
}

impl<F: Future> Future for LeavingNoStack<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        #[cfg(debug_assertions)]
        reach::begin();
        let outcome = self.0.as_mut().poll(cx);
        let taken = TAKEN.get() + 1;
        TAKEN.set(taken % STEPS);
        if taken == STEPS {
            stack::erase::<STACK>();
        }
        outcome
    }
}

/// Erases what steps have left on the stack of this thread. For threads of a runtime, before they wait.
#[inline(never)]
pub fn before_waiting() {
    if TAKEN.replace(0) > 0 {
        #[cfg(debug_assertions)]
        reach::check_above();
        stack::erase::<STACK>();
    }
}

/// To be called where a secret is deepest in the stack. In a program that is built for debugging it
/// panics if three quarters of what is erased do not reach so deep.
#[inline]
pub fn assert_reached() {
    #[cfg(debug_assertions)]
    reach::check();
}

#[cfg(debug_assertions)]
mod reach {
    use std::cell::Cell;

    thread_local! {
        /// Where the present step began, and 0 outside of one.
        static BEGIN: Cell<usize> = const { Cell::new(0) };
    }

    #[inline(never)]
    fn here() -> usize {
        let local = 0_u8;
        (&raw const local).addr()
    }

    pub(super) fn begin() {
        BEGIN.set(here());
    }

    /// What is erased from here on has to have the frames of steps in it.
    pub(super) fn check_above() {
        assert!(here() >= BEGIN.get(), "steps begin {} bytes above", BEGIN.get() - here());
    }

    pub(super) fn check() {
        let depth = BEGIN.get().saturating_sub(here());
        assert!(depth < super::STACK / 2 + super::STACK / 4, "{depth} bytes of stack are in use");
    }
}
