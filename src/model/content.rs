//! The library of songs and stories.

use super::ids::ContentId;
use super::names::FileName;

/// A song or story of the content library.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Which.
    pub id: ContentId,
    /// The title.
    pub title: String,
    /// The sound, of `/get_music/`.
    pub music: FileName,
    /// The picture, of `/get_image/`.
    pub cover: FileName,
}
