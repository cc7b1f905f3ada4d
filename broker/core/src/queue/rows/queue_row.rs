//! The queue's own row, and the bytes of attributes in rows and commands.
//!
//! Spec: spec/state.md, "State rows", "Notation".

use sampan_protocol::{AttributeChanges, MessageId, QueueAttributes, Timestamp};

use crate::fields::{FieldError, Fields, put_text};
use crate::limits::LEASE_NUMBER_MAX;
use crate::queue::purge::Purged;
use crate::queue::rewinding::KeptState;
use crate::share::Shares;

const VERSION: u8 = 1;
/// Numbers of producers and keys lie below these: so many were never given, and sums of them fit.
const PRODUCER_NUMBER_MAX: u64 = 1 << 53;
const KEY_NUMBER_MAX: u64 = 1 << 62;

/// The queue's own row: everything of it that is not many.
#[derive(Clone, Debug)]
pub(crate) struct QueueRow {
    pub(super) name: String,
    pub(super) attributes: QueueAttributes,
    pub(super) secret: u64,
    pub(super) immediate_next: u64,
    pub(super) fresh_first: u64,
    pub(super) delayed_next: u64,
    pub(super) lease_next: u64,
    pub(super) producer_next: u64,
    pub(super) producers_swept_at: Timestamp,
    pub(super) producers_forgotten_until: Timestamp,
    pub(super) resting_next: u64,
    pub(super) letter_next: u64,
    pub(super) immediate_aged_below: u64,
    pub(super) delayed_aged_below: u64,
    pub(super) keys_first: u64,
    pub(super) keys_next: u64,
    pub(super) purged: Purged,
    pub(super) grouped_next: u64,
    pub(super) grouped_aged_below: u64,
    pub(super) turns: [u64; 2],
    pub(super) groups_first: bool,
    pub(super) kept: KeptState,
    /// Of the spaces in their order.
    pub(super) overdue: [Shares; 3],
}

impl QueueRow {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        encode_attributes(&self.attributes, out);
        for number in [
            self.secret,
            self.immediate_next,
            self.fresh_first,
            self.delayed_next,
            self.lease_next,
            self.producer_next,
            self.producers_swept_at.0,
            self.producers_forgotten_until.0,
            self.resting_next,
            self.letter_next,
            self.immediate_aged_below,
            self.delayed_aged_below,
            self.keys_first,
            self.keys_next,
            self.purged.immediate,
            self.purged.delayed,
            self.purged.lease,
            self.purged.rest,
            self.purged.at.0,
            self.purged.grouped,
            self.grouped_next,
            self.grouped_aged_below,
            self.turns[0],
            self.turns[1],
            u64::from(self.groups_first),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.kept.encode(out);
        self.overdue.iter().for_each(|shares| shares.encode(out));
        put_text(out, &self.name);
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let attributes = decode_attributes(&mut fields)?;
        let decoded = QueueRow {
            attributes,
            secret: fields.u64()?,
            immediate_next: fields.u64()?,
            fresh_first: fields.u64()?,
            delayed_next: fields.u64()?,
            lease_next: fields.u64()?,
            producer_next: fields.u64()?,
            producers_swept_at: fields.timestamp()?,
            producers_forgotten_until: fields.timestamp()?,
            resting_next: fields.u64()?,
            letter_next: fields.u64()?,
            immediate_aged_below: fields.u64()?,
            delayed_aged_below: fields.u64()?,
            keys_first: fields.u64()?,
            keys_next: fields.u64()?,
            purged: Purged {
                immediate: fields.u64()?,
                delayed: fields.u64()?,
                lease: fields.u64()?,
                rest: fields.u64()?,
                at: fields.timestamp()?,
                grouped: fields.u64()?,
            },
            grouped_next: fields.u64()?,
            grouped_aged_below: fields.u64()?,
            turns: [fields.u64()?, fields.u64()?],
            groups_first: match fields.u64()? {
                first @ 0..=1 => first == 1,
                _ => return Err(FieldError::Range),
            },
            kept: KeptState::decode(&mut fields)?,
            overdue: [
                Shares::decode(&mut fields)?,
                Shares::decode(&mut fields)?,
                Shares::decode(&mut fields)?,
            ],
            name: fields.text()?.to_owned(),
        };
        fields.end()?;
        decoded.check()?;
        Ok(decoded)
    }

    fn check(&self) -> Result<(), FieldError> {
        let (grouped, delayed) = (MessageId::GROUPED_BIT, MessageId::DELAYED_BIT);
        let holds = (1..=self.immediate_next).contains(&self.fresh_first)
            && self.immediate_next < grouped
            && (grouped + 1..delayed).contains(&self.grouped_next)
            && (grouped..=self.grouped_next).contains(&self.grouped_aged_below)
            && (grouped + 1..=self.grouped_next).contains(&self.purged.grouped)
            && (1..=self.turns[1]).contains(&self.turns[0])
            && (delayed + 1..2 * delayed).contains(&self.delayed_next)
            && (1..=LEASE_NUMBER_MAX).contains(&self.lease_next)
            && (1..PRODUCER_NUMBER_MAX).contains(&self.producer_next)
            && self.resting_next > 0
            && self.letter_next > 0
            && self.immediate_aged_below <= self.immediate_next
            && (delayed..=self.delayed_next).contains(&self.delayed_aged_below)
            && self.keys_first <= self.keys_next
            && self.keys_next < KEY_NUMBER_MAX
            && (1..=self.fresh_first).contains(&self.purged.immediate)
            && (delayed + 1..=self.delayed_next).contains(&self.purged.delayed)
            && (1..=self.lease_next).contains(&self.purged.lease)
            && (1..=self.resting_next).contains(&self.purged.rest);
        if holds {
            Ok(())
        } else {
            Err(FieldError::Range)
        }
    }
}

/// All of them, as a list of changes.
pub(crate) fn encode_attributes(attributes: &QueueAttributes, out: &mut Vec<u8>) {
    encode_changes(&(*attributes).into(), out);
}

pub(crate) fn decode_attributes(fields: &mut Fields<'_>) -> Result<QueueAttributes, FieldError> {
    let attributes = decode_changes(fields)?.all();
    attributes.ok_or(FieldError::Range)
}

pub(crate) fn encode_changes(changes: &AttributeChanges, out: &mut Vec<u8>) {
    let named = changes.named();
    let count = u16::try_from(named.clone().count()).expect("attributes are few");
    out.extend_from_slice(&count.to_le_bytes());
    for (tag, value) in named {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(crate) fn decode_changes(fields: &mut Fields<'_>) -> Result<AttributeChanges, FieldError> {
    let mut changes = AttributeChanges::default();
    let mut tag_before = 0;
    for _ in 0..fields.u16()? {
        let (tag, value) = (fields.u16()?, fields.u64()?);
        if tag <= tag_before {
            return Err(FieldError::Range);
        }
        let set = changes.set(tag, value);
        set.map_err(|_| FieldError::Range)?;
        tag_before = tag;
    }
    Ok(changes)
}
