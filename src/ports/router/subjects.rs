//! The ids of erased items, and the search for them in messages.

use std::collections::HashSet;

/// Digits of an id.
const DIGITS: usize = 24;

/// Ids of parties, chats and messages.
#[derive(Debug)]
pub struct Subjects(HashSet<[u8; DIGITS]>);

impl Subjects {
    /// Texts that are no ids are in no message.
    pub fn new(ids: &[String]) -> Self {
        Self(ids.iter().filter_map(|id| id.as_bytes().try_into().ok()).collect())
    }

    /// Whether one of the texts contains the id of a subject, at any position.
    pub fn are_in<const N: usize>(&self, texts: [&[u8]; N]) -> bool {
        texts.into_iter().any(|text| self.is_in(text))
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let mut digits = 0;
        for (end, byte) in text.iter().enumerate() {
            digits = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { digits + 1 } else { 0 };
            if digits >= DIGITS
                && let Ok(id) = text[end + 1 - DIGITS..=end].try_into()
                && self.0.contains::<[u8; DIGITS]>(id)
            {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        let id = "5c8f582f268d7942f44c6703".to_owned();
        let subjects = Subjects::new(std::slice::from_ref(&id));
        for text in [id.clone(), format!("toy/{id}/in"), format!("{{\"from\":\"{id}\"}}"), format!("abc{id}0f")] {
            assert!(subjects.are_in([b"", text.as_bytes()]), "{text}");
        }
        for text in ["", "5c8f582f268d7942f44c670", "5c8f582f268d-7942f44c6703", "5c8f582f268d7942f44c6704"] {
            assert!(!subjects.are_in([text.as_bytes()]), "{text}");
        }
    }
}
