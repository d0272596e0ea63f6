//! Places of requests of HTTP/2.
//!
//! A client can open streams and reset them at once, as fast as it can send, and what is under way
//! for them is finished all the same. So a request takes a place on its connection and one of all
//! connections, and gives them back when it has ended, not when its stream has.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::seats::Seats;

/// The places that requests of a connection can have.
pub(super) struct Places {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    seats: Arc<Seats>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(all: Arc<Semaphore>, own: u32, seats: Arc<Seats>) -> Self {
        let own = usize::try_from(own).unwrap_or(Semaphore::MAX_PERMITS);
        Self { own: Arc::new(Semaphore::new(own)), all, seats }
    }

    /// Waits for a place; `None` never, as nobody closes the semaphores. While all are taken, the
    /// connections of strangers that have most of them are ended, one after the other.
    pub(super) async fn take(&self) -> Option<Place> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let all = match Arc::clone(&self.all).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => tokio::select! {
                biased;
                place = Arc::clone(&self.all).acquire_owned() => place.ok()?,
                never = self.seats.make_room_for_requests() => match never {},
            },
        };
        Some(Place { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::http::seats::Bounds;
    use crate::metrics::ConnectionMetrics;

    /// A flood has taken every place, and many of its requests wait. Its connections are ended until others have
    /// a place; theirs are not.
    #[tokio::test]
    async fn a_flood_makes_room_for_others() {
        let all = Arc::new(Semaphore::new(30));
        let bounds = Bounds { all: 20, strangers: 20, address: 20, store: 20 };
        let seats = Seats::new(bounds, ConnectionMetrics::default());
        let connect = |last| seats.admit(IpAddr::from([127, 0, 0, last])).unwrap();
        let places = || Arc::new(Places::new(Arc::clone(&all), 10, Arc::clone(&seats)));
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (seat, places) = (connect(2), places());
            flood.spawn(async move {
                let take = async || {
                    let _request = seat.standing().request();
                    let _place = places.take().await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = async { tokio::join!(take(), take(), take(), take(), take()); } => {}
                    () = seat.standing().ended() => {}
                }
            });
        }
        tokio::task::yield_now().await;
        let other = connect(1);
        let _request = other.standing().request();
        let place = tokio::time::timeout(Duration::from_secs(60), places().take()).await;
        assert!(place.unwrap().is_some());
        assert!(!other.standing().is_ended());
        let ended = std::iter::from_fn(|| flood.try_join_next()).count();
        assert!((1..10).contains(&ended), "{ended} of 10 are ended");
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_it_is_dropped() {
        let all = Arc::new(Semaphore::new(3));
        let bounds = Bounds { all: 2, strangers: 2, address: 2, store: 2 };
        let seats = Seats::new(bounds, ConnectionMetrics::default());
        let places = || Places::new(Arc::clone(&all), 2, Arc::clone(&seats));
        let (one, other) = (places(), places());
        let taken = [one.take().await.unwrap(), one.take().await.unwrap()];
        let at_once = |places: &Places| {
            let mut take = std::pin::pin!(places.take());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match take.as_mut().poll(&mut context) {
                std::task::Poll::Ready(place) => place,
                std::task::Poll::Pending => None,
            }
        };
        assert!(at_once(&one).is_none(), "a connection has two");
        let third = at_once(&other).unwrap();
        assert!(at_once(&other).is_none(), "all have three");
        drop(taken);
        assert!(at_once(&one).is_some());
        drop(third);
        assert_eq!(all.available_permits(), 3);
    }
}
