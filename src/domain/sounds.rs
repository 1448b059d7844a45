//! Claims on sounds that are being stored for a message, or being deleted as orphaned.
//!
//! A sound is in the file store before its message is in the database. Until then, the search for sounds without a
//! message must not delete it. Both sides therefore claim the name first, and the second one gives up.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::error::DomainError;
use crate::model::FileName;

/// The owner of a claim.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// This number of requests that send it.
    Sent(usize),
    /// The deletion of orphaned sounds.
    Swept,
}

/// The claimed names. Bounded by the number of concurrent requests, plus one.
#[derive(Debug, Clone, Default)]
pub(super) struct Sounds(Arc<DashMap<FileName, Claim>>);

impl Sounds {
    /// Claims a name for a message; several requests may claim the same. Errors: `Busy` if it is being deleted.
    pub(super) fn send(&self, name: &FileName) -> Result<Claimed, DomainError> {
        match self.0.entry(name.clone()).or_insert(Claim::Sent(0)).value_mut() {
            Claim::Sent(requests) => *requests += 1,
            Claim::Swept => return Err(DomainError::Busy),
        }
        Ok(Claimed { sounds: self.clone(), name: name.clone() })
    }

    /// Claims a name for deletion; none if it is being sent.
    pub(super) fn sweep(&self, name: &FileName) -> Option<Claimed> {
        match self.0.entry(name.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(Claim::Swept);
                Some(Claimed { sounds: self.clone(), name: name.clone() })
            }
        }
    }
}

/// A claimed name; dropping it ends the claim.
#[derive(Debug)]
pub(super) struct Claimed {
    sounds: Sounds,
    name: FileName,
}

impl Claimed {
    /// The name.
    pub(super) fn name(&self) -> &FileName {
        &self.name
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.sounds.0.remove_if_mut(&self.name, |_, claim| match claim {
            Claim::Sent(requests) if *requests > 1 => {
                *requests -= 1;
                false
            }
            Claim::Sent(_) | Claim::Swept => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_in_use_is_not_deleted_and_a_deleted_one_is_not_sent() {
        let (sounds, name) = (Sounds::default(), FileName::random("mp3"));
        let first = sounds.send(&name).unwrap();
        let second = sounds.send(&name).unwrap();
        drop(first);
        assert!(sounds.sweep(&name).is_none(), "one request still sends it");
        assert!(sounds.sweep(&FileName::random("mp3")).is_some(), "another name is free");
        drop(second);
        let swept = sounds.sweep(&name).unwrap();
        assert!(matches!(sounds.send(&name), Err(DomainError::Busy)));
        assert!(sounds.sweep(&name).is_none());
        drop(swept);
        assert!(sounds.send(&name).is_ok());
        assert!(sounds.0.is_empty(), "no claim outlives its owner");
    }
}
