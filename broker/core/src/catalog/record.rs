//! One queue in the catalog, and its row. Spec: spec/state.md, "Catalog records".

use sampan_protocol::{QueueAttributes, QueueId, SetId, Timestamp};

use crate::fields::{FieldError, Fields, put_text};
use crate::queue::{decode_attributes, encode_attributes};

const VERSION: u8 = 1;

/// How far the last change of a queue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// Decided; the owning set may not know of the queue yet.
    Creating,
    /// Nothing is under way.
    Ready,
    /// The owning set may still have the attributes from before.
    Changing,
    /// The owning set may still have the queue.
    Deleting,
}

impl QueueState {
    const ALL: [QueueState; 4] = [
        QueueState::Creating,
        QueueState::Ready,
        QueueState::Changing,
        QueueState::Deleting,
    ];

    fn number(self) -> u8 {
        match self {
            QueueState::Creating => 0,
            QueueState::Ready => 1,
            QueueState::Changing => 2,
            QueueState::Deleting => 3,
        }
    }
}

/// What the catalog knows of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogRecord {
    /// Never given to another queue.
    pub queue: QueueId,
    /// As its creator wrote it; compared without regard to ASCII case.
    pub name: String,
    /// Whose queue it is.
    pub account: u32,
    /// The set that holds its messages.
    pub set: SetId,
    /// As decided; the owning set has them when the state is ready.
    pub attributes: QueueAttributes,
    /// By the catalog's time.
    pub created_at: Timestamp,
    /// How far its last change has come.
    pub state: QueueState,
}

impl CatalogRecord {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(self.state.number());
        out.extend_from_slice(&self.account.to_le_bytes());
        out.extend_from_slice(&self.set.0.to_le_bytes());
        out.extend_from_slice(&self.created_at.0.to_le_bytes());
        encode_attributes(&self.attributes, out);
        put_text(out, &self.name);
    }

    pub(crate) fn decode(queue: QueueId, row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let state = usize::from(fields.u8()?);
        let state = *QueueState::ALL.get(state).ok_or(FieldError::Range)?;
        let record = CatalogRecord {
            queue,
            state,
            account: fields.u32()?,
            set: SetId(fields.u32()?),
            created_at: fields.timestamp()?,
            attributes: decode_attributes(&mut fields)?,
            name: fields.text()?.to_owned(),
        };
        fields.end()?;
        Ok(record)
    }
}
