//! The voice in which the hub speaks to a child.

/// The voice of a toy: what the hub says to its child is spoken in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ToyVoice {
    /// A voice of Piper, such as `en_US-joe-medium`, for its own language; none for the voice of the hub.
    pub name: Option<String>,
    /// Its pace, in percent of that of the settings.
    pub speed_percent: u16,
}

impl ToyVoice {
    /// The possible paces: few, as each spoken notice is stored once for each of them.
    pub const SPEEDS_PERCENT: [u16; 7] = [60, 70, 80, 90, 100, 120, 140];
}

impl Default for ToyVoice {
    fn default() -> Self {
        Self { name: None, speed_percent: 100 }
    }
}
