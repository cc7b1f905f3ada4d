//! What an acknowledgement of a send promises.

/// When a send is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When a majority has synced it.
    #[default]
    Sync,
    /// When a majority has written it: whoever stops or is killed loses nothing, and a majority
    /// that loses its power within moments may.
    Async,
}

impl Durability {
    /// The number that it has on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Durability::Sync => 0,
            Durability::Async => 1,
        }
    }

    /// The durability of this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Durability::Sync),
            1 => Some(Durability::Async),
            _ => None,
        }
    }

    /// Its name: `sync` or `async`.
    pub const fn text(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Async => "async",
        }
    }
}
