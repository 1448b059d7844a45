//! What a client says to its connection, beside the calls that it shares with other edges.

/// A word of `do` that only the app socket knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Who it is, in the first frame.
    Auth,
    /// Nothing: whether the other side is there.
    Ping,
    /// Hear a topic.
    Subscribe,
    /// Hear it no more.
    Unsubscribe,
    /// Say something on a topic.
    Publish,
    /// A piece of a recording.
    Voice,
    /// Make an own toy a device again.
    Unbind,
    /// Forget all tokens.
    Logout,
}

impl Word {
    /// All words, as they are written.
    pub const ALL: [(&'static str, Self); 8] = [
        ("auth", Self::Auth),
        ("ping", Self::Ping),
        ("subscribe", Self::Subscribe),
        ("unsubscribe", Self::Unsubscribe),
        ("publish", Self::Publish),
        ("voice", Self::Voice),
        ("unbind", Self::Unbind),
        ("logout", Self::Logout),
    ];

    /// The word that is written so.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == text).map(|(_, word)| *word)
    }
}
