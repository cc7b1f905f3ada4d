//! Receiving: which messages are handed out next.
//!
//! From two sides: of the messages in no group first what is ready again, the lowest id first (so
//! messages without a delay before those that fell due), then fresh ones; and of groups, see
//! `receive_groups`. When both have something, they take turns in who is first.
//!
//! How many fit the asked length is decided by the marks' bounds, for the lengths themselves are
//! not in memory: a receive may give less than would fit, never more (but always one).
//! Spec: spec/semantics.md, "Receiving".

use sampan_protocol::{MessageId, Timestamp};

use super::Queue;
use crate::leases::Lease;
use crate::page::Received;
use crate::reply::Delivery;

/// One hand-out that has no lease yet.
pub(super) struct Pick {
    pub(super) id: MessageId,
    pub(super) received: Option<Received>,
}

/// How much more a receive takes.
pub(super) struct Room {
    pub(super) count: u64,
    len: u64,
    is_untouched: bool,
}

impl Room {
    /// How many messages of at most `len_max` bytes still fit; the first one always does.
    pub(super) fn fitting(&self, len_max: u32) -> u64 {
        let fitting = self.len / u64::from(len_max);
        fitting.max(u64::from(self.is_untouched)).min(self.count)
    }

    pub(super) fn spend(&mut self, count: u64, len_max: u32) {
        self.count -= count;
        self.len = self.len.saturating_sub(count * u64::from(len_max));
        self.is_untouched = false;
    }
}

/// A receive under way.
pub(super) struct HandOut {
    pub(super) room: Room,
    visible_at: Timestamp,
    now: Timestamp,
    deliveries: Vec<Delivery>,
}

impl Queue {
    /// How many messages may still be taken in flight.
    pub(crate) fn in_flight_room(&self) -> u64 {
        let most = self.attributes.in_flight_count_max;
        most.saturating_sub(self.leases.count())
            .min(self.leases.numbers_left())
    }

    pub(crate) fn receive(
        &mut self,
        count_max: u16,
        len_max: u32,
        visible_at: Timestamp,
        now: Timestamp,
    ) -> Vec<Delivery> {
        let count = u64::from(count_max)
            .min(self.in_flight_room())
            .min(self.receivable_count());
        let mut hand_out = HandOut {
            room: Room {
                count,
                len: u64::from(len_max),
                is_untouched: true,
            },
            visible_at,
            now,
            deliveries: Vec::with_capacity(count as usize),
        };
        if count > 0 {
            self.trace
                .on_number(self.leases.next ^ visible_at.0.rotate_left(40));
        }
        let groups_count = self.groups.receivable_count();
        let has_both = groups_count > 0 && self.groupless_count() > 0;
        let groups_first = has_both && self.groups.are_first;
        for is_groups in [groups_first, !groups_first] {
            let has_room = match is_groups {
                true => self.receive_groups(&mut hand_out),
                false => self.receive_groupless(&mut hand_out),
            };
            if !has_room {
                break;
            }
        }
        if has_both && !hand_out.deliveries.is_empty() {
            self.groups.are_first = !groups_first;
        }
        hand_out.deliveries
    }

    /// Hands out messages in no group; true when they are over and there is room for more.
    fn receive_groupless(&mut self, hand_out: &mut HandOut) -> bool {
        self.receive_again(hand_out) && self.receive_fresh(hand_out)
    }

    /// Hands out from the pages; true when they are empty and there is room for more.
    fn receive_again(&mut self, hand_out: &mut HandOut) -> bool {
        let mut picks = Vec::new();
        let room = &mut hand_out.room;
        let mut has_room = room.count > 0;
        while has_room && let Some(lowest) = self.pages.lowest_from(0) {
            let bound = self.space_of(MessageId(lowest)).marks.bound(lowest);
            let fitting = room.fitting(bound.content_len_max);
            let taken = self
                .pages
                .take_lowest(0, bound.end, fitting, |id, received| {
                    picks.push(Pick { id, received });
                });
            room.spend(taken, bound.content_len_max);
            has_room = taken > 0 && room.count > 0;
        }
        self.lease(&picks, hand_out);
        has_room
    }

    pub(super) fn lease(&mut self, picks: &[Pick], hand_out: &mut HandOut) {
        if picks.is_empty() {
            return;
        }
        let HandOut {
            visible_at,
            now,
            deliveries,
            ..
        } = hand_out;
        let (visible_at, now) = (*visible_at, *now);
        let mut picks_left = picks.iter();
        let trace = &mut self.trace;
        self.leases
            .add(picks.len() as u64, visible_at, |_, handle| {
                let pick = picks_left.next().expect("there is one lease per pick");
                let before = pick.received.map_or(0, |received| received.receive_count);
                let receive_count = before.saturating_add(1);
                let first_received_at = pick
                    .received
                    .map_or(now, |received| received.first_received_at);
                let id = pick.id;
                trace.on_receive(id, 1, receive_count, first_received_at.0);
                deliveries.push(Delivery {
                    id,
                    handle,
                    first_received_at,
                    visible_at,
                    receive_count,
                });
                Lease {
                    id,
                    first_received_at,
                    receive_count,
                }
            });
    }

    fn receive_fresh(&mut self, hand_out: &mut HandOut) -> bool {
        let HandOut {
            room,
            visible_at,
            now,
            deliveries,
        } = hand_out;
        let (visible_at, now) = (*visible_at, *now);
        while room.count > 0 && self.fresh_count() > 0 {
            let first = self.fresh_first;
            let bound = self.immediate.marks.bound(first);
            let count = room.fitting(bound.content_len_max);
            let count = count.min(bound.end.min(self.immediate.next) - first);
            if count == 0 {
                return false;
            }
            self.trace.on_receive(MessageId(first), count, 1, now.0);
            self.leases.add(count, visible_at, |index, handle| {
                let (id, receive_count) = (MessageId(first + index), 1);
                let first_received_at = now;
                deliveries.push(Delivery {
                    id,
                    handle,
                    first_received_at,
                    visible_at,
                    receive_count,
                });
                Lease {
                    id,
                    first_received_at,
                    receive_count,
                }
            });
            self.fresh_first += count;
            room.spend(count, bound.content_len_max);
        }
        room.count > 0
    }
}
