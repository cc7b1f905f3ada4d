//! Where one set's replicas are wanted, and its row. Spec: spec/state.md, "Nodes and sets".

use sampan_protocol::SetId;

use crate::fields::{FieldError, Fields};
use crate::limits::VOTER_COUNT_MAX;

const VERSION: u8 = 1;

/// Who is to vote in a set. What is, the set's own membership says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRecord {
    /// The set.
    pub set: SetId,
    /// The wanted voters, ascending: 1 to 7.
    pub voters: Vec<u64>,
    /// The voter that is to lead when it can.
    pub preferred_leader: Option<u64>,
}

impl SetRecord {
    /// Whether the record can be: voters ascending, 1 to 7, the preferred leader among them.
    pub(crate) fn is_sound(&self) -> bool {
        (1..=VOTER_COUNT_MAX).contains(&self.voters.len())
            && self.voters.windows(2).all(|pair| pair[0] < pair[1])
            && self.voters.first().is_some_and(|node| *node > 0)
            && self
                .preferred_leader
                .is_none_or(|node| self.voters.contains(&node))
    }

    pub(crate) fn encode_row(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.encode(out);
    }

    /// Everything but the set: count u8, the voters, then the preferred leader or 0.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let count = u8::try_from(self.voters.len()).expect("whoever proposes keeps to 7 voters");
        out.push(count);
        for node in &self.voters {
            out.extend_from_slice(&node.to_le_bytes());
        }
        out.extend_from_slice(&self.preferred_leader.unwrap_or(0).to_le_bytes());
    }

    pub(crate) fn decode_row(set: SetId, row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let record = SetRecord::decode(set, &mut fields)?;
        fields.end()?;
        if record.is_sound() {
            Ok(record)
        } else {
            Err(FieldError::Range)
        }
    }

    pub(crate) fn decode(set: SetId, fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let count = fields.u8()?;
        let voters = (0..count).map(|_| fields.u64()).collect::<Result<_, _>>()?;
        let preferred_leader = Some(fields.u64()?).filter(|node| *node != 0);
        Ok(SetRecord {
            set,
            voters,
            preferred_leader,
        })
    }
}
