//! The sentences of the text that a guardian agrees to when it binds a toy.

/// The sentences in one language.
#[derive(Debug)]
pub struct ConsentWords {
    /// What is stored, with `{messages}`, `{requests}` and `{audit}` for how long.
    pub stored: &'static str,
    /// For how long: one day.
    pub one_day: &'static str,
    /// For how long: `{days}`.
    pub days: &'static str,
    /// For how long: until it is erased.
    pub until_erased: &'static str,
    /// For how long: until the toy is erased.
    pub until_toy_erased: &'static str,
    /// Recordings to the hub are kept.
    pub recordings_kept: &'static str,
    /// Recordings to the hub are deleted.
    pub recordings_deleted: &'static str,
    /// A guardian can turn on that words are kept, with `{words}` for how long.
    pub words: &'static str,
    /// Reminders are kept until they were given.
    pub reminders: &'static str,
    /// Nothing leaves the hub.
    pub stays: &'static str,
    /// Texts are sent to a chat service.
    pub sent: &'static str,
    /// Who can play messages, and what the guardian may do.
    pub rights: &'static str,
    /// What is between two sentences.
    pub between: &'static str,
}
