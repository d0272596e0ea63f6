//! A request that is not cut in half when its client goes away.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use host_driver::caller::Gone;
use kms_base::memory;
use tokio::runtime::Handle;

/// Work that runs in the task of its connection, and goes on in a task of its own if that one ends before
/// it. A panic ends the work alone, and is its outcome.
pub(super) struct Uncut<F>(Option<Pin<Box<F>>>, Gone)
where
    F: Future<Output: Send> + Send + 'static;

impl<F: Future<Output: Send> + Send + 'static> Uncut<F> {
    /// The work of `future`, if it is polled once.
    pub(super) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)), Gone::default())
    }

    /// The same, which says when nobody waits for it any more.
    pub(super) fn telling(self, gone: Gone) -> Self {
        let mut told = self;
        told.1 = gone;
        told
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Uncut<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        // Nobody looks at the work again after a panic.
        let outcome = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        self.0 = None;
        Poll::Ready(outcome)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Uncut<F> {
    fn drop(&mut self) {
        // Without a runtime the program ends.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            self.1.raise();
            runtime.spawn(memory::leaving_no_stack(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let (go, gate) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let gone = Gone::default();
        let work = async move {
            gate.await.unwrap();
            tell.send("done").unwrap();
        };
        let mut work = Uncut::new(work).telling(gone.clone());
        assert!(timeout(Duration::ZERO, &mut work).await.is_err());
        assert!(!gone.is_raised());
        drop(work);
        assert!(gone.is_raised());
        go.send(()).unwrap();
        assert_eq!(told.await, Ok("done"));
    }

    #[tokio::test]
    async fn a_panic_is_the_outcome() {
        let outcome = Uncut::new(async { panic!("a fault") }).await;
        assert_eq!(outcome.map_err(|panic| *panic.downcast::<&str>().unwrap()), Err("a fault"));
    }

    #[tokio::test]
    async fn work_that_ended_is_not_begun_again() {
        let work = Uncut::new(async { 7 });
        assert_eq!(work.await.unwrap(), 7);
        drop(Uncut::new(pending::<()>()));
    }
}
