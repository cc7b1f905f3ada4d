//! Finds every promise that was broken in a history.
//!
//! Pure: events in, violations out. Each file beside this one holds the rules about one thing.
//! A call took effect at some moment between its start and its end, so a rule about real time
//! compares the end of one call with the start of another: a slow machine can hide a violation,
//! but never invent one. Rules about stamps compare the set's own times, without any slack.
//!
//! Every message was received and deleted at the end, so that what was not received is lost.

mod counts;
mod deletes;
mod doubt;
mod durability;
mod errors;
#[cfg(test)]
mod example;
mod groups;
mod index;
mod leases;
mod lives;
mod moves;
mod past;
mod sends;
mod times;

pub(crate) use self::counts::Still;
pub(crate) use self::doubt::Cut;
use self::doubt::Doubt;
use self::index::Index;
pub(crate) use self::past::Past;
use super::history::Event;

/// How early a set may do what time tells it to.
const EARLY_US: u64 = 1_000_000;
/// Violations of one rule that are told one by one.
const TOLD_COUNT_MAX: usize = 10;

/// A history with everything else that a verdict needs.
#[derive(Clone)]
pub(crate) struct Case<'a> {
    pub(crate) events: &'a [Event],
    /// What clients themselves saw to be wrong.
    pub(crate) notes: &'a [String],
    /// From the first moment of a fault until the cluster was whole again, in microseconds.
    pub(crate) disturbed: &'a [(u64, u64)],
    /// When the last fault was over, and for how long the load went on.
    pub(crate) healed_at_us: u64,
    pub(crate) stopped_at_us: u64,
    /// Numbers of refusals that the fault explains.
    pub(crate) allowed: &'a [u16],
    pub(crate) queue_count: u16,
    /// Queues whose messages go to others, and to which, over however many queues in between.
    pub(crate) moves: &'a [(u16, u16)],
    /// The queue with ordered groups.
    pub(crate) groups: Option<Groups>,
    /// The queue whose durability is async.
    pub(crate) lazy: Option<u16>,
    /// A majority lost its power.
    pub(crate) cut: Option<Cut>,
    /// A look at all queues in between, while no call was under way.
    pub(crate) still: Option<Still>,
    /// Messages in each queue after everything was deleted.
    pub(crate) left: &'a [u64],
}

impl Case<'_> {
    /// The queues to which messages of this one go.
    fn targets_of(&self, queue: u16) -> impl Iterator<Item = u16> + '_ {
        let found = self
            .moves
            .iter()
            .filter(move |(source, _)| *source == queue);
        found.map(|(_, target)| *target)
    }

    /// Whether a fault touched this stretch of time.
    fn is_disturbed(&self, start_us: u64, end_us: u64) -> bool {
        let overlaps = |(from, to): &(u64, u64)| *from <= end_us && start_us <= *to;
        self.disturbed.iter().any(overlaps)
    }
}

/// Messages of a queue whose numbers leave the same rest when divided by `count` are a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) queue: u16,
    pub(crate) count: u64,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) text: String,
}

/// Collects the violations of one rule; the first few are told, the others counted.
struct Found {
    rule: &'static str,
    count: usize,
    told: Vec<Violation>,
}

impl Found {
    fn new(rule: &'static str) -> Found {
        Found {
            rule,
            count: 0,
            told: Vec::new(),
        }
    }

    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD_COUNT_MAX {
            self.told.push(Violation {
                rule: self.rule,
                text: text(),
            });
        }
    }

    fn into_violations(mut self) -> Vec<Violation> {
        if self.count > self.told.len() {
            let text = format!("and {} more", self.count - self.told.len());
            let rule = self.rule;
            self.told.push(Violation { rule, text });
        }
        self.told
    }
}

/// All rules on one round; `past` are the rounds before it.
pub(crate) fn check(case: &Case<'_>, past: &Past) -> Vec<Violation> {
    let doubt = Doubt::of(case);
    let (before, after) = (doubt.before(case), doubt.after(case));
    let mut notes = Found::new("what clients saw");
    for note in case.notes {
        notes.add(|| note.clone());
    }
    let mut found = vec![notes];
    found.extend(sends::check(case, &doubt, &after, past));
    found.extend(durability::check(case));
    for events in [&before, &after] {
        let case = &Case {
            events,
            ..case.clone()
        };
        let index = Index::new(events);
        found.extend(sends::check_ids(case, &index));
        found.extend(moves::check(case, &index));
        found.extend(deletes::check(&doubt, &index));
        found.extend(lives::check(case, &index));
        found.extend(leases::check(case, &doubt, &index));
        found.extend(groups::check(case, &index));
    }
    found.extend(times::check(case, &Index::new(case.events)));
    found.extend(counts::check(case, &doubt, &after));
    found.extend(errors::check(case));
    found.into_iter().flat_map(Found::into_violations).collect()
}

/// What a round leaves for the later ones.
pub(crate) fn what_lasts(case: &Case<'_>) -> Vec<Event> {
    Doubt::of(case).after(case)
}

#[cfg(test)]
mod tests {
    use super::example::{Example, SECOND};
    use super::*;

    #[test]
    fn a_good_history_has_no_violation() {
        assert_eq!(Example::new().violations(), []);
    }

    #[test]
    fn what_clients_saw_is_a_violation() {
        let mut example = Example::new();
        example.notes.push("a damaged body".to_owned());
        assert_eq!(example.rules(), ["what clients saw"]);
    }

    #[test]
    fn only_the_first_violations_of_a_rule_are_told_one_by_one() {
        let mut example = Example::new();
        for _ in 0..TOLD_COUNT_MAX + 5 {
            example.notes.push("a damaged body".to_owned());
        }
        let violations = example.violations();
        assert_eq!(violations.len(), TOLD_COUNT_MAX + 1);
        assert_eq!(violations[TOLD_COUNT_MAX].text, "and 5 more");
    }

    #[test]
    fn a_stretch_is_disturbed_if_it_touches_a_fault() {
        let mut example = Example::new();
        example.disturbed = vec![(10 * SECOND, 12 * SECOND)];
        example.with_case(|case| {
            assert!(case.is_disturbed(9 * SECOND, 10 * SECOND));
            assert!(case.is_disturbed(11 * SECOND, 30 * SECOND));
            assert!(!case.is_disturbed(12 * SECOND + 1, 30 * SECOND));
        });
    }
}
