//! Receiving messages of groups: which group is served next, and how much of it.
//!
//! Ordered: as much of the group as the receive has room for, and the group is locked from then on;
//! then the next one. In turns: one message of each group, again and again. A receive costs what
//! it gives, however many groups there are. Spec: spec/semantics.md, "Groups".

use sampan_protocol::MessageId;

use super::Queue;
use super::groups::Group;
use super::receive::{HandOut, Pick, Room};

impl Queue {
    /// Hands out messages of groups; true when no more can be and there is room.
    pub(super) fn receive_groups(&mut self, hand_out: &mut HandOut) -> bool {
        let mut picks = Vec::new();
        let room = &mut hand_out.room;
        let mut has_room = room.count > 0;
        while has_room && let Some(group) = self.groups.next_group() {
            let ids = self.fitting(group, room);
            if ids.is_empty() {
                has_room = false;
                break;
            }
            self.groups.hand_out(group, &ids, |id, received| {
                let id = MessageId(id);
                picks.push(Pick { id, received });
            });
            // What is left of an ordered group did not fit.
            let is_left = self.groups.is_ordered() && self.groups.ids_of(group).next().is_some();
            has_room = room.count > 0 && !is_left;
        }
        self.lease(&picks, hand_out);
        has_room
    }

    /// The first messages of a group that it gives at one time, as far as there is room.
    fn fitting(&self, group: Group, room: &mut Room) -> Vec<u64> {
        let most = match self.groups.is_ordered() {
            true => usize::try_from(room.count).unwrap_or(usize::MAX),
            false => 1,
        };
        let mut ids = Vec::new();
        for id in self.groups.ids_of(group).take(most) {
            let bound = self.grouped.marks.bound(id);
            if room.fitting(bound.content_len_max) == 0 {
                break;
            }
            room.spend(1, bound.content_len_max);
            ids.push(id);
        }
        ids
    }
}
