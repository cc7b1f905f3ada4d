//! An acknowledgement says what holds for it.
//!
//! What the queue asks for is the least: a send that shares its entry with something that is sync
//! is told so. That every one does would be a broker that knows no async.

use super::super::history::{Event, Kind};
use super::{Case, Found};

/// With as many acknowledged sends some were alone.
const SEND_COUNT_MIN: usize = 100;

pub(super) fn check(case: &Case<'_>) -> Vec<Found> {
    let mut found = Found::new("an acknowledgement says what its queue promises");
    let sends = || case.events.iter().filter(|event| event.is_done(Kind::Send));
    let is_lazy = |event: &&Event| case.lazy == Some(event.queue);
    for event in sends().filter(|event| event.is_async && !is_lazy(event)) {
        found.add(|| format!("{event:?} of a queue that is sync"));
    }
    let lazy = sends().filter(is_lazy);
    if lazy.clone().count() >= SEND_COUNT_MIN && !lazy.clone().any(|event| event.is_async) {
        found.add(|| "not one is async in the queue that is".to_owned());
    }
    vec![found]
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, send};
    use super::*;

    const RULE: &str = "an acknowledgement says what its queue promises";

    #[test]
    fn a_sync_queue_says_sync() {
        let mut example = Example::new();
        example.event(Kind::Send, 3).is_async = true;
        assert_eq!(example.rules(), [RULE]);
        example.lazy = Some(0);
        assert_eq!(example.violations(), []);
    }

    #[test]
    fn an_async_queue_says_async_now_and_then() {
        let sends: Vec<Event> = (1..=100).map(|number| send(number, number)).collect();
        let count = |lazy, events: &[Event]| {
            let example = Example::new();
            example.with_case(|case| {
                let case = Case {
                    events,
                    lazy,
                    ..case.clone()
                };
                check(&case)[0].count
            })
        };
        assert_eq!(count(None, &sends), 0);
        assert_eq!(count(Some(0), &sends), 1);
        assert_eq!(count(Some(0), &sends[1..]), 0, "too few to tell");
        let mut some = sends;
        some[50].is_async = true;
        assert_eq!(count(Some(0), &some), 0);
    }
}
