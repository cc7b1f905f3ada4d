//! The attributes of a queue: their defaults, their ranges, and how a change of them travels.
//!
//! On the wire an attribute is a tag and a 64-bit value, so that a later version can add one
//! without a new layout. Tags ascend, so that one set of changes has one encoding. One line of the
//! table below is all there is to an attribute here.
//!
//! Invariant: whatever [`AttributeChanges::applied_to`] returns is within every range.
//! Spec: spec/wire.md, "Attributes".

use bytes::{BufMut, BytesMut};

use crate::limits::{
    BODY_LEN_MAX, BYTE_COUNT_MAX, DEAD_LETTER_AFTER_MIN_MS, DEDUP_WINDOW_DEFAULT_MS,
    DEDUP_WINDOW_MAX_MS, DELAYED_COUNT_MAX, IN_FLIGHT_COUNT_MAX, MESSAGE_COUNT_MAX,
    MESSAGE_SIZE_MIN, RECEIVE_COUNT_MAX, RECEIVE_WAIT_MAX_MS, REDELIVERY_DELAY_MAX_MS,
    RETENTION_DEFAULT_MS, RETENTION_MAX_MS, RETENTION_MIN_MS, VISIBILITY_TIMEOUT_DEFAULT_MS,
    VISIBILITY_TIMEOUT_MAX_MS, VISIBILITY_TIMEOUT_MIN_MS,
};
use crate::reader::Reader;
use crate::{DecodeError, Durability, ErrorCode, OutOfRange};

/// A type that an attribute has in memory. No range reaches beyond its type.
trait Value: Copy {
    fn from_wire(value: u64) -> Option<Self>;
    fn to_wire(self) -> u64;
}

impl Value for u64 {
    fn from_wire(value: u64) -> Option<Self> {
        Some(value)
    }

    fn to_wire(self) -> u64 {
        self
    }
}

impl Value for u32 {
    fn from_wire(value: u64) -> Option<Self> {
        value.try_into().ok()
    }

    fn to_wire(self) -> u64 {
        self.into()
    }
}

impl Value for bool {
    fn from_wire(value: u64) -> Option<Self> {
        (value <= 1).then_some(value == 1)
    }

    fn to_wire(self) -> u64 {
        self.into()
    }
}

/// What a queue does with a send, or with a message of another queue, that has no room in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It refuses it.
    #[default]
    Refuse,
    /// It gives up as many of its oldest ready messages as it takes, to its dead-letter queue.
    DropOldestToDeadLetter,
}

impl WhenFull {
    const ALL: [WhenFull; 2] = [WhenFull::Refuse, WhenFull::DropOldestToDeadLetter];

    /// The word for people.
    pub const fn text(self) -> &'static str {
        match self {
            WhenFull::Refuse => "refuse",
            WhenFull::DropOldestToDeadLetter => "drop-oldest-to-dead-letter",
        }
    }
}

impl Value for WhenFull {
    fn from_wire(value: u64) -> Option<Self> {
        WhenFull::ALL.into_iter().find(|it| it.to_wire() == value)
    }

    fn to_wire(self) -> u64 {
        match self {
            WhenFull::Refuse => 0,
            WhenFull::DropOldestToDeadLetter => 1,
        }
    }
}

impl Value for Durability {
    fn from_wire(value: u64) -> Option<Self> {
        Durability::from_number(value.try_into().ok()?)
    }

    fn to_wire(self) -> u64 {
        self.number().into()
    }
}

/// What the group keys of messages do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupMode {
    /// They are carried along.
    #[default]
    Off,
    /// Messages of a group are handed out in the order of their sends, to one receiver at a time.
    Ordered,
    /// Groups take turns.
    Fair,
}

impl GroupMode {
    /// The number on the wire.
    pub fn number(self) -> u64 {
        self.to_wire()
    }
}

impl Value for GroupMode {
    fn from_wire(value: u64) -> Option<Self> {
        [GroupMode::Off, GroupMode::Ordered, GroupMode::Fair]
            .into_iter()
            .find(|groups| groups.to_wire() == value)
    }

    fn to_wire(self) -> u64 {
        match self {
            GroupMode::Off => 0,
            GroupMode::Ordered => 1,
            GroupMode::Fair => 2,
        }
    }
}

macro_rules! attributes {
    ($(
        $(#[$doc:meta])*
        $tag:literal $name:ident: $type:ty = $default:expr, $min:expr, $max:expr;
    )*) => {
        /// How a queue treats its messages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct QueueAttributes {
            $($(#[$doc])* pub $name: $type,)*
        }

        /// Attributes that a request names; the others stay as they are.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct AttributeChanges {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl Default for QueueAttributes {
            fn default() -> Self {
                QueueAttributes { $($name: $default,)* }
            }
        }

        /// How many attributes there are.
        const COUNT: usize = [$($tag),*].len();

        impl QueueAttributes {
            fn check_each(&self) -> Result<(), OutOfRange> {
                $(check(stringify!($name), self.$name.to_wire(), $min, $max)?;)*
                Ok(())
            }
        }

        impl AttributeChanges {
            fn over(&self, attributes: QueueAttributes) -> QueueAttributes {
                QueueAttributes { $($name: self.$name.unwrap_or(attributes.$name),)* }
            }

            /// Names the attribute of this tag.
            ///
            /// # Errors
            ///
            /// There is none, or its type cannot hold the value.
            pub fn set(&mut self, tag: u16, value: u64) -> Result<(), OutOfRange> {
                match tag {
                    $($tag => {
                        let held = Value::from_wire(value);
                        if held.is_none() {
                            check(stringify!($name), value, $min, $max)?;
                        }
                        self.$name = held;
                    })*
                    unknown => {
                        let text = format!("attribute tag {unknown} is unknown");
                        return Err(OutOfRange::new(ErrorCode::UnknownAttribute, text));
                    }
                }
                Ok(())
            }

            /// Every tag, ascending.
            fn pairs(&self) -> [(u16, Option<u64>); COUNT] {
                [$(($tag, self.$name.map(Value::to_wire)),)*]
            }

            /// The attributes when every one is named.
            pub fn all(&self) -> Option<QueueAttributes> {
                Some(QueueAttributes { $($name: self.$name?,)* })
            }
        }

        /// Changes that name every attribute.
        impl From<QueueAttributes> for AttributeChanges {
            fn from(attributes: QueueAttributes) -> Self {
                AttributeChanges { $($name: Some(attributes.$name),)* }
            }
        }
    };
}

attributes! {
    /// How long a receive hides a message, when it does not say itself.
    1 visibility_timeout_ms: u32 = VISIBILITY_TIMEOUT_DEFAULT_MS,
        VISIBILITY_TIMEOUT_MIN_MS.into(), VISIBILITY_TIMEOUT_MAX_MS.into();
    /// How long a message that nobody deletes is kept.
    2 retention_ms: u64 = RETENTION_DEFAULT_MS, RETENTION_MIN_MS, RETENTION_MAX_MS;
    /// How long a message stays hidden after its send, when the send does not say itself.
    3 delay_ms: u64 = 0, 0, RETENTION_MAX_MS;
    /// The longest body.
    4 message_size_max: u32 = message_size_limit(),
        MESSAGE_SIZE_MIN.into(), message_size_limit().into();
    /// How long a receive waits for a message, when it does not say itself.
    5 receive_wait_ms: u32 = 0, 0, RECEIVE_WAIT_MAX_MS.into();
    /// Whether receives find nothing.
    6 is_paused: bool = false, 0, 1;
    /// How long a message that came back unhandled for the first time waits; doubled each time.
    /// 0: it does not wait.
    7 redelivery_delay_min_ms: u32 = 0, 0, REDELIVERY_DELAY_MAX_MS.into();
    /// How long it waits at most.
    8 redelivery_delay_max_ms: u32 = 0, 0, REDELIVERY_DELAY_MAX_MS.into();
    /// Messages that it holds, in whatever state; with so many, sends are refused.
    9 message_count_max: u64 = MESSAGE_COUNT_MAX, 1, MESSAGE_COUNT_MAX;
    /// Messages in flight; with so many, receives are refused.
    10 in_flight_count_max: u64 = IN_FLIGHT_COUNT_MAX, 1, IN_FLIGHT_COUNT_MAX;
    /// Delayed messages; with so many, sends with a delay are refused.
    11 delayed_count_max: u64 = DELAYED_COUNT_MAX, 0, DELAYED_COUNT_MAX;
    /// The id of the queue that takes what this one gives up; 0: there is none.
    12 dead_letter_queue: u64 = 0, 0, i64::MAX.cast_unsigned();
    /// A message that comes back after so many receives goes to the dead-letter queue; 0: it never
    /// does for that.
    13 receive_count_max: u32 = 0, 0, RECEIVE_COUNT_MAX.into();
    /// So long after its send a message that nobody deleted goes to the dead-letter queue; 0: it
    /// never does for that.
    14 dead_letter_after_ms: u64 = 0, 0, RETENTION_MAX_MS;
    /// How long a message with a deduplication key that was stored before is not stored again.
    /// 0: keys are only carried along.
    15 dedup_window_ms: u32 = DEDUP_WINDOW_DEFAULT_MS, 0, DEDUP_WINDOW_MAX_MS.into();
    /// How long after its send a deleted message is kept, and can be made ready again by a rewind.
    /// 0: what is deleted is gone.
    16 rewind_ms: u64 = 0, 0, RETENTION_MAX_MS;
    /// What the group keys of messages do: 0 nothing, 1 ordered, 2 fair.
    17 groups: GroupMode = GroupMode::Off, 0, 2;
    /// When sends are acknowledged.
    18 durability: Durability = Durability::Sync, 0, 1;
    /// Bytes of headers, keys and bodies that it holds, in whatever state.
    19 byte_count_max: u64 = BYTE_COUNT_MAX, 1, BYTE_COUNT_MAX;
    /// What it does with a send that would pass `message_count_max` or `byte_count_max`.
    20 when_full: WhenFull = WhenFull::Refuse, 0, 1;
}

fn check(what: &str, value: u64, min: u64, max: u64) -> Result<(), OutOfRange> {
    OutOfRange::check(ErrorCode::AttributeOutOfRange, what, value, min, max)
}

impl QueueAttributes {
    /// Passes when every attribute is in its range, and those that bound each other fit.
    ///
    /// # Errors
    ///
    /// The first attribute that is not, with its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        self.check_each()?;
        check("delay_ms", self.delay_ms, 0, self.retention_ms)?;
        check("rewind_ms", self.rewind_ms, 0, self.retention_ms)?;
        if self.groups != GroupMode::Off {
            check("rewind_ms of a queue with groups", self.rewind_ms, 0, 0)?;
        }
        let (min, max) = (self.redelivery_delay_min_ms, self.redelivery_delay_max_ms);
        // Without a shortest delay there is none at all.
        let most = if min == 0 { 0 } else { REDELIVERY_DELAY_MAX_MS };
        check(
            "redelivery_delay_max_ms",
            max.into(),
            min.into(),
            most.into(),
        )?;
        self.check_dead_letters()
    }

    /// What is given up needs somewhere to go.
    fn check_dead_letters(&self) -> Result<(), OutOfRange> {
        let has_target = self.dead_letter_queue != 0;
        let count_max = if has_target { RECEIVE_COUNT_MAX } else { 0 };
        check(
            "receive_count_max without dead_letter_queue",
            self.receive_count_max.into(),
            0,
            count_max.into(),
        )?;
        check(
            "when_full without dead_letter_queue",
            self.when_full.to_wire(),
            0,
            u64::from(has_target),
        )?;
        match (self.dead_letter_after_ms, has_target) {
            (0, _) => Ok(()),
            (after, false) => check(
                "dead_letter_after_ms without dead_letter_queue",
                after,
                0,
                0,
            ),
            (after, true) => check(
                "dead_letter_after_ms",
                after,
                DEAD_LETTER_AFTER_MIN_MS,
                self.retention_ms,
            ),
        }
    }
}

impl AttributeChanges {
    /// `attributes` with these changes.
    ///
    /// # Errors
    ///
    /// The first attribute that would be out of its range, with the range.
    pub fn applied_to(&self, attributes: QueueAttributes) -> Result<QueueAttributes, OutOfRange> {
        let changed = self.over(attributes);
        changed.check()?;
        Ok(changed)
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == AttributeChanges::default()
    }

    /// Tag and value of those that are named, tags ascending.
    pub fn named(&self) -> impl Iterator<Item = (u16, u64)> + Clone {
        let pairs = self.pairs().into_iter();
        pairs.filter_map(|(tag, value)| Some((tag, value?)))
    }

    pub(crate) fn take(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut changes = AttributeChanges::default();
        let count = reader.take_u16("attribute count")?;
        let mut tag_before = 0;
        for _ in 0..count {
            let at = reader.at();
            let tag = reader.take_u16("attribute tag")?;
            let value = reader.take_u64("attribute value")?;
            if tag <= tag_before {
                let code = ErrorCode::MalformedFrame;
                return Err(DecodeError::Invalid {
                    what: "order of attributes",
                    at,
                    code,
                });
            }
            changes.set(tag, value)?;
            tag_before = tag;
        }
        Ok(changes)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let named = self.named();
        let count = u16::try_from(named.clone().count()).expect("attributes are few");
        out.put_u16_le(count);
        for (tag, value) in named {
            out.put_u16_le(tag);
            out.put_u64_le(value);
        }
    }
}

fn message_size_limit() -> u32 {
    u32::try_from(BODY_LEN_MAX).expect("a body has at most 1 MiB")
}
