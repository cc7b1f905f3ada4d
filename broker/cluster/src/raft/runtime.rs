//! The executor that openraft runs on: the current thread's tokio runtime, by a type of our own, so
//! that a simulator can take its place.
//!
//! Everything of a set runs on one thread: tasks are spawned on the thread's `LocalSet`.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{Instant as _, OptionalSend};

/// tokio's current-thread runtime of the calling core thread.
#[derive(Debug)]
pub(crate) struct CoreRuntime(Tokio);

type Tokio = openraft_rt_tokio::TokioRuntime;
type Instant = <Tokio as AsyncRuntime>::Instant;

/// Ticks wait for a multiple of this. openraft spreads the ticks of its groups at random; a node
/// with many idle sets would wake for each of them. On a common grid it wakes once for all, and
/// their heartbeats leave in one write. Failovers become slower by half of it.
const TICK_GRID: Duration = Duration::from_millis(20);
/// Of tokio's timers. openraft gathers completions for a microsecond, which would become this long.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);
/// Where the grid begins.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The next line of the grid at or after `deadline`.
fn on_grid(deadline: Instant, origin: Instant) -> Instant {
    let grid = TICK_GRID.as_nanos();
    let since = deadline.saturating_duration_since(origin).as_nanos();
    let missing = since.next_multiple_of(grid) - since;
    // Less than the grid, which is less than a second.
    deadline + Duration::from_nanos(missing as u64)
}

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
        if deadline.saturating_duration_since(now) < TIMER_RESOLUTION {
            return Tokio::sleep_until(now - TIMER_RESOLUTION);
        }
        Tokio::sleep_until(on_grid(deadline, *ORIGIN))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_within_one_step_of_the_grid_fall_together_and_none_comes_early() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        for ms in 21..=40 {
            assert_eq!(on_grid(at(ms), origin), at(40), "{ms} ms");
        }
        assert_eq!(on_grid(at(41), origin), at(60));
        assert_eq!(on_grid(origin, origin), origin);
    }
}
