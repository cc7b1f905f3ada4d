//! The accounts that may use the broker: SecretId and SecretKey.
//!
//! Invariant: keys are never printed, logged or sent. Looking an unknown id up costs what a known
//! one costs: it yields a decoy key.

use std::collections::BTreeMap;
use std::fmt;

use sampan_protocol::limits::SECRET_ID_LEN_MAX;

/// Every SecretId starts with this.
pub(crate) const SECRET_ID_PREFIX: &str = "AKID";

/// See the module's documentation.
pub(crate) struct Accounts {
    keys: BTreeMap<String, Vec<u8>>,
    decoy: [u8; 32],
}

/// Why an account was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("a SecretId must start with AKID and have at most {SECRET_ID_LEN_MAX} characters: {0}")]
    SecretId(String),
    #[error("the SecretKey of {0} is empty")]
    EmptyKey(String),
    #[error("the account {0} is named twice")]
    Twice(String),
    #[error("no account is configured: nobody could use the broker")]
    None,
}

impl Accounts {
    /// Pairs of SecretId and SecretKey, and a random decoy.
    pub(crate) fn new(
        accounts: Vec<(String, String)>,
        decoy: [u8; 32],
    ) -> Result<Self, AccountError> {
        let mut keys = BTreeMap::new();
        for (id, key) in accounts {
            if !id.starts_with(SECRET_ID_PREFIX) || id.len() > SECRET_ID_LEN_MAX {
                return Err(AccountError::SecretId(id));
            }
            if key.is_empty() {
                return Err(AccountError::EmptyKey(id));
            }
            if keys.insert(id.clone(), key.into_bytes()).is_some() {
                return Err(AccountError::Twice(id));
            }
        }
        if keys.is_empty() {
            return Err(AccountError::None);
        }
        Ok(Accounts { keys, decoy })
    }

    /// The key of `secret_id`, or the decoy; and whether it is the key.
    pub(crate) fn key_or_decoy(&self, secret_id: &str) -> (&[u8], bool) {
        match self.keys.get(secret_id) {
            Some(key) => (key, true),
            None => (&self.decoy, false),
        }
    }
}

/// What differs between two lists of accounts, by SecretId.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountChanges {
    /// Only in the newer list.
    pub(crate) added: Vec<String>,
    /// Only in the older list.
    pub(crate) removed: Vec<String>,
    /// With another key.
    pub(crate) rekeyed: Vec<String>,
}

impl Accounts {
    /// What `newer` changes.
    pub(crate) fn changes(&self, newer: &Accounts) -> AccountChanges {
        let mut changes = AccountChanges::default();
        for (id, key) in &newer.keys {
            match self.keys.get(id) {
                None => changes.added.push(id.clone()),
                Some(old) if old != key => changes.rekeyed.push(id.clone()),
                Some(_) => {}
            }
        }
        let gone = self.keys.keys().filter(|id| !newer.keys.contains_key(*id));
        changes.removed = gone.cloned().collect();
        changes
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(list: &[(&str, &str)]) -> Result<Accounts, AccountError> {
        let owned = list
            .iter()
            .map(|(id, key)| ((*id).to_owned(), (*key).to_owned()));
        Accounts::new(owned.collect(), [0; 32])
    }

    #[test]
    fn accounts_that_could_not_work_are_refused() {
        assert!(matches!(accounts(&[]), Err(AccountError::None)));
        assert!(matches!(
            accounts(&[("one", "k")]),
            Err(AccountError::SecretId(_))
        ));
        assert!(matches!(
            accounts(&[("AKID1", "")]),
            Err(AccountError::EmptyKey(_))
        ));
        let twice = accounts(&[("AKID1", "a"), ("AKID1", "b")]);
        assert!(matches!(twice, Err(AccountError::Twice(_))));
    }

    #[test]
    fn what_differs_between_lists_is_told_without_keys() {
        let old = accounts(&[("AKID1", "a"), ("AKID2", "b"), ("AKID3", "c")]).unwrap();
        let new = accounts(&[("AKID2", "b"), ("AKID3", "d"), ("AKID4", "e")]).unwrap();
        let changes = old.changes(&new);
        assert_eq!(changes.added, ["AKID4"]);
        assert_eq!(changes.removed, ["AKID1"]);
        assert_eq!(changes.rekeyed, ["AKID3"]);
        assert_eq!(new.changes(&new), AccountChanges::default());
    }

    #[test]
    fn keys_do_not_appear_in_debug_output() {
        let accounts = accounts(&[("AKID1", "hunter2")]).unwrap();
        assert_eq!(format!("{accounts:?}"), r#"{"AKID1"}"#);
    }
}
