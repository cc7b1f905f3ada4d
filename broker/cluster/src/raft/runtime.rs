//! The executor that openraft runs on: the current thread's tokio runtime, by a type of our own, so
//! that a simulator can take its place.
//!
//! Everything of a set runs on one thread: tasks are spawned on the thread's `LocalSet`.

use std::future::Future;
use std::time::Duration;

use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{Instant as _, OptionalSend};

use crate::grid;

/// tokio's current-thread runtime of the calling core thread.
#[derive(Debug)]
pub(crate) struct CoreRuntime(Tokio);

type Tokio = openraft_rt_tokio::TokioRuntime;
type Instant = <Tokio as AsyncRuntime>::Instant;

/// Of tokio's timers. openraft gathers completions for a microsecond, which would become this long.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

impl AsyncRuntime for CoreRuntime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Tokio as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        let now = Instant::now();
        let wait = deadline.saturating_duration_since(now);
        if wait < TIMER_RESOLUTION {
            return Tokio::sleep_until(now - TIMER_RESOLUTION);
        }
        // Only ticks wait until an instant. Those of each group begin at random: here they meet.
        let deadline = grid::at_or_after(tokio::time::Instant::now() + wait);
        tokio::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Tokio::thread_rng()
    }

    fn new(threads: usize) -> Self {
        CoreRuntime(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
